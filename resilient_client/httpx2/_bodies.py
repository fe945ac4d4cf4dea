# Written by tests/twin.py from resilient_client/_bodies.py: what is to be changed here is changed there.
"""The bodies that this library puts in the place of httpx2's: read again from a file, given back after a look, or watched.

Law of this file: whoever leaves one before its end has the connection given back, and the generators beneath ended.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2

from resilient_client._http import leave

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

__all__ = ["BYTES", "AsyncKept", "AsyncWatched", "FromPosition", "Kept", "Watched"]

BYTES = httpx2.ByteStream  # a body that is in memory: it cannot break off

_A_FEW = 4  # chunks that may still be in memory when a connection is closed


class FromPosition(httpx2.SyncByteStream):
    """A file's bytes from where it stood, as often as they are asked for."""

    def __init__(self, file: Any, position: int) -> None:
        self._file = file
        self._position = position

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(self._position)
        while chunk := self._file.read(65_536):
            yield chunk


class Kept(httpx2.SyncByteStream):
    """A body of which the beginning has been read: it is given again, then the rest, or the error that ended it."""

    def __init__(
        self,
        chunks: list[bytes],
        rest: Iterator[bytes],
        stream: httpx2.SyncByteStream,
        error: Exception | None,
    ) -> None:
        self._chunks = chunks
        self._rest = rest
        self._stream = stream
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._error is not None:
            with suppress(Exception):  # as httpx2's own error would: not everybody closes what broke
                self.close()
            raise self._error
        yield from self._rest

    def close(self) -> None:
        """Let go of the connection."""
        if hasattr(self._rest, "close"):
            self._rest.close()
        self._stream.close()


class AsyncKept(httpx2.AsyncByteStream):
    """The same for tasks."""

    def __init__(
        self,
        chunks: list[bytes],
        rest: AsyncIterator[bytes],
        stream: httpx2.AsyncByteStream,
        error: Exception | None,
    ) -> None:
        self._chunks = chunks
        self._rest = rest
        self._stream = stream
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._error is not None:
            with suppress(Exception):  # as above
                await self.aclose()
            raise self._error
        try:
            async for chunk in self._rest:
                yield chunk
        except BaseException:
            await leave(self._rest)
            raise

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._stream.aclose()
        if type(self._stream).__module__.startswith("httpx2."):
            # httpcore2's generators below have to end too, and only running into the closed connection ends all of them.
            with suppress(Exception):
                for _ in range(_A_FEW):
                    await anext(self._rest)
        await leave(self._rest)


class _Watch:
    """What is told of a body that the caller reads; `closed`, where there is one, when the caller has done with it."""

    def __init__(
        self,
        stream: Any,
        broke: Callable[[Exception], None],
        closed: Callable[[], None] | None = None,
    ) -> None:
        self._stream = stream
        self._broke = broke
        self._closed = closed

    def _done(self) -> None:
        # It has been read, has broken off, was left, or is closed: not all come to the last.
        if self._closed is not None:
            self._closed()


class Watched(_Watch, httpx2.SyncByteStream):
    """A body that the caller reads: if it breaks off, the error tells what the call went through."""

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except Exception as error:
            self._broke(error)
            raise
        finally:
            self._done()

    def close(self) -> None:
        """Let go of the connection."""
        try:
            self._stream.close()
        finally:
            self._done()


class AsyncWatched(_Watch, httpx2.AsyncByteStream):
    """The same for tasks."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._stream)
        try:
            async for chunk in pieces:
                yield chunk
        except BaseException as error:
            if isinstance(error, Exception):
                self._broke(error)
            await leave(pieces)
            raise
        finally:
            self._done()

    async def aclose(self) -> None:
        """Let go of the connection."""
        try:
            await self._stream.aclose()
        finally:
            self._done()
