"""Scenarios: what a library makes of a server's word about waiting. The wait is noted, and not slept."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

from loopback import Loopback, page

from .clients import Wishes
from .observe import OK, ending, noted_waits, scenario

if TYPE_CHECKING:
    from .clients import Peer

GROUP = "What a server says about waiting"
CROWD = 30


def limited(*lines: str, body: bytes = b"{}") -> bytes:
    """Write a 429."""
    return page(429, body, *lines)


def waited(peer: Peer, first: bytes, policy: str | None = None) -> str:
    """Tell how long a library waits between this reply to a GET and the next try, or how the call ends without one."""
    with Loopback(first, OK) as server, noted_waits() as waits, peer.open(Wishes(policy=policy)) as session:
        _, end = ending(peer, session, "GET", server.url)
        if len(server.exchanges) == 1:
            return f"not sent again: {end}"
        return f"{sum(waits):.1f} s"


@scenario(
    GROUP,
    "`Retry-After: 2`",
    "GET, answered 429, then 200. RFC 9110 §10.2.3: how long the client ought to wait.",
    steady=False,
)
def seconds(peer: Peer) -> str:
    """Say it in seconds."""
    return waited(peer, limited("Retry-After: 2"))


@scenario(
    GROUP,
    "a date 30 s on",
    "The same as an HTTP date (RFC 9110 §5.6.7), with the server's own `Date`.",
    steady=False,
)
def date(peer: Peer) -> str:
    """Say it as a date."""
    now = datetime.now(UTC)
    then = now + timedelta(seconds=30)
    return waited(
        peer,
        limited(
            f"Date: {format_datetime(now, usegmt=True)}", f"Retry-After: {format_datetime(then, usegmt=True)}"
        ),
    )


@scenario(
    GROUP,
    "`86400`",
    "The same with a day. To sleep for it is a call that hangs; to come back before it is over is what the server asked not to do.",
    steady=False,
)
def a_day(peer: Peer) -> str:
    """Say a day."""
    return waited(peer, limited("Retry-After: 86400"))


@scenario(
    GROUP,
    "`abc`",
    "The same with what is neither a number nor a date: a header that says nothing.",
    steady=False,
)
def nonsense(peer: Peer) -> str:
    """Say nothing that can be read."""
    return waited(peer, limited("Retry-After: abc"))


@scenario(
    GROUP,
    "7 s, in the body",
    "A 429 whose JSON has `retryAfter: 7`, and no header, as the API of the policy `customer_verification` says it. Only this library "
    "is told where to look; a library with a hook for the wait can be taught it.",
    steady=False,
)
def in_the_body(peer: Peer) -> str:
    """Say it where only the API's page tells to look."""
    body = {"error": {"code": "RATE_LIMIT_EXCEEDED", "message": "slow down", "retryAfter": 7}}
    return waited(peer, limited(body=json.dumps(body).encode()), "customer_verification")


@scenario(
    GROUP,
    "a crowd told 1 s",
    f"{CROWD} clients are told `Retry-After: 1` at the same moment: when the first and the last of them come back.",
    steady=False,
)
def crowd(peer: Peer) -> str:
    """Say the same to many."""
    waits = []
    for _ in range(CROWD):
        with (
            Loopback(limited("Retry-After: 1"), OK) as server,
            noted_waits() as asked,
            peer.open(Wishes()) as session,
        ):
            ending(peer, session, "GET", server.url)
            if len(server.exchanges) == 1:
                return "not sent again"
            waits.append(sum(asked))
    return f"{min(waits):.2f} s, {max(waits):.2f} s"
