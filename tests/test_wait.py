"""How long until the next attempt: bounds that hold for every chance, and the order of the refusals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_client import Policy
from resilient_client._flow.wait import Refused, Wait, next_wait
from resilient_client.outcome import Tried, Verdict

if TYPE_CHECKING:
    from resilient_client._flow.rulebook import Retry, Rule


def a_retry(**words: Any) -> Retry:
    """Compile one retry table."""
    policy = Policy.model_validate(
        {"api": "x", "rules": [{"name": "E", "when": {"status": 500}, "retry": words}]}
    )
    rule: Rule = policy.rulebook.by_status[500][0][1]
    assert rule.retry is not None
    return rule.retry


def tried(at: float = 0.0, wait: float = 0.0) -> Tried:
    """Make an attempt that was answered at this second."""
    return Tried(None, Verdict("E", "server", 500), None, at=at, elapsed=0.0, wait=wait)


def ask(retry: Retry, number: int = 1, **given_: Any) -> Wait | Refused:
    """Ask for the wait after the attempt of this number."""
    asked = given_.pop("asked", None)
    at = given_.pop("at", 0.0)
    options = {"chance": 0.0, "longest": 300.0, "until": None} | given_
    return next_wait(retry, [tried() for _ in range(number - 1)], tried(at), asked, **options)


@settings(derandomize=True)
@given(chance=st.floats(0, 1, exclude_max=True), asked=st.floats(0, 300))
def test_a_server_directed_wait_is_never_shortened_and_its_jitter_is_bounded(
    chance: float, asked: float
) -> None:
    """W <= sleep <= 1.2 w + 0.25."""
    answer = ask(a_retry(), asked=asked, chance=chance)
    assert isinstance(answer, Wait)
    assert answer.base == asked
    assert asked <= answer.seconds <= 1.2 * asked + 0.25


@settings(derandomize=True)
@given(chance=st.floats(0, 1, exclude_max=True), number=st.integers(1, 4))
def test_a_schedule_is_kept_to_the_letter_but_for_added_jitter(chance: float, number: int) -> None:
    """1, 2, 5, 10 and never less."""
    answer = ask(a_retry(schedule=[1, 2, 5, 10]), number, chance=chance)
    base = [1, 2, 5, 10][number - 1]
    assert isinstance(answer, Wait)
    assert answer.base == base
    assert base <= answer.seconds <= 1.2 * base + 0.25


@settings(derandomize=True)
@given(chance=st.floats(0, 1, exclude_max=True), number=st.integers(1, 50))
def test_a_backoff_is_drawn_from_nothing_to_its_ceiling(chance: float, number: int) -> None:
    """0.5 * 2 ** n, capped at 30."""
    answer = ask(a_retry(retries=50), number, chance=chance)
    ceiling = min(0.5 * 2 ** (number - 1), 30)
    assert isinstance(answer, Wait)
    assert answer == Wait(ceiling, ceiling * chance)


def test_a_schedule_ends_after_its_last_wait() -> None:
    """Four waits are four retries: neither three nor five."""
    retry = a_retry(schedule=[1, 2, 5, 10])
    assert [isinstance(ask(retry, number), Wait) for number in range(1, 7)] == [True] * 4 + [False] * 2
    assert ask(retry, 5) == Refused("attempts_exhausted")


def test_the_servers_word_replaces_a_backoff_and_is_a_floor_under_a_schedule() -> None:
    """Retry-After: 3 stands for a backoff's draw; of a scheduled 5 and a hinted 3, the longer counts."""
    backoff, schedule, fixed = a_retry(), a_retry(schedule=[5]), a_retry(wait=60)
    assert ask(backoff, asked=3.0) == Wait(3.0, 3.0)
    assert ask(schedule, asked=3.0) == Wait(5.0, 5.0)
    assert ask(schedule, asked=8.0) == Wait(8.0, 8.0)
    assert ask(fixed, asked=3.0) == Wait(3.0, 3.0)
    assert ask(fixed) == Wait(60.0, 60.0)


def test_what_does_not_fit_is_refused_and_not_cut() -> None:
    """Too long for the policy, too long for the caller: the policy's bound is named first."""
    retry = a_retry()
    assert ask(retry, asked=301.0) == Refused("wait_too_long")
    assert ask(retry, asked=301.0, until=10.0) == Refused("wait_too_long")
    assert ask(retry, asked=30.0, until=10.0) == Refused("deadline")
    assert ask(retry, asked=10.0, until=10.0) == Refused("deadline")
    assert isinstance(ask(retry, asked=9.9, until=10.0), Wait)


def test_jitter_leaves_time_for_the_attempt_before_the_deadline() -> None:
    """A wait that fits is not jittered past the deadline."""
    answer = ask(a_retry(), asked=9.0, until=10.0, chance=0.999)
    assert isinstance(answer, Wait)
    assert 9.0 <= answer.seconds <= 9.5


def test_no_wait_is_no_sleep() -> None:
    """Wait = 0 has no jitter; Retry-After: 0 has a little, for it was said to a crowd."""
    assert ask(a_retry(wait=0), chance=0.999) == Wait(0.0, 0.0)
    hinted = ask(a_retry(wait=0), asked=0.0, chance=0.999)
    assert isinstance(hinted, Wait)
    assert 0 < hinted.seconds <= 0.25


def test_a_rule_with_an_end_in_time_sends_for_the_last_time_when_it_comes() -> None:
    """The last wait is shortened to the end; a server that asks for more than is left ends the call."""
    retry = a_retry(**{"for": 300, "backoff": {"max": 60, "jitter": "none"}})
    earlier = [tried(at=0.0)]
    options: dict[str, Any] = {"chance": 0.0, "longest": 300.0, "until": None}
    assert next_wait(retry, earlier * 8, tried(at=280.0), None, **options) == Wait(60.0, 20.0)
    assert next_wait(retry, earlier * 8, tried(at=300.0), None, **options) == Refused("attempts_exhausted")
    assert next_wait(retry, earlier * 8, tried(at=280.0), 30.0, **options) == Refused("wait_too_long")
    assert next_wait(retry, [], tried(), 3600.0, **options) == Refused("wait_too_long")


@pytest.mark.parametrize(
    ("wait", "expected"),
    [(math.nan, Refused("wait_too_long")), (math.inf, Refused("wait_too_long")), (-1.0, Wait(0.0, 0.0))],
)
def test_a_users_own_wait_that_makes_no_sense_never_sleeps_for_ever(
    wait: float, expected: Wait | Refused
) -> None:
    """Not a number and infinity are too long; less than nothing is nothing."""
    retry = a_retry(wait=lambda _state: wait, retries=3)
    assert ask(retry) == expected
