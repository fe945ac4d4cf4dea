"""Hedging: what the delay is learned from, what the budgets allow, and what it is worth where some answers stall."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from typing import TYPE_CHECKING, Any

import pytest
from at_once import in_threads
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resilient_client._guard.hedge import Hedge, HedgeConfig, _begin, _bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=100)


def learned(durations: Iterable[float], at: float = 0.0, **numbers: Any) -> Hedge:
    """Make one that has seen these durations, all at this second."""
    hedge = Hedge(HedgeConfig(**({"min_samples": 1} | numbers)))
    for took in durations:
        hedge.observe(at, took)
    return hedge


# ------------------------------------------------------------------------------------------------ its numbers


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({"extra_load": 0.0}, r"extra_load must be a share above 0, at most 0.5 \(got 0.0\)"),
        ({"extra_load": 0.6}, "extra_load must be a share above 0, at most 0.5"),
        ({"extra_load": math.nan}, "extra_load must be a share above 0, at most 0.5"),
        ({"burst": 0.5}, r"burst must be at least 1 \(got 0.5\)"),
        ({"burst": math.inf}, "burst must be at least 1"),
        ({"min_samples": 0}, r"min_samples must be at least 1 \(got 0\)"),
        ({"window": 0.0}, "window must be seconds above 0"),
        ({"min_delay": 0.0}, "min_delay must be seconds above 0"),
    ],
)
def test_a_number_out_of_range_is_refused_with_what_is_right(numbers: dict[str, Any], told: str) -> None:
    """A configuration that could never work is not made."""
    with pytest.raises(ValueError, match=told):
        HedgeConfig(**numbers)


# ------------------------------------------------------------------------------------------------ the delay


def test_nothing_is_hedged_before_enough_is_known() -> None:
    """Ninety-nine durations are no hundred."""
    hedge = learned([0.02] * 99, min_samples=100)
    assert hedge.delay(0.0) is None
    hedge.observe(0.5, 0.02)
    assert hedge.delay(1.0) is not None


def test_the_delay_is_the_percentile_that_the_extra_load_leaves() -> None:
    """A tenth more: nine of ten are answered before it, to within a thirty-second."""
    delay = learned([number / 100 for number in range(1, 101)], extra_load=0.1).delay(0.0)
    assert delay is not None
    assert 0.90 <= delay <= 0.90 * (1 + 1 / 32) + 1e-6


def test_equal_durations_are_all_answered_before_the_delay() -> None:
    """Nothing is late where all take the same time."""
    delay = learned([0.25] * 100).delay(0.0)
    assert delay is not None
    assert 0.25 < delay < 0.26


@repeatable
@given(
    durations=st.lists(st.floats(0, 20), min_size=1, max_size=200),
    extra_load=st.sampled_from([0.01, 0.05, 0.1, 0.5]),
)
@example(durations=[0.0], extra_load=0.05)
def test_no_larger_share_than_the_extra_load_reaches_the_delay(
    durations: list[float], extra_load: float
) -> None:
    """And one bucket sooner it would be larger."""
    delay = learned(durations, extra_load=extra_load, min_delay=1e-9).delay(0.0)
    assert delay is not None
    assert sum(took >= delay + 1e-9 for took in durations) <= extra_load * len(durations)
    sooner = _begin(_bucket(delay) - 1)
    assert sum(took >= sooner - 1e-6 for took in durations) > extra_load * len(durations)


@repeatable
@given(took=st.floats(0, 3600))
@example(took=0.000_063)
@example(took=0.000_064)
@example(took=3600.0)
def test_a_bucket_is_narrow_and_there_are_few(took: float) -> None:
    """A microsecond, or a thirty-second of the duration; nine hundred of them up to an hour."""
    bucket = _bucket(took)
    begin, end = _begin(bucket), _begin(bucket + 1)
    assert begin <= took + 1e-9
    assert took - 1e-6 < end
    assert end - begin <= max(1.001e-6, begin / 32 + 1e-9)
    assert 0 <= bucket < 900


def test_what_takes_for_ever_counts_as_an_hour() -> None:
    """The buckets end there."""
    assert _bucket(math.inf) == _bucket(3600.0)


def test_the_delay_is_never_shorter_than_the_shortest() -> None:
    """Answers within microseconds are not raced."""
    assert learned([0.000_01] * 100).delay(0.0) == 0.001


def test_the_delay_holds_for_a_second() -> None:
    """It is not worked out for every request."""
    hedge = learned([0.01] * 100)
    first = hedge.delay(0.0)
    for _ in range(1000):
        hedge.observe(0.0, 1.0)
    assert hedge.delay(0.75) == first
    later = hedge.delay(1.0)
    assert later is not None
    assert later > 1.0


def test_a_generation_and_the_one_before_it_count() -> None:
    """What is of the generation before that is forgotten."""
    hedge = learned([1.0] * 100, window=30.0)
    for _ in range(100):
        hedge.observe(30.0, 0.1)
    delay = hedge.delay(30.0)
    assert delay is not None
    assert delay > 1.0
    for _ in range(100):
        hedge.observe(60.0, 0.1)
    delay = hedge.delay(60.0)
    assert delay is not None
    assert delay < 0.11


def test_after_a_pause_nothing_is_known() -> None:
    """A minute without a request, or without more than one: yesterday's percentile is no one's."""
    hedge = learned([0.1] * 100, min_samples=2, window=30.0)
    assert hedge.delay(59.0) is not None
    hedge = learned([0.1] * 100, min_samples=2, window=30.0)
    assert hedge.delay(60.0) is None
    hedge.observe(61.0, 0.1)
    assert hedge.delay(61.0) is None


# ------------------------------------------------------------------------------------------------ the budgets


def test_a_hedge_is_paid_for_by_the_requests_before_it() -> None:
    """An eighth: eight requests, one hedge, and nothing at the beginning."""
    hedge = Hedge(HedgeConfig(extra_load=0.125))
    assert not hedge.may_hedge()
    for _ in range(7):
        hedge.observe(0.0, 0.1)
    assert not hedge.may_hedge()
    hedge.observe(0.0, 0.1)
    assert [hedge.may_hedge() for _ in range(2)] == [True, False]


def test_only_so_many_hedges_are_saved_up() -> None:
    """An hour of quiet does not pay for a storm."""
    hedge = learned([0.1] * 10_000, burst=3.0)
    assert [hedge.may_hedge() for _ in range(5)] == [True, True, True, False, False]


def test_the_retry_budget_has_a_say() -> None:
    """It is asked for each hedge that the extra load allows, and for no other."""
    answers = [True, False, True]
    hedge = Hedge(HedgeConfig(extra_load=0.5))

    def spend() -> bool:
        return answers.pop(0)

    assert not hedge.may_hedge(spend)
    for _ in range(4):
        hedge.observe(0.0, 0.1)
    assert [hedge.may_hedge(spend) for _ in range(4)] == [True, False, True, False]
    assert answers == []


def test_the_retry_budget_is_asked_outside_of_the_lock() -> None:
    """It may be of any kind, and ask back."""
    asked: list[float | None] = []

    def spend() -> bool:
        asked.append(hedge.delay(0.0))
        return True

    hedge = Hedge(HedgeConfig(extra_load=0.5))
    for _ in range(2):
        hedge.observe(0.0, 0.1)
    assert hedge.may_hedge(spend)
    assert asked == [None]


@repeatable
@given(
    steps=st.lists(st.sampled_from(["observe", "hedge", "hedge", "refused"]), max_size=300),
    extra_load=st.sampled_from([0.05, 0.25, 0.5]),
    burst=st.sampled_from([1.0, 4.0]),
)
def test_over_any_stretch_of_any_history_the_extra_load_is_kept(
    steps: list[str], extra_load: float, burst: float
) -> None:
    """Of n requests in a row, at most the share and what may be saved up are hedged."""
    allowed = [True]
    hedge = Hedge(HedgeConfig(extra_load=extra_load, burst=burst))
    owed, most = 0.0, 0.0  # hedges beyond the share, since the stretch began that has the most of them
    for step in steps:
        if step == "observe":
            hedge.observe(0.0, 0.1)
            owed = max(0.0, owed - extra_load)
        else:
            allowed[0] = step == "hedge"
            owed += hedge.may_hedge()
        most = max(most, owed)
    assert most <= burst + 1e-9


def test_threads_lose_no_request_and_share_the_hedges() -> None:
    """Eight threads, 512 requests each and an eighth more: 512 hedges, and not one beyond."""
    hedge = Hedge(HedgeConfig(extra_load=0.125, burst=1000.0, min_samples=4096))
    granted: list[bool] = []

    def observe() -> None:
        for _ in range(512):
            hedge.observe(0.0, 0.1)

    in_threads(observe)
    assert hedge.delay(0.0) is not None
    in_threads(lambda: granted.extend([hedge.may_hedge() for _ in range(100)]))
    assert sum(granted) == 512


# ------------------------------------------------------------------------------------------------ answers that stall


class Stalls:
    """A hundred requests a second to a host some of whose answers stall, and what their callers wait."""

    def __init__(self, config: HedgeConfig, seconds: float, *, tell_overtaken: bool = True) -> None:
        self.hedge = Hedge(config)
        self.rng = random.Random(5)  # noqa: S311 - for times, not for secrets
        self.requests = self.hedges = 0
        self.waited: list[float] = []
        self.slowness = 1.0
        self.tell_overtaken = tell_overtaken
        self.order = itertools.count()
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        self.now = 0.0
        self.run(seconds)

    def run(self, seconds: float) -> None:
        """Send for that many seconds."""
        until = self.now + seconds
        for number in range(int(seconds * 100)):
            self.at(self.now + number / 100, self.send)
        while self.events and self.events[0][0] < until:
            self.now, _, happen = heapq.heappop(self.events)
            happen(self.now)
        self.now = until

    def at(self, when: float, happen: Callable[[float], None]) -> None:
        """Let something happen at this second."""
        heapq.heappush(self.events, (when, next(self.order), happen))

    def took(self) -> float:
        """Draw the seconds that an answer takes: about 20 ms, and three in a hundred stall for 700 ms more."""
        stalls = self.rng.random() < 0.03
        return self.slowness * self.rng.lognormvariate(math.log(0.02), 0.4) + 0.7 * stalls

    def send(self, now: float) -> None:
        """Send a request, and its hedge if it is late."""
        self.requests += 1
        took, delay = self.took(), self.hedge.delay(now)
        if delay is None or took <= delay:
            self.at(now + took, lambda at: self.end(at, took, took))
        else:
            self.at(now + delay, lambda at: self.late(at, took, delay))

    def late(self, now: float, took: float, delay: float) -> None:
        """Hedge, if that is allowed."""
        waited = took
        if self.hedge.may_hedge():
            self.hedges += 1
            waited = min(took, delay + self.took())
        self.at(now + waited - delay, lambda at: self.end(at, took, waited))

    def end(self, now: float, took: float, waited: float) -> None:
        """Take the first answer."""
        self.waited.append(waited)
        if waited == took or self.tell_overtaken:
            self.hedge.observe(now, waited)

    def percentile(self, share: float) -> float:
        """Give the seconds that this share of the callers waited at the most."""
        return sorted(self.waited)[int(len(self.waited) * share)]

    @property
    def extra(self) -> float:
        """Give the hedges as a share of the requests."""
        return self.hedges / self.requests


def test_the_slowest_hundredth_waits_a_tenth_of_the_time_for_a_twentieth_more_requests() -> None:
    """Three answers in a hundred stall for 0.7 s."""
    plain = Stalls(HedgeConfig(min_samples=10**9), 200.0)
    hedged = Stalls(HedgeConfig(extra_load=0.05), 200.0)
    assert plain.hedges == 0
    assert plain.percentile(0.99) > 0.7
    assert hedged.percentile(0.99) < plain.percentile(0.99) / 9
    assert 0.03 < hedged.extra <= 0.05


def test_the_delay_does_not_sink_because_slow_answers_are_overtaken() -> None:
    """They are told of with the time until they were let go; were they not, it would sink until the budget held it."""
    told = Stalls(HedgeConfig(extra_load=0.05), 200.0)
    untold = Stalls(HedgeConfig(extra_load=0.05), 200.0, tell_overtaken=False)
    right = told.hedge.delay(200.0)
    sunk = untold.hedge.delay(200.0)
    assert right is not None
    assert sunk is not None
    assert 0.04 < right < 0.06
    assert sunk < 0.9 * right


def test_a_host_that_becomes_slow_all_at_once_gets_no_more_than_the_extra_load() -> None:
    """Ten times as slow from one second to the next: all are late, one in twenty is hedged, until it has learned."""
    stalls = Stalls(HedgeConfig(extra_load=0.05, burst=10.0), 100.0)
    stalls.slowness, stalls.requests, stalls.hedges = 10.0, 0, 0
    stalls.run(20.0)
    assert stalls.hedges <= 0.05 * stalls.requests + 10
    stalls.run(60.0)
    delay = stalls.hedge.delay(stalls.now)
    assert delay is not None
    assert 0.4 < delay < 0.7
