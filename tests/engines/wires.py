"""A network in memory for the tests of the pool, in virtual time under asyncio and trio.

Law of this file: nothing waits for real. A scenario in which everybody waits and no timer runs fails at once.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpcore
import httpx
import trio.testing

from resilient_client._pool import TaskPool

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable

__all__ = ["OK", "TASKS", "Network", "Wire", "quick", "run", "settled"]

TASKS = ("asyncio", "trio")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def run(way: str, scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario in virtual time."""
    options: dict[str, Any] = {
        "asyncio": {"loop_factory": _LeapingLoop},
        "trio": {"clock": trio.testing.MockClock(autojump_threshold=0)},
    }
    anyio.run(scenario, backend=way, backend_options=options[way])


async def settled() -> None:
    """Let every other task come as far as it can without the time going on."""
    for _ in range(60):
        await anyio.lowlevel.checkpoint()


class _LeapingSelector(selectors.DefaultSelector):
    """Does not wait for what will come at a time: it moves the time."""

    loop: _LeapingLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        assert found or timeout is not None, "everybody waits, and nobody will come"
        if not found and timeout is not None:
            self.loop.now += timeout
        return found


class _LeapingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now = 0.0
        selector = _LeapingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


class Wire(httpcore.AsyncNetworkStream):
    """One connection: what was written to it, and what it says."""

    def __init__(self, network: Network, number: int) -> None:
        self.network = network
        self.number = number  # from 0, in the order of connecting
        self.requests: list[bytes] = []  # heads
        self.hung_up = False  # by the server, as an idle connection's reader would find
        self.closed = False
        self.closings = 0  # times that somebody closed it
        self._sent = b""
        self._says: deque[bytes] = deque()
        self._news = anyio.Event()

    def say(self, data: bytes) -> None:
        """Let the server say something; nothing is its end."""
        self._says.append(data)
        self._news.set()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's own
        await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(timeout):
            while not self._says and not self.closed:
                self._news = anyio.Event()
                await self._news.wait()
        if self.closed:
            raise httpcore.ReadError("closed")
        if not self._says:
            raise httpcore.ReadTimeout
        return self._says.popleft()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's own
        await anyio.lowlevel.checkpoint()
        self._sent += buffer
        while b"\r\n\r\n" in self._sent:
            head, _, self._sent = self._sent.partition(b"\r\n\r\n")
            self.requests.append(head)
            self.network.asked(self)

    async def aclose(self) -> None:
        self.closings += 1
        self.closed = True
        self.network.open.discard(self)
        self._news.set()
        await anyio.lowlevel.checkpoint()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own
    ) -> httpcore.AsyncNetworkStream:
        return self

    def get_extra_info(self, info: str) -> Any:
        return self.hung_up if info == "is_readable" else None


class Network(httpcore.AsyncNetworkBackend):
    """Answers requests with the pages given, in order, the last one for ever; None leaves the request unanswered."""

    def __init__(self, *pages: bytes | None) -> None:
        self.pages: deque[bytes | None] = deque(pages or (OK,))
        self.wires: list[Wire] = []
        self.open: set[Wire] = set()
        self.most = 0  # connections at a time
        self.refuse = 0  # so many attempts to connect
        self.connecting = anyio.Event()  # somebody has begun to
        self.connectable = anyio.Event()
        self.connectable.set()

    def asked(self, wire: Wire) -> None:
        """Answer a request."""
        page = self.pages.popleft() if len(self.pages) > 1 else self.pages[0]
        if page is not None:
            wire.say(page)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.connecting.set()
        await anyio.lowlevel.checkpoint()
        await self.connectable.wait()
        if self.refuse:
            self.refuse -= 1
            raise httpcore.ConnectError("refused")
        wire = Wire(self, len(self.wires))
        self.wires.append(wire)
        self.open.add(wire)
        self.most = max(self.most, len(self.open))
        return wire

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def quick(network: httpcore.AsyncNetworkBackend | None = None, **options: Any) -> httpx.AsyncHTTPTransport:
    """Make httpx's transport with the pool for tasks, on a network of its own where one is given."""
    transport = httpx.AsyncHTTPTransport(**options)
    pool = transport._pool
    if network is not None:
        pool._network_backend = network
    most, most_idle = pool._max_connections, pool._max_keepalive_connections
    transport._pool = TaskPool(pool, most, most_idle, httpcore.PoolTimeout)  # type: ignore[assignment]  # stands in for it
    return transport
