"""A weighted budget over a rolling window: what is spent, what still fits, and when it will."""

from __future__ import annotations

import math
from collections import deque
from itertools import takewhile

# Times are floats, and a client that waits exactly as long as it was told must find room.
_TOLERANCE = 1e-6  # seconds


class RollingBudget:
    """So many units per so many seconds; each unit comes back `per` seconds after it was spent."""

    def __init__(self, budget: int, per: float) -> None:
        self.budget = budget
        self.per = per  # seconds
        self._spent: deque[tuple[float, int]] = deque()
        self._total = 0

    def spent(self, now: float) -> int:
        """Tell the weight that has not aged out `now` (monotonic seconds)."""
        # Only what has aged out is looked at: a budget is asked at every request.
        return self._total - sum(
            cost for _, cost in takewhile(lambda each: self._aged_out(each[0], now), self._spent)
        )

    def wait(self, cost: int, now: float) -> int:
        """Tell in how many whole seconds, rounded up, `cost` fits: 0 if it does now, at least 1 if it does not."""
        excess = self.spent(now) + cost - self.budget
        if excess <= 0:
            return 0
        for at, weight in self._spent:
            if self._aged_out(at, now):
                continue
            excess -= weight
            if excess <= 0:
                return max(1, math.ceil(at + self.per - now - _TOLERANCE))
        return max(1, math.ceil(self.per))  # more than the whole budget: it never fits

    def spend(self, cost: int, now: float) -> None:
        """Spend `cost`, whether or not it fits, and forget what has aged out."""
        while self._spent and self._aged_out(self._spent[0][0], now):
            self._total -= self._spent.popleft()[1]
        self._spent.append((now, cost))
        self._total += cost

    def _aged_out(self, at: float, now: float) -> bool:
        return now - at >= self.per - _TOLERANCE
