"""What a call holds while it sleeps before its second attempt: bytes, with so many of them asleep at once.

    python -m _speed.asleep NAME COUNT traced      Python's own count, by tracemalloc
    python -m _speed.asleep NAME COUNT resident    what the process has grown by, as the kernel counts

One library and one way of counting to a process: neither disturbs the other. It prints a number, or nothing where the library is not
installed. The calls are those of an async client, over a transport in memory that answers 503, and sleep on the real clock; `a task` is
a task that does nothing but sleep, and httpx, which does not retry, waits for an answer that does not come.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .libraries import LIBRARIES, Wishes
from .rows import ADDRESS
from .wires import DOWN, asleep, fresh

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CALLS", "NAMES", "TASK", "held"]

CALLS = 10_000
TASK = "a task"
NAMES = (
    TASK,
    "httpx",
    "httpx-retries",
    "httpx-tenacity",
    "stamina",
    "ResilientTransport",
    "resilient-client",
)
WAIT = 250.0  # seconds: nobody wakes while it is measured
TURNS = 50  # of the event loop, after which all are asleep


async def held(name: str, calls: int, weigh: Callable[[], int]) -> float:
    """Put so many calls to sleep, and tell the bytes that each of them holds."""
    async with _client(name) as client:
        sleep = asyncio.sleep if name == TASK else _get(name, client)
        argument: Any = WAIT if name == TASK else ADDRESS

        async def work() -> None:  # a program's own coroutine, in which the call is made
            await sleep(argument)

        await _all_asleep([asyncio.ensure_future(work())])  # what is loaded and made once is not a call's
        gc.collect()
        before = weigh()  # and from here on Python counts, where it is asked to
        tasks = [asyncio.ensure_future(work()) for _ in range(calls)]
        await _turns()
        gc.collect()
        after = weigh()
        await _all_asleep(tasks)
    return (after - before) / calls


async def _all_asleep(tasks: list[asyncio.Future[Any]]) -> None:
    """See that all are asleep, and end them."""
    await _turns()
    awake = [task for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if awake:
        raise RuntimeError(f"{len(awake)} of {len(tasks)} calls did not sleep: {awake[0]}")


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


class _Nothing:
    """No client."""

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        pass


def _wishes(name: str) -> Wishes:
    return Wishes(tasks=True, wire=fresh(DOWN) if LIBRARIES[name].retries else asleep, wait=WAIT)


def _client(name: str) -> Any:
    return _Nothing() if name == TASK else LIBRARIES[name].client(_wishes(name))


def _get(name: str, client: Any) -> Any:
    return LIBRARIES[name].get(client, _wishes(name))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def _main() -> None:
    name, calls, how = sys.argv[1:]
    if name != TASK and not LIBRARIES[name].installed:
        return
    logging.getLogger().addHandler(logging.NullHandler())  # what they log is made, and not shown
    weigh = _traced if how == "traced" else _resident
    sys.stdout.write(f"{asyncio.run(held(name, int(calls), weigh))}\n")


def _traced() -> int:
    if not tracemalloc.is_tracing():
        tracemalloc.start()
    return tracemalloc.get_traced_memory()[0]


if __name__ == "__main__":
    _main()
