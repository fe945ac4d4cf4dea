"""The bulkhead: its limit holds, its queue is in order, and a learned limit finds what the host bears."""

from __future__ import annotations

import heapq
import itertools
import random
import sys
import threading
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_client._guard.bulkhead import Adaptive, Bulkhead, BulkheadConfig, Place


def bulkhead_of(limit: int | Adaptive, queue: int = 0) -> Bulkhead:
    """Make a bulkhead, without a queue where none is asked for."""
    return Bulkhead(BulkheadConfig(limit, queue))


def place_of(answer: Place | None, state: str = "granted") -> Place:
    """Take a place in this state, and say so if it is another."""
    assert answer is not None, "refused"
    assert answer.state == state
    return answer


# ------------------------------------------------------------------------------------------------ its numbers


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({"limit": 0}, r"limit must be at least 1 \(got 0\)"),
        ({"limit": 1, "queue": -1}, r"queue must be at least 0 \(got -1\)"),
    ],
)
def test_a_bulkhead_that_could_not_work_is_not_made(numbers: dict[str, Any], told: str) -> None:
    """The error says what is right."""
    with pytest.raises(ValueError, match=told):
        bulkhead_of(**numbers)


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({"floor": 0}, "floor, start and ceiling must be at least 1"),
        ({"start": 4, "floor": 5}, r"each at least the one before \(got 5, 4, 200\)"),
        ({"start": 4, "ceiling": 3}, r"each at least the one before \(got 1, 4, 3\)"),
        ({"backoff": 1.0}, r"backoff must be a share above 0, below 1 \(got 1.0\)"),
        ({"backoff": 0.0}, "backoff must be a share above 0, below 1"),
    ],
)
def test_a_limit_that_could_not_be_learned_is_not_made(numbers: dict[str, Any], told: str) -> None:
    """The error says what is right."""
    with pytest.raises(ValueError, match=told):
        Adaptive(**numbers)


# ------------------------------------------------------------------------------------------------ places and queue


def test_so_many_go_and_the_next_is_refused() -> None:
    """Two of three, where nobody may wait."""
    bulkhead = bulkhead_of(2)
    assert [bulkhead.acquire() is not None for _ in range(3)] == [True, True, False]


def test_a_place_that_is_given_back_can_be_taken() -> None:
    """One after the other, as often as one likes."""
    bulkhead = bulkhead_of(1)
    for _ in range(3):
        assert bulkhead.release(place_of(bulkhead.acquire())) == []


def test_so_many_may_wait() -> None:
    """One goes, two wait, the fourth is refused."""
    bulkhead = bulkhead_of(1, queue=2)
    states = [place.state if place is not None else None for place in (bulkhead.acquire() for _ in range(4))]
    assert states == ["granted", "waiting", "waiting", None]


def test_who_waits_goes_in_the_order_of_arrival() -> None:
    """Each release lets the first of them go."""
    bulkhead = bulkhead_of(1, queue=3)
    going, *waiting = (place_of(bulkhead.acquire(), state) for state in ("granted", *["waiting"] * 3))
    for expected in waiting:
        assert bulkhead.release(going) == [expected]
        assert expected.state == "granted"
        going = expected
    assert bulkhead.in_use == 1


def test_a_newcomer_does_not_overtake() -> None:
    """The place that is given back is the first waiter's before anybody else can ask."""
    bulkhead = bulkhead_of(1, queue=2)
    first, second = place_of(bulkhead.acquire()), place_of(bulkhead.acquire(), "waiting")
    bulkhead.release(first)
    place_of(bulkhead.acquire(), "waiting")
    assert second.state == "granted"


def test_a_waiter_that_gives_up_leaves_no_trace() -> None:
    """The one behind it goes in its stead, and its place in the queue is free."""
    bulkhead = bulkhead_of(1, queue=2)
    first = place_of(bulkhead.acquire())
    second, third = (place_of(bulkhead.acquire(), "waiting") for _ in range(2))
    assert bulkhead.release(second) == []
    assert bulkhead.waiting == 1
    place_of(bulkhead.acquire(), "waiting")
    assert bulkhead.release(first) == [third]


def test_a_waiter_that_gives_up_as_it_is_granted_passes_its_place_on() -> None:
    """It was cancelled before it could be woken."""
    bulkhead = bulkhead_of(1, queue=2)
    first = place_of(bulkhead.acquire())
    second, third = (place_of(bulkhead.acquire(), "waiting") for _ in range(2))
    assert bulkhead.release(first) == [second]
    assert bulkhead.release(second) == [third]


def test_a_place_is_given_back_once() -> None:
    """Giving it back again makes no room."""
    bulkhead = bulkhead_of(2, queue=1)
    first = place_of(bulkhead.acquire())
    place_of(bulkhead.acquire())
    for _ in range(3):
        bulkhead.release(first)
    assert bulkhead.in_use == 1
    place_of(bulkhead.acquire())
    place_of(bulkhead.acquire(), "waiting")


def test_a_fixed_limit_learns_nothing() -> None:
    """Whatever its calls say."""
    bulkhead = bulkhead_of(4)
    for overloaded in [True] * 10 + [False] * 100:
        bulkhead.release(place_of(bulkhead.acquire()), overloaded=overloaded)
    assert bulkhead.limit == 4


# ------------------------------------------------------------------------------------------------ a learned limit


def filled(start: int, queue: int = 0, **numbers: Any) -> tuple[Bulkhead, list[Place]]:
    """Make a bulkhead that learns, and take all of its places."""
    bulkhead = bulkhead_of(Adaptive(start=start, **({"backoff": 0.7} | numbers)), queue)
    return bulkhead, [place_of(bulkhead.acquire()) for _ in range(start)]


def test_an_overload_lowers_the_limit() -> None:
    """Ten, and seven are left."""
    bulkhead, places = filled(10)
    bulkhead.release(places[0], overloaded=True)
    assert bulkhead.limit == 7


def test_one_overload_lowers_it_once_however_many_calls_it_broke() -> None:
    """All ten that were under way failed together."""
    bulkhead, places = filled(10)
    for place in places:
        bulkhead.release(place, overloaded=True)
    assert bulkhead.limit == 7


def test_the_next_round_trip_may_lower_it_again() -> None:
    """7, and then 4."""
    bulkhead, places = filled(10)
    for place in places:
        bulkhead.release(place, overloaded=True)
    for place in [place_of(bulkhead.acquire()) for _ in range(7)]:
        bulkhead.release(place, overloaded=True)
    assert bulkhead.limit == 4


def test_it_is_not_lowered_below_its_floor() -> None:
    """Three, whatever happens."""
    bulkhead = bulkhead_of(Adaptive(start=4, floor=3))
    for _ in range(10):
        bulkhead.release(place_of(bulkhead.acquire()), overloaded=True)
    assert bulkhead.limit == 3


def test_a_round_trip_of_calls_that_fill_it_raises_it_by_one() -> None:
    """Ten that worked, each of them replaced as it ended: eleven."""
    bulkhead, places = filled(10, queue=11)
    for _ in range(11):
        place_of(bulkhead.acquire(), "waiting")
    for place in places[:9]:
        assert len(bulkhead.release(place, overloaded=False)) == 1
        assert bulkhead.limit == 10
    assert len(bulkhead.release(places[9], overloaded=False)) == 2
    assert bulkhead.limit == 11


def test_calls_that_do_not_fill_it_do_not_raise_it() -> None:
    """Nine of ten at a time prove nothing about eleven."""
    bulkhead, places = filled(10)
    bulkhead.release(places[0])
    for _ in range(1000):
        bulkhead.release(places.pop(), overloaded=False)
        places.append(place_of(bulkhead.acquire()))
    assert bulkhead.limit == 10


def test_it_is_not_raised_above_its_ceiling() -> None:
    """Three, however long it works."""
    bulkhead = bulkhead_of(Adaptive(start=1, ceiling=3))
    for _ in range(100):
        for place in [place_of(bulkhead.acquire()) for _ in range(bulkhead.limit)]:
            bulkhead.release(place, overloaded=False)
    assert bulkhead.limit == 3


def test_what_was_under_way_when_it_was_lowered_does_not_raise_it() -> None:
    """Nine that worked were sent under the old limit, and fill the new one only because it is smaller."""
    bulkhead, places = filled(10)
    bulkhead.release(places[0], overloaded=True)
    for place in places[1:]:
        bulkhead.release(place, overloaded=False)
    for place in [place_of(bulkhead.acquire()) for _ in range(7)][:-1]:
        bulkhead.release(place)
    assert bulkhead.limit == 7


def test_an_overload_takes_back_what_was_not_enough_to_raise_it() -> None:
    """Nine of ten that filled it, an overload, and six of seven: it stands at seven."""
    bulkhead, places = filled(10)
    for _ in range(9):
        bulkhead.release(places.pop(), overloaded=False)
        places.append(place_of(bulkhead.acquire()))
    bulkhead.release(places.pop(), overloaded=True)
    for place in places:
        bulkhead.release(place)
    places = [place_of(bulkhead.acquire()) for _ in range(7)]
    for _ in range(6):
        bulkhead.release(places.pop(), overloaded=False)
        places.append(place_of(bulkhead.acquire()))
    assert bulkhead.limit == 7


def test_a_call_that_says_nothing_changes_nothing() -> None:
    """Cancelled, or failed in a way that is not the host's load."""
    bulkhead, places = filled(2)
    for _ in range(20):
        bulkhead.release(places.pop())
        places.append(place_of(bulkhead.acquire()))
    assert bulkhead.limit == 2


def test_a_waiter_counts_in_the_round_in_which_it_was_granted() -> None:
    """It waited through a decrease; its own overload is news."""
    bulkhead, places = filled(2, queue=1, floor=1)
    waiter = place_of(bulkhead.acquire(), "waiting")
    assert bulkhead.release(places[0], overloaded=True) == []
    assert bulkhead.limit == 1
    assert bulkhead.release(places[1], overloaded=True) == [waiter]
    bulkhead.release(waiter, overloaded=False)
    assert bulkhead.limit == 2


def test_nobody_goes_until_a_lowered_limit_is_met() -> None:
    """Ten are under way, seven may be: the fourth that ends lets one go."""
    bulkhead, places = filled(10, queue=1)
    waiter = place_of(bulkhead.acquire(), "waiting")
    told = [bulkhead.release(place, overloaded=True) for place in places[:4]]
    assert told == [[], [], [], [waiter]]


# ------------------------------------------------------------------------------------------------ any history


class Naive:
    """The same bulkhead, told plainly: one list of all callers, looked through for every answer."""

    def __init__(self, limit: int | Adaptive, queue: int) -> None:
        self.adaptive = limit if isinstance(limit, Adaptive) else None
        self.size = limit.start if isinstance(limit, Adaptive) else limit
        self.filled: list[int] = []  # by each call that filled it since it last changed
        self.queue = queue
        self.callers: list[list[Any]] = []  # name, granted, lowered: in the order of arrival
        self.lowered = 0

    def acquire(self, name: int) -> str | None:
        """Answer as `Bulkhead.acquire` does."""
        if self.inside() >= self.size and len(self.callers) - self.inside() >= self.queue:
            return None
        self.callers.append([name, False, 0])
        return "granted" if self.let_go() else "waiting"

    def inside(self) -> int:
        """Count who has a place."""
        return sum(granted for _, granted, _ in self.callers)

    def let_go(self) -> list[int]:
        """Let the first go, as many as there is room for."""
        gone = []
        for caller in self.callers:
            if not caller[1] and self.inside() < self.size:
                caller[1:] = True, self.lowered
                gone.append(caller[0])
        return gone

    def release(self, name: int, *, overloaded: bool | None) -> list[int]:
        """Answer as `Bulkhead.release` does."""
        found = [caller for caller in self.callers if caller[0] == name]
        for caller in found:
            if caller[1] and self.adaptive is not None and caller[2] == self.lowered:
                before = self.size
                if overloaded:
                    self.lowered += 1
                    self.size = max(int(self.size * self.adaptive.backoff), self.adaptive.floor)
                elif overloaded is False and self.inside() >= self.size:
                    self.filled.append(self.size)
                    self.size = min(self.size + len(self.filled) // self.size, self.adaptive.ceiling)
                if overloaded or len(self.filled) >= before:
                    self.filled = []
            self.callers.remove(caller)
        return self.let_go() if found else []


@settings(derandomize=True, deadline=None, database=None, max_examples=200)
@given(
    limit=st.one_of(
        st.integers(1, 3), st.just(Adaptive(start=2, ceiling=4)), st.just(Adaptive(start=6, floor=2))
    ),
    queue=st.integers(0, 4),
    steps=st.lists(st.tuples(st.integers(0, 11), st.sampled_from([None, False, False, True])), max_size=60),
)
def test_any_history_is_answered_as_the_naive_bulkhead_answers_it(
    limit: int | Adaptive, queue: int, steps: list[tuple[int, bool | None]]
) -> None:
    """Callers who come, end, give up and give back twice, in any order."""
    real, naive = bulkhead_of(limit, queue), Naive(limit, queue)
    places: dict[int, Place] = {}
    for number, (which, overloaded) in enumerate(steps):
        if which < 6 or not places:
            answer = real.acquire()
            assert (answer.state if answer is not None else None) == naive.acquire(number)
            if answer is not None:
                places[number] = answer
        else:
            name = sorted(places)[which % len(places)]
            told = real.release(places[name], overloaded=overloaded)
            expected = naive.release(name, overloaded=overloaded)
            assert told == [places[one] for one in expected]
        assert (real.limit, real.in_use) == (naive.size, naive.inside())
        assert real.waiting <= queue
    for place in places.values():
        real.release(place)
    assert (real.in_use, real.waiting) == (0, 0)


# ------------------------------------------------------------------------------------------------ many threads


class Watched(int):
    """A number that notes whether its bulkhead was locked each time that it was looked at."""

    bulkhead: Bulkhead
    locked: list[bool]

    def __gt__(self, other: int) -> bool:
        self.locked.append(self.bulkhead._lock.locked())
        return int(self) > other


def test_the_limit_is_looked_at_under_the_lock_only() -> None:
    """What was read outside of it might have changed."""
    limit = Watched(1)
    limit.bulkhead, limit.locked = bulkhead_of(limit, queue=1), []
    first = place_of(limit.bulkhead.acquire())
    second = place_of(limit.bulkhead.acquire(), "waiting")
    assert limit.bulkhead.release(first) == [second]
    assert limit.locked == [True, True, True]


def test_threads_never_exceed_the_limit_and_all_get_their_turn() -> None:
    """Eight threads, three places, 500 turns each; whoever releases wakes who may go."""
    bulkhead = bulkhead_of(3, queue=8)
    gate = threading.Barrier(8)
    bells: defaultdict[Place, threading.Event] = defaultdict(threading.Event)
    hanging = threading.Lock()
    inside: list[int] = []
    most: list[int] = []

    def bell(place: Place) -> threading.Event:
        with hanging:
            return bells[place]

    def work() -> None:
        gate.wait()
        for turn in range(500):
            place = bulkhead.acquire()
            assert place is not None
            if place.state == "waiting":
                assert bell(place).wait(30)
            inside.append(turn)
            most.append(len(inside))
            inside.pop()
            for following in bulkhead.release(place):
                bell(following).set()

    threads = [threading.Thread(target=work) for _ in range(8)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert len(most) == 4000
    assert max(most) <= 3
    assert (bulkhead.in_use, bulkhead.waiting) == (0, 0)


# ------------------------------------------------------------------------------------------ a host that bears so much


class Host:
    """A host that answers so many calls at a time in a tenth of a second, give or take, and the others with 429."""

    def __init__(self, bulkhead: Bulkhead, bears: int) -> None:
        self.bulkhead, self.bears = bulkhead, bears
        self.rng = random.Random(3)  # noqa: S311 - for times, not for secrets
        self.now = 0.0
        self.worked = self.refused = 0
        self.order = itertools.count()
        self.ends: list[tuple[float, int, Place, bool]] = []
        for _ in range(100):  # callers, each of which calls again as soon as it has been answered
            self.call()

    def call(self) -> None:
        """Ask for a place, and go if there is one."""
        place = self.bulkhead.acquire()
        assert place is not None
        if place.state == "granted":
            self.send(place)

    def send(self, place: Place) -> None:
        """Send a request."""
        overloaded = sum(not refused for *_, refused in self.ends) >= self.bears
        at = self.now + self.rng.uniform(0.08, 0.12)
        heapq.heappush(self.ends, (at, next(self.order), place, overloaded))

    def run(self, seconds: float) -> tuple[float, float]:
        """Let time pass, and give two shares: of what it bears, that was used; of the calls, that it refused."""
        until, self.worked, self.refused = self.now + seconds, 0, 0
        while self.ends[0][0] < until:
            self.now, _, place, overloaded = heapq.heappop(self.ends)
            self.refused += overloaded
            self.worked += not overloaded
            for next_ in self.bulkhead.release(place, overloaded=overloaded):
                self.send(next_)
            self.call()
        self.now = until
        return self.worked / (self.bears * seconds * 10), self.refused / (self.worked + self.refused)


def test_a_learned_limit_finds_what_the_host_bears_and_stays_just_below() -> None:
    """It starts at twenty, the host bears fifty: four fifths of that are used, and one call in a hundred is refused."""
    host = Host(bulkhead_of(Adaptive(start=20), queue=100), bears=50)
    host.run(30.0)
    used, refused = host.run(60.0)
    assert used > 0.8
    assert 0 < refused < 0.01


def test_a_learned_limit_follows_a_host_that_bears_less_and_one_that_bears_more() -> None:
    """From fifty to ten within a few seconds, and back within a minute."""
    bulkhead = bulkhead_of(Adaptive(start=20), queue=100)
    host = Host(bulkhead, bears=50)
    host.run(30.0)
    host.bears = 10
    host.run(3.0)
    assert bulkhead.limit <= 11
    host.bears = 50
    host.run(60.0)
    assert bulkhead.limit >= 35
