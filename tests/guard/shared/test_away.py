"""The server is away: seen within 250 ms, asked by one caller at a time, gone on without or refused, and back by itself.

What several processes do meanwhile runs on virtual time: the API never sees more than the budget in any window.
"""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from fleet import Fleet, most_in_a_window
from shared_engines import ZERO, Stores
from valkey_server import Server

from resilient_client._guard.breaker import Open, Parked, Permit
from resilient_client._guard.pace import Refused, Slot, Window
from resilient_client.shared import RedisStore, StoreAwayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_client._guard.shared.pace import SharedPacer

pytest_plugins = ["valkey_fixtures"]

SEEN_WITHIN = 0.25  # seconds


@pytest.fixture
def mortal() -> Iterator[Stores]:
    """Give stores on a server that the test may stop, which look for it with every question."""
    with Server() as running:
        stores = Stores(running)
        yield stores
        stores.close()


def pacer(stores: Stores, *windows: tuple[float, float], due: float = 30.0, **options: Any) -> SharedPacer:
    """Make the pacer of one more process, on virtual time and with no margin."""
    store = stores(**({"timeout": 0.2, "retry_away": 0.0} | options))
    return store.pacer("api", *(Window(*each) for each in windows), margin=0.0, due=due, clock=ZERO)


def slot_of(answer: Slot | Refused) -> Slot:
    """Take a slot, and say so if it is none."""
    assert isinstance(answer, Slot), answer
    return answer


def sent(pace: SharedPacer, cost: float, now: float, took: float = 0.0) -> Slot:
    """Send a request that has room, and have it answered."""
    slot = slot_of(pace.reserve(cost, now))
    assert slot.at == now
    pace.finish(slot, now + took)
    return slot


def known(*fleet: SharedPacer) -> None:
    """Let each of them know its share: the first had the whole, until it heard of the others."""
    for pace in (*fleet, *fleet):
        pace.earliest(1, 0.0)


def timed(question: Callable[[], object]) -> float:
    """Ask, whatever comes of it, and tell how many seconds that took."""
    begin = time.monotonic()
    with suppress(StoreAwayError):
        question()
    return time.monotonic() - begin


# ------------------------------------------------------------------------------------------------------- noticing it


def test_a_server_that_refuses_connections_is_seen_at_once() -> None:
    """Nobody listens there; redis-py by itself would try again for seconds."""
    store = RedisStore("redis://:secret@127.0.0.1:1/0", away="refuse")
    pace = store.pacer("api", Window(10, 60))

    assert timed(lambda: pace.reserve(1, 0.0)) < SEEN_WITHIN
    with pytest.raises(StoreAwayError, match="the shared store does not answer") as caught:
        pace.reserve(1, 0.0)
    assert "secret" not in str(caught.value) + repr(store)


def test_a_server_that_is_frozen_is_seen_and_found_again(mortal: Stores) -> None:
    """Its connections stay open, and nothing comes; afterwards it is used again by itself."""
    store = mortal(timeout=0.2, retry_away=0.05, away="refuse")
    budget = store.budget("api")
    assert budget.take(0.0) == 14
    mortal.server.freeze()

    assert timed(lambda: budget.take(0.0)) < SEEN_WITHIN
    assert timed(lambda: budget.take(0.0)) < 0.01
    mortal.server.thaw()
    taken: list[int] = []
    while not taken:
        with suppress(StoreAwayError):
            taken.append(budget.take(0.0))


def test_one_caller_looks_whether_it_is_back(mortal: Stores) -> None:
    """Eight threads ask for a while; what listens there counts those who come."""
    came = 0
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0.01)
        store = RedisStore(
            f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout=0.05, retry_away=0.1, away="refuse"
        )
        budget = store.budget("api")
        timed(lambda: budget.take(0.0))
        end = time.monotonic() + 0.5

        def ask() -> None:
            while time.monotonic() < end:
                timed(lambda: budget.take(0.0))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: ask(), range(8)))
        with suppress(TimeoutError):
            while True:
                silent.accept()[0].close()
                came += 1

    assert 2 <= came <= 7


def test_nothing_is_asked_of_it_before_its_time() -> None:
    """For a minute each question is refused without a look."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0.01)
        store = RedisStore(
            f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout=0.02, retry_away=60.0, away="refuse"
        )
        for engine in (store.budget("a"), store.budget("b")):
            for _ in range(10):
                with pytest.raises(StoreAwayError):
                    engine.take(0.0)
        silent.accept()[0].close()
        with pytest.raises(TimeoutError):
            silent.accept()


# -------------------------------------------------------------------------------------------------------- refusing


def test_what_decides_is_refused_and_what_reports_is_not(mortal: Stores) -> None:
    """Reports are kept, and told when it is back."""
    pace = pacer(mortal, (10, 60), away="refuse")
    waits = [slot_of(pace.reserve(4, 0.0)) for _ in range(4)]
    mortal.server.freeze()
    with pytest.raises(StoreAwayError):
        pace.reserve(1, 1.0)
    with pytest.raises(StoreAwayError):
        pace.confirm(waits[2], 1.0)
    pace.finish(waits[0], 2.0)
    pace.cancel(waits[1])
    pace.cancel(waits[3])
    pace.learn(2.0, remaining=6)
    assert pace.hold(2.0, 3.0) == 0.0
    mortal.server.thaw()

    assert pace.confirm(waits[2], 3.0) == 2.0
    assert pace.confirm(waits[2], 5.0) == 0.0
    assert slot_of(pace.reserve(6, 6.0)).at == 62.0


def test_breaker_and_retry_budget_are_refused_too(mortal: Stores) -> None:
    """What they report is lost without a word."""
    store = mortal(timeout=0.2, retry_away=60.0, away="refuse")
    breaker, budget = store.breaker("api", clock=ZERO), store.budget("api", clock=ZERO)
    permit = breaker.admit(0.0)
    assert isinstance(permit, Permit)
    mortal.server.kill()

    assert permit.failed(1.0) is False
    for question in (lambda: breaker.admit(1.0), lambda: breaker.state(1.0), lambda: budget.take(1.0)):
        with pytest.raises(StoreAwayError):
            question()
    budget.first_try_succeeded(9.0)
    budget.refund(14)


# ------------------------------------------------------------------------------------------------------ going on alone


def test_a_process_that_is_alone_keeps_to_what_it_held(mortal: Stores) -> None:
    """Others may have taken the rest just before: it sends as its own units run out."""
    one, other = pacer(mortal, (10, 60)), pacer(mortal, (10, 60))
    sent(one, 2, 0.0)
    sent(other, 1, 0.0)
    sent(one, 1, 5.0)
    sent(other, 6, 9.0)
    mortal.server.kill()

    assert [slot_of(one.reserve(cost, 10.0)).at for cost in (1, 1, 1)] == [60.0, 60.0, 65.0]
    assert slot_of(other.reserve(1, 10.0)).at == 69.0, "it holds seven, and its share is five"


def test_it_begins_alone_when_it_has_looked_for_the_server_in_vain(mortal: Stores) -> None:
    """Until then it may have been a hiccup, and the server may grant others what has run out here: 60.2 s, and a look."""
    pace = pacer(mortal, (10, 60), retry_away=60.0)
    sent(pace, 5, 0.0)
    pace.earliest(1, 45.0)
    mortal.server.kill()
    slot = slot_of(pace.reserve(5, 50.0))

    assert slot.at == 110.2
    assert pace.confirm(slot, 111.0) == pytest.approx(0.2), "nobody has looked yet"


def test_in_time_it_has_its_share(mortal: Stores) -> None:
    """When all that the server may have granted has run out: 30 seconds that an answer may take, and a window."""
    one, other = pacer(mortal, (10, 60)), pacer(mortal, (10, 60))
    known(one, other)
    sent(one, 1, 0.0)
    mortal.server.kill()

    assert slot_of(one.reserve(5, 1.0)).at == 91.0
    assert [slot_of(other.reserve(5, 1.0)).at, slot_of(other.reserve(5, 91.0)).at] == [91.0, 151.0]


def test_the_shares_are_never_more_than_the_whole(mortal: Stores) -> None:
    """Who comes when all of it is given has none, until the others have come back and taken less."""
    fleet = [pacer(mortal, (12, 60), due=1) for _ in range(3)]
    for pace in fleet:
        pace.earliest(1, 0.0)
    mortal.server.kill()
    rooms = []
    for pace in fleet:
        with suppress(StoreAwayError):
            rooms += [slot_of(pace.reserve(1, 1.0)).at for _ in range(12)].count(62.0) * [1]

    assert sum(rooms) <= 12


def test_a_share_may_be_given(mortal: Stores) -> None:
    """It is the same whoever else there is."""
    pace = pacer(mortal, (10, 60), share=0.3)
    pace.earliest(1, 0.0)
    mortal.server.kill()

    assert [slot_of(pace.reserve(1, 100.0)).at for _ in range(4)] == [190.0, 190.0, 190.0, 250.0]


def test_what_is_more_than_the_share_is_refused(mortal: Stores) -> None:
    """It would wait for ever; the error says why."""
    pace = pacer(mortal, (10, 60), share=0.3)
    waits = [slot_of(pace.reserve(10, 0.0)) for _ in range(2)][1]
    mortal.server.kill()

    with pytest.raises(StoreAwayError, match="5 units are more than the share of this process"):
        pace.reserve(5, 1.0)
    with pytest.raises(StoreAwayError, match="10 units are more than the share of this process"):
        pace.confirm(waits, 1.0)


def test_who_has_not_reached_it_lately_knows_no_share(mortal: Stores) -> None:
    """Neither a process that has just begun, nor one that was idle for more than a minute."""
    idle, new = pacer(mortal, (10, 60)), pacer(mortal, (10, 60))
    idle.earliest(1, 0.0)
    mortal.server.kill()

    for pace in (idle, new):
        with pytest.raises(StoreAwayError, match="give the store share="):
            pace.reserve(1, 61.0)


def test_those_who_wait_go_on_waiting_alone(mortal: Stores) -> None:
    """In the order in which they ask, behind what this process holds; who gives up is gone."""
    pace = pacer(mortal, (2, 60), due=1)
    sent(pace, 2, 0.0)
    first, second, third = (slot_of(pace.reserve(1, 1.0)) for _ in range(3))
    mortal.server.kill()

    assert [pace.confirm(each, 2.0) for each in (first, second, third)] == [58.0, 58.0, 118.0]
    pace.cancel(first)
    assert [pace.confirm(each, 60.0) for each in (second, third)] == [0.0, 0.0]
    with pytest.raises(LookupError, match="does not wait"):
        pace.confirm(first, 60.0)


def test_a_hold_and_a_word_hold_alone_too(mortal: Stores) -> None:
    """A 429 from before, one from meanwhile, and the part of the word that is this process's."""
    one, other = pacer(mortal, (10, 10), due=1, share=0.5), pacer(mortal, (10, 10), due=1, share=0.5)
    one.hold(0.0, 30.0)
    other.earliest(1, 0.0)
    mortal.server.kill()

    assert slot_of(one.reserve(1, 20.0)).at == 31.0
    assert slot_of(other.reserve(1, 20.0)).at == 31.0
    other.learn(32.0, remaining=0, limit=10, reset_in=20.0)
    assert slot_of(other.reserve(1, 32.0)).at == 52.0
    assert other.hold(33.0, 40.0) == 0.0
    assert slot_of(other.reserve(1, 33.0)).at >= 73.0


# -------------------------------------------------------------------------------------------------------- coming back


def test_what_was_sent_alone_is_told(mortal: Stores) -> None:
    """The server was only frozen: it knows what it knew, and hears of the rest before it grants anything."""
    one, other = pacer(mortal, (10, 60), due=5), pacer(mortal, (10, 60), due=5)
    sent(one, 4, 0.0)
    other.earliest(1, 0.0)
    mortal.server.freeze()
    alone = slot_of(one.reserve(3, 10.0))
    assert one.confirm(alone, 60.0) == 0.0
    one.finish(alone, 61.0)
    mortal.server.thaw()
    one.earliest(1, 62.0)

    assert [slot_of(other.reserve(cost, 63.0)).at for cost in (7, 1)] == [63.0, 121.0]


def test_what_was_granted_alone_and_is_under_way_is_told(mortal: Stores) -> None:
    """It is answered afterwards, as any other."""
    pace = pacer(mortal, (10, 60), due=5)
    sent(pace, 6, 0.0)
    mortal.server.freeze()
    alone = slot_of(pace.reserve(6, 1.0))
    assert pace.confirm(alone, 60.0) == 0.0
    mortal.server.thaw()

    assert slot_of(pace.reserve(4, 61.0)).at == 61.0
    pace.finish(alone, 62.0)
    assert slot_of(pace.reserve(6, 63.0)).at == 122.0


def test_what_those_may_have_sent_who_have_not_come_back_is_withheld(mortal: Stores) -> None:
    """One of two is back: the share of the other stays out of reach until it comes, or has nothing left that counts."""
    one, other = pacer(mortal, (10, 10), due=5), pacer(mortal, (10, 10), due=5)
    known(one, other)
    mortal.server.freeze()
    slot_of(one.reserve(1, 1.0))
    slot_of(other.reserve(1, 1.0))
    mortal.server.thaw()

    assert slot_of(one.reserve(5, 2.0)).at == 2.0
    assert slot_of(one.reserve(1, 2.0)).at > 2.0
    other.earliest(1, 3.0)
    assert slot_of(other.reserve(3, 3.0)).at == 3.0


def test_a_server_without_its_data_hears_first_what_all_hold(mortal: Stores) -> None:
    """It was restarted, and nobody had asked meanwhile: it is noticed, and the budget is not granted twice."""
    one, other = pacer(mortal, (10, 60), due=5), pacer(mortal, (10, 60), due=5)
    known(one, other)
    sent(other, 4, 0.0)
    sent(one, 6, 0.0)
    mortal.server.kill()
    mortal.server.start()

    first = slot_of(one.reserve(4, 1.0))
    assert first.at == 60.0
    other.earliest(1, 1.5)
    assert [one.confirm(first, 2.0), slot_of(other.reserve(1, 2.0)).at] == [58.0, 60.0]


def test_without_its_data_those_who_are_back_have_what_they_brought(mortal: Stores) -> None:
    """Nobody knows what the other holds, until it comes, or until all that it might hold has run out."""
    one, other = pacer(mortal, (10, 60), due=5), pacer(mortal, (10, 60), due=5)
    known(one, other)
    sent(one, 3, 0.0)
    sent(other, 2, 0.0)
    mortal.server.kill()
    mortal.server.start()
    slot = slot_of(one.reserve(1, 1.0))
    assert slot.at == 60.0

    other.earliest(1, 2.0)
    assert one.confirm(slot, 2.0) == 0.0
    assert [slot_of(one.reserve(cost, 2.0)).at for cost in (4, 1)] == [2.0, 60.0]


def test_without_its_data_and_with_nobody_else_it_takes_as_long_as_the_units_of_others_count(
    mortal: Stores,
) -> None:
    """0.6 seconds to come back in, 5 that an answer may take, and a window."""
    one, killed = pacer(mortal, (10, 60), due=5), pacer(mortal, (10, 60), due=5)
    known(one, killed)
    mortal.server.kill()
    mortal.server.start()

    assert slot_of(one.reserve(10, 1.0)).at == pytest.approx(66.6)


def test_who_is_new_to_a_server_that_has_just_started_waits_for_those_who_know_more(mortal: Stores) -> None:
    """It may have been restarted without its data: so many seconds are for those who come back to it."""
    new = mortal(timeout=0.2, retry_away=60.0).pacer("api", Window(10, 60))
    now = time.monotonic()

    assert 60.5 < slot_of(new.reserve(1, now)).at - now <= 60.6


@pytest.mark.parametrize("in_time", [False, True])
def test_a_question_that_was_granted_and_not_heard_holds_nothing(
    mortal: Stores,
    in_time: bool,  # noqa: FBT001 - a parameter of pytest's
) -> None:
    """The server woke up, found what it had been asked for, and nobody was there any more.

    As a rule it sees that the time for an answer has passed; in time, just so, it grants it.
    """
    store = mortal(timeout=0.2, retry_away=0.0)
    pace = store.pacer("api", Window(10, 60), margin=0.0, due=1000, clock=ZERO)
    sent(pace, 1, 0.0)
    if in_time:
        store._link._ahead = None  # as for the first question of all, which has no time on it
    mortal.server.freeze()
    pace.cancel(slot_of(pace.reserve(9, 1.0)))
    mortal.server.thaw()

    assert slot_of(pace.reserve(9, 2.0)).at == 2.0


def test_an_answer_that_was_being_told_when_it_went_is_told_again(mortal: Stores) -> None:
    """It went with a question that was never answered; its units run out as of its own time, and not as if it were lost."""
    pace = pacer(mortal, (10, 60), due=500, away="refuse")
    first, _ = slot_of(pace.reserve(5, 0.0)), slot_of(pace.reserve(5, 0.0))
    pace.finish(first, 1.0)
    mortal.server.freeze()
    with pytest.raises(StoreAwayError):
        pace.reserve(5, 1.0)
    mortal.server.thaw()

    assert slot_of(pace.reserve(5, 2.0)).at == 61.0


@pytest.mark.parametrize("how", ["freeze", "restart", "restart, and one was killed"])
def test_a_fleet_never_overdraws_its_budget(mortal: Stores, how: str) -> None:
    """Four processes at full speed; the server is away for as long as it takes, twice, and comes back."""
    stores = [mortal(timeout=0.05, retry_away=0.0) for _ in range(4)]
    fleet = Fleet(stores, Window(250, 6.0), workers=4, due=2.0, weights={1: 0.7, 5: 0.3})
    server = mortal.server
    if how == "freeze":
        # Frozen, it would cost each question its timeout, in real time.
        gone, back = lambda: _move(stores, 1), lambda: _move(stores, server.port)
    else:
        gone, back = server.kill, server.start
    if "killed" in how:
        fleet.at(9.0, lambda: fleet.kill(1))
    for begin, end in ((10.0, 13.0), (24.0, 38.0)):
        fleet.at(begin, gone)
        fleet.at(end, back)
    fleet.run(60.0)

    assert most_in_a_window(fleet.arrivals, 6.0) <= 250
    assert fleet.used(6.0, 60.0) >= 0.6
    assert fleet.used(48.0, 60.0) >= 0.95
    assert max(fleet.waits) < 20.0


def _move(stores: list[RedisStore], port: int) -> None:
    """Let them look for the server on another port; it knows nothing of that."""
    for store in stores:
        store._link._client.connection_pool.connection_kwargs["port"] = port
        store.close()


# ----------------------------------------------------------------------------------------- breaker and retry budget


def test_a_breaker_goes_on_alone(mortal: Stores) -> None:
    """It begins closed, and opens by what this process sees; permits and tickets from before harm nobody."""
    store = mortal(timeout=0.2, retry_away=0.0)
    breaker = store.breaker("api", clock=ZERO)
    for _ in range(20):
        breaker.admit(0.0).failed(0.0)  # type: ignore[union-attr]  # it is closed, so these are permits
    parked = breaker.admit(0.0, park=True)
    assert isinstance(parked, Parked)
    mortal.server.kill()

    permit = breaker.ticket_ready(parked.ticket, 0.5)
    assert isinstance(permit, Permit)
    for _ in range(20):
        permit.failed(0.5)
        again = breaker.admit(0.5)
        permit = again if isinstance(again, Permit) else permit
    assert isinstance(breaker.admit(0.5), Open)
    assert breaker.state(0.5) == "open"
    waits = breaker.admit(0.5, park=True)
    assert isinstance(waits, Parked)
    mortal.server.start()
    assert isinstance(breaker.ticket_ready(waits.ticket, 0.6), Permit)
    breaker.leave(waits.ticket)


def test_a_retry_budget_goes_on_alone_and_tells_what_it_took(mortal: Stores) -> None:
    """By a bucket of its own that has seen the same successes."""
    one, other = (mortal(timeout=0.2, retry_away=0.0).budget("api", clock=ZERO) for _ in range(2))
    assert one.take(0.0) == 14
    mortal.server.freeze()
    assert [one.take(1.0), one.take(1.0, throttled=True)] == [14, 5]
    mortal.server.thaw()
    assert one.take(2.0, throttled=True) == 5
    assert other.take(2.0, throttled=True) == 5

    assert other.level == 500 - 14 - 14 - 5 - 5 - 5


# ---------------------------------------------------------------------------------------------------------- many threads


def test_threads_that_lose_it_at_once_grant_nothing_twice(mortal: Stores) -> None:
    """Eight threads ask while the server is killed and started again: ten units are ten units."""
    pace = pacer(mortal, (10, 1000), due=1000)
    known(pace)
    granted: list[float] = []
    begun = threading.Barrier(9)

    def ask() -> None:
        begun.wait()
        for _ in range(20):
            with suppress(StoreAwayError):
                answer = pace.reserve(1, 0.0, until=1.0)
                if isinstance(answer, Slot):
                    granted.append(answer.cost)

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask) for _ in range(8)]
        begun.wait()
        mortal.server.kill()
        mortal.server.start()
        for each in asking:
            each.result()

    assert len(granted) <= 10
