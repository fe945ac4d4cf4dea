"""What a library costs before anything fails: what comes with it, how long its first client takes, and each call that succeeds.

Times are processor time, so that what else the machine does counts for little.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .clients import HttpxPeer, Wishes
from .left import FOLDERS
from .observe import NONE, scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clients import Peer

GROUP = "What it costs"
COLD = """
import importlib, sys, time
sys.path[:0] = {folders!r}
from _peers import PEERS
from _peers.clients import Wishes
for name in {loaded!r}:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
peer = next(peer for peer in PEERS if peer.name == {name!r})
begun = time.process_time()
with peer.open(Wishes()):
    print(time.process_time() - begun)
"""


def brought_by(name: str) -> set[str]:
    """Name all that is installed with a distribution, itself included."""
    found: set[str] = set()
    waiting = [canonicalize_name(name)]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            wanted = [Requirement(line) for line in importlib.metadata.requires(one) or ()]
            waiting += [
                canonicalize_name(each.name)
                for each in wanted
                if each.marker is None or each.marker.evaluate({"extra": ""})
            ]
    return found


@scenario(
    GROUP,
    "packages",
    "What is installed with it, itself and its HTTP library's own not counted.",
    steady=False,
)
def packages(peer: Peer) -> str:
    """Name what comes with it."""
    more = sorted(brought_by(peer.name) - brought_by(peer.over) - {canonicalize_name(peer.name)})
    return f"{len(more)}: {', '.join(more)}" if more else "0"


@scenario(GROUP, "lines", "Of Python that it ships, without blank ones.", steady=False)
def lines(peer: Peer) -> str:
    """Count what it ships."""
    module = importlib.import_module(peer.name.replace("-", "_"))
    files = Path(str(module.__file__)).parent.rglob("*.py")
    return str(
        sum(bool(line.strip()) for file in files for line in file.read_text(encoding="utf-8").splitlines())
    )


@scenario(
    GROUP,
    "first client",
    "Processor time from httpx loaded (or requests, niquests, aiohttp) to a client that is ready: the least of nine.",
    steady=False,
)
def first_client(peer: Peer) -> str:
    """Time the way to a first client; what retryhttp would load only because it is installed here is loaded before."""
    loaded = [peer.over, "httpx", "requests", "aiohttp"]
    code = COLD.format(folders=FOLDERS, loaded=loaded, name=peer.name)
    took = [
        float(
            subprocess.run(  # noqa: S603 - the code above
                [sys.executable, "-c", code], capture_output=True, check=True, timeout=10
            ).stdout
        )
        for _ in range(9)
    ]
    return f"{min(took) * 1000:.0f} ms"


@scenario(
    GROUP,
    "a call that succeeds",
    "Processor time on top of the same call with `httpx.Client`, over a transport in memory: the least of many.",
    steady=False,
)
def per_call(peer: Peer) -> str:
    """Time a call that succeeds at once, against that of httpx alone."""
    if not isinstance(peer, HttpxPeer) or peer.asynchronous:
        return NONE
    wire = httpx.MockTransport(lambda _: httpx.Response(200, content=b"{}"))
    alone, with_it = [], []
    with httpx.Client(transport=wire) as client, peer.open(Wishes(transport=wire)) as session:
        for _ in range(60):
            alone.append(timed(client.request))
            with_it.append(timed(session.send))
    return f"{min(with_it) - min(alone):+.0f} µs on {min(alone):.0f}"


def timed(call: Callable[[str, str], object]) -> float:
    """Give the microseconds of one call, over a hundred."""
    begun = time.process_time()
    for _ in range(100):
        call("GET", "https://api.example/v1/codes")
    return (time.process_time() - begun) * 1e6 / 100
