"""The quick form of the bars: counts, and ratios of turns that are short. They hold on any machine, or a change has made something dearer.

Law of this file: no time is compared but with another of the same round, and with room to spare, for others use the machine, too. What is
counted has no such room.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import statistics
import tracemalloc
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from .bars import ALONE, ENGINE, OURS, OVER
from .connections import used
from .counts import afunction_calls, function_calls
from .libraries import LIBRARIES, Wishes
from .rows import ADDRESS, BASE, HOSTS, TIMED, WIRE
from .rules import FEW, MANY, policy, reply
from .server import served
from .starting import Start, foreign_modules, started
from .turns import child, figures, taken
from .worker import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GATES", "Gate"]

SLEEPING = 500  # calls at once
RESPONSES = 1000  # that are kept
STARTS = 3  # processes of each kind


@dataclass(frozen=True, slots=True)
class Gate:
    """One of them."""

    key: str
    told: str
    limit: float
    measure: Callable[[], float | None]  # None: what it needs is not installed
    at_least: bool = False

    def holds(self, value: float) -> bool:
        """Tell whether a value is within the limit."""
        return value >= self.limit if self.at_least else value <= self.limit

    def line(self, value: float | None) -> str:
        """Tell of it in a line."""
        limit = f"{'at least' if self.at_least else 'at most'} {self.limit:g}"
        if value is None:
            return f"  -  {self.key}: {self.told}: {limit}, not installed"
        return f"{'ok ' if self.holds(value) else 'NO '}  {self.key}: {self.told}: {limit}, is {value:.4g}"


# ------------------------------------------------------------------------------------------------- function calls


@cache
def _calls(row: str, name: str) -> int:
    """Count the function calls of one call in memory."""
    library, asked = LIBRARIES[name], TIMED[row]
    wishes = Wishes(tasks=asked.tasks, wire=asked.wire, wait=asked.wait)
    addresses = (f"{ADDRESS}/{number * asked.new_addresses}" for number in itertools.count())
    if not asked.tasks:
        with library.client(wishes) as client:
            get = library.get(client, wishes)
            return function_calls(lambda: get(next(addresses)))

    async def counted() -> int:
        async with library.client(wishes) as client:
            get = library.get(client, wishes)
            return await afunction_calls(lambda: get(next(addresses)))

    return asyncio.run(counted())


def _calls_at_once(row: str, name: str) -> int:
    """Count the function calls of a row that is on this machine, two for each task: but for a few in a hundred the same each time."""
    asked = TIMED[row]
    with served() as server:
        turns = Turns(asked, [name], f"{server}/ok")
        try:
            return function_calls(lambda: turns.turn(name, 2 * asked.at_once))
        finally:
            turns.close()


def _calls_ratio(row: str) -> float:
    return _calls(row, OURS) / _calls(row, BASE)


def _calls_over(row: str) -> float | None:
    """Count the function calls over httpx2, in ratio to httpx2 alone."""
    if not LIBRARIES[OVER].installed:
        return None
    count = _calls if TIMED[row].wire else _calls_at_once
    return count(row, OVER) / count(row, HOSTS[OVER])


def _calls_added(row: str) -> float:
    return _calls(row, ALONE) - _calls(row, BASE)


def _calls_failing(row: str) -> float:
    """Count the function calls of a call that succeeds at its fourth attempt, in ratio to four calls of httpx."""
    return _calls(row, OURS) / (4 * _calls(row, BASE))


def _bytes_of_a_response(name: str) -> float:
    """Weigh what a response that is kept holds."""
    library, wishes = LIBRARIES[name], Wishes(wire=TIMED["get_new"].wire)
    with library.client(wishes) as client:
        get = library.get(client, wishes)
        addresses = [f"{ADDRESS}/{number}" for number in range(2 * RESPONSES)]
        warm = [get(address) for address in addresses[:RESPONSES]]  # what the client keeps for itself is full
        tracemalloc.start()
        try:
            kept = [get(address) for address in addresses[RESPONSES:]]
            del warm
            gc.collect()
            return tracemalloc.get_traced_memory()[0] / len(kept)
        finally:
            tracemalloc.stop()


def _bytes_added() -> float:
    return _bytes_of_a_response(OURS) - _bytes_of_a_response(BASE)


# ---------------------------------------------------------------------------------------------------------- turns


@cache
def _figures(row: str, names: tuple[str, ...], rounds: int, calls: int) -> dict[str, dict[str, Any]]:
    asked = TIMED[row]
    few = replace(asked, names=names, rounds=rounds, calls=calls, sniffing=())
    return figures(taken(few), base=few.base, throughput=few.throughput)


IN_MEMORY = partial(_figures, names=(BASE, OURS), rounds=25, calls=50)
CROWD = partial(_figures, "crowd", (BASE, OURS, ENGINE, "httpx-aiohttp", HOSTS[OVER], OVER), 5, 128)


def _ratio(row: str) -> float:
    return IN_MEMORY(row)[OURS]["ratio"]


def _added(row: str) -> float:
    found = _figures(row, names=(WIRE, ALONE, BASE), rounds=25, calls=100)
    return found[ALONE]["added"] / found[BASE]["seconds"]


def _throughput(row: str) -> float:
    return _figures(row, (BASE, OURS), rounds=15, calls=30)[OURS]["ratio"]


def _crowd(name: str) -> float | None:
    return CROWD().get(name, {}).get("ratio")


def _beside_the_engine() -> float | None:
    ours, alone = _crowd(ENGINE), _crowd("httpx-aiohttp")
    return None if ours is None or alone is None else ours / alone


def _crowd_over() -> float | None:
    found = CROWD().get(OVER)
    return None if found is None else found["over"]["ratio"]


# --------------------------------------------------------------------------------------------------------- others


def _asleep(name: str) -> float:
    return float(child("asleep", name, str(SLEEPING), "traced"))


def _start() -> float:
    ours = Start("", "", "from resilient_client import ResilientClient\nResilientClient('zerotrace')")
    alone = Start("", "", "httpx.Client()")
    took = [(started(ours), started(alone)) for _ in range(1 + STARTS)]
    return statistics.median(here / there for here, there in took[1:])  # the first wrote byte code


def _rules() -> float:
    few, many = (function_calls(partial(policy(rules).classify, reply(rules))) for rules in (FEW, MANY))
    return many / few


GATES = (
    Gate(
        "get_calls",
        "function calls of ResilientClient.get in memory, in ratio to httpx",
        0.30,
        partial(_calls_ratio, "get"),
    ),
    Gate("aget_calls", "the same, async", 0.30, partial(_calls_ratio, "aget")),
    Gate(
        "get_new_calls",
        "the same, sync, with an address of its own for each call",
        0.75,
        partial(_calls_ratio, "get_new"),
    ),
    Gate("kept_bytes", "bytes that a response holds beside those of httpx's", 400, _bytes_added),
    Gate(
        "get_time",
        "time of ResilientClient.get in memory, in ratio to httpx (bar: 0.60)",
        0.45,
        partial(_ratio, "get"),
    ),
    Gate("aget_time", "the same, async", 0.45, partial(_ratio, "aget")),
    Gate("added_calls", "function calls that the transport adds", 12, partial(_calls_added, "get")),
    Gate("aadded_calls", "the same, async", 12, partial(_calls_added, "aget")),
    Gate(
        "added_time",
        "time that the transport adds, in ratio to httpx (bar: 0.019)",
        0.06,
        partial(_added, "added"),
    ),
    Gate(
        "failing_calls",
        "function calls of a call that is answered 503 three times, then 200, in ratio to four of httpx",
        0.75,
        partial(_calls_failing, "failing"),
    ),
    Gate("afailing_calls", "the same, async", 0.75, partial(_calls_failing, "afailing")),
    Gate(
        "failing_connections",
        "connections of a call that is answered 503 three times, then 200",
        1,
        partial(used, OURS, tasks=False),
    ),
    Gate("afailing_connections", "the same, async", 1, partial(used, OURS, tasks=True)),
    Gate(
        "asleep_transport",
        "bytes that a call holds asleep, the transport alone",
        8500,
        partial(_asleep, ALONE),
    ),
    Gate("asleep_client", "the same, AsyncResilientClient", 6500, partial(_asleep, OURS)),
    Gate(
        "loopback_time",
        "throughput on this machine, one thread, in ratio to httpx (bar: 1.2)",
        1.05,
        partial(_throughput, "loopback"),
        at_least=True,
    ),
    Gate(
        "aloopback_time",
        "the same, async, one at a time (bar: 1.3)",
        1.3,
        partial(_throughput, "aloopback"),
        at_least=True,
    ),
    Gate("crowd_time", "the same, 64 at once (bar: 3)", 2, partial(_crowd, OURS), at_least=True),
    Gate("engine_time", "the same on the aiohttp engine (bar: 7)", 4, partial(_crowd, ENGINE), at_least=True),
    Gate(
        "engine_alone_time",
        "the same, in ratio to httpx-aiohttp alone (bar: 0.95)",
        0.9,
        _beside_the_engine,
        at_least=True,
    ),
    Gate(
        "httpx2_calls",
        "function calls of ResilientClient.get over httpx2, in memory, in ratio to httpx2",
        0.40,
        partial(_calls_over, "get"),
    ),
    Gate("ahttpx2_calls", "the same, async", 0.40, partial(_calls_over, "aget")),
    Gate(
        "httpx2_crowd_calls",
        "the same, 64 at once on this machine: the pool and the network",
        0.50,
        partial(_calls_over, "crowd"),
    ),
    Gate("httpx2_crowd_time", "the time of these, in ratio to httpx2 (bar: 1.05)", 1.05, _crowd_over),
    Gate(
        "start_modules",
        "modules that are not this library's own and come with its first client",
        15,
        foreign_modules,
    ),
    Gate(
        "start_time",
        "processor time of the import and the first client, in ratio to a first httpx.Client()",
        2.8,
        _start,
    ),
    Gate("rules_calls", "function calls to classify by 10,000 rules, in ratio to 10", 1.2, _rules),
)
