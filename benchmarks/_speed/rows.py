"""The rows that are timed: what is put to which libraries, and how often.

Law of this file: data only. A row is measured in rounds; in each of them every library has its turn, so many calls long, and its ratio is
that to the base in the same round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .wires import DOWN, OK, prepared

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ADDRESS", "BASE", "HOSTS", "TIMED", "WIRE", "WITH_SNIFFIO", "Timed"]

BASE = "httpx"
HOSTS = {"resilient-client over httpx2": "httpx2"}  # what a library stands over, where that is not the base
WIRE = "the transport in memory"
WITH_SNIFFIO = ", with sniffio"  # behind a name: where that package is installed
ADDRESS = "https://api.example/v1/codes"  # in memory

IN_MEMORY = (
    "httpx",
    "resilient-client",
    "ResilientTransport",
    "httpx2",
    "resilient-client over httpx2",
    "httpx-retries",
    "httpx-tenacity",
    "stamina",
)
ON_A_LOOP = (
    "httpx",
    "resilient-client",
    "httpx2",
    "resilient-client over httpx2",
    "httpx-retries",
    "httpx-tenacity",
    "stamina",
    "resilient-client, aiohttp engine",
    "httpx-aiohttp",
    "aiohttp-retry",
    "aiohttp",
)
COUNTED = (
    "httpx",
    "resilient-client",
    "ResilientTransport",
    "httpx2",
    "resilient-client over httpx2",
    "httpx-retries",
)
SNIFFING = ("httpx", "resilient-client", "httpx2", "resilient-client over httpx2", "httpx-retries")


@dataclass(frozen=True, slots=True)
class Timed:
    """One row."""

    key: str
    title: str
    told: str  # what is done
    names: tuple[str, ...]  # of the libraries
    calls: int  # of each library in a round
    rounds: int
    base: str = BASE  # that the others are compared with
    handed: bool = False  # a transport is handed a request; no client is there
    tasks: bool = False
    wire: Callable[[Any, bool], Any] | None = None  # None: the server on this machine
    new_addresses: bool = False  # one for each call; else it is the same one
    at_once: int = 1
    wait: float | None = None  # seconds before each retry; None: as documented
    by_hand: int = 1  # gets that make a call of a library that retries nothing
    sniffing: tuple[str, ...] = ()  # measured with sniffio, too
    throughput: bool = False  # shown in requests per second, and not in microseconds
    counted: tuple[str, ...] = ()  # in instructions, too


def _both(row: Timed, title: str, told: str) -> tuple[Timed, Timed]:
    """Give a row and the same one for tasks."""
    return row, replace(row, key=f"a{row.key}", title=title, told=told, tasks=True)


TIMED = {
    row.key: row
    for row in (
        *_both(
            Timed(
                "get",
                "`Client.get` in memory",
                "A GET that is answered at once by a transport in memory, with a body that is in memory, as `httpx.MockTransport` has it.",
                IN_MEMORY,
                calls=100,
                rounds=80,
                wire=prepared(OK),
                counted=COUNTED,
            ),
            "`AsyncClient.get` in memory",
            "The same with the async clients, one call after the other.",
        ),
        *_both(
            Timed(
                "added",
                "added by a transport",
                "The same transport in memory is handed a request, by itself and through the transports that stand in front of it. httpx stands for a whole `Client.get`.",
                (WIRE, "ResilientTransport", "httpx-retries", "httpx-tenacity", "httpx"),
                calls=200,
                rounds=80,
                base=WIRE,
                handed=True,
                counted=(WIRE, "ResilientTransport", "httpx-retries"),
                wire=prepared(OK),
            ),
            "added by a transport, async",
            "The same with the async transports.",
        ),
        Timed(
            "get_new",
            "`Client.get` in memory, each time another address",
            "The same with an address that no call had before.",
            ("httpx", "resilient-client", "ResilientTransport", "httpx2", "httpx-retries"),
            calls=100,
            rounds=60,
            wire=prepared(OK),
            new_addresses=True,
        ),
        *_both(
            Timed(
                "get_stream",
                "`Client.get` in memory, a body to be read",
                "To the same address again, with a body that is a stream, as a connection has it.",
                ("httpx", "resilient-client", "ResilientTransport", "httpx2", "httpx-retries"),
                calls=100,
                rounds=60,
                wire=prepared(OK, stream=True),
            ),
            "`AsyncClient.get` in memory, a body to be read",
            "The same with the async clients.",
        ),
        *_both(
            Timed(
                "failing",
                "three times 503, then 200",
                "A GET in memory that succeeds at its fourth attempt, no wait longer than zero seconds. `time.sleep` does nothing in this process: "
                "what a sleep of zero seconds costs is the machine's. httpx, which retries nothing, makes four calls instead.",
                (
                    "httpx",
                    "resilient-client",
                    "ResilientTransport",
                    "httpx-retries",
                    "httpx-tenacity",
                    "stamina",
                ),
                calls=60,
                rounds=60,
                wire=prepared(DOWN, DOWN, DOWN, OK),
                wait=0.0,
                by_hand=4,
            ),
            "three times 503, then 200, async",
            "The same with the async clients; a sleep of zero seconds is a turn of the event loop.",
        ),
        Timed(
            "loopback",
            "a server on this machine, one thread",
            "GETs over a kept connection, one after the other.",
            (
                "httpx",
                "resilient-client",
                "ResilientTransport",
                "httpx2",
                "resilient-client over httpx2",
                "httpx-retries",
                "httpx-tenacity",
                "stamina",
                "urllib3",
            ),
            calls=60,
            rounds=40,
            throughput=True,
        ),
        Timed(
            "aloopback",
            "a server on this machine, async, one at a time",
            "The same with the async clients. sniffio is a package that httpcore looks for several times in each request, and that nothing "
            "installs any more: it is absent, but for the lines that say so.",
            ON_A_LOOP,
            calls=40,
            rounds=30,
            tasks=True,
            sniffing=SNIFFING,
            throughput=True,
        ),
        Timed(
            "crowd",
            "a server on this machine, async, 64 at once",
            "The same, and 64 tasks make one call after the other, each.",
            ON_A_LOOP,
            calls=256,
            rounds=15,
            tasks=True,
            at_once=64,
            sniffing=SNIFFING,
            throughput=True,
        ),
    )
}
