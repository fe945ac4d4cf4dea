"""Comparing what the callers were told with what the server holds. Pure.

Law of this file: every create is in exactly one column, by what its caller was told and by how many the server holds; nothing is known
beforehand.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["FAILURES", "Books", "Told", "balance"]


@dataclass(frozen=True, slots=True)
class Told:
    """What the caller of one create was left with."""

    mark: str  # which create
    made: bool | None  # None: it may have been made
    failure: str | None = None  # what the caller met where it was told nothing at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """All creates of a run, each in one column."""

    asked: int
    confirmed: int  # told made, and the server holds one
    failed: int  # told not made, and the server holds none
    unknown_made: int  # told that it may have been made, and the server holds one
    unknown_not_made: int  # told that it may have been made, and the server holds none
    duplicated: int  # the server holds more than one
    lost: int  # told made, and the server holds none
    denied: int  # told not made, and the server holds one
    untold: int  # neither an answer nor an outcome, whatever the server holds
    unasked: int  # what the server holds that nobody asked for
    problems: tuple[str, ...]  # whatever must not be, in sentences

    @property
    def ok(self) -> bool:
        """Tell whether nothing was doubled or lost, everybody was told, and the books add up."""
        return not self.problems


FAILURES = {
    "duplicated": "made more than once",
    "lost": "lost: told made, and the server holds none",
    "denied": "lost: told not made, and the server holds one",
    "untold": "told nothing: neither an answer nor an outcome",
}
"""The columns that must be empty."""


def balance(asked: Sequence[str], told: Sequence[Told], held: Mapping[str, int]) -> Books:
    """Put every create that was asked for into its column; `held` is how many the server holds, by mark."""
    columns: dict[str, list[str]] = {}
    for each in told:
        columns.setdefault(_column(each, held.get(each.mark, 0)), []).append(each.mark)
    counts = Counter({name: len(marks) for name, marks in columns.items()})
    unasked = sorted(held.keys() - set(asked))
    return Books(
        asked=len(asked),
        confirmed=counts["confirmed"],
        failed=counts["failed"],
        unknown_made=counts["unknown_made"],
        unknown_not_made=counts["unknown_not_made"],
        duplicated=counts["duplicated"],
        lost=counts["lost"],
        denied=counts["denied"],
        untold=counts["untold"],
        unasked=sum(held[mark] for mark in unasked),
        problems=tuple(_problems(asked, told, columns, unasked)),
    )


def _column(told: Told, held: int) -> str:
    if held > 1:
        return "duplicated"
    if told.failure is not None:
        return "untold"
    if told.made is None:
        return "unknown_made" if held else "unknown_not_made"
    if told.made:
        return "confirmed" if held else "lost"
    return "denied" if held else "failed"


def _problems(
    asked: Sequence[str], told: Sequence[Told], columns: Mapping[str, Sequence[str]], unasked: Sequence[str]
) -> Iterator[str]:
    for name, what in FAILURES.items():
        if marks := columns.get(name):
            yield f"{len(marks)} {what} ({_some(marks)})"
    for failure, count in Counter(each.failure for each in told if each.failure is not None).most_common(3):
        yield f"{failure} ({count} of them)"
    if unasked:
        yield f"{len(unasked)} held by the server, and asked for by nobody ({_some(unasked)})"
    answers = Counter(each.mark for each in told)
    if astray := [mark for mark in asked if answers[mark] != 1]:
        yield f"{len(astray)} not told, or told twice ({_some(astray)})"


def _some(marks: Sequence[str]) -> str:
    shown = ", ".join(sorted(marks)[:3])
    return shown if len(marks) <= 3 else f"{shown} and others"
