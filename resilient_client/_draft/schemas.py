"""What a schema lets a body be: its alternatives, the values at its ends, and one body made up.

Law of this file: a schema may refer to itself, and may have more alternatives than atoms; every walk has a bound.

Source: JSON Schema 2020-12 and its subset in OpenAPI 3.0, https://spec.openapis.org/oas/v3.0.3#schema-object.
"""

from __future__ import annotations

from itertools import islice, product
from typing import TYPE_CHECKING, Any, NamedTuple

from .document import elements, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .document import Document

__all__ = ["Leaf", "Schemas", "leaves_of"]

Flat = dict[str, Any]  # a schema without references, allOf, oneOf and anyOf on its top level
Tokens = tuple[str, ...]  # of a JSON pointer; "*" for each element of an array

_MOST_ALTERNATIVES = 40
_MOST_LEAVES = 1_500
_MOST_PARTS = 200  # of one body that is made up
_DEEPEST = 6  # levels of a body in which parts of an envelope are looked for
_BY_FORMAT = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "uuid": "3f2b8c1e-5a7d-4e9f-8b6a-2c4d6e8f0a1b",
    "uri": "https://api.example/",
    "email": "someone@api.example",
}


class Leaf(NamedTuple):
    """A place in a body, and what may stand there."""

    tokens: Tokens
    kind: str  # "string", "integer", "number", "boolean", "object", "array" or "" where it is not said
    values: tuple[Any, ...]  # those that are named; none where any will do
    closed: bool  # it is one of these, and nothing else


class Schemas:
    """The schemas of one document; each is taken apart once."""

    def __init__(self, document: Document) -> None:
        self._document = document
        # By the schema's id, with the schema, which keeps the id its own.
        self._flat: dict[int, tuple[Any, list[Flat]]] = {}
        self._leaves: dict[int, tuple[Any, list[Leaf]]] = {}

    def alternatives(self, schema: Any) -> list[Flat]:
        """List what a schema may be: one flat schema for each alternative, none where it has no end."""
        table = self._document.table(schema)
        if id(table) not in self._flat:
            self._flat[id(table)] = table, []  # until it is known, it is nothing to itself
            self._flat[id(table)] = table, list(islice(self._taken_apart(table), _MOST_ALTERNATIVES))
        return self._flat[id(table)][1]

    def _taken_apart(self, table: Flat) -> Iterator[Flat]:
        own = {name: inner for name, inner in table.items() if name not in {"allOf", "oneOf", "anyOf"}}
        parts = [self.alternatives(each) for each in elements(table.get("allOf"))]
        for name in ("oneOf", "anyOf"):
            choices = [flat for each in elements(table.get(name)) for flat in self.alternatives(each)]
            parts.append([flat for flat in choices if flat.get("type") != "null"])
        for chosen in product(*(part for part in parts if part)):
            merged: Flat = {}
            for each in (*chosen, own):
                merged = _merged(merged, each)
            yield merged

    def leaves(self, schema: Any) -> list[Leaf]:
        """List all places of a body with what may stand there, the outermost first."""
        table = self._document.table(schema)
        if id(table) not in self._leaves:
            found = dict.fromkeys(islice(self._walk(table), _MOST_LEAVES))
            self._leaves[id(table)] = table, list(found)
        return self._leaves[id(table)][1]

    def _walk(self, schema: Any) -> Iterator[Leaf]:
        level: list[tuple[Tokens, Any]] = [((), schema)]
        for _ in range(_DEEPEST + 1):
            inner: list[tuple[Tokens, Any]] = []
            for tokens, given in level:
                for flat in self.alternatives(given):
                    if tokens:
                        yield Leaf(tokens, _kind(flat), *_values(flat))
                    for name, part in self._document.table(flat.get("properties")).items():
                        inner.append(((*tokens, str(name)), part))
                    if "items" in flat:
                        inner.append(((*tokens, "*"), flat["items"]))
            level = inner[:_MOST_LEAVES]

    def sample(self, schema: Any) -> Any:
        """Make up a body: what the schema names as an example, else of each part the simplest there is; None where nothing is said."""
        return self._made(schema, [_MOST_PARTS], ())

    def _made(self, schema: Any, left: list[int], within: tuple[int, ...]) -> Any:
        table = self._document.table(schema)
        alternatives = self.alternatives(table)
        left[0] -= 1
        if left[0] < 0 or id(table) in within or not alternatives:
            return None
        flat, within = alternatives[0], (*within, id(table))
        for name in ("example", "const", "default"):
            if name in flat:
                return plain(flat[name])
        named = [*elements(flat.get("examples")), *elements(flat.get("enum"))]
        if named:
            return plain(named[0])
        match _kind(flat):
            case "object":
                parts = self._document.table(flat.get("properties"))
                made = {str(name): self._made(inner, left, within) for name, inner in parts.items()}
                return {name: inner for name, inner in made.items() if inner is not None}
            case "array":
                element = self._made(flat.get("items"), left, within)
                return [] if element is None else [element]
            case kind:
                return _simplest(kind, flat)


def leaves_of(body: Any, tokens: Tokens = ()) -> Iterator[Leaf]:
    """List all places of a body that is an example, with what stands there."""
    kind = _kind_of(body)
    if tokens and kind:
        yield Leaf(tokens, kind, () if kind in {"object", "array"} else (body,), closed=False)
    if len(tokens) < _DEEPEST:
        if isinstance(body, dict):
            for name, inner in body.items():
                yield from leaves_of(inner, (*tokens, name))
        elif isinstance(body, list):
            for inner in body:
                yield from leaves_of(inner, (*tokens, "*"))


class _Several(dict[str, Any]):
    """A property that several parts of an allOf speak of: it is all that they say."""


def _merged(one: Flat, other: Flat) -> Flat:
    merged = one | other
    if isinstance(one.get("properties"), dict) and isinstance(other.get("properties"), dict):
        properties = one["properties"] | other["properties"]
        for name in one["properties"].keys() & other["properties"].keys():
            properties[name] = _both(one["properties"][name], other["properties"][name])
        merged["properties"] = properties
    return merged


def _both(one: Any, other: Any) -> Any:
    parts = [
        part for each in (one, other) for part in (each["allOf"] if isinstance(each, _Several) else [each])
    ]
    several = list({id(part): part for part in parts}.values())
    return _Several(allOf=several) if len(several) > 1 else several[0]


def _values(flat: Flat) -> tuple[tuple[Any, ...], bool]:
    """List the values that a schema names, all that are allowed or else its examples; and whether they are all."""
    if "const" in flat:
        return _scalars([flat["const"]]), True
    allowed = _scalars(elements(flat.get("enum")))
    if allowed:
        return allowed, True
    return _scalars([flat["example"]] if "example" in flat else elements(flat.get("examples"))), False


def _scalars(values: list[Any]) -> tuple[Any, ...]:
    return tuple(value for value in map(plain, values) if isinstance(value, str | int | float | bool))


def _kind(flat: Flat) -> str:
    given = flat.get("type")
    kinds = [one for one in (given if isinstance(given, list) else [given]) if isinstance(one, str)]
    for kind in kinds:
        if kind != "null":
            return kind
    if "properties" in flat:
        return "object"
    values, _ = _values(flat)
    return "array" if "items" in flat else _kind_of(values[0]) if values else ""


_KINDS = {
    bool: "boolean",
    str: "string",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
}


def _kind_of(value: Any) -> str:
    return _KINDS.get(type(value), "")


def _simplest(kind: str, flat: Flat) -> Any:
    match kind:
        case "string":
            return _BY_FORMAT.get(str(flat.get("format")), "text")
        case "integer" | "number":
            return 0
        case "boolean":
            return False
        case _:
            return None
