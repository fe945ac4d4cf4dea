"""Putting it on paper: a sentence that says what happened, a table of the phases, or one JSON document."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from typing import TYPE_CHECKING, Any

from resilient_client._commands._shared import print_table, tell

from .scenario import Crowd, Evenly, Loop, Poisson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from resilient_client._guard.settings import Protection

    from .books import Books, Phase
    from .scenario import Scenario

__all__ = ["document", "headline", "print_books"]

_LOAD = ">load"
_HEADINGS = (
    "phase",
    ">calls",
    ">requests",
    ">per call",
    _LOAD,
    ">success",
    ">p50",
    ">p99",
    ">429",
    ">waited",
)


def print_books(paper: Console, books: Books) -> None:
    """Print them."""
    scenario = books.scenario
    title = scenario.policy.rulebook.title
    paper.print(f"{title}: {_offered(scenario)} (seed {scenario.seed})", style="bold", soft_wrap=True)
    paper.print()
    for line in textwrap.wrap(headline(books), paper.width):
        paper.print(line)
    paper.print()
    end = None if scenario.outage is None else scenario.outage.end
    rows = [_row(phase, scenario) for phase in books.phases() if phase.name != "first" or phase.end != end]
    shown = [number for number, name in enumerate(_HEADINGS) if scenario.outage is not None or name != _LOAD]
    print_table(
        paper, [_HEADINGS[number] for number in shown], ([row[number] for number in shown] for row in rows)
    )
    paper.print()
    for what, words in _remarks(books):
        tell(paper, what, words)


def headline(books: Books) -> str:
    """Say in a few plain words what happened."""
    outage, whole = books.scenario.outage, books.whole
    if outage is None or books.peak is None:
        return (
            f"{_share(whole.success)} of {_count(whole.calls, 'call')} succeeded, with {_number(whole.amplification)} "
            f"requests for each; the server {_said(whole.throttled)}."
        )
    down = books.phase("outage", outage.begin, outage.end)
    return (
        f"The server was down for {_span(outage.length)} and got {_number(down.load)} times its normal load meanwhile; "
        f"{_share(down.success)} of the calls that began then succeeded, {_share(whole.success)} of all. "
        f"{_recovered(books.recovery)}, and the most that it got in a second from then on was {_number(books.peak)} times the normal load."
    )


def document(books: Books) -> dict[str, Any]:
    """Give all of it as one JSON-ready document."""
    scenario = books.scenario
    return {
        "policy": scenario.policy.api,
        "seed": scenario.seed,
        "offered": _offered(scenario),
        "protected_by": _protected_by(scenario),
        "summary": headline(books),
        "recovery": books.recovery,
        "peak": books.peak,
        "budget_used": _budget_used(books),
        "phases": [_entry(phase) for phase in (*books.phases(), *([books.whole] if scenario.outage else []))],
    }


def _entry(phase: Phase) -> dict[str, Any]:
    entry = dataclasses.asdict(phase) | {"amplification": phase.amplification}
    return {name: _written(value) for name, value in entry.items()}


def _written(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def _offered(scenario: Scenario) -> str:
    """Say who calls, and how often."""
    match scenario.arrivals:
        case Evenly(rate):
            offered = f"{rate:.4g} calls a second by {_count(scenario.clients, 'client')}"
        case Poisson(rate):
            offered = f"{rate:.4g} calls a second, at random, by {_count(scenario.clients, 'client')}"
        case Loop(workers):
            offered = f"{_count(workers, 'worker')}, each with one call after the other,"
        case Crowd(calls):
            return f"{_count(calls, 'call')} at once{_processes(scenario)}"
    return f"{offered}{_processes(scenario)} for {_span(scenario.duration)}"


def _processes(scenario: Scenario) -> str:
    return f" in {scenario.processes} processes" if scenario.processes > 1 else ""


def _protected_by(scenario: Scenario) -> list[str]:
    settings: Protection = scenario.policy.rulebook.protection.with_(scenario.protections)
    breaker = settings.breaker
    names = {
        "a retry budget": settings.budget is not None,
        "a circuit breaker": breaker is not None and not breaker.park,
        "a circuit breaker that lets calls wait": breaker is not None and breaker.park,
        "pacing": settings.pace,
        f"hedging of {settings.hedge.extra_load:g}" if settings.hedge else "": settings.hedge is not None,
        "a bulkhead": settings.bulkhead is not None,
    }
    return [name for name, is_on in names.items() if is_on]


def _row(phase: Phase, scenario: Scenario) -> tuple[str, ...]:
    end = min(phase.end, scenario.duration)
    name = f"{phase.name}, {phase.begin:g} to {end:g} s"
    if phase.name == "first":
        name = f"  its first {_span(end - phase.begin)}"
    elif phase.name == "all":
        name = "all"
    return (
        name,
        str(phase.calls),
        str(phase.requests),
        _number(phase.amplification, 3),
        _number(phase.load),
        _share(phase.success),
        _took(phase.p50),
        _took(phase.p99),
        str(phase.throttled),
        _took(phase.waited),
    )


def _remarks(books: Books) -> Iterator[tuple[str, str]]:
    scenario = books.scenario
    yield "with", ", ".join(_protected_by(scenario)) or "no protection at all"
    if scenario.deadline is not None:
        yield "deadline", f"{_span(scenario.deadline)} for each call"
    used = _budget_used(books)
    if used is not None:
        yield "budget", f"{_share(used)} of what the API publishes was used, the first window apart"
    load = (
        "load: requests a second, as against those before the outage; " if scenario.outage is not None else ""
    )
    yield (
        "columns",
        (
            f"per call: requests for each call; {load}p50, p99: from a call's begin to its end; waited: on average"
        ),
    )


def _budget_used(books: Books) -> float | None:
    """Tell the share of the published budget that was used after its first window; None where there is not one of them."""
    scenario, paces = books.scenario, books.scenario.policy.rulebook.paces
    if not scenario.limited or len(paces) != 1:
        return None
    window = paces[0].windows[0]
    if scenario.duration <= window.per:
        return None
    allowed = window.budget / window.per * (scenario.duration - window.per)
    return books.spent(window.per, scenario.duration) / allowed


def _recovered(recovery: float | None) -> str:
    if recovery is None:
        return "Calls did not succeed as before when it was back"
    if recovery == 0:
        return "When it was back, calls succeeded at once"
    return f"{_span(recovery)} after it was back, calls succeeded as before"


def _share(share: float | None) -> str:
    """Write a share: rounded down, so that 100 % is all."""
    return "" if share is None else f"{math.floor(share * 10_000 + 1e-9) / 100:g} %"


def _number(number: float | None, places: int = 2) -> str:
    return "" if number is None else f"{number:.{places}f}"


def _took(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"


def _span(seconds: float) -> str:
    return f"{seconds:.4g} s"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _said(number: int) -> str:
    return {0: "never said 429", 1: "said 429 once"}.get(number, f"said 429 {number} times")
