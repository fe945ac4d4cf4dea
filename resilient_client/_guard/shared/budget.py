"""A retry budget for many processes: one bucket, kept by the server (`budget.lua`).

It is asked and told as `RetryBudget` is, and answers alike. A retry is asked for; successes are counted here and told with
the next question, after 50 of them or after a second. While the server is away each process goes by a budget of its own,
which has seen the same successes; what is taken from it is told when the server is back.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from resilient_client._guard.budget import BudgetConfig, RetryBudget

from .link import Script, StoreAwayError, micro

if TYPE_CHECKING:
    from .link import Link, Times

__all__ = ["SharedBudget"]

_MANY = 50  # successes that are told at once
_A_WHILE = 1.0  # seconds at the most that a success waits to be told while calls go on

_SCRIPT = Script("budget.lua")


class SharedBudget:
    """The retry budget of all calls to one host, for all processes that name it alike. Threads may share it."""

    shared = True

    def __init__(
        self, link: Link, keys: str, config: BudgetConfig | None, *, times: Times, local: bool
    ) -> None:
        self.config = config = config if config is not None else BudgetConfig()
        self._link, self._times, self._goes_on = link, times, local
        self._keys = [f"{keys}:state"]
        self._numbers = (
            config.capacity,
            config.transient,
            config.throttled,
            config.first_try,
            config.min_blind,
            config.blind_share,
            config.min_known,
            config.crowd,
        )
        self._begin()
        _ALIVE.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._alone = RetryBudget(self.config)
        self._level = self.config.capacity
        self._count = -1  # of the server's answers
        self._now = -math.inf  # the latest time that anybody told
        # What is to be told: taken while alone; calls that succeeded at first; retries that did, and their prices.
        self._owed = self._calls = self._refunds = self._refunded = 0
        self._calls_at = -math.inf  # the newest of them
        self._since = math.inf  # the oldest of all that

    @property
    def level(self) -> int:
        """The tokens in the bucket when the server was last asked, and what this process has paid in since."""
        paid = self._calls * self.config.first_try + self._refunded
        return min(max(0, self._level - self._owed) + paid, self.config.capacity)

    def take(self, now: float, *, throttled: bool = False, crowd: int = 1) -> int:
        """Pay for one retry; see `RetryBudget.take`.

        Raises:
            StoreAwayError: the server is away, and this process is not to go on alone.
        """
        try:
            return self._ask(now, (1, int(throttled), crowd))
        except StoreAwayError:
            if not self._goes_on:
                raise
        price = self._alone.take(now, throttled=throttled, crowd=crowd)
        with self._lock:
            self._owed += price
        return price

    def refund(self, price: int) -> None:
        """Note that a retry succeeded which took this price."""
        self._alone.refund(price)
        with self._lock:
            self._refunds += 1
            self._refunded += price
            now = self._now
            due = self._is_due(now)
        if due:
            self._tell(now)

    def first_try_succeeded(self, now: float) -> None:
        """Note that a call succeeded at its first attempt."""
        self._alone.first_try_succeeded(now)
        with self._lock:
            self._calls += 1
            self._calls_at = self._now = max(self._now, now)
            due = self._is_due(now)
        if due:
            self._tell(now)

    def _is_due(self, now: float) -> bool:
        self._since = min(self._since, now)
        return self._calls + self._refunds >= _MANY or now - self._since >= _A_WHILE

    def _tell(self, now: float) -> None:
        with suppress(StoreAwayError):
            self._ask(now, (0,))

    def _ask(self, now: float, question: tuple[object, ...]) -> int:
        with self._lock:
            now = self._now = max(self._now, now)
            told = self._owed, self._calls, self._refunds, self._refunded
            age = micro(now - self._calls_at) if self._calls else 0
            self._owed = self._calls = self._refunds = self._refunded = 0
            since, self._since = self._since, math.inf
        owed, calls, refunds, refunded = told
        arguments = (self._times.stamp(now), *self._numbers, owed, calls, age, refunds, refunded, *question)
        try:
            price, level, count = self._link.ask(_SCRIPT, self._keys, arguments)
        except StoreAwayError:
            with self._lock:
                self._owed += owed
                self._calls += calls
                self._refunds += refunds
                self._refunded += refunded
                # Not before a while has passed: whoever succeeds does not stand in for whoever looks for the server.
                self._since = max(since, now) if self._link.is_away else since
            raise
        with self._lock:
            if count > self._count:  # threads come back in any order
                self._level, self._count = level, count
        return int(price)


_ALIVE: weakref.WeakSet[SharedBudget] = weakref.WeakSet()


def _after_fork() -> None:
    for budget in list(_ALIVE):
        budget._begin()  # noqa: SLF001 - this module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
