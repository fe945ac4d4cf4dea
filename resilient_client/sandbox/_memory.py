"""The sandbox without a socket: an httpx request in, an httpx response out, or the exception that the wire would raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from resilient_client.sandbox._api import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from resilient_client.sandbox._api import Reply
    from resilient_client.sandbox._desk import Desk

# As httpcore words them.
_RESET = "[Errno 104] Connection reset by peer"
_NO_REPLY = "Server disconnected without sending a response."
_GARBAGE = "illegal status line: bytearray(b'%s')"
_CUT_SHORT = "peer closed connection without sending complete message body (received {} bytes, expected {})"
_SLOW = "timed out"

_PIECES = 16  # into which a body is cut that comes drop by drop


def respond(desk: Desk, request: httpx.Request) -> httpx.Response:
    """Have `request` answered.

    Raises the httpx exception that a socket would: ReadError for a connection that was reset, RemoteProtocolError for one that
    was closed or spoke no HTTP, ReadTimeout where the reply comes later than the request's read timeout. A body that breaks
    off raises when it is read.
    """
    target = request.url.raw_path.decode("ascii")
    asked = Request.of(request.method, target, request.headers.raw, request.read())
    reply = desk.early(asked) or desk.answer(asked, connection=desk)
    if reply.delay:
        patience = (request.extensions.get("timeout") or {}).get("read")
        if patience is not None and reply.delay > patience:
            desk.pause(patience)
            raise httpx.ReadTimeout(_SLOW, request=request)
        desk.pause(reply.delay)
    match reply.ending:
        case "reset" | "reset-upload":
            raise httpx.ReadError(_RESET, request=request)
        case "close":
            raise httpx.RemoteProtocolError(_NO_REPLY, request=request)
        case "garbage":
            raise httpx.RemoteProtocolError(_GARBAGE % desk.garbage.decode("ascii").strip(), request=request)
        case "truncate" | "reset-body":
            sent = reply.body[: len(reply.body) // 2]
        case "whole":
            sent = reply.body
    headers = list(reply.headers)
    if reply.has_body:
        headers.append(("Content-Length", str(len(reply.body))))
    return httpx.Response(
        reply.status,
        headers=headers,
        stream=_Body(b"" if request.method == "HEAD" else sent, reply, desk.pause if reply.over else None),
        request=request,
        extensions={"http_version": b"HTTP/1.1"},
    )


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body for sync and async clients that may break off, or take its time."""

    def __init__(self, sent: bytes, reply: Reply, pause: Callable[[float], None] | None) -> None:
        self._sent = sent
        self._reply = reply
        self._pause = pause

    def __iter__(self) -> Iterator[bytes]:
        if self._pause is None:
            yield self._sent
        else:
            size = max(1, -(-len(self._sent) // _PIECES))
            starts = range(0, len(self._sent), size)
            for start in starts:
                self._pause(self._reply.over / len(starts))
                yield self._sent[start : start + size]
        match self._reply.ending:
            case "truncate":
                raise httpx.RemoteProtocolError(_CUT_SHORT.format(len(self._sent), len(self._reply.body)))
            case "reset-body":
                raise httpx.ReadError(_RESET)
            case _:
                pass

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part
