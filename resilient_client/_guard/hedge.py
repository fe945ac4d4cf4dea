"""Hedging: where an answer is late, send the request once more and take the answer that comes first.

The laws: one knob, the extra load that is allowed, and over no long stretch is it exceeded. Nothing is hedged before
enough is known. No clock: `now` (monotonic seconds) comes in. Only what may be sent twice is hedged (safe methods,
keyed requests), which is the caller's to know.

The delay follows from the knob: where a twentieth more is allowed, the twentieth of the requests that take longest are
hedged, and the others are answered before their delay is over. The budget is for the times when yesterday's delay is
wrong, as in an overload: then all would be hedged, and a twentieth is.

Sources. "The Tail at Scale" (Dean, Barroso; Communications of the ACM 56/2): a second request after the 95th
percentile. One knob, a windowed histogram, two budgets, which durations are to be learned from: Finagle's
BackupRequestFilter,
https://twitter.github.io/finagle/docs/com/twitter/finagle/client/BackupRequestFilter$.html. The buckets: HdrHistogram,
https://hdrhistogram.github.io/HdrHistogram/.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Hedge", "HedgeConfig"]

_LONGEST = 3600.0  # seconds: what takes longer counts as this long
_MOST = 3_600_000_000  # microseconds: the same
_LOOK_AGAIN = 1.0  # seconds for which a delay that was worked out holds


@dataclass(frozen=True, slots=True)
class HedgeConfig:
    """How much more may be sent, and what the delay is learned from.

    Raises:
        ValueError: a number is out of its range; the message says what is right.
    """

    extra_load: float = 0.05
    """Hedges, as a share of the requests; their delay is the percentile 1 - extra_load."""
    burst: float = 10.0
    """Hedges that may be saved up."""
    min_samples: int = 100
    """Durations before there is a delay."""
    window: float = 30.0
    """Seconds of a generation of durations; the one before it counts too."""
    min_delay: float = 0.001
    """Seconds: the shortest delay."""

    def __post_init__(self) -> None:
        if not 0 < self.extra_load <= 0.5:
            raise ValueError(f"extra_load must be a share above 0, at most 0.5 (got {self.extra_load!r})")
        if not 1 <= self.burst < math.inf:
            raise ValueError(f"burst must be at least 1 (got {self.burst!r})")
        if self.min_samples < 1:
            raise ValueError(f"min_samples must be at least 1 (got {self.min_samples!r})")
        if not 0 < self.window < math.inf:
            raise ValueError(f"window must be seconds above 0 (got {self.window!r})")
        if not 0 < self.min_delay < math.inf:
            raise ValueError(f"min_delay must be seconds above 0 (got {self.min_delay!r})")


class _Recent:
    """The durations of this generation and the one before, counted in buckets a thirty-second of their value wide."""

    __slots__ = ("_before", "_window", "counts", "ends")

    def __init__(self, window: float) -> None:
        self._window = window
        self.counts: dict[int, int] = {}  # by bucket, of which there are fewer than 900
        self._before: dict[int, int] = {}
        self.ends = -math.inf  # monotonic seconds when the next generation begins

    def move_on(self, now: float) -> None:
        """Begin a generation; after a pause as long as one, nothing is left of those before."""
        self._before = self.counts if now < self.ends + self._window else {}
        self.counts = {}
        self.ends = now + self._window

    def reached_by(self, share: float, at_least: int) -> float | None:
        """Find the seconds that at most this share of the durations reaches; None: fewer are known than `at_least`."""
        both = dict(self._before)
        for bucket, count in self.counts.items():
            both[bucket] = both.get(bucket, 0) + count
        total = sum(both.values())
        if total < at_least:
            return None
        slowest_first = sorted(both, reverse=True)
        so_far = accumulate(both[bucket] for bucket in slowest_first)
        too_much = share * total
        first = next(b for b, count in zip(slowest_first, so_far, strict=True) if count > too_much)
        return _begin(first + 1)  # no duration in that bucket reaches its end


def _bucket(took: float) -> int:
    """Find the bucket of so many seconds: each microsecond has its own up to 64, from there on each doubling has 32."""
    micros = int(took * 1e6) if took < _LONGEST else _MOST
    shift = micros.bit_length() - 6
    return micros if shift <= 0 else (shift << 5) + (micros >> shift)


def _begin(bucket: int) -> float:
    """Give the seconds at which a bucket begins."""
    shift = max(0, (bucket >> 5) - 1)
    return ((bucket - (shift << 5)) << shift) / 1e6


class Hedge:
    """The hedging of one host, for any number of threads and tasks. It knows nothing at first.

    A caller asks `delay` when it sends a request and, if no answer has come by then, `may_hedge`. When the request has
    ended, it tells `observe`.
    """

    def __init__(self, config: HedgeConfig | None = None) -> None:
        self.config = config if config is not None else HedgeConfig()
        self._lock = threading.Lock()
        self._recent = _Recent(self.config.window)
        self._saved = 0.0  # hedges that may be sent
        # Until when the delay holds that was worked out last, and the delay.
        self._told: tuple[float, float | None] = (-math.inf, None)

    def delay(self, now: float) -> float | None:
        """Tell after how many seconds without an answer to hedge; None: not at all, too little is known."""
        until, delay = self._told
        if now < until:
            return delay
        with self._lock:
            if now >= self._recent.ends:
                self._recent.move_on(now)
            reached = self._recent.reached_by(self.config.extra_load, self.config.min_samples)
            delay = None if reached is None else max(reached, self.config.min_delay)
            self._told = (now + _LOOK_AGAIN, delay)
        return delay

    def may_hedge(self, spend: Callable[[], bool] | None = None) -> bool:
        """Take one hedge out of both budgets, or neither.

        `spend` is asked, outside of any lock, where the extra load allows a hedge: it takes one retry out of a budget
        that hedges and retries share, or returns False.
        """
        with self._lock:
            if self._saved < 1.0:
                return False
            self._saved -= 1.0
        if spend is None or spend():
            return True
        with self._lock:
            self._saved = min(self._saved + 1.0, self.config.burst)
        return False

    def observe(self, now: float, took: float) -> None:
        """Learn how many seconds a request took; its hedge is not told of.

        One that its hedge overtook is told of with the time until it was let go: that it took longer is all that
        matters, and without it the slow ones would never be heard of and the delay would sink. One that failed fast is
        not: it says nothing of answers.
        """
        bucket = _bucket(took)
        recent, burst = self._recent, self.config.burst
        with self._lock:
            if now >= recent.ends:
                recent.move_on(now)
            recent.counts[bucket] = recent.counts.get(bucket, 0) + 1
            if self._saved < burst:
                self._saved = min(self._saved + self.config.extra_load, burst)
