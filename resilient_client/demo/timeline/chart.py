"""What a timeline shows, as plain values: sections, groups, rows, and on a row the marks and waits of one call. Pure.

`row` makes a row of any `Outcome`. What the server has seen of the call, if that is known, says exactly when each
attempt was made and which fault was injected; without it, attempts and waits follow each other from `began` on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from resilient_client.demo.words import ended, met, numbers, renewed, span
from resilient_client.sandbox.faults import WIRE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_client import Attempt, Outcome
    from resilient_client.sandbox import Seen

__all__ = ["Chart", "Group", "Kind", "Mark", "Row", "Section", "Wait", "row"]

Kind: TypeAlias = Literal["success", "retried", "refused", "network"]


@dataclass(frozen=True, slots=True)
class Mark:
    """One attempt: `begins` to `ends`, in seconds of the chart's time. What it met is known at its end."""

    kind: Kind
    labels: tuple[str, ...]  # the same said ever more shortly: what has room is written
    begins: float
    ends: float
    story: str
    renewed: tuple[str, ...] = ()  # what was renewed for it: "nonce", "refresh", "override"


@dataclass(frozen=True, slots=True)
class Wait:
    """Time slept between two attempts, in seconds."""

    begins: float
    length: float
    story: str


@dataclass(frozen=True, slots=True)
class Row:
    """One call."""

    name: str
    marks: tuple[Mark, ...]
    waits: tuple[Wait, ...] = ()
    story: str = ""
    right: bool = True  # whether it ended as it had to


@dataclass(frozen=True, slots=True)
class Group:
    """Calls that have something in common."""

    title: str
    about: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Groups below one heading, with a time axis of their own."""

    title: str
    note: str
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """All of it. Every section's axis has the same scale."""

    title: str
    summary: str
    sections: tuple[Section, ...]


def row(  # noqa: PLR0913 - what is known of a call, by keyword
    name: str,
    outcome: Outcome | None,
    *,
    began: float = 0.0,
    seen: Sequence[Seen] = (),
    about: str = "",
    right: bool = True,
) -> Row:
    """Make the row of a call that began at `began` seconds.

    `seen` are its requests as a sandbox had them, their times on the same clock; without an outcome they are all that
    is shown. `about` is told with the call's name.
    """
    if outcome is None:
        marks = tuple(_seen_only(each, number, began) for number, each in enumerate(seen, start=1))
        return Row(name, marks, story=_sentences(name, about, f"Requests seen: {len(marks)}"), right=right)
    sightings = tuple(seen) if len(seen) == len(outcome.attempts) else (None,) * len(outcome.attempts)
    marked: list[Mark] = []
    waits: list[Wait] = []
    ready = began  # when the next attempt could be made
    for attempt, sighting in zip(outcome.attempts, sightings, strict=True):
        begins = ready if sighting is None else max(ready, sighting.time)
        # What succeeded tells the time since it could be made: a sign-in on the way is in it.
        succeeded = outcome.reason == "success" and attempt.number == len(outcome.attempts)
        ends = max(begins, (ready if succeeded else begins) + attempt.elapsed)
        marked.append(_mark(outcome, attempt, sighting, (begins, ends), began))
        if attempt.wait > 0:
            waits.append(Wait(ends, attempt.wait, _wait_story(attempt)))
        ready = ends + attempt.wait
    return Row(name, tuple(marked), tuple(waits), _sentences(name, about, _call_story(outcome)), right)


def _mark(
    outcome: Outcome, attempt: Attempt, sighting: Seen | None, between: tuple[float, float], began: float
) -> Mark:
    last = attempt.number == len(outcome.attempts)
    before = outcome.attempts[attempt.number - 2].change if attempt.number > 1 else ()
    fault = sighting.fault if sighting is not None else None
    if last and outcome.reason == "success":
        kind: Kind = "success"
        labels: tuple[str, ...] = (str(attempt.status),)
        end = ""
    else:
        kind = "network" if attempt.error is not None else "refused" if last else "retried"
        labels = _labels(attempt, fault)
        end = attempt.verdict.cause
        if last:
            why = ended(outcome)
            labels = (f"{labels[0]}: {why}", *labels)
            end = f"{end.rstrip('.')}. {why.capitalize()}"
    number = f"Attempt {attempt.number} of {len(outcome.attempts)}, {between[0] - began:.2f} s after the call began"
    return Mark(
        kind=kind,
        labels=labels,
        begins=between[0],
        ends=between[1],
        story=_sentences(
            ", ".join([number, *(renewed(change) for change in before)]), met(attempt), end, _injected(fault)
        ),
        renewed=tuple(before),
    )


def _labels(attempt: Attempt, fault: str | None) -> tuple[str, ...]:
    """Say what an error was: at length, and ever more shortly."""
    if attempt.error is not None:
        return (met(attempt), _lost(fault))
    long = met(attempt)
    short, _, _ = long.partition(" ")
    return (long, short) if short == str(attempt.status) else (long, short, str(attempt.status))


def _lost(fault: str | None) -> str:
    """Say in two words how a reply did not come, as far as it is known."""
    match fault:
        case None:
            return "no reply"
        case "lose" | "lose-reset" | "lose-garbage":
            return "reply lost"
        case "truncate" | "reset-body":
            return "cut short"
        case _:
            return fault


def _seen_only(seen: Seen, number: int, began: float) -> Mark:
    failed = seen.status is None or seen.status >= 400
    kind: Kind = "network" if seen.status is None else "refused" if failed else "success"
    label = _lost(seen.fault) if seen.status is None else numbers(seen.status, seen.code)
    at = max(began, seen.time)
    return Mark(
        kind=kind,
        labels=(label,),
        begins=at,
        ends=at,
        story=_sentences(
            f"Request {number}, {at - began:.2f} s after the call began",
            label,
            _injected(seen.fault),
        ),
    )


def _injected(fault: str | None) -> str:
    """Say what a sandbox did to a request that it would have accepted."""
    if fault is None:
        return ""
    kind = WIRE.get(fault.partition(":")[0])
    return f"Injected by the sandbox: {fault}{f' ({kind.about})' if kind is not None else ''}"


def _wait_story(attempt: Attempt) -> str:
    asked = attempt.verdict.retry_after
    return _sentences(
        f"Waited {attempt.wait:.2f} s after attempt {attempt.number}",
        f"The server had asked for {span(asked)}" if asked is not None else "",
        ", ".join(renewed(change) for change in attempt.change).capitalize(),
    )


def _call_story(outcome: Outcome) -> str:
    attempts = f"{len(outcome.attempts)} attempt{'s' if len(outcome.attempts) != 1 else ''}"
    waited = f", {span(outcome.slept)} of it waiting" if outcome.slept else ""
    maybe = "" if outcome.reason == "success" or not outcome.maybe_applied else ". It may have taken effect"
    return f"{attempts} in {span(outcome.elapsed)}{waited}; it ended with {outcome.reason}{maybe}"


def _sentences(*parts: str) -> str:
    """Put what there is to say into lines."""
    return "\n".join(f"{part.rstrip('.')}." for part in parts if part)
