"""One call through a client whose server, clock and event loop the test chooses: the same in a thread, in asyncio and in trio.

Law of this file: it knows the public contract and nothing else of the library, and it judges nothing.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.lowlevel
import httpx

from resilient_client import (
    ApiError,
    AsyncResilientClient,
    AsyncResilientTransport,
    Outcome,
    ResilientClient,
    ResilientTransport,
    outcome_of,
    testing,
)
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    from resilient_client import Policy

BASE = "https://api.example"

Backend = Literal["sync", "asyncio", "trio"]


# ----------------------------------------------------------------------------------------------------- what is expected


class Within:
    """A number that is not known, but for its bounds, both of which it may take: `waits == [spread(7), up_to(0.5)]`."""

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float) and self.low - 1e-9 <= other <= self.high + 1e-9

    __hash__ = None  # type: ignore[assignment]  # equal to many numbers, so it can have no hash

    def __repr__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


def spread(*seconds: float) -> list[Within]:
    """Give the waits that a server or a schedule asks for: never less, and at most 20 % and a quarter second more."""
    return [Within(wait, wait * 1.2 + 0.25) for wait in seconds]


def up_to(*seconds: float) -> list[Within]:
    """Give the waits of a backoff with full jitter, by their ceilings."""
    return [Within(0.0, ceiling) for ceiling in seconds]


# ------------------------------------------------------------------------------------------------- what the server does


def answer(
    status: int,
    json: Any = None,
    *,
    text: str | None = None,
    headers: httpx.Headers | Mapping[str, str] | list[tuple[str, str]] | None = None,
) -> Callable[[httpx.Request], httpx.Response]:
    """Answer every request alike."""

    def reply(_request: httpx.Request) -> httpx.Response:
        if json is not None:
            return httpx.Response(status, json=json, headers=headers)
        return httpx.Response(status, text=text, headers=headers)

    return reply


error_response = partial(testing.error_response, library="httpx")
"""Build a real API's error, as the kit does: a response of the host that the test is on."""


def fail(
    error: type[httpx.TransportError], message: str = "the network is down"
) -> Callable[[httpx.Request], httpx.Response]:
    """Fail every request alike."""

    def reply(request: httpx.Request) -> httpx.Response:
        raise error(message, request=request)

    return reply


def in_turn(*answers: Callable[[httpx.Request], httpx.Response]) -> Callable[[httpx.Request], httpx.Response]:
    """Answer the first request with the first, and so on; the last answer goes on for ever."""
    left = list(answers)

    def reply(request: httpx.Request) -> httpx.Response:
        return (left.pop(0) if len(left) > 1 else left[0])(request)

    return reply


class Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in pieces, for threads and tasks; an exception among them is raised, a callable is called."""

    def __init__(self, *pieces: bytes | Exception | Callable[[], object]) -> None:
        self._pieces = pieces
        self.read = 0
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            if callable(piece):
                piece()
                continue
            self.read += 1
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


# --------------------------------------------------------------------------------------------------------- what happened


@dataclass(frozen=True)
class Sent:
    """A request as the server saw it."""

    method: str
    url: httpx.URL
    headers: httpx.Headers
    body: bytes
    at: float  # monotonic seconds of the test's clock
    timeouts: dict[str, float | None]


@dataclass
class Ended:
    """How a call ended."""

    clock: VirtualClock
    requests: list[Sent]
    result: httpx.Response | Exception
    cookies: dict[str, str] = field(default_factory=dict)
    body: bytes = b""  # of a stream, as far as it could be read
    read_error: Exception | None = None  # what reading the stream raised

    @property
    def response(self) -> httpx.Response:
        """The response; what was raised is raised again."""
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    @property
    def error(self) -> Exception:
        """What was raised."""
        if not isinstance(self.result, Exception):
            raise TypeError(f"the call ended with {self.result!r}, not with an exception")
        return self.result

    @property
    def api_error(self) -> ApiError:
        """The ApiError that was raised."""
        if not isinstance(self.error, ApiError):
            raise self.error
        return self.error

    @property
    def outcome(self) -> Outcome:
        """What the call went through."""
        return outcome_of(self.result)

    @property
    def attempts(self) -> int:
        """How many attempts the outcome tells of."""
        return len(self.outcome.attempts)

    @property
    def waits(self) -> list[float]:
        """The seconds between the attempts, as the server would see them."""
        return [later.at - sooner.at for sooner, later in zip(self.requests, self.requests[1:], strict=False)]

    def header(self, name: str) -> list[str | None]:
        """One header on each request."""
        return [sent.headers.get(name) for sent in self.requests]


# -------------------------------------------------------------------------------------------------------------- the call


class Run:
    """Make a call under one of three ways of waiting."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def __call__(
        self,
        policy: str | Path | Policy | None,
        server: Callable[[httpx.Request], httpx.Response],
        method: str = "GET",
        path: str = "/",
        *,
        ask: Mapping[str, Any] | None = None,
        client: Mapping[str, Any] | None = None,
        clock: VirtualClock | None = None,
        bare: bool = False,
        stream: bool = False,
        **request: Any,
    ) -> Ended:
        """Make one call.

        `ask` goes into the request's "resilience" extension, `client` to the client; `bare` sends through httpx's own
        client with a resilient transport; `stream` leaves the body to be read raw, after the call.
        """
        clock = VirtualClock() if clock is None else clock
        sent: list[Sent] = []

        def serve(arrived: httpx.Request) -> httpx.Response:
            timeouts = arrived.extensions.get("timeout", {})
            sent.append(
                Sent(
                    arrived.method,
                    arrived.url,
                    httpx.Headers(arrived.headers),
                    arrived.content,
                    clock.monotonic(),
                    {phase: timeouts.get(phase) for phase in timeouts},
                )
            )
            return server(arrived)

        if ask is not None:
            request["extensions"] = {"resilience": dict(ask)}
        url = path if "://" in path else BASE + path
        options = dict(client or {})
        ended = Ended(clock, sent, RuntimeError("nothing happened"))
        if self.backend == "sync":
            self._in_thread(
                ended, _client(policy, serve, clock, options, bare=bare), method, url, request, stream=stream
            )
        else:
            made = _async_client(policy, serve, clock, options, bare=bare)
            anyio.run(
                partial(self._in_task, ended, made, method, url, request, stream=stream), backend=self.backend
            )
        return ended

    @staticmethod
    def _in_thread(
        ended: Ended, client: httpx.Client, method: str, url: str, request: dict[str, Any], *, stream: bool
    ) -> None:
        with client:
            try:
                if not stream:
                    ended.result = client.request(method, url, **request)
                else:
                    with client.stream(method, url, **request) as response:
                        ended.result = response
                        try:
                            for chunk in response.iter_raw():
                                ended.body += chunk
                        except Exception as error:  # noqa: BLE001 - the test says what it must be
                            ended.read_error = error
            except Exception as error:  # noqa: BLE001 - as above
                ended.result = error
            ended.cookies = dict(client.cookies)

    @staticmethod
    async def _in_task(
        ended: Ended,
        client: httpx.AsyncClient,
        method: str,
        url: str,
        request: dict[str, Any],
        *,
        stream: bool,
    ) -> None:
        async with client:
            try:
                if not stream:
                    ended.result = await client.request(method, url, **request)
                else:
                    async with client.stream(method, url, **request) as response:
                        ended.result = response
                        try:
                            async for chunk in response.aiter_raw():
                                ended.body += chunk
                        except Exception as error:  # noqa: BLE001 - as above
                            ended.read_error = error
            except Exception as error:  # noqa: BLE001 - as above
                ended.result = error
            ended.cookies = dict(client.cookies)

    def crowd(
        self,
        policy: str | Path | Policy | None,
        server: Callable[[httpx.Request], httpx.Response],
        count: int,
        path: str = "/",
        *,
        together: Callable[[httpx.Request], bool] = lambda _request: False,
        **client: Any,
    ) -> list[httpx.Response | Exception]:
        """Make `count` calls at once with one client; requests that are `together` are answered once all of them are in."""
        clock = VirtualClock()
        if self.backend == "sync":
            return _threads(policy, server, count, path=path, together=together, clock=clock, client=client)

        async def tasks() -> list[httpx.Response | Exception]:
            results: list[httpx.Response | Exception] = []
            arrived, all_in = 0, anyio.Event()

            async def serve(request: httpx.Request) -> httpx.Response:
                nonlocal arrived
                if together(request):
                    arrived += 1
                    if arrived == count:
                        all_in.set()
                    with anyio.fail_after(10):
                        await all_in.wait()
                await anyio.lowlevel.checkpoint()
                return server(request)

            async with (
                AsyncResilientClient(
                    policy, clock=clock, transport=httpx.MockTransport(serve), **client
                ) as made,
                anyio.create_task_group() as group,
            ):

                async def one() -> None:
                    try:
                        results.append(await made.get(BASE + path))
                    except Exception as error:  # noqa: BLE001 - the test says what it must be
                        results.append(error)

                for _ in range(count):
                    group.start_soon(one)
            return results

        return anyio.run(tasks, backend=self.backend)

    def one_shot(self, *pieces: bytes) -> Any:
        """Make a body that can be sent once, of the kind that this way of waiting takes."""
        if self.backend == "sync":
            return iter(pieces)

        async def generate() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        return generate()


def _threads(
    policy: str | Path | Policy | None,
    server: Callable[[httpx.Request], httpx.Response],
    count: int,
    *,
    path: str,
    together: Callable[[httpx.Request], bool],
    clock: VirtualClock,
    client: dict[str, Any],
) -> list[httpx.Response | Exception]:
    all_in = threading.Barrier(count)

    def serve(request: httpx.Request) -> httpx.Response:
        if together(request):
            all_in.wait(10)
        return server(request)

    with (
        ResilientClient(policy, clock=clock, transport=httpx.MockTransport(serve), **client) as made,
        ThreadPoolExecutor(count) as pool,
    ):

        def one(_number: int) -> httpx.Response | Exception:
            try:
                return made.get(BASE + path)
            except Exception as error:  # noqa: BLE001 - the test says what it must be
                return error

        return list(pool.map(one, range(count)))


def _client(
    policy: str | Path | Policy | None,
    serve: Callable[[httpx.Request], httpx.Response],
    clock: VirtualClock,
    options: dict[str, Any],
    *,
    bare: bool,
) -> httpx.Client:
    mock = httpx.MockTransport(serve)
    if not bare:
        return ResilientClient(policy, clock=clock, transport=mock, **options)
    transport = ResilientTransport(policy, mock, clock=clock, deadline=options.pop("deadline", None))
    return httpx.Client(transport=transport, **options)


def _async_client(
    policy: str | Path | Policy | None,
    serve: Callable[[httpx.Request], httpx.Response],
    clock: VirtualClock,
    options: dict[str, Any],
    *,
    bare: bool,
) -> httpx.AsyncClient:
    mock = httpx.MockTransport(serve)
    if not bare:
        return AsyncResilientClient(policy, clock=clock, transport=mock, **options)
    transport = AsyncResilientTransport(policy, mock, clock=clock, deadline=options.pop("deadline", None))
    return httpx.AsyncClient(transport=transport, **options)
