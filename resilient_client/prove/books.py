"""Comparing what the callers were told with what the server holds and has seen. Pure.

Law of this file: every create is in exactly one column, by what its caller was told, by how many the server holds and by what arrived
there of it; nothing is known beforehand. Where no create was confirmed, or most were never sent, nothing was proved. One caution too many
may be a reply that came too late, which the server cannot know: it is counted, and wrong only where it is the rule.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .wire import WRONGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .wire import Wire

__all__ = ["FAILURES", "Books", "Told", "balance"]


@dataclass(frozen=True, slots=True)
class Told:
    """What the caller of one create was left with."""

    mark: str  # which create
    made: bool | None  # None: it may have been made
    failure: str | None = None  # what the caller met where it was told nothing at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """All creates of a run, each in one column; and what was wrong with their requests, whatever column they are in."""

    asked: int
    confirmed: int  # told made, and the server holds one
    failed: int  # told not made, and the server holds none
    unsent: int  # told not made, and nothing of it ever arrived
    unknown_made: int  # told that it may have been made, and the server holds one
    unknown_not_made: int  # told that it may have been made, and the server holds none
    cautious: int  # the same, though each of its requests was answered in a way that leaves no doubt
    duplicated: int  # the server holds more than one
    lost: int  # told made, and the server holds none
    denied: int  # told not made, and the server holds one
    alarmed: int  # told that it may have been made, and nothing of it ever arrived
    untold: int  # neither an answer nor an outcome, whatever the server holds
    unasked: int  # what the server holds that nobody asked for
    two_keys: int  # this and what follows: see `wire`
    unkeyed: int
    two_bodies: int
    nonce_twice: int
    resent: int
    problems: tuple[str, ...]  # whatever must not be, in sentences

    @property
    def ok(self) -> bool:
        """Tell whether nothing was doubled or lost, everybody was told, all went out as it must, and the books add up."""
        return not self.problems


FAILURES = {
    "duplicated": "made more than once",
    "lost": "lost: told made, and the server holds none",
    "denied": "lost: told not made, and the server holds one",
    "alarmed": "told that it may have been made, and never sent",
    "untold": "told nothing: neither an answer nor an outcome",
}
"""The columns that must be empty."""


def balance(asked: Sequence[str], told: Sequence[Told], held: Mapping[str, int], wire: Wire) -> Books:
    """Put every create that was asked for into its column; `held` is how many the server holds, by mark."""
    columns: dict[str, list[str]] = {}
    for each in told:
        columns.setdefault(_column(each, held.get(each.mark, 0), wire), []).append(each.mark)
    counts = Counter({name: len(marks) for name, marks in columns.items()})
    unasked = sorted(held.keys() - set(asked))
    return Books(
        asked=len(asked),
        confirmed=counts["confirmed"],
        failed=counts["failed"],
        unsent=counts["unsent"],
        unknown_made=counts["unknown_made"],
        unknown_not_made=counts["unknown_not_made"],
        cautious=counts["cautious"],
        duplicated=counts["duplicated"],
        lost=counts["lost"],
        denied=counts["denied"],
        alarmed=counts["alarmed"],
        untold=counts["untold"],
        unasked=sum(held[mark] for mark in unasked),
        **{name: len(wire.wrongs.get(name, ())) for name in WRONGS},
        problems=(
            *_problems(asked, told, {**columns, **wire.wrongs}, unasked),
            *_doubts(len(asked), counts, wire.strays),
        ),
    )


def _column(told: Told, held: int, wire: Wire) -> str:  # noqa: PLR0911 - one return for each kind of end
    if held > 1:
        return "duplicated"
    if told.failure is not None:
        return "untold"
    if told.made:
        return "confirmed" if held else "lost"
    if held:
        return "unknown_made" if told.made is None else "denied"
    if told.mark not in wire.sent:
        return "alarmed" if told.made is None else "unsent"
    if told.made is None:
        return "unknown_not_made" if told.mark in wire.unclear else "cautious"
    return "failed"


def _problems(
    asked: Sequence[str], told: Sequence[Told], wrong: Mapping[str, Sequence[str]], unasked: Sequence[str]
) -> Iterator[str]:
    for name, what in (FAILURES | WRONGS).items():
        if marks := wrong.get(name):
            yield f"{len(marks)} {what} ({_some(marks)})"
    for failure, count in Counter(each.failure for each in told if each.failure is not None).most_common(3):
        yield f"{failure} ({count} of them)"
    if unasked:
        yield f"{len(unasked)} held by the server, and asked for by nobody ({_some(unasked)})"
    answers = Counter(each.mark for each in told)
    if astray := [mark for mark in asked if answers[mark] != 1]:
        yield f"{len(astray)} not told, or told twice ({_some(astray)})"


def _doubts(asked: int, counts: Counter[str], strays: int) -> Iterator[str]:
    """Tell what keeps the books from proving anything, though each create may be in a column of its own right."""
    if strays:
        yield f"{strays} requests without the mark of a create: what was sent for it is not known"
    if counts["cautious"] > counts["failed"]:
        yield f"{counts['cautious']} told that it may have been made, and only {counts['failed']} not made, where all was refused"
    if not counts["confirmed"]:
        yield "nothing was proved: not one create was confirmed"
    elif 2 * counts["unsent"] > asked:
        yield f"nothing was proved: {counts['unsent']} of {asked} creates were never sent"


def _some(marks: Sequence[str]) -> str:
    shown = ", ".join(sorted(marks)[:3])
    return shown if len(marks) <= 3 else f"{shown} and others"
