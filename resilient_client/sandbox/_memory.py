"""The sandbox without a socket: an httpx request in, an httpx response out, or the exception that the wire would raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from resilient_client.sandbox._api import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from resilient_client.sandbox._api import Reply

# As httpcore words them.
_RESET = "[Errno 104] Connection reset by peer"
_NO_REPLY = "Server disconnected without sending a response."
_CUT_SHORT = "peer closed connection without sending complete message body (received {} bytes, expected {})"


def respond(answer: Callable[[Request], Reply], request: httpx.Request) -> httpx.Response:
    """Have `request` answered.

    Raises httpx.ReadError where a socket would be reset, httpx.RemoteProtocolError where it would be closed without a
    reply; a truncated body raises the latter when it is read.
    """
    target = request.url.raw_path.decode("ascii")
    reply = answer(Request.of(request.method, target, request.headers.raw, request.read()))
    match reply.ending:
        case "reset":
            raise httpx.ReadError(_RESET, request=request)
        case "close":
            raise httpx.RemoteProtocolError(_NO_REPLY, request=request)
        case "truncate":
            sent = reply.body[: len(reply.body) // 2]
        case "whole":
            sent = reply.body
    return httpx.Response(
        reply.status,
        headers=[*reply.headers, ("Content-Length", str(len(reply.body)))],
        stream=_Body(
            b"" if request.method == "HEAD" else sent, whole=reply.ending == "whole", of=len(reply.body)
        ),
        request=request,
        extensions={"http_version": b"HTTP/1.1"},
    )


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body for sync and async clients that may break off."""

    def __init__(self, sent: bytes, *, whole: bool, of: int) -> None:
        self._sent = sent
        self._whole = whole
        self._of = of

    def __iter__(self) -> Iterator[bytes]:
        yield self._sent
        if not self._whole:
            raise httpx.RemoteProtocolError(_CUT_SHORT.format(len(self._sent), self._of))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part
