"""Putting it on paper: one row per call while it goes on, a summary at the end, or one JSON document. No I/O but the console's.

Rows come in the order of the script, each scene when its last call has ended: the same in a terminal, where a progress bar
runs below them, as in a file. No line is longer than the console is wide.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn
from rich.text import Text

from resilient_client import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console
    from rich.progress import Task

    from resilient_client import Attempt, Outcome

    from .audit import Audit
    from .play import Played, Stage
    from .scenes import Scene

__all__ = ["Paper", "document"]

WIDEST, NARROWEST = 110, 50  # columns; longer lines are hard to read, shorter ones have no room for a row
NAME = 17  # columns for a call's name

# How a call that failed came to its end, by the outcome's reason.
ENDS = {
    "not_retryable": "not sent again",
    "attempts_exhausted": "gave up",
    "deadline": "gave up, the deadline is too near",
    "wait_too_long": "gave up at once",
}
# Errors that an end user can do something about, or has to be told of; all others are the caller's to mend.
FOR_USERS = frozenset({"business", "upstream", "rate_limit", "maintenance", "server"})


class Paper:
    """A console, and what has been written on it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = max(NARROWEST, min(console.width, WIDEST))
        self._plain = not console.encoding.startswith("utf")  # then nothing but ASCII
        self._waiting: list[Scene] = []
        self._ended: dict[Scene, list[Played]] = {}
        self._advised: set[str] = set()  # errors that need no second explanation
        self._progress: Progress | None = None

    def begin(self, stage: Stage) -> AbstractContextManager[object]:
        """Write the heading; the context that is given shows progress, where somebody is looking."""
        calls = sum(len(tuple(scene.calls())) for scene in stage.scenes)
        self._waiting = list(stage.scenes)
        heading = Text.assemble(
            (f"{calls} signed calls to a sandbox of the 0trace Partner API on 127.0.0.1", "bold"),
            ", which fails in every way that its documents name",
            "" if stage.clock.speed == 1 else f"; time runs {stage.clock.speed:g} times faster",
            ".",
        )
        legend = (
            "Rows: call, attempts, then status/code of each attempt → what was waited and renewed → the next."
        )
        self._print(*self._wrapped(heading), *self._wrapped(Text(legend, "dim")))
        if not self._console.is_terminal:
            return nullcontext()
        self._progress = Progress(
            SpinnerColumn("line" if self._plain else "dots"),
            BarColumn(20),
            MofNCompleteColumn(),
            _Live(stage),
            console=self._console,
            transient=True,
        )
        self._progress.add_task("calls", total=calls)
        return self._progress

    def note(self, played: Played) -> None:
        """Take in a call that has ended, and write each scene whose turn has come."""
        self._ended.setdefault(played.scene, []).append(played)
        if self._progress is not None:
            self._progress.advance(self._progress.task_ids[0])
        while self._waiting and self._is_over(self._waiting[0]):
            self._print(*self._scene(self._waiting.pop(0)))

    def end(self, books: Audit, *, seconds: float) -> None:
        """Write the summary; `seconds` are real ones."""
        met = " ".join(str(code) for code in books.codes)
        said = [Text.assemble(("problem: ", "bold red"), problem) for problem in books.problems]
        said.append(Text(f"Codes met: {met}. Code 9 is reserved: it is never sent, here or by the vendor."))
        if books.ok:
            said.append(
                Text("On the wire: a fresh nonce on every attempt; one key and one body in every call.")
            )
        said.append(
            Text(f"{books.slept:.1f} s of waiting, by many at once, in {seconds:.1f} s of your time.")
        )
        said.append(
            Text(
                f"{books.calls} calls, {books.attempts} attempts; {books.asked} orders asked for, {books.made} made, "
                f"{books.duplicates} duplicates, {books.lost} lost",
                "bold green" if books.ok else "bold red",
            )
        )
        self._print(Text(), *(line for text in said for line in self._wrapped(text)))

    def _is_over(self, scene: Scene) -> bool:
        return len(self._ended.get(scene, ())) == len(tuple(scene.calls()))

    def _scene(self, scene: Scene) -> Iterator[Text]:
        order = [call.name for call in scene.calls()]
        yield Text()
        yield from self._wrapped(Text(scene.title, "bold cyan"))
        yield from self._wrapped(Text(scene.about, "dim"))
        for played in sorted(self._ended[scene], key=lambda played: order.index(played.call.name)):
            yield from self._row(played)

    def _row(self, played: Played) -> Iterator[Text]:
        right, attempts = played.result == played.call.ends, len(played.seen)
        mark = ("ok" if right else "XX") if self._plain else ("✓" if right else "✗")
        head = Text.assemble(
            (f"{mark:<2} ", "green" if right else "bold red"),
            f"{played.call.name:<{NAME}} ",
            (f"{attempts:>2} ", "bold" if attempts > 1 else "dim"),
        )
        for line in _packed(_way(played), self._width - len(head)):
            yield head + line
            head = Text(" " * len(head))
        error = played.error
        if isinstance(error, ApiError) and error.name not in self._advised:
            self._advised.add(error.name)
            for line in Text(_advice(error), "dim italic").wrap(self._console, self._width - len(head)):
                yield head + line

    def _wrapped(self, text: Text) -> Iterator[Text]:
        yield from text.wrap(self._console, self._width)

    def _print(self, *lines: Text) -> None:
        """Write lines that belong together, at once: the bar below is drawn anew after each writing."""
        for line in lines:
            line.rstrip()
            if self._plain:
                line.plain = line.plain.replace("→", ">")
        self._console.print(Text("\n").join(lines), soft_wrap=True)


class _Live(ProgressColumn):
    """How many attempts there have been, and how many calls wait, now."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        super().__init__()

    def render(self, task: Task) -> Text:
        """Write it anew; the numbers are the stage's, not the task's."""
        del task
        return Text(f"calls, {self._stage.requests()} attempts, {self._stage.clock.sleeping} waiting")


def _way(played: Played) -> Iterator[Text]:
    """Tell what a call went through, in pieces that are not to be broken."""
    outcome, last = played.outcome, "bold red" if played.result != played.call.ends else ""
    if outcome is None:
        yield from _untold(played, last)
        return
    for attempt in outcome.attempts[:-1]:
        yield Text.assemble((_met(attempt), "yellow"), " →")
        yield Text(f"{', '.join(_renewed(attempt))} →", "dim")
    if played.error is None:
        yield Text(played.result, last or "green")
        return
    why = ENDS.get(outcome.reason, outcome.reason)
    asked = outcome.attempts[-1].verdict.retry_after
    if outcome.reason == "wait_too_long" and asked is not None:
        why = f"told to wait {asked:.0f} s, {why}"
    yield Text(f"{_met(outcome.attempts[-1])}:", last or "yellow")
    yield Text(
        why + (", for it may have been done" if outcome.maybe_applied and len(outcome.attempts) == 1 else "")
    )


def _untold(played: Played, style: str) -> Iterator[Text]:
    """Tell it by what the server has seen, where the client tells no more than its exception."""
    said = " ".join(str(seen.status) for seen in played.seen if seen.status is not None)
    if played.error is None:
        yield Text(said, style or "green")
    elif isinstance(played.error, ApiError):
        yield Text(f"{said} {played.result}", style or "yellow")
    else:
        yield Text(f"{said} that did not come whole:" if said else "no reply:")
        yield Text(played.result, style or "yellow")


def _met(attempt: Attempt) -> str:
    verdict = attempt.verdict
    if attempt.error is not None:
        return type(attempt.error).__name__
    code = "" if verdict.code is None else f"/{verdict.code}"
    return f"{attempt.status}{code} {verdict.name}"


def _renewed(attempt: Attempt) -> Iterator[str]:
    wait = attempt.wait
    yield f"{wait:.1f} s" if wait >= 0.1 else f"{wait:.2f} s" if wait else "at once"
    for change in attempt.change:
        yield f"new {change}"


def _advice(error: ApiError) -> str:
    """Say what to do about an error: to its user, or in a sentence to its caller."""
    if error.category in FOR_USERS:
        return f"To the user: {error.user_message}"
    first, _, rest = error.remedy.partition(". ")
    if error.verdict.retryable and rest:
        first = rest  # the first sentence of such a remedy is what the client did already
    return first.rstrip(".") + "."


def _packed(pieces: Iterator[Text], width: int) -> Iterator[Text]:
    """Put pieces on lines of at most `width` columns; a longer piece has a line of its own."""
    line = Text()
    for piece in pieces:
        if line and len(line) + 1 + len(piece) > width:
            yield line
            line = Text()
        line = line + (Text(" ") if line else Text()) + piece
    yield line


def document(
    played: Sequence[Played], books: Audit, *, speed: float, seed: int, seconds: float
) -> dict[str, Any]:
    """Give all of it as one JSON-ready document. `seconds` are real ones; all others are of the demonstration's time."""
    return {
        "api": "zerotrace",
        "speed": speed,
        "seed": seed,
        "seconds": round(seconds, 3),
        "ok": books.ok,
        "summary": {
            "calls": books.calls,
            "attempts": books.attempts,
            "asked": books.asked,
            "made": books.made,
            "duplicates": books.duplicates,
            "lost": books.lost,
            "slept": round(books.slept, 3),
        },
        "codes": {"met": list(books.codes), "reserved": [9]},
        "problems": list(books.problems),
        "calls": [_call(each) for each in played],
    }


def _call(played: Played) -> dict[str, Any]:
    call, outcome, error = played.call, played.outcome, played.error
    return {
        "name": call.name,
        "scene": played.scene.title,
        "route": call.route,
        "planned": list(call.faults),
        "order": call.order,
        "expected": call.ends,
        "result": played.result,
        "ok": played.result == call.ends,
        "reason": outcome.reason if outcome is not None else None,
        "maybe_applied": outcome.maybe_applied if outcome is not None else None,
        "order_id": played.data.get("id"),
        "user_message": error.user_message if isinstance(error, ApiError) else None,
        "remedy": error.remedy if isinstance(error, ApiError) else None,
        "seen": [{"status": seen.status, "code": seen.code, "fault": seen.fault} for seen in played.seen],
        "attempts": list(_attempts(outcome)),
    }


def _attempts(outcome: Outcome | None) -> Iterator[dict[str, Any]]:
    for attempt in outcome.attempts if outcome is not None else ():
        yield {
            "status": attempt.status,
            "name": attempt.verdict.name,
            "code": attempt.verdict.code,
            "error": type(attempt.error).__name__ if attempt.error is not None else None,
            "wait": round(attempt.wait, 3),
            "change": list(attempt.change),
        }
