"""One run: callers call, a server answers, and the books are kept. The same scenario gives the same books, to the last digit."""

from __future__ import annotations

from functools import partial
from itertools import count
from random import Random
from typing import TYPE_CHECKING

import httpx

from resilient_client._core import Core
from resilient_client._guard.breaker import Breaker
from resilient_client._httpx import HOST

from .books import Books, Done
from .driver import Journey
from .scenario import Crowd, Loop, Poisson
from .server import Server
from .world import World

if TYPE_CHECKING:
    from .scenario import Evenly, Scenario

__all__ = ["simulate"]

_URL = "https://api.example"
_BREATH = 0.1  # seconds: a worker does not call again at once when its call has failed


def simulate(scenario: Scenario) -> Books:
    """Play a scenario to the end of its last call.

    Raises:
        PolicyError: the outage is to answer with an error that the policy does not have.
        TypeError, ValueError: a protection cannot be set to what was given.
    """
    return _Run(scenario).books()


class _Process(Core):
    """What the calls of one simulated process share: a transport's core, whose chance and keys follow from a seed."""

    def __init__(self, scenario: Scenario, world: World, number: int) -> None:
        super().__init__(
            HOST,
            scenario.policy,
            clock=world.clock,
            deadline=scenario.deadline,
            protections={**scenario.protections, "scope": f"process {number}"},
        )
        chance = Random(f"{scenario.seed}: process {number}")  # noqa: S311 - no secret
        self.chance = chance.random  # the module's own is nobody's to seed
        self._keys = count()
        self._name = number
        guard = self.guards.of(self.rules, *HOST.origin_of(httpx.URL(_URL)))
        if guard.breaker is not None:  # with a jitter that follows from the seed as well
            guard.breaker = Breaker(guard.breaker.config, chance.random())

    def new_key(self) -> str:  # type: ignore[override]  # each process counts its own
        """Make an idempotency key that no other process makes."""
        return f"simulated-{self._name}-{next(self._keys)}"


class _Run:
    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._world = World()
        self._chance = Random(f"{scenario.seed}: callers")  # noqa: S311 - no secret
        self._processes = [_Process(scenario, self._world, number) for number in range(scenario.processes)]
        chance = Random(f"{scenario.seed}: server")  # noqa: S311 - no secret
        self._server = Server(self._world, scenario, self._processes[0].rules, chance)
        self._done: list[Done] = []
        self._routes = [
            httpx.Request(route.method, _URL + route.path, content=None if route.method == "GET" else b"{}")
            for route in scenario.routes
        ]
        self._weights = [route.weight for route in scenario.routes]

    def books(self) -> Books:
        """Let all calls be made."""
        arrivals = self._scenario.arrivals
        if isinstance(arrivals, Crowd):
            for caller in range(arrivals.calls):
                self._world.at(0.0, partial(self._call, caller))
        elif isinstance(arrivals, Loop):
            first = self._scenario.latency.median / arrivals.workers
            for caller in range(arrivals.workers):
                self._world.at(caller * first, partial(self._call, caller))
        else:
            self._stream(arrivals, 0)
        self._world.run()
        return Books(self._scenario, self._done, self._server.seen)

    def _stream(self, arrivals: Evenly | Poisson, number: int) -> None:
        """Make one call of a stream of them, and see to it that the next one is made."""
        clients = self._scenario.clients
        if isinstance(arrivals, Poisson):
            next_at = self._world.now + self._chance.expovariate(arrivals.rate)
            caller = self._chance.randrange(clients)
        else:
            next_at, caller = (number + 1) / arrivals.rate, number % clients
        if next_at < self._scenario.duration:
            self._world.at(next_at, partial(self._stream, arrivals, number + 1))
        self._call(caller)

    def _call(self, caller: int) -> None:
        request = (
            self._chance.choices(self._routes, self._weights)[0] if self._routes[1:] else self._routes[0]
        )
        core = self._processes[caller % len(self._processes)]
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._scenario.timeout)
        Journey(
            httpx.Request(
                request.method,
                request.url,
                headers=request.headers,
                stream=request.stream,
                extensions={"timeout": timeouts},
            ),
            world=self._world,
            server=self._server,
            core=core,
            timeout=self._scenario.timeout,
            ended=partial(self._ended, caller),
        ).begin()

    def _ended(self, caller: int, journey: Journey) -> None:
        call, now = journey.call, self._world.now
        waited = call.queued + sum(tried.wait for tried in call.tried)
        self._done.append(Done(call.started, now, call.reason, journey.requests, waited, caller))
        if isinstance(self._scenario.arrivals, Loop):
            next_at = now if call.reason == "success" else now + _BREATH
            if next_at < self._scenario.duration:
                self._world.at(next_at, partial(self._call, caller))
