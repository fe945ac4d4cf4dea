"""A server on 127.0.0.1 that costs as little as a server in Python can: a canned answer for each request, in a process of its own.

    /ok      200
    /down    three times 503, then 200, and so on, over all connections together
    /count   how many connections have asked for /down since this was asked last

It ends with whoever started it, for its standard input ends then, and after a quarter of an hour in any case.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["served"]

LONGEST = 900.0  # seconds


def answer(line: bytes, body: bytes) -> bytes:
    """Write a response."""
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        line,
        len(body),
        body,
    )


OK = answer(b"200 OK", b'{"ok":true}')
DOWN = answer(b"503 Service Unavailable", b'{"code":11}')


class Answering(asyncio.Protocol):
    """One connection. Requests have no body, so that each ends with its first blank line."""

    outage = itertools.cycle((DOWN, DOWN, DOWN, OK))
    troubled: set[Answering] = set()  # noqa: RUF012 - of all connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        self._held = b""

    def data_received(self, data: bytes) -> None:
        """Answer all that has come in whole."""
        held = self._held + data
        *whole, self._held = held.split(b"\r\n\r\n")
        for request in whole:
            self._transport.write(self._answered(request))  # type: ignore[attr-defined]  # of a connection

    def _answered(self, request: bytes) -> bytes:
        if request.startswith(b"GET /ok"):
            return OK
        if request.startswith(b"GET /down"):
            self.troubled.add(self)
            return next(self.outage)
        met = len(self.troubled)
        self.troubled.clear()
        return answer(b"200 OK", b"%d" % met)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0, backlog=512)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    over = asyncio.Event()
    loop.add_reader(sys.stdin, over.set)
    try:
        async with asyncio.timeout(LONGEST):
            await over.wait()
    except TimeoutError:
        pass


@contextmanager
def served() -> Iterator[str]:
    """Serve for as long as the block lasts, and give the address to put a path to."""
    with subprocess.Popen(  # noqa: S603 - this file
        [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it is piped
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


if __name__ == "__main__":
    asyncio.run(_serve())
