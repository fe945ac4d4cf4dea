"""A bulkhead: so many calls at a time to one host, fixed or learned, and a short queue in front of it.

The laws: never more calls at a time than the limit, however it is used. Whoever waits goes in the order of arrival;
nobody overtakes. A learned limit is lowered once for what one overload broke, and raised only by calls that filled it.
There is no time in it: who waits too long gives up, and how long that is, is the caller's to know.

Sources. The bulkhead and its queue: Polly's concurrency limiter, https://www.pollydocs.org/strategies/rate-limiter. The
learned limit is TCP's congestion window with calls for segments (additive increase, multiplicative decrease), as in
Netflix's concurrency-limits, https://github.com/Netflix/concurrency-limits (AIMDLimit). Closer to TCP than that: one
decrease per round trip and not per failure (RFC 6582, the variable `recover`), an increase of one per round trip and
not per call (RFC 5681 3.1), none while the window is not filled (RFC 7661), a decrease to a share. That share is
AIMDLimit's 0.9 and not the 0.7 of RFC 9438 4.6: a link has a buffer that it empties meanwhile, a server that refuses at
once has none, and would idle.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Adaptive", "Bulkhead", "BulkheadConfig", "Place"]


def _nobody() -> None:
    """Wake nobody: the caller that waits has not said how yet."""


@dataclass(frozen=True, slots=True)
class Adaptive:
    """A limit that is learned from what the host bears.

    Raises:
        ValueError: a number is out of its range; the message says what is right.
    """

    start: int = 20
    """Calls at a time."""
    floor: int = 1
    """Calls at a time, at the least."""
    ceiling: int = 200
    """Calls at a time, at the most."""
    backoff: float = 0.9
    """What an overload leaves of the limit, as a share."""

    def __post_init__(self) -> None:
        if not 1 <= self.floor <= self.start <= self.ceiling:
            raise ValueError(
                "floor, start and ceiling must be at least 1, each at least the one before "
                f"(got {self.floor!r}, {self.start!r}, {self.ceiling!r})"
            )
        if not 0 < self.backoff < 1:
            raise ValueError(f"backoff must be a share above 0, below 1 (got {self.backoff!r})")


@dataclass(frozen=True, slots=True)
class BulkheadConfig:
    """How many calls at a time, and how many may wait.

    Raises:
        ValueError: a number is out of its range; the message says what is right.
    """

    limit: int | Adaptive = Adaptive()
    """Calls at a time, or how to learn that."""
    queue: int = 1000
    """Callers that may wait; the next one is refused."""

    def __post_init__(self) -> None:
        limit: object = self.limit  # whatever a caller without types gives
        if not isinstance(limit, Adaptive) and not (isinstance(limit, int) and limit >= 1):
            raise ValueError(f"limit must be at least 1 (got {self.limit!r})")
        if self.queue < 0:
            raise ValueError(f"queue must be at least 0 (got {self.queue!r})")


class Place:
    """A caller's place: in front of the bulkhead, or within it. Given back once; giving it back again does nothing."""

    __slots__ = ("round", "state", "wake")

    def __init__(self, state: Literal["waiting", "granted"], round_: int) -> None:
        self.state: Literal["waiting", "granted", "released"] = state
        self.round = round_  # how often the limit had been lowered when it was granted
        self.wake: Callable[[], object] = (
            _nobody  # called when a waiting place is granted, by whoever made room
        )


class Bulkhead:
    """The bulkhead of one host, for any number of threads and tasks."""

    def __init__(self, config: BulkheadConfig) -> None:
        limit, queue = config.limit, config.queue
        self._adaptive = limit if isinstance(limit, Adaptive) else None
        self._limit = limit.start if isinstance(limit, Adaptive) else limit
        self._filled = 0  # calls that worked and filled the limit, since it last changed
        self._queue = queue
        self._lock = threading.Lock()
        self._granted = 0
        self._round = 0
        self._waiting: OrderedDict[Place, None] = OrderedDict()

    @property
    def limit(self) -> int:
        """Calls at a time, as it stands."""
        return self._limit

    @property
    def in_use(self) -> int:
        """Places that are granted and not given back."""
        return self._granted

    @property
    def waiting(self) -> int:
        """Callers in the queue."""
        return len(self._waiting)

    def acquire(self) -> Place | None:
        """Take a place: `granted`, or `waiting` until a `release` tells it; None: refused, the queue is full too."""
        with self._lock:
            if self._granted < self._limit:  # then nobody waits
                self._granted += 1
                return Place("granted", self._round)
            if len(self._waiting) >= self._queue:
                return None
            place = Place("waiting", self._round)
            self._waiting[place] = None
            return place

    def release(self, place: Place, *, overloaded: bool | None = None) -> list[Place]:
        """Give a place back, and get those that may go now; their callers are to be woken.

        A caller that waits no longer gives its place back as well, whether or not it has been granted meanwhile.

        Args:
            place: the place.
            overloaded: what the call says of the host. True: it had too much (429, 503). False: it bore it.
                None: nothing, for the call was cancelled or failed otherwise.
        """
        with self._lock:
            state, place.state = place.state, "released"
            if state == "waiting":
                del self._waiting[place]
                return []
            if state == "released":
                return []
            if self._adaptive is not None and overloaded is not None and place.round == self._round:
                self._learn(self._adaptive, overloaded=overloaded)
            self._granted -= 1
            if not self._waiting:
                return []
            return self._grant()

    def _learn(self, adaptive: Adaptive, *, overloaded: bool) -> None:
        """Adapt the limit to a call of this round; one that was under way when it was lowered knows nothing new."""
        if overloaded:
            self._round += 1
            self._limit = max(int(self._limit * adaptive.backoff), adaptive.floor)
            self._filled = 0
        elif self._granted >= self._limit:  # it is filled: that the host bears this much says something
            self._filled += 1
            if self._filled >= self._limit:  # as many as go in one round trip
                self._limit = min(self._limit + 1, adaptive.ceiling)
                self._filled = 0

    def _grant(self) -> list[Place]:
        """Let as many go as there is room for now, the first who came first."""
        going = []
        while self._waiting and self._granted < self._limit:
            place, _ = self._waiting.popitem(last=False)
            place.state, place.round = "granted", self._round
            self._granted += 1
            going.append(place)
        return going
