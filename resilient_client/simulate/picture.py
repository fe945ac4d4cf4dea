"""The books as a picture: what was asked for and what the server got, and below it how many calls succeeded. Pure.

Law of this file: what is drawn is complete in itself (no font, script or link from elsewhere), the same for the same books,
and has the colours of a light or a dark page as the reader prefers.
"""

from __future__ import annotations

import math
import textwrap
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from resilient_client.demo.timeline.palette import DARK, LIGHT

from .show import headline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .books import Books, Step

__all__ = ["svg"]

WIDTH = 960.0
PAD = 24.0
LEFT, RIGHT = 84.0, WIDTH - PAD  # of the plots
LOAD_TOP, LOAD_BASE = 138.0, 318.0
SUCCESS_TOP, SUCCESS_BASE = 358.0, 448.0
HEIGHT = 490.0
_TICKS = (
    0.1,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    1800,
    3600,
)  # seconds from one label of the axis to the next
_STEPS = 300  # stretches of time at the most
_LINE = 132  # characters of the sentence below the title

_FRAME = f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}" width="{WIDTH:g}" height="{HEIGHT:g}"'
_IDS = "simulated-title simulated-summary"
_SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_RULES = (
    ".page{{fill:{page}}}.card{{fill:{card};stroke:{edge}}}.grid{{stroke:{grid}}}",
    "text{{fill:{ink}}}.dim{{fill:{dim}}}",
    ".down{{fill:{refused};fill-opacity:.13}}.gone{{fill:{bad}}}",
    ".offered{{stroke:{wait}}}.seen{{stroke:{network}}}.area{{fill:{network};fill-opacity:.16}}",
    ".worked{{stroke:{success}}}.well{{fill:{success};fill-opacity:.2}}",
)


def svg(books: Books) -> str:
    """Draw the books as an SVG document."""
    scenario = books.scenario
    steps = list(books.series(_nice(max(1.0, scenario.duration / _STEPS))))
    end = max(len(steps) * _width(steps), scenario.duration)
    most = _nice(max([1.0, *(max(step.calls, step.requests) for step in steps)]) * 1.02)

    def x(at: float) -> float:
        return LEFT + at / end * (RIGHT - LEFT)

    def load(rate: float) -> float:
        return LOAD_BASE - rate / most * (LOAD_BASE - LOAD_TOP)

    title = f"{scenario.policy.rulebook.title}, simulated"
    told = headline(books)
    words = [
        f'<text class="dim" x="{PAD:g}" y="{62 + 18 * number:g}">{escape(line)}</text>'
        for number, line in enumerate(textwrap.wrap(told, _LINE))
    ]
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<svg xmlns="http://www.w3.org/2000/svg" {_FRAME} role="img" aria-labelledby="{_IDS}">',
            f'<title id="simulated-title">{escape(title)}</title>',
            f'<desc id="simulated-summary">{escape(told)}</desc>',
            f"<style>{_style()}</style>",
            f'<rect class="page" width="{WIDTH:g}" height="{HEIGHT:g}" rx="12"/>',
            f'<text class="h1" x="{PAD:g}" y="38">{escape(title)}</text>',
            *words,
            *_legend(),
            *_card(LOAD_TOP, LOAD_BASE),
            *_card(SUCCESS_TOP, SUCCESS_BASE),
            *_outage(books, x),
            *_levels(load, [most * part / 4 for part in range(5)], "{:g}"),
            *_levels(_well, [0.0, 0.5, 1.0], "{:.0%}"),
            f'<text class="dim" x="{LEFT:g}" y="{LOAD_TOP - 8:g}">a second</text>',
            f'<text class="dim" x="{LEFT:g}" y="{SUCCESS_TOP - 8:g}">calls that ended well</text>',
            *_seconds(end, x),
            _area("area", [(x(step.at), load(step.requests)) for step in steps], x(end), LOAD_BASE),
            _line("offered", [(x(step.at), load(step.calls)) for step in steps], x(end)),
            _line("seen", [(x(step.at), load(step.requests)) for step in steps], x(end)),
            *_success(steps, x),
            "</svg>",
            "",
        ]
    )


def _style() -> str:
    shapes = (
        f"text{{font:12px {_SANS}}}.h1{{font:700 20px {_SANS}}}.r{{text-anchor:end}}.m{{text-anchor:middle}}"
        ".grid{stroke-width:1}.offered,.seen,.worked{fill:none;stroke-width:1.8;stroke-linejoin:round}"
        ".offered{stroke-dasharray:5 3}"
    )
    light, dark = ("".join(rule.format_map(colours) for rule in _RULES) for colours in (LIGHT, DARK))
    return f"{shapes}{light}@media (prefers-color-scheme:dark){{{dark}}}"


def _legend() -> Iterator[str]:
    x = LEFT + 90
    for kind, meaning in (("offered", "calls that began"), ("seen", "requests that the server got")):
        yield f'<path class="{kind}" d="M{x:g} {LOAD_TOP - 12:g}h26"/>'
        yield f'<text class="dim" x="{x + 32:g}" y="{LOAD_TOP - 8:g}">{meaning}</text>'
        x += 160


def _card(top: float, base: float) -> Iterator[str]:
    yield f'<rect class="card" x="{LEFT:g}" y="{top:g}" width="{RIGHT - LEFT:g}" height="{base - top:g}"/>'


def _outage(books: Books, x: Callable[[float], float]) -> Iterator[str]:
    outage = books.scenario.outage
    if outage is None:
        return
    begin, end = x(outage.begin), x(outage.end)
    for top, base in ((LOAD_TOP, LOAD_BASE), (SUCCESS_TOP, SUCCESS_BASE)):
        yield (
            f'<rect class="down" x="{begin:.1f}" y="{top:g}" width="{end - begin:.1f}" height="{base - top:g}"/>'
        )
    yield f'<text class="gone m" x="{(begin + end) / 2:.1f}" y="{LOAD_TOP + 16:g}">down</text>'


def _levels(y: Callable[[float], float], values: Iterable[float], written: str) -> Iterator[str]:
    for value in values:
        yield f'<path class="grid" d="M{LEFT:g} {y(value):.1f}H{RIGHT:g}"/>'
        yield f'<text class="dim r" x="{LEFT - 8:g}" y="{y(value) + 4:.1f}">{written.format(value)}</text>'


def _seconds(end: float, x: Callable[[float], float]) -> Iterator[str]:
    step = next((step for step in _TICKS if end / step <= 14), _nice(end / 12))
    for number in range(int(end / step) + 1):
        at = number * step
        yield f'<text class="dim m" x="{x(at):.1f}" y="{SUCCESS_BASE + 18:g}">{at:g}{"" if number else " s"}</text>'


def _success(steps: Sequence[Step], x: Callable[[float], float]) -> Iterator[str]:
    """Draw the share of calls that ended well, with gaps where none ended."""
    width = _width(steps)
    for some, group in groupby(steps, lambda step: step.ended > 0):
        run = list(group)
        if some:
            points = [(x(step.at), _well(step.worked / step.ended)) for step in run]
            yield _area("well", points, x(run[-1].at + width), SUCCESS_BASE)
            yield _line("worked", points, x(run[-1].at + width))


def _well(share: float) -> float:
    return SUCCESS_BASE - share * (SUCCESS_BASE - SUCCESS_TOP)


def _line(kind: str, points: Sequence[tuple[float, float]], end: float) -> str:
    return f'<path class="{kind}" d="{_stairs(points, end)}"/>'


def _area(kind: str, points: Sequence[tuple[float, float]], end: float, base: float) -> str:
    return f'<path class="{kind}" d="{_stairs(points, end)}V{base:g}H{points[0][0]:.1f}Z"/>'


def _stairs(points: Sequence[tuple[float, float]], end: float) -> str:
    (x, y), *others = points
    return f"M{x:.1f} {y:.1f}{''.join(f'H{x:.1f}V{y:.1f}' for x, y in others)}H{end:.1f}"


def _width(steps: Sequence[Step]) -> float:
    return steps[1].at if steps[1:] else 1.0


def _nice(number: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten, or the like."""
    power = 10.0 ** math.floor(math.log10(number))
    return next(
        part * power for part in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10) if part * power >= number - 1e-9
    )
