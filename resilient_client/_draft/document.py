"""An OpenAPI document as far as errors go: which replies it describes, with what bodies, headers and examples.

Law of this file: a document may be wrong anywhere. What is not as the specification has it counts as absent; only a text that is no
OpenAPI document at all is refused.

Source: the OpenAPI Specification 3.0 and 3.1, https://spec.openapis.org/oas/; Swagger 2.0 beside it.
"""

from __future__ import annotations

import datetime as dt
import importlib
import json
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "LARGEST",
    "Body",
    "Document",
    "Operation",
    "Reply",
    "Sample",
    "elements",
    "is_header",
    "plain",
    "read",
    "text",
]

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_MOST_HOPS = 20  # from reference to reference
_MOST_EXAMPLES = 50  # of one body
_DEEPEST = 12  # levels of an example that are looked at
LARGEST = 2**63 - 1  # TOML's integers have 64 bits


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path."""

    method: str  # in capitals
    path: str
    table: dict[str, Any]
    parameters: list[dict[str, Any]]  # its own and those of its path


@dataclass(frozen=True, slots=True)
class Sample:
    """An example of a body, and what the document says of it."""

    value: Any
    words: str


@dataclass(frozen=True, slots=True)
class Body:
    """What a reply may hold, of one media type."""

    media: str
    schema: Any
    samples: list[Sample]


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that is no success; one that several operations share comes once."""

    status: str  # "404", "4XX" or "default"
    description: str
    bodies: list[Body]
    headers: dict[str, dict[str, Any]]


class Document:
    """A document that has been read."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root
        self.foreign = 0  # references to other documents, which are not followed

    def table(self, node: Any) -> dict[str, Any]:
        """Give a node as a table, its reference followed; an empty one where it is none or leads nowhere."""
        for _ in range(_MOST_HOPS):
            if not isinstance(node, dict):
                return {}
            reference = node.get("$ref")
            if not isinstance(reference, str):
                return node
            if not reference.startswith("#"):
                self.foreign += 1
                return {}
            node = self._at(reference[1:])
        return {}

    def _at(self, pointer: str) -> Any:
        node: Any = self.root
        for part in unquote(pointer).split("/")[1:]:
            token = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict):
                # YAML reads the name of a response such as 404 as a number.
                node = node.get(token, node.get(int(token)) if token.isdecimal() and len(token) < 8 else None)
            elif isinstance(node, list) and token.isdecimal() and len(token) < 8 and int(token) < len(node):
                node = node[int(token)]
            else:
                return None
        return node

    def title(self) -> str:
        """Give the API's name."""
        return text(self.table(self.root.get("info")).get("title"))

    def source(self) -> str:
        """Give the address of its documentation, else of the API itself; an empty text where there is neither."""
        given = [self.table(self.root.get("externalDocs")).get("url")]
        given += [self.table(server).get("url") for server in elements(self.root.get("servers"))]
        if isinstance(self.root.get("host"), str):  # Swagger 2
            given.append(f"https://{self.root['host']}")
        absolute = (url for url in given if isinstance(url, str) and re.fullmatch("https?://[^ {}]+", url))
        return next(absolute, "")

    def has_tokens(self) -> bool:
        """Tell whether callers hold tokens that may expire."""
        components = self.table(self.root.get("components"))
        schemes = (
            self.table(components.get("securitySchemes")) | self.table(self.root.get("securityDefinitions"))
        ).values()
        tables = [self.table(scheme) for scheme in schemes]
        return any(
            str(one.get("type")) in {"oauth2", "openIdConnect"}
            or (one.get("type") == "http" and str(one.get("scheme")).casefold() == "bearer")
            for one in tables
        )

    def operations(self) -> Iterator[Operation]:
        """Go through all operations, in the document's order."""
        for path, given in self.table(self.root.get("paths")).items():
            item = self.table(given)
            shared = elements(item.get("parameters"))
            for method in _METHODS:
                operation = self.table(item.get(method))
                if operation:
                    parameters = [
                        self.table(one) for one in (*shared, *elements(operation.get("parameters")))
                    ]
                    yield Operation(method.upper(), str(path), operation, parameters)

    def replies(self) -> Iterator[Reply]:
        """Go through all replies that are no success, in the document's order."""
        seen: set[tuple[str, int]] = set()
        for operation in self.operations():
            for given, node in self.table(operation.table.get("responses")).items():
                status, reply = _status(given), self.table(node)
                if status is not None and reply and (status, id(reply)) not in seen:
                    seen.add((status, id(reply)))
                    yield Reply(
                        status,
                        text(reply.get("description")),
                        list(self._bodies(reply)),
                        {
                            name: self.table(header)
                            for name, header in self.table(reply.get("headers")).items()
                            if is_header(name)
                        },
                    )

    def _bodies(self, reply: dict[str, Any]) -> Iterator[Body]:
        for media, node in self.table(reply.get("content")).items():
            content = self.table(node)
            yield Body(str(media), content.get("schema"), list(self._samples(content)))
        if "content" not in reply and ("schema" in reply or "examples" in reply):  # Swagger 2
            given = self.table(reply.get("examples"))
            samples = [Sample(plain(value), "") for value in islice(given.values(), _MOST_EXAMPLES)]
            yield Body("application/json", reply.get("schema"), samples)

    def _samples(self, content: dict[str, Any]) -> Iterator[Sample]:
        if "example" in content:
            yield Sample(plain(content["example"]), "")
        for node in islice(self.table(content.get("examples")).values(), _MOST_EXAMPLES):
            example = self.table(node)
            if "value" in example:
                words = text(example.get("description")) or text(example.get("summary"))
                yield Sample(plain(example["value"]), words)


def read(raw: str) -> Document:
    """Read a document: JSON always, YAML where PyYAML is installed.

    Raises:
        ValueError: it is neither, or no OpenAPI document, or PyYAML is missing; the message is one line.
    """
    root = _parsed(raw)
    version = str(root.get("openapi", "")) if isinstance(root, dict) else ""
    if not isinstance(root, dict) or not (
        version.startswith("3.") or str(root.get("swagger", "")).startswith("2")
    ):
        raise ValueError("this is no OpenAPI document: it says neither openapi: 3.x nor swagger: 2.0")
    return Document(root)


def _parsed(raw: str) -> Any:
    is_json = raw.lstrip("\ufeff \t\r\n").startswith("{")
    try:
        root = json.loads(raw.removeprefix("\ufeff")) if is_json else _yaml(raw)
        # Both can spell halves of surrogate pairs, which no file takes.
        return _sound(root, {}) if re.search(r"\\u(0000)?d[89a-f]", raw, re.IGNORECASE) else root
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply to be an OpenAPI document") from None


def _yaml(raw: str) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError:
        raise ValueError(
            "this is no JSON; to read YAML, pip install 'resilient-client[openapi]' (PyYAML)"
        ) from None
    try:
        return yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: a date that does not exist
        raise ValueError(f"not valid YAML: {' '.join(str(error).split())}") from None


def _sound(node: Any, done: dict[int, Any]) -> Any:
    """Copy a document with U+FFFD for halves of surrogate pairs; what YAML refers to several times stays one thing."""
    if isinstance(node, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", node)
    if id(node) not in done and isinstance(node, dict):
        copied: dict[Any, Any] = {}
        done[id(node)] = copied
        copied.update({_sound(name, done): _sound(inner, done) for name, inner in node.items()})
    if id(node) not in done and isinstance(node, list):
        listed: list[Any] = []
        done[id(node)] = listed
        listed.extend(_sound(inner, done) for inner in node)
    return done.get(id(node), node)


def _status(given: Any) -> str | None:
    """Give the status of a reply that is no success, as it is written; None for all others."""
    status = str(given)
    if status == "default" or (len(status) == 3 and status[0] in "45" and status[1:].upper() == "XX"):
        return status if status == "default" else status.upper()
    return status if len(status) == 3 and status.isdecimal() and "400" <= status <= "599" else None


def is_header(name: Any) -> bool:
    """Tell whether this can be a header's name: a token (RFC 9110 5.6.2)."""
    return isinstance(name, str) and re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) is not None


def text(node: Any) -> str:
    """Give a text as one paragraph; an empty one where it is no text."""
    return " ".join(node.split()) if isinstance(node, str) else ""


def plain(node: Any, depth: int = 0) -> Any:
    """Copy an example as JSON has it: YAML knows more kinds of things. What is too deep or too large becomes a null."""
    if node is None or depth > _DEEPEST or (isinstance(node, int) and abs(node) > LARGEST):
        return None
    match node:
        case dict():
            return {str(name): plain(inner, depth + 1) for name, inner in islice(node.items(), 200)}
        case list():
            return [plain(inner, depth + 1) for inner in node[:20]]
        case str() | bool() | int() | float():
            return node
        case _:
            return node.isoformat() if isinstance(node, dt.date) else str(node)


def elements(node: Any) -> list[Any]:
    """Give a node as a list; an empty one where it is none."""
    return node if isinstance(node, list) else []
