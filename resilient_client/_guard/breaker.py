"""A circuit breaker: when a host fails, ask it rarely, and let those who can wait go on together when it works again.

The laws: a closed breaker costs a caller next to nothing. Nothing leaves it stuck: a probe is a lease, and a lease
ends. What began before the breaker last changed its state counts no more. A server's Retry-After is a lower bound of
the time that it stays open. No clock, no sleep, no randomness: `now` (monotonic seconds) comes in, answers go out.

             enough failed, or too many in a row
    closed --------------------------------------> open <---+
      ^                                              |      | a probe failed: open for longer
      |            enough probes worked              v      |
      +----------------------------------------- half-open -+

Sources. Failure rate over a time window with a minimum of calls: Polly,
https://www.pollydocs.org/strategies/circuit-breaker. Slow calls counted by a rate of their own: resilience4j,
https://resilience4j.readme.io/docs/circuitbreaker; what a probe that never reports does to it without leases:
https://github.com/resilience4j/resilience4j/issues/544, /935. A run of failures beside the rate, because a window full
of earlier successes is slow to fill with failures: Finagle's hybrid FailureAccrualPolicy. Only probes while half-open:
https://github.com/smallrye/smallrye-fault-tolerance/pull/323. Load that comes back evenly: Envoy's slow start,
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["Breaker", "BreakerConfig", "Open", "Parked", "Permit", "State", "Ticket"]

State = Literal["closed", "open", "half_open"]

_SETTLED = -1  # the epoch of a permit that has been counted


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """When a breaker opens, for how long, and how it closes again.

    Raises:
        ValueError: a number is out of its range; the message says what is right.
    """

    window: float = 10.0
    """Seconds that are looked back on."""
    buckets: int = 10
    """Parts of the window: it moves on by one of them at a time."""
    min_calls: int = 20
    """Calls in the window before its rates mean anything."""
    failure_rate: float = 0.5
    """Share of the calls in the window; from this one on it opens."""
    in_a_row: int | None = 20
    """Failures with no success between them that open it, whatever the window holds."""
    slow_after: float | None = None
    """Seconds that make a call that worked a slow one; None: no call is slow."""
    slow_rate: float = 0.8
    """Share of the calls in the window that were slow; from this one on it opens."""
    open_for: float = 1.0
    """Seconds that it stays open the first time."""
    growth: float = 2.0
    """Times as long after each probe that failed."""
    max_open_for: float = 10.0
    """Seconds at the most, a server's Retry-After and the jitter apart."""
    max_retry_after: float = 300.0
    """Seconds at the most that a server's Retry-After keeps it open."""
    jitter: float = 0.2
    """Share of the open time that may be added to it."""
    probes: int = 1
    """Calls at a time while it is half-open."""
    lease: float = 10.0
    """Seconds after which a probe that has not reported makes room for another."""
    successes: int = 2
    """Probes that must work before it closes."""
    max_parked: int = 10_000
    """Callers that may wait."""
    ramp: float = 10.0
    """Seconds over which those who waited are let go."""
    park: bool = False
    """Let callers wait that have a deadline, and not only those that ask for it."""

    def __post_init__(self) -> None:
        for name in ("buckets", "min_calls", "probes", "successes"):
            _require(name, getattr(self, name) >= 1, "at least 1", getattr(self, name))
        for name in ("window", "open_for", "lease", "ramp"):
            _require(name, 0 < getattr(self, name) < math.inf, "seconds above 0", getattr(self, name))
        for name in ("failure_rate", "slow_rate"):
            _require(name, 0 < getattr(self, name) <= 1, "a share above 0, at most 1", getattr(self, name))
        _require(
            "in_a_row", self.in_a_row is None or self.in_a_row >= 1, "at least 1, or None", self.in_a_row
        )
        _require(
            "slow_after",
            self.slow_after is None or 0 < self.slow_after < math.inf,
            "seconds above 0, or None",
            self.slow_after,
        )
        _require("growth", 1 <= self.growth < math.inf, "at least 1", self.growth)
        _require(
            "max_open_for",
            self.open_for <= self.max_open_for < math.inf,
            f"at least open_for, {self.open_for} seconds",
            self.max_open_for,
        )
        _require(
            "max_retry_after",
            0 <= self.max_retry_after < math.inf,
            "seconds, at least 0",
            self.max_retry_after,
        )
        _require("jitter", 0 <= self.jitter <= 1, "a share from 0 to 1", self.jitter)
        _require("max_parked", self.max_parked >= 0, "at least 0", self.max_parked)


def _require(name: str, holds: bool, right: str, got: object) -> None:  # noqa: FBT001 - the check itself
    if not holds:
        raise ValueError(f"{name} must be {right} (got {got!r})")


class Permit:
    """Leave to send one request. Whoever has it tells once how that went; what is told after that is not heard.

    Each of the three returns True where callers that are parked should look again now, and not wait for their
    `look_at`.
    """

    __slots__ = ("breaker", "epoch")

    def __init__(self, breaker: Breaker, epoch: int) -> None:
        self.breaker = breaker
        self.epoch = epoch  # between two changes of the breaker's state: it counts in its own only

    def succeeded(self, now: float, took: float = 0.0) -> bool:
        """Tell that the host worked, and how many seconds the call took."""
        return self.breaker.succeeded(self, now, took)

    def failed(self, now: float, retry_after: float | None = None) -> bool:
        """Tell that the host failed, and the seconds from now that it asked for, if it did."""
        return self.breaker.failed(self, now, retry_after)

    def cancelled(self, now: float) -> bool:
        """Tell that nothing is known: the call was cancelled, or its answer says nothing about the host."""
        return self.breaker.cancelled(self, now)

    def stands(self, now: float) -> bool:
        """Tell whether it still means what it meant, for a request that has had to wait since: else ask again."""
        return self.breaker.stands(self, now)


class Ticket:
    """A caller's place among the parked."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = math.inf  # monotonic seconds when it may go, once the breaker has closed


class Open(NamedTuple):
    """The host is not to be asked now."""

    retry_at: float  # monotonic seconds: by then it is worth asking again


class Parked(NamedTuple):
    """Wait with the others until a probe has worked."""

    ticket: Ticket
    look_at: float  # monotonic seconds: ask `ticket_ready` then, or when a permit's report says to look again


class _Window:
    """What was counted in the last seconds, in buckets; the oldest goes as the newest comes."""

    __slots__ = ("_buckets", "_tick", "_width", "ends", "newest")

    def __init__(self, seconds: float, buckets: int) -> None:
        self._width = seconds / buckets
        self._buckets = deque([[0, 0, 0]] * buckets, maxlen=buckets)  # worked, of them slow, failed
        self.newest = self._buckets[-1]
        self.ends = self._tick = -math.inf  # when the newest is full; which one that is

    def move_on(self, now: float) -> None:
        """Begin the bucket that `now` is in."""
        tick = now // self._width
        self._buckets.extend([0, 0, 0] for _ in range(int(min(tick - self._tick, len(self._buckets)))))
        self._tick = tick
        self.newest = self._buckets[-1]
        self.ends = (tick + 1) * self._width

    def totals(self) -> tuple[int, int, int]:
        """Add up: calls, of them failed, of them slow."""
        worked, slow, failed = map(sum, zip(*self._buckets, strict=True))
        return worked + failed, failed, slow


class Breaker:
    """The breaker of one host, for any number of threads and tasks.

    Which outcomes are failures is the caller's to say: errors of the network, 5xx and overload are; a 4xx is a host
    that works.
    """

    shared = False

    def __init__(self, config: BreakerConfig | None = None, chance: float = 0.0) -> None:
        """Make a closed breaker.

        `chance` is a random number in [0, 1), drawn once: how much of the jitter this breaker adds to each of its open
        times, so that processes which saw the same failure do not probe in step.
        """
        self.config = config = config if config is not None else BreakerConfig()
        self._stretch = 1.0 + config.jitter * chance
        self._slow_after = math.inf if config.slow_after is None else config.slow_after
        self._longest_run = math.inf if config.in_a_row is None else config.in_a_row
        self._lock = threading.Lock()
        self._epoch = 0
        self._free: int | None = 0  # the epoch, while it is closed and nobody waits
        self._until: float | None = None  # monotonic seconds; None: closed
        # While closed.
        self._window = _Window(config.window, config.buckets)
        self._run = 0  # failures since the last success
        self._asked_until = -math.inf  # what a server asked for by Retry-After, no success since
        self._closed_at = -math.inf
        # While open or half-open.
        self._open_for = 0.0  # seconds: the last open time, without jitter
        self._probing: dict[Permit, float] = {}  # when their leases end; at most `probes` of them
        self._worked = 0  # probes
        self._waiting: dict[Ticket, None] = {}  # in the order in which they came

    @property
    def epoch(self) -> int:
        """A number that changes whenever the breaker opens or closes."""
        return self._epoch

    def state(self, now: float) -> State:
        """Tell the state. Where an open time has passed it is half-open, though nobody has asked yet."""
        with self._lock:
            if self._until is None:
                return "closed"
            return "open" if now < self._until else "half_open"

    def admit(self, now: float, *, park: bool = False) -> Permit | Open | Parked:
        """Let a request be sent, or not; with `park`, let its caller wait for better times.

        Whoever gets a Permit reports by it. Whoever is Parked asks `ticket_ready`, or calls `leave`.
        """
        epoch = self._free
        if epoch is not None:  # read once, without the lock: a moment ago the answer would have been the same
            return Permit(self, epoch)
        with self._lock:
            permit = self._permit(now)
            if permit is None:
                look_at = self._look_at(now)
                if not park or len(self._waiting) >= self.config.max_parked:
                    return Open(look_at)
                ticket = Ticket()
            else:
                look_at = self._newcomers_turn(now)
                if look_at <= now or not park or len(self._waiting) >= self.config.max_parked:
                    return permit
                ticket = Ticket()
                ticket.at = look_at
            self._waiting[ticket] = None
            return Parked(ticket, look_at)

    def ticket_ready(self, ticket: Ticket, now: float) -> Permit | Parked:
        """Let a parked caller go, or tell when to look again. Who has a permit, or has left, asks no more."""
        with self._lock:
            if self._until is None and now < ticket.at and self._ramping(now):
                return Parked(ticket, ticket.at)
            permit = self._permit(now)
            if permit is not None:
                self._waiting.pop(ticket, None)
                return permit
            # One that slept through a whole recovery waits again, as the last.
            self._waiting.setdefault(ticket)
            return Parked(ticket, self._look_at(now))

    def leave(self, ticket: Ticket) -> None:
        """Take a parked caller out who waits no longer."""
        with self._lock:
            self._waiting.pop(ticket, None)

    def stands(self, permit: Permit, now: float) -> bool:
        """Tell whether a request may still be sent by this permit; see `Permit`."""
        with self._lock:
            if permit.epoch != self._epoch:
                return False
            return self._until is None or now < self._probing.get(permit, -math.inf)

    # ---------------------------------------------------------------------------------- what permits report

    def succeeded(self, permit: Permit, now: float, took: float = 0.0) -> bool:
        """Count a success; see `Permit`."""
        with self._lock:
            epoch, permit.epoch = permit.epoch, _SETTLED
            if epoch != self._epoch:
                return False
            slow = took >= self._slow_after
            if self._until is not None:
                # A slow probe is no sign that a host which was shut for being slow is well again.
                return self._probed(permit, now, well=not slow)
            window = self._window
            if now >= window.ends:
                window.move_on(now)
            window.newest[0] += 1
            if self._run:
                self._run = 0
                self._asked_until = -math.inf
            if not slow:
                return False
            window.newest[1] += 1
            calls, _, slow_ones = window.totals()
            return self._judge(now, calls, too_many=slow_ones >= self.config.slow_rate * calls)

    def failed(self, permit: Permit, now: float, retry_after: float | None = None) -> bool:
        """Count a failure; see `Permit`."""
        with self._lock:
            epoch, permit.epoch = permit.epoch, _SETTLED
            if epoch == _SETTLED:
                return False
            if retry_after is not None:
                self._hear(now, retry_after, epoch)
            if epoch != self._epoch:
                return False
            if self._until is not None:
                return self._probed(permit, now, well=False)
            window = self._window
            if now >= window.ends:
                window.move_on(now)
            window.newest[2] += 1
            self._run += 1
            if self._run >= self._longest_run:
                return self._open(now)
            calls, failures, _ = window.totals()
            return self._judge(now, calls, too_many=failures >= self.config.failure_rate * calls)

    def cancelled(self, permit: Permit, now: float) -> bool:
        """Count nothing, and make room where it was a probe; see `Permit`."""
        with self._lock:
            epoch, permit.epoch = permit.epoch, _SETTLED
            if epoch != self._epoch or self._until is None:
                return False
            self._probing.pop(permit, None)  # its lease may have ended
            return bool(self._waiting) and now >= self._until

    # ------------------------------------------------------------------------------------- under the lock

    def _permit(self, now: float) -> Permit | None:
        """Give leave where the breaker is closed, or half-open with room for one more probe."""
        if self._until is None:
            return Permit(self, self._epoch)
        if now < self._until:
            return None
        if len(self._probing) >= self.config.probes:
            self._probing = {permit: end for permit, end in self._probing.items() if now < end}
            if len(self._probing) >= self.config.probes:
                return None
        permit = Permit(self, self._epoch)
        self._probing[permit] = now + self.config.lease
        return permit

    def _look_at(self, now: float) -> float:
        """Tell when the answer changes if nobody reports before."""
        if self._until is not None and now < self._until:
            return self._until
        return min(self._probing.values())

    def _ramping(self, now: float) -> bool:
        """Tell whether those who waited are still being let go; end it when the last of them is due."""
        if self._free is None and now >= self._closed_at + self.config.ramp:
            self._waiting.clear()  # all are due, and who has not looked yet is let through when it does
            self._free = self._epoch
        return self._free is None

    def _newcomers_turn(self, now: float) -> float:
        """Tell when a caller goes that arrives now: at once, or behind those who are being let go.

        Those who waited go at a rate that grows evenly from nothing, the k-th of n at ramp * sqrt(k / n). The same root
        spreads those who arrive meanwhile: none waits for longer than a quarter of the ramp, and at its end nobody
        waits.
        """
        if self._until is not None or not self._ramping(now):
            return now
        # Another thread may have closed it after this one read the clock.
        return self._closed_at + math.sqrt(max(0.0, now - self._closed_at) * self.config.ramp)

    def _hear(self, now: float, retry_after: float, epoch: int) -> None:
        """Stay open for as long as the server asks; while closed, remember it in case this run of failures opens it."""
        asked_until = now + min(retry_after, self.config.max_retry_after) * self._stretch
        if self._until is not None:
            self._until = max(self._until, asked_until)
        elif epoch == self._epoch:
            self._asked_until = max(self._asked_until, asked_until)

    def _judge(self, now: float, calls: int, *, too_many: bool) -> bool:
        if too_many and calls >= self.config.min_calls:
            return self._open(now)
        return False

    def _probed(self, permit: Permit, now: float, *, well: bool) -> bool:
        """Close after enough probes that worked, open again after one that did not."""
        if not well:
            return self._open(now)
        self._probing.pop(permit, None)  # its lease may have ended
        self._worked += 1
        if self._worked >= self.config.successes:
            self._close(now)
        return bool(self._waiting)

    def _open(self, now: float) -> bool:
        """Open, and tell whether somebody waits who should look again."""
        config = self.config
        # What fails again shortly after it closed was not well: its open times go on growing.
        again = self._until is not None or now - self._closed_at < config.window
        self._open_for = (
            min(self._open_for * config.growth, config.max_open_for) if again else config.open_for
        )
        asked_until = self._asked_until if self._until is None else self._until
        self._until = max(now + self._open_for * self._stretch, asked_until)
        self._epoch += 1
        self._free = None
        self._probing.clear()
        self._worked = 0
        return bool(self._waiting)

    def _close(self, now: float) -> None:
        """Close, and tell each who waits its turn."""
        config = self.config
        self._until = None
        self._probing.clear()
        self._closed_at = now
        self._run = 0
        self._window = _Window(config.window, config.buckets)
        self._epoch += 1
        self._free = None if self._waiting else self._epoch
        for place, ticket in enumerate(self._waiting):
            ticket.at = now + config.ramp * math.sqrt(place / len(self._waiting))
