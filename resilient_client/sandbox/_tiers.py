"""The budgets of an API's groups of routes, as its policy file gives them: which a route spends, and when it has room.

No clock in here: the time comes in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_client._flow.rulebook import Routes
from resilient_client.loading import load_policy
from resilient_client.sandbox._budget import RollingBudget

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resilient_client._words import Pace

_BURST = 1.0  # second: a burst is what may come within one


class Tier:
    """One group's budget: `limit` requests per rolling `per` seconds, and of these so many within any one second."""

    def __init__(self, pace: Pace) -> None:
        self.name = pace.name
        self.limit = int(pace.budget)
        self._whole = RollingBudget(self.limit, pace.per)
        self._windows = [self._whole]
        if pace.burst is not None:
            self._windows.append(RollingBudget(int(pace.burst), _BURST))

    def wait(self, now: float) -> int:
        """Tell in how many whole seconds, rounded up, one more request fits: 0 if it does `now` (monotonic seconds)."""
        return max(window.wait(1, now) for window in self._windows)

    def limit_met(self, now: float) -> int:
        """Tell the limit of the window that has no room; that of the whole one if all have."""
        return next((window.budget for window in self._windows if window.wait(1, now)), self.limit)

    def remaining(self, now: float) -> int:
        """Tell how many requests are left of the whole window."""
        return self.limit - self._whole.spent(now)

    def next_back(self, now: float) -> int:
        """Tell in how many whole seconds, rounded up, the whole window's oldest request ages out: 0 if it has none."""
        left = self.remaining(now)
        return self._whole.wait(left + 1, now) if left < self.limit else 0

    def spend(self, now: float) -> None:
        """Count a request that had room."""
        for window in self._windows:
            window.spend(1, now)


def tiers_of(policy: str, routes: Iterable[str]) -> dict[str, Tier]:
    """Find each route's budget in the [[pace]] tables of a shipped policy: the first that names it. Many share one.

    A route that no table names has no budget.
    """
    pace = load_policy(policy).pace
    tables = [(Routes(each.routes), Tier(each)) for each in (pace if isinstance(pace, list) else [pace])]
    found = {}
    for route in routes:
        method, _, path = route.partition(" ")
        tier = next((tier for named, tier in tables if named.match(method, path)), None)
        if tier is not None:
            found[route] = tier
    return found
