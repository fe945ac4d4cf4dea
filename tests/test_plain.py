"""A policy's own waits and stops answer as tenacity's objects of the same name would."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import tenacity
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_client._flow import plain

repeatable = settings(derandomize=True, deadline=None, max_examples=200)
attempts = st.integers(1, 2000)
seconds = st.floats(0, 1e6, allow_nan=False)


def state(number: int, elapsed: float = 0.0) -> Any:
    """Make as much of tenacity's state as its waits and stops look at."""
    return SimpleNamespace(attempt_number=number, seconds_since_start=elapsed, upcoming_sleep=0.0)


@repeatable
@given(attempts, st.lists(seconds, min_size=1, max_size=6))
def test_a_chain_is_tenacitys(number: int, waits: list[float]) -> None:
    """The last wait goes on for ever."""
    theirs = tenacity.wait_chain(*map(tenacity.wait_fixed, waits))
    assert plain.chain(waits).after(number, 0.0) == theirs(state(number))


@repeatable
@given(attempts, st.floats(0.001, 100), st.floats(1, 10), seconds)
def test_an_exponential_wait_is_tenacitys(number: int, first: float, factor: float, longest: float) -> None:
    """Also where the power is beyond what a float can be."""
    theirs = tenacity.wait_exponential(multiplier=first, exp_base=factor, max=longest)
    assert plain.exponential(first, factor, longest).after(number, 0.0) == theirs(state(number))


@repeatable
@given(attempts, seconds, st.none() | st.integers(1, 20), st.none() | seconds)
def test_a_stop_is_tenacitys(number: int, elapsed: float, most: int | None, delay: float | None) -> None:
    """Whichever bound is met first; with neither, it never stops."""
    bounds: list[Any] = []
    if most is not None:
        bounds.append(tenacity.stop_after_attempt(most))
    if delay is not None:
        bounds.append(tenacity.stop_after_delay(delay))
    theirs = tenacity.stop_any(*bounds)
    assert plain.stop(most, delay).after(number, elapsed) == theirs(state(number, elapsed))


@pytest.mark.parametrize(
    "one", [plain.chain([1.0, 2.0]), plain.exponential(0.5, 2.0, 8.0), plain.stop(2, None)]
)
def test_it_stands_beside_an_object_of_the_users_own(one: plain.Plain) -> None:
    """Where a user brings the other of the two, both are asked about tenacity's state."""
    assert one(state(2, 3.0)) == one.after(2, 3.0)
