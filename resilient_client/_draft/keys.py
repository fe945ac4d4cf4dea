"""Where does an API take idempotency keys? Told from the parameters and bodies of its operations.

Law of this file: a route is listed only where it means no other request than the document's own.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from .document import is_header
from .envelope import pointer_of, simple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .document import Document, Operation
    from .schemas import Schemas

__all__ = ["keys_of"]

_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_MANY = 8  # routes; where all POSTs are more than these, one route stands for them


def keys_of(document: Document, schemas: Schemas) -> dict[str, Any]:
    """Give the [idempotency] table; an empty one where the document names no key."""
    changing = [one for one in document.operations() if one.method in _CHANGING]
    headers = [(one, header) for one in changing if (header := _header(one))]
    if headers:
        name = _most_common([str(header["name"]) for _, header in headers])
        taking = [(one, header) for one, header in headers if header["name"] == name]
        routes = _routes([one for one, _ in taking], changing)
        return {"header": name, **_form(taking[0][1]), "routes": routes}
    fields = [(one, field) for one in changing if (field := _field(document, schemas, one))]
    if fields:
        field = _most_common([pointer for _, pointer in fields])
        return {
            "field": field,
            "routes": _routes([one for one, pointer in fields if pointer == field], changing),
        }
    return {}


def _most_common(names: list[str]) -> str:
    return Counter(names).most_common(1)[0][0]


def _header(operation: Operation) -> dict[str, Any] | None:
    for parameter in operation.parameters:
        name = parameter.get("name")
        if parameter.get("in") == "header" and is_header(name) and "idempot" in simple(str(name)):
            return parameter
    return None


def _form(parameter: dict[str, Any]) -> dict[str, Any]:
    """Tell how a key looks: its length, and whether it goes in quotes."""
    given = parameter.get("schema")
    schema = given if isinstance(given, dict) else parameter
    shortest, longest = schema.get("minLength", 1), schema.get("maxLength")
    form: dict[str, Any] = {}
    if isinstance(longest, int) and isinstance(shortest, int) and 1 <= max(shortest, 1) <= longest:
        form["length"] = [max(shortest, 1), longest]
    if str(parameter.get("example", schema.get("example", ""))).startswith('"'):
        form["quoted"] = True
    return form


def _field(document: Document, schemas: Schemas, operation: Operation) -> str | None:
    for schema in _bodies(document, operation):
        for leaf in schemas.leaves(schema):
            if len(leaf.tokens) == 1 and "idempot" in simple(leaf.tokens[0]) and leaf.kind == "string":
                return pointer_of(leaf.tokens)
    return None


def _bodies(document: Document, operation: Operation) -> Iterator[Any]:
    content = document.table(document.table(operation.table.get("requestBody")).get("content"))
    for media, node in content.items():
        if "json" in str(media):
            yield document.table(node).get("schema")
    for parameter in operation.parameters:  # Swagger 2
        if parameter.get("in") == "body":
            yield parameter.get("schema")


def _routes(taking: Sequence[Operation], changing: Sequence[Operation]) -> list[str]:
    posts = [one for one in changing if one.method == "POST"]
    everywhere = len(posts) > _MANY and all(one in taking for one in posts)
    named = [one for one in taking if _is_a_route(one.path) and not (everywhere and one.method == "POST")]
    return [*(["POST **"] if everywhere else []), *(f"{one.method} {one.path}" for one in named)]


def _is_a_route(path: str) -> bool:
    """Tell whether a path means the same to a policy: each parameter a segment of its own, and not parameters alone."""
    parts = [part for part in path.split("/") if part]
    names = [part for part in parts if part[0] == "{" and part[-1] == "}" and part.count("{") == 1]
    literal = [part for part in parts if part not in names]
    return path.startswith("/") and bool(literal) and not any(set(part) & set("{}?#* ") for part in literal)
