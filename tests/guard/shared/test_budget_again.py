"""The tests of the retry budget in memory, run against the shared one: one process, on virtual time."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from shared_engines import ZERO, Again

if TYPE_CHECKING:
    from collections.abc import Iterator

    from valkey_server import Server

    from resilient_client._guard.budget import BudgetConfig
    from resilient_client._guard.shared.budget import SharedBudget

pytest_plugins = ["valkey_fixtures"]

AGAIN = Again("test_budget")
_numbers = itertools.count()


def _made(config: BudgetConfig | None = None) -> SharedBudget:
    return AGAIN.another().budget(str(next(_numbers)), config, clock=ZERO)


_LONG = "it asks thousands of questions, and what it says of the numbers it says of both"

globals().update(
    AGAIN.tests(
        RetryBudget=_made,
        apart={
            "test_an_outage_of_a_minute_meets_hardly_more_than_the_calls": _LONG,
            "test_the_calls_of_a_minute_ago_count_less_and_less": _LONG,
            "test_a_minute_ends_it_too_and_what_was_known_stays_known": _LONG,
            "test_threads_take_no_token_twice": _LONG,
            "test_a_long_outage_is_not_retried_into": _LONG,
            "test_single_faults_are_retried_as_if_there_were_no_budget": _LONG,
        },
    )
)


@pytest.fixture(autouse=True)
def _on_the_server(valkey: Server) -> Iterator[None]:
    AGAIN.use(valkey)
    yield
    AGAIN.close()
