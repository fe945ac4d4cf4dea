"""How a library is watched: what it sends, how long it wants to wait, and what it leaves its caller with."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from loopback import Exchange, Loopback, page

from resilient_client.testing import VirtualClock, use_clock

from .clients import Wishes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .clients import Peer, Session

__all__ = [
    "DOWN",
    "NONE",
    "OK",
    "SCENARIOS",
    "Scenario",
    "ending",
    "lost",
    "named",
    "noted_waits",
    "scenario",
    "sent",
]

NONE = "n/a"  # a fact that a library cannot have

OK = page(200, b"{}")
DOWN = page(503, b'{"code": 11}')


# -------------------------------------------------------------------------------------------------- the scenarios


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that is put to every library."""

    key: str
    group: str
    head: str  # of its column
    asked: str  # what is done, and what a standard says of it
    measure: Callable[[Peer], str]
    steady: bool  # nothing in what it records is left to chance, or to the machine


SCENARIOS: list[Scenario] = []


def scenario(
    group: str, head: str, asked: str, *, steady: bool = True
) -> Callable[[Callable[[Peer], str]], Callable[[Peer], str]]:
    """Add a function to the scenarios."""

    def add(measure: Callable[[Peer], str]) -> Callable[[Peer], str]:
        SCENARIOS.append(Scenario(measure.__name__, group, head, asked, measure, steady))
        return measure

    return add


# ----------------------------------------------------------------------------------------------- what is observed


@contextmanager
def noted_waits(most: int = 30) -> Iterator[list[float]]:
    """Note every wait that is asked for, in seconds, and let it pass at once; after so many of them, refuse."""
    asked: list[float] = []
    pause = asyncio.sleep

    def note(seconds: float) -> None:
        if len(asked) == most:
            raise RuntimeError(f"{most} waits, and no end")
        asked.append(seconds)

    async def anote(seconds: float, result: Any = None) -> Any:
        if seconds > 0:
            note(seconds)
        return await pause(0, result)

    clock = VirtualClock(time.time())
    clock.sleeps = asked
    with use_clock(clock), mock.patch("time.sleep", note), mock.patch("asyncio.sleep", anote):
        yield asked


def ending(peer: Peer, session: Session, method: str, url: str, **options: Any) -> tuple[Any, str]:
    """Make a call, and tell what its caller has in hand: a status, or an exception."""
    try:
        response = session.send(method, url, **options)
    except Exception as error:  # noqa: BLE001 - whatever a library raises is the fact
        module, name = peer.error
        caught = isinstance(error, getattr(sys.modules[module], name))
        return None, f"raises {named(error)}" + ("" if caught else f", which is no {module}.{name}")
    return response, status(response)


def status(response: Any) -> str:
    """Read a status: aiohttp has another name for it."""
    return str(response.status if hasattr(response, "status") else response.status_code)


def named(error: BaseException) -> str:
    """Name an exception, with its package."""
    package = type(error).__module__.partition(".")[0]
    return type(error).__name__ if package == "builtins" else f"{package}.{type(error).__name__}"


def lost(exchange: Exchange) -> None:
    """Take a request, and close the connection without a reply."""
    exchange.hang_up()


def sent(peer: Peer, *answers: Any, method: str = "GET", **options: Any) -> str:
    """Tell how often a request that is answered so is sent, and how the call ends."""
    with Loopback(*answers) as server, noted_waits(), peer.open(Wishes()) as session:
        _, end = ending(peer, session, method, server.url, **options)
        return f"{len(server.exchanges)} sent: {end}"
