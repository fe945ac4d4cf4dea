"""Where does an API keep the parts of its errors? Told from the names that its schemas and examples use.

Law of this file: a place is named only where the document shows it; of several, the one with the plainer name comes first, then
the outer one.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resilient_client._flow.rulebook import Pointer, as_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from resilient_client._flow.rulebook import Code

    from .schemas import Leaf, Tokens

__all__ = ["Envelope", "Place", "found_in", "pointer_of", "simple"]

# The names of each part in the order of how plainly they say it, without case, dashes and underscores.
_CODE = ("code", "errorcode", "errcode", "errorkey", "reason", "status", "type", "errortype", "error")
_MESSAGE = (
    "message",
    "msg",
    "errormessage",
    "errormsg",
    "detail",
    "errordescription",
    "description",
    "title",
    "error",
    "errors",
)
_FIELD = ("field", "fieldname", "param", "parameter", "property", "pointer", "attribute", "path", "target")
_DETAILS = (
    "details",
    "errors",
    "violations",
    "fieldviolations",
    "invalidparams",
    "validationerrors",
    "fielderrors",
    "errordetails",
    "issues",
    "causes",
)
_REQUEST_ID = ("requestid", "xrequestid", "traceid", "correlationid", "incidentid")
# Tables that stand around a code and a message without being a part of their own.
_AROUND = frozenset(
    {
        "*",
        "error",
        "errors",
        "err",
        "fault",
        "faults",
        "problem",
        "problems",
        "exception",
        "failure",
        "result",
        "response",
        "status",
        "meta",
        "body",
    }
)
_SUCCESS = frozenset({"error", "errors", "fail", "failed", "failure", "success", "ok", "false", "true"})
_MOST = 3  # places of one part


@dataclass(frozen=True, slots=True)
class Envelope:
    """The places of an error's parts, as JSON pointers; the first that finds something counts."""

    code: list[str] = dataclasses.field(default_factory=list)
    message: list[str] = dataclasses.field(default_factory=list)
    field: list[str] = dataclasses.field(default_factory=list)
    details: list[str] = dataclasses.field(default_factory=list)
    request_id: list[str] = dataclasses.field(default_factory=list)

    def code_of(self, body: Any) -> Code | None:
        """Give the code that the client would find in a body."""
        found = (as_code(value) for pointer in self.code for value in Pointer(pointer).find(body))
        return next((code for code in found if code is not None), None)


@dataclass(slots=True)
class Place:
    """All that is known of one place in the bodies of errors."""

    tokens: Tokens
    kinds: set[str] = dataclasses.field(default_factory=set)
    values: set[Any] = dataclasses.field(default_factory=set)
    is_status: bool = False  # what stands there repeats the reply's status

    @property
    def name(self) -> str:
        """Its own name, made simple."""
        return simple(self.tokens[-1] if self.tokens[-1] != "*" or len(self.tokens) == 1 else self.tokens[-2])

    @property
    def is_nested(self) -> bool:
        """Tell whether it stands in something of the same kind: a cause in an error, an error in a cause."""
        named = [part for part in self.tokens if part != "*"]
        return len(set(named)) < len(named)

    @property
    def around(self) -> list[str]:
        """The names of what it stands in."""
        return [part if part == "*" else simple(part) for part in self.tokens[:-1]]


def simple(name: str) -> str:
    """Reduce a name to its letters and digits: errorCode, error_code and Error-Code are one."""
    return re.sub("[^a-z0-9]", "", name.casefold())


def pointer_of(tokens: Tokens) -> str:
    """Write the JSON pointer of a place."""
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)


def found_in(leaves: Iterable[tuple[str, Leaf]]) -> Envelope:
    """Tell where the parts are, from all places that errors have, each with the status of its reply."""
    places = _gathered(leaves)
    code = _ranked(places, _CODE, _may_be_code, around=_AROUND)
    # Google's way: a number that repeats the status, and beside it the name that tells errors apart.
    beside = {place.tokens[:-1] for place in code if place.name == "status"}
    code = [
        place
        for place in code
        if not (place.name == "code" and place.kinds <= {"integer"} and place.tokens[:-1] in beside)
    ]
    message = _ranked(
        [place for place in places if place not in code], _MESSAGE, _may_be_message, around=_AROUND
    )
    # "error" alone is a text for people, unless another text stands beside it.
    if code and code[0].name == "error" and not message:
        code, message = [], code
    return Envelope(
        code=_pointers(code),
        message=_pointers(message),
        field=_pointers(_ranked(places, _FIELD, _may_be_field)),
        details=_pointers(_ranked(places, _DETAILS, _may_be_details)),
        request_id=_pointers(_ranked(places, _REQUEST_ID, lambda place: "string" in place.kinds)),
    )


def _gathered(leaves: Iterable[tuple[str, Leaf]]) -> list[Place]:
    places: dict[Tokens, Place] = {}
    repeating: dict[Tokens, list[bool]] = defaultdict(list)
    for status, leaf in leaves:
        place = places.setdefault(leaf.tokens, Place(leaf.tokens))
        place.kinds.add(leaf.kind)
        place.values.update(leaf.values)
        if status.isdecimal():
            repeating[leaf.tokens] += [str(value) == status for value in leaf.values]
    for tokens, place in places.items():
        place.is_status = bool(repeating[tokens]) and all(repeating[tokens])
    return list(places.values())


def _ranked(
    places: Sequence[Place],
    names: tuple[str, ...],
    fits: Callable[[Place], bool],
    *,
    around: frozenset[str] | None = None,
) -> list[Place]:
    fitting = [place for place in places if place.name in names and not place.is_nested and fits(place)]
    known = [place for place in fitting if around is None or around.issuperset(place.around)]
    return sorted(known or fitting, key=lambda place: (names.index(place.name), len(place.tokens)))[:_MOST]


def _may_be_code(place: Place) -> bool:
    if not place.kinds & {"string", "integer"} or place.tokens[-1] == "*" or place.is_status:
        return False
    texts = {value for value in place.values if isinstance(value, str)}
    if place.name in {"status", "reason", "type", "error"} and "string" not in place.kinds:
        return False
    if place.name == "status" and not place.around:
        return False  # {"status": "error"} and {"status": 404} say nothing that the status line does not
    return not (texts and all(simple(value) in _SUCCESS or _is_prose(value) for value in texts))


def _is_prose(value: str) -> bool:
    return len(value) > 80 or value.count(" ") > 3


def _may_be_message(place: Place) -> bool:
    return "string" in place.kinds


def _may_be_details(place: Place) -> bool:
    return bool(place.kinds & {"object", "array"}) and place.tokens[-1] != "*"


def _may_be_field(place: Place) -> bool:
    # On the outside, a path is the request's own.
    return "string" in place.kinds and (place.name not in {"path", "target"} or bool(place.around))


def _pointers(places: Iterable[Place]) -> list[str]:
    return [pointer_of(place.tokens) for place in places]
