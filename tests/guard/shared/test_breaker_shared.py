"""The breaker and the retry budget of several processes, and how often they ask the server. Virtual time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import redis
from shared_engines import ZERO

from resilient_client._guard.breaker import BreakerConfig, Open, Parked, Permit, Ticket
from resilient_client._guard.budget import BudgetConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared_engines import Stores

    from resilient_client._guard.shared.breaker import SharedBreaker
    from resilient_client._guard.shared.budget import SharedBudget

pytest_plugins = ["valkey_fixtures"]

CONFIG = BreakerConfig(
    window=4.0, buckets=4, min_calls=4, in_a_row=None, open_for=1.0, max_open_for=4.0, jitter=0.0, lease=8.0
)


def breakers(stores: Stores, count: int, config: BreakerConfig = CONFIG) -> list[SharedBreaker]:
    """Make the breakers of so many processes."""
    return [stores().breaker("api", config, clock=ZERO) for _ in range(count)]


def budgets(stores: Stores, count: int, config: BudgetConfig | None = None) -> list[SharedBudget]:
    """Make the retry budgets of so many processes."""
    return [stores().budget("api", config, clock=ZERO) for _ in range(count)]


def leave_of(answer: Permit | Open | Parked) -> Permit:
    """Take a permit, and say so if it is none."""
    assert isinstance(answer, Permit), answer
    return answer


def place_of(answer: Permit | Open | Parked) -> Ticket:
    """Take a ticket, and say so if there is none."""
    assert isinstance(answer, Parked), answer
    return answer.ticket


class Questions:
    """Counts what the server is asked."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._before = self._asked()

    def _asked(self) -> int:
        stats = self._client.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))

    def so_far(self) -> int:
        """Tell how many since this was made."""
        return self._asked() - self._before


@pytest.fixture
def questions(stores: Stores) -> Iterator[Questions]:
    """Count the questions from now on."""
    client = redis.Redis.from_url(stores.server.url)
    yield Questions(client)
    client.close()


# ------------------------------------------------------------------------------------------------------ the breaker


def test_failures_of_all_processes_add_up(stores: Stores) -> None:
    """Two and two of four."""
    one, other = breakers(stores, 2)
    for breaker in (one, other, one, other):
        assert one.state(0.0) == "closed"
        leave_of(breaker.admit(0.0)).failed(0.0)

    assert other.state(0.0) == "open"
    assert one.admit(0.25) == Open(1.0)


def test_others_see_that_it_opened_within_a_quarter_of_a_second(stores: Stores) -> None:
    """Until then they take it to be as it was."""
    one, other = breakers(stores, 2)
    leave_of(other.admit(0.0))
    for _ in range(4):
        leave_of(one.admit(0.0)).failed(0.0)

    assert isinstance(other.admit(0.24), Permit)
    assert other.admit(0.25) == Open(1.0)


def test_there_is_one_probe_for_all_and_it_closes_for_all(stores: Stores) -> None:
    """Whoever asks first; the others wait for it, and go when it has worked."""
    one, other = breakers(stores, 2, replace(CONFIG, successes=1))
    for _ in range(4):
        leave_of(one.admit(0.0)).failed(0.0)
    parked = place_of(other.admit(0.5, park=True))
    probe = leave_of(one.admit(1.0))
    assert other.admit(1.0) == Open(9.0)

    assert probe.succeeded(1.5) is True
    assert isinstance(other.ticket_ready(parked, 1.5), Permit)


def test_a_permit_stands_until_another_process_opens_it(stores: Stores) -> None:
    """It is seen within a quarter of a second; a probe stands while the others are refused."""
    one, other = breakers(stores, 2)
    permit = leave_of(other.admit(0.0))
    for _ in range(4):
        leave_of(one.admit(0.0)).failed(0.0)

    assert [permit.stands(at) for at in (0.0, 0.25, 1.0)] == [True, False, False]
    assert leave_of(one.admit(1.0)).stands(1.0)


def test_the_parked_of_all_processes_go_over_one_ramp(stores: Stores) -> None:
    """Four callers of two processes, and four seconds."""
    one, other = breakers(stores, 2, replace(CONFIG, successes=1, ramp=4.0))
    for _ in range(4):
        leave_of(one.admit(0.0)).failed(0.0)
    line = [(breaker, place_of(breaker.admit(0.5, park=True))) for breaker in (one, other, one, other)]
    leave_of(one.admit(2.0)).succeeded(2.0)
    due = [2.0 + 4.0 * math.sqrt(place / 4) for place in range(4)]

    for (breaker, ticket), at in zip(line[1:], due[1:], strict=True):
        answer = breaker.ticket_ready(ticket, 2.0)
        assert isinstance(answer, Parked)
        assert answer.look_at == pytest.approx(at)
    leave_of(line[0][0].ticket_ready(line[0][1], 2.0))


def test_parked_callers_of_a_killed_process_are_forgotten(stores: Stores) -> None:
    """Half a minute after they should have looked: their places are for others."""
    config = replace(CONFIG, max_parked=1, lease=100.0)
    killed, other = breakers(stores, 2, config)
    for _ in range(4):
        leave_of(killed.admit(0.0)).failed(0.0)
    place_of(killed.admit(0.5, park=True))
    leave_of(other.admit(1.0))
    assert isinstance(other.admit(30.9, park=True), Open)

    place_of(other.admit(31.0, park=True))


def test_a_permit_from_before_a_restart_of_the_server_is_not_heard(stores: Stores) -> None:
    """The breaker began anew, and closed; the old word is about another."""
    one, other = breakers(stores, 2, replace(CONFIG, min_calls=1))
    permit = leave_of(one.admit(1.0))
    client = redis.Redis.from_url(stores.server.url)
    client.delete(*client.scan_iter(stores.prefix + "*"))
    client.close()
    leave_of(other.admit(2.0))
    permit.failed(3.0)

    assert other.state(4.0) == "closed"


def test_a_closed_breaker_asks_four_times_a_second(stores: Stores, questions: Questions) -> None:
    """However many calls there are; what worked goes along."""
    (breaker,) = breakers(stores, 1)
    for number in range(1000):
        leave_of(breaker.admit(number / 1000)).succeeded(number / 1000)
    assert questions.so_far() <= 4 + 1000 / 50

    for number in range(4):
        assert isinstance(breaker.admit(1.0), Permit), number
    before = questions.so_far()
    for _ in range(100):
        breaker.admit(1.0)
    assert questions.so_far() == before


def test_an_open_breaker_is_hardly_asked(stores: Stores, questions: Questions) -> None:
    """It says when it is worth asking again."""
    (breaker,) = breakers(stores, 1)
    for _ in range(4):
        leave_of(breaker.admit(0.0)).failed(0.0)
    before = questions.so_far()
    for _ in range(100):
        assert breaker.admit(0.1) == Open(1.0)

    assert questions.so_far() == before


def test_successes_that_were_told_late_count_in_their_own_time(stores: Stores) -> None:
    """Three that worked, and five seconds later, a window after them, four that failed."""
    (breaker,) = breakers(stores, 1)
    for _ in range(3):
        leave_of(breaker.admit(0.0)).succeeded(0.0)
    for number in range(4):
        assert breaker.state(5.0) == "closed", number
        leave_of(breaker.admit(5.0)).failed(5.0)

    assert breaker.state(5.0) == "open"


def test_one_success_ends_a_run_of_failures_for_all(stores: Stores) -> None:
    """It is told at once where the last calls failed."""
    one, other = breakers(stores, 2, replace(CONFIG, min_calls=100, in_a_row=3))
    permit = leave_of(one.admit(0.0))
    for _ in range(2):
        leave_of(other.admit(0.0)).failed(0.0)
    leave_of(one.admit(0.25))
    permit.succeeded(0.25)
    leave_of(other.admit(0.25)).failed(0.25)

    assert other.state(0.25) == "closed"


def test_successes_that_go_along_with_a_failure_came_before_it(stores: Stores) -> None:
    """Two failures elsewhere, a success here that was not told yet, and a failure: no run of three."""
    one, other = breakers(stores, 2, replace(CONFIG, min_calls=100, in_a_row=3))
    worked, failed = leave_of(one.admit(0.0)), leave_of(one.admit(0.0))
    for _ in range(2):
        leave_of(other.admit(0.0)).failed(0.0)
    worked.succeeded(0.1)
    failed.failed(0.1)

    assert one.state(0.1) == "closed"


# ---------------------------------------------------------------------------------------------------- retry budget


def test_retries_of_all_processes_are_paid_from_one_bucket(stores: Stores) -> None:
    """500 tokens are 35 retries at 14, whoever makes them."""
    fleet = budgets(stores, 5)

    assert sum(fleet[number % 5].take(0.0) > 0 for number in range(50)) == 35
    assert [budget.level for budget in fleet] == [10] * 5


def test_successes_of_all_processes_pay_in(stores: Stores) -> None:
    """Told with the next question."""
    one, other = budgets(stores, 2)
    one.refund(one.take(0.0))
    other.take(0.0)
    for _ in range(10):
        one.first_try_succeeded(0.5)
    one.take(0.5, throttled=True)
    other.take(0.5, throttled=True)

    assert other.level == 500 - 14 + 10 - 5 - 5


def test_a_success_costs_no_question(stores: Stores, questions: Questions) -> None:
    """Fifty are told at once, or those of a second."""
    (budget,) = budgets(stores, 1)
    for _ in range(1000):
        budget.first_try_succeeded(0.0)
    assert questions.so_far() == 20
    for number in range(49):
        budget.first_try_succeeded(number / 10)

    assert questions.so_far() == 20 + 4


def test_a_success_that_was_told_late_counts_in_its_own_minute(stores: Stores) -> None:
    """A hundred calls a minute ago allow no more blind retries than the five of a client that is little known."""
    config = BudgetConfig(min_known=1)
    (budget,) = budgets(stores, 1, config)
    for _ in range(49):
        budget.first_try_succeeded(0.0)

    assert sum(budget.take(180.0) > 0 for _ in range(40)) == 35
