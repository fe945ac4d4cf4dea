"""Where does the server say how long to wait? Told from the headers and fields that a document names.

Law of this file: a place is listed only where the document names it, the one that is closest to a wait in seconds first. Dates in
bodies and headers other than Retry-After are left out: the format does not read them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .document import text
from .envelope import pointer_of, simple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .errors import Stated

__all__ = ["asked_by_example", "places"]

Place = str | dict[str, str]  # an entry of `after`

_IN_BODY = frozenset(
    {"retryafter", "retryafterseconds", "retryaftersecs", "retryin", "retryinseconds", "retrydelay"}
)
_IN_BODY_MS = frozenset({"retryafterms", "retryaftermilliseconds", "retryinms"})
_LONGEST_EXAMPLE = 120  # seconds


def places(stated: Iterable[Stated]) -> list[Place]:
    """List the places that the documents of these statuses name, in the order in which they are to be asked."""
    found: dict[str, tuple[int, Place]] = {}
    for one in stated:
        for rank, place in (*_headers(one), *_fields(one)):
            found.setdefault(str(place), (rank, place))
    return [place for _, place in sorted(found.values(), key=lambda ranked: ranked[0])]


def asked_by_example(stated: Iterable[Stated]) -> dict[str, str]:
    """Give a Retry-After as an example may show it; nothing where no document names one."""
    for one in stated:
        for name, header in one.headers.items():
            if simple(name) == "retryafter":
                shown = str(header.get("example", _schema(header).get("example", "")))
                whole = shown.isascii() and shown.isdecimal() and len(shown) < 4
                return {name: shown if whole and int(shown) <= _LONGEST_EXAMPLE else "30"}
    return {}


def _headers(stated: Stated) -> Iterator[tuple[int, Place]]:
    for name, header in stated.headers.items():
        plain, schema = simple(name), _schema(header)
        if plain == "retryafterms":
            yield 0, name
        elif plain == "retryafter":
            yield 1, name
        elif schema.get("format") == "date-time":
            continue
        elif plain == "ratelimit":
            yield 3, name
        elif "ratelimit" in plain and "reset" in plain:
            words = f"{text(header.get('description'))} {text(schema.get('description'))}".casefold()
            yield 4, {"header": name, "as": _reading(words, plain)}


def _reading(words: str, plain: str) -> str:
    """Tell how a header that ends in Reset is read; where the document leaves it open, it may be either."""
    if re.search("epoch|unix|timestamp|utc", words):
        return "epoch-ms" if "milli" in words else "epoch"
    if re.search(r"seconds (until|to|till|left|remaining)|number of seconds|in seconds", words):
        return "seconds"
    return "seconds" if plain == "ratelimitreset" else "reset"


def _fields(stated: Stated) -> Iterator[tuple[int, Place]]:
    for leaf in stated.leaves:
        plain = simple(leaf.tokens[-1])
        if plain in _IN_BODY and leaf.kind in {"string", "integer", "number"}:
            yield 2, pointer_of(leaf.tokens)
        elif plain in _IN_BODY_MS and leaf.kind in {"integer", "number"}:
            yield 2, {"body": pointer_of(leaf.tokens), "as": "milliseconds"}


def _schema(header: dict[str, Any]) -> dict[str, Any]:
    schema = header.get("schema")
    return schema if isinstance(schema, dict) else header  # Swagger 2 has no schema between
