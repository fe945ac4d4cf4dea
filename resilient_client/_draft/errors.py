"""The errors of a document: which statuses it names, which codes come with them, and what a reply of each looks like.

Law of this file: a code belongs to a status where an example or a schema of that status alone says so; what only a schema that all
errors share says is a code without a status.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from resilient_client._flow.rulebook import as_code

from .document import LARGEST
from .envelope import Envelope, found_in, pointer_of, simple
from .meanings import says_nothing, standard
from .schemas import Leaf, Schemas, leaves_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_client._flow.rulebook import Code

    from .document import Body, Document, Reply

__all__ = ["Coded", "Errors", "Sighting", "Stated", "errors_of"]

_STATUS = frozenset({"status", "statuscode", "httpstatus"})
_SUCCESS = frozenset({"ok", "success", "none", "noerror"})


class Sighting(NamedTuple):
    """One place of the document that names a code."""

    status: str  # "404", "4XX" or "default"
    pointer: str  # of the envelope, at which it stands
    body: Any  # an example of the reply, made up where there is none
    words: str  # what the document says of this example
    sure: bool  # it comes with this status


@dataclass(slots=True)
class Coded:
    """All that is known of one code."""

    code: Code
    sightings: list[Sighting] = field(default_factory=list)


@dataclass(slots=True)
class Stated:
    """All that is known of one status."""

    description: str = ""
    bodies: list[Any] = field(default_factory=list)  # examples, made up where there are none
    leaves: list[Leaf] = field(default_factory=list)
    headers: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Errors:
    """All errors of a document."""

    envelope: Envelope
    stated: dict[str, Stated]  # by status, as the document writes it, in its order
    coded: list[Coded]  # in the document's order

    def headers(self, *names: str) -> list[str]:
        """List the headers whose names, made simple, end in one of these; each once, whatever its case."""
        found: dict[str, str] = {}
        for one in self.stated.values():
            for header in one.headers:
                if simple(header).endswith(names):
                    found.setdefault(header.casefold(), header)
        return list(found.values())


def errors_of(document: Document, schemas: Schemas) -> Errors:
    """Gather all that a document says of errors."""
    stated: dict[str, Stated] = defaultdict(Stated)
    replies = list(document.replies())
    for reply in replies:
        one = stated[reply.status]
        one.description = one.description or reply.description
        one.headers |= reply.headers
        for body in reply.bodies:
            one.bodies += [sample.value for sample in body.samples]
            if _is_json(body):
                one.bodies += [] if body.samples else [_made_up(schemas, body.schema, reply.status)]
                one.leaves += [*_in_examples(body), *schemas.leaves(body.schema)]
    envelope = found_in((status, leaf) for status, one in stated.items() for leaf in one.leaves)
    return Errors(envelope, dict(stated), _coded(replies, schemas, envelope))


def _made_up(schemas: Schemas, schema: Any, status: str) -> Any:
    """Make up a body, in which a number that is named for the status is the status."""
    body = schemas.sample(schema)
    if isinstance(body, dict) and status.isdecimal():
        for name in body:
            if simple(name) in _STATUS and body[name] == 0:
                body[name] = int(status)
    return body


def _is_json(body: Body) -> bool:
    return "json" in body.media or body.media == "*/*"


def _in_examples(body: Body) -> Iterator[Leaf]:
    for sample in body.samples:
        yield from leaves_of(sample.value)


def _coded(replies: list[Reply], schemas: Schemas, envelope: Envelope) -> list[Coded]:
    found: dict[tuple[type, Code], Coded] = {}
    for code, sighting in (
        *_in_samples(replies, envelope),
        *_in_schemas(replies, schemas, envelope),
    ):
        status = int(sighting.status) if sighting.status.isdecimal() else None
        if not says_nothing(str(code), status) and simple(str(code)) not in _SUCCESS:
            found.setdefault((type(code), code), Coded(code)).sightings.append(sighting)
    return list(found.values())


def _in_samples(replies: list[Reply], envelope: Envelope) -> Iterator[tuple[Code, Sighting]]:
    for reply in replies:
        for body in filter(_is_json, reply.bodies):
            for sample in body.samples:
                code = envelope.code_of(sample.value)
                if code is not None:
                    sure = reply.status != "default"
                    yield code, Sighting(reply.status, "", sample.value, sample.words, sure)


def _in_schemas(
    replies: list[Reply], schemas: Schemas, envelope: Envelope
) -> Iterator[tuple[Code, Sighting]]:
    seen: dict[tuple[str, tuple[Code, ...], bool], dict[str, Any]] = {}
    for reply in replies:
        for body in filter(_is_json, reply.bodies):
            for leaf in schemas.leaves(body.schema):
                pointer = pointer_of(leaf.tokens)
                codes = tuple(code for code in map(_code, leaf.values) if code is not None)
                if codes and pointer in envelope.code:
                    seen.setdefault((pointer, codes, leaf.closed), {}).setdefault(reply.status, body.schema)
    for (pointer, codes, closed), by_status in seen.items():
        sure = _belong(list(by_status), alone=closed and len(codes) == 1)
        for status, schema in by_status.items():
            body = _made_up(schemas, schema, status)
            for code in codes:
                yield code, Sighting(status, pointer, body, "", sure)


def _belong(statuses: list[str], *, alone: bool) -> bool:
    """Tell whether codes that a schema names come with these statuses: with a single one, or one code with several of a kind."""
    if "default" in statuses:
        return False
    if len(statuses) == 1:
        return True
    kinds = {standard(int(status)).category if status.isdecimal() else status for status in statuses}
    return alone and len(kinds) == 1


def _code(value: Any) -> Code | None:
    code = as_code(value)
    return None if isinstance(code, int) and abs(code) > LARGEST else code
