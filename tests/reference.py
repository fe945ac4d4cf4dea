"""What is generated: the reference of the policy format, in docs/policy-format.md, and the shipped policies' compiled forms.

`python tests/reference.py` writes them, in their places.

Law of this file: it adds nothing of its own. A key is as the models have it, and its meaning is the docstring that stands there.
"""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import annotated_types
from pydantic import WithJsonSchema

from resilient_client import Policy, _protect, _words, hints, policy, policy_names
from resilient_client._ready import beside, form_of
from resilient_client.loading import folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

PAGE = Path(__file__).parent.parent / "docs" / "policy-format.md"
BEGIN, END = "<!-- reference -->\n", "<!-- /reference -->\n"

# In the order in which a reader meets them.
TABLES: dict[str, type[_words.Table]] = {
    "Top level": Policy,
    "`[envelope]`": _words.Envelope,
    "`[idempotency]`": _words.Idempotency,
    "`[signing]`": _words.Signing,
    "`[token]`": _words.Token,
    "`[override]`": _words.Override,
    "`[network]`": _words.Network,
    "`[limits]`": _words.Limits,
    "`[pace]`": _words.Pace,
    "`[protect]`": _words.Protect,
    "`[[rules]]`": _words.Rule,
    "`when`": _words.When,
    "`retry`": _words.Retry,
    "`backoff`": _words.Backoff,
    "an entry of `after`: a header": _words.HeaderHint,
    "an entry of `after`: a field of the body": _words.BodyHint,
    "an entry of `after`: a leaky bucket": _words.BucketHint,
    "`[[rules.examples]]`": _words.Example,
    "`given`": _words.Given,
    "`expect`": _words.Expect,
}
PYTHON_ONLY = {(_words.Retry, "stop")}

# The format's own types, and what a reader calls them.
_NAMED: list[tuple[Any, str]] = [
    (_words.Pointer, "JSON pointer"),
    (_words.Pointers, "JSON pointer, or a list"),
    (_words.Route, "route"),
    (_words.Routes, "route, or a list"),
    (_words.Code, "string or integer"),
    (_words.Codes, "string or integer, or a list"),
    (_words.Status, "status"),
    (_words.Statuses, "status or class, or a list"),
    (_words.Names, "string, or a list"),
    (_words.Seconds, "seconds, 0 or more"),
    (_words.Whens, "table, or a list"),
    (_words.Paces, "table, or a list"),
    (_protect.Budget, "`true`, `false` or a table"),
    (_protect.Breaker, "`true`, `false` or a table"),
    (_protect.Hedge, "a share, `true`, `false` or a table"),
    (_protect.Bulkhead, '`"adaptive"`, a number, `true`, `false` or a table'),
    (_words.Hint, "header, JSON pointer or table"),
    (hints.Kind, "a reading"),
    (_words.Category, "a category"),
]
# What the models' annotations are written with; the last is of a private attribute.
_NAMES = {**vars(hints), **vars(policy), **vars(_words), "Rulebook": object}
_PLAIN = {str: "string", bool: "`true` or `false`", int: "integer", float: "number", Any: "any value"}
_SHAPES: dict[Any, str] = {list: "list: {}", tuple: "list of two: {}", dict: "table: {} = {}"}


def reference() -> str:
    """Write the reference: of every table, each key with its type, its default and its meaning."""
    return "\n".join(line for title, table in TABLES.items() for line in _section(title, table))


def replaced(page: str) -> str:
    """Put the reference between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


def compiled() -> dict[Path, str]:
    """Compile the shipped policies: each form with its place."""
    files = [folder() / f"{name}.toml" for name in policy_names()]
    return {beside(file): form_of(file) for file in files}


def _section(title: str, table: type[_words.Table]) -> Iterator[str]:
    written = get_type_hints(table, _NAMES, include_extras=True)
    yield f"**{title}.** {_paragraph(table.__doc__)}"
    yield ""
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    meanings = _words.meanings(table)
    for name, field in table.model_fields.items():
        if (table, name) not in PYTHON_ONLY:
            meaning = " ".join(meanings[name].split())
            yield f"| `{field.alias or name}` | {_type(written[name])} | {_default(field)} | {meaning} |"
    yield ""


def _paragraph(docstring: str | None) -> str:
    """Give a docstring's first paragraph, on one line."""
    return " ".join((docstring or "").partition("\n\n")[0].split())


def _type(given: Any) -> str:
    parts = get_args(given)
    named = [name for known, name in _NAMED if given == known]
    match get_origin(given):
        case _ if named:
            (said,) = named
        case origin if origin is Annotated:
            said = _bounded(parts[0], parts[1:])
        case types.UnionType | typing.Union:
            said = " or ".join(_type(part) for part in parts if part is not types.NoneType)
        case origin if origin is Literal:
            said = " or ".join(f"`{_toml(part)}`" for part in parts)
        case None:
            said = _PLAIN.get(given, "table")
        case origin:
            said = _SHAPES[origin].format(*map(_type, parts))
    return said


def _bounded(given: Any, constraints: tuple[Any, ...]) -> str:
    """Write a type with its bounds; what only pydantic needs to know is left out."""
    if any(
        isinstance(one, WithJsonSchema) for one in constraints
    ):  # whatever Python may give, a file gives seconds
        return "seconds, 0 or more"
    bounds = [bound for one in constraints for bound in getattr(one, "metadata", ())]
    said = {
        annotated_types.Ge: "{0.ge:g} or more",
        annotated_types.Gt: "above {0.gt:g}",
        annotated_types.Le: "{0.le:g} at the most",
        annotated_types.MinLen: "not empty",
    }
    words = [said[type(bound)].format(bound) for bound in bounds]
    return ", ".join([_type(given), *words])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    # Nothing, or a table with the defaults that it has itself.
    return (
        f"`{_toml(value)}`" if value not in (None, "", [], {}) and not isinstance(value, _words.Table) else ""
    )


def _toml(value: Any) -> str:
    """Write a default as a policy file would."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            return f"{value:g}"


if __name__ == "__main__":
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for place, form in compiled().items():
        place.write_text(form, encoding="utf-8", newline="\n")
