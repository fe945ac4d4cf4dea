"""Pacing: the earliest moment, as a brute-force model finds it; a server that never says 429; each in their turn."""

from __future__ import annotations

import heapq
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise
from random import Random
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resilient_client._guard.pace import Pacer, Refused, Slot, Window
from resilient_client.sandbox._budget import RollingBudget

if TYPE_CHECKING:
    from collections.abc import Iterator

repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=150)

MARGIN = 0.02  # seconds


def pacer(*windows: tuple[float, float], margin: float = 0.0, due: float = 30.0) -> Pacer:
    """Make a pacer of (budget, per) pairs, with no margin: times in the tests are round."""
    return Pacer(*(Window(budget, per) for budget, per in windows), margin=margin, due=due)


def reserved(pace: Pacer, cost: float, now: float, until: float | None = None) -> Slot:
    """Reserve what is not refused."""
    slot = pace.reserve(cost, now, until=until)
    assert isinstance(slot, Slot)
    return slot


def sent(pace: Pacer, cost: float, now: float, took: float = 0.0) -> Slot:
    """Send a request that has room, and have it answered."""
    slot = reserved(pace, cost, now)
    assert slot.at == now
    pace.finish(slot, now + took)
    return slot


# ------------------------------------------------------------------------------------------------------- one budget


def test_what_fits_goes_at_once() -> None:
    """Up to the budget, to the last unit."""
    pace = pacer((10, 60))

    assert [reserved(pace, cost, 0.0).at for cost in (1, 4, 5)] == [0.0, 0.0, 0.0]
    assert reserved(pace, 1, 0.0).at > 0.0


def test_a_unit_comes_back_when_the_window_has_passed_its_answer() -> None:
    """Not its sending: the server may have counted it as late as it answered."""
    pace = pacer((10, 60))
    sent(pace, 10, 0.0, took=2.0)

    assert reserved(pace, 1, 3.0).at == 62.0


def test_the_margin_is_added_to_the_window() -> None:
    """For a clock that ticks coarsely."""
    pace = pacer((10, 60), margin=0.5)
    slot = reserved(pace, 10, 0.0)
    assert reserved(pace, 1, 1.0).at == 61.5
    pace.finish(slot, 2.0)

    assert reserved(pace, 1, 3.0).at == 62.5


def test_as_much_as_fits_comes_back_and_no_more() -> None:
    """Each reservation waits for the answers whose units it needs."""
    pace = pacer((10, 60))
    for at in (0.0, 1.0, 2.0):
        sent(pace, 3, at)

    assert [reserved(pace, cost, 3.0).at for cost in (1, 1, 2, 5)] == [3.0, 60.0, 60.0, 62.0]


def test_a_line_longer_than_the_budget_is_laid_out_window_after_window() -> None:
    """Those behind a whole budget's worth wait for those before them to run out, too."""
    pace = pacer((2, 10))

    line = [reserved(pace, 1, 0.0) for _ in range(6)]
    assert [slot.at for slot in line] == [0.0, 0.0, 10.0, 10.0, 20.0, 20.0]

    for slot in line[:4]:
        assert pace.confirm(slot, slot.at) == 0.0
        pace.finish(slot, slot.at)
    assert reserved(pace, 1, 10.0).at == 30.0


def test_several_windows_are_decided_together() -> None:
    """The dual API's writes: 60 in a minute, and 10 of them in a second."""
    pace = pacer((60, 60), (10, 1))
    times = []
    now = 0.0
    for _ in range(70):
        slot = reserved(pace, 1, now)
        now = slot.at
        assert pace.confirm(slot, now) == 0.0
        pace.finish(slot, now)
        times.append(now)

    assert times == [float(second) for second in (0, 1, 2, 3, 4, 5) for _ in range(10)] + [60.0] * 10


def test_nobody_overtakes() -> None:
    """A small request that would fit waits behind a large one that does not."""
    pace = pacer((10, 60))
    sent(pace, 8, 0.0)
    large, small = reserved(pace, 5, 1.0), reserved(pace, 1, 1.0)

    assert large.at == small.at == 60.0
    assert pace.confirm(small, 2.0) == 58.0


def test_a_sleeper_that_wakes_late_loses_nothing_and_holds_nobody_up() -> None:
    """Those behind it may go when their own time has come, for its room is kept."""
    pace = pacer((2, 10))
    sent(pace, 2, 0.0)
    first, second, third = (reserved(pace, 1, 1.0) for _ in range(3))

    assert pace.confirm(second, 10.0) == 0.0
    assert pace.confirm(third, 10.0) > 0.0
    assert pace.confirm(first, 10.0) == 0.0


def test_a_sleeper_may_wake_a_floats_breadth_early() -> None:
    """Sums of seconds are not exact; it is not sent back to sleep for 1e-15 s, which no clock can."""
    pace = pacer((1, 10))
    sent(pace, 1, 0.1)
    slot = reserved(pace, 1, 0.3)

    assert pace.confirm(slot, math.nextafter(slot.at, 0.0)) == 0.0


def test_fractions_of_units_add_up() -> None:
    """0.1 and 0.2 are 0.3 here, though not in floats."""
    pace = pacer((0.3, 60))

    assert [reserved(pace, cost, 0.0).at for cost in (0.1, 0.2, 0.1)] == [0.0, 0.0, 60.0]


def test_what_happened_long_ago_is_forgotten() -> None:
    """The log of a window is bounded, however many requests it has seen."""
    pace = pacer((1_000_000, 60))
    for number in range(20_000):
        sent(pace, 1, number / 100)

    assert len(pace._windows[0]._ends) <= 2 * 2048 + 1
    assert pace._windows[0].used(199.99) == pytest.approx(6000, rel=0.001)


def test_requests_answered_at_nearly_the_same_time_are_one_entry() -> None:
    """Two thousand entries tell a window exactly enough; the entry runs out with the last of them."""
    pace = pacer((100_000, 2048))  # an entry is a second
    for number in range(100):
        sent(pace, 1, number / 20)

    assert len(pace._windows[0]._ends) == 5
    assert pace._windows[0].used(2048 + 0.94) == 100
    assert pace._windows[0].used(2048 + 0.95) == 80


# ------------------------------------------------------------------------------------------------ refusals, giving up


def test_what_can_never_fit_is_refused_at_once() -> None:
    """More than the smallest window's budget: with a reason of its own."""
    pace = pacer((60, 60), (10, 1))

    assert pace.reserve(11, 0.0) == Refused("too_large", math.inf)
    assert isinstance(pace.reserve(10, 0.0), Slot)


def test_a_turn_beyond_the_deadline_is_refused_and_reserves_nothing() -> None:
    """It says when the turn would have come; whoever comes next takes it."""
    pace = pacer((10, 60))
    sent(pace, 10, 0.0)

    assert pace.reserve(10, 1.0, until=59.0) == Refused("deadline", 60.0)
    assert pace.reserve(10, 1.0, until=60.0) == Refused("deadline", 60.0)
    assert reserved(pace, 10, 1.0, until=60.1).at == 60.0


def test_what_costs_nothing_needs_no_place() -> None:
    """A cost of nothing, or less, is a mistake of the caller."""
    for cost in (0, -1, math.nan):
        with pytest.raises(ValueError, match="above 0"):
            pacer((10, 60)).reserve(cost, 0.0)


def test_a_cancelled_turn_goes_to_those_behind() -> None:
    """They hear of it when they confirm, and the version tells them to."""
    pace = pacer((10, 60))
    sent(pace, 4, 0.0)
    sent(pace, 6, 5.0)
    first, second, third = reserved(pace, 4, 6.0), reserved(pace, 4, 6.0), reserved(pace, 1, 6.0)
    assert [first.at, second.at, third.at] == [60.0, 65.0, 65.0]
    before = pace.version

    pace.cancel(first)

    assert pace.version != before
    assert pace.confirm(second, 7.0) == 53.0
    assert reserved(pace, 1, 7.0).at == 65.0
    pace.cancel(third)
    assert pace.confirm(second, 60.0) == 0.0


def test_a_cancelled_turn_moves_those_far_behind() -> None:
    """Also where their turn depends on turns before theirs."""
    pace = pacer((1, 10))
    slots = [reserved(pace, 1, 0.0) for _ in range(4)]
    pace.cancel(slots[1])

    assert pace.confirm(slots[2], 0.0) == 10.0
    assert pace.confirm(slots[3], 0.0) == 20.0
    assert reserved(pace, 1, 0.0).at == 30.0


def test_a_turn_that_was_granted_and_not_used_can_be_given_back() -> None:
    """What was not sent is not counted."""
    pace = pacer((10, 60))
    slot = reserved(pace, 10, 0.0)
    pace.cancel(slot)

    assert reserved(pace, 10, 0.0).at == 0.0


def test_giving_up_twice_gives_nothing_twice() -> None:
    """What has finished or was cancelled stays so, and is not confirmed."""
    pace = pacer((10, 60))
    done, gone = sent(pace, 5, 0.0), reserved(pace, 5, 0.0)
    pace.cancel(gone)
    before = pace.version

    pace.cancel(gone)
    pace.cancel(done)
    pace.finish(gone, 1.0)
    pace.finish(done, 9.0)

    assert pace.version == before
    assert [reserved(pace, 5, 9.0).at, reserved(pace, 5, 9.0).at] == [9.0, 60.0]
    for slot in (done, gone):
        with pytest.raises(LookupError, match=f"slot {slot.number} does not wait"):
            pace.confirm(slot, 9.0)


def test_a_grant_may_be_confirmed_again() -> None:
    """It was granted, and is not granted twice."""
    pace = pacer((10, 60))
    slot = reserved(pace, 6, 0.0)

    assert pace.confirm(slot, 0.0) == 0.0
    assert reserved(pace, 4, 0.0).at == 0.0


# ------------------------------------------------------------------------------------------------------ late answers


def test_what_is_under_way_may_be_counted_any_time_until_it_is_answered() -> None:
    """So its units run out no earlier than a window from now, whenever one asks."""
    pace = pacer((10, 60))
    slow = reserved(pace, 10, 0.0)
    behind = reserved(pace, 1, 1.0)
    assert behind.at == 61.0

    assert pace.confirm(behind, 20.0) == 60.0
    pace.finish(slow, 25.0)
    assert pace.confirm(behind, 61.0) == 24.0
    assert pace.confirm(behind, 85.0) == 0.0


def test_an_answer_that_never_comes_is_taken_as_read_when_it_was_due() -> None:
    """A caller that vanished holds its room no longer than that; what it says later changes nothing."""
    pace = pacer((10, 60), due=30)
    lost = reserved(pace, 10, 0.0)

    assert reserved(pace, 10, 100.0).at == 100.0
    pace.finish(lost, 101.0)
    pace.cancel(lost)
    assert reserved(pace, 1, 102.0).at > 102.0


def test_a_time_told_late_does_not_turn_the_clock_back() -> None:
    """A thread looks at the clock, and may come to the lock much later: what has run out stays so."""
    pace = pacer((10, 1))
    sent(pace, 10, 0.0)
    late = reserved(pace, 5, 1.5)
    sent(pace, 5, 9.0)
    pace.finish(late, 1.5005)

    assert [reserved(pace, 1, now).at for now in (2.0, 9.5, 9.5)] == [10.0, 10.0, 10.0]


# --------------------------------------------------------------------------------------------- what the server says


def test_one_refusal_holds_everybody_back() -> None:
    """Whoever waits and whoever comes, until the time that the server named."""
    pace = pacer((60, 60))
    refused = reserved(pace, 1, 0.0)
    pace.finish(refused, 0.0)
    pace.hold(0.0, 7.0)

    assert reserved(pace, 1, 3.0).at == 7.0


def test_after_a_hold_they_drip() -> None:
    """At the budget's own rate, by weight, and not as a crowd; a minute later the count of old stands."""
    pace = pacer((60, 60))
    pace.hold(0.0, 7.0)
    slots = [reserved(pace, cost, 1.0) for cost in (1, 1, 5, 1)]
    assert [slot.at for slot in slots] == [7.0, 8.0, 9.0, 14.0]

    for slot in slots:
        assert pace.confirm(slot, slot.at) == 0.0
        pace.finish(slot, slot.at)
    assert reserved(pace, 1, 14.5).at == 15.0
    assert [reserved(pace, 1, 67.0).at for _ in range(9)] == [67.0] * 9


def test_who_was_promised_a_turn_before_the_hold_hears_of_it() -> None:
    """When they confirm."""
    pace = pacer((10, 60))
    sent(pace, 10, 0.0)
    slot = reserved(pace, 1, 1.0)
    assert slot.at == 60.0
    pace.hold(30.0, 60.0)

    assert pace.confirm(slot, 60.0) == 30.0


def test_the_longer_of_two_holds_counts() -> None:
    """A crowd of refusals names nearly the same time, in any order."""
    pace = pacer((60, 60))
    pace.hold(0.0, 50.0)
    pace.hold(0.5, 2.0)

    assert [reserved(pace, 30, 1.0).at for _ in range(2)] == [50.0, 80.0]


def test_turns_that_depend_on_turns_move_with_a_hold() -> None:
    """Whoever comes after it finds those who wait where they now are."""
    pace = pacer((1, 10))
    sent(pace, 1, 0.0)
    assert [reserved(pace, 1, 0.0).at for _ in range(3)] == [10.0, 20.0, 30.0]
    pace.hold(0.0, 12.0)

    assert reserved(pace, 1, 0.0).at == 42.0


def test_the_drip_after_a_hold_is_that_of_the_slowest_window() -> None:
    """Which of them was in the way, nobody said."""
    pace = pacer((300, 60), (50, 1))
    pace.hold(0.0, 1.0)

    assert [reserved(pace, 1, 0.0).at for _ in range(3)] == [1.0, 1.2, 1.4]


def test_a_day_long_window_drips_for_a_minute_at_the_most() -> None:
    """A drip of one call in nine seconds for a whole day would outlast its reason."""
    pace = pacer((10_000, 86_400))
    pace.hold(0.0, 1.0)

    assert [reserved(pace, 1, 0.0).at for _ in range(9)][-3:] == [pytest.approx(1 + 6 * 8.64), 61.0, 61.0]


def test_a_hold_says_what_others_have_spent() -> None:
    """The budget was used up, and of it this pacer knew so much: answered, or under way."""
    pace = pacer((100, 60))
    sent(pace, 20, 0.0)
    reserved(pace, 10, 1.0)
    refused = reserved(pace, 5, 1.0)
    pace.finish(refused, 1.0)

    assert pace.hold(1.0, 5.0) == 65.0


def test_a_hold_that_our_own_count_explains_says_nothing_of_others() -> None:
    """It is any of the windows that may have been in the way: the least is told."""
    pace = pacer((100, 60), (5, 1))
    sent(pace, 5, 0.0)

    assert pace.hold(0.0, 1.0) == 0.0


def test_the_servers_count_is_believed_where_it_is_the_larger_one() -> None:
    """Others have spent what is missing, until the time at which the server says that there is more."""
    pace = pacer((100, 60))
    sent(pace, 10, 0.0)
    pace.learn(0.0, remaining=30, limit=100, reset_in=20.0)

    assert [reserved(pace, cost, 1.0).at for cost in (30, 1)] == [1.0, 20.0]


def test_the_servers_count_is_not_believed_where_it_is_the_smaller_one() -> None:
    """It has not seen yet what is under way, or counts in another way."""
    pace = pacer((100, 60))
    sent(pace, 90, 0.0)
    pace.learn(0.0, remaining=90, limit=1000, reset_in=20.0)

    assert [reserved(pace, cost, 1.0).at for cost in (10, 1)] == [1.0, 60.0]


def test_the_next_word_replaces_the_last() -> None:
    """More careful as long as there is reason, and no longer; those who wait may ask again."""
    pace = pacer((100, 60))
    pace.learn(0.0, remaining=10, reset_in=50.0)
    slot = reserved(pace, 20, 1.0)
    assert slot.at == 50.0
    before = pace.version
    pace.learn(2.0, remaining=80, reset_in=48.0)

    assert pace.version != before
    assert pace.confirm(slot, 2.0) == 0.0


def test_nothing_left_means_nobody_goes_until_the_reset() -> None:
    """A fixed window of the server's gives nothing back before it, whatever our own has let go."""
    pace = pacer((10, 60))
    sent(pace, 10, 0.0)
    pace.learn(55.0, remaining=0, reset_in=30.0)

    assert reserved(pace, 1, 61.0).at == 85.0


def test_turns_that_depend_on_turns_move_with_a_word() -> None:
    """Later with a worse one, and sooner with a better one."""
    pace = pacer((1, 10))
    sent(pace, 1, 0.0)
    first = reserved(pace, 1, 0.0)
    pace.learn(0.0, remaining=0, reset_in=35.0)
    assert reserved(pace, 1, 0.0).at == 45.0
    before = pace.version
    pace.learn(0.0, remaining=0, reset_in=15.0)

    assert pace.version != before
    assert pace.confirm(first, 0.0) == 15.0
    assert reserved(pace, 1, 0.0).at == 35.0


def test_a_word_that_changes_nothing_wakes_nobody() -> None:
    """Most answers say no more than is known."""
    pace = pacer((10, 60))
    sent(pace, 4, 0.0)
    pace.learn(0.0, remaining=6, limit=10, reset_in=60.0)
    pace.learn(1.0, remaining=6, limit=10, reset_in=9.0)
    pace.learn(2.0, remaining=3, limit=10, reset_in=8.0)
    pace.learn(20.0, remaining=6, limit=10, reset_in=40.0)

    assert pace.version == 0


def test_a_word_without_a_time_lasts_as_long_as_the_window() -> None:
    """Then the pacer's own count stands again."""
    pace = pacer((100, 60))
    pace.learn(0.0, remaining=10)

    assert [reserved(pace, cost, 1.0).at for cost in (10, 1)] == [1.0, 60.0]


def test_a_lower_limit_counts_and_a_higher_one_does_not() -> None:
    """A partner's budget may be smaller than the published one; a larger one is for the policy to say."""
    small, large = pacer((100, 60)), pacer((100, 60))
    small.learn(0.0, limit=40, reset_in=60.0)
    large.learn(0.0, limit=400, reset_in=60.0)

    assert [reserved(small, cost, 0.0).at for cost in (40, 1)] == [0.0, 60.0]
    assert [reserved(large, cost, 0.0).at for cost in (100, 1)] == [0.0, 60.0]


def test_a_word_is_about_the_window_that_has_its_limit() -> None:
    """The dual API names the burst's limit where the burst is used up."""
    pace = pacer((300, 60), (50, 1))
    pace.learn(0.0, remaining=10, limit=50)
    assert [reserved(pace, cost, 0.0).at for cost in (10, 1)] == [0.0, 1.0]

    pace = pacer((300, 60), (50, 1))
    pace.learn(0.0, remaining=40, limit=300, reset_in=30.0)
    assert reserved(pace, 40, 0.0).at == 0.0
    assert reserved(pace, 1, 2.0).at == 30.0


# --------------------------------------------------------------------------------------------- a brute-force model


class Model:
    """The same rules with nothing kept but what happened: every question looks at all of it."""

    def __init__(self, *windows: tuple[float, float]) -> None:
        self.windows = windows
        self.now = 0.0
        self.answered: list[tuple[float, float]] = []  # when, cost
        self.flying: dict[int, float] = {}
        self.line: dict[int, float] = {}
        self.held = self.drip = self.calm = -math.inf
        self.words = dict.fromkeys(windows, (0.0, -math.inf))  # withheld, until
        self.rate = min(budget / per for budget, per in windows)
        self.longest = max(windows, key=lambda window: window[1])

    def earliest(self, number: int | None, cost: float) -> float:
        """Lay out all turns anew up to this one's."""
        plan: list[tuple[float, float]] = []
        for each, its_cost in self.line.items():
            if each == number:
                break
            plan.append((self._first(its_cost, plan), its_cost))
        return self._first(cost, plan)

    def _first(self, cost: float, plan: list[tuple[float, float]]) -> float:
        """Try each moment at which something changes."""
        drip = min(self.drip + sum(each for _, each in plan) / self.rate, self.calm)
        moments = {self.now, self.held, drip, self.calm, *(until for _, until in self.words.values())}
        for _, per in self.windows:
            ends = [at for at, _ in [*self.answered, *plan]]
            moments |= {at + (per + MARGIN) for at in [*ends, self.now]}
        return next(
            at
            for at in sorted(moments)
            if at >= max(self.now, self.held)
            and (at >= self.calm or at >= drip)
            and all(self._fits(window, cost, plan, at) for window in self.windows)
        )

    def _fits(
        self, window: tuple[float, float], cost: float, plan: list[tuple[float, float]], at: float
    ) -> bool:
        budget, per = window
        held = [each for answered, each in self.answered if at < answered + (per + MARGIN)]
        held += [each for turn, each in plan if at < turn + (per + MARGIN)]
        held += self.flying.values() if at < self.now + (per + MARGIN) else []
        return sum(held) + cost + self._withheld(window, at) <= budget

    def _withheld(self, window: tuple[float, float], at: float) -> float:
        withheld, until = self.words[window]
        return withheld if at < until else 0.0

    def go(self, number: int, cost: float) -> None:
        """Grant a turn."""
        self.line.pop(number, None)
        self.flying[number] = cost
        if self.now < self.calm:
            self.drip += cost / self.rate

    def finish(self, number: int) -> None:
        """Take an answer."""
        self.answered.append((self.now, self.flying.pop(number)))

    def hold(self, seconds: float) -> None:
        """Take a 429."""
        self.held = max(self.held, self.now + seconds)
        self.drip = max(self.drip, self.held)
        self.calm = self.held + min(self.longest[1], 60.0)

    def learn(self, remaining: float, reset_in: float) -> None:
        """Take a header."""
        budget, per = self.longest
        ours = sum(cost for at, cost in self.answered if self.now < at + (per + MARGIN))
        ours += sum(self.flying.values())
        withheld = math.inf if remaining == 0 else max(0.0, budget - remaining - ours)
        self.words[self.longest] = withheld, self.now + reset_in


WINDOWS = st.sampled_from([((10, 8),), ((10, 8), (4, 2)), ((4, 2), (10, 8), (15, 20))])
COSTS = st.sampled_from([1, 1, 1, 2, 4])
WORDS = st.one_of(
    st.tuples(st.just("hold"), st.sampled_from([1.0, 3.0])),
    st.tuples(st.just("learn"), st.tuples(st.integers(0, 10), st.sampled_from([1.0, 5.0]))),
)
RESERVING = st.tuples(st.just("reserve"), COSTS)
CANCELLING = st.tuples(st.just("cancel"), st.integers(0, 9))


class Both:
    """A pacer and the model, told the same."""

    def __init__(self, windows: tuple[tuple[float, float], ...]) -> None:
        self.pace = pacer(*windows, margin=MARGIN, due=1e9)
        self.model = Model(*windows)
        self.slots: dict[int, Slot] = {}
        self.granted: dict[int, float] = {}  # number -> when

    @property
    def now(self) -> float:
        return self.model.now

    def reserve(self, cost: float) -> tuple[Slot, float]:
        """Reserve in both; give the slot and the model's time."""
        expected = self.model.earliest(None, cost)
        slot = reserved(self.pace, cost, self.now)
        self.slots[slot.number] = slot
        if expected <= self.now:
            self.grant(slot)
        else:
            self.model.line[slot.number] = cost
        assert (slot.at <= self.now) == (expected <= self.now)
        return slot, expected

    def confirm(self, slot: Slot) -> tuple[float, float]:
        """Confirm in both; give both waits."""
        expected = max(0.0, self.model.earliest(slot.number, slot.cost) - self.now)
        wait = self.pace.confirm(slot, self.now)
        assert (wait == 0) == (expected <= 1e-6)
        if wait == 0:
            self.grant(slot)
        return wait, expected

    def grant(self, slot: Slot) -> None:
        self.model.go(slot.number, slot.cost)
        self.granted[slot.number] = self.now

    def finish(self, number: int) -> None:
        self.model.finish(number)
        self.pace.finish(self.slots[number], self.now)

    def cancel(self, place: int) -> None:
        """Give up who has this place in the line, if anybody."""
        numbers = [*self.model.line]
        if numbers:
            number = numbers[place % len(numbers)]
            del self.model.line[number]
            self.pace.cancel(self.slots[number])

    def hold(self, seconds: float) -> None:
        """Take a 429."""
        self.pace.hold(self.now, seconds)
        self.model.hold(seconds)

    def learn(self, word: tuple[float, float]) -> None:
        """Take a header: what remains, and the seconds until the reset."""
        remaining, reset_in = word
        self.pace.learn(self.now, remaining=remaining, reset_in=reset_in)
        self.model.learn(remaining, reset_in)


class Punctual(Both):
    """Answers come at once, and sleepers wake in time."""

    def reserve(self, cost: float) -> tuple[Slot, float]:
        """Take the very turn that the model finds."""
        slot, expected = super().reserve(cost)
        assert slot.at == pytest.approx(expected)
        if slot.number in self.model.flying:
            self.finish(slot.number)
        return slot, expected

    def later(self, seconds: float) -> None:
        """Let time pass; each goes when their turn comes."""
        until = self.now + seconds
        while self.model.line:
            number, cost = next(iter(self.model.line.items()))
            turn = self.model.earliest(number, cost)
            if turn > until:
                break
            self.model.now = max(self.now, turn)
            assert self.confirm(self.slots[number])[0] == 0
            self.finish(number)
        self.model.now = until

    def check(self) -> None:
        """Ask for everybody's turn: it is the model's."""
        for number, cost in self.model.line.items():
            wait = self.model.earliest(number, cost) - self.now
            assert self.pace.confirm(self.slots[number], self.now) == pytest.approx(wait)


class Unruly(Both):
    """Answers are late, sleepers are late, and some ask before their time."""

    def __init__(self, windows: tuple[tuple[float, float], ...], chance: Random) -> None:
        super().__init__(windows)
        self.chance = chance
        self.arrivals: list[tuple[float, float]] = []  # at a time of the server's choice, and the cost

    def reserve(self, cost: float) -> tuple[Slot, float]:
        """Be told a turn that is no later than the model's."""
        slot, expected = super().reserve(cost)
        assert slot.at <= expected + 1e-6
        return slot, expected

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.model.now += seconds

    def ask(self, place: int) -> None:
        """Confirm somebody's turn; the wait is no longer than the model's."""
        numbers = [*self.model.line]
        if numbers:
            wait, expected = self.confirm(self.slots[numbers[place % len(numbers)]])
            assert wait <= expected + 1e-6

    def answer(self, place: int) -> None:
        """Have the server count one of those under way, and answer it."""
        numbers = [*self.model.flying]
        if numbers:
            number = numbers[place % len(numbers)]
            self.arrivals.append(
                (self.chance.uniform(self.granted[number], self.now), self.slots[number].cost)
            )
            self.finish(number)


@repeatable
@given(
    windows=WINDOWS,
    history=st.lists(
        st.one_of(RESERVING, RESERVING, CANCELLING, st.tuples(st.just("later"), st.just(1.0)), WORDS),
        max_size=40,
    ),
)
@example(
    windows=((10, 8), (4, 2)),
    history=[("reserve", 1), ("reserve", 4), ("learn", (0, 1.0)), ("reserve", 1), ("learn", (0, 5.0))],
)
def test_turns_are_the_models_where_everybody_is_punctual(
    windows: tuple[tuple[float, float], ...], history: list[tuple[str, Any]]
) -> None:
    """Answers come at once and sleepers wake in time: each turn is the earliest that there is, and they go in order."""
    both = Punctual(windows)
    for what, value in history:
        getattr(both, what)(value)
        both.later(0.0)  # whose turn now comes sooner than they were told, go
        both.check()
    both.later(300.0)

    assert both.model.line == {}
    assert all(earlier <= later for (_, earlier), (_, later) in pairwise(sorted(both.granted.items())))


LATER = st.tuples(st.just("later"), st.sampled_from([0.25, 0.5, 1.0, 2.0, 5.0]))
ASKING = st.tuples(st.just("ask"), st.integers(0, 9))
ANSWERING = st.tuples(st.just("answer"), st.integers(0, 9))


@repeatable
@given(
    windows=WINDOWS,
    history=st.lists(
        st.one_of(RESERVING, RESERVING, CANCELLING, WORDS, LATER, ASKING, ASKING, ANSWERING, ANSWERING),
        max_size=60,
    ),
    chance=st.randoms(use_true_random=False),
)
@example(
    windows=((10, 8), (4, 2)),
    history=[("hold", 1.0), ("reserve", 1), ("reserve", 1), ("later", 1.0), ("ask", 0), ("reserve", 4)],
    chance=Random(1),  # noqa: S311 - for times, not for secrets
)
@example(
    windows=((10, 8),),
    history=[("hold", 3.0), ("reserve", 4), ("later", 5.0), ("reserve", 1)],
    chance=Random(1),  # noqa: S311 - as above
)
def test_any_history_is_granted_as_the_model_would_and_the_server_never_sees_too_much(
    windows: tuple[tuple[float, float], ...], history: list[tuple[str, Any]], chance: Random
) -> None:
    """Late answers, late sleepers, early questions: a turn is granted when the model grants it, and told no later.

    The server counts each request at a time of its own choice between its sending and its answer.
    """
    both = Unruly(windows, chance)
    for what, value in history:
        getattr(both, what)(value)
    both.later(1.0)
    while both.model.flying:
        both.answer(0)

    for budget, per in windows:
        for end, _ in both.arrivals:
            assert sum(cost for at, cost in both.arrivals if end - per < at <= end) <= budget


# ------------------------------------------------------------------------------------------------ against a server


def drain(
    windows: list[tuple[int, float]],
    weights: dict[int, float],
    *,
    seed: int,
    latency: tuple[float, float],
    workers: int = 32,
    cycles: int = 10,
) -> tuple[int, float]:
    """Let workers send as fast as the pacer lets them, for so many of the first window.

    Give the number of 429s, and the share of the budget that was used. A request arrives a part of the latency after
    its sending, and its answer comes another part later.
    """
    random, order = Random(seed), count()  # noqa: S311 - for times, not for secrets
    pace = Pacer(*(Window(budget, per) for budget, per in windows))
    servers = [RollingBudget(budget, per) for budget, per in windows]
    budget, per = windows[0]
    begin, end = per, per * (cycles + 1)
    refusals = used = 0
    events: list[tuple[float, int, str, Any]] = []

    def then(at: float, what: str, slot: Slot | None) -> None:
        heapq.heappush(events, (at, next(order), what, slot))

    for number in range(workers):
        then(number / 1000, "idle", None)
    while events[0][0] < end:
        now, _, what, slot = heapq.heappop(events)
        if what == "idle":
            (cost,) = random.choices([*weights], [*weights.values()])
            slot = reserved(pace, cost, now)
            then(slot.at, "turn", slot)
        elif what == "turn":
            wait = pace.confirm(slot, now)
            then(now + (wait or random.uniform(*latency)), "turn" if wait else "arrival", slot)
        elif what == "arrival":
            refusals += any(server.wait(slot.cost, now) for server in servers)
            for server in servers:
                server.spend(slot.cost, now)
            used += slot.cost if now >= begin else 0
            then(now + random.uniform(*latency), "answer", slot)
        else:
            pace.finish(slot, now)
            then(now, "idle", None)
    return refusals, used / (budget * cycles)


@pytest.mark.parametrize("latency", [(0.001, 0.01), (0.02, 0.2)])
def test_a_weighted_budget_is_used_up_and_never_overdrawn(latency: tuple[float, float]) -> None:
    """0trace: 2500 units a minute; 32 workers that spend 50, 5 and 1 use 99 % of them, with no 429.

    What they do not use is what a request for 50 leaves idle while it waits for the last of its units: by chance 0 to
    49 of the 2500, hence the mean of eight runs.
    """
    runs = [
        drain([(2500, 60.0)], {1: 0.6, 5: 0.25, 50: 0.15}, seed=seed, latency=latency) for seed in range(8)
    ]

    assert [refusals for refusals, _ in runs] == [0] * 8
    assert fmean(used for _, used in runs) >= 0.99


@pytest.mark.parametrize("latency", [(0.0, 0.0), (0.0, 0.5), (0.3, 5.0)])
def test_no_latency_makes_a_429(latency: tuple[float, float]) -> None:
    """However late a request arrives, and whichever it overtakes; the burst's window of a second included."""
    refusals, used = drain([(300, 60.0), (50, 1.0)], {1: 1.0}, seed=1, latency=latency)

    assert refusals == 0
    assert used >= 0.9


def test_one_refusal_of_a_newcomer_is_followed_by_no_second_one() -> None:
    """Another process has spent the whole budget, evenly: one 429, and the others go as what it spent runs out."""
    pace, server = Pacer(Window(2500, 60)), RollingBudget(2500, 60)
    for number in range(50):
        server.spend(50, number * 1.2)
    refused = reserved(pace, 50, 59.5)
    retry_after = server.wait(50, 59.5)
    pace.finish(refused, 59.5)
    assert pace.hold(59.5, retry_after) == 2450.0

    slots = [reserved(pace, 50, 59.5) for _ in range(32)]
    for slot in slots:
        assert pace.confirm(slot, slot.at) == 0.0
        assert server.wait(50, slot.at) == 0
        server.spend(50, slot.at)
        pace.finish(slot, slot.at)
    assert [later.at - earlier.at for earlier, later in pairwise(slots)] == pytest.approx([1.2] * 31)


# -------------------------------------------------------------------------------------------------- threads, words


@pytest.fixture
def _hasty_threads() -> Iterator[None]:
    """Have threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_hasty_threads")
def test_threads_share_a_budget_to_the_unit() -> None:
    """Eight threads reserve and finish or cancel at once: what is granted is the budget, and the books are even."""
    pace = pacer((500, 60), (500, 1))

    def work(_: int) -> int:
        granted = 0
        for _ in range(125):
            slot = reserved(pace, 1, 0.0)
            if slot.at == 0.0:
                granted += 1
                pace.finish(slot, 0.0)
            else:
                pace.cancel(slot)
        return granted

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 500
    assert pace._windows[0].used(0.0) == 500
    assert (pace._sent, pace._line, pace._sent_units, pace._line_units) == ({}, {}, 0.0, 0.0)


@pytest.mark.usefixtures("_hasty_threads")
def test_threads_that_wait_each_have_their_turn_once() -> None:
    """Eight threads confirm and finish a line of 400 at once, in no order: all are granted, and each is counted."""
    pace = pacer((400, 60))
    sent(pace, 400, 0.0)
    line = [reserved(pace, 1, 0.0) for _ in range(400)]

    def work(first: int) -> None:
        for slot in line[first::8]:
            assert pace.confirm(slot, 60.0) == 0.0
            pace.finish(slot, 60.0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert pace._windows[0].used(60.0) == 400
    assert (pace._sent, pace._line, pace._sent_units, pace._line_units) == ({}, {}, 0.0, 0.0)


def test_a_long_line_is_laid_out_once() -> None:
    """Five thousand wait: each has its turn, in order, and the turns of those who have gone are forgotten."""
    pace = pacer((10, 1))
    line = [reserved(pace, 1, 0.0) for _ in range(5000)]
    assert [slot.at for slot in line] == [float(number // 10) for number in range(5000)]

    for slot in line:
        assert pace.confirm(slot, slot.at) == 0.0
        pace.finish(slot, slot.at)
        assert len(pace._marks) <= 5000
    assert pace._marks == []


@pytest.mark.parametrize(
    ("make", "mend"),
    [
        (lambda: Window(0, 60), "budget must be units above 0"),
        (lambda: Window(math.inf, 60), "budget must be units above 0"),
        (lambda: Window(10, math.nan), "per must be seconds above 0"),
        (lambda: Window(10, -1), "per must be seconds above 0"),
        (Pacer, "at least one Window"),
        (lambda: Pacer(Window(1, 1), margin=-1), "margin must be seconds, 0 or more"),
        (lambda: Pacer(Window(1, 1), due=0), "due must be seconds above 0"),
    ],
)
def test_a_pace_that_makes_no_sense_is_refused(make: Any, mend: str) -> None:
    """The message names the word and says what is right."""
    with pytest.raises(ValueError, match=mend):
        make()


def test_to_ask_for_the_earliest_moment_changes_nothing() -> None:
    """It is what `reserve` would say, and nobody's place is another for having asked."""
    pacer, asked = (Pacer(Window(10, 60)) for _ in range(2))
    for engine in (pacer, asked):
        for _ in range(2):
            slot = engine.reserve(5, 0.0)
            assert isinstance(slot, Slot)
            engine.finish(slot, 1.0)
    told = [asked.earliest(cost, 2.0) for cost in (5, 10, 11)]
    taken = pacer.reserve(5, 2.0)

    assert isinstance(taken, Slot)
    assert told == [taken.at, taken.at, math.inf]
    assert asked.reserve(5, 2.0) == taken
