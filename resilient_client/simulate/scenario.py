"""What is simulated, as plain values: who calls, how often, what for, and what the server does meanwhile.

Law of this file: all durations are in seconds, all moments in seconds from the begin; what cannot be is refused when a value
is made, in words that fit a command line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from resilient_client._compile import RETRIES
from resilient_client._guard.settings import Protections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_client import _words as words
    from resilient_client._flow.rulebook import Rulebook
    from resilient_client.policy import Policy

__all__ = [
    "Arrivals",
    "Crowd",
    "Evenly",
    "Latency",
    "Loop",
    "Outage",
    "Poisson",
    "Route",
    "Scenario",
    "at_most",
    "counted",
    "usual_rate",
]

_USUAL = 100.0  # calls a second, where the API publishes no budget
_SHARE = 0.8  # of a published budget


def _require(name: str, holds: bool, right: str, got: object) -> None:  # noqa: FBT001 - the check itself
    if not holds:
        raise ValueError(f"{name} must be {right} (got {got!r})")


@dataclass(frozen=True, slots=True)
class Evenly:
    """So many calls a second, one at a time."""

    rate: float

    def __post_init__(self) -> None:
        _require("rate", 0 < self.rate < math.inf, "calls a second, above 0", self.rate)


@dataclass(frozen=True, slots=True)
class Poisson:
    """So many calls a second on average, each without regard to the others."""

    rate: float

    def __post_init__(self) -> None:
        _require("rate", 0 < self.rate < math.inf, "calls a second, above 0", self.rate)


@dataclass(frozen=True, slots=True)
class Loop:
    """So many workers, each of which calls again when its call has ended."""

    workers: int

    def __post_init__(self) -> None:
        _require("workers", self.workers >= 1, "at least 1", self.workers)


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many calls at the very same moment, and no others."""

    calls: int

    def __post_init__(self) -> None:
        _require("crowd", self.calls >= 1, "at least 1 call", self.calls)


Arrivals: TypeAlias = Evenly | Poisson | Loop | Crowd


@dataclass(frozen=True, slots=True)
class Route:
    """What is called: a method and a path, and how often as against the others."""

    method: str
    path: str
    weight: float = 1.0

    @classmethod
    def read(cls, text: str) -> Route:
        """Read "POST /v1/create" or "POST /v1/create=3".

        Raises:
            ValueError: it is neither.
        """
        route, _, weight = text.partition("=")
        method, _, path = route.partition(" ")
        path = path.strip()
        if not method.isalpha() or not path.startswith("/"):
            raise ValueError(
                f'a route is a method and a path, such as "POST /v1/create" or "POST /v1/create=3" (got {text!r})'
            )
        try:
            often = float(weight or 1)
        except ValueError:
            often = math.nan
        if not 0 < often < math.inf:
            raise ValueError(f"the weight of a route is a number above 0 (got {weight!r})")
        return cls(method.upper(), path, often)


@dataclass(frozen=True, slots=True)
class Outage:
    """The server is down for a time."""

    begin: float
    length: float
    kind: str = "503"  # "503", "refused" (connections), "hang" (no answer), or the name of a rule: its reply

    def __post_init__(self) -> None:
        _require("outage", 0 < self.length < math.inf, "seconds above 0", self.length)
        _require("before", 0 < self.begin < math.inf, "seconds above 0", self.begin)

    @property
    def end(self) -> float:
        """When it is over."""
        return self.begin + self.length

    def holds(self, now: float) -> bool:
        """Tell whether the server is down."""
        return self.begin <= now < self.end


@dataclass(frozen=True, slots=True)
class Latency:
    """How long an answer takes: `median`, or log-normal around it where `spread` (the sigma) is above 0."""

    median: float = 0.05
    spread: float = 0.0

    def __post_init__(self) -> None:
        _require("latency", 0 < self.median < math.inf, "seconds above 0", self.median)
        _require("spread", 0 <= self.spread <= 3, "a number from 0 to 3", self.spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One simulation.

    Raises:
        ValueError: a number is out of its range; the message says what is right.
    """

    policy: Policy
    arrivals: Arrivals
    duration: float  # seconds in which calls begin
    routes: tuple[Route, ...] = (Route("GET", "/"),)
    clients: int = 100  # callers, in turn; `Loop` has its workers instead
    processes: int = 1  # that the callers are split over; each has its own protections
    deadline: float | None = None  # of a call
    timeout: float = 5.0  # of an attempt
    protections: Protections = field(default_factory=Protections)
    outage: Outage | None = None
    latency: Latency = Latency()
    faults: float = 0.0  # share of the requests that are answered by an error
    stalls: float = 0.0  # share of the requests whose answer takes `stall`
    stall: float = 1.0
    capacity: int | None = None  # requests at a time; what comes on top is answered by 503
    limited: bool = True  # the server enforces the budgets that the policy publishes
    others: float = 0.0  # units a second of the first of these budgets that somebody else spends
    seed: int = 0

    def __post_init__(self) -> None:
        _require("duration", 0 < self.duration < math.inf, "seconds above 0", self.duration)
        _require("clients", self.clients >= 1, "at least 1", self.clients)
        _require("timeout", 0 < self.timeout < math.inf, "seconds above 0", self.timeout)
        _require("faults", 0 <= self.faults <= 1, "a share from 0 to 1", self.faults)
        _require("stalls", 0 <= self.stalls <= 1, "a share from 0 to 1", self.stalls)
        _require("stall", 0 < self.stall < math.inf, "seconds above 0", self.stall)
        _require("capacity", self.capacity is None or self.capacity >= 1, "at least 1", self.capacity)
        _require("others", 0 <= self.others < math.inf, "units a second, at least 0", self.others)
        callers = self.arrivals.workers if isinstance(self.arrivals, Loop) else self.clients
        _require(
            "processes",
            1 <= self.processes <= callers,
            f"at least 1, and at most one for each of the {callers} callers",
            self.processes,
        )
        if self.outage is not None and self.duration <= self.outage.end:
            raise ValueError(
                f"the calls must go on after the outage, which ends after {self.outage.end:g} s (got {self.duration:g})"
            )


def at_most(policy: Policy, retries: int) -> Policy:
    """Make a policy whose every rule retries at most so often in one call."""

    def bounded(retry: words.Retry) -> words.Retry:
        own = retry.retries
        if own is None and retry.duration is None:
            own = RETRIES if retry.schedule is None else len(retry.schedule)
        return retry.model_copy(update={"retries": retries if own is None else min(retries, own)})

    rules = [
        rule if rule.retry is None else rule.model_copy(update={"retry": bounded(rule.retry)})
        for rule in policy.rules
    ]
    network = policy.network.model_copy(update={"retries": min(retries, policy.network.retries)})
    return policy.model_copy(update={"rules": rules, "network": network})


def counted(rules: Rulebook, method: str, path: str) -> tuple[int, float] | None:
    """Find the published budget that counts a request, by its number, and what it takes of it; None: it is free."""
    for number, paced in enumerate(rules.paces):
        if paced.routes is None or paced.routes.match(method, path):
            cost = paced.cost(method, path)
            return (number, cost) if cost > 0 else None
    return None


def usual_rate(rules: Rulebook, routes: Sequence[Route]) -> float:
    """Give the calls a second that leave a fifth of every published budget over; 100 where there is none."""
    often = sum(route.weight for route in routes)
    units = [0.0] * len(rules.paces)  # that one call takes of each budget, on average
    for route in routes:
        found = counted(rules, route.method, route.path)
        if found is not None:
            units[found[0]] += found[1] * route.weight / often
    return min(
        (
            _SHARE * window.budget / window.per / unit
            for paced, unit in zip(rules.paces, units, strict=True)
            for window in paced.windows
            if unit
        ),
        default=_USUAL,
    )
