"""Time that runs faster than the machine's, the same for everybody who holds this clock, and that can be stopped."""

from __future__ import annotations

import threading
import time

__all__ = ["ScaledClock", "StoppedError"]


class StoppedError(Exception):
    """The clock was stopped while somebody slept by it."""


class ScaledClock:
    """A clock that runs `speed` times as fast as the machine's: to sleep `s` seconds by it takes `s / speed` real ones.

    Nobody sleeps shorter than asked. Its seconds are what clients and servers that hold it reckon with. `stop` wakes
    all who sleep, with `StoppedError`, so that a program can end before its waits do.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if not speed > 0:
            raise ValueError(f"a clock runs forward: speed must be above 0 (got {speed!r})")
        self.speed = speed
        self._began = time.time(), time.monotonic()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self.sleeping = 0
        """How many threads sleep by it at this moment."""

    def time(self) -> float:
        """Tell the wall time in epoch seconds: right when the clock was made, ahead by and by."""
        return self._began[0] + self.monotonic()

    def monotonic(self) -> float:
        """Tell the seconds since the clock was made."""
        return (time.monotonic() - self._began[1]) * self.speed

    def sleep(self, seconds: float, /) -> None:
        """Wait in a thread. Raises StoppedError when the clock is stopped."""
        until = self.monotonic() + seconds
        self._count(1)
        try:
            while (left := until - self.monotonic()) > 0 or self._stopped.is_set():
                if self._stopped.wait(max(left, 0.0) / self.speed):
                    raise StoppedError
        finally:
            self._count(-1)

    async def asleep(self, seconds: float, /) -> None:
        """Wait in a task; stopping the clock does not wake it, cancelling the task does."""
        import anyio  # noqa: PLC0415 - only tasks need it

        await anyio.sleep(seconds / self.speed)

    def stop(self) -> None:
        """Wake everybody, and let nobody sleep by this clock again."""
        self._stopped.set()

    def _count(self, more: int) -> None:
        with self._lock:
            self.sleeping += more
