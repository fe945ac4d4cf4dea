"""A circuit breaker for many processes: what all of them saw of a host, kept by the server (`breaker.lua`).

It is asked and told as `Breaker` is, and answers alike, but for this: what it was a moment ago it is taken to be still, so
that a closed breaker costs no question, and an open one hardly any. Failures are told at once, and so is the success that
ends a run of them; other successes with the next question, after 50 of them or after a second.

While the server is away each process goes by a breaker of its own, which begins closed. A server that has lost its data
has a closed breaker, too; what permits and tickets from before say then is not heard.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import uuid
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from resilient_client._guard.breaker import Breaker, BreakerConfig, Open, Parked, Permit, Ticket

from .link import Script, StoreAwayError, micro

if TYPE_CHECKING:
    from resilient_client._guard.breaker import State

    from .link import Link, Times

__all__ = ["SharedBreaker"]

_A_MOMENT = 0.25  # seconds for which the last answer of the server is taken to be true
_MANY = 50  # successes that are told at once
_A_WHILE = 1.0  # seconds at the most that a success waits to be told while calls go on
_SETTLED = -1  # the epoch of a permit that has been counted

_SCRIPT = Script("breaker.lua")


class _SharedPermit(Permit):
    """Leave to send one request, by its name on the server; '' where the breaker was closed."""

    __slots__ = ("ends", "name")

    def __init__(self, breaker: SharedBreaker, epoch: int, name: str, ends: float = -math.inf) -> None:
        super().__init__(cast("Breaker", breaker), epoch)  # it is told the same, in the same words
        self.name = name
        self.ends = ends  # a probe's lease, in monotonic seconds


class _SharedTicket(Ticket):
    """A caller's place among the parked, by its name on the server."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class SharedBreaker:
    """The breaker of one host, for all processes that name it alike. Threads may share it; see `Breaker`.

    Its questions block, for the timeout of the store at the most.
    """

    shared = True

    def __init__(  # noqa: PLR0913 - the parts that its store has
        self,
        link: Link,
        keys: str,
        config: BreakerConfig | None,
        chance: float,
        *,
        times: Times,
        local: bool,
    ) -> None:
        self.config = config = config if config is not None else BreakerConfig()
        self._link, self._times, self._goes_on, self._chance = link, times, local, chance
        self._slow_after = math.inf if config.slow_after is None else config.slow_after
        self._keys = [f"{keys}:{part}" for part in ("state", "waiting", "looks", "dues", "probes")]
        # What a bucket of the window counts is told while it is the newest.
        self._a_while = min(_A_WHILE, config.window / config.buckets)
        lasts = (config.window, config.max_open_for, config.max_retry_after, config.lease, config.ramp)
        self._numbers = (
            micro(config.window),
            config.buckets,
            config.min_calls,
            config.failure_rate,
            "" if config.in_a_row is None else config.in_a_row,
            config.slow_rate,
            micro(config.open_for),
            config.growth,
            micro(config.max_open_for),
            micro(config.max_retry_after),
            config.probes,
            micro(config.lease),
            config.successes,
            config.max_parked,
            micro(config.ramp),
            1.0 + config.jitter * chance,
            math.ceil(2000 * max(lasts)) + 60_000,  # milliseconds for which the server remembers it
        )
        self._begin()
        _ALIVE.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._owner = uuid.uuid4().hex
        self._count = itertools.count()
        self._now = -math.inf  # the latest time that anybody told
        # What the server said last, and until when that is taken to be true.
        self._true_until = -math.inf
        self._until: float | None = None  # monotonic seconds when the open time ends; None: closed
        self._free = False  # it is closed, and nobody waits
        self._epoch = 0
        self._troubled = False  # the last call that was told of failed
        # Successes that are to be told, and when the oldest and the newest were.
        self._worked = 0
        self._worked_from = self._worked_to = -math.inf
        self._alone: Breaker | None = None  # while the server is away

    @property
    def epoch(self) -> int:
        """A number that changes when it is heard that the breaker has opened or closed."""
        return self._epoch

    def state(self, now: float) -> State:
        """Tell the state at that time, as things stand; see `Breaker.state`.

        Raises:
            StoreAwayError: the server is away, and this process is not to go on alone.
        """
        asked_at = max(self._now, self._times.monotonic())
        if asked_at >= self._true_until:
            try:
                self._ask(asked_at, "tell")
            except StoreAwayError as away:
                return self._by_itself(away).state(now)
        until = self._until
        if until is None:
            return "closed"
        return "open" if now < until else "half_open"

    def admit(self, now: float, *, park: bool = False) -> Permit | Open | Parked:
        """Let a request be sent, or not; see `Breaker.admit`.

        Raises:
            StoreAwayError: as from `state`.
        """
        with self._lock:
            if now < self._true_until:
                if self._free:
                    return _SharedPermit(self, self._epoch, "")
                if self._until is not None and now < self._until and not park:
                    return Open(self._until)
        name = self._name()
        try:
            word, at, _ = self._ask(now, "admit", name, int(park))
        except StoreAwayError as away:
            return self._by_itself(away).admit(now, park=park)
        if word == "open":
            return Open(at)
        return self._parked(_SharedTicket(name), at) if word == "parked" else self._permit(word, name, now)

    def ticket_ready(self, ticket: Ticket, now: float) -> Permit | Parked:
        """Let a parked caller go, or tell when to look again; see `Breaker.ticket_ready`.

        Raises:
            StoreAwayError: as from `state`.
        """
        name = self._name()
        place = (
            ticket if isinstance(ticket, _SharedTicket) else _SharedTicket(name)
        )  # else parked without the server
        try:
            word, at, _ = self._ask(now, "ready", place.name, name)
        except StoreAwayError as away:
            return self._ready_alone(ticket, now, away)
        return self._parked(place, at) if word == "parked" else self._permit(word, name, now)

    def leave(self, ticket: Ticket) -> None:
        """Take a parked caller out who waits no longer."""
        if isinstance(ticket, _SharedTicket):
            with suppress(StoreAwayError):  # it is forgotten in a while
                self._ask(self._now, "leave", ticket.name)
        elif (alone := self._alone) is not None:
            alone.leave(ticket)

    def stands(self, permit: Permit, now: float) -> bool:
        """Tell whether a request may still be sent by this permit; see `Permit`.

        Raises:
            StoreAwayError: as from `state`.
        """
        if now >= self._true_until:
            try:
                self._ask(now, "tell")
            except StoreAwayError as away:
                self._by_itself(away)
                return False  # it was given by the server: ask anew
        ends = cast("_SharedPermit", permit).ends
        return permit.epoch == self._epoch and (self._until is None or now < ends)

    # ---------------------------------------------------------------------------------- what permits report

    def succeeded(self, permit: Permit, now: float, took: float = 0.0) -> bool:
        """Count a success; see `Permit`."""
        name, epoch = self._settle(permit)
        slow = took >= self._slow_after
        with self._lock:
            now = self._now = max(self._now, now)
            if epoch == _SETTLED:
                return False
            if not name and not slow and not self._troubled:
                if epoch != self._epoch:
                    return False
                if not self._worked:
                    self._worked_from = now
                self._worked += 1
                self._worked_to = now
                if self._worked < _MANY and now - self._worked_from < self._a_while:
                    return False
                words: tuple[object, ...] = ("tell",)
            else:
                words = "succeeded", name, epoch, int(slow)
        return self._tell(now, *words)

    def failed(self, permit: Permit, now: float, retry_after: float | None = None) -> bool:
        """Count a failure; see `Permit`."""
        name, epoch = self._settle(permit)
        if epoch == _SETTLED:
            return False
        return self._tell(now, "failed", name, epoch, "" if retry_after is None else micro(retry_after))

    def cancelled(self, permit: Permit, now: float) -> bool:
        """Count nothing, and make room where it was a probe; see `Permit`."""
        name, epoch = self._settle(permit)
        if epoch == _SETTLED or not name:
            return False
        return self._tell(now, "cancelled", name, epoch)

    def _settle(self, permit: Permit) -> tuple[str, int]:
        with self._lock:
            epoch, permit.epoch = permit.epoch, _SETTLED
        return cast("_SharedPermit", permit).name, epoch

    # ------------------------------------------------------------------------------------------- the server

    def _name(self) -> str:
        return f"{self._owner}:{next(self._count)}"

    def _permit(self, word: str, name: str, now: float) -> Permit:
        if word != "probe":
            return _SharedPermit(self, self._epoch, "")
        return _SharedPermit(self, self._epoch, name, now + self.config.lease)

    def _parked(self, ticket: Ticket, at: float) -> Parked:
        ticket.at = at
        return Parked(ticket, at)

    def _tell(self, now: float, *words: object) -> bool:
        try:
            return self._ask(now, *words)[2]
        except StoreAwayError:
            return False

    def _ask(self, now: float, *question: object) -> tuple[str, float, bool]:
        """Tell what worked, and ask: a word, a time, and whether the parked should look."""
        with self._lock:
            now = self._now = max(self._now, now)
            worked, self._worked = self._worked, 0
            age = micro(now - self._worked_to) if worked else 0
            told = (worked, self._epoch, age)
        try:
            answer = self._link.ask(
                _SCRIPT, self._keys, (self._times.stamp(now), *self._numbers, *told, *question)
            )
        except StoreAwayError:
            self._true_until = -math.inf
            raise
        word, wait, epoch, left, run, woken, free = answer
        with self._lock:
            self._alone = None
            self._epoch, self._troubled, self._free = epoch, run > 0, bool(free)
            self._until = None if left < 0 else now + left / 1e6
            self._true_until = now + _A_MOMENT
        return word.decode(), now + wait / 1e6, bool(woken)

    def _by_itself(self, away: StoreAwayError) -> Breaker:
        if not self._goes_on:
            raise away
        with self._lock:
            if self._alone is None:
                self._alone = Breaker(self.config, self._chance)
            return self._alone

    def _ready_alone(self, ticket: Ticket, now: float, away: StoreAwayError) -> Permit | Parked:
        alone = self._by_itself(away)
        if not isinstance(ticket, _SharedTicket):
            return alone.ticket_ready(ticket, now)
        answer = alone.admit(now, park=True)
        return Parked(ticket, answer.retry_at) if isinstance(answer, Open) else answer


_ALIVE: weakref.WeakSet[SharedBreaker] = weakref.WeakSet()


def _after_fork() -> None:
    for breaker in list(_ALIVE):
        breaker._begin()  # noqa: SLF001 - this module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
