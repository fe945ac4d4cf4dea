"""What every stand-in shares: the request it is given, the reply it gives, and the order in which things are decided.

No sockets and no clock in here: a request and the time come in, a reply goes out. A reply also says how the connection ends,
for some failures are no reply at all.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field, replace
from http.client import responses
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol
from urllib.parse import parse_qsl, unquote

from resilient_client.sandbox._documented import worded
from resilient_client.sandbox.faults import WIRE, example_of, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from resilient_client._libraries import LibraryName
    from resilient_client.sandbox.faults import Fault

CALL_HEADER = "x-sandbox-call"

Ending = Literal["whole", "close", "reset", "reset-upload", "garbage", "truncate", "reset-body"]

KEPT = 64 * 1024  # bytes of a request's body that are kept of it, however long a sandbox serves
_DROPS = 64  # pieces at most, of a body that comes drop by drop


class Clock(Protocol):
    """The time that the stand-in lives in; the `time` module is one."""

    def time(self) -> float:
        """Tell the epoch time in seconds: for the Date header."""

    def monotonic(self) -> float:
        """Tell the seconds since some fixed point: for windows and ages."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in, parsed and whole."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case; values of a repeated name joined by ", "
    body: bytes
    params: Mapping[str, str] = field(default_factory=dict)  # what the {names} of its route stand for

    @classmethod
    def of(cls, method: str, target: str, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Request:
        """Make one of a request line's target and the raw headers; of a repeated query field the first counts."""
        path, _, query = target.partition("?")
        fields: dict[str, str] = {}
        for raw_name, raw_value in headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        found: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            found.setdefault(name, value)
        return cls(method=method, path=path, query=found, headers=fields, body=body)

    @property
    def call(self) -> str | None:
        """The caller's tag (`X-Sandbox-Call`), by which a `Schedule` tells concurrent calls apart."""
        return self.headers.get(CALL_HEADER)

    @property
    def bearer(self) -> str | None:
        """The token of `Authorization: Bearer …` (RFC 6750 §2.1); None without one."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None

    def document(self) -> dict[str, Any]:
        """Read the body as a JSON object. Raises ValueError where it is none."""
        try:
            document = json.loads(self.body)
        except RecursionError:
            raise ValueError("the body is nested too deeply") from None
        if not isinstance(document, dict):
            raise ValueError("the body is not an object")  # noqa: TRY004 - whatever is wrong with it
        return document


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back, and how. With an `ending` other than "whole", some or all of it never arrives."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    code: int | str | None = None  # as the envelope has it
    ending: Ending = "whole"
    delay: float = 0.0  # seconds until its first byte
    over: float = 0.0  # seconds that its body takes, drop by drop
    stale: bool = False  # the next request on this connection finds it closed

    @property
    def has_body(self) -> bool:
        """Tell whether this status comes with a body, and so with a length (RFC 9110 §8.6)."""
        return self.status >= 200 and self.status not in {204, 304}

    @property
    def reason(self) -> bytes:
        """The words beside the status (RFC 9112 §4), none for a status that has none."""
        return responses.get(self.status, "").encode("ascii")

    @property
    def field_lines(self) -> list[tuple[bytes, bytes]]:
        """The headers as bytes; what came in as bytes of a header can go out in one."""
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]

    def outgoing(self, method: str) -> Reply:
        """Give it as it goes out to a request of this method: with its length, and as much of its body as is sent.

        HEAD gets no body (RFC 9110 §9.3.2), and what has none cannot break off in it: it goes out whole.
        """
        headers = self.headers
        if self.has_body:
            headers = (*headers, ("Content-Length", str(len(self.body))))
        body = self.body if self.has_body and method != "HEAD" else b""
        if self.ending not in {"truncate", "reset-body"}:
            return replace(self, headers=headers, body=body)
        ending = self.ending if body else "whole"
        return replace(self, headers=headers, body=body[: len(body) // 2], ending=ending)

    def drops(self) -> Iterator[tuple[float, bytes]]:
        """Give its body in pieces, each with the seconds to wait before it; in one piece unless it comes drop by drop."""
        size = -(-len(self.body) // _DROPS) if self.over else len(self.body)
        starts = range(0, len(self.body), size or 1)
        for start in starts:
            yield self.over / len(starts), self.body[start : start + size]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that arrived, and what became of it."""

    method: str
    route: str  # without the base path, as the API names it: "POST /v1/create", "GET /customers/{id}"
    path: str  # without the base path, as it came
    time: float  # seconds, of the sandbox's monotonic clock
    status: int | None  # None: no reply was made
    code: int | str | None  # of the reply, also where the reply was lost on the way
    fault: str | None  # what was injected; None where the stand-in decided by itself
    call: str | None
    idempotency_key: str | None
    nonce: str | None
    body: bytes = field(repr=False)  # its first `KEPT` bytes
    size: int  # bytes of the whole body
    digest: str  # SHA-256 of the whole body, in hex: two bodies are the same where this is
    worked: bool = False  # whether the route's work was done with success, whatever became of the reply


class Faults(Protocol):
    """Decides what goes wrong with a request: a fault's name, or None. `Schedule` is one; any function will do.

    One that also has a method `early(route, request)` is asked when the head of a request to a known route has come, before
    its body and any check: it may name "reset-upload" then, or None. Named later, by one that has no `early`, "reset-upload" is a
    reset after the upload.
    """

    def __call__(self, route: str, request: Request, /) -> str | None:
        """Name the fault for this request, which the API was about to accept."""


class RefusedError(Exception):
    """The contract says no: by the name of a documented error, and with words of its own where they are given."""

    def __init__(
        self,
        name: str,
        *,
        example: int = 1,
        status: int | None = None,
        retry_after: int | None = None,
        **words: Any,
    ) -> None:
        """Refuse. `example` counts the rule's examples from 1, `words` are `message`, `field` and `details`."""
        super().__init__(name)
        self.name = name
        self.example = example
        self.status = status
        self.retry_after = retry_after  # seconds
        self.words = words


class Api(ABC):
    """One vendor's API: its state, and its rules.

    The order is always the same: `admit` (who asks, may they ask now), then the injected fault, then `work`. So a fault
    spares nobody the checks: a retry that reuses a nonce is refused whatever the schedule had in store for it, and it is
    not counted as a sighting. An upload that breaks off is the exception: nothing can be checked of half a request.
    """

    name: ClassVar[str]
    base: ClassVar[str]
    routes: ClassVar[Mapping[str, Callable[..., Any]]]  # "GET /customers/{id}" -> what `work` does for it
    unknown: ClassVar[str] = "NOT_FOUND"  # the error that answers a route which is not there
    nonce_header: ClassVar[str | None] = None
    throttles: ClassVar[frozenset[str]] = frozenset()
    """Errors that always carry Retry-After: 1 second, unless told."""
    unsent: ClassVar[frozenset[str]] = frozenset()
    """Documented errors that the API itself never sends."""

    def __init__(self, *, faults: Faults | None = None) -> None:
        self.requests: list[Seen] = []
        self._faults = faults
        self._epoch = 0.0  # what the wall clock shows when the monotonic one shows 0

    @property
    @abstractmethod
    def credentials(self) -> Mapping[str, str]:
        """What a caller needs to know to be let in, by name."""

    @abstractmethod
    def sign_in(self, base_url: str, library: LibraryName = "httpx") -> Mapping[str, Any]:
        """Give what a client of the library needs to be let in: `auth`, `headers`."""

    @abstractmethod
    def admit(self, route: str, request: Request, now: float) -> None:
        """Let the request in, or raise `RefusedError`; spend nothing yet."""

    @abstractmethod
    def charge(self, route: str, fault: str | None, now: float) -> None:
        """Count an admitted request against the budget."""

    @abstractmethod
    def work(self, route: str, request: Request, now: float) -> Reply:
        """Do what was asked and tell the result, or raise `RefusedError`."""

    @abstractmethod
    def code_of(self, document: Any) -> int | str | None:
        """Find the code in a body of this API."""

    def finish(self, route: str, request: Request, reply: Reply, now: float) -> Reply:  # noqa: ARG002 - for those that need them
        """Add what every reply of this API carries, errors included."""
        return reply

    def wall(self, now: float) -> float:
        """Tell the epoch seconds at a moment of the monotonic clock."""
        return self._epoch + now

    @property
    def injected(self) -> tuple[Seen, ...]:
        """What was injected, in order: each request that did not go as the API by itself would have had it."""
        return tuple(seen for seen in tuple(self.requests) if seen.fault is not None)

    def tally(self) -> Counter[str]:
        """Count the faults that were drawn, by name; "stale" once, also where a second request found its connection closed."""
        return Counter(
            seen.fault
            for seen in self.injected
            if seen.fault is not None and not (seen.fault == "stale" and seen.status is None)
        )

    # --- the way of a request

    def answer(self, request: Request, now: float, epoch: float | None = None) -> Reply:
        """Answer a request that arrives `now` (monotonic seconds; `epoch` by the wall), and note it in `requests`.

        Raises ValueError where `faults` names a fault that does not exist. The caller sees to it that only one request is
        answered at a time.
        """
        self._epoch = (epoch if epoch is not None else now) - now
        route, request = self._routed(request)
        named: str | None = None
        worked = False
        try:
            self.admit(route, request, now)
            named = self._faults(route, request) if self._faults is not None else None
            fault = self.fault(named) if named is not None else None
            self.charge(route, named, now)
            if fault is None or fault.works:
                reply, worked = self._work(route, request, now)
            else:
                reply = self._instead(fault)
        except RefusedError as refusal:
            fault = None
            reply = self._refuse(refusal)
        if reply.status and (fault is None or fault.kind != "html-503"):
            reply = self.finish(route, request, reply, now)
        if fault is not None and fault.works:
            reply = fault.spoil(reply)
        self._note(route, request, now, reply=reply, fault=named, worked=worked)
        return reply

    def early(self, request: Request, now: float) -> Reply | None:
        """Say, when only the head of a request has come, whether its upload is to break off here."""
        ask = getattr(self._faults, "early", None)
        route, request = self._routed(request)
        if ask is None or not self.known(route, request) or ask(route, request) is None:
            return None
        reply = Reply(status=0, headers=(), body=b"", ending="reset-upload")
        self._note(route, request, now, reply=reply, fault="reset-upload")
        return reply

    def drop(self, request: Request, now: float) -> Reply:
        """Note a request that came in on a connection which is being closed; it is not answered, and nothing is done."""
        route, request = self._routed(request)
        reply = Reply(status=0, headers=(), body=b"", ending="close")
        self._note(route, request, now, reply=reply, fault="stale")
        return reply

    def route_of(self, request: Request) -> str:
        """Name the route, without the base path; a path outside the base keeps all of its own."""
        return self._routed(request)[0]

    def _routed(self, request: Request) -> tuple[str, Request]:
        path = self._path(request)
        if path is None:
            return f"{request.method} {request.path}", request
        exact = f"{request.method} {path}"
        if (
            exact in self.routes and "{" not in path
        ):  # a template is no path, though somebody may send it as one
            return exact, request
        for route in self.routes:
            params = _match(route, request.method, path)
            if params is not None:
                return route, replace(request, params=params)
        return exact, request

    def _path(self, request: Request) -> str | None:
        """Give the path without the base; None for one outside of it."""
        return request.path.removeprefix(self.base) if request.path.startswith(f"{self.base}/") else None

    def known(self, route: str, request: Request) -> bool:
        """Tell whether there is such a route, under the API's base path."""
        return route in self.routes and self._path(request) is not None

    def _note(  # noqa: PLR0913 - what is known of a request at its end
        self,
        route: str,
        request: Request,
        now: float,
        *,
        reply: Reply,
        fault: str | None,
        worked: bool = False,
    ) -> None:
        path = self._path(request)
        self.requests.append(
            Seen(
                method=request.method,
                route=route,
                path=request.path if path is None else path,
                time=now,
                status=reply.status or None,
                code=reply.code,
                fault=fault,
                call=request.call,
                idempotency_key=self.key_of(request),
                nonce=request.headers.get(self.nonce_header.lower()) if self.nonce_header else None,
                body=request.body[:KEPT],
                size=len(request.body),
                digest=hashlib.sha256(request.body).hexdigest(),
                worked=worked,
            )
        )

    def key_of(self, request: Request) -> str | None:
        """Find the request's idempotency key."""
        return request.headers.get("idempotency-key")

    # --- replies

    def json(self, status: int, document: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """Make a JSON reply."""
        return Reply(
            status=status,
            headers=(("Content-Type", "application/json"), *(headers or {}).items()),
            body=json.dumps(document, separators=(",", ":")).encode(),
            code=self.code_of(document),
        )

    def empty(self, status: int = 204) -> Reply:
        """Make a reply without a body."""
        return Reply(status=status, headers=(), body=b"")

    def error(
        self,
        name: str,
        *,
        example: int = 1,
        status: int | None = None,
        retry_after: int | None = None,
        **words: Any,
    ) -> Reply:
        """Make the reply that the policy file documents for this error: its first example, unless another is asked for.

        `retry_after` is in seconds; `words` are other ones for `message`, `field` and `details`. Raises ValueError for a
        name that the file does not have.
        """
        entry = example_of(self.name, name, example)
        if retry_after is None and name in self.throttles and entry.json is not None:
            retry_after = 1
        told = (
            {"date"} if retry_after is None else {"date", "retry-after"}
        )  # the sandbox has a time of its own
        headers = {key: value for key, value in entry.headers.items() if key.lower() not in told}
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        if entry.json is None:
            page = (entry.text or "").encode()
            kind = "text/html" if page.lstrip()[:1] == b"<" else "text/plain"
            lines = (("Content-Type", f"{kind}; charset=utf-8"), *headers.items())
            return Reply(status=status or entry.status, headers=lines, body=page)
        return self.json(status or entry.status, worded(self.name, entry.json, words), headers)

    def fault(self, text: str) -> Fault:
        """Read a fault's name. Raises ValueError for one that this API does not have."""
        return find(text, self.name)

    def _refuse(self, refusal: RefusedError) -> Reply:
        return self.error(
            refusal.name,
            example=refusal.example,
            status=refusal.status,
            retry_after=refusal.retry_after,
            **refusal.words,
        )

    def _work(self, route: str, request: Request, now: float) -> tuple[Reply, bool]:
        try:
            return self.work(route, request, now), True
        except RefusedError as refusal:
            return self._refuse(refusal), False

    def _instead(self, fault: Fault) -> Reply:
        """Make the reply of a fault that keeps the work from being done."""
        if fault.kind == "html-503":
            return _BALANCER_PAGE
        if fault.kind in WIRE:
            return fault.spoil(Reply(status=0, headers=(), body=b""))
        seconds = None if fault.seconds is None else int(fault.seconds)
        return self.error(fault.kind, example=fault.example, retry_after=seconds)


def _match(route: str, method: str, path: str) -> dict[str, str] | None:
    """Match a path against a route's template; give what its {names} stand for."""
    wanted, _, template = route.partition(" ")
    if wanted != method or "{" not in template:
        return None
    parts, segments = template.split("/"), path.split("/")
    if len(parts) != len(segments):
        return None
    params = {}
    for part, segment in zip(parts, segments, strict=True):
        if part.startswith("{"):
            if not segment:
                return None
            params[part[1:-1]] = unquote(segment)
        elif part != segment:
            return None
    return params


_BALANCER_PAGE = Reply(
    status=503,
    headers=(("Content-Type", "text/html; charset=utf-8"),),
    body=(
        b"<!DOCTYPE html>\n<html><head><title>503 Service Unavailable</title></head>\n"
        b"<body><h1>Service Unavailable</h1><p>No backend is ready to take the request.</p></body></html>\n"
    ),
)
