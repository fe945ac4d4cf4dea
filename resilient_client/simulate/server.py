"""The server: how long it takes, when it is down, what it refuses. Its errors are the policy's own examples.

    a request arrives --> is it down? --> is its budget spent? --> is it full? --> a fault? --> an answer

Law of this file: it knows requests, and nothing of who sends them. A request arrives at some moment of its first 10 ms; what
is refused is answered at the end of these, all else when the latency is over.
"""

from __future__ import annotations

import math
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import httpx

from resilient_client._rehearse import reply_of
from resilient_client.testing import error_response

from .scenario import counted

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from resilient_client._flow.rulebook import Rulebook
    from resilient_client._guard.pace import Window
    from resilient_client.policy import Policy

    from .scenario import Scenario
    from .world import World

    Answered: TypeAlias = Callable[[httpx.Response | Exception], None]

__all__ = ["Seen", "Server"]

_WAY = 0.01  # seconds from the sending to an answer that takes no work
_CRUMB = 1e-6  # seconds and units: sums of fractions are not exact
_DOWN = frozenset({"server", "upstream", "maintenance"})  # categories of what a server says that is down


class Seen(NamedTuple):
    """One request, as the server had it."""

    at: float  # when it arrived
    status: int | None  # None: it got no answer
    cost: float  # units that it took of a published budget


class Server:
    """One server, on virtual time.

    Raises:
        PolicyError: the outage is to answer with an error that the policy does not have.
    """

    def __init__(self, world: World, scenario: Scenario, rules: Rulebook, chance: Random) -> None:
        self.seen: list[Seen] = []
        self._world = world
        self._scenario = scenario
        self._rules = rules
        self._chance = chance
        self._throttled: dict[int, _Reply] = {}  # by the seconds that it asks for
        self._full = _down_reply(scenario.policy, "503")
        kind = "503" if scenario.outage is None else scenario.outage.kind
        self._down = _NO_REPLY if kind in {"refused", "hang"} else _down_reply(scenario.policy, kind)
        self._busy = 0
        self._budgets = [[_Spent(window) for window in paced.windows] for paced in rules.paces]
        if scenario.others and self._budgets:
            self._spend_as_another()

    def send(self, request: httpx.Request, patience: float, answered: Answered) -> None:
        """Let a request go out; whoever sent it waits for its answer for so many seconds."""
        sent, took = self._world.now, self._latency()
        way = min(took, _WAY)
        self._world.after(
            way * self._chance.random(),
            partial(self._arrive, request, sent + way, sent + took, sent + patience, answered),
        )

    def _latency(self) -> float:
        scenario, chance = self._scenario, self._chance
        if scenario.stalls and chance.random() < scenario.stalls:
            return scenario.stall
        median, spread = scenario.latency.median, scenario.latency.spread
        return median * math.exp(chance.gauss(0.0, spread)) if spread else median

    def _arrive(
        self, request: httpx.Request, soon: float, late: float, until: float, answered: Answered
    ) -> None:
        now, outage = self._world.now, self._scenario.outage
        at, cost = soon, 0.0
        if outage is not None and outage.holds(now):
            reply = self._down
            at = math.inf if outage.kind == "hang" else soon
        elif wait := self._over_budget(request, now):
            reply = self._asks_to_wait(wait)
        elif self._scenario.capacity is not None and self._busy >= self._scenario.capacity:
            reply = self._full
            self._work_until(soon)  # to refuse is work, too
        else:
            at, cost = late, self._spend(request, now)
            reply = self._full if self._chance.random() < self._scenario.faults else _WORKED
            self._work_until(late)
        self.seen.append(Seen(now, reply.status, cost))
        if at > until:
            error = httpx.ReadTimeout("no answer in time", request=request)
            self._world.at(until, partial(answered, error))
        else:
            self._world.at(at, lambda: answered(reply.made(request)))

    def _work_until(self, moment: float) -> None:
        self._busy += 1
        self._world.at(moment, self._rest)

    def _rest(self) -> None:
        self._busy -= 1

    def _over_budget(self, request: httpx.Request, now: float) -> int:
        """Tell the whole seconds after which a request fits its budget; 0: it does."""
        found = counted(self._rules, request.method, request.url.path) if self._scenario.limited else None
        if found is None:
            return 0
        number, cost = found
        return max(spent.wait(cost, now) for spent in self._budgets[number])

    def _spend(self, request: httpx.Request, now: float) -> float:
        found = counted(self._rules, request.method, request.url.path)
        if found is None:
            return 0.0
        number, cost = found
        for spent in self._budgets[number]:
            spent.take(cost, now)
        return cost

    def _spend_as_another(self) -> None:
        """Let somebody else take a unit, and the next one later."""
        now = self._world.now
        for spent in self._budgets[0]:
            if not spent.wait(1.0, now):
                spent.take(1.0, now)
        if now < self._scenario.duration:
            self._world.after(1.0 / self._scenario.others, self._spend_as_another)

    def _asks_to_wait(self, seconds: int) -> _Reply:
        reply = self._throttled.get(seconds)
        if reply is None:
            reply = self._throttled[seconds] = _throttled_reply(self._scenario.policy, seconds)
        return reply


class _Spent:
    """A rolling window: each unit comes back so many seconds after it was spent."""

    def __init__(self, window: Window) -> None:
        self._budget, self._per = window.budget, window.per
        self._log: deque[tuple[float, float]] = deque()  # when it comes back, units
        self._total = 0.0

    def wait(self, cost: float, now: float) -> int:
        """Tell in how many whole seconds, rounded up, so much fits: 0 if it does now."""
        while self._log and self._log[0][0] <= now + _CRUMB:
            self._total -= self._log.popleft()[1]
        excess = self._total + cost - self._budget
        if excess <= _CRUMB:
            return 0
        for back, units in self._log:
            excess -= units
            if excess <= _CRUMB:
                return math.ceil(back - now)
        return math.ceil(self._per)  # more than the whole budget: it never fits

    def take(self, cost: float, now: float) -> None:
        """Spend it."""
        self._log.append((now + self._per, cost))
        self._total += cost


class _Reply(NamedTuple):
    status: int | None  # None: the connection is refused
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes = b""

    def made(self, request: httpx.Request) -> httpx.Response | Exception:
        """Make it anew."""
        if self.status is None:
            return httpx.ConnectError("connection refused", request=request)
        return httpx.Response(self.status, headers=self.headers, content=self.content)


_JSON = (("Content-Type", "application/json"),)
_WORKED = _Reply(200, _JSON, b"{}")
_NO_REPLY = _Reply(None)


def _kept(response: httpx.Response, *, without: str = "") -> _Reply:
    gone = {"content-length", without}
    headers = tuple((name, value) for name, value in response.headers.items() if name not in gone)
    return _Reply(response.status_code, headers, response.content)


def _down_reply(policy: Policy, kind: str) -> _Reply:
    """Give the reply of a rule; for "503", of the first that is tried again after it, and it does not know until when."""
    if kind != "503":
        return _kept(error_response(policy, kind))
    for rule in policy.rules:
        if rule.retry is not None and rule.retry.only_if is None and rule.category in _DOWN:
            for example in rule.examples:
                if example.given.status == 503:
                    return _kept(reply_of(example.given), without="retry-after")
    return _Reply(503)


def _throttled_reply(policy: Policy, seconds: int) -> _Reply:
    for rule in policy.rules:
        if rule.category == "rate_limit" and any(example.given.status == 429 for example in rule.examples):
            return _kept(error_response(policy, rule.name, status=429, retry_after=seconds))
    return _Reply(429, (("Retry-After", str(seconds)),))
