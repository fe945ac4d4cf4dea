"""Send an attempt, and once more beside it where its answer is late: who may be hedged, and with what.

The engine that says when is `_guard/hedge.py`, and the race itself `_race.py`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from resilient_client._guard.pace import Refused

from . import amend
from .entry import AN_INSTANT, forgo, give_room
from .rulebook import SAFE_METHODS
from .steps import Race, Send

if TYPE_CHECKING:
    from collections.abc import Generator

    from resilient_client._guard.guards import Guard
    from resilient_client._http import Request

    from .attempt import Call
    from .entry import Entry
    from .steps import Step, Told

__all__ = ["sent"]


def sent(call: Call) -> Generator[Step, Told, Told]:
    """Send the attempt; once more beside it, where its answer is late and that does no harm."""
    entry: Entry | None = call.entry
    delay = None
    if entry is not None:
        entry.waiting = False
        if _may_be_hedged(call):
            delay = call.guard.hedge.delay(entry.at)
    if entry is None or delay is None:
        return (yield Send(call.request, call.until))
    told = yield Race(call.request, call.until, call.auth, delay, partial(_second, call))
    if told.raced is not None:
        call.request = told.raced.request
        call.hedges += told.raced.sent - 1
        if told.raced.sent == 1:
            forgo(call, entry)  # an answer came before it was sent
        else:  # the race is over, and one of the two is left
            place, entry.second_place = entry.second_place, None
            give_room(call, place, overloaded=None)
    return told


def _may_be_hedged(call: Call) -> bool:
    guard: Guard = call.guard
    return (
        guard.hedge is not None
        and call.stream is not None
        # Two DELETEs side by side may end with the 404 of the one that came too late: to be repeatable is not enough.
        and (call.request.method in SAFE_METHODS or call.key is not None or bool(call.option("idempotent")))
        and call.option("retry", default=True) is not False
        # What is far away cannot be asked in the middle of a race.
        and not (guard.far and (call.entry.slot is not None or call.entry.permit is not None))
    )


def _second(call: Call) -> Request | None:
    """Make the hedge of an attempt, where the host is well, and where it is allowed, paid for, and has room."""
    guard: Guard = call.guard
    entry: Entry = call.entry
    now = call.setting.clock.monotonic()
    if guard.breaker is not None and not guard.far and guard.breaker.state(now) != "closed":
        return None
    if entry.place is not None and guard.bulkhead is not None:
        entry.second_place = guard.bulkhead.acquire()
        if entry.second_place is None or entry.second_place.state == "waiting":
            forgo(call, entry)
            return None
    if entry.pacer is not None and entry.slot is not None:
        slot = entry.pacer.reserve(entry.slot.cost, now, until=now + AN_INSTANT)
        if isinstance(slot, Refused):
            forgo(call, entry)
            return None
        entry.extra = slot

    def spend() -> bool:
        budget = None if guard.far else guard.budget
        return budget is None or budget.take(now, throttled=True) > 0

    if guard.hedge is not None and guard.hedge.may_hedge(spend):
        return amend.copied(call)
    forgo(call, entry)
    return None
