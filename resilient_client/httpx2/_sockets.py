# Written by tests/twin.py from resilient_client/_sockets.py: what is to be changed here is changed there.
"""httpcore2's network on asyncio's own transports.

httpcore2 reaches the network through anyio, which under asyncio switches the reading of a socket on and off for every read. Here a socket
is read as its data come, within bounds. What asyncio's own event loop does not run, trio and uvloop for instance, goes to httpcore2's own
network, and so do Unix sockets and local addresses.

Law of this file: errors are httpcore2's, of the same kind and with the same words as on its own network, or with the system's where those
are empty.
"""

# ruff: noqa: ASYNC109 - httpcore2's own signatures

from __future__ import annotations

import asyncio
import select
import socket
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, cast

import anyio
import httpcore2

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    Address = tuple[socket.AddressFamily, Any]  # and what `connect` takes

__all__ = ["LoopNetwork"]

_FULL = 256 * 1024  # bytes held for a reader that does not come: no more are read until half of them are gone
_HEAD_START = 0.25  # seconds until the next address is tried as well; RFC 8305 5
_A_DAY = 86_400.0  # seconds; asyncio would end a handshake of 60


class LoopNetwork(httpcore2.AsyncNetworkBackend):
    """A network on asyncio's transports, and the network beneath it where there are none."""

    def __init__(self, beneath: httpcore2.AsyncNetworkBackend) -> None:
        self._beneath = beneath

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to a host; where it has several addresses, to the one that answers first."""
        loop = _loop()
        if loop is None or local_address is not None:
            return await self._beneath.connect_tcp(host, port, timeout, local_address, socket_options)
        try:
            with anyio.fail_after(timeout):
                stream = await _first_of(loop, await _addresses(loop, host, port))
            try:
                for option in socket_options or ():
                    stream.get_extra_info("socket").setsockopt(*option)
            except OSError:
                await stream.aclose()
                raise
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error
        except OSError as error:
            raise httpcore2.ConnectError(error) from error
        return stream

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Connect, as the network beneath does."""
        return await self._beneath.connect_unix_socket(path, timeout, socket_options)

    async def sleep(self, seconds: float) -> None:
        """Wait, as the network beneath does."""
        await self._beneath.sleep(seconds)


def _loop() -> asyncio.BaseEventLoop | None:
    """Tell the event loop that runs this task, if it is asyncio's own; None under trio, uvloop and the like."""
    try:
        if asyncio.current_task() is None:
            return None
    except RuntimeError:
        return None
    loop = asyncio.get_running_loop()
    return loop if isinstance(loop, asyncio.BaseEventLoop) else None


async def _addresses(loop: asyncio.BaseEventLoop, host: str, port: int) -> list[Address]:
    """Resolve a name; the families take turns, the one that the system prefers first (RFC 8305 4)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):  # no address: a name
        # In bytes, as httpx2 has encoded it: from a str, Python would encode it once more.
        found = await loop.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    families: dict[socket.AddressFamily, list[Address]] = {}
    for family, *_, address in found:
        families.setdefault(family, []).append((family, address))
    return [address for turn in zip_longest(*families.values()) for address in turn if address is not None]


async def _first_of(loop: asyncio.BaseEventLoop, addresses: list[Address]) -> _Stream:
    """Connect to one address after the other, each with a head start, until one has answered (RFC 8305 5)."""
    connected: list[_Stream] = []
    errors: list[OSError] = []

    async def attempt(address: Address, failed: anyio.Event) -> None:
        try:
            stream = await _connected(loop, address)
        except OSError as error:
            errors.append(error)
            failed.set()
            return
        connected.append(stream)
        tasks.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as tasks:
            for address in addresses:
                failed = anyio.Event()
                tasks.start_soon(attempt, address, failed)
                with anyio.move_on_after(_HEAD_START):
                    await failed.wait()
    except BaseException:
        for stream in connected:
            await stream.aclose()
        raise
    for late in connected[1:]:
        await late.aclose()
    if not connected:
        cause = errors[0] if len(errors) == 1 else ExceptionGroup("connecting", errors)
        raise OSError("All connection attempts failed") from cause
    return connected[0]


async def _connected(loop: asyncio.BaseEventLoop, to: Address) -> _Stream:
    family, address = to
    # asyncio sets TCP_NODELAY where the socket says that it is TCP.
    own = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    stream = _Stream(loop)
    try:
        own.setblocking(False)  # noqa: FBT003 - its only parameter
        await loop.sock_connect(own, address)
        await loop.create_connection(lambda: stream, sock=own)
    except BaseException:
        own.close()
        raise
    return stream


class _Stream(httpcore2.AsyncNetworkStream, asyncio.Protocol):
    """One connection: to asyncio the protocol that is told of the data, to httpcore2 the stream that they are read from."""

    _below: asyncio.Transport

    def __init__(self, loop: asyncio.BaseEventLoop) -> None:
        self._loop = loop
        self._held = bytearray()
        self._holding = False  # reading is switched off
        self._ended = False  # no more data will come
        self._closed = False  # by us
        self._error: Exception | None = None
        self._blocked = False  # what was written has not left yet
        self._reader: asyncio.Future[bool] | None = None
        self._writer: asyncio.Future[bool] | None = None
        self._half = False  # the other side may end its half and still be written to

    # ------------------------------------------------------------------------------------- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = cast("asyncio.Transport", transport)
        self._half = transport.get_extra_info("sslcontext") is None
        # A write ends when the system has all of it. asyncio's TLS is full at its limit, its TCP above it.
        self._below.set_write_buffer_limits(0 if self._half else 1)

    def data_received(self, data: bytes) -> None:
        self._held += data
        if len(self._held) >= _FULL and not self._holding:
            self._holding = True
            self._below.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> bool:
        self._ended = True
        _wake(self._reader)
        return self._half

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._error = exc
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        _wake(self._writer)

    # -------------------------------------------------------------------------------------- what httpcore2 asks

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self._held and not self._ended:
            self._reader = self._loop.create_future()
            if not await self._woken(self._reader, timeout):
                raise httpcore2.ReadTimeout
        data = bytes(self._held[:max_bytes])
        del self._held[:max_bytes]
        if self._holding and len(self._held) <= _FULL // 2:
            self._holding = False
            self._below.resume_reading()
        if not data and (self._closed or self._error is not None):
            raise httpcore2.ReadError(self._error or "") from self._error
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        if self._below.is_closing():
            raise httpcore2.WriteError(self._error or "") from self._error
        self._below.write(buffer)
        if self._blocked:
            self._writer = self._loop.create_future()
            if not await self._woken(self._writer, timeout):
                raise httpcore2.WriteTimeout
            if self._below.is_closing():
                raise httpcore2.WriteError(self._error or "") from self._error

    async def _woken(self, waiter: asyncio.Future[bool], timeout: float | None) -> bool:
        late = None if timeout is None else self._loop.call_later(timeout, _wake, waiter, False)  # noqa: FBT003 - asyncio passes no keywords
        try:
            return await waiter
        finally:
            if late is not None:
                late.cancel()

    async def aclose(self) -> None:
        self._closed = True
        if _loop() is self._loop:
            self._below.abort()
            await asyncio.sleep(0)  # in which asyncio closes the socket
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._below.abort)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        stream = _Stream(self._loop)
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                transport = await self._loop.start_tls(
                    self._below,
                    stream,
                    ssl_context,
                    server_hostname=server_hostname,
                    ssl_handshake_timeout=_A_DAY,
                )
        except OSError as error:  # ssl's errors are OSErrors
            await self.aclose()
            if limit.expired():
                raise httpcore2.ConnectTimeout from error
            raise httpcore2.ConnectError(error) from error
        stream.connection_made(cast("asyncio.Transport", transport))  # asyncio leaves that to its caller here
        return stream

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._ended or bool(self._held) or _loop() is not self._loop or _readable(self._socket)
        if info == "socket":
            return self._socket
        if info == "client_addr":
            return self._below.get_extra_info("sockname")[:2]
        if info == "server_addr":
            return self._below.get_extra_info("peername")[:2]
        if info == "ssl_object":
            return self._below.get_extra_info("ssl_object")
        return None

    @property
    def _socket(self) -> socket.socket:
        own: socket.socket = self._below.get_extra_info("socket")
        return own


def _wake(waiter: asyncio.Future[bool] | None, in_time: bool = True) -> None:  # noqa: FBT001, FBT002 - asyncio passes no keywords
    if waiter is not None and not waiter.done():
        waiter.set_result(in_time)


def _readable(connected: socket.socket) -> bool:
    """Tell whether there is something to read that the loop has not come to: of an idle connection, its end."""
    number = connected.fileno()
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([number], [], [], 0)[0])
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))
