"""What can a call cost at the worst, and when does each attempt go out? Told from the policy; nothing is sent.

    load_policy("zerotrace").worst_case("POST", "/v1/create").sends
    load_policy("zerotrace").plan("UPSTREAM_ERROR").rows

Law of this file: it adds up what `_ladder.py` found; a bound is never less than what a call can come to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ._ladder import Case, rules_of
from ._reach import Replies
from ._slips import near
from .loading import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ._flow.rulebook import Rule
    from ._ladder import Ladder
    from .outcome import Reason
    from .policy import Policy

__all__ = ["Bound", "Plan", "Row", "Share", "plan", "worst_case"]


@dataclass(frozen=True, slots=True)
class Share:
    """What one rule adds to the worst case."""

    rule: str | None  # None: no rule matches, and the header of `should_retry` asks for a retry
    retries: int | None  # None: no bound
    sleep: float  # seconds: the longest single sleep
    slept: float | None  # seconds: all its sleeps together; None: no bound


@dataclass(frozen=True, slots=True)
class Bound:
    """What no call exceeds, whatever the server does and however the jitter falls.

    A redirect and a sign-in are calls of their own, with bounds of their own, and are not in it.
    """

    sends: int | None  # attempts, the first one included; None: no bound
    sleep: float  # seconds: the longest single sleep
    slept: float | None  # seconds: all sleeps together; None: no bound
    time: (
        float | None
    )  # seconds from the first attempt to the end; None: nothing bounds what the attempts take
    shares: tuple[
        Share, ...
    ]  # of the rules that can have the request sent again, in file order, the network last


@dataclass(frozen=True, slots=True)
class Row:
    """One attempt of a timetable."""

    attempt: int  # from 1
    earliest: float  # seconds from the first attempt until this one is sent, at the least
    latest: float  # and at the most
    wait: tuple[float, float]  # seconds slept before it, at the least and at the most
    renewed: tuple[
        str, ...
    ]  # what it has anew: "nonce", "refresh" (a token), "override" (the field of the body)


@dataclass(frozen=True, slots=True)
class Plan:
    """The timetable of a call whose every attempt meets the same rule.

    Its rows are those of the longest waits. With shorter ones more attempts may fit in, `worst.sends` at the most.
    """

    api: str
    rule: str
    method: str
    path: str
    rows: tuple[Row, ...]
    reason: Reason | None  # why the call ends after the last row; None: it goes on
    server_decides: bool  # a wait that the server names moves the rows: see `asked`
    worst: Bound  # of this rule alone, whatever the server names


def worst_case(policy: Policy, method: str, path: str, **known: Any) -> Bound:
    """Bound one call; `known`, and what is raised, are those of `Policy.worst_case`."""
    case = Case(policy, method, path, **known)
    judges = [*Replies(policy.rulebook, (case.method, case.path)).rules(), policy.rulebook.network]
    return _bound(case, (case.ladder(rule, case.ways(rule)) for rule in judges))


def plan(
    policy: Policy, rule: str, *, method: str, path: str, asked: float | None = None, **known: Any
) -> Plan:
    """Lay out the attempts of a call that one rule judges; `known`, and what is raised, are those of `Policy.plan`."""
    if asked is not None and not asked >= 0:
        raise ValueError(f"asked must be seconds, 0 or more, or None (got {asked!r})")
    case = Case(policy, method, path, **known)
    meant = _named(policy, rule)
    way = case.own_way(meant)
    soonest = case.walk(meant, way, asked, longest=False)
    latest = case.walk(meant, way, asked, longest=True)
    rows = [Row(1, 0.0, 0.0, (0.0, 0.0), ())]
    ends = zip(soonest.steps, soonest.others, latest.steps, latest.others, strict=False)
    for (early, least), longer, (late, most), shorter in ends:
        # A rule that goes on for so many seconds cuts its last wait short: the later it is, the shorter.
        wait = min(least.seconds, shorter), max(most.seconds, longer)
        rows.append(Row(len(rows) + 1, early, late, wait, most.change))
    return Plan(
        api=policy.api,
        rule=meant.name,
        method=case.method,
        path=case.path,
        rows=tuple(rows),
        reason=latest.reason,
        server_decides=way is not None and bool(way.most.after),
        worst=_bound(case, [case.ladder(meant, [way] if way is not None else [])]),
    )


def _named(policy: Policy, name: str) -> Rule:
    network = policy.rulebook.network
    rules = {network.name: network} | rules_of(policy)
    if name not in rules:
        raise PolicyError(f'{policy.api} has no rule "{name}"{near(name, rules)}; it has {", ".join(rules)}')
    return rules[name]


def _bound(case: Case, ladders: Iterable[Ladder]) -> Bound:
    """Add ladders up: a call may meet every rule, in any order, and each rule counts its own retries."""
    ladders = [ladder for ladder in ladders if ladder.rungs]
    sends = _sends(case.deadline, ladders)
    slept = min(sum((ladder.slept for ladder in ladders), 0.0), case.deadline)
    took = math.inf if sends is None or case.timeout is None else sends * case.timeout
    return Bound(
        sends=sends,
        sleep=max((ladder.sleep for ladder in ladders), default=0.0),
        slept=_finite(slept),
        time=_finite(min(took + slept, case.deadline)),
        shares=tuple(
            Share(
                rule=ladder.rule.name if ladder.rule is not None else None,
                retries=None if ladder.endless else len(ladder.rungs),
                sleep=ladder.sleep,
                slept=_finite(ladder.slept),
            )
            for ladder in ladders
        ),
    )


def _sends(deadline: float, ladders: Sequence[Ladder]) -> int | None:
    if any(ladder.endless for ladder in ladders):
        return None
    if math.isinf(deadline):
        return 1 + sum(len(ladder.rungs) for ladder in ladders)
    # In how many seconds, at the least, so many retries can be made: of any rules, but each rule's in their order.
    least = [0.0]
    for ladder in ladders:
        own = list(accumulate(ladder.rungs, initial=0.0))
        both = [math.inf] * (len(least) + len(own) - 1)
        for before, seconds in enumerate(least):
            for number, more in enumerate(own):
                both[before + number] = min(both[before + number], seconds + more)
        least = [seconds for seconds in both if seconds < deadline]
    return len(least)


def _finite(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds
