"""What the project asks of itself, and whether today's figures keep to it.

Law of this file: a bar is a ratio, a count, or bytes. Where it was set in microseconds, it was set beside those that httpx takes on the same
machine, and is kept as that ratio. The exceptions are the two of a program's start, which were set in milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .rows import BASE, WIRE, WITH_SNIFFIO

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ALONE", "BARS", "ENGINE", "OURS", "OVER", "Bar"]

OURS, ALONE, ENGINE = "resilient-client", "ResilientTransport", "resilient-client, aiohttp engine"
OVER = "resilient-client over httpx2"
GET = 77.0  # microseconds of httpx's `Client.get` in memory, where the bars were set


@dataclass(frozen=True, slots=True)
class Bar:
    """One of them."""

    told: str
    limit: float
    found: Callable[[dict[str, Any]], float]  # in the facts; KeyError: not measured
    at_least: bool = False
    shown: str = "{:.2f}"  # how a value is written

    def kept(self, value: float) -> bool:
        """Tell whether a value keeps to it."""
        return value >= self.limit if self.at_least else value <= self.limit


def _ratio(row: str, name: str) -> Callable[[dict[str, Any]], float]:
    return lambda facts: facts["timed"][row][name]["ratio"]


def _against(row: str, name: str, other: str) -> Callable[[dict[str, Any]], float]:
    return lambda facts: facts["timed"][row][name]["ratio"] / facts["timed"][row][other]["ratio"]


def _sniffing(row: str) -> Callable[[dict[str, Any]], float]:
    return _against(row, OURS + WITH_SNIFFIO, BASE + WITH_SNIFFIO)


def _over_its_host(row: str, name: str) -> Callable[[dict[str, Any]], float]:
    return lambda facts: facts["timed"][row][name]["over"]["ratio"]


def _added(row: str) -> Callable[[dict[str, Any]], float]:
    return lambda facts: facts["timed"][row][ALONE]["added"] / facts["timed"]["added"][BASE]["seconds"]


def _instructions(row: str) -> Callable[[dict[str, Any]], float]:
    return lambda facts: facts["instructions"][row][ALONE] - facts["instructions"][row][WIRE]


def _over(table: str, name: str, base: str) -> Callable[[dict[str, Any]], float]:
    return lambda facts: (facts[table][name] - facts[table][base]) * 1000


BARS = (
    Bar(
        f"the transport adds, sync, of the time of httpx's `Client.get` (1.5 µs of {GET:.0f})",
        1.5 / GET,
        _added("added"),
        shown="{:.3f}",
    ),
    Bar(f"the same, async (2 µs of {GET:.0f})", 2 / GET, _added("aadded"), shown="{:.3f}"),
    Bar("instructions that the transport adds, sync", 12_000, _instructions("added"), shown="{:,.0f}"),
    Bar("instructions that the transport adds, async", 12_000, _instructions("aadded"), shown="{:,.0f}"),
    Bar("`ResilientClient.get` in memory, time in ratio to httpx", 0.60, _ratio("get", OURS)),
    Bar("the same, each time another address", 0.60, _ratio("get_new", OURS)),
    Bar(
        "a server on this machine, one thread, throughput in ratio to httpx",
        1.2,
        _ratio("loopback", OURS),
        at_least=True,
    ),
    Bar(
        "three times 503, then 200: time in ratio to httpx-retries (100 µs for 114)",
        100 / 114,
        _against("failing", OURS, "httpx-retries"),
    ),
    Bar(
        "three times 503, then 200: connections, sync",
        1,
        lambda facts: facts["connections"]["sync"][OURS],
        shown="{:.0f}",
    ),
    Bar(
        "three times 503, then 200: connections, async",
        1,
        lambda facts: facts["connections"]["async"][OURS],
        shown="{:.0f}",
    ),
    Bar(
        "bytes of a sleeping call, the transport alone",
        8500,
        lambda facts: max(facts["asleep"][ALONE].values()),
        shown="{:,.0f}",
    ),
    Bar(
        "bytes of a sleeping call, `AsyncResilientClient`",
        6500,
        lambda facts: max(facts["asleep"][OURS].values()),
        shown="{:,.0f}",
    ),
    Bar("async, one at a time, throughput in ratio to httpx", 1.3, _ratio("aloopback", OURS), at_least=True),
    Bar("the same where sniffio is installed", 1.3, _sniffing("aloopback"), at_least=True),
    Bar("async, 64 at once, throughput in ratio to httpx", 3, _ratio("crowd", OURS), at_least=True),
    Bar("the same where sniffio is installed", 3, _sniffing("crowd"), at_least=True),
    Bar("async, 64 at once, aiohttp engine, in ratio to httpx", 7, _ratio("crowd", ENGINE), at_least=True),
    Bar(
        "the same, in ratio to httpx-aiohttp alone",
        0.95,
        _against("crowd", ENGINE, "httpx-aiohttp"),
        at_least=True,
    ),
    Bar("async, 64 at once, over httpx2, time in ratio to httpx2", 1.05, _over_its_host("crowd", OVER)),
    Bar("the same where sniffio is installed", 1.05, _over_its_host("crowd", OVER + WITH_SNIFFIO)),
    Bar(
        "milliseconds of `from resilient_client import ResilientClient` over `import httpx`",
        35,
        _over("imports", "from resilient_client import ResilientClient", "httpx alone"),
        shown="{:.0f}",
    ),
    Bar(
        'milliseconds of the first `ResilientClient("zerotrace")` over those of `httpx.Client()`',
        40,
        _over("clients", "resilient-client, zerotrace", "httpx"),
        shown="{:.0f}",
    ),
    Bar("time to classify by 10,000 rules, in ratio to 10", 1.2, lambda facts: facts["rules"]["ratio"]),
)
