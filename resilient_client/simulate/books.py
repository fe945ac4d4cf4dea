"""What came of a simulation: every call and every request, and what they come to in each phase. Pure.

Law of this file: a call belongs to the phase in which it began, a request to the one in which it arrived.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resilient_client.outcome import Reason

    from .scenario import Scenario
    from .server import Seen

__all__ = ["Books", "Done", "Phase", "percentile"]

FIRST = 5.0  # seconds of an outage that are looked at by themselves
_WELL = 0.99  # of the calls: from here on, all is well
_ENOUGH = 10  # calls, of which one in ten may be told


class Done(NamedTuple):
    """One call."""

    began: float
    ended: float
    reason: Reason
    requests: int
    waited: float  # seconds, before its attempts and between them
    caller: int  # which one made it

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.reason == "success"


@dataclass(frozen=True, slots=True)
class Phase:
    """What happened from one moment to another."""

    name: str
    begin: float
    end: float  # infinite: to the end of the last call
    calls: int
    requests: int
    load: float | None  # requests a second, as against those before the outage; None where there were none
    success: float | None  # share of the calls; None where there were none
    p50: float | None  # seconds from the begin of a call to its end
    p99: float | None
    throttled: int  # answers of status 429
    waited: float  # seconds, of a call on average

    @property
    def amplification(self) -> float | None:
        """Requests for each call."""
        return self.requests / self.calls if self.calls else None


@dataclass(frozen=True, slots=True)
class Books:
    """All calls and all requests of a simulation, in the order of their ends and their arrivals."""

    scenario: Scenario
    calls: Sequence[Done]
    requests: Sequence[Seen]

    def phases(self) -> tuple[Phase, ...]:
        """Give what is to be told: before the outage, the outage, its first seconds, and after it; else the whole."""
        scenario, outage = self.scenario, self.scenario.outage
        if outage is None:
            return (self.phase("all", 0.0, math.inf),)
        return (
            self.phase("before", 0.0, outage.begin),
            self.phase("outage", outage.begin, outage.end),
            self.phase("first", outage.begin, min(outage.begin + FIRST, outage.end)),
            self.phase("after", outage.end, scenario.duration),
        )

    def phase(self, name: str, begin: float, end: float) -> Phase:
        """Add up what is between two moments."""
        calls = [call for call in self.calls if begin <= call.began < end]
        requests = [seen for seen in self.requests if begin <= seen.at < end]
        took = sorted(call.ended - call.began for call in calls)
        normal, length = self.normal, min(end, self.scenario.duration) - begin
        return Phase(
            name=name,
            begin=begin,
            end=end,
            calls=len(calls),
            requests=len(requests),
            load=len(requests) / length / normal if normal else None,
            success=sum(call.ok for call in calls) / len(calls) if calls else None,
            p50=percentile(took, 0.5),
            p99=percentile(took, 0.99),
            throttled=sum(seen.status == 429 for seen in requests),
            waited=sum(call.waited for call in calls) / len(calls) if calls else 0.0,
        )

    @property
    def whole(self) -> Phase:
        """All of it."""
        return self.phase("all", 0.0, math.inf)

    @property
    def normal(self) -> float:
        """Requests a second before the outage; of the whole time where there is none."""
        outage = self.scenario.outage
        until = self.scenario.duration if outage is None else outage.begin
        return sum(seen.at < until for seen in self.requests) / until

    @property
    def peak(self) -> float | None:
        """The most requests within a second after the outage, as against normal; None: it never ended, or never was."""
        outage = self.scenario.outage
        if outage is None or not self.normal:
            return None
        seconds = Counter(int(seen.at - outage.end) for seen in self.requests if seen.at >= outage.end)
        return max(seconds.values(), default=0) / max(self.normal, 1.0)

    @property
    def recovery(self) -> float | None:
        """Seconds after the outage from which on 99 % of the calls that end succeed, to a whole span; None: never, or no outage.

        A span is a second, or as long as it takes for ten calls.
        """
        outage = self.scenario.outage
        if outage is None:
            return None
        span = max(1.0, _ENOUGH * self.scenario.duration / max(1, len(self.calls)))
        ends: Counter[int] = Counter()
        worked: Counter[int] = Counter()
        for call in self.calls:
            if call.ended >= outage.end:
                number = int((call.ended - outage.end) / span)
                ends[number] += 1
                worked[number] += call.ok
        well = (number for number in sorted(ends) if worked[number] >= _WELL * ends[number])
        return next((number * span for number in well), None)

    def spent(self, begin: float, end: float) -> float:
        """Tell the units of published budgets that were spent between two moments."""
        return sum(seen.cost for seen in self.requests if begin <= seen.at < end)

    def series(self, step: float) -> Iterator[Step]:
        """Give what happened in each stretch of so many seconds."""
        last = max((call.ended for call in self.calls), default=0.0)
        count = math.ceil(
            max(last - step, self.scenario.duration) / step
        )  # what ends a moment later needs no room
        begun, seen, ended, worked = ([0] * (count + 1) for _ in range(4))
        for call in self.calls:
            begun[int(call.began / step)] += 1
            ended[int(call.ended / step)] += 1
            worked[int(call.ended / step)] += call.ok
        for request in self.requests:
            seen[int(request.at / step)] += 1
        for number in range(count):
            yield Step(
                number * step, begun[number] / step, seen[number] / step, ended[number], worked[number]
            )


class Step(NamedTuple):
    """A stretch of time."""

    at: float
    calls: float  # begun, a second
    requests: float  # that arrived, a second
    ended: int  # calls
    worked: int  # of them


def percentile(ranked: Sequence[float], share: float) -> float | None:
    """Give the least of these, in order, that so large a share of them does not exceed; None where there are none."""
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else None
