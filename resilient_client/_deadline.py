"""What is left of a call's time, for whoever asks: the timeouts of an attempt, and every read and write of a connection."""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import Clock

__all__ = ["UNTIL", "Shrinking", "time_left"]

UNTIL: ContextVar[tuple[float, Clock] | None] = ContextVar("until", default=None)
"""When the deadline of the call under way passes (monotonic seconds), and by which clock; `_network.py` asks."""


class Shrinking(dict[str, float | None]):
    """The timeouts of an attempt under a deadline: each is what was asked for, or what is left, whichever is less.

    The connection reads them when each phase begins, so a phase that begins late gets less.
    """

    MOST = 1e6  # seconds: what is further away bounds nothing, and some clocks do not take it
    LEAST = 0.001  # seconds: 0 would mean "do not block" to a socket

    def __init__(self, given: dict[str, float | None], until: float, clock: Clock) -> None:
        self.given: dict[str, float | None] = given.given if isinstance(given, Shrinking) else dict(given)
        self._until = until
        self._clock = clock
        super().__init__({name: self._least(name) for name in ("connect", "read", "write", "pool")})

    def _least(self, name: str) -> float | None:
        own = self.given.get(name)
        left = self._until - self._clock.monotonic()
        if left >= self.MOST:
            return own
        left = max(left, self.LEAST)
        return left if own is None else min(own, left)

    def get(self, name: str, default: Any = None) -> Any:
        """Give a timeout in seconds, as of now."""
        return self._least(name) if name in self else default

    def __getitem__(self, name: str) -> float | None:
        return self._least(name)

    def release(self) -> None:
        """Give the caller's own timeouts from now on: the deadline was met, and what is left to read is the caller's."""
        self._until = math.inf
        self.update(self.given)


def time_left() -> float | None:
    """Give the seconds that the call under way has left; None: it has no deadline, or one so far away that it bounds nothing."""
    bound = UNTIL.get()
    if bound is None:
        return None
    until, clock = bound
    left = max(until - clock.monotonic(), Shrinking.LEAST)
    return None if left >= Shrinking.MOST else left
