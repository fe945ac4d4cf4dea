"""What one attempt holds of its host's protections, how it is asked for, and how it is given back.

Law of this file: whatever was granted is given back, on every way out.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .steps import Ask

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from resilient_client._guard.breaker import Permit, Ticket
    from resilient_client._guard.bulkhead import Bulkhead, Place
    from resilient_client._guard.pace import Pacer, Slot

    from .attempt import Call
    from .steps import Step, Told

    Asking = Generator[Step, Told, Any]

__all__ = ["AN_INSTANT", "AwayError", "Entry", "abandon", "ask", "forgo", "give_back", "give_room", "release"]

AN_INSTANT = 1e-6  # seconds: who has to wait no longer than this does not wait


class Entry:
    """What one attempt holds of its host's protections until it is over."""

    __slots__ = (
        "at",
        "delayed",
        "extra",
        "pacer",
        "permit",
        "place",
        "second_place",
        "slot",
        "ticket",
        "waiting",
    )

    def __init__(self, now: float) -> None:
        self.at = now  # when anything was last heard of it
        self.permit: Permit | None = None
        self.ticket: Ticket | None = None
        self.pacer: Pacer | None = None
        self.slot: Slot | None = None
        self.delayed = False  # it has had to wait
        self.waiting = False  # the slot's turn has not come, or it has not been sent
        self.place: Place | None = None
        self.extra: Slot | None = None  # a hedge's
        self.second_place: Place | None = None  # a hedge's


class AwayError(Exception):
    """What was to be asked is away, and its owner would rather be refused than go on alone."""


def ask(engine: Any, question: Callable[[], Any]) -> Asking:
    """Ask an engine: at once where it is in this process, else by the driver. Raises AwayError."""
    if not engine.shared:
        return question()
    told = yield Ask(question)
    if told.error is not None:
        if type(told.error).__name__ == "StoreAwayError":  # by name: what knows it comes with an extra
            raise AwayError from told.error
        raise told.error
    return told.answer


def give_back(call: Call, entry: Entry) -> Asking:
    """Give back all that an attempt holds which will not be sent."""
    pacer, slot, breaker = entry.pacer, entry.slot, call.guard.breaker
    permit, ticket, now = entry.permit, entry.ticket, entry.at
    entry.slot = entry.permit = entry.ticket = None
    if pacer is not None and slot is not None:
        yield from ask(pacer, partial(pacer.cancel, slot))
    if permit is not None:
        yield from ask(breaker, partial(permit.cancelled, now))
    if breaker is not None and ticket is not None:
        yield from ask(breaker, partial(breaker.leave, ticket))
    release(call, overloaded=None)


def forgo(call: Call, entry: Entry) -> None:
    """Give back what a hedge was given that is not sent."""
    place, slot = entry.second_place, entry.extra
    entry.second_place = entry.extra = None
    if slot is not None and entry.pacer is not None:
        entry.pacer.cancel(slot)
    give_room(call, place, overloaded=None)


def release(call: Call, *, overloaded: bool | None) -> None:
    """Give an attempt's room to whoever waits for it."""
    entry: Entry | None = call.entry
    if entry is None:
        return
    place, second = entry.place, entry.second_place
    entry.place = entry.second_place = None
    give_room(call, place, overloaded=overloaded)
    give_room(call, second, overloaded=None)


def give_room(call: Call, place: Place | None, *, overloaded: bool | None) -> None:
    """Give one place back, and wake whoever may go now."""
    bulkhead: Bulkhead | None = call.guard.bulkhead
    if place is not None and bulkhead is not None:
        for next_one in bulkhead.release(place, overloaded=overloaded):
            next_one.wake()


def abandon(call: Call) -> None:
    """Give back what an attempt holds whose call is broken off.

    Whether it had arrived is not known: its units stay counted until its answer would be due.
    """
    call.guard.crowd.wake(call)
    entry: Entry | None = call.entry
    if entry is None:
        return
    if entry.slot is not None and entry.pacer is not None and entry.waiting:
        entry.pacer.cancel(entry.slot)
    entry.extra = None
    if entry.permit is not None:
        entry.permit.cancelled(entry.at)
    if entry.ticket is not None and call.guard.breaker is not None:
        call.guard.breaker.leave(entry.ticket)
    entry.slot = entry.permit = entry.ticket = None
    release(call, overloaded=None)
