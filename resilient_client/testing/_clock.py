"""Time that a test is the master of."""

from __future__ import annotations

import threading

__all__ = ["VirtualClock"]


class VirtualClock:
    """A clock on which sleeping returns at once and moves the time.

    Pass it as `clock=` to a client or a transport, or let all go by it with `use_clock`. It starts at `start` (epoch
    seconds) and at 0 on its monotonic scale. There is one time for all: what several threads or tasks sleep adds up, as
    if they had slept one after the other.
    """

    def __init__(self, start: float = 1_750_000_000.0) -> None:
        self._start = start
        self._elapsed = 0.0
        self._lock = threading.Lock()
        self.sleeps: list[float] = []
        """What was slept, in seconds, in order."""

    def time(self) -> float:
        """Tell the wall time in epoch seconds."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Tell the seconds that have passed on this clock."""
        return self._elapsed

    def sleep(self, seconds: float, /) -> None:
        """Note the sleep and move the time on."""
        with self._lock:
            self.sleeps.append(seconds)
            self._elapsed += seconds

    async def asleep(self, seconds: float, /) -> None:
        """Note the sleep and move the time on; other tasks get their turn, and a cancellation is felt."""
        from anyio.lowlevel import checkpoint  # noqa: PLC0415 - light to import

        self.sleep(seconds)
        await checkpoint()

    def advance(self, seconds: float) -> None:
        """Let time pass without anybody having slept.

        Raises:
            ValueError: the time would go back.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back (got {seconds!r})")
        with self._lock:
            self._elapsed += seconds

    def __repr__(self) -> str:
        return f"VirtualClock(time={self.time()!r}, sleeps={self.sleeps!r})"
