"""The pacer of several processes: one budget, one line, and what a process that was killed leaves behind. Virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from fleet import Fleet, most_in_a_window
from redis.crc import key_slot
from shared_engines import ZERO

from resilient_client._guard.pace import Slot, Window
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from shared_engines import Stores

    from resilient_client._guard.pace import Refused
    from resilient_client._guard.shared.pace import SharedPacer

pytest_plugins = ["valkey_fixtures"]


def pacers(stores: Stores, count: int, *windows: tuple[float, float], due: float = 30.0) -> list[SharedPacer]:
    """Make the pacers of so many processes, with no margin: times in the tests are round."""
    return [
        stores().pacer(
            "api", *(Window(budget, per) for budget, per in windows), margin=0.0, due=due, clock=ZERO
        )
        for _ in range(count)
    ]


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


# ------------------------------------------------------------------------------------------------------- one budget


def test_processes_share_a_budget_to_the_unit(stores: Stores) -> None:
    """Ten units are ten units, whoever spends them."""
    one, other = pacers(stores, 2, (10, 60))

    assert [slot_of(pace.reserve(4, 0.0)).at for pace in (one, other, one)] == [0.0, 0.0, 60.0]


def test_budgets_of_other_names_and_prefixes_are_others(stores: Stores) -> None:
    """Two APIs, or two programs, on one server."""
    ours, theirs = stores(), stores(prefix=stores.prefix + "theirs:")
    every = [
        store.pacer(name, Window(10, 60), clock=ZERO)
        for store, name in ((ours, "a"), (ours, "b"), (theirs, "a"))
    ]

    assert [slot_of(pace.reserve(10, 0.0)).at for pace in every] == [0.0, 0.0, 0.0]


def test_they_wait_in_one_line(stores: Stores) -> None:
    """In the order in which they came, process after process."""
    one, other = pacers(stores, 2, (10, 60))
    sent(one, 10, 0.0)
    line = [(pace, slot_of(pace.reserve(5, 1.0))) for pace in (one, other, one, other)]

    assert [slot.at for _, slot in line] == [60.0, 60.0, 120.0, 120.0]
    assert [pace.confirm(slot, 60.0) for pace, slot in reversed(line)] == [60.0, 60.0, 0.0, 0.0]


def test_an_answer_that_is_told_late_runs_out_no_later(stores: Stores) -> None:
    """It was told with the next question, and how long ago it was, too."""
    one, other = pacers(stores, 2, (10, 60))
    slots = [slot_of(one.reserve(5, 0.0)) for _ in range(2)]
    one.finish(slots[0], 1.0)
    assert slot_of(other.reserve(5, 1.0)).at == 61.0
    one.finish(slots[1], 9.0)

    assert slot_of(other.reserve(5, 10.0)).at == 69.0


def test_a_hold_holds_every_process(stores: Stores) -> None:
    """One had a 429; then they drip, all in one line."""
    one, other = pacers(stores, 2, (60, 60))
    one.hold(0.0, 7.0)

    assert [slot_of(pace.reserve(1, 1.0)).at for pace in (other, one, other)] == [7.0, 8.0, 9.0]


def test_what_one_learns_all_know(stores: Stores) -> None:
    """The API says that others, who do not share, have spent most of it."""
    one, other = pacers(stores, 2, (100, 60))
    one.learn(0.0, remaining=10, reset_in=50.0)

    assert [slot_of(other.reserve(cost, 1.0)).at for cost in (10, 1)] == [1.0, 50.0]


def test_a_process_hears_of_the_others_with_its_next_answer(stores: Stores) -> None:
    """Somebody gave up: the version says that it is worth asking again."""
    one, other = pacers(stores, 2, (10, 60))
    sent(one, 10, 0.0)
    gone = slot_of(one.reserve(10, 1.0))
    waits = slot_of(other.reserve(10, 1.0))
    before = other.version
    one.cancel(gone)

    assert other.confirm(waits, 2.0) == 58.0
    assert other.version != before


# ------------------------------------------------------------------------------------------------ those who are killed


def test_what_a_killed_process_had_sent_counts_until_it_was_due(stores: Stores) -> None:
    """Nobody knows when it was answered, if it was."""
    killed, other = pacers(stores, 2, (10, 60), due=30)
    slot_of(killed.reserve(10, 0.0))

    assert slot_of(other.reserve(10, 31.0)).at == 90.0


def test_a_killed_process_keeps_nobody_waiting_for_long(stores: Stores) -> None:
    """Its place in the line ends two seconds after its turn; meanwhile its room is kept."""
    killed, other = pacers(stores, 2, (10, 60))
    sent(other, 10, 0.0)
    slot_of(killed.reserve(10, 1.0))
    slot = slot_of(other.reserve(10, 1.0))
    assert slot.at == 120.0

    assert other.confirm(slot, 61.9) > 0.0
    assert other.confirm(slot, 62.0) == 0.0


def test_who_asks_late_has_its_place_again(stores: Stores) -> None:
    """Its lease had ended, and nobody was granted its room yet: it goes before those who came later."""
    late, other = pacers(stores, 2, (10, 60))
    sent(other, 10, 0.0)
    slot, behind = slot_of(late.reserve(10, 1.0)), slot_of(other.reserve(10, 1.0))
    other.earliest(1, 70.0)

    assert late.confirm(slot, 70.0) == 0.0
    assert other.confirm(behind, 70.0) == 60.0


# ------------------------------------------------------------------------------------------------------ against an API


def test_a_fleet_uses_up_the_budget_and_never_overdraws_it(stores: Stores) -> None:
    """0trace: 2500 units a minute; 4 processes of 8 workers that spend 50, 5 and 1 use 97 % of them, with no 429."""
    fleet = Fleet([stores() for _ in range(4)], Window(2500, 60.0), due=30.0)
    fleet.run(60.0 * 5)

    assert most_in_a_window(fleet.arrivals, 60.0) <= 2500
    assert fleet.used(60.0, 60.0 * 5) >= 0.97


def test_a_fleet_is_not_held_up_by_a_process_that_is_killed(stores: Stores) -> None:
    """Its units come back in time, its places in the line are taken, and nothing is overdrawn."""
    fleet = Fleet([stores() for _ in range(4)], Window(250, 6.0), due=3.0, weights={1: 0.7, 5: 0.3})
    fleet.at(14.0, lambda: fleet.kill(2))
    fleet.run(48.0)

    assert most_in_a_window(fleet.arrivals, 6.0) <= 250
    assert fleet.used(24.0, 48.0) >= 0.95


# ---------------------------------------------------------------------------------------------------- what is stored


def test_every_key_has_the_prefix_expires_and_is_in_one_slot_of_a_cluster(stores: Stores) -> None:
    """Of the pacer, and of the others."""
    client = redis.Redis.from_url(stores.server.url)
    (pace,) = pacers(stores, 1, (10, 60), (5, 1))
    sent(pace, 5, 0.0)
    for _ in range(2):
        pace.reserve(5, 0.0)
    breaker = stores().breaker("api", clock=ZERO)
    budget = stores().budget("api", clock=ZERO)
    answer = breaker.admit(0.0)
    breaker.failed(answer, 0.0)  # type: ignore[arg-type]  # it is closed, so this is a permit
    budget.take(0.0)
    names = list(client.scan_iter(stores.prefix + "*"))
    lasting = [name for name in names if client.ttl(name) < 0]
    client.close()

    assert len(names) >= 10
    assert lasting == []
    assert {key_slot(name) for name in names} == {key_slot(b"api")}


def test_a_server_that_forgot_the_scripts_is_sent_them_again(stores: Stores) -> None:
    """A restart, or SCRIPT FLUSH."""
    (pace,) = pacers(stores, 1, (10, 60))
    sent(pace, 4, 0.0)
    client = redis.Redis.from_url(stores.server.url)
    client.script_flush()
    client.close()

    assert [slot_of(pace.reserve(6, 1.0)).at, slot_of(pace.reserve(1, 1.0)).at] == [1.0, 60.0]


@pytest.mark.parametrize("part", ["sent", "line", "leases", "costs", "seen", "shares", "log0"])
def test_a_key_that_the_server_dropped_stops_nobody(stores: Stores, part: str) -> None:
    """Short of memory, it may drop any one of them: whoever asks is answered, and in the end everything is free again."""
    (pace,) = pacers(stores, 1, (10, 60))
    sent(pace, 5, 0.0)
    slot_of(pace.reserve(5, 0.0))
    waits = slot_of(pace.reserve(5, 0.0))
    client = redis.Redis.from_url(stores.server.url)
    assert client.delete(f"{stores.prefix}{{api}}:pace:{part}")
    client.close()

    pace.confirm(waits, 1.0)
    pace.reserve(1, 2.0)
    assert slot_of(pace.reserve(10, 500.0)).at == 500.0


def test_a_virtual_clock_decides_in_place_of_the_servers(stores: Stores) -> None:
    """Two processes whose clocks began at different times, with the same date on them."""
    early, late = VirtualClock(), VirtualClock()
    early.advance(1000.0)
    late._start += 1000.0
    one, other = (stores().pacer("api", Window(10, 60), margin=0.0, clock=clock) for clock in (early, late))
    sent(one, 10, 1000.0)

    assert slot_of(other.reserve(1, 5.0)).at == pytest.approx(60.0)
