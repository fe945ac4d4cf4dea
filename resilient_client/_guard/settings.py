"""What protects the calls of a client: the settings, from a policy's `[protect]` and from keywords, the keywords last.

Law of this file: plain frozen values. What a setting does is told where its engine is; how a policy file says it, in
`_words.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from .breaker import BreakerConfig
from .budget import BudgetConfig
from .bulkhead import Adaptive, BulkheadConfig
from .hedge import HedgeConfig
from .pace import Window

if TYPE_CHECKING:
    from resilient_client._flow.rulebook import Routes
    from resilient_client.shared import RedisStore

__all__ = ["UNPROTECTED", "Paced", "Protection", "Protections"]


class Protections(TypedDict, total=False):
    """The keywords by which a client or a transport is protected. What is left out is as the policy's `[protect]` says."""

    budget: bool | BudgetConfig
    """A retry budget; on unless it is switched off."""
    pace: bool | tuple[float, float]
    """Keep to the budgets that the policy's `[pace]` publishes, or to so many requests in so many seconds."""
    breaker: bool | BreakerConfig
    """A circuit breaker for each host."""
    hedge: bool | float | HedgeConfig
    """Hedge slow answers: the extra load that is allowed, as a share of the requests; True is 0.05."""
    bulkhead: bool | int | Literal["adaptive"] | Adaptive | BulkheadConfig
    """How many calls may be under way at a time to one host, or how to learn that; True learns it."""
    shared: RedisStore | None
    """Share budget, pacing and breaker with other processes."""
    scope: str
    """Calls share what protects them with those of the same API, host and scope: give each account its own, say."""


@dataclass(frozen=True, slots=True, eq=False)
class Paced:
    """One budget that an API publishes: which requests it counts, and what each costs."""

    windows: tuple[Window, ...]
    routes: Routes | None = None  # None: all
    costs: tuple[tuple[Routes, float], ...] = ()

    def cost(self, method: str, path: str) -> float:
        """Tell what a request costs, in units."""
        for routes, cost in self.costs:
            if routes.match(method, path):
                return cost
        return 1.0


@dataclass(frozen=True, slots=True)
class Protection:
    """What protects the calls of one client; None and False are off."""

    budget: BudgetConfig | None = field(default_factory=BudgetConfig)
    pace: bool | Paced = False
    breaker: BreakerConfig | None = None
    hedge: HedgeConfig | None = None
    bulkhead: BulkheadConfig | None = None
    shared: Any = None
    scope: str = ""

    def with_(self, given: Protections) -> Protection:
        """Change what the keywords name.

        Raises:
            TypeError: there is no such keyword, or it does not take such a value; the message says what it takes.
            ValueError: a number is out of its range.
        """
        unknown = sorted(set(given) - set(_READ))
        if unknown:
            raise TypeError(f"unexpected keyword {unknown[0]!r}; the protections are {', '.join(_READ)}")
        return replace(self, **{name: _READ[name](value) for name, value in given.items()}) if given else self


UNPROTECTED = Protection(budget=None)


def _budget(value: object) -> BudgetConfig | None:
    if isinstance(value, BudgetConfig):
        return value
    return BudgetConfig() if _switch("budget", value, "a BudgetConfig") else None


def _pace(value: object) -> bool | Paced:
    if isinstance(value, tuple | list) and len(value) == 2:
        budget, per = value
        if all(isinstance(number, int | float) and not isinstance(number, bool) for number in value):
            return Paced((Window(budget, per),))
    return _switch("pace", value, "or (requests, seconds) such as (100, 60)")


def _breaker(value: object) -> BreakerConfig | None:
    if isinstance(value, BreakerConfig):
        return value
    return BreakerConfig() if _switch("breaker", value, "a BreakerConfig") else None


def _hedge(value: object) -> HedgeConfig | None:
    if isinstance(value, HedgeConfig):
        return value
    if isinstance(value, float):
        return HedgeConfig(extra_load=value)
    if _switch("hedge", value, "the extra load as a share such as 0.05, or a HedgeConfig"):
        return HedgeConfig()
    return None


def _bulkhead(value: object) -> BulkheadConfig | None:
    if isinstance(value, BulkheadConfig):
        return value
    if isinstance(value, Adaptive):
        return BulkheadConfig(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError(f"bulkhead must be at least 1 call at a time (got {value!r})")
        return BulkheadConfig(value)
    if value == "adaptive":
        return BulkheadConfig(Adaptive())
    if _switch("bulkhead", value, 'a number of calls, "adaptive", or a BulkheadConfig'):
        return BulkheadConfig(Adaptive())
    return None


def _scope(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"scope is a text (got {value!r})")
    return value


def _shared(value: object) -> object:
    if value is not None and not hasattr(value, "pacer"):
        raise TypeError(f"shared is a RedisStore, or None (got {value!r})")
    return value


def _switch(name: str, value: object, other: str = "") -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise TypeError(f"{name} is True or False{', ' * bool(other)}{other} (got {value!r})")


_READ: dict[str, Any] = {
    "budget": _budget,
    "pace": _pace,
    "breaker": _breaker,
    "hedge": _hedge,
    "bulkhead": _bulkhead,
    "shared": _shared,
    "scope": _scope,
}
