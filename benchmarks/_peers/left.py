"""Scenarios: what the caller is left with, in the hand and of what httpx, requests or aiohttp could do before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from loopback import Loopback, page

from .clients import Wishes
from .observe import DOWN, NONE, OK, ending, noted_waits, scenario, sent

if TYPE_CHECKING:
    from .clients import Peer

GROUP = "What the caller is left with"

FOLDERS = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "tests")]
ONCE = """
import sys
sys.path[:0] = {folders!r}
from _peers import PEERS
from _peers.clients import Wishes
from _peers.observe import ending
peer = next(peer for peer in PEERS if peer.name == {name!r})
with peer.open(Wishes()) as session:
    print(ending(peer, session, "GET", {url!r})[1])
"""


@scenario(GROUP, "all 503", "GET, answered 503 every time: how often it was sent, and what the caller gets.")
def exhausted(peer: Peer) -> str:
    """Fail for ever."""
    return sent(peer, DOWN)


@scenario(
    GROUP,
    "the attempts",
    "GET, twice 503, then 200: what the response, or the function, tells of the attempts before it. Hooks and logs are not counted: "
    "most libraries have them.",
)
def history(peer: Peer) -> str:
    """Ask what happened."""
    with Loopback(DOWN, DOWN, OK) as server, noted_waits(), peer.open(Wishes()) as session:
        response, end = ending(peer, session, "GET", server.url)
        return peer.history(session, response) if end == "200" else NONE


@scenario(
    GROUP,
    "`proxy=`",
    "A proxy is named in the HTTP library's own way. It answers 503, then 200: how often the request went through it.",
)
def proxied(peer: Peer) -> str:
    """Name a proxy."""
    with Loopback(DOWN, OK) as proxy, Loopback(page(418)) as direct:
        with noted_waits(), peer.open(Wishes(proxy=proxy.url)) as session:
            _, end = ending(peer, session, "GET", f"{direct.url}/x")
        return "goes round the proxy" if direct.exchanges else f"{len(proxy.exchanges)} sent: {end}"


@scenario(
    GROUP,
    "`HTTP_PROXY`",
    "The same with the environment's variable, in a fresh process. httpx, requests and niquests follow it, aiohttp when it is told to.",
    steady=False,
)
def environment(peer: Peer) -> str:
    """Let the environment name a proxy."""
    with Loopback(DOWN, OK) as proxy, Loopback(page(418)) as direct:
        names = {"http_proxy": proxy.url, "HTTP_PROXY": proxy.url, "no_proxy": "", "NO_PROXY": ""}
        code = ONCE.format(folders=FOLDERS, name=peer.name, url=f"{direct.url}/x")
        end = subprocess.run(  # noqa: S603 - the code above
            [sys.executable, "-W", "ignore", "-c", code],
            env=os.environ | names,
            capture_output=True,
            text=True,
            check=True,
            timeout=12,
        ).stdout.strip()
        return "goes round the proxy" if direct.exchanges else f"{len(proxy.exchanges)} sent: {end}"


@scenario(
    GROUP,
    "a cookie",
    "A 503 sets a cookie, the retry gets 200, and another call follows: which of the two bring the cookie.",
)
def cookie(peer: Peer) -> str:
    """Set a cookie with a reply that nobody sees."""
    first = page(503, b"{}", "Set-Cookie: route=b; Path=/")
    with Loopback(first, OK) as server, noted_waits(), peer.open(Wishes()) as session:
        if ending(peer, session, "GET", server.url)[1] != "200":
            return NONE
        ending(peer, session, "GET", server.url)
        _, again, after = server.exchanges
    both = {"the retry": again, "the next call": after}
    return " and ".join(name for name, exchange in both.items() if "cookie" in exchange.headers) or "neither"
