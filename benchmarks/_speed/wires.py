"""Transports in memory: they answer at once, with a response that is new each time and costs next to nothing to make.

A wire is a function that makes such a transport, given the library (httpx or httpx2) and whether it is for tasks. A response is made
once, and copied attribute by attribute for each request, so that what is timed is the client and not the making of responses.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

__all__ = ["DOWN", "OK", "asleep", "fresh", "prepared"]

OK, DOWN = 200, 503
BODIES = {OK: b'{"ok":true}', DOWN: b'{"code":11}'}
HEADERS = [(b"Content-Type", b"application/json"), (b"Content-Length", b"11")]


def prepared(*statuses: int, stream: bool = False) -> Callable[[Any, bool], Any]:
    """Answer with these statuses in turn; the body is in memory, as a mock has it, or a stream, as a connection has it."""

    def make(http: Any, tasks: bool) -> Any:  # noqa: FBT001 - the shape of a wire
        ready = [dict(vars(_response(http, status, stream=stream))) for status in statuses]
        turns = itertools.cycle(ready).__next__
        kind = http.Response

        def answer() -> Any:
            response = kind.__new__(kind)
            response.__dict__.update(turns())
            response.extensions = {}
            return response

        return _transport(http, answer, tasks=tasks)

    return make


def fresh(status: int) -> Callable[[Any, bool], Any]:
    """Answer with a response of its own for each request, nothing of it shared: for what is weighed."""

    def make(http: Any, tasks: bool) -> Any:  # noqa: FBT001 - the shape of a wire
        return _transport(http, lambda: _response(http, status, stream=False), tasks=tasks)

    return make


def asleep(http: Any, tasks: bool) -> Any:  # noqa: FBT001 - the shape of a wire
    """Answer no request: the server sleeps."""
    assert tasks  # noqa: S101 - a thread would never come back

    class Asleep(http.AsyncBaseTransport):  # type: ignore[misc]
        """Never answers."""

        async def handle_async_request(self, _request: Any) -> Any:
            """Sleep."""
            await asyncio.sleep(3600)

    return Asleep()


def _response(http: Any, status: int, *, stream: bool) -> Any:
    if not stream:
        return http.Response(status, headers=HEADERS, content=BODIES[status])

    class Body(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc]
        """A body that is not in memory, as far as anybody can tell."""

        def __iter__(self) -> Iterator[bytes]:
            yield BODIES[status]

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield BODIES[status]

    return http.Response(status, headers=HEADERS, stream=Body())


def _transport(http: Any, answer: Callable[[], Any], *, tasks: bool) -> Any:
    class Threads(http.BaseTransport):  # type: ignore[misc]
        """Answers at once."""

        def handle_request(self, _request: Any) -> Any:
            """Give the next response."""
            return answer()

    class Tasks(http.AsyncBaseTransport):  # type: ignore[misc]
        """The same for tasks."""

        async def handle_async_request(self, _request: Any) -> Any:
            """Give the next response."""
            return answer()

    return Tasks() if tasks else Threads()
