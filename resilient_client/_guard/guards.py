"""Which engines protect a call: one set for each API, host and scope, shared by all clients of a process that are set up alike.

Law of this file: it finds, and decides nothing. Each clock is a world of its own, so that a test with a virtual clock
meets nothing of another's; a forked worker begins anew.
"""

from __future__ import annotations

import os
import random
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from .breaker import Breaker
from .budget import Crowd, RetryBudget
from .bulkhead import Bulkhead
from .hedge import Hedge
from .pace import Pacer
from .settings import UNPROTECTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_client._flow.rulebook import Rulebook

    from .settings import Paced, Protections

__all__ = ["Guard", "Guards", "forget_all"]

_MOST_HOSTS = 4096  # whose engines are kept; beyond that, the oldest begin anew

_Key = tuple[object, ...]


class Guard:
    """What protects the calls of one client to one host; None is off."""

    __slots__ = ("breaker", "budget", "bulkhead", "crowd", "far", "gated", "hedge", "log", "paces", "park")

    def __init__(self, log: Any) -> None:
        self.log = log  # told of breakers that have turned, and of long waits: see `_log.py`
        self.budget: RetryBudget | None = None
        self.crowd = Crowd()
        self.breaker: Breaker | None = None
        self.bulkhead: Bulkhead | None = None
        self.hedge: Hedge | None = None
        self.paces: tuple[tuple[Paced, Pacer], ...] = ()
        self.park = False
        self.gated = False  # an attempt has to ask before it is sent
        self.far = False  # what it asks may be on another machine

    def pace(self, method: str, path: str) -> tuple[Pacer, float] | None:
        """Find the budget that counts a request, and what it costs; None: it is free, or none counts it."""
        for paced, pacer in self.paces:
            if paced.routes is None or paced.routes.match(method, path):
                cost = paced.cost(method, path)
                return (pacer, cost) if cost > 0 else None
        return None


class _World:
    """The engines of all who go by one clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: dict[_Key, Any] = {}

    def engine(self, key: _Key, make: Callable[[], Any]) -> Any:
        """Give the engine of this key, the same to all."""
        with self._lock:
            engine = self._engines.get(key)
            if engine is None:
                if len(self._engines) >= _MOST_HOSTS:
                    for old in list(self._engines)[: _MOST_HOSTS // 2]:
                        del self._engines[old]
                engine = self._engines[key] = make()
            return engine


class Guards:
    """The guards of one transport, each made when its host is first called.

    Raises:
        TypeError, ValueError: the keywords cannot be used; the message says what they take.
    """

    def __init__(self, clock: object, given: Protections, log: Any) -> None:
        UNPROTECTED.with_(given)
        self._log = log
        self._clock = clock
        self._given = given
        self.known: dict[_Key, Guard] = {}  # by rules, scheme, host and port
        self._own = _World()  # for a clock that cannot be looked up
        with _LOCK:
            _ALIVE.add(self)

    def of(self, rules: Rulebook, scheme: str, host: str, port: int | None) -> Guard:
        """Find what protects a call by these rules to this place; no port is the scheme's own."""
        guard = self.known.get((rules, scheme, host, port))
        return guard if guard is not None else self._made(rules, scheme, host, port)

    def forget(self) -> None:
        """Look for every guard anew."""
        self.known, self._own = {}, _World()

    def _made(self, rules: Rulebook, scheme: str, host: str, port: int | None) -> Guard:
        protection = rules.protection.with_(self._given)
        shared = protection.shared
        world = _world(self._clock, self._own)
        place = rules.api, scheme, host, port, protection.scope
        name = f"{rules.api}:{scheme}://{host}:{port or ''}:{protection.scope}"
        guard = Guard(self._log)
        guard.crowd = world.engine((*place, "crowd"), Crowd)
        if (budget := protection.budget) is not None:
            guard.budget = world.engine(
                (*place, budget, shared),
                lambda: shared.budget(name, budget, clock=self._clock) if shared else RetryBudget(budget),
            )
        if (breaker := protection.breaker) is not None:
            chance = random.random()  # noqa: S311 - no secret
            guard.breaker = world.engine(
                (*place, breaker, shared),
                lambda: (
                    shared.breaker(name, breaker, chance, clock=self._clock)
                    if shared
                    else Breaker(breaker, chance)
                ),
            )
            guard.park = breaker.park
        if (bulkhead := protection.bulkhead) is not None:
            guard.bulkhead = world.engine((*place, bulkhead), lambda: Bulkhead(bulkhead))
        if (hedge := protection.hedge) is not None:
            guard.hedge = world.engine((*place, hedge), lambda: Hedge(hedge))
        if protection.pace:
            paces = rules.paces if protection.pace is True else (protection.pace,)
            guard.paces = tuple(
                (
                    paced,
                    world.engine(
                        (*place, number, paced.windows, shared), self._pacer(paced, name, number, shared)
                    ),
                )
                for number, paced in enumerate(paces)
            )
        guard.far = shared is not None
        guard.gated = guard.far or any((guard.breaker, guard.bulkhead, guard.hedge, guard.paces))
        if len(self.known) >= _MOST_HOSTS:
            self.known = {}
        self.known[rules, scheme, host, port] = guard
        return guard

    def _pacer(self, paced: Paced, name: str, number: int, shared: Any) -> Callable[[], Any]:
        if shared:
            return lambda: shared.pacer(f"{name}:{number}", *paced.windows, clock=self._clock)
        return lambda: Pacer(*paced.windows)


_ALIVE: WeakSet[Guards] = WeakSet()
_WORLDS: WeakKeyDictionary[object, _World] = WeakKeyDictionary()
_LOCK = threading.Lock()


def _world(clock: object, own: _World) -> _World:
    with _LOCK:
        try:
            return _WORLDS.setdefault(clock, _World())
        except TypeError:  # a clock that has no hash, or no weak references
            return own


def forget_all() -> None:
    """Let every client and transport of this process begin anew: full budgets, closed breakers, nothing learned."""
    with _LOCK:
        _WORLDS.clear()
        alive = list(_ALIVE)
    for guards in alive:
        guards.forget()


def _after_fork() -> None:
    global _LOCK  # noqa: PLW0603 - one that another thread held when this process was forked stays held
    _LOCK = threading.Lock()
    forget_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
