"""The clock that drivers use. A test passes another one; see `resilient_client.testing.VirtualClock`."""

from __future__ import annotations

import sys
import time as _time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

__all__ = ["Clock", "SystemClock", "default_clock", "use_clock"]


@runtime_checkable
class Clock(Protocol):
    """Time as the drivers need it: when is it, and wait a while."""

    def time(self) -> float:
        """Tell the wall time in epoch seconds; for dates that a server names."""

    def monotonic(self) -> float:
        """Tell a time in seconds that never goes back; for durations and deadlines."""

    def sleep(self, seconds: float, /) -> None:
        """Wait in a thread."""

    async def asleep(self, seconds: float, /) -> None:
        """Wait in a task, under asyncio or trio."""


class SystemClock:
    """The machine's own clock."""

    time = staticmethod(_time.time)
    monotonic = staticmethod(_time.monotonic)
    sleep = staticmethod(_time.sleep)

    def asleep(self, seconds: float, /) -> Coroutine[Any, Any, None]:
        """Wait in a task, under asyncio or trio."""
        # What is given back is the library's own sleep: ten thousand calls may be asleep, and each frame between is held by each of them.
        if _in_asyncio():
            return sys.modules["asyncio"].sleep(seconds)  # type: ignore[no-any-return]  # a coroutine
        import anyio  # noqa: PLC0415 - only a call that really waits pays for it

        return anyio.sleep(seconds)


def _in_asyncio() -> bool:
    """Tell whether a task of asyncio's is running: trio may run on asyncio's loop as a guest, but then not in a task."""
    asyncio = sys.modules.get("asyncio")
    try:
        return asyncio is not None and asyncio.current_task() is not None
    except RuntimeError:  # no loop runs here
        return False


SYSTEM: Clock = SystemClock()

_ClockT = TypeVar("_ClockT", bound=Clock)


class _InUse:
    """One block's use of a clock: equal to itself alone, also where two blocks use the same clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock


_in_use = [_InUse(SYSTEM)]  # the innermost last


def default_clock() -> Clock:
    """Give the clock of a client, transport or sandbox made without one: the system's, or that of `use_clock`."""
    return _in_use[-1].clock


@contextmanager
def use_clock(clock: _ClockT) -> Iterator[_ClockT]:
    """Let every client, transport and sandbox that is made meanwhile, and names no clock, go by this one.

    It holds for the whole process, threads and tasks included, and nests: the inner clock has its way until its block
    ends. Where blocks overlap without nesting, each takes out its own clock. What was made before keeps the clock that it
    has, and what is made meanwhile keeps this one.
    """
    mine = _InUse(clock)
    _in_use.append(mine)
    try:
        yield clock
    finally:
        _in_use.remove(mine)
