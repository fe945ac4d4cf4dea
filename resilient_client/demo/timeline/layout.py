"""Where everything on a timeline goes: arithmetic only, in pixels of the drawing. Pure.

Laws of this file. Bars are as long as their seconds. A mark stands where its attempt ended, unless it would cover its
neighbour: then it moves aside by as much as is needed. The last mark's label stands beside it, those before stand
above theirs; what has no room side by side goes up, tier by tier, on a stem. Only a wait's length is left out where
it has no room.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from resilient_client.demo.words import span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .chart import Chart, Row, Wait

__all__ = ["NAMES", "PAD", "WIDTH", "PlacedLabel", "PlacedRow", "Scale", "clipped", "place", "width_of"]

WIDTH = 1080.0
PAD = 20.0  # around everything
NAMES = 168.0  # where the names of calls end, and the plot begins
RIGHT = WIDTH - PAD - 8.0  # where the plot ends
MARGIN = 150.0  # of the plot, after the last moment: room for the words of what comes at the end

MARK = 12.0  # width of a mark
STEP = MARK + 1.0  # least distance of two marks on a row
FONT = 10.5  # of labels
TIER = 12.0  # height of one line of labels
GAP = 6.0  # between two labels, and between a mark and a label beside it
BESIDE = -1  # the tier of a label beside its mark

_MONO = 0.61  # of the font's size: the width of a character
_SANS = 0.57  # on average, and rather too much
_LEAST_TICK = 52.0  # pixels from one label of the axis to the next


def width_of(text: str, size: float, *, mono: bool = True) -> float:
    """Tell how wide a text is at most, about: a character of East Asian scripts is twice as wide."""
    cells = sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)
    return cells * size * (_MONO if mono else _SANS)


def clipped(text: str, room: float, size: float, *, mono: bool = True) -> str:
    """Give as much of a text as there is room for."""
    text = text[: int(room)]  # no character is narrower than a pixel
    if width_of(text, size, mono=mono) <= room:
        return text
    while text and width_of(f"{text}…", size, mono=mono) > room:
        text = text[:-1]
    return f"{text.rstrip()}…"


@dataclass(frozen=True, slots=True)
class Scale:
    """The time axis: `x` turns a moment into pixels."""

    span: float  # seconds from its begin to its end

    @classmethod
    def of(cls, chart: Chart) -> Scale:
        """Make the one on which all of a chart has room."""
        rows = [row for section in chart.sections for group in section.groups for row in group.rows]
        ends = [mark.ends for row in rows for mark in row.marks]
        ends += [wait.begins + wait.length for row in rows for wait in row.waits]
        return cls(max([1.0, *ends]))

    @property
    def per_second(self) -> float:
        """Pixels for one second."""
        return (RIGHT - MARGIN - NAMES) / self.span

    def x(self, moment: float) -> float:
        """Tell where a moment is, in pixels."""
        return NAMES + moment * self.per_second

    def ticks(self) -> Iterator[float]:
        """Give the moments that the axis names."""
        step, factors = 0.1, (2.0, 2.5, 2.0)
        count = 0
        while step * self.per_second < _LEAST_TICK:
            step *= factors[count % 3]
            count += 1
        number = 0
        while self.x(number * step) <= RIGHT - _LEAST_TICK / 2:
            yield number * step
            number += 1


@dataclass(frozen=True, slots=True)
class PlacedLabel:
    """A text, where it begins, and its tier: `BESIDE`, 0 above the marks, or higher, with a stem down to its mark."""

    text: str
    x: float
    tier: int
    stem: float | None = None

    @property
    def end(self) -> float:
        """Where the text ends at most."""
        return self.x + width_of(self.text, FONT)


@dataclass(frozen=True, slots=True)
class PlacedRow:
    """A row: its marks by the middle of each, its bars by both ends, in the order of the row's own."""

    row: Row
    marks: tuple[float, ...]
    labels: tuple[PlacedLabel, ...]  # of the marks
    attempts: tuple[tuple[float, float], ...]
    waits: tuple[tuple[float, float], ...]
    lengths: tuple[PlacedLabel | None, ...]  # of the waits

    @property
    def tiers(self) -> int:
        """How many lines its labels need above the marks."""
        above = [label.tier for label in (*self.labels, *self.lengths) if label is not None]
        return max(above, default=BESIDE) + 1

    @property
    def track(self) -> float:
        """How far below the row's top its marks are."""
        return 4.0 + TIER * self.tiers + MARK / 2

    @property
    def height(self) -> float:
        """How high it is."""
        renewed = any(mark.renewed for mark in self.row.marks)
        return self.track + MARK / 2 + (8.0 if renewed else 2.0)


def place(row: Row, scale: Scale) -> PlacedRow:
    """Place everything on a row."""
    shortest = [clipped(mark.labels[-1], MARGIN, FONT) for mark in row.marks]
    marks = _apart([scale.x(mark.ends) for mark in row.marks], [width_of(text, FONT) for text in shortest])
    taken = _Taken()
    labels = _labels(row, marks, shortest, taken)
    waits = tuple((scale.x(wait.begins), scale.x(wait.begins + wait.length)) for wait in row.waits)
    return PlacedRow(
        row=row,
        marks=marks,
        labels=labels,
        attempts=tuple((scale.x(mark.begins), scale.x(mark.ends)) for mark in row.marks),
        waits=waits,
        lengths=tuple(_length(wait, bar, taken) for wait, bar in zip(row.waits, waits, strict=True)),
    )


def _apart(wanted: Sequence[float], widths: Sequence[float]) -> tuple[float, ...]:
    """Move marks that would cover others: to the right, and back again where they or their labels leave the plot."""
    placed: list[float] = []
    for x in wanted:
        placed.append(max(x, placed[-1] + STEP) if placed else x)
    limit = RIGHT - MARK / 2 - GAP
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], limit - widths[index])
        limit = min(placed[index] - STEP + (widths[index - 1] if index else 0.0), RIGHT + MARK / 2)
    return tuple(placed)


class _Taken:
    """What is taken on each tier of a row, from where to where."""

    def __init__(self) -> None:
        self._tiers: dict[int, list[tuple[float, float]]] = {}

    def is_free(self, tier: int, begin: float, end: float) -> bool:
        return all(end <= left or right <= begin for left, right in self._tiers.get(tier, ()))

    def take(self, tier: int, begin: float, end: float) -> None:
        self._tiers.setdefault(tier, []).append((begin, end))

    def gaps(self, begin: float, end: float) -> list[tuple[float, float]]:
        """List what is free of the lowest tier between two places."""
        inside = sorted(
            (max(begin, left), min(end, right))
            for left, right in self._tiers.get(0, ())
            if right > begin and left < end
        )
        edges = [(begin, begin), *inside, (end, end)]
        return [(left[1], right[0]) for left, right in pairwise(edges)]


def _labels(
    row: Row, marks: Sequence[float], shortest: Sequence[str], taken: _Taken
) -> tuple[PlacedLabel, ...]:
    """Place a label for each mark, the last one first: what comes before goes above what comes after."""
    placed: list[PlacedLabel] = []
    right = RIGHT
    for index in range(len(marks) - 1, -1, -1):
        texts = (*row.marks[index].labels[:-1], shortest[index])
        if not placed:
            placed.append(_beside(texts, marks[index] + MARK / 2 + GAP))
            continue
        lengths = sum(width_of(span(wait.length), FONT) + 2 * GAP for wait in _after(row, index))
        room = min(marks[index + 1], right) - marks[index] - lengths
        label = _above(texts, marks[index], room, taken)
        placed.append(label)
        right = label.x if label.tier == 0 else right
    return tuple(reversed(placed))


def _beside(texts: Sequence[str], x: float) -> PlacedLabel:
    """Write as much as there is room for to the right of the last mark."""
    fitting = [text for text in texts if x + width_of(text, FONT) <= RIGHT]
    return PlacedLabel(fitting[0] if fitting else texts[-1], x, BESIDE)


def _after(row: Row, index: int) -> list[Wait]:
    """Give the waits between a mark and the next."""
    begin, end = row.marks[index].ends, row.marks[index + 1].ends
    return [wait for wait in row.waits if begin <= wait.begins < end]


def _above(texts: Sequence[str], x: float, room: float, taken: _Taken) -> PlacedLabel:
    """Write as much as there is room for above a mark; else its shortest words, as low as they find a place."""
    left = x - MARK / 2
    for text in texts:
        width = width_of(text, FONT)
        if width <= room and taken.is_free(0, left - GAP, left + width + GAP):
            taken.take(0, left, left + width)
            return PlacedLabel(text, left, 0)
    end = left + width_of(texts[-1], FONT)
    tier = 0
    while not _fits(taken, tier, left, end, x):
        tier += 1
    taken.take(tier, left, end)
    for below in range(tier):
        taken.take(below, x - 1, x + 1)
    return PlacedLabel(texts[-1], left, tier, stem=x if tier else None)


def _fits(taken: _Taken, tier: int, begin: float, end: float, stem: float) -> bool:
    return taken.is_free(tier, begin - GAP, end + GAP) and all(
        taken.is_free(below, stem - 2, stem + 2) for below in range(tier)
    )


def _length(wait: Wait, bar: tuple[float, float], taken: _Taken) -> PlacedLabel | None:
    """Write a wait's length above it, as near to its middle as there is room."""
    text = span(wait.length)
    width = width_of(text, FONT)
    left, right = max(taken.gaps(*bar), key=lambda gap: gap[1] - gap[0])
    if right - left < width + 2 * GAP:
        return None
    middle = (bar[0] + bar[1] - width) / 2
    x = min(max(middle, left + GAP), right - GAP - width)
    taken.take(0, x, x + width)
    return PlacedLabel(text, x, 0)
