"""A real server on 127.0.0.1 that says what a test tells it to, and one face for the sync and the async client.

Law of this file: everything is bounded. A server that is closed has no thread and no socket left, whatever its clients did.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

import anyio

from resilient_client import AsyncResilientClient, ResilientClient

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    import httpx

__all__ = ["WAYS", "Caller", "Exchange", "Loopback", "page", "run"]

PATIENCE = 5.0  # seconds that a server waits for anything at all

# ------------------------------------------------------------------------------------------------- the server


def page(status: int, body: bytes = b"", *lines: str, chunked: bool = False, close: bool = False) -> bytes:
    """Write a whole response: a status, a body that is announced by its length or in chunks, and further header lines."""
    head = [f"HTTP/1.1 {status} Said So", *lines]
    if chunked:
        head.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in _halves(body) if part) + b"0\r\n\r\n"
    elif not any(line.casefold().startswith("content-length") for line in lines):
        head.append(f"Content-Length: {len(body)}")
    if close:
        head.append("Connection: close")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def _halves(body: bytes) -> tuple[bytes, bytes]:
    return body[: len(body) // 2], body[len(body) // 2 :]


class _GoneError(Exception):
    """The client has hung up, or the server is being closed."""


class Exchange:
    """One request that arrived, and the means to answer it."""

    def __init__(self, server: Loopback, peer: socket.socket, connection: int, number: int) -> None:
        self.server = server
        self.connection = connection  # from 0, in order of arrival
        self.number = number  # from 0, over all connections
        self.method = ""
        self.target = ""
        self.headers: dict[str, str] = {}  # names in lower case
        self.body = b""
        self._peer = peer
        self.over = False  # the connection is not to be read from again

    def say(self, data: bytes) -> None:
        """Put bytes on the wire."""
        try:
            self._peer.sendall(data)
        except OSError:
            raise _GoneError from None

    def wait(self, seconds: float) -> None:
        """Wait, but not past the server's end."""
        if self.server.stopping.wait(seconds):
            raise _GoneError

    def hang_up(self) -> None:
        """Close the connection after this exchange."""
        self.over = True


class Loopback:
    """A server whose every request is answered by `answer`, or by the pages given, in order, the last one for ever."""

    def __init__(self, *pages: bytes | Callable[[Exchange], None], tls: ssl.SSLContext | None = None) -> None:
        self._pages = pages
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(0.02)
        self.port: int = self._listener.getsockname()[1]
        self.stopping = threading.Event()
        self.exchanges: list[Exchange] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, name="loopback", daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Tell where the server is, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let every thread end, and close every socket."""
        self.stopping.set()
        for thread in list(self._threads):
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread of the loopback server did not end"
        self._listener.close()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                peer, _ = self._listener.accept()
            except TimeoutError:
                continue
            with self._lock:
                number, self.connections = self.connections, self.connections + 1
            thread = threading.Thread(target=self._serve, args=(peer, number), name="loopback", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer: socket.socket, number: int) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(peer.close)
            # Small, so that what a client does not read stays with the server.
            peer.settimeout(0.02)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                if self._tls is not None:
                    peer.settimeout(PATIENCE)
                    peer = self._tls.wrap_socket(peer, server_side=True)
                    stack.callback(peer.close)
                    peer.settimeout(0.02)
                reader = _Reader(self, peer)
                while not self.stopping.is_set():
                    exchange = self._receive(reader, peer, number)
                    peer.settimeout(PATIENCE)
                    self._answer(exchange)
                    peer.settimeout(0.02)
                    if exchange.over or exchange.headers.get("connection", "").casefold() == "close":
                        return
            except (_GoneError, OSError):
                return

    def _receive(self, reader: _Reader, peer: socket.socket, number: int) -> Exchange:
        head = reader.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        exchange = Exchange(self, peer, number, 0)
        exchange.method, exchange.target, _ = head[0].split(" ", 2)
        exchange.headers = {
            name.casefold(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:])
            if name
        }
        if exchange.headers.get("transfer-encoding", "").casefold() == "chunked":
            while size := int(reader.until(b"\r\n"), 16):
                exchange.body += reader.exactly(size)
                reader.until(b"\r\n")
            reader.until(b"\r\n")
        else:
            exchange.body = reader.exactly(int(exchange.headers.get("content-length", 0)))
        with self._lock:
            exchange.number = len(self.exchanges)
            self.exchanges.append(exchange)
        return exchange

    def _answer(self, exchange: Exchange) -> None:
        said = self._pages[min(exchange.number, len(self._pages) - 1)]
        if isinstance(said, bytes):
            exchange.say(said)
            exchange.over = b"\r\nConnection: close" in said
        else:
            said(exchange)


class _Reader:
    def __init__(self, server: Loopback, peer: socket.socket) -> None:
        self._server = server
        self._peer = peer
        self._held = b""

    def _more(self) -> None:
        while not self._server.stopping.is_set():
            try:
                data = self._peer.recv(65_536)
            except TimeoutError:
                continue
            except OSError:
                raise _GoneError from None
            if not data:
                raise _GoneError
            self._held += data
            return
        raise _GoneError

    def until(self, mark: bytes) -> bytes:
        while mark not in self._held:
            self._more()
        taken, _, self._held = self._held.partition(mark)
        return taken

    def exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            self._more()
        taken, self._held = self._held[:size], self._held[size:]
        return taken


# ------------------------------------------------------------------------- one scenario, three ways to run it

WAYS = ("threads", "asyncio", "trio")


class Caller:
    """A resilient client, sync or async by `way`, with one face: every method is awaited."""

    def __init__(self, way: str, policy: Any = None, **options: Any) -> None:
        self.way = way
        self.real: Any = (ResilientClient if way == "threads" else AsyncResilientClient)(policy, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await _now(self.real.close() if self.way == "threads" else self.real.aclose())

    async def get(self, url: str, **options: Any) -> httpx.Response:
        """GET, the body read."""
        return await self.request("GET", url, **options)

    async def post(self, url: str, **options: Any) -> httpx.Response:
        """POST, the body read."""
        return await self.request("POST", url, **options)

    async def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Send, the body read."""
        response: httpx.Response = await _now(self.real.request(method, url, **options))
        return response

    async def open(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Send, the body not read."""
        request = self.real.build_request(method, url, **options)
        response: httpx.Response = await _now(self.real.send(request, stream=True))
        return response

    async def read(self, response: httpx.Response) -> bytes:
        """Read the body, decoded."""
        return response.read() if self.way == "threads" else await response.aread()

    async def raw(self, response: httpx.Response) -> bytes:
        """Read the body as it came over the wire."""
        if self.way == "threads":
            return b"".join(response.iter_raw())
        return b"".join([chunk async for chunk in response.aiter_raw()])

    async def close(self, response: httpx.Response) -> None:
        """Let go of a response."""
        if self.way == "threads":
            response.close()
        else:
            await response.aclose()


async def _now(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def run(way: str, scenario: Callable[[], Coroutine[Any, Any, None]] | Callable[[], Awaitable[None]]) -> None:
    """Run a scenario in this thread without a loop, or under asyncio, or under trio."""
    if way != "threads":
        anyio.run(scenario, backend=way)
        return
    steps: Iterator[object] = scenario().__await__()
    assert list(itertools.islice(steps, 1)) == [], "a sync scenario must not wait"
