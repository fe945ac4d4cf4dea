"""The tests of the pacer in memory, run against the shared one on virtual time: one process, and three that take turns."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
from shared_engines import ZERO, Again

from resilient_client._guard.pace import Refused, Slot, Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from valkey_server import Server

    from resilient_client._guard.shared.pace import SharedPacer

pytest_plugins = ["valkey_fixtures"]

AGAIN = Again("test_pace")
_numbers = itertools.count()


class Fleet:
    """As many processes as a test wants, asked in turn, as if they were one pacer. Slots stay with whoever reserved them."""

    processes = 1

    def __init__(self, *windows: Window, margin: float = 0.02, due: float = 30.0) -> None:
        name = str(next(_numbers))
        self._fleet = [
            # The engine in memory keeps a place for as long as nobody gives it up.
            AGAIN.another().pacer(name, *windows, margin=margin, due=due, lease=1e6, clock=ZERO)
            for _ in range(self.processes)
        ]
        self._turns = itertools.cycle(self._fleet)
        self._slots: dict[int, tuple[SharedPacer, Slot]] = {}
        self._now = -math.inf

    @property
    def version(self) -> int:
        """The server's."""
        self._all_told(self._fleet[0])
        return self._fleet[0].version

    def reserve(self, cost: float, now: float, *, until: float | None = None) -> Slot | Refused:
        """Let the next process reserve."""
        self._now = max(self._now, now)
        process = next(self._turns)
        answer = process.reserve(cost, now, until=until)
        if isinstance(answer, Refused):
            return answer
        number = len(self._slots) + 1
        self._slots[number] = process, answer
        return answer._replace(number=number)

    def earliest(self, cost: float, now: float) -> float:
        """Let the next process ask."""
        self._now = max(self._now, now)
        return next(self._turns).earliest(cost, now)

    def confirm(self, slot: Slot, now: float) -> float:
        """Let its process confirm."""
        self._now = max(self._now, now)
        process, mine = self._slots[slot.number]
        try:
            return process.confirm(mine, now)
        except LookupError as error:
            raise LookupError(str(error).replace(f"slot {mine.number}", f"slot {slot.number}")) from error

    def cancel(self, slot: Slot) -> None:
        """Let its process cancel."""
        process, mine = self._slots[slot.number]
        process.cancel(mine)

    def finish(self, slot: Slot, now: float) -> None:
        """Let its process finish, and tell."""
        self._now = max(self._now, now)
        process, mine = self._slots[slot.number]
        process.finish(mine, now)
        self._all_told(process)

    def hold(self, now: float, seconds: float) -> float:
        """Let the next process hold all of them."""
        self._now = max(self._now, now)
        return next(self._turns).hold(now, seconds)

    def learn(self, now: float, **words: float | None) -> None:
        """Let the next process learn, and tell."""
        self._now = max(self._now, now)
        process = next(self._turns)
        process.learn(now, **words)
        self._all_told(process)

    def _all_told(self, process: SharedPacer) -> None:
        if self._now > -math.inf:
            process.earliest(1e-6, self._now)


def _pacer(*windows: tuple[float, float], margin: float = 0.0, due: float = 30.0) -> Fleet:
    return Fleet(*(Window(budget, per) for budget, per in windows), margin=margin, due=due)


_INSIDE = "it looks inside the pacer in memory"
_OF_ONE = {
    "test_a_time_told_late_does_not_turn_the_clock_back"
}  # several threads of one process, and its clock
_LONG = (
    "it asks tens of thousands of questions; test_pace_shared.py has a smaller one, with several processes"
)

globals().update(
    AGAIN.tests(
        Pacer=Fleet,
        pacer=_pacer,
        apart={
            "test_what_happened_long_ago_is_forgotten": _INSIDE,
            "test_requests_answered_at_nearly_the_same_time_are_one_entry": _INSIDE,
            "test_threads_share_a_budget_to_the_unit": _INSIDE,
            "test_threads_that_wait_each_have_their_turn_once": _INSIDE,
            "test_a_long_line_is_laid_out_once": _INSIDE,
            "test_a_weighted_budget_is_used_up_and_never_overdrawn": _LONG,
            "test_no_latency_makes_a_429": _LONG,
        },
    )
)


@pytest.fixture(autouse=True, params=[1, 3], ids=["one", "three"])
def _on_the_server(valkey: Server, request: pytest.FixtureRequest) -> Iterator[None]:
    AGAIN.use(valkey)
    Fleet.processes = 1 if request.function.__name__ in _OF_ONE else request.param
    yield
    AGAIN.close()
