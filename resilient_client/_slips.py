"""From pydantic's errors to sentences that name the file, the rule, the field and the mend."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from ._words import keys_at

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["explained", "near"]


def explained(path: Path, data: dict[str, Any], error: ValidationError, top: Iterable[str]) -> str:
    """Say what is wrong with a file, at most five lines, each with its place and its mend. `top` are the format's outermost keys."""
    seen: set[str] = set()
    lines = []
    for detail in error.errors(include_url=False):
        rule, place = _place(data, detail)
        key = f"{rule}{place}"
        if key in seen:  # the other branches of a union say the same place again
            continue
        seen.add(key)
        lines.append(f"{path}{rule}: {_mend(place, detail, keys_at(place, top, in_rule=bool(rule)))}")
    more = len(lines) - 5
    return "\n".join(lines[:5] + ([f"… and {more} more"] if more > 0 else []))


def _place(data: Any, detail: ErrorDetails) -> tuple[str, str]:
    """Name the rule and the field of an error; what pydantic adds for unions is left out."""
    rule, node, parts = "", data, []
    location = list(detail["loc"])
    for depth, part in enumerate(location):
        last = depth == len(location) - 1
        if isinstance(node, dict) and (
            part in node or (last and detail["type"] in {"missing", "extra_forbidden"})
        ):
            node = node.get(part)
            parts.append(str(part))
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
            if parts == ["rules"]:
                rule = (
                    f', rule "{node["name"]}"'
                    if isinstance(node, dict) and isinstance(node.get("name"), str)
                    else f", rule {part + 1}"
                )
                parts = []
            else:
                parts.append(str(part))
    return rule, ".".join(parts)


# What the shapes of a value are called, by the tags that `_words.py` tells them apart by.
_SHAPES = {"switch": "true, false", "number": "a number", "word": '"adaptive"', "table": "a table"}


def _mend(  # noqa: PLR0911 - one sentence for each kind of mistake
    place: str, detail: ErrorDetails, known: Iterable[str]
) -> str:
    kind, got = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        name = place.rpartition(".")[2]
        return f'unknown key "{place}"{near(name, known)}'
    if kind == "missing":
        return f"{place} is missing: add it"
    if kind == "value_error":
        message = str(detail.get("ctx", {}).get("error", detail["msg"]))
        return f"{place}: {message}" if place else message
    if kind == "literal_error":
        expected = str(detail.get("ctx", {}).get("expected", ""))
        wanted = expected.replace(" or ", ", ").replace("'", "").split(", ")
        one_of = "one of " if len(wanted) > 1 else ""
        return f"{place} must be {one_of}{', '.join(wanted)} (got {got!r}){near(str(got), wanted)}"
    if kind == "union_tag_invalid":
        tags = str(detail.get("ctx", {}).get("expected_tags", "")).replace("'", "").split(", ")
        wanted = [_SHAPES.get(tag, tag) for tag in tags]
        return f"{place} must be {', '.join(wanted[:-1])} or {wanted[-1]} (got {got!r})"
    limits = {
        "greater_than_equal": (">=", "ge"),
        "greater_than": (">", "gt"),
        "less_than_equal": ("<=", "le"),
    }
    if kind in limits:
        sign, name = limits[kind]
        return f"{place} must be {sign} {detail.get('ctx', {}).get(name)} (got {got!r})"
    last = place.rpartition(".")[2]
    if kind == "list_type" and last in {"rules", "examples", "pace"}:
        return f"{place} is a list of tables: write [[{last}]], with two brackets on each side"
    if kind in {"model_type", "dict_type"}:
        return f"{place} is a table: {last} = {{ … }} (got {got!r})"
    message = detail["msg"]
    return f"{place}: {message[:1].lower()}{message[1:]} (got {got!r})"


def near(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that is nearest, as the end of a message; nothing where none is near."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{nearest[0]}"?' if nearest else ""
