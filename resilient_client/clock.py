"""The clock that drivers use. A test passes another one; see `resilient_client.testing.VirtualClock`."""

from __future__ import annotations

import time as _time
from typing import Protocol, runtime_checkable

__all__ = ["Clock", "SystemClock"]


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

    async def asleep(self, seconds: float, /) -> None:
        """Wait in a task, under asyncio or trio."""
        import anyio  # noqa: PLC0415 - only a call that really waits pays for it

        await anyio.sleep(seconds)


SYSTEM: Clock = SystemClock()
