"""Virtual time: what happens next happens now. One queue of events, in the order of their moments."""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["World"]


class World:
    """A clock, and what is still to happen by it. What happens at one moment happens in the order in which it was asked for."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    @property
    def now(self) -> float:
        """Seconds since the begin."""
        return self.clock.monotonic()

    def at(self, moment: float, do: Callable[[], None]) -> None:
        """Let something happen then; at once where the moment is past."""
        heapq.heappush(self._events, (moment, next(self._order), do))

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Let something happen in so many seconds."""
        self.at(self.clock.monotonic() + seconds, do)

    def run(self) -> None:
        """Let all happen that is to happen, and whatever comes of it."""
        events, clock = self._events, self.clock
        while events:
            moment, _, do = heapq.heappop(events)
            clock.advance(max(0.0, moment - clock.monotonic()))
            do()
