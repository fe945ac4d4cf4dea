# Written by tests/twin.py from resilient_client/_network.py: what is to be changed here is changed there.
"""A deadline that holds on the wire: under it, no single read or write of a connection takes longer than what is left.

httpcore2 reads a timeout once for a whole phase, so a server that sends a byte now and again never meets it. These wrap the network of
a connection pool, and ask the clock before each read and each write. Without a deadline they only pass on.

Law of this file: the two halves are the same but for `await`; `tests/test_twins.py` holds them to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpcore2

from resilient_client._deadline import time_left

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ssl import SSLContext

__all__ = ["AsyncBounded", "Bounded"]


def _within(timeout: float | None) -> float | None:
    left = time_left()
    return timeout if left is None else left if timeout is None else min(timeout, left)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _within(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _within(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class Bounded(httpcore2.NetworkBackend):
    """A network whose every read and write keeps the deadline of the call under way."""

    def __init__(self, inner: httpcore2.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect, as the inner network does."""
        return _Stream(self._inner.connect_tcp(host, port, _within(timeout), local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.NetworkStream:
        """Connect, as the inner network does."""
        return _Stream(self._inner.connect_unix_socket(path, _within(timeout), socket_options))

    def sleep(self, seconds: float) -> None:
        """Wait, as the inner network does."""
        self._inner.sleep(seconds)


class _AsyncStream(httpcore2.AsyncNetworkStream):
    def __init__(self, inner: httpcore2.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(max_bytes, _within(timeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, _within(timeout))

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        return _AsyncStream(await self._inner.start_tls(ssl_context, server_hostname, _within(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class AsyncBounded(httpcore2.AsyncNetworkBackend):
    """The same for tasks."""

    def __init__(self, inner: httpcore2.AsyncNetworkBackend) -> None:
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect, as the inner network does."""
        return _AsyncStream(
            await self._inner.connect_tcp(host, port, _within(timeout), local_address, socket_options)
        )

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Connect, as the inner network does."""
        return _AsyncStream(await self._inner.connect_unix_socket(path, _within(timeout), socket_options))

    async def sleep(self, seconds: float) -> None:
        """Wait, as the inner network does."""
        await self._inner.sleep(seconds)
