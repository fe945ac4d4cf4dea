"""What every stand-in shares: the request it is given, the reply it gives, and the order in which things are decided.

No sockets and no clock in here: a request and the time come in, a reply goes out. A reply also says how the connection ends,
for some failures are no reply at all.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol
from urllib.parse import parse_qsl

from resilient_client.sandbox._documented import documented

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

CALL_HEADER = "x-sandbox-call"

Ending = Literal["whole", "reset", "close", "truncate"]


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


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back. With an `ending` other than "whole", some or all of it never arrives."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    code: int | str | None = None  # as the envelope has it
    ending: Ending = "whole"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that arrived, and what became of it."""

    method: str
    route: str  # without the base path: "POST /v1/create"
    time: float  # seconds, of the sandbox's monotonic clock
    status: int | None  # None: no reply was made
    code: int | str | None  # of the reply, also where the reply was lost on the way
    fault: str | None  # what was injected; None where the stand-in decided by itself
    call: str | None
    idempotency_key: str | None
    nonce: str | None
    body: bytes


class Faults(Protocol):
    """Decides what goes wrong with a request: a fault's name, or None. `Schedule` is one; any function will do."""

    def __call__(self, route: str, request: Request, /) -> str | None:
        """Name the fault for this request, which the API was about to accept."""


class RefusedError(Exception):
    """The contract says no: by the name of a documented error."""

    def __init__(self, name: str, *, status: int | None = None, retry_after: int | None = None) -> None:
        super().__init__(name)
        self.name = name
        self.status = status
        self.retry_after = retry_after  # seconds


class Api(ABC):
    """One vendor's API: its state, and its rules.

    The order is always the same: `admit` (who asks, may they ask now), then the injected fault, then `work`. So a fault
    spares nobody the checks: a retry that reuses a nonce is refused whatever the schedule had in store for it, and it is
    not counted as a sighting.
    """

    name: ClassVar[str]
    base: ClassVar[str]
    nonce_header: ClassVar[str | None] = None
    throttles: ClassVar[frozenset[str]] = (
        frozenset()
    )  # errors that always carry Retry-After; 1 second unless told

    key: str
    secret: str

    def __init__(self, *, faults: Faults | None = None) -> None:
        self.requests: list[Seen] = []
        self._faults = faults

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

    def answer(self, request: Request, now: float) -> Reply:
        """Answer a request that arrives `now` (monotonic seconds), and note it in `requests`.

        Raises ValueError where `faults` names a fault that does not exist. The caller sees to it that only one request is
        answered at a time.
        """
        route = self.route_of(request)
        fault = None
        try:
            self.admit(route, request, now)
            fault = self._faults(route, request) if self._faults is not None else None
            self.charge(route, fault, now)
            reply = self._carry_out(fault, lambda: self._work(route, request, now))
        except RefusedError as refusal:
            reply = self._refuse(refusal)
        self.requests.append(
            Seen(
                method=request.method,
                route=route,
                time=now,
                status=reply.status or None,
                code=reply.code,
                fault=fault,
                call=request.call,
                idempotency_key=request.headers.get("idempotency-key"),
                nonce=request.headers.get(self.nonce_header.lower()) if self.nonce_header else None,
                body=request.body,
            )
        )
        return reply

    def route_of(self, request: Request) -> str:
        """Name the route, without the base path; a path outside the base keeps all of its own."""
        path = (
            request.path.removeprefix(self.base) if request.path.startswith(f"{self.base}/") else request.path
        )
        return f"{request.method} {path}"

    def json(self, status: int, document: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """Make a JSON reply."""
        return Reply(
            status=status,
            headers=(("Content-Type", "application/json"), *(headers or {}).items()),
            body=json.dumps(document, separators=(",", ":")).encode(),
            code=self.code_of(document),
        )

    def error(self, name: str, *, status: int | None = None, retry_after: int | None = None) -> Reply:
        """Make the reply that the policy file's first example documents for this error.

        `retry_after` is in seconds. Raises ValueError for a name that the file does not have.
        """
        table = documented(self.name)
        if name not in table:
            known = ", ".join([*_ENDS_BADLY, *table])
            raise ValueError(f"no such fault in the {self.name} sandbox: {name!r}; there are {known}")
        entry = table[name]
        headers = dict(entry.headers)
        if retry_after is None and name in self.throttles:
            retry_after = 1
        if retry_after is not None:
            headers = {key: value for key, value in headers.items() if key.lower() != "retry-after"}
            headers["Retry-After"] = str(retry_after)
        return self.json(status or entry.status, entry.json, headers)

    def _refuse(self, refusal: RefusedError) -> Reply:
        return self.error(refusal.name, status=refusal.status, retry_after=refusal.retry_after)

    def _work(self, route: str, request: Request, now: float) -> Reply:
        try:
            return self.work(route, request, now)
        except RefusedError as refusal:
            return self._refuse(refusal)

    def _carry_out(self, fault: str | None, work: Callable[[], Reply]) -> Reply:
        match fault:
            case None:
                return work()
            case "reset" | "close":
                return Reply(status=0, headers=(), body=b"", ending=fault)
            case "lose":
                return replace(work(), ending="close")
            case "truncate":
                return replace(work(), ending="truncate")
            case "html-503":
                return _BALANCER_PAGE
            case _:
                name, colon, seconds = fault.partition(":")
                if colon and not (seconds.isascii() and seconds.isdecimal()):
                    raise ValueError(f"fault {fault!r}: whole seconds must follow the colon, as in {name}:2")
                return self.error(name, retry_after=int(seconds) if colon else None)


_ENDS_BADLY = ("reset", "close", "lose", "truncate", "html-503")

_BALANCER_PAGE = Reply(
    status=503,
    headers=(("Content-Type", "text/html; charset=utf-8"),),
    body=(
        b"<!DOCTYPE html>\n<html><head><title>503 Service Unavailable</title></head>\n"
        b"<body><h1>Service Unavailable</h1><p>No backend is ready to take the request.</p></body></html>\n"
    ),
)
