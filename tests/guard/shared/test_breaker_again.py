"""The tests of the circuit breaker in memory, run against the shared one: one process, on virtual time."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from shared_engines import ZERO, Again

if TYPE_CHECKING:
    from collections.abc import Iterator

    from valkey_server import Server

    from resilient_client._guard.breaker import BreakerConfig, Open, Parked, Permit
    from resilient_client._guard.shared.breaker import SharedBreaker

pytest_plugins = ["valkey_fixtures"]

AGAIN = Again("test_breaker")
_numbers = itertools.count()


def _made(config: BreakerConfig | None = None, chance: float = 0.0) -> SharedBreaker:
    return AGAIN.another().breaker(str(next(_numbers)), config, chance, clock=ZERO)


_INSIDE = "it looks inside the breaker in memory"
_LONG = "it asks tens of thousands of questions, and what it says of the numbers it says of both"
_FRACTIONS = "the server counts whole microseconds, and the turns here are fractions of one; compared below"

_tests = AGAIN.tests(
    Breaker=_made,
    apart={
        "test_its_counts_are_looked_at_under_the_lock_only": _INSIDE,
        "test_a_long_history_is_answered_as_the_naive_breaker_answers_it": "it has as many histories as memory can take",
        "test_faults_that_come_singly_do_not_open_it": _LONG,
        "test_with_parking_an_outage_costs_no_calls_and_the_host_is_left_alone": _LONG,
        "test_the_jitter_of_its_open_times_does_not_cost_calls": _LONG,
        "test_those_who_waited_come_back_as_a_ramp_and_not_as_a_crowd": _LONG,
        "test_no_report_is_lost_between_threads": _LONG,
        "test_the_parked_wait_on_when_it_opens_again_during_the_ramp": _FRACTIONS,
        "test_one_that_slept_through_a_whole_recovery_waits_again": _FRACTIONS,
        "test_a_clock_that_was_read_just_before_it_closed_is_no_error": "the latest time that anybody told decides",
    },
)
globals().update(_tests)


@pytest.fixture(autouse=True)
def _on_the_server(valkey: Server) -> Iterator[None]:
    AGAIN.use(valkey)
    yield
    AGAIN.close()


class _Both(AGAIN.module.Both):  # type: ignore[misc, name-defined]  # a class of the module loaded again
    """A shared breaker and the naive one: the same answers, to the microsecond."""

    def compare(self, name: int, answer: Permit | Open | Parked, expected: tuple[str, float]) -> None:
        super().compare(name, answer, _Nearly(expected))

    def check(self) -> None:
        until = self.naive.until
        state = "closed" if until is None else "open" if self.now < until else "half_open"
        assert self.real.state(self.now) == state


class _Nearly(tuple[str, float]):
    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # it is compared, and kept nowhere

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple) and other[0] == self[0] and bool(abs(other[1] - self[1]) < 5e-6)


@pytest.mark.parametrize("config", AGAIN.module.CONFIGS, ids=range(len(AGAIN.module.CONFIGS)))
def test_a_history_is_answered_as_the_naive_breaker_answers_it(config: BreakerConfig) -> None:
    """Thirty histories of a hundred steps, in which the host goes up and down."""
    for seed in range(30):
        rng = random.Random(seed)  # noqa: S311 - for histories, not for secrets
        both = _Both(config, rng.choice([0.0, 0.5]))
        for _ in range(100):
            AGAIN.module.one_step(both, rng)
