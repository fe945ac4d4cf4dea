"""A policy, compiled: frozen look-up tables that every call of a client shares. Pure, and it knows no pydantic.

Law of this file: what can be known when a policy is loaded is worked out then, so that a look-up costs the same for ten
rules and for ten thousand.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from resilient_client._guard.settings import Protection
from resilient_client.outcome import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from resilient_client._guard.settings import Paced
    from resilient_client.hints import Kind

Code = str | int
Change = Literal["nonce", "refresh", "override"]
Condition = Literal["token_expired", "override_conflict"]

# RFC 9110 9.2.1 and 9.2.2.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})  # QUERY: RFC 10008
IDEMPOTENT_METHODS = SAFE_METHODS | {"PUT", "DELETE"}


class Pointer:
    """A JSON pointer (RFC 6901); the token `*` stands for each element of an array."""

    __slots__ = ("parts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.parts = tuple(piece.replace("~1", "/").replace("~0", "~") for piece in text.split("/")[1:])

    def find(self, document: Any) -> Iterator[Any]:
        """Yield what the pointer leads to, nothing where it leads nowhere."""
        node = document
        for part in self.parts:  # most lead through objects, and to one value
            if not isinstance(node, dict):
                return _walk(document, self.parts) if isinstance(node, list) else _NOTHING
            if part not in node:
                return _NOTHING
            node = node[part]
        return iter((node,))


_NOTHING: Iterator[Any] = iter(())  # it is at its end, and stays there


def _walk(node: Any, parts: tuple[str, ...]) -> Iterator[Any]:
    for depth, part in enumerate(parts):
        if isinstance(node, dict):
            if part not in node:
                return
            node = node[part]
        elif isinstance(node, list) and part == "*":
            for element in node:
                yield from _walk(element, parts[depth + 1 :])
            return
        elif isinstance(node, list) and part.isdecimal() and part.isascii() and len(part) < 8:
            if int(part) >= len(node) or (part[0] == "0" and part != "0"):
                return
            node = node[int(part)]
        else:
            return
    yield node


def as_code(value: Any) -> Code | None:
    """Accept a value as an error code: a string or an integer, and True is not 1."""
    if isinstance(value, str):
        return _sound(value) or None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_text(value: Any) -> str | None:
    """Render what an envelope calls its message: a string, or a list of them."""
    if isinstance(value, str):
        return _sound(value) or None
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return _sound("; ".join(value))
    return None


def _sound(text: str) -> str:
    # JSON can spell halves of surrogate pairs, which no file and no terminal takes.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


class Routes:
    """Which requests a list of routes means, matched against the end of the path."""

    __slots__ = ("by_method",)

    def __init__(self, routes: Iterable[str]) -> None:
        self.by_method: dict[str, list[tuple[bool, tuple[str, ...]]]] = {}
        for route in routes:
            method, _, path = route.partition(" ")
            path = path.strip()
            open_ended = path.endswith("**")
            parts = tuple(part for part in path.removesuffix("**").split("/") if part)
            self.by_method.setdefault(method.upper(), []).append((open_ended, parts))

    def __bool__(self) -> bool:
        return bool(self.by_method)

    def match(self, method: str, path: str) -> bool:
        """Tell whether one of the routes names this request."""
        patterns = self.by_method.get(method, ())
        anywhere = self.by_method.get("*", ())
        if not patterns and not anywhere:
            return False
        parts = [part for part in path.split("/") if part]
        return any(_fits(parts, *pattern) for group in (patterns, anywhere) for pattern in group)


def _fits(parts: Sequence[str], open_ended: bool, wanted: tuple[str, ...]) -> bool:  # noqa: FBT001 - a pattern's own two halves
    size = len(wanted)
    if not open_ended:
        return size <= len(parts) and _same(parts[len(parts) - size :], wanted)
    # An open end may begin at any place: /v1/** is found in /api/v1/orders/7.
    return any(_same(parts[start : start + size], wanted) for start in range(len(parts) - size + 1))


def _same(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    return all(
        want == part or (want[0] == "{" and want[-1] == "}") for part, want in zip(parts, wanted, strict=True)
    )


class HeaderHint(NamedTuple):
    """A wait that a header tells."""

    header: str
    kind: Kind


class BodyHint(NamedTuple):
    """A wait that a body field tells."""

    pointer: Pointer
    kind: Kind


class BucketHint(NamedTuple):
    """A wait that follows from a leaky bucket: (need - have) / rate."""

    need: Pointer
    have: Pointer
    rate: Pointer


Hint = HeaderHint | BodyHint | BucketHint


@dataclass(frozen=True, slots=True)
class Retry:
    """What a rule allows, ready to be asked: see `wait.py` for how the waits are worked out."""

    wait: Any  # what to do where the server does not say: a `Plain`, or a tenacity wait of the user's
    stop: Any  # a `Plain`, or a tenacity stop of the user's
    spread: Literal["full", "add", "none"]  # how jitter is applied to the wait
    floor_only: bool = False  # a schedule: the server's hint is a floor under it, and does not replace it
    foreign: bool = False  # the wait or the stop came from the user: it sees a whole retry state
    duration: float | None = None  # seconds since the rule first matched, after which it stops
    after: tuple[Hint, ...] = ()
    unsafe: bool = False
    change: tuple[Change, ...] = ()
    requires: frozenset[Change] = frozenset()
    only_if: Condition | None = None


@dataclass(frozen=True, slots=True)
class Clause:
    """One table of a rule's `when`, beyond status and code."""

    statuses: frozenset[int] | None = None  # asked of rules that are found by their code
    headers: tuple[tuple[str, str | bool], ...] = ()
    body: tuple[tuple[Pointer, Any], ...] = ()
    routes: Routes | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One error that an API documents."""

    name: str
    category: str
    cause: str = ""
    remedy: str = ""
    user_message: str = ""
    source: str = ""
    retry: Retry | None = None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """How an API takes keys."""

    header: str = "Idempotency-Key"
    field: Pointer | None = None
    quoted: bool = False
    shortest: int = 1
    longest: int = 255
    routes: Routes = dataclasses.field(default_factory=lambda: Routes(()))


@dataclass(frozen=True, slots=True)
class Envelope:
    """Where an API keeps the parts of an error."""

    code: tuple[Pointer, ...] = ()
    message: tuple[Pointer, ...] = ()
    field: tuple[Pointer, ...] = ()
    details: tuple[Pointer, ...] = ()
    request_id: tuple[Pointer, ...] = ()
    request_id_header: tuple[str, ...] = ("X-Request-Id",)


Entry = tuple[int, Rule, Clause]  # the rule's place in the file, the rule, and what else must hold


@dataclass(frozen=True, slots=True, eq=False)
class Rulebook:
    """All that the flow may know of an API."""

    api: str
    title: str
    network: Rule
    envelope: Envelope = dataclasses.field(default_factory=Envelope)
    idempotency: Idempotency = dataclasses.field(default_factory=Idempotency)
    longest_wait: float = 300.0  # seconds
    body_limit: int = 65_536  # bytes
    nonce_header: str | None = None
    token_lifetime: float | None = None
    override_field: Pointer | None = None
    override_value: Any = True
    should_retry: str | None = None
    default_retry: Retry | None = None  # for replies whose only word is should_retry
    at_once: frozenset[int] = frozenset(range(100, 400))  # statuses that no rule has anything to say of
    by_code: Mapping[Code, Sequence[Entry]] = dataclasses.field(default_factory=dict)
    by_status: Mapping[int | None, Sequence[Entry]] = dataclasses.field(
        default_factory=dict
    )  # rules that ask for no code
    protection: Protection = dataclasses.field(default_factory=Protection)
    paces: tuple[Paced, ...] = ()  # the budgets that the API publishes
    _successes: dict[int, Verdict] = dataclasses.field(default_factory=dict)

    @property
    def rulebook(self) -> Rulebook:
        """Itself, as a policy gives its compiled form: the one may stand where the other does."""
        return self

    def candidates(self, code: Code | None, status: int) -> list[Entry]:
        """List the rules that a reply of this code and status may mean, in file order."""
        found = [*self.by_status.get(status, ()), *self.by_status.get(None, ())]
        if code is not None:
            found += self.by_code.get(code, ())
        if len(found) > 1:
            found.sort(key=_place)
        return found

    def success(self, status: int) -> Verdict:
        """Give the verdict of a success; one object per status."""
        verdict = self._successes.get(status)
        if verdict is None:
            verdict = Verdict(name=status_name(status), category="success", status=status)
            self._successes[status] = verdict
        return verdict


def _place(entry: Entry) -> int:
    return entry[0]


def status_name(status: int) -> str:
    """Name a status as the registry does: 404 is NOT_FOUND."""
    try:
        return HTTPStatus(status).name
    except ValueError:
        return f"HTTP_{status}"


_BY_STATUS = {
    400: "validation",
    401: "auth",
    402: "quota",
    403: "permission",
    404: "not_found",
    407: "auth",
    409: "conflict",
    410: "not_found",
    412: "conflict",
    422: "validation",
    429: "rate_limit",
}


def category_of(status: int) -> str:
    """Give the category that a status alone suggests."""
    return _BY_STATUS.get(status, "server" if status >= 500 else "other")


def parse(raw: bytes) -> Any:
    """Read a body as JSON; None for whatever is not (wrong bytes, too deep, too long a number)."""
    if not raw:
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError, MemoryError):
        return None
