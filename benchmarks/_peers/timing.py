"""Scenarios: what a time limit of half a second is worth, in real time, and what becomes of connections."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio
from loopback import Loopback, page

from .clients import Wishes
from .observe import DOWN, OK, ending, named, noted_waits, scenario, status

if TYPE_CHECKING:
    from collections.abc import Callable

    from loopback import Exchange

    from .clients import Peer

GROUP = "Time and connections"
LIMIT = 0.5  # seconds for the call


def dripping(code: int) -> Callable[[Exchange], None]:
    """Answer with a body of 30 bytes, one every 0.1 s."""

    def answer(exchange: Exchange) -> None:
        exchange.say(page(code, b"", "Content-Length: 30"))
        for _ in range(30):
            exchange.wait(0.1)
            exchange.say(b".")

    return answer


def within(peer: Peer, first: Any, then: Any) -> str:
    """Tell how long the caller of a GET with a time limit really waits, and for what."""
    with Loopback(first, then) as server, peer.open(Wishes(deadline=LIMIT)) as session:
        begun = time.monotonic()
        _, end = ending(peer, session, "GET", server.url)
        return f"{time.monotonic() - begun:.1f} s: {end}"


@scenario(
    GROUP,
    f"{LIMIT} s, a 503 drips",
    f"A call may take {LIMIT} s, by whatever the library has for that, and gets a 503 whose body takes 3 s, a byte every 0.1 s; what "
    "follows is 200. How long the caller waited, in this column and the next two in real time.",
    steady=False,
)
def dripping_error(peer: Peer) -> str:
    """Trickle an error."""
    return within(peer, dripping(503), OK)


@scenario(GROUP, f"{LIMIT} s, a 200 drips", "The same with a 200.", steady=False)
def dripping_success(peer: Peer) -> str:
    """Trickle a success."""
    return within(peer, dripping(200), OK)


@scenario(
    GROUP, f"{LIMIT} s, all 503", "The same with a server that answers 503 at once, every time.", steady=False
)
def failing_fast(peer: Peer) -> str:
    """Fail at once, for ever."""
    return within(peer, DOWN, DOWN)


@scenario(
    GROUP,
    "connections",
    "GET, three times 503, then 200, all of it keep-alive: how many connections were opened.",
)
def connections(peer: Peer) -> str:
    """Count connections."""
    with Loopback(DOWN, DOWN, DOWN, OK) as server, noted_waits(), peer.open(Wishes()) as session:
        _, end = ending(peer, session, "GET", server.url)
        return str(server.connections) + ("" if end == "200" else f", then {end}")


@scenario(
    GROUP,
    "a pool of one",
    "The same with a pool of one connection, for which a request waits 1 s: how it ended.",
)
def pool_of_one(peer: Peer) -> str:
    """Leave no second connection."""
    with (
        Loopback(DOWN, DOWN, DOWN, OK) as server,
        noted_waits(),
        peer.open(Wishes(one_connection=True)) as session,
    ):
        return ending(peer, session, "GET", server.url)[1]


@scenario(GROUP, "runs under", "GET, 503, then 200: in a thread, under asyncio, under trio.", steady=False)
def everywhere(peer: Peer) -> str:
    """Try what there is."""
    ends = {}
    if not peer.asynchronous:
        with Loopback(DOWN, OK) as server, peer.open(Wishes()) as session:
            ends["threads"] = ending(peer, session, "GET", server.url)[1]
    for backend in ("asyncio", "trio"):
        if backend in peer.kinds:
            with Loopback(DOWN, OK) as server:
                ends[backend] = on(backend, peer, server.url)
    return ", ".join(name if end == "200" else f"not {name}: {end}" for name, end in ends.items())


def on(backend: str, peer: Peer, url: str) -> str:
    """Make the call under an event loop of this kind."""

    async def call() -> str:
        async with peer.aopen(Wishes()) as send:
            return status(await send("GET", url))

    try:
        return anyio.run(call, backend=backend)
    except Exception as error:  # noqa: BLE001 - whatever a library raises is the fact
        return named(error)
