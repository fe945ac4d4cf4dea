"""The circuit breaker: when it opens and closes, what probes and the parked may do, what that is worth in an outage."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from at_once import in_threads
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from resilient_client._guard.breaker import Breaker, BreakerConfig, Open, Parked, Permit, Ticket

if TYPE_CHECKING:
    from collections.abc import Generator

# Small numbers, so that little has to happen; each is a power of two, so that sums of seconds are exact.
SMALL = BreakerConfig(
    window=4.0,
    buckets=4,
    min_calls=4,
    failure_rate=0.5,
    in_a_row=None,
    open_for=1.0,
    max_open_for=4.0,
    max_retry_after=64.0,
    jitter=0.5,
    lease=8.0,
    successes=2,
    max_parked=3,
    ramp=4.0,
)


def small(**changes: Any) -> BreakerConfig:
    """Change some of the small numbers."""
    named = {name: getattr(SMALL, name) for name in SMALL.__slots__}
    return BreakerConfig(**(named | changes))


def leave_of(answer: object) -> Permit:
    """Take a permit, and say so if it is none."""
    assert isinstance(answer, Permit), answer
    return answer


def place_of(answer: object) -> Ticket:
    """Take a ticket, and say so if there is none."""
    assert isinstance(answer, Parked), answer
    return answer.ticket


def opened(config: BreakerConfig = SMALL, at: float = 0.0, chance: float = 0.0) -> Breaker:
    """Make a breaker that opens at this second."""
    breaker = Breaker(config, chance)
    for _ in range(config.min_calls):
        leave_of(breaker.admit(at)).failed(at)
    assert breaker.state(at) == "open"
    return breaker


def closed_again(config: BreakerConfig = SMALL, parked: int = 0) -> tuple[Breaker, list[Ticket]]:
    """Make a breaker that opens at 0 and closes at 2, and that many callers who were parked meanwhile."""
    breaker = opened(config)
    tickets = [place_of(breaker.admit(0.5, park=True)) for _ in range(parked)]
    for _ in range(config.successes):
        leave_of(breaker.admit(2.0)).succeeded(2.0)
    assert breaker.state(2.0) == "closed"
    return breaker, tickets


# ------------------------------------------------------------------------------------------------ its numbers


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"window": 0.0}, r"window must be seconds above 0 \(got 0.0\)"),
        ({"window": math.inf}, "window must be seconds above 0"),
        ({"buckets": 0}, "buckets must be at least 1"),
        ({"min_calls": 0}, "min_calls must be at least 1"),
        ({"failure_rate": 0.0}, "failure_rate must be a share above 0, at most 1"),
        ({"failure_rate": 1.5}, "failure_rate must be a share above 0, at most 1"),
        ({"failure_rate": math.nan}, "failure_rate must be a share above 0, at most 1"),
        ({"in_a_row": 0}, "in_a_row must be at least 1, or None"),
        ({"slow_after": 0.0}, "slow_after must be seconds above 0, or None"),
        ({"slow_rate": 2.0}, "slow_rate must be a share above 0, at most 1"),
        ({"open_for": -1.0}, "open_for must be seconds above 0"),
        ({"growth": 0.5}, "growth must be at least 1"),
        ({"open_for": 8.0}, r"max_open_for must be at least open_for, 8.0 seconds \(got 4.0\)"),
        ({"max_retry_after": math.inf}, "max_retry_after must be seconds, at least 0"),
        ({"jitter": 1.5}, "jitter must be a share from 0 to 1"),
        ({"probes": 0}, "probes must be at least 1"),
        ({"lease": 0.0}, "lease must be seconds above 0"),
        ({"successes": 0}, "successes must be at least 1"),
        ({"max_parked": -1}, "max_parked must be at least 0"),
        ({"ramp": math.nan}, "ramp must be seconds above 0"),
    ],
)
def test_a_number_out_of_range_is_refused_with_what_is_right(changes: dict[str, Any], told: str) -> None:
    """A configuration that could never work is not made."""
    with pytest.raises(ValueError, match=told):
        small(**changes)


# ------------------------------------------------------------------------------------------------ it opens


def test_it_opens_when_half_of_the_calls_in_the_window_failed() -> None:
    """Two of four, and not two of five."""
    breaker = Breaker(SMALL)
    for worked in (True, True, False):
        permit = leave_of(breaker.admit(0.0))
        permit.succeeded(0.0) if worked else permit.failed(0.0)
    assert breaker.state(0.0) == "closed"
    leave_of(breaker.admit(0.0)).failed(0.0)
    assert breaker.state(0.0) == "open"


def test_it_stays_closed_below_the_rate() -> None:
    """A third of failures, for as long as one likes."""
    breaker = Breaker(SMALL)
    for second in range(60):
        for worked in (True, True, False):
            permit = leave_of(breaker.admit(second))
            permit.succeeded(second) if worked else permit.failed(second)
    assert breaker.state(60.0) == "closed"


def test_a_few_calls_say_nothing() -> None:
    """Three failures of three are fewer than the minimum of calls."""
    breaker = Breaker(SMALL)
    for _ in range(3):
        leave_of(breaker.admit(0.0)).failed(0.0)
    assert breaker.state(0.0) == "closed"


def test_what_has_left_the_window_does_not_count() -> None:
    """Three failures and, a window later, a fourth."""
    breaker = Breaker(SMALL)
    for at in (0.0, 0.0, 0.0, 4.0):
        leave_of(breaker.admit(at)).failed(at)
    assert breaker.state(4.0) == "closed"


def test_the_window_moves_on_by_its_buckets() -> None:
    """A failure of second 0 counts until second 4 begins, one of second 1 until second 5 does."""
    breaker = Breaker(SMALL)
    for at in (0.5, 1.5, 1.5, 4.5):
        leave_of(breaker.admit(at)).failed(at)
    assert breaker.state(4.5) == "closed"
    leave_of(breaker.admit(4.75)).failed(4.75)
    assert breaker.state(4.75) == "open"


def test_a_report_that_comes_late_counts_with_the_newest() -> None:
    """Two threads may read the clock in one order and report in the other."""
    breaker = Breaker(SMALL)
    for at in (3.0, 2.0, 1.0, 3.0):
        leave_of(breaker.admit(at)).failed(at)
    assert breaker.state(3.0) == "open"


def test_a_run_of_failures_opens_it_though_the_window_is_full_of_successes() -> None:
    """An outage at a hundred calls a second is seen after three of them."""
    breaker = Breaker(small(in_a_row=3))
    for _ in range(100):
        leave_of(breaker.admit(0.0)).succeeded(0.0)
    for count in range(3):
        assert breaker.state(0.0) == "closed", count
        leave_of(breaker.admit(0.0)).failed(0.0)
    assert breaker.state(0.0) == "open"


def test_a_success_ends_a_run() -> None:
    """Two failures, a success, two failures: no run of three."""
    breaker = Breaker(small(in_a_row=3, min_calls=100))
    for worked in (False, False, True, False, False):
        permit = leave_of(breaker.admit(0.0))
        permit.succeeded(0.0) if worked else permit.failed(0.0)
    assert breaker.state(0.0) == "closed"


def test_slow_calls_open_it_by_a_rate_of_their_own() -> None:
    """Three slow calls of four, none of which failed."""
    breaker = Breaker(small(slow_after=2.0, slow_rate=0.75))
    for took in (0.1, 2.0, 2.0):
        leave_of(breaker.admit(0.0)).succeeded(0.0, took)
    assert breaker.state(0.0) == "closed"
    leave_of(breaker.admit(0.0)).succeeded(0.0, 1.999)
    assert breaker.state(0.0) == "closed"
    for _ in range(4):
        leave_of(breaker.admit(0.0)).succeeded(0.0, 9.0)
    assert breaker.state(0.0) == "open"


def test_slow_calls_and_failures_are_not_added_up() -> None:
    """A quarter failed and half were slow: neither is too many."""
    breaker = Breaker(small(slow_after=2.0, slow_rate=0.75, failure_rate=0.5))
    for _ in range(10):
        leave_of(breaker.admit(0.0)).succeeded(0.0, 0.1)
        leave_of(breaker.admit(0.0)).succeeded(0.0, 9.0)
        leave_of(breaker.admit(0.0)).succeeded(0.0, 9.0)
        leave_of(breaker.admit(0.0)).failed(0.0)
    assert breaker.state(0.0) == "closed"


def test_no_call_is_slow_unless_it_is_said_what_slow_is() -> None:
    """A day is not slow by itself."""
    breaker = Breaker(SMALL)
    for _ in range(10):
        leave_of(breaker.admit(0.0)).succeeded(0.0, 86_400.0)
    assert breaker.state(0.0) == "closed"


def test_a_cancelled_call_is_no_call() -> None:
    """Three failures and any number of cancelled calls are three calls."""
    breaker = Breaker(SMALL)
    for _ in range(3):
        leave_of(breaker.admit(0.0)).failed(0.0)
    for _ in range(10):
        leave_of(breaker.admit(0.0)).cancelled(0.0)
    assert breaker.state(0.0) == "closed"


@pytest.mark.parametrize("first", ["succeeded", "failed", "cancelled"])
def test_a_permit_counts_once_whatever_is_called_after(first: str) -> None:
    """Four failures of one call are at most one failure."""
    breaker = Breaker(small(in_a_row=2))
    permit = leave_of(breaker.admit(0.0))
    getattr(permit, first)(0.0)
    for _ in range(4):
        permit.failed(0.0, retry_after=60.0)
    assert breaker.state(0.0) == "closed"


def test_faults_that_come_singly_do_not_open_it() -> None:
    """Every fifth call fails, by chance: ten minutes at a hundred calls a second, with the numbers of the default."""
    breaker = Breaker()
    rng = random.Random(20)  # noqa: S311 - for faults, not for secrets
    for number in range(60_000):
        permit = leave_of(breaker.admit(number / 100))
        permit.failed(number / 100) if rng.random() < 0.2 else permit.succeeded(number / 100, 0.05)


# ------------------------------------------------------------------------------------------------ it is open


def test_an_open_breaker_says_when_it_is_worth_asking_again() -> None:
    """It opened at 8 for one second."""
    assert opened(at=8.0).admit(8.5) == Open(retry_at=9.0)


def test_the_open_time_is_stretched_by_the_chance_that_it_was_given() -> None:
    """Half of the jitter of one half: a quarter more."""
    assert opened(chance=0.5).admit(0.0) == Open(retry_at=1.25)


def test_the_open_time_grows_with_each_probe_that_failed_to_a_maximum() -> None:
    """1, 2, 4, 4 seconds."""
    breaker = opened()
    at, waits = 0.0, []
    for _ in range(4):
        answer = breaker.admit(at)
        assert isinstance(answer, Open)
        waits.append(answer.retry_at - at)
        at = answer.retry_at
        leave_of(breaker.admit(at)).failed(at)
    assert waits == [1.0, 2.0, 4.0, 4.0]


def test_it_opens_for_longer_when_it_had_closed_only_just_before() -> None:
    """A host that fails again within a window was not well."""
    breaker, _ = closed_again()
    for _ in range(4):
        leave_of(breaker.admit(5.5)).failed(5.5)
    assert breaker.admit(5.5) == Open(retry_at=7.5)


def test_it_opens_for_the_first_time_again_when_it_was_closed_for_a_window() -> None:
    """What was long ago is over."""
    breaker, _ = closed_again()
    for _ in range(4):
        leave_of(breaker.admit(6.0)).failed(6.0)
    assert breaker.admit(6.0) == Open(retry_at=7.0)


def test_a_retry_after_is_a_lower_bound_of_the_open_time() -> None:
    """The server's 30 seconds hold, its half a second does not shorten the one."""
    for asked, until in ((30.0, 30.0), (0.5, 1.0)):
        breaker = Breaker(SMALL)
        for _ in range(4):
            leave_of(breaker.admit(0.0)).failed(0.0, asked)
        assert breaker.admit(0.0) == Open(retry_at=until)


def test_a_retry_after_is_stretched_too() -> None:
    """A crowd that was told the same second does not come back in it."""
    breaker = Breaker(SMALL, chance=0.5)
    for _ in range(4):
        leave_of(breaker.admit(0.0)).failed(0.0, 32.0)
    assert breaker.admit(0.0) == Open(retry_at=40.0)


def test_any_failure_of_the_run_may_have_brought_the_retry_after() -> None:
    """The server said it to the first of four, and to no other."""
    breaker = Breaker(SMALL)
    leave_of(breaker.admit(0.0)).failed(0.0, 30.0)
    for _ in range(3):
        leave_of(breaker.admit(0.5)).failed(0.5)
    assert breaker.admit(0.5) == Open(retry_at=30.0)


def test_a_retry_after_that_a_success_has_refuted_is_forgotten() -> None:
    """It said 30 seconds, and answered in the next."""
    breaker = Breaker(SMALL)
    leave_of(breaker.admit(0.0)).failed(0.0, 30.0)
    leave_of(breaker.admit(0.5)).succeeded(0.5)
    for _ in range(2):
        leave_of(breaker.admit(1.0)).failed(1.0)
    assert breaker.admit(1.0) == Open(retry_at=2.0)


def test_a_retry_after_that_was_on_its_way_while_it_opened_counts() -> None:
    """Requests sent before it opened bring the server's newest word, and nothing else."""
    breaker = Breaker(SMALL)
    late = [leave_of(breaker.admit(0.0)) for _ in range(2)]
    for _ in range(4):
        leave_of(breaker.admit(0.0)).failed(0.0)
    late[0].failed(0.5, 20.0)
    late[1].failed(0.5)
    assert breaker.admit(0.5) == Open(retry_at=20.5)


def test_a_retry_after_of_a_request_from_before_it_opened_means_nothing_once_it_has_closed() -> None:
    """The host was asked again since, and worked."""
    breaker = Breaker(SMALL)
    late = leave_of(breaker.admit(0.0))
    for _ in range(4):
        leave_of(breaker.admit(0.0)).failed(0.0)
    for _ in range(2):
        leave_of(breaker.admit(1.0)).succeeded(1.0)
    late.failed(1.5, 30.0)
    for _ in range(4):
        leave_of(breaker.admit(8.0)).failed(8.0)
    assert breaker.admit(8.0) == Open(retry_at=9.0)


def test_a_probe_that_fails_with_a_retry_after_opens_it_for_that_long() -> None:
    """And not for the two seconds that were its turn."""
    breaker = opened()
    leave_of(breaker.admit(1.0)).failed(1.0, 30.0)
    assert breaker.admit(1.0) == Open(retry_at=31.0)


def test_a_retry_after_without_bound_is_bounded() -> None:
    """Nobody is shut out for a year by one header."""
    breaker = Breaker(SMALL)
    for _ in range(4):
        leave_of(breaker.admit(0.0)).failed(0.0, 31_536_000.0)
    assert breaker.admit(0.0) == Open(retry_at=64.0)


def test_what_began_before_it_opened_changes_nothing() -> None:
    """Late successes do not close it, late failures do not keep it open."""
    breaker = Breaker(SMALL)
    late = [leave_of(breaker.admit(0.0)) for _ in range(8)]
    for _ in range(4):
        leave_of(breaker.admit(0.0)).failed(0.0)
    for permit in late[:4]:
        permit.succeeded(0.5)
    for permit in late[4:]:
        permit.failed(0.5)
    assert breaker.admit(0.5) == Open(retry_at=1.0)


# ------------------------------------------------------------------------------------------------ it is half-open


def test_it_is_half_open_when_its_time_has_passed() -> None:
    """Whether or not somebody asks."""
    breaker = opened()
    assert [breaker.state(at) for at in (0.0, 0.75, 1.0, 100.0)] == ["open", "open", "half_open", "half_open"]


def test_one_probe_goes_and_the_others_are_refused_until_its_lease_ends() -> None:
    """Eight seconds from 1.0."""
    breaker = opened()
    leave_of(breaker.admit(1.0))
    assert breaker.admit(1.5) == Open(retry_at=9.0)


def test_a_probe_that_never_reports_makes_room_for_another() -> None:
    """Its caller has vanished; the breaker has not."""
    breaker = opened()
    leave_of(breaker.admit(1.0))
    assert isinstance(breaker.admit(8.75), Open)
    leave_of(breaker.admit(9.0))
    assert isinstance(breaker.admit(9.0), Open)


def test_a_permit_stands_until_the_state_changes() -> None:
    """Who had to wait after being let through asks again: the host may have broken meanwhile."""
    breaker = Breaker(SMALL)
    permit = leave_of(breaker.admit(0.0))
    assert permit.stands(0.0)
    for _ in range(SMALL.min_calls):
        leave_of(breaker.admit(0.0)).failed(0.0)

    assert not permit.stands(0.0)
    assert not permit.stands(1.0)


def test_a_probe_stands_until_its_lease_ends() -> None:
    """Eight seconds from 1.0; from then on another may go."""
    breaker = opened()
    probe = leave_of(breaker.admit(1.0))

    assert [probe.stands(at) for at in (1.0, 8.75, 9.0)] == [True, True, False]


def test_a_probe_that_reports_after_its_lease_still_counts() -> None:
    """It took long, and it is true."""
    breaker = opened()
    first = leave_of(breaker.admit(1.0))
    second = leave_of(breaker.admit(9.0))
    first.succeeded(9.5)
    second.succeeded(9.5)
    assert breaker.state(9.5) == "closed"


def test_it_closes_after_enough_probes_that_worked() -> None:
    """Two, one after the other."""
    breaker = opened()
    leave_of(breaker.admit(1.0)).succeeded(1.0)
    assert breaker.state(1.0) == "half_open"
    leave_of(breaker.admit(1.0)).succeeded(1.0)
    assert breaker.state(1.0) == "closed"


def test_a_cancelled_probe_counts_neither_way_and_makes_room() -> None:
    """Any number of them, and then two that work."""
    breaker = opened()
    for _ in range(10):
        leave_of(breaker.admit(1.0)).cancelled(1.0)
    assert breaker.state(1.0) == "half_open"
    for _ in range(2):
        leave_of(breaker.admit(1.0)).succeeded(1.0)
    assert breaker.state(1.0) == "closed"


def test_a_slow_probe_is_one_that_failed() -> None:
    """It was shut for being slow, and it is slow."""
    breaker = opened(small(slow_after=2.0))
    leave_of(breaker.admit(1.0)).succeeded(4.0, took=3.0)
    assert breaker.admit(4.0) == Open(retry_at=6.0)


def test_several_probes_at_a_time() -> None:
    """Three, and the first that fails opens it for all."""
    breaker = opened(small(probes=3))
    probes = [leave_of(breaker.admit(1.0)) for _ in range(3)]
    assert isinstance(breaker.admit(1.0), Open)
    probes[0].failed(1.5)
    probes[1].succeeded(1.5)
    probes[2].succeeded(1.5)
    assert breaker.state(1.5) == "open"


def test_it_closes_with_an_empty_window() -> None:
    """What failed before it opened is not held against the host again."""
    breaker, _ = closed_again()
    for _ in range(3):
        leave_of(breaker.admit(2.0)).failed(2.0)
    assert breaker.state(2.0) == "closed"


# ------------------------------------------------------------------------------------------------ the parked


def test_parked_callers_are_told_when_to_look() -> None:
    """When the open time ends; behind a probe, when its lease does."""
    breaker = opened()
    answer = breaker.admit(0.0, park=True)
    assert isinstance(answer, Parked)
    assert answer.look_at == 1.0
    leave_of(breaker.admit(1.0))
    assert breaker.ticket_ready(answer.ticket, 1.0) == Parked(answer.ticket, 9.0)


def test_the_first_of_the_parked_to_look_is_the_probe() -> None:
    """The open time is over, and nobody else has asked."""
    breaker = opened()
    first, second = (place_of(breaker.admit(0.0, park=True)) for _ in range(2))
    leave_of(breaker.ticket_ready(first, 1.0))
    assert isinstance(breaker.ticket_ready(second, 1.0), Parked)


def test_whoever_reports_is_told_to_wake_the_parked() -> None:
    """When a probe worked, failed or was cancelled; not when nobody waits."""
    for report in ("succeeded", "failed", "cancelled"):
        for parked in (0, 1):
            breaker = opened()
            for _ in range(parked):
                breaker.admit(0.0, park=True)
            probe = leave_of(breaker.admit(1.0))
            assert getattr(probe, report)(1.5) is bool(parked), report
            assert getattr(probe, report)(1.5) is False, "it has been told"


def test_nobody_is_woken_who_could_not_go() -> None:
    """A late reply brought a Retry-After while the probe was out, and then the probe was cancelled."""
    breaker = Breaker(SMALL)
    late = leave_of(breaker.admit(0.0))
    for _ in range(4):
        leave_of(breaker.admit(0.0)).failed(0.0)
    ticket = place_of(breaker.admit(0.0, park=True))
    probe = leave_of(breaker.admit(1.0))
    late.failed(1.5, 30.0)
    assert probe.cancelled(2.0) is False
    assert breaker.ticket_ready(ticket, 2.0) == Parked(ticket, 31.5)


def test_a_clock_that_was_read_just_before_it_closed_is_no_error() -> None:
    """One thread reads the clock, another closes the breaker, and then the first asks."""
    breaker, _ = closed_again(parked=2)
    leave_of(breaker.admit(2.0, park=True))
    answer = breaker.admit(1.5, park=True)
    assert isinstance(answer, Parked)
    assert answer.look_at == 2.0


def test_the_parked_go_over_a_ramp_that_begins_slowly() -> None:
    """Four callers and four seconds: at 0, 2, 2.83 and 3.46 seconds after it closed at 2."""
    breaker, tickets = closed_again(small(max_parked=4), parked=4)
    due = [2.0 + 4.0 * math.sqrt(place / 4) for place in range(4)]
    leave_of(breaker.ticket_ready(tickets[0], 2.0))
    for ticket, at in zip(tickets[1:], due[1:], strict=True):
        assert breaker.ticket_ready(ticket, at - 0.01) == Parked(ticket, at)
        leave_of(breaker.ticket_ready(ticket, at))


def test_a_caller_who_may_wait_goes_behind_those_who_wait() -> None:
    """A newcomer one second into the ramp of four waits for one more; one who may not wait goes at once."""
    breaker, _ = closed_again(parked=2)
    answer = breaker.admit(3.0, park=True)
    assert isinstance(answer, Parked)
    assert answer.look_at == 4.0
    leave_of(breaker.admit(3.0))
    leave_of(breaker.ticket_ready(answer.ticket, 4.0))


def test_nobody_waits_after_the_ramp() -> None:
    """Not the newcomers, and not who slept for too long."""
    breaker, tickets = closed_again(parked=2)
    leave_of(breaker.admit(6.0, park=True))
    leave_of(breaker.ticket_ready(tickets[1], 60.0))


def test_there_is_no_ramp_where_nobody_waited() -> None:
    """A caller who may wait need not."""
    breaker, _ = closed_again()
    leave_of(breaker.admit(2.0, park=True))
    leave_of(breaker.admit(2.5, park=True))


def test_a_parked_caller_that_gives_up_leaves_no_trace() -> None:
    """The others go when they would have gone without it."""
    breaker = opened()
    first, second, third = (place_of(breaker.admit(0.0, park=True)) for _ in range(3))
    breaker.leave(first)
    breaker.leave(third)
    breaker.leave(third)
    for _ in range(2):
        leave_of(breaker.admit(2.0)).succeeded(2.0)
    leave_of(breaker.ticket_ready(second, 2.0))


def test_only_so_many_may_wait() -> None:
    """The fourth is refused, and taken when one has left."""
    breaker = opened()
    tickets = [place_of(breaker.admit(0.0, park=True)) for _ in range(3)]
    assert breaker.admit(0.0, park=True) == Open(retry_at=1.0)
    breaker.leave(tickets[1])
    place_of(breaker.admit(0.0, park=True))


def test_a_newcomer_for_whom_there_is_no_place_to_wait_goes_at_once_when_it_is_closed() -> None:
    """A closed breaker refuses nobody."""
    breaker, _ = closed_again(parked=3)
    leave_of(breaker.admit(3.0, park=True))


def test_the_parked_wait_on_when_it_opens_again_during_the_ramp() -> None:
    """In the order in which they came, and over a ramp of their own."""
    breaker, tickets = closed_again(parked=3)
    for _ in range(4):
        leave_of(breaker.admit(2.5)).failed(2.5)
    assert breaker.ticket_ready(tickets[2], 2.5) == Parked(tickets[2], 4.5)
    for _ in range(2):
        leave_of(breaker.admit(4.5)).succeeded(4.5)
    leave_of(breaker.ticket_ready(tickets[0], 4.5))
    assert breaker.ticket_ready(tickets[1], 4.5) == Parked(tickets[1], 4.5 + 4.0 * math.sqrt(1 / 3))


def test_one_that_slept_through_a_whole_recovery_waits_again() -> None:
    """The ramp ended without it, and then the host failed again: it goes behind who has parked since."""
    breaker, (sleeper,) = closed_again(parked=1)
    leave_of(breaker.admit(7.0, park=True))
    for _ in range(4):
        leave_of(breaker.admit(8.0)).failed(8.0)
    other = place_of(breaker.admit(8.0, park=True))
    assert breaker.ticket_ready(sleeper, 8.5) == Parked(sleeper, 9.0)
    for _ in range(2):
        leave_of(breaker.admit(9.0)).succeeded(9.0)
    leave_of(breaker.ticket_ready(other, 9.0))
    assert breaker.ticket_ready(sleeper, 9.0) == Parked(sleeper, 9.0 + 4.0 * math.sqrt(1 / 2))


# ------------------------------------------------------------------------------------------------ any history


@dataclass
class Naive:
    """The same breaker, told plainly: all that ever happened is kept, and looked through for every answer."""

    config: BreakerConfig
    stretch: float
    spell: int = 0  # how often its state has changed
    until: float | None = None
    last_open: float = 0.0
    closed_at: float = -math.inf
    calls: list[tuple[float, str, float]] = field(default_factory=list)  # when, what, until when it asked
    probes: dict[int, float] = field(default_factory=dict)
    worked: int = 0
    waiting: list[int] = field(default_factory=list)
    due: dict[int, float] = field(default_factory=dict)
    ramp: bool = False
    spells: dict[int, int] = field(default_factory=dict)  # of permits

    def rooms(self, now: float) -> int:
        """Tell how many probes may go."""
        return self.config.probes - sum(now < end for end in self.probes.values())

    def allowed(self, now: float) -> bool:
        """Tell whether a request may go, whoever waits."""
        return self.until is None or (now >= self.until and self.rooms(now) > 0)

    def give(self, name: int, now: float) -> tuple[str, float]:
        """Give a permit of this name."""
        self.spells[name] = self.spell
        if self.until is not None:
            self.probes = {one: end for one, end in self.probes.items() if now < end} | {
                name: now + self.config.lease
            }
        return "permit", 0.0

    def look_at(self, now: float) -> float:
        """Tell when the answer changes."""
        assert self.until is not None
        return self.until if now < self.until else min(end for end in self.probes.values() if now < end)

    def ended(self, now: float) -> None:
        """End the ramp, if it is over."""
        if self.ramp and now >= self.closed_at + self.config.ramp:
            self.ramp, self.waiting = False, []

    def admit(self, name: int, now: float, *, park: bool) -> tuple[str, float]:
        """Answer as `Breaker.admit` does."""
        full = len(self.waiting) >= self.config.max_parked
        if not self.allowed(now):
            at = self.look_at(now)
            if full or not park:
                return "open", at
            self.waiting.append(name)
            self.due[name] = math.inf
            return "parked", at
        if self.until is None:
            self.ended(now)
            full = len(self.waiting) >= self.config.max_parked
            at = self.closed_at + math.sqrt((now - self.closed_at) * self.config.ramp) if self.ramp else now
            if at > now and park and not full:
                self.waiting.append(name)
                self.due[name] = at
                return "parked", at
        return self.give(name, now)

    def ready(self, name: int, now: float) -> tuple[str, float]:
        """Answer as `Breaker.ticket_ready` does."""
        if self.until is None:
            if now < self.due[name]:
                self.ended(now)
                if self.ramp:
                    return "parked", self.due[name]
        elif not self.allowed(now):
            if name not in self.waiting:
                self.waiting.append(name)
            return "parked", self.look_at(now)
        if name in self.waiting:
            self.waiting.remove(name)
        return self.give(name, now)

    def report(self, name: int, now: float, what: str, took: float, asked: float | None) -> None:
        """Hear of a permit, the first time."""
        spell = self.spells.pop(name, None)
        if spell is None:
            return
        word = -math.inf if asked is None else now + min(asked, self.config.max_retry_after) * self.stretch
        if what == "failed" and self.until is not None:
            self.until = max(self.until, word)
        if spell != self.spell:
            return
        if what == "cancelled":
            self.probes.pop(name, None)
            return
        slow = self.config.slow_after is not None and what == "succeeded" and took >= self.config.slow_after
        if self.until is not None:
            self.probed(name, now, well=what == "succeeded" and not slow)
            return
        self.calls.append((now, "slow" if slow else what, word))
        if self.too_many(now, slow=slow):
            self.open(now)

    def probed(self, name: int, now: float, *, well: bool) -> None:
        """Close, open, or wait for more."""
        self.probes.pop(name, None)
        if not well:
            self.open(now)
            return
        self.worked += 1
        if self.worked == self.config.successes:
            self.spell += 1
            self.until, self.closed_at, self.calls = None, now, []
            self.ramp = bool(self.waiting)
            for place, one in enumerate(self.waiting):
                self.due[one] = now + self.config.ramp * math.sqrt(place / len(self.waiting))

    def too_many(self, now: float, *, slow: bool) -> bool:
        """Judge the newest call, which failed or was slow."""
        width = self.config.window / self.config.buckets
        kinds = [what for at, what, _ in self.calls if at // width > now // width - self.config.buckets]
        enough = len(kinds) >= self.config.min_calls
        if self.calls[-1][1] == "failed":
            run = len(self.since_success())
            rate = kinds.count("failed") >= self.config.failure_rate * len(kinds)
            return (self.config.in_a_row is not None and run >= self.config.in_a_row) or (enough and rate)
        return slow and enough and kinds.count("slow") >= self.config.slow_rate * len(kinds)

    def since_success(self) -> list[tuple[float, str, float]]:
        """List the failures after the last success."""
        return list(itertools.takewhile(lambda call: call[1] == "failed", reversed(self.calls)))

    def open(self, now: float) -> None:
        """Open, for longer where it was open before."""
        again = self.until is not None or now - self.closed_at < self.config.window
        grown = min(self.last_open * self.config.growth, self.config.max_open_for)
        self.last_open = grown if again else self.config.open_for
        words = [word for _, _, word in self.since_success()] if self.until is None else [self.until]
        self.until = max([now + self.last_open * self.stretch, *words])
        self.spell += 1
        self.probes, self.worked, self.calls, self.ramp = {}, 0, [], False


CONFIGS = [
    small(in_a_row=5, max_retry_after=8.0),
    small(slow_after=1.0, slow_rate=0.75, probes=2, lease=2.0, successes=3, max_retry_after=8.0),
    small(in_a_row=2, min_calls=2, successes=1, lease=1.0, ramp=16.0, max_retry_after=2.0),
]
OUTCOMES = ["succeeded", "failed", "cancelled"]


class Both:
    """A breaker and the naive one, in one history: whatever is done is done to both, and the answers are compared."""

    def __init__(self, config: BreakerConfig, chance: float) -> None:
        self.real = Breaker(config, chance)
        self.naive = Naive(config, 1 + config.jitter * chance)
        self.now = 1024.0
        self.names = itertools.count()
        self.permits: dict[int, Permit] = {}  # not reported yet
        self.reported: dict[int, Permit] = {}
        self.tickets: dict[int, Ticket] = {}

    def come(self, *, park: bool) -> int:
        """Let a caller ask, and give it a name."""
        name = next(self.names)
        self.compare(name, self.real.admit(self.now, park=park), self.naive.admit(name, self.now, park=park))
        return name

    def look(self, name: int) -> None:
        """Let a parked caller ask."""
        self.compare(
            name, self.real.ticket_ready(self.tickets[name], self.now), self.naive.ready(name, self.now)
        )

    def give_up(self, name: int) -> None:
        """Let a parked caller leave."""
        self.real.leave(self.tickets.pop(name))
        if name in self.naive.waiting:
            self.naive.waiting.remove(name)

    def vanish(self, name: int) -> None:
        """Lose a parked caller, or the caller of a request, and tell nobody."""
        self.tickets.pop(name, None)
        self.permits.pop(name, None)

    def report(self, name: int, what: str, took: float = 0.25, asked: float | None = None) -> None:
        """Let a caller report."""
        permit = self.reported[name] = self.permits.pop(name)
        self.tell(permit, what, took, asked)
        self.naive.report(name, self.now, what, took, asked)

    def report_again(self, name: int, what: str) -> None:
        """Let a caller report what is not heard."""
        assert self.tell(self.reported[name], what, 9.0, 32.0) is False

    def tell(self, permit: Permit, what: str, took: float, asked: float | None) -> bool:
        """Tell the breaker of a permit."""
        if what == "succeeded":
            return permit.succeeded(self.now, took)
        if what == "failed":
            return permit.failed(self.now, asked)
        return permit.cancelled(self.now)

    def compare(self, name: int, answer: Permit | Open | Parked, expected: tuple[str, float]) -> None:
        """Compare an answer with the naive one's, and keep what was given."""
        if isinstance(answer, Permit):
            told = ("permit", 0.0)
            self.permits[name] = answer
            self.tickets.pop(name, None)
        elif isinstance(answer, Open):
            told = ("open", answer.retry_at)
        else:
            told = ("parked", answer.look_at)
            self.tickets[name] = answer.ticket
        assert told == expected

    def check(self) -> None:
        """Compare the states, and look whether what is kept is bounded."""
        until = self.naive.until
        state = "closed" if until is None else "open" if self.now < until else "half_open"
        assert self.real.state(self.now) == state
        assert len(self.real._probing) <= self.real.config.probes

    def end(self) -> None:
        """See it close, given time and a host that works, and let all go who wait, whatever has happened."""
        config = self.real.config
        at = self.now + 1.5 * max(config.max_open_for, config.max_retry_after) + config.lease
        for _ in range(config.successes if self.real.state(at) != "closed" else 0):
            leave_of(self.real.admit(at)).succeeded(at)
        assert self.real.state(at) == "closed"
        leave_of(self.real.admit(at + config.ramp, park=True))
        for ticket in self.tickets.values():
            leave_of(self.real.ticket_ready(ticket, at + config.ramp))
        assert not self.real._waiting


class AnyHistory(RuleBasedStateMachine):
    """Callers who come, wait, give up, vanish and report in any order: the breaker answers as the naive one does."""

    both: Both | None = None

    @initialize(config=st.sampled_from(CONFIGS), chance=st.sampled_from([0.0, 0.5]))
    def begin(self, config: BreakerConfig, chance: float) -> None:
        """Make the two."""
        self.both = Both(config, chance)

    @rule(
        seconds=st.sampled_from([0.25, 1.0, 4.0, 8.0]),
        come=st.integers(0, 5),
        park=st.booleans(),
        what=st.sampled_from(OUTCOMES),
        took=st.sampled_from([0.25, 1.0]),
        asked=st.sampled_from([None, None, 0.5, 1e9]),
        data=st.data(),
    )
    def something_happens(  # noqa: PLR0917 - what may happen at a moment
        self,
        seconds: float,
        come: int,
        park: bool,  # noqa: FBT001 - hypothesis names it
        what: str,
        took: float,
        asked: float | None,
        data: st.DataObject,
    ) -> None:
        """Let some come, some of the parked look, some give up or vanish, and some report."""
        both = self.both
        assert both is not None
        both.now += seconds
        for _ in range(come):
            both.come(park=park)
        for name in data.draw(subsets(both.tickets)):
            both.look(name)
        for name in data.draw(subsets(both.tickets)):
            both.vanish(name) if took > 0.5 else both.give_up(name)
        for name in data.draw(subsets(both.permits)):
            both.report(name, what, took, asked)
        for name in data.draw(subsets(both.reported)):
            both.report_again(name, what)
        both.check()

    def teardown(self) -> None:
        """End it."""
        if self.both is not None:
            self.both.end()


def subsets(names: dict[int, Any]) -> st.SearchStrategy[list[int]]:
    """Choose some of them."""
    if not names:
        return st.just([])
    return st.lists(st.sampled_from(sorted(names)), max_size=4, unique=True)


AnyHistory.TestCase.settings = settings(
    derandomize=True, deadline=None, database=None, max_examples=50, stateful_step_count=25
)
TestAnyHistory = AnyHistory.TestCase


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_a_long_history_is_answered_as_the_naive_breaker_answers_it(config: BreakerConfig) -> None:
    """Three hundred histories of a hundred steps, in which the host goes up and down."""
    for seed in range(300):
        rng = random.Random(seed)  # noqa: S311 - for histories, not for secrets
        both = Both(config, rng.choice([0.0, 0.5]))
        for _ in range(100):
            one_step(both, rng)
        both.end()


def one_step(both: Both, rng: random.Random) -> None:
    """Let one of the things happen that may."""
    up = both.now // 16 % 2 == 0  # for sixteen seconds each
    what = rng.choices(OUTCOMES, [0.9, 0.05, 0.05] if up else [0.05, 0.9, 0.05])[0]
    step = rng.randrange(12)
    if step < 3:
        both.now += rng.choice([0.25, 0.5, 1.0, 2.0, 4.0])
    elif step < 6:
        name = both.come(park=rng.random() < 0.5)
        if name in both.permits and rng.random() < 0.7:
            both.report(name, what, rng.choice([0.25, 0.25, 1.0]))
    elif step < 8 and both.permits:
        asked = rng.choice([None, None, 0.5, 1.0, 1e9])
        both.report(rng.choice(sorted(both.permits)), what, rng.choice([0.25, 1.0]), asked)
    elif step < 10 and both.tickets:
        both.look(rng.choice(sorted(both.tickets)))
    elif step == 10 and both.tickets:
        rng.choice([both.give_up, both.vanish])(rng.choice(sorted(both.tickets)))
    elif both.reported:
        both.report_again(rng.choice(sorted(both.reported)), what)
    both.check()


# ------------------------------------------------------------------------------------------------ many threads


def test_no_report_is_lost_between_threads() -> None:
    """Eight threads report 8 000 calls, half of them failed; with 8 001 the breaker opens."""
    breaker = Breaker(small(in_a_row=None, min_calls=8_001, failure_rate=0.5, buckets=1))

    def work() -> None:
        for _ in range(500):
            leave_of(breaker.admit(0.0)).succeeded(0.0)
            leave_of(breaker.admit(0.0)).failed(0.0)

    in_threads(work)
    assert breaker.state(0.0) == "closed"
    leave_of(breaker.admit(0.0)).failed(0.0)
    assert breaker.state(0.0) == "open"


def test_threads_share_the_probes() -> None:
    """Of eight who ask at once, three go; three hundred breakers say so."""
    breakers = [opened(small(probes=3)) for _ in range(300)]
    gone: list[Breaker] = []

    def work() -> None:
        gone.extend(breaker for breaker in breakers if isinstance(breaker.admit(1.0), Permit))

    in_threads(work)
    assert set(Counter(gone).values()) == {3}
    assert len(gone) == 900


class Watched(int):
    """A number that notes whether its breaker was locked each time that it was looked at."""

    breaker: Breaker
    locked: list[bool]

    def __le__(self, other: int) -> bool:
        self.locked.append(self.breaker._lock.locked())
        return int(self) <= other


def test_its_counts_are_looked_at_under_the_lock_only() -> None:
    """What was read outside of it might have changed: when it opens, when a probe goes, when it closes."""
    numbers = [Watched(1), Watched(2), Watched(3)]
    breaker = Breaker(small(probes=numbers[0], successes=numbers[1], min_calls=numbers[2]))
    for number in numbers:
        number.breaker, number.locked = breaker, []
    for _ in range(3):
        leave_of(breaker.admit(0.0)).failed(0.0)
    ticket = place_of(breaker.admit(0.0, park=True))
    first = leave_of(breaker.admit(1.0))
    assert isinstance(breaker.ticket_ready(ticket, 1.0), Parked)
    first.succeeded(1.0)
    leave_of(breaker.ticket_ready(ticket, 1.0)).succeeded(1.0)
    assert breaker.state(1.0) == "closed"
    assert all(number.locked and all(number.locked) for number in numbers)


# ------------------------------------------------------------------------------------------------ an outage


class World:
    """Callers on a clock that jumps from one event to the next. A caller is a generator that yields when it goes on."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._events: list[tuple[float, int, Generator[float | tuple[float], None, Any]]] = []
        self._light: dict[Generator[float | tuple[float], None, Any], int] = {}  # who can be woken
        self._woken: set[int] = set()

    def go_on(self, at: float, caller: Generator[float | tuple[float], None, Any]) -> int:
        """Let a caller go on at this second."""
        number = next(self._order)
        heapq.heappush(self._events, (at, number, caller))
        return number

    def wake(self) -> None:
        """Let all go on now that yielded `(when,)`."""
        light, self._light = self._light, {}
        for caller, number in light.items():
            self._woken.add(number)
            self.go_on(self.now, caller)

    def run(self, until: float) -> None:
        """Do all that happens before this second."""
        while self._events and self._events[0][0] < until:
            at, number, caller = heapq.heappop(self._events)
            if number in self._woken:
                continue
            self.now = at
            self._light.pop(caller, None)
            following = next(caller, None)
            if isinstance(following, tuple):
                self._light[caller] = self.go_on(following[0], caller)
            elif following is not None:
                self.go_on(following, caller)


class Outage:
    """A thousand callers share a breaker, calls about every 10 seconds and waits for 45; the host is down for 30."""

    begins, ends = 60.0, 90.0
    normal = 100  # calls per second

    def __init__(self, *, park: bool, down: float, overlapping: bool, chance: float = 0.0) -> None:
        self.world = World()
        self.breaker = Breaker(chance=chance)
        self.park, self.down = park, down  # seconds that a call takes while the host is down
        self.rng = random.Random(1)  # noqa: S311 - for times, not for secrets
        self.sent: list[float] = []
        self.results: list[bool] = []
        for _ in range(1000):
            self.world.go_on(0.0, self.caller(overlapping=overlapping))
        self.world.run(self.ends + 60.0)

    def caller(self, *, overlapping: bool) -> Generator[float | tuple[float], None, None]:
        """Call every 10 seconds, whether or not the last call has ended; or 10 seconds after it has."""
        at = self.rng.uniform(0, 10)
        while True:
            yield at
            if overlapping:
                self.world.go_on(at, self.call())
                at += 10
            else:
                yield from self.call()
                at = self.world.now + self.rng.uniform(5, 15)

    def call(self) -> Generator[float | tuple[float], None, None]:
        """Make one call of up to five attempts, and note how it ended if it could meet the outage."""
        begun = self.world.now
        worked = yield from self.attempts(begun + 45)
        if begun >= self.begins - 1:
            self.results.append(worked)

    def attempts(self, deadline: float) -> Generator[float | tuple[float], None, bool]:
        """Try until it works, or time or attempts are up."""
        world, breaker = self.world, self.breaker
        for attempt in range(5):
            answer = breaker.admit(world.now, park=self.park)
            while isinstance(answer, Parked):
                ticket = answer.ticket
                yield (min(answer.look_at, deadline),)
                if world.now >= deadline:
                    breaker.leave(ticket)
                    return False
                answer = breaker.ticket_ready(ticket, world.now)
            if isinstance(answer, Open):
                return False
            self.sent.append(world.now)
            up = not self.begins <= world.now < self.ends
            yield world.now + (0.05 if up else self.down)
            if answer.succeeded(world.now, 0.05) if up else answer.failed(world.now):
                world.wake()
            if up:
                return True
            pause = self.rng.random() * 0.5 * 2**attempt
            if world.now + pause >= deadline:
                return False
            yield world.now + pause
        return False

    @property
    def success(self) -> float:
        """Give the share of the calls that worked, of those that began from the outage on."""
        return sum(self.results) / len(self.results)

    @property
    def load(self) -> float:
        """Give what the host saw while it was down, as a share of what it sees when it is not."""
        seen = sum(self.begins <= at < self.ends for at in self.sent)
        return seen / (self.normal * (self.ends - self.begins))

    @property
    def coming_back(self) -> list[int]:
        """Count the requests of each second from the first that worked again."""
        first = min(at for at in self.sent if at >= self.ends)
        seconds = Counter(int(at - first) for at in self.sent if at >= first)
        return [seconds[second] for second in range(15)]


@pytest.mark.parametrize("overlapping", [False, True], ids=["one by one", "overlapping"])
@pytest.mark.parametrize("down", [0.05, 2.0], ids=["fails at once", "fails after 2 s"])
def test_with_parking_an_outage_costs_no_calls_and_the_host_is_left_alone(
    down: float, *, overlapping: bool
) -> None:
    """30 seconds down, 45 seconds of patience: 99.5 % work, and the host sees a tenth of its load at the most."""
    outage = Outage(park=True, down=down, overlapping=overlapping)
    assert outage.success >= 0.995
    assert outage.load <= 0.10


@pytest.mark.parametrize("chance", [0.33, 0.99])
def test_the_jitter_of_its_open_times_does_not_cost_calls(chance: float) -> None:
    """The outage ends between two probes, wherever they fall."""
    outage = Outage(park=True, down=0.05, overlapping=False, chance=chance)
    assert outage.success >= 0.995


def test_without_parking_the_calls_of_an_outage_fail() -> None:
    """What parking is worth: the host is left alone just as well, and half of the calls are refused."""
    outage = Outage(park=False, down=0.05, overlapping=False)
    assert outage.success < 0.75
    assert outage.load <= 0.10


def test_those_who_waited_come_back_as_a_ramp_and_not_as_a_crowd() -> None:
    """Less than the normal load in the first second, never four times it, and the normal load in the end."""
    coming_back = Outage(park=True, down=0.05, overlapping=False).coming_back
    assert coming_back[0] < 100
    assert coming_back[:5] == sorted(coming_back[:5])
    assert max(coming_back) < 400
    assert 70 <= coming_back[14] <= 150
