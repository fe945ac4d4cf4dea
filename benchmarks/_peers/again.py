"""Scenarios: what is sent a second time, and with which body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loopback import Loopback, page

from .clients import Wishes
from .observe import DOWN, OK, ending, lost, noted_waits, scenario, sent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from loopback import Exchange

    from .clients import Peer

GROUP = "What is sent again"
KEY = {"Idempotency-Key": "order-2041"}
CALLS = 20


@scenario(
    GROUP,
    "POST, reply lost",
    "A POST arrives, and the connection is closed without a reply; a second POST would be answered 200. It may have taken effect, and "
    "RFC 9110 §9.2.2 has a client not repeat it by itself.",
)
def unkeyed(peer: Peer) -> str:
    """Lose the reply to a POST."""
    return sent(peer, lost, OK, method="POST", **peer.payload(b"{}"))


@scenario(
    GROUP,
    "… with a key",
    "The same with an `Idempotency-Key`, under which the server does it once: to repeat it is safe.",
)
def keyed(peer: Peer) -> str:
    """Lose the reply to a POST that may be repeated."""
    return sent(peer, lost, OK, method="POST", headers=KEY, **peer.payload(b"{}"))


@scenario(GROUP, "POST, 503", "A POST without a key is answered 503; a second would be answered 200.")
def unavailable(peer: Peer) -> str:
    """Refuse a POST, or seem to."""
    return sent(peer, DOWN, OK, method="POST", **peer.payload(b"{}"))


def bodies(peer: Peer, content: Any) -> str:
    """Tell which bodies arrive when the first PUT of this one is answered 503."""
    with Loopback(DOWN, OK) as server, noted_waits(), peer.open(Wishes()) as session:
        _, end = ending(peer, session, "PUT", server.url, **peer.payload(content))
        return ", ".join(f'"{exchange.body.decode()}"' for exchange in server.exchanges) + f": {end}"


@scenario(
    GROUP,
    "a generator",
    'PUT of a generator that yields "body", answered 503, then 200: the bodies that arrived, and what the caller was told. The caller '
    "makes the generator; a decorated function that makes it itself would make it anew.",
)
def generator(peer: Peer) -> str:
    """Send what can be read once."""

    def parts() -> Iterator[bytes]:
        yield b"body"

    async def aparts() -> AsyncIterator[bytes]:
        yield b"body"

    return bodies(peer, aparts() if peer.asynchronous else parts())


class Once:
    """An async iterator that is no generator."""

    def __init__(self) -> None:
        self._parts = iter([b"body"])

    def __aiter__(self) -> Once:
        return self

    async def __anext__(self) -> bytes:
        for part in self._parts:
            return part
        raise StopAsyncIteration


@scenario(GROUP, "an iterator", "The same with an iterator that is no generator.")
def iterator(peer: Peer) -> str:
    """Send what can be read once, and does not look like it."""
    return bodies(peer, Once() if peer.asynchronous else iter([b"body"]))


def cut_off(exchange: Exchange) -> None:
    """Say 200, and close the connection in the middle of the body."""
    exchange.say(page(200, b"half", "Content-Length: 8"))
    exchange.hang_up()


@scenario(
    GROUP,
    "200, cut off",
    "A GET is answered 200, and the connection breaks in the middle of the body; a second GET would get all of it.",
)
def broken_body(peer: Peer) -> str:
    """Break off in the middle of a success."""
    return sent(peer, cut_off, OK)


@scenario(
    GROUP,
    f"{CALLS} calls, all 503",
    f"One client makes {CALLS} GETs, one after the other, to a server that answers 503 to all: how many requests it had to answer. "
    "Fewer spare a server that is down; a breaker or a budget that is too eager turns away calls that would have succeeded.",
)
def outage(peer: Peer) -> str:
    """Be down for everybody."""
    with Loopback(DOWN) as server, noted_waits(CALLS * 10), peer.open(Wishes()) as session:
        for _ in range(CALLS):
            ending(peer, session, "GET", server.url)
        return str(len(server.exchanges))
