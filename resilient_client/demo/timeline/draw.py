"""A chart as text: an SVG picture, or an HTML page around one. Pure.

Law of this file: what is drawn is complete in itself (no font, script or link from elsewhere), well-formed whatever
the chart's words are, and the same for the same chart.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from resilient_client.demo.words import renewed

from .layout import BESIDE, FONT, MARK, NAMES, PAD, RIGHT, TIER, WIDTH, Scale, clipped, place, width_of
from .palette import DARK, LIGHT, MARKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .chart import Chart, Group, Section
    from .layout import PlacedLabel, PlacedRow

__all__ = ["html", "svg"]

MEANINGS = {
    "success": "success",
    "retried": "error, sent again",
    "refused": "error, final",
    "network": "network fault",
}

_SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"

_IDS = "timeline-title timeline-summary"

# Each within a square of 12 pixels around its middle.
_SYMBOLS = {
    "success": '<circle class="success" r="6"/><path class="cut" d="M-2.8 .2-.8 2.3 3-2.2"/>',
    "retried": '<path class="retried" d="M0-6 6 5H-6Z"/><path class="cut" d="M0-2V1.2M0 2.9V3.1"/>',
    "refused": '<rect class="refused" x="-5.5" y="-5.5" width="11" height="11" rx="1.5"/>'
    '<path class="cut" d="M-2.4-2.4 2.4 2.4M2.4-2.4-2.4 2.4"/>',
    "network": '<path class="network" d="M0-6.3 6.3 0 0 6.3-6.3 0Z"/><path class="cut" d="M-2.7 0h1.6M1.1 0h1.6"/>',
}
# What was renewed for an attempt stands below its mark, within 5 pixels.
_RENEWALS = {
    "nonce": '<circle class="ring" r="2"/>',
    "refresh": '<circle class="dot" r="2.5"/>',
    "override": '<path class="ring" d="M-2.5 0h5M0-2.5v5"/>',
}
_ANYTHING_ELSE = "override"

# What XML 1.0 has no way to write (2.2), and lone surrogates, which no encoding has.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def svg(chart: Chart) -> str:
    """Draw a chart as an SVG document: UTF-8, with the colours of a light or a dark page as the reader prefers."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{_picture(chart, headed=True)}\n'


def html(chart: Chart) -> str:
    """Draw a chart as an HTML page, on which the picture scrolls sideways within a box of its own."""
    rules = "\n".join(
        [
            ":root{color-scheme:light dark}",
            f"body{{margin:0 auto;padding:24px 16px;max-width:1400px;font:15px/1.5 {_SANS}}}",
            "h1{font-size:22px;line-height:1.25;margin:0 0 4px}p{margin:0 0 16px}",
            ".box{overflow-x:auto;border-radius:12px}.box svg{display:block;width:100%;min-width:1000px;height:auto}",
            *_coloured(("body{{background:{page};color:{ink}}}", "p{{color:{dim}}}")),
        ]
    )
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"/>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            f"<title>{_written(chart.title)}</title>",
            f"<style>{rules}</style></head>",
            f"<body><h1>{_written(chart.title)}</h1>",
            f"<p>{_written(chart.summary)}</p>",
            '<div class="box" tabindex="0" role="region" aria-label="Timeline">',
            _picture(chart, headed=False),
            "</div></body></html>",
            "",
        ]
    )


def _picture(chart: Chart, *, headed: bool) -> str:
    scale = Scale.of(chart)
    lines: list[str] = []
    y = PAD
    if headed:
        y += 20
        title = clipped(chart.title, WIDTH - 2 * PAD, 20, mono=False)
        lines.append(f'<text class="h1" x="{PAD:g}" y="{y:g}">{_written(title)}</text>')
        y += 22
        summary = clipped(chart.summary, WIDTH - 2 * PAD, 13, mono=False)
        lines.append(f'<text class="sum" x="{PAD:g}" y="{y:g}">{_written(summary)}</text>')
        y += 26
    lines += _legend(chart, y + 8)
    y += 20
    for section in chart.sections:
        drawn, y = _section(section, scale, y)
        lines += drawn
    height = y + PAD
    edge = 0.0 if headed else PAD - 1  # within a page, which has margins of its own
    width, shown = WIDTH - 2 * edge, height - 2 * edge
    frame = f'viewBox="{edge:g} {edge:g} {width:g} {_px(shown)}" width="{width:g}" height="{_px(shown)}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {frame} role="img" aria-labelledby="{_IDS}">',
            f'<title id="timeline-title">{_written(chart.title)}</title>',
            f'<desc id="timeline-summary">{_written(chart.summary)}</desc>',
            f"<style>{_style()}</style>",
            "<defs>",
            *(f'<g id="{name}">{shape}</g>' for name, shape in (_SYMBOLS | _RENEWALS).items()),
            "</defs>",
            f'<rect class="page" width="{WIDTH:g}" height="{_px(height)}" rx="12"/>',
            *lines,
            "</svg>",
        ]
    )


def _style() -> str:
    """Write the rules: shapes and fonts once, colours twice."""
    return "\n".join(
        [
            "",
            f"text{{font:{FONT}px {_MONO}}}",
            f".h1{{font:700 20px {_SANS}}}.h2{{font:700 15px {_SANS}}}.h3{{font:600 12.5px {_SANS}}}",
            f".sum{{font:13px {_SANS}}}.note{{font:12px {_SANS}}}.about{{font:11.5px {_SANS}}}",
            ".name{font-size:12px}.r{text-anchor:end}.m{text-anchor:middle}",
            ".cut,.ring{fill:none;stroke-width:1.5;stroke-linecap:round;stroke-linejoin:round}.ring{stroke-width:1.2}",
            ".grid,.stem{stroke-width:1}.wrong{font-weight:700}",
            *_coloured(
                (
                    ".page{{fill:{page}}}.card{{fill:{card};stroke:{edge}}}.grid{{stroke:{grid}}}.cut{{stroke:{card}}}",
                    ".ink,.h1,.h2,.h3,.name,text{{fill:{ink}}}.sum,.note,.about,.tick,.len,.key{{fill:{dim}}}",
                    ".stem{{stroke:{wait}}}.wait{{fill:{wait}}}.ring{{stroke:{renewed}}}.dot{{fill:{renewed}}}",
                    ".wrong{{fill:{bad}}}",
                    "".join(f".{kind}{{{{fill:{{{kind}}}}}}}" for kind in MARKS),
                )
            ),
        ]
    )


def _coloured(rules: Iterable[str]) -> Iterator[str]:
    """Write rules in both palettes."""
    rules = tuple(rules)
    yield from (rule.format_map(LIGHT) for rule in rules)
    yield "@media (prefers-color-scheme:dark){"
    yield from (rule.format_map(DARK) for rule in rules)
    yield "}"


def _legend(chart: Chart, y: float) -> Iterator[str]:
    """Explain the signs: all the marks, and those of the renewals that there are."""
    marks = [
        mark
        for section in chart.sections
        for group in section.groups
        for row in group.rows
        for mark in row.marks
    ]
    x = PAD + MARK / 2
    for kind, meaning in MEANINGS.items():
        yield f'<use href="#{kind}" x="{_px(x)}" y="{_px(y)}"/>'
        yield f'<text class="key" x="{_px(x + 11)}" y="{_px(y + 4)}">{meaning}</text>'
        x += 11 + width_of(meaning, FONT) + 22
    yield f'<rect class="wait" x="{_px(x - 6)}" y="{_px(y - 2)}" width="28" height="4" rx="2"/>'
    yield f'<text class="key" x="{_px(x + 29)}" y="{_px(y + 4)}">wait</text>'
    x += 29 + width_of("wait", FONT) + 22
    for change in dict.fromkeys(change for mark in marks for change in mark.renewed):
        meaning = clipped(renewed(change), 120, FONT)
        yield f'<use href="#{_renewal(change)}" x="{_px(x)}" y="{_px(y)}"/>'
        yield f'<text class="key" x="{_px(x + 9)}" y="{_px(y + 4)}">{_written(meaning)}</text>'
        x += 9 + width_of(meaning, FONT) + 22


def _section(section: Section, scale: Scale, y: float) -> tuple[list[str], float]:
    """Draw a heading, and a card with an axis and the groups below it; tell where it ends."""
    y += 30
    half = WIDTH / 2 - PAD - 8
    title, note = clipped(section.title, half, 15, mono=False), clipped(section.note, half, 12, mono=False)
    heading = [
        f'<text class="h2" x="{PAD:g}" y="{_px(y)}">{_written(title)}</text>',
        f'<text class="note r" x="{WIDTH - PAD:g}" y="{_px(y)}">{_written(note)}</text>',
    ]
    top = y = y + 10
    lines, y = [], y + 18
    for group in section.groups:
        drawn, y = _group(group, scale, y)
        lines += drawn
    y += 8
    return [
        *heading,
        f'<rect class="card" x="{PAD:g}" y="{_px(top)}" width="{WIDTH - 2 * PAD:g}" height="{_px(y - top)}" rx="8"/>',
        *_axis(scale, top, y),
        *lines,
    ], y


def _axis(scale: Scale, top: float, end: float) -> Iterator[str]:
    for moment in scale.ticks():
        x = _px(scale.x(moment))
        yield f'<path class="grid" d="M{x} {_px(top + 20)}V{_px(end - 6)}"/>'
        yield f'<text class="tick m" x="{x}" y="{_px(top + 15)}">{moment:g}{" s" if not moment else ""}</text>'


def _group(group: Group, scale: Scale, y: float) -> tuple[list[str], float]:
    y += 24
    x = PAD + 12
    title = clipped(group.title, (RIGHT - x) / 2, 12.5, mono=False)
    about = clipped(group.about, RIGHT - x - width_of(title, 12.5, mono=False) - 12, 11.5, mono=False)
    # One text: in whatever font, what follows the title does not cover it.
    words = (
        f'<tspan class="h3">{_written(title)}</tspan><tspan class="about" dx="12">{_written(about)}</tspan>'
    )
    lines = [f'<text x="{_px(x)}" y="{_px(y)}">{words}</text>']
    y += 6
    for row in group.rows:
        placed = place(row, scale)
        lines += _row(placed, y)
        y += placed.height
    return lines, y


def _row(placed: PlacedRow, y: float) -> Iterator[str]:
    """Draw a call: its name, then waits and attempts, each with its story for who points at it."""
    row, track = placed.row, y + placed.track
    name = clipped(row.name if row.right else f"✗ {row.name}", NAMES - PAD - 24, 12)
    yield '<g class="row">'
    yield (
        f'<text class="name{"" if row.right else " wrong"}" x="{PAD + 12:g}" y="{_px(track + 4)}">'
        f"<title>{_written(row.story)}</title>{_written(name)}</text>"
    )
    if placed.marks[1:]:
        yield f'<path class="stem" d="M{_px(placed.marks[0])} {_px(track)}H{_px(placed.marks[-1])}"/>'
    for wait, (begin, end), length in zip(row.waits, placed.waits, placed.lengths, strict=True):
        yield (
            f'<g><title>{_written(wait.story)}</title><rect class="wait" x="{_px(begin)}" y="{_px(track - 2)}" '
            f'width="{_px(end - begin)}" height="4" rx="2"/>{_text(placed, length, y, "len")}</g>'
        )
    for mark, x, (begin, end), label in zip(
        row.marks, placed.marks, placed.attempts, placed.labels, strict=True
    ):
        bar = (
            f'<rect class="{mark.kind}" x="{_px(begin)}" y="{_px(track - 1)}" width="{_px(end - begin)}" height="2"/>'
            if end - begin > MARK / 2
            else ""
        )
        stem = (
            f'<path class="stem" d="M{_px(label.stem)} {_px(_line(placed, label, y) + 2)}V{_px(track - MARK / 2)}"/>'
            if label.stem is not None
            else ""
        )
        signs = "".join(
            f'<use href="#{_renewal(change)}" x="{_px(x + 6 * number)}" y="{_px(track + 10)}"/>'
            for number, change in enumerate(mark.renewed)
        )
        yield (
            f"<g><title>{_written(mark.story)}</title>{bar}{stem}"
            f'<use href="#{mark.kind}" x="{_px(x)}" y="{_px(track)}"/>{signs}{_text(placed, label, y, "met")}</g>'
        )
    yield "</g>"


def _line(placed: PlacedRow, label: PlacedLabel, y: float) -> float:
    """Tell where the base line of a label is."""
    if label.tier == BESIDE:
        return y + placed.track + 3.8
    return y + placed.track - MARK / 2 - 3 - TIER * label.tier


def _text(placed: PlacedRow, label: PlacedLabel | None, y: float, kind: str) -> str:
    if label is None:
        return ""
    return f'<text class="{kind}" x="{_px(label.x)}" y="{_px(_line(placed, label, y))}">{_written(label.text)}</text>'


def _renewal(change: str) -> str:
    return change if change in _RENEWALS else _ANYTHING_ELSE


def _px(length: float) -> str:
    """Write a length, to a tenth of a pixel."""
    return f"{length:.1f}".removesuffix(".0")


def _written(text: str) -> str:
    return escape(_UNWRITABLE.sub("\ufffd", text))
