"""A picture of calls in time: a row per call, with its attempts, waits and faults. Pure: values in, text out.

    outcomes --> chart --> layout --> draw

`chart` makes rows of outcomes, `layout` finds a place for everything, `draw` writes SVG or HTML.
"""

from __future__ import annotations

from .chart import Chart, Group, Mark, Row, Section, Wait, row
from .draw import html, svg

__all__ = ["Chart", "Group", "Mark", "Row", "Section", "Wait", "html", "row", "svg"]
