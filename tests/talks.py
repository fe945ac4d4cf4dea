"""Clients of both libraries with one face, and a WebSocket server to talk to.

Law of this file: it judges nothing, and every wait in it is bounded.
"""

from __future__ import annotations

import inspect
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest
import wsproto
from loopback import PATIENCE, WAYS, Caller
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Message, Ping, TextMessage

import resilient_client
import resilient_client.httpx2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

    from loopback import Exchange

__all__ = ["HOME", "LIBRARIES", "THREE_WAYS", "On", "Session", "Talk", "each", "entered", "talking"]

HOME = {httpx: resilient_client, httpx2: resilient_client.httpx2}  # where a library's clients are
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
THREE_WAYS = pytest.mark.parametrize("way", WAYS)


class On(Caller):
    """A resilient client of one of the libraries, sync or async by `way`; every method is awaited."""

    def __init__(self, library: ModuleType, way: str, policy: Any = None, **options: Any) -> None:
        self.way = way
        name = "ResilientClient" if way == "threads" else "AsyncResilientClient"
        self.real: Any = getattr(HOME[library], name)(policy, **options)


async def each(way: str, events: Any) -> AsyncIterator[Any]:
    """Go through what comes, in a thread or in a task."""
    if way == "threads":
        for event in events:
            yield event
    else:
        async for event in events:
            yield event


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    """Enter what is to be entered, in a thread or in a task."""
    if hasattr(manager, "__aenter__"):
        async with manager as inside:
            yield inside
    else:
        with manager as inside:
            yield inside


async def _now(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


# ---------------------------------------------------------------------------------------------------- a session


class Session:
    """A WebSocket session of httpx2's with one face: every method is awaited."""

    def __init__(self, real: Any) -> None:
        self.real = real

    async def say(self, data: str | bytes) -> None:
        """Send a message."""
        await _now(
            self.real.send_text(data) if isinstance(data, str) else self.real.send_bytes(data),
        )

    async def hear(self, timeout: float = PATIENCE) -> str | bytes:  # noqa: ASYNC109 - httpx2's own
        """Receive a message."""
        event = await _now(self.real.receive(timeout))
        assert isinstance(event, TextMessage | BytesMessage)
        return event.data if isinstance(event, TextMessage) else bytes(event.data)


@asynccontextmanager
async def talking(client: On, url: str, **options: Any) -> AsyncIterator[Session]:
    """Open a session, and close it at the end."""
    async with entered(client.real.websocket(url, **options)) as real:
        yield Session(real)


# ------------------------------------------------------------------------------------------------------ a server


class Talk:
    """What `Loopback` answers a handshake with: it agrees, greets, and says everything once more.

    At "close" it closes with 4001, at "vanish" it hangs up without a word.
    """

    def __init__(self, *greetings: str) -> None:
        self._greetings = greetings
        self.closed: int | None = None  # the code that the client closed with
        self.over = threading.Event()

    def __call__(self, exchange: Exchange) -> None:
        exchange.hang_up()
        try:
            self._talk(exchange)
        finally:
            self.over.set()

    def _talk(self, exchange: Exchange) -> None:
        ours = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        asked = [(name.encode(), value.encode()) for name, value in exchange.headers.items()]
        ours.initiate_upgrade_connection(asked, exchange.target)
        assert len(list(ours.events())) == 1  # a handshake that keeps to RFC 6455
        greetings = [TextMessage(greeting) for greeting in self._greetings]
        exchange.say(b"".join(ours.send(event) for event in [AcceptConnection(), *greetings]))
        while ours.state is not ConnectionState.CLOSED:
            # Loopback reads requests alone: once it has upgraded, the socket is this one's.
            ours.receive_data(exchange._peer.recv(65_536) or None)
            for event in ours.events():
                if isinstance(event, TextMessage) and event.data == "vanish":
                    return
                if isinstance(event, CloseConnection):
                    self.closed = event.code
                reply = self._reply(ours, event)
                if reply is not None:
                    exchange.say(ours.send(reply))

    @staticmethod
    def _reply(ours: wsproto.WSConnection, event: Event) -> Event | None:
        if isinstance(event, TextMessage) and event.data == "close":
            return CloseConnection(4001, "enough")
        if isinstance(event, Message):
            return event  # finished or not: it comes in the pieces in which it went
        is_last_word = isinstance(event, CloseConnection) and ours.state is ConnectionState.REMOTE_CLOSING
        return event.response() if isinstance(event, Ping) or is_last_word else None  # type: ignore[attr-defined]  # both have one
