"""Plain clients of every kind, of httpx and of httpx2, for a sandbox on a socket or in memory, and what they met.

Law of this file: it knows nothing of the resilient client, and it judges nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Self

import anyio

from resilient_client.sandbox import Api, Reply, Request, Sandbox
from resilient_client.sandbox._desk import Desk
from resilient_client.sandbox._memory import Memory
from resilient_client.sandbox._server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient_client._libraries import LibraryName
    from resilient_client.sandbox import Clock, Faults, Zerotrace

PLACES = ("socket", "memory")
WAYS = ("sync", "asyncio", "trio")

CREATE = "POST /v1/create"
BODY = json.dumps(
    {
        "fromCcy": "BTC",
        "toCcy": "XMR",
        "direction": "from",
        "amount": 0.01,
        "type": "fixed",
        "toAddress": "there",
    }
).encode()
KEY = "one-key-for-all"
NONCES = itertools.count()


class Stopped:
    """Time that stands still."""

    def time(self) -> float:
        return 1_700_000_000.0

    def monotonic(self) -> float:
        return 5.0


def order(
    api: Sandbox[Zerotrace], body: bytes = BODY, *, nonce: str | None = None, **headers: str
) -> dict[str, Any]:
    """Write a create that is signed as the vendor's page says; `X_Sandbox_Call="a"` is a header."""
    signed = {
        "X-API-KEY": api.key,
        "X-API-SIGN": hmac.new(api.secret.encode(), body, hashlib.sha256).hexdigest(),
        "X-API-NONCE": nonce or f"nonce-{next(NONCES):016d}",
        "Idempotency-Key": KEY,
    }
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"method": "POST", "url": "/v1/create", "content": body, "headers": signed | more}


@dataclass
class Met:
    """What became of one request: a reply, whole or as far as it came, or none."""

    status: int | None = None
    reason: str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""  # as far as it came
    raised: type[Exception] | None = (
        None  # in sending or in reading; the exception itself would keep the request alive
    )
    words: str = ""  # of what was raised

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """One header, by its name in lower case."""
        return dict(self.headers).get(name)

    def of(self, response: Any) -> None:
        """Take the head over."""
        self.status, self.reason = response.status_code, response.reason_phrase
        self.headers = [(name.lower(), value) for name, value in response.headers.multi_items()]


def ask(
    api: Any, way: str, *requests: Mapping[str, Any], library: LibraryName = "httpx", **options: Any
) -> list[Met]:
    """Send requests one after the other with one client; `api` is a sandbox or a `Stand`, started or not."""
    http = import_module(library)
    in_memory = not api.base_url.startswith("http://127.0.0.1")
    options = {"base_url": api.base_url, "trust_env": False} | options
    if way == "sync":
        transport = http.MockTransport(api.handler) if in_memory else None
        with http.Client(transport=transport, **options) as client:
            return [_send(http, client, request) for request in requests]

    async def task() -> list[Met]:
        transport = http.MockTransport(api.async_handler) if in_memory else None
        async with http.AsyncClient(transport=transport, **options) as client:
            return [await _asend(http, client, request) for request in requests]

    return anyio.run(task, backend=way)


def _send(http: Any, client: Any, request: Mapping[str, Any]) -> Met:
    met = Met()
    try:
        with client.stream(**request) as response:
            met.of(response)
            for part in response.iter_raw():
                met.body += part
    except http.HTTPError as error:
        met.raised, met.words = type(error), str(error)
    return met


async def _asend(http: Any, client: Any, request: Mapping[str, Any]) -> Met:
    met = Met()
    try:
        async with client.stream(**request) as response:
            met.of(response)
            async for part in response.aiter_raw():
                met.body += part
    except http.HTTPError as error:
        met.raised, met.words = type(error), str(error)
    return met


class Tiny(Api):
    """An API with one path, open to all, that gives one reply to everybody."""

    name: ClassVar[str] = "zerotrace"  # whose errors it has
    base: ClassVar[str] = ""
    routes: ClassVar[Mapping[str, Callable[..., Any]]] = dict.fromkeys(
        ("GET /", "HEAD /", "POST /", "GET /things/{id}"), lambda reply: reply
    )

    def __init__(self, reply: Reply | Callable[[Request], Reply], faults: Faults | None = None) -> None:
        super().__init__(faults=faults)
        self._reply = reply

    @property
    def credentials(self) -> Mapping[str, str]:
        return {}

    def sign_in(self, base_url: str, library: LibraryName = "httpx") -> Mapping[str, Any]:
        return {}

    def admit(self, route: str, request: Request, now: float) -> None:
        pass

    def charge(self, route: str, fault: str | None, now: float) -> None:
        pass

    def work(self, route: str, request: Request, now: float) -> Reply:
        return self._reply(request) if callable(self._reply) else self._reply

    def code_of(self, document: Any) -> int | str | None:
        return None


class Stand:
    """A stand-in of the test's own, on a socket or in memory; `Sandbox` has those of the vendors only."""

    def __init__(self, state: Api, place: str, clock: Clock = time) -> None:
        self.state = state
        self.desk = Desk(state, clock)
        self.server = Server(self.desk, name="tiny") if place == "socket" else None
        memory = Memory(self.desk)
        self.handler, self.async_handler = memory.handle, memory.ahandle
        self.base_url = f"http://127.0.0.1:{self.server.port}" if self.server else "http://tiny.sandbox"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        assert self.desk.failures == []

    def close(self) -> None:
        """Stop serving."""
        if self.server is not None:
            self.server.close()
