"""What was measured, as a picture: bars of ratios, a panel for each row. Pure: facts in, an SVG document out.

Law of this file: what is drawn is complete in itself (no font, script or link from elsewhere), the same for the same facts, and has the
colours of a light or a dark page as the reader prefers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from .bars import ALONE, OURS, OVER
from .rows import BASE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["svg"]

WIDTH, PAD = 1030.0, 24.0
COLUMN = (WIDTH - 3 * PAD) / 2
NAMES = 276.0  # the width of the names at the left of a panel
VALUES = 46.0  # of the figures at its right
TOP = 92.0  # of the first panels
HEAD, BAR, GAP, FOOT = 30.0, 20.0, 3.0, 70.0  # above the bars, each bar, between two, below them
TICKS = 4  # of an axis, at the most

# Text has a contrast of at least 4.5 to the page, bars one of at least 3 (WCAG 2.2, 1.4.3 and 1.4.11).
LIGHT = {
    "page": "#ffffff",
    "grid": "#e3e8ee",
    "ink": "#1b2430",
    "dim": "#566273",
    "own": "#0a8a72",
    "other": "#7b889d",
}
DARK = {
    "page": "#0d1117",
    "grid": "#262d36",
    "ink": "#e8edf3",
    "dim": "#9daab9",
    "own": "#56dcc0",
    "other": "#76839a",
}

_SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_SHAPES = (
    f"text{{font:12px {_SANS}}}.h1{{font:700 20px {_SANS}}}.h2{{font:700 13px {_SANS}}}.r{{text-anchor:end}}.m{{text-anchor:middle}}"
    ".own{font-weight:700}.value{paint-order:stroke;stroke-width:4}.grid,.one,.span{stroke-width:1}.one{stroke-dasharray:4 3}"
)
_RULES = (
    ".page{{fill:{page}}}.grid{{stroke:{grid}}}.one,.span{{stroke:{ink}}}",
    "text{{fill:{ink}}}.dim{{fill:{dim}}}.value{{stroke:{page}}}",
    ".ours{{fill:{own}}}.other{{fill:{other}}}",
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One row of the facts, to be drawn."""

    title: str
    axis: str
    bars: Mapping[str, tuple[float, float, float]]  # the ratio, between its quartiles

    @property
    def height(self) -> float:
        """Tell how much of a column it takes."""
        return HEAD + len(self.bars) * (BAR + GAP) + FOOT


def _columns(facts: dict[str, Any]) -> tuple[list[Panel], list[Panel]]:
    less = f"time of a call, {BASE} = 1: less is better"
    more = f"requests per second, {BASE} = 1: more is better"
    left = [
        Panel("Client.get, in memory, to the same address", less, _gets(facts)),
        Panel(
            "Three times 503, then 200, in memory",
            f"time, four calls with {BASE} = 1: less is better",
            _ratios(facts, "failing"),
        ),
        Panel(
            "Asleep before a retry, 10,000 at once",
            f"bytes of a call, {BASE} = 1: less is better",
            _bytes(facts),
        ),
    ]
    right = [
        Panel("A server on this machine, one thread", more, _ratios(facts, "loopback")),
        Panel("A server on this machine, async, 64 at once", more, _ratios(facts, "crowd")),
    ]
    return left, right


def _ratios(facts: dict[str, Any], row: str) -> dict[str, tuple[float, float, float]]:
    return {
        label: (one["ratio"], one["ratio_low"], one["ratio_high"])
        for label, one in facts["timed"][row].items()
    }


def _gets(facts: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Put this library with addresses that it has not seen before next to it with the same one each time."""
    found = {}
    for label, bar in _ratios(facts, "get").items():
        found[label] = bar
        if label == OURS:
            found[f"{OURS}, new addresses"] = _ratios(facts, "get_new")[OURS]
    return found


def _bytes(facts: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    base = facts["asleep"][BASE]["resident"]
    return {name: (one["resident"] / base,) * 3 for name, one in facts["asleep"].items()}


def svg(facts: dict[str, Any]) -> str:
    """Draw the facts as an SVG document."""
    columns = _columns(facts)
    height = TOP + max(sum(panel.height for panel in column) for column in columns)
    frame = f'viewBox="0 0 {WIDTH:g} {height:g}" width="{WIDTH:g}" height="{height:g}"'
    measured = facts["measured"]
    title = "What resilient-client costs, and what it saves"
    told = (
        f"Ratios to {BASE} {measured['versions']['httpx']} of the same round, medians; the thin lines are quartiles. "
        f"Python {measured['python']}, {measured['processors']} processors, {measured['date']}."
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {frame} role="img" aria-labelledby="speed-title speed-told">',
            f'<title id="speed-title">{escape(title)}</title>',
            f'<desc id="speed-told">{escape(told)}</desc>',
            f"<style>{_style()}</style>",
            f'<rect class="page" width="{WIDTH:g}" height="{height:g}"/>',
            f'<text class="h1" x="{PAD:g}" y="40">{escape(title)}</text>',
            f'<text class="dim" x="{PAD:g}" y="62">{escape(told)}</text>',
            *(
                line
                for number, column in enumerate(columns)
                for line in _column(column, PAD + number * (COLUMN + PAD))
            ),
            "</svg>",
            "",
        ]
    )


def _style() -> str:
    light, dark = ("".join(rule.format_map(colours) for rule in _RULES) for colours in (LIGHT, DARK))
    return f"{_SHAPES}{light}@media (prefers-color-scheme:dark){{{dark}}}"


def _column(panels: list[Panel], left: float) -> Iterator[str]:
    top = TOP
    for panel in panels:
        yield from _panel(panel, left, top)
        top += panel.height


def _panel(panel: Panel, left: float, top: float) -> Iterator[str]:
    begin, end = left + NAMES, left + COLUMN - VALUES
    most = max(1.0, *(high for _, _, high in panel.bars.values()))
    step = _step(most)
    most = math.ceil(most / step) * step
    first, last = top + HEAD - 6, top + HEAD + len(panel.bars) * (BAR + GAP)

    def x(ratio: float) -> float:
        return begin + ratio / most * (end - begin)

    yield f'<text class="h2" x="{left:g}" y="{top + 12:g}">{escape(panel.title)}</text>'
    for number in range(round(most / step) + 1):
        at = x(number * step)
        yield f'<path class="grid" d="M{at:.1f} {first:g}V{last:g}"/>'
        yield f'<text class="dim m" x="{at:.1f}" y="{last + 15:g}">{number * step:g}</text>'
    yield f'<text class="dim r" x="{end:.1f}" y="{last + 32:g}">{escape(panel.axis)}</text>'
    values = []
    for number, (label, (ratio, low, high)) in enumerate(panel.bars.items()):
        y = top + HEAD + number * (BAR + GAP)
        own = label.partition(",")[0] in {OURS, ALONE, OVER}
        kind, weight = ("ours", " own") if own else ("other", "")
        yield f'<text class="r{weight}" x="{begin - 8:g}" y="{y + 14:g}">{escape(label)}</text>'
        yield f'<rect class="{kind}" x="{begin:g}" y="{y + 2:g}" width="{x(ratio) - begin:.1f}" height="{BAR - 4:g}" rx="2"/>'
        if high > low:
            yield f'<path class="span" d="M{x(low):.1f} {y + BAR / 2:g}H{x(high):.1f}"/>'
        at = x(max(ratio, high)) + 6
        values.append(f'<text class="value{weight}" x="{at:.1f}" y="{y + 14:g}">{ratio:.2f}</text>')
    yield f'<path class="one" d="M{x(1):.1f} {first:g}V{last:g}"/>'
    yield from values  # last, for the line must not cross them


def _step(most: float) -> float:
    """Find a round number that divides an axis into few parts."""
    raw = most / TICKS
    unit: float = 10.0 ** math.floor(math.log10(raw))
    return next(unit * times for times in (1, 2, 2.5, 5, 10) if unit * times >= raw)
