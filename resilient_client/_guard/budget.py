"""A retry budget: retries are paid for, successes pay in, and while nothing succeeds there is soon nothing to pay with.

The laws: a call's first attempt is never refused. While nothing succeeds, retries stay a small share of the calls, for
fast clients and for slow ones. Any success is proof enough that the server works. No clock: `now` (monotonic seconds)
comes in.

Two rules, and a retry has to pass both.

The quota of AWS's SDKs, in revision 2.1 of the retry behaviour that they share
(https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html,
https://github.com/aws/aws-sdk-js-v3/issues/8037): a bucket of 500 tokens; a retry takes 14, or 5 where the server
throttled; a retry that succeeds brings back what it took itself, and not what those before it took; a call that
succeeds at first brings 1. So 35 retries are all that an outage meets. For a client of 100 calls a second that is
nothing: 1.006 sends for each call of a 60 s outage. For one of 1 call a second it is 1.58, and it takes ten minutes of
outage to thin it to 1.06.

Hence a bound on blind retries, those made since anything last succeeded, a minute back at the most: 8 % of the calls of
the last minute, and 5 at the least. A share of the calls as in the Google SRE book, ch. 21
(https://sre.google/sre-book/handling-overload/), with a floor as in Finagle's RetryBudget
(https://finagle.github.io/blog/2016/02/08/retry-budgets/), but in force only while nothing succeeds: faults that come
singly do not meet it. And only for a client that has been seen to work, of 20 successes in the minute before: nothing is
known of one that has just begun, and the quota has to do. From 1 call a second on, a minute of outage comes to 1.09
sends for each call at the most. A retry for which the server named the time is not blind: it was answered.

One exception: since a full bucket was last drawn from, three retries for each call that was on its way at a time are
granted, whatever is left, and 120 at the most. That is what a client had in the air when trouble began, a crowd
of thirty that meets two failures each, and it is not asked for a second time.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resilient_client._flow.attempt import Call

__all__ = ["BudgetConfig", "Crowd", "RetryBudget"]

_LATELY = 60.0  # seconds that the second rule looks back
_CALM = 0.9  # of the capacity: from here on, nothing is the matter
_LARGEST_CROWD = 40  # calls


@dataclass(frozen=True, slots=True)
class BudgetConfig:
    """What retries cost, and what pays for them.

    Raises:
        ValueError: a number is out of its range; the message says what is right.
    """

    capacity: int = 500
    """Tokens that the bucket holds; it starts full."""
    transient: int = 14
    """Tokens for a retry after a lost reply, a refused connection or a 5xx."""
    throttled: int = 5
    """Tokens for a retry that the server put off to a time that it named."""
    first_try: int = 1
    """Tokens that a call brings which succeeds at first."""
    min_blind: int = 5
    """Retries since anything succeeded that the slowest client may make."""
    blind_share: float = 0.08
    """Of the calls of the last minute: so many blind retries a faster one may make."""
    min_known: int = 20
    """Successes within a minute after which blind retries are bounded at all."""
    crowd: int = 3
    """Retries for each call that was on its way at a time when trouble began."""

    def __post_init__(self) -> None:
        for name in ("transient", "throttled"):
            price = getattr(self, name)
            if not 1 <= price <= self.capacity:
                raise ValueError(
                    f"{name} must be at least 1 and at most the capacity, {self.capacity} (got {price!r})"
                )
        if self.first_try < 0:
            raise ValueError(f"first_try must be at least 0 (got {self.first_try!r})")
        if self.min_blind < 1:
            raise ValueError(f"min_blind must be at least 1 (got {self.min_blind!r})")
        for name in ("min_known", "crowd"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0 (got {getattr(self, name)!r})")
        if not 0 <= self.blind_share < math.inf:
            raise ValueError(
                f"blind_share must be a share of the calls, 0 or more (got {self.blind_share!r})"
            )


class Crowd:
    """How many calls are on their way to a host at a time, those apart that sleep before a retry.

    It is asked for by each call and each failure, and takes no lock: under many threads it may be off by one for a moment.
    Every call says `crowd.began = crowd.begin()` and, in whatever way it ends, `crowd.ended = crowd.end()`.
    """

    __slots__ = ("_sleep", "_slept", "_wake", "_woke", "began", "begin", "end", "ended")

    def __init__(self) -> None:
        self.begin, self.end = count(1).__next__, count(1).__next__
        self.began = self.ended = 0  # calls so far
        self._sleep, self._wake = count(1).__next__, count(1).__next__
        self._slept = self._woke = 0  # times

    def sleep(self, call: Call) -> None:
        """Note that a call waits before a retry."""
        call.asleep = True
        self._slept = self._sleep()

    def wake(self, call: Call) -> None:
        """Note that it waits no longer, if it did."""
        if call.asleep:
            call.asleep = False
            self._woke = self._wake()

    @property
    def asleep(self) -> int:
        """Calls that wait before a retry."""
        return self._slept - self._woke

    @property
    def size(self) -> int:
        """Calls on their way."""
        return max(0, self.began - self.ended - self.asleep)


class RetryBudget:
    """The budget of all calls to one host. Threads may share it.

    Ask `take` before a retry is waited for. Tell `first_try_succeeded` or, with what the last retry took, `refund` when
    a call succeeds. A call that fails in the end tells nothing: what its retries took stays taken.
    """

    __slots__ = (
        "_before",
        "_blind",
        "_blind_since",
        "_calls",
        "_crowd",
        "_ends",
        "_full",
        "_known",
        "_level",
        "_lock",
        "_taken",
        "config",
    )

    shared = False

    def __init__(self, config: BudgetConfig | None = None) -> None:
        self.config = config if config is not None else BudgetConfig()
        self._lock = threading.Lock()
        self._level = self._full = self.config.capacity
        self._blind = 0  # retries since anything succeeded, of the last minute
        self._blind_since = -math.inf
        self._known = False  # whether it had been seen to work when these began
        # Since a full bucket was last drawn from: retries, and the most calls that were on their way at a time.
        self._taken = self._crowd = 0
        # Calls that succeeded at first, in the minute that is under way and in the one before.
        self._calls = self._before = 0
        self._ends = -math.inf  # of the minute that is under way

    @property
    def level(self) -> int:
        """The tokens in the bucket."""
        return self._level

    def take(self, now: float, *, throttled: bool = False, crowd: int = 1) -> int:
        """Pay for one retry, and give the price for `refund`; 0 where the retry must not be made.

        Args:
            now: monotonic seconds.
            throttled: the server put the retry off to a time that it named, as a 429 with Retry-After does.
            crowd: calls that are on their way at this moment.
        """
        config = self.config
        price = config.throttled if throttled else config.transient
        with self._lock:
            if self._level >= _CALM * config.capacity:
                self._taken = self._crowd = 0
            self._crowd = max(self._crowd, min(crowd, _LARGEST_CROWD))
            in_the_air = self._crowd > 1 and self._taken < config.crowd * self._crowd
            if not in_the_air and (self._level < price or not (throttled or self._may_be_blind(now))):
                return 0
            if not throttled:
                self._count_blind(now)
            self._taken += 1
            self._level = max(0, self._level - price)
            return price

    def refund(self, price: int) -> None:
        """Note that a retry succeeded which took this price."""
        with self._lock:
            self._blind = 0
            self._taken -= self._taken > 0
            self._level = min(self._level + price, self.config.capacity)

    def first_try_succeeded(self, now: float) -> None:
        """Note that a call succeeded at its first attempt."""
        if self._level == self._full and not self._blind and now < self._ends:
            self._calls += (
                1  # without the lock, which costs more than all else: two threads may now and then count one
            )
            return
        with self._lock:
            if now >= self._ends:
                self._turn(now)
            self._calls += 1
            self._blind = 0
            if self._level < self.config.capacity:
                self._level = min(self._level + self.config.first_try, self.config.capacity)

    def _may_be_blind(self, now: float) -> bool:
        if self._begins(now) or not self._known:
            return True
        return self._blind < max(self.config.min_blind, int(self.config.blind_share * self._lately(now)))

    def _begins(self, now: float) -> bool:
        """Tell whether a blind retry would be the first one, or the first of another minute."""
        return not self._blind or now - self._blind_since >= _LATELY

    def _count_blind(self, now: float) -> None:
        if self._begins(now):
            # Once a client has been seen to work it is known, for as long as nothing succeeds.
            self._known = self._lately(now) >= self.config.min_known or (self._blind > 0 and self._known)
            self._blind, self._blind_since = 0, now
        self._blind += 1

    def _lately(self, now: float) -> float:
        """Estimate how many calls succeeded at first within the last minute.

        Those of the minute before the one under way count as if they had come evenly, and so run out evenly.
        """
        if now >= self._ends:
            self._turn(now)
        return self._calls + self._before * (self._ends - now) / _LATELY

    def _turn(self, now: float) -> None:
        if now < self._ends + _LATELY:
            self._before, self._ends = self._calls, self._ends + _LATELY
        else:
            self._before, self._ends = 0, now + _LATELY
        self._calls = 0
