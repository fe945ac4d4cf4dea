"""Values as TOML, for people to read: one line where it fits, dotted keys and folded strings where it does not.

Law of this file: what is written is read back as it was, whatever the text is made of. Two things TOML cannot hold: a null is left
out, and half of a surrogate pair becomes U+FFFD.

Source: TOML 1.0.0, https://toml.io/en/v1.0.0.
"""

from __future__ import annotations

import math
import re
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["WIDTH", "comment", "entry", "key", "table", "value"]

WIDTH = 110  # columns that a line should keep to

_BARE = re.compile(r"[A-Za-z0-9_-]+")
# Beyond what TOML forbids raw: the controls of Latin-1, and what turns the direction of a line for the eye only.
_UNSEEN = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_ESCAPED = re.compile(f'[{_UNSEEN}"\\\\]')
_CONTROLS = re.compile(f"[{_UNSEEN}]+")
_SHORT = {
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
    '"': '\\"',
    "\\": "\\\\",
}


def table(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    """Write a table with its header, line by line: `[[rules]]` is told by its brackets, `[rules]`."""
    yield f"[{name}]"
    for word, inner in values.items():
        yield from entry((word,), inner)


def entry(path: Sequence[str], inner: Any) -> Iterator[str]:
    """Write one key and its value: on one line where that fits, else with its parts each on their own; a null is left out."""
    if inner is None:
        return
    name = ".".join(map(key, path))
    line = f"{name} = {value(inner)}"
    if len(line) <= WIDTH:
        yield line
    elif isinstance(inner, dict) and any(part is not None for part in inner.values()):
        for word, part in inner.items():
            yield from entry((*path, word), part)
    elif isinstance(inner, list):
        yield f"{name} = ["
        for part in inner:
            if part is not None:
                yield f"    {value(part)},"
        yield "]"
    elif isinstance(inner, str):
        yield from _folded(name, inner)
    else:
        yield line


def value(given: Any) -> str:
    """Write a value on one line; it is none of the kinds that TOML cannot hold, unless as a part of something."""
    match given:
        case str():
            return f'"{_text(given)}"'
        case bool():
            return "true" if given else "false"
        case float():
            return repr(given) if math.isfinite(given) else str(given)
        case list():
            return f"[{', '.join(value(part) for part in given if part is not None)}]"
        case dict():
            parts = [f"{key(word)} = {value(part)}" for word, part in given.items() if part is not None]
            return f"{{ {', '.join(parts)} }}" if parts else "{}"
        case _:
            return str(given)


def key(word: str) -> str:
    """Write a key, in quotes where it needs them."""
    return word if _BARE.fullmatch(word) else f'"{_text(word)}"'


def comment(words: str, mark: str = "") -> Iterator[str]:
    """Write a text of any kind as a comment, wrapped; with a mark before its first line, what follows is indented as far."""
    text = " ".join(_CONTROLS.sub(" ", _sound(words)).split())
    room = WIDTH - len(f"# {mark}")
    for number, line in enumerate(textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)):
        yield f"# {mark if number == 0 else ' ' * len(mark)}{line}"


def _text(given: str) -> str:
    return _ESCAPED.sub(_escape, _sound(given))


def _escape(found: re.Match[str]) -> str:
    letter = found.group()
    return _SHORT.get(letter) or f"\\u{ord(letter):04X}"


def _sound(text: str) -> str:
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _folded(name: str, text: str) -> Iterator[str]:
    """Write a long string over several lines: a backslash at a line's end takes the break, and what begins the next, away."""
    yield f'{name} = """\\'
    line = ""
    # What begins a line is no space, or it would be taken away: the break comes after the only one, and the text's first is escaped.
    for number, word in enumerate(re.split("(?<=[^ ] )(?=[^ ])", text)):
        piece = _text(word)
        if number == 0 and piece.startswith(" "):
            piece = f"\\u0020{piece[1:]}"
        if line and len(line) + len(piece.rstrip()) > WIDTH - 6:
            yield f"    {line}\\"
            line = ""
        line += piece
    yield f'    {line}"""'
