"""The retry budget: its two rules, and what they come to in an outage and under faults, simulated with no client.

The bars: over an outage of 60 s at most 1.05 sends for each call of a client of 100 calls a second, and 1.10 in its
first 5 s; 1.10 for a client of 1 call a second; and with one attempt in five failing by itself, 0.998 of the calls
succeed all the same.
"""

from __future__ import annotations

import heapq
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from random import Random
from statistics import fmean
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_client._guard.budget import BudgetConfig, Crowd, RetryBudget

if TYPE_CHECKING:
    from collections.abc import Callable

repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=100)

RETRIES = 3  # of one call, at the most
LATENCY = 0.05  # seconds
OUTAGE = 60.0  # second at which it begins
GENEROUS = BudgetConfig(min_blind=10**9)  # rule 1 alone


# --------------------------------------------------------------------------------------------------------- simulation


@dataclass
class Seen:
    """What the server and the callers saw."""

    sends: list[tuple[float, bool]] = field(default_factory=list)  # when, and whether it was a first attempt
    succeeded: int = 0
    calls: int = 0

    def amplification(self, begin: float, end: float) -> float:
        """Tell how many sends came for each call between two seconds."""
        window = [first for at, first in self.sends if begin <= at < end]
        return len(window) / sum(window)

    @property
    def success(self) -> float:
        """The share of the calls that succeeded."""
        return self.succeeded / self.calls


def simulate(
    budget: RetryBudget, *, rate: float, seconds: float, fails: Callable[[float], float], seed: int = 1
) -> Seen:
    """Make `rate` calls a second, with the library's backoff; an attempt fails with the chance `fails(its second)`."""
    random, order = Random(seed), count()  # noqa: S311 - for faults, not for secrets
    seen = Seen(calls=int(rate * seconds))
    # When, -, what, which call, earlier attempts, price of the last.
    events: list[tuple[float, int, str, int, int, int]] = []
    on_the_wire: set[int] = set()

    def then(at: float, what: str, call: int, earlier: int, price: int) -> None:
        heapq.heappush(events, (at, next(order), what, call, earlier, price))

    for number in range(seen.calls):
        then(number / rate, "send", number, 0, 0)
    while events:
        now, _, what, call, earlier, price = heapq.heappop(events)
        if what == "send":
            on_the_wire.add(call)
            seen.sends.append((now, earlier == 0))
            answer = "failure" if random.random() < fails(now) else "success"
            then(now + LATENCY, answer, call, earlier + 1, price)
            continue
        on_the_wire.remove(call)
        if what == "success":
            seen.succeeded += 1
            if earlier == 1:
                budget.first_try_succeeded(now)
            else:
                budget.refund(price)
        elif earlier <= RETRIES and (price := budget.take(now, crowd=len(on_the_wire))):
            then(now + 0.5 * 2 ** (earlier - 1) * random.random(), "send", call, earlier, price)
    return seen


def down(now: float) -> float:
    """Fail everything from one second on."""
    return float(now >= OUTAGE)


@pytest.mark.parametrize("rate", [1, 2, 5, 10, 30, 100, 300])
def test_an_outage_of_a_minute_meets_hardly_more_than_the_calls(rate: int) -> None:
    """At most 1.10 sends for each call, whatever the rate; 1.05 from 13 calls a second on."""
    seen = simulate(RetryBudget(), rate=rate, seconds=OUTAGE + 60, fails=down)

    assert seen.amplification(OUTAGE, OUTAGE + 60) <= (1.05 if rate > 12 else 1.10)


def test_the_first_seconds_of_an_outage_are_bounded_too() -> None:
    """At most 1.10 within 5 s, for a client of 100 calls a second: no burst of retries at its begin."""
    seen = simulate(RetryBudget(), rate=100, seconds=OUTAGE + 5, fails=down)

    assert seen.amplification(OUTAGE, OUTAGE + 5) <= 1.10


@pytest.mark.parametrize("rate", [1, 10, 20])
def test_a_long_outage_is_not_retried_into(rate: int) -> None:
    """Ten minutes: a minute that passes gives a slow client its floor again, and the bucket ends that."""
    seen = simulate(RetryBudget(), rate=rate, seconds=OUTAGE + 600, fails=down)

    assert seen.amplification(OUTAGE, OUTAGE + 600) <= 1.06


def test_the_quota_alone_would_not_do_for_a_slow_client() -> None:
    """Why there is a second rule: 35 retries are 1.58 of a minute at 1 call a second, and 1.06 of ten."""
    minute = simulate(RetryBudget(GENEROUS), rate=1, seconds=OUTAGE + 60, fails=down)
    ten = simulate(RetryBudget(GENEROUS), rate=1, seconds=OUTAGE + 600, fails=down)

    assert minute.amplification(OUTAGE, OUTAGE + 60) > 1.5
    assert 1.05 < ten.amplification(OUTAGE, OUTAGE + 600) < 1.06


@pytest.mark.parametrize(("rate", "seconds"), [(100, 200), (1, 20_000)])
def test_single_faults_are_retried_as_if_there_were_no_budget(rate: int, seconds: int) -> None:
    """One attempt in five fails: with three retries 0.9984 of the calls could succeed, and at least 0.998 do."""
    runs = [
        simulate(RetryBudget(), rate=rate, seconds=seconds, fails=lambda _: 0.2, seed=seed)
        for seed in range(4)
    ]

    assert fmean(seen.success for seen in runs) >= 0.998


def test_a_restart_that_breaks_every_connection_is_absorbed() -> None:
    """Thirty calls fail at once, 10 calls a second before: each is retried, for the client is no stranger."""
    budget = RetryBudget()
    for number in range(600):
        budget.first_try_succeeded(number / 10)

    assert all(budget.take(60.0) for _ in range(30))


# --------------------------------------------------------------------------------------------------------- first rule


def test_a_retry_takes_its_price_until_there_is_not_enough() -> None:
    """500 tokens are 35 retries at 14; the 10 that are left stay."""
    budget = RetryBudget(GENEROUS)

    assert [budget.take(0.0) for _ in range(36)] == [14] * 35 + [0]
    assert budget.level == 10


def test_a_retry_that_the_server_put_off_is_cheap() -> None:
    """500 tokens are 100 retries at 5, and they are not blind: the server answered."""
    budget = RetryBudget()

    assert [budget.take(0.0, throttled=True) for _ in range(101)] == [5] * 100 + [0]


def test_what_is_too_little_for_the_one_may_do_for_the_other() -> None:
    """With 10 tokens left, a throttled retry goes and a transient one does not."""
    budget = RetryBudget(BudgetConfig(capacity=24, crowd=0))

    assert budget.take(0.0) == 14
    assert budget.take(0.0) == 0
    assert budget.take(0.0, throttled=True) == 5


def test_a_retry_that_succeeds_brings_its_own_price_back() -> None:
    """Not that of the retries before it: they were wasted."""
    budget = RetryBudget()
    budget.take(0.0)
    budget.refund(budget.take(0.0))

    assert budget.level == 500 - 14


def test_a_call_that_succeeds_at_first_brings_one() -> None:
    """Fourteen of them pay for a retry."""
    budget = RetryBudget()
    budget.take(0.0)
    for _ in range(13):
        budget.first_try_succeeded(0.0)
    assert budget.level == 499

    budget.first_try_succeeded(0.0)
    budget.first_try_succeeded(0.0)
    assert budget.level == 500


# -------------------------------------------------------------------------------------------------------- second rule


def blind_retries(budget: RetryBudget, now: float) -> int:
    """Count the retries that go through when nothing succeeds."""
    return sum(budget.take(now) > 0 for _ in range(500))


def seen_to_work(calls: int = 20) -> RetryBudget:
    """Make the budget of a client that made so many calls in the minute before second 60, all of which succeeded."""
    budget = RetryBudget()
    for number in range(calls):
        budget.first_try_succeeded(60 * number / calls)
    return budget


def test_a_new_client_has_the_quota_alone() -> None:
    """Of one that has just begun nothing is known: whether it is slow, or makes a hundred calls at once."""
    assert blind_retries(RetryBudget(), 0.0) == 35
    assert blind_retries(seen_to_work(19), 59.99) == 35


@pytest.mark.parametrize(("calls", "retries"), [(20, 5), (60, 5), (100, 8), (300, 24), (438, 35), (6000, 35)])
def test_a_client_that_was_seen_to_work_has_a_share_of_its_calls(calls: int, retries: int) -> None:
    """8 % of the last minute's calls, 5 at the least, and never more than the bucket holds."""
    assert blind_retries(seen_to_work(calls), 59.99) == retries


def test_the_calls_of_a_minute_ago_count_less_and_less() -> None:
    """As many as a window of 60 s that moves on would still hold, had they come evenly; at last it is a new client."""
    counts = [blind_retries(seen_to_work(300), 60 + later) for later in (0, 30, 45, 55, 60)]

    assert counts == [24, 12, 6, 5, 35]


@pytest.mark.parametrize("kind", ["first try", "retry"])
def test_any_success_ends_the_blindness(kind: str) -> None:
    """The server works: what is refused from now on, the bucket refuses."""
    budget = seen_to_work()
    blind_retries(budget, 59.0)
    if kind == "retry":
        budget.refund(14)
    else:
        budget.first_try_succeeded(59.0)

    assert blind_retries(budget, 59.0) == 5


def test_a_minute_ends_it_too_and_what_was_known_stays_known() -> None:
    """An outage goes on: each of its minutes allows as much as the first, and not a whole bucket."""
    budget = seen_to_work()
    assert blind_retries(budget, 59.0) == 5
    assert blind_retries(budget, 118.9) == 0

    assert blind_retries(budget, 119.0) == 5
    assert blind_retries(budget, 179.0) == 5


def test_a_refusal_takes_nothing() -> None:
    """Neither rule's refusal touches the bucket."""
    budget = seen_to_work()
    blind_retries(budget, 59.0)

    assert budget.level == 500 - 5 * 14


# ----------------------------------------------------------------------------------------------- what was in the air


def test_a_crowd_that_was_in_the_air_may_be_retried_three_times_each() -> None:
    """Thirty calls at once: 90 retries, of which the quota alone would refuse 55."""
    budget = RetryBudget()

    assert [budget.take(0.0, crowd=30) for _ in range(93)] == [
        14
    ] * 93  # the first three left the bucket calm
    assert budget.take(0.0, crowd=30) == 0
    assert budget.level == 0


def test_the_largest_moment_of_a_crowd_counts() -> None:
    """Threads begin one after the other, and the first has failed before the last is there."""
    budget = RetryBudget()

    assert all(budget.take(0.0, crowd=min(number, 30)) for number in range(90))


def test_a_crowd_has_its_bound() -> None:
    """A thousand calls that hang are no reason for three thousand retries."""
    budget = RetryBudget()

    assert sum(budget.take(0.0, crowd=1000) > 0 for _ in range(500)) == 123


def test_a_bucket_that_is_not_full_again_has_nothing_more_in_the_air() -> None:
    """The crowd has had its retries, and the bucket decides; one that succeeded was not wasted, and may be made again."""
    budget = RetryBudget()
    for _ in range(123):
        budget.take(0.0, crowd=40)
    assert budget.take(10.0, crowd=40) == 0

    budget.refund(14)
    assert budget.take(10.0, crowd=40) == 14
    assert budget.take(10.0, crowd=40) == 0


def test_a_crowd_is_who_has_begun_and_neither_ended_nor_sleeps() -> None:
    """It is counted without a lock, from both ends."""
    crowd = Crowd()
    for _ in range(5):
        crowd.began = crowd.begin()
    crowd.ended = crowd.end()
    one: Any = SimpleNamespace(asleep=False)
    other: Any = SimpleNamespace(asleep=False)
    crowd.sleep(one)
    crowd.sleep(other)
    for _ in range(2):  # whoever breaks a call off says so once more
        crowd.wake(other)

    assert crowd.size == 3


# ---------------------------------------------------------------------------------------------------- laws and limits


@repeatable
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("take"), st.booleans()),
            st.tuples(st.just("refund"), st.none()),
            st.tuples(st.just("succeed"), st.none()),
            st.tuples(st.just("later"), st.floats(0, 100)),
        ),
        max_size=200,
    )
)
def test_any_history_keeps_the_books(history: list[tuple[str, Any]]) -> None:
    """The level is what was paid in less what was taken; only want of tokens refuses a throttled retry."""
    budget = RetryBudget(BudgetConfig(capacity=60, min_blind=3))
    level, now, taken = 60, 0.0, [0]
    for what, value in history:
        if what == "later":
            now += value
        elif what == "take":
            price = budget.take(now, throttled=value)
            assert price in (0, 5 if value else 14)
            assert price or not value or level < 5
            level -= price
            taken.append(price)
        elif what == "refund":
            budget.refund(taken[-1])
            level = min(60, level + taken.pop()) if len(taken) > 1 else level
        else:
            budget.first_try_succeeded(now)
            level = min(60, level + 1)
        assert budget.level == level >= 0


def test_threads_take_no_token_twice() -> None:
    """Eight threads ask for more than there is: exactly what there is is given."""
    budget = RetryBudget(BudgetConfig(capacity=14_000, min_blind=10**9))

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: sum(budget.take(0.0) > 0 for _ in range(1000)), range(8)))

    assert sum(counts) == 1000
    assert budget.level == 0


def test_threads_pay_in_all_that_they_bring() -> None:
    """None of 8000 successes is lost, neither from the bucket nor from the count of calls."""
    budget = RetryBudget(BudgetConfig(capacity=100_000, min_blind=1))
    for _ in range(1000):
        budget.take(0.0)
        budget.refund(0)

    def succeed(_: int) -> None:
        for _ in range(1000):
            budget.first_try_succeeded(0.0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(succeed, range(8)))

    assert budget.level == 100_000 - 14_000 + 8000
    assert sum(budget.take(0.0) > 0 for _ in range(1000)) == 640


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        ({"transient": 0}, "transient must be at least 1 and at most the capacity, 500"),
        ({"transient": 501}, "transient must be at least 1"),
        ({"capacity": 4}, "at most the capacity, 4"),
        ({"throttled": -1}, "throttled must be at least 1"),
        ({"first_try": -1}, "first_try must be at least 0"),
        ({"min_blind": 0}, "min_blind must be at least 1"),
        ({"blind_share": -0.1}, "blind_share must be a share"),
        ({"blind_share": float("nan")}, "blind_share must be a share"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(words: dict[str, Any], mend: str) -> None:
    """The message names the field and says what is right."""
    with pytest.raises(ValueError, match=mend):
        BudgetConfig(**words)
