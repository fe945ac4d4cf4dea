"""The sandbox without a socket: a request in, a response out, or the exception that the wire would raise.

Law of this file: the answer is of the library that the request is of, httpx or httpx2.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from resilient_client._libraries import library_of
from resilient_client.sandbox._api import Request
from resilient_client.sandbox._desk import Line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from resilient_client import _http
    from resilient_client.sandbox._api import Reply
    from resilient_client.sandbox._desk import Desk

# As httpcore words them.
_RESET = "[Errno 104] Connection reset by peer"
_NO_REPLY = "Server disconnected without sending a response."
_GARBAGE = "illegal status line: bytearray({!r})"
_CUT_SHORT = "peer closed connection without sending complete message body (received {} bytes, expected {})"
_SLOW = "timed out"


class Memory:
    """One client's way to the desk: what it sends goes over one connection, which is opened anew whenever it has ended."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._line = Line()

    def handle(self, request: _http.Request) -> Any:
        """Have `request` answered.

        Raises the library's exception that a socket would: ReadError for a connection that was reset, RemoteProtocolError for one
        that was closed or spoke no HTTP, ReadTimeout where the reply comes later than the request's read timeout. A body that
        breaks off, or is too slow, raises when it is read.
        """
        reply = self._ask(request)
        wait = _within(reply.delay, request)
        if wait:
            self._desk.pause(wait)
        return self._outcome(reply, request, late=wait < reply.delay)

    async def ahandle(self, request: _http.Request) -> Any:
        """Have it answered in a task; other tasks get their turn while time passes."""
        reply = self._ask(request)
        wait = _within(reply.delay, request)
        if wait:
            await self._desk.apause(wait)
        return self._outcome(reply, request, late=wait < reply.delay)

    def _ask(self, request: _http.Request) -> Reply:
        target = request.url.raw_path.decode("ascii")
        asked = Request.of(request.method, target, request.headers.raw, request.read())
        reply = self._desk.early(replace(asked, body=b""), self._line) or self._desk.answer(asked, self._line)
        if asked.headers.get("connection", "").lower() == "close":
            self._line = Line()
        return reply

    def _outcome(self, reply: Reply, request: _http.Request, *, late: bool) -> Any:
        library = library_of(request)
        if late:
            raise library.ReadTimeout(_SLOW)
        match reply.ending:
            case "reset" | "reset-upload":
                raise library.ReadError(_RESET)
            case "close":
                raise library.RemoteProtocolError(_NO_REPLY)
            case "garbage":
                raise library.RemoteProtocolError(_GARBAGE.format(self._desk.garbage.strip()))
            case _:
                pass
        out = reply.outgoing(request.method)
        return library.Response(
            out.status,
            headers=out.field_lines,
            stream=_body_for(library)(out, len(reply.body), request, self._desk),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": out.reason},
        )


class _Body:
    """A body for sync and async clients that may break off, or take its time."""

    def __init__(self, out: Reply, expected: int, request: _http.Request, desk: Desk) -> None:
        self._out = out
        self._expected = expected  # bytes
        self._request = request
        self._desk = desk

    def __iter__(self) -> Iterator[bytes]:
        for wait, piece in self._steps():
            if wait:
                self._desk.pause(wait)
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for wait, piece in self._steps():
            if wait:
                await self._desk.apause(wait)
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def _steps(self) -> Iterator[tuple[float, bytes | Exception]]:
        """Give the seconds to wait, and what comes then."""
        library = library_of(self._request)
        for pause, piece in self._out.drops():
            wait = _within(pause, self._request)
            yield wait, piece if wait == pause else library.ReadTimeout(_SLOW)
        match self._out.ending:
            case "truncate":
                yield 0, library.RemoteProtocolError(_CUT_SHORT.format(len(self._out.body), self._expected))
            case "reset-body":
                yield 0, library.ReadError(_RESET)
            case _:
                pass


@cache
def _body_for(library: Any) -> Any:
    """Make a library's own class of bodies: its clients take no stream of any other."""
    return type("_Body", (_Body, library.SyncByteStream, library.AsyncByteStream), {})


def _within(seconds: float, request: _http.Request) -> float:
    """Bound a wait by the request's read timeout, as it is now: under a deadline it shrinks."""
    patience = (request.extensions.get("timeout") or {}).get("read")
    return seconds if patience is None else min(seconds, patience)
