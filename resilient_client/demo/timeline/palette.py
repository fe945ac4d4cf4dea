"""The colours of a timeline, for a light and for a dark page: data only.

Law of this file: text has a contrast of at least 4.5 to what is behind it, and shapes one of at least 3 (WCAG 2.2,
1.4.3 and 1.4.11); the four kinds of marks differ by shape as well, and their colours can be told apart with any kind
of colour vision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

__all__ = ["DARK", "LIGHT", "MARKS", "SHAPES", "SURFACES", "TEXTS"]

Palette: TypeAlias = Mapping[str, str]

SURFACES = ("page", "card")
TEXTS = ("ink", "dim", "bad")
MARKS = ("success", "retried", "refused", "network")
SHAPES = (*MARKS, "wait", "renewed")

LIGHT: Palette = {
    "page": "#ffffff",
    "card": "#f5f7fa",
    "edge": "#dfe4ea",
    "grid": "#e3e8ee",
    "ink": "#1b2430",
    "dim": "#566273",
    "bad": "#a30f3d",
    "success": "#0a8a72",
    "retried": "#b87400",
    "refused": "#a30f3d",
    "network": "#5a4fd1",
    "wait": "#7b889d",
    "renewed": "#1b2430",
}

DARK: Palette = {
    "page": "#0d1117",
    "card": "#161b22",
    "edge": "#2b333d",
    "grid": "#262d36",
    "ink": "#e8edf3",
    "dim": "#9daab9",
    "bad": "#ff7a93",
    "success": "#56dcc0",
    "retried": "#f5b73d",
    "refused": "#ff5a78",
    "network": "#9a8cff",
    "wait": "#76839a",
    "renewed": "#e8edf3",
}
