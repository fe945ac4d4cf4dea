"""What every library under comparison is made to look like: a client that is open, and a way to send with it.

Law of this folder: a scenario's wishes change what a library's documentation has a setting for, and nothing else. The one liberty
taken: every library may send five times, so that what differs is not the count. Nothing is written around a library to help it or to
trip it.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

__all__ = ["ATTEMPTS", "HttpxPeer", "Peer", "Session", "Wishes", "on_a_loop"]

ATTEMPTS = 5
RETRIES = ATTEMPTS - 1


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a scenario wants of a client, over what its documentation sets."""

    deadline: float | None = None  # seconds for the whole call, by whatever comes nearest to that
    one_connection: bool = False  # a pool of one
    proxy: str | None = None
    policy: str | None = None  # resilient_client's alone: the API's name
    transport: httpx.BaseTransport | None = None  # to send through, for libraries that take one


class Session:
    """A client that is open, and how to send with it. The client may be async; the caller need not know."""

    def __init__(self, call: Callable[..., Any], loop: asyncio.Runner | None = None) -> None:
        self.call = call
        self._loop = loop

    def send(self, method: str, url: str, **options: Any) -> Any:
        """Make one call, and give the library's own response, its body read."""
        made = self.call(method, url, **options)
        return made if self._loop is None else self._loop.run(made)

    def together(self, count: int, method: str, url: str, **options: Any) -> None:
        """Make so many calls at once, in threads or in tasks."""
        if self._loop is None:
            with ThreadPoolExecutor(count) as threads:
                list(threads.map(lambda _: self.call(method, url, **options), range(count)))
        else:

            async def gather() -> None:
                await asyncio.gather(*(self.call(method, url, **options) for _ in range(count)))

            self._loop.run(gather())


class Peer:
    """A library under comparison."""

    name: str
    over: str  # the HTTP library that it works on
    beside: tuple[str, ...] = ()  # distributions that are measured with it, and shown with their versions
    setup: str  # what its documentation says to write, with five attempts
    deadline: str  # what its documentation has for a time limit
    source: str  # the page that both are from
    kinds: tuple[str, ...] = ("sync",)  # what can be tried with it: "sync", "asyncio", "trio"
    error: tuple[str, ...]  # the exception that its users catch, by module and name

    @property
    def asynchronous(self) -> bool:
        """Tell whether it has no sync form."""
        return "sync" not in self.kinds

    @property
    def installed(self) -> bool:
        """Tell whether this environment has the library, and the HTTP library under it as it is meant to be."""
        try:
            self.versions()
        except importlib.metadata.PackageNotFoundError:
            return False
        return True

    def versions(self) -> dict[str, str]:
        """Give the versions of the library and of those beside it."""
        return {name: importlib.metadata.version(name) for name in (self.name, *self.beside)}

    def open(self, _wishes: Wishes) -> AbstractContextManager[Session]:
        """Open a client for as long as the block lasts."""
        raise TypeError(f"{self.name} has no sync client")

    def aopen(self, _wishes: Wishes) -> AbstractAsyncContextManager[Callable[..., Awaitable[Any]]]:
        """Open an async client for as long as the block lasts."""
        raise TypeError(f"{self.name} has no async client")

    def history(self, _session: Session, _response: Any) -> str:
        """Say what the response, or the function, tells of the attempts before it."""
        return "nothing"

    def payload(self, content: Any) -> dict[str, Any]:
        """Name a body in the library's own keyword."""
        return {"content": content}


@contextmanager
def on_a_loop(peer: Peer, wishes: Wishes) -> Iterator[Session]:
    """Open an async client on an event loop of its own, for a caller that has none."""
    with asyncio.Runner() as loop:
        client = peer.aopen(wishes)

        async def enter() -> Callable[..., Awaitable[Any]]:
            return await client.__aenter__()

        async def leave() -> None:
            await client.__aexit__(None, None, None)

        call = loop.run(enter())
        try:
            yield Session(call, loop)
        finally:
            loop.run(leave())


class HttpxPeer(Peer):
    """A library over httpx: a client or a transport of its own (`client`), or something around a call (`around`)."""

    over = "httpx"
    kinds: tuple[str, ...] = ("sync", "asyncio", "trio")
    error = ("httpx", "HTTPError")
    raises = False  # True: it sees an error status only as an exception

    def client(self, make: type[Any], wishes: Wishes) -> Any:
        """Make a client; `make` is httpx's own, sync or async."""
        return make(**self.plain(wishes))

    def around(self, call: Callable[..., Any], _wishes: Wishes) -> Callable[..., Any]:
        """Put the library around a call."""
        return call

    @staticmethod
    def plain(wishes: Wishes) -> dict[str, Any]:
        """Say in httpx's own words what a scenario wants."""
        options: dict[str, Any] = {"timeout": httpx.Timeout(wishes.deadline or 5, pool=1)}
        if wishes.one_connection:
            options["limits"] = httpx.Limits(max_connections=1)
        if wishes.proxy:
            options["proxy"] = wishes.proxy
        if wishes.transport is not None:
            options["transport"] = wishes.transport
        return options

    def open(self, wishes: Wishes) -> AbstractContextManager[Session]:
        """Open a client for as long as the block lasts."""
        return on_a_loop(self, wishes) if self.asynchronous else self._open(wishes)

    @contextmanager
    def _open(self, wishes: Wishes) -> Iterator[Session]:
        with self.client(httpx.Client, wishes) as client:

            def call(method: str, url: str, **options: Any) -> httpx.Response:
                response: httpx.Response = client.request(method, url, **options)
                return response.raise_for_status() if self.raises else response

            yield Session(self.around(call, wishes))

    @asynccontextmanager
    async def aopen(self, wishes: Wishes) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
        """Open an async client for as long as the block lasts."""
        async with self.client(httpx.AsyncClient, wishes) as client:

            async def call(method: str, url: str, **options: Any) -> httpx.Response:
                response: httpx.Response = await client.request(method, url, **options)
                return response.raise_for_status() if self.raises else response

            yield self.around(call, wishes)
