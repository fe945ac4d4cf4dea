"""A deadline that is kept from outside, over a transport that knows of none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx

from ._deadline import time_left
from ._http import leave

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Keeping"]


class Keeping(httpx.AsyncBaseTransport):
    """A transport that keeps the deadline of the call under way, whatever the one beneath it knows of deadlines."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        left = time_left()
        if left is None:
            return await self._send(request)
        with anyio.move_on_after(left):
            response = await self._send(request)
            if not isinstance(response.stream, httpx.ByteStream):
                response.stream = _Bounded(response.stream)  # type: ignore[arg-type]  # async by its transport
            return response
        raise httpx.ReadTimeout("the call's deadline passed before the answer came")

    async def _send(self, request: httpx.Request) -> httpx.Response:
        return await self._inner.handle_async_request(request)


class _Bounded(httpx.AsyncByteStream):
    """A body no piece of which is waited for past the deadline, while there is one: it ends where the caller's reading begins."""

    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._inner)
        try:
            while (left := time_left()) is not None:
                with anyio.move_on_after(left) as scope:
                    piece = await anext(pieces, None)
                if scope.cancelled_caught:
                    raise httpx.ReadTimeout("the call's deadline passed while a body was being read")
                if piece is None:
                    return
                yield piece
            async for piece in pieces:
                yield piece
        finally:
            await leave(pieces)

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._inner.aclose()
