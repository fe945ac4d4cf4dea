"""May it be sent now? Asks what protects the host before each attempt: the first, and those that follow a failure.

    is the host worth asking (breaker) --> is there room (bulkhead) --> has its turn come (pacing) --> attempt

Law of this file: engines that are far away are asked by `Ask`; what waits here waits before the request is signed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from resilient_client._guard.breaker import Open, Parked, Permit
from resilient_client._guard.pace import Refused as Full
from resilient_client._guard.pace import Slot

from .attempt import FAILED
from .entry import AN_INSTANT, AwayError, Entry, abandon, ask, give_back
from .steps import Queue, Sleep

if TYPE_CHECKING:
    from collections.abc import Generator

    from resilient_client._guard.breaker import Breaker
    from resilient_client._guard.bulkhead import Bulkhead
    from resilient_client._guard.guards import Guard
    from resilient_client._guard.pace import Pacer
    from resilient_client.outcome import Reason, Verdict

    from .attempt import Call
    from .entry import Asking
    from .steps import Step, Told

__all__ = ["Refusal", "again", "at_once", "enter"]

_A_MOMENT = 1e-3  # seconds: a policy that waits for nothing waits for no more than this
_GLANCE = 0.25  # seconds: how often a parked caller looks whether the host works again
_A_WHILE = 1.0  # seconds: how often somebody who waits for a turn looks whether it comes sooner


class Refusal(NamedTuple):
    """The attempt must not be sent."""

    reason: Reason
    at: float  # monotonic seconds now
    error: Exception  # what the call ends with, for there is no answer to give


def at_once(call: Call) -> bool:
    """Let the first attempt be sent where nobody has to be asked twice; else nothing is held, and `enter` is to be asked."""
    guard: Guard = call.guard
    now = call.started
    if guard.far or guard.hedge is not None or FAILED in call.request.extensions:
        return False
    entry = call.entry = Entry(now)
    if guard.breaker is not None:
        permit = guard.breaker.admit(now)
        if type(permit) is not Permit:
            return False
        entry.permit = permit
    if guard.paces:
        paced = guard.pace(call.request.method, call.request.url.path)
        if paced is not None:
            pacer, cost = paced
            slot = pacer.reserve(cost, now, until=now + AN_INSTANT)
            if type(slot) is not Slot:
                abandon(call)
                return False
            entry.pacer, entry.slot, entry.waiting = pacer, slot, True
    if guard.bulkhead is not None:
        entry.place = guard.bulkhead.acquire()
        if entry.place is None or entry.place.state == "waiting":
            abandon(call)
            return False
    entry.waiting = False
    return True


def enter(call: Call, now: float) -> Generator[Step, Told, Refusal | None]:
    """Wait until the next attempt may be sent; None: it may, now."""
    entry = call.entry = Entry(now)
    try:
        refusal = yield from _admitted(call, entry)
        if refusal is not None:
            yield from give_back(call, entry)
    except AwayError as away:
        refusal = _refused(call, "store_away", "store_away", entry.at)
        refusal.error.__cause__ = away.__cause__
        abandon(call)
    call.waited = entry.at - now
    call.queued += call.waited
    if refusal is not None:
        call.entry = None
    return refusal


def _admitted(call: Call, entry: Entry) -> Generator[Step, Told, Refusal | None]:
    guard: Guard = call.guard
    signs_in = FAILED in call.request.extensions  # a sign-in waits for nobody who may be waiting for it
    paced = guard.pace(call.request.method, call.request.url.path) if guard.paces else None
    breaker, bulkhead = (None, None) if signs_in else (guard.breaker, guard.bulkhead)
    while True:
        entry.delayed, refusal = False, None
        if breaker is not None:
            refusal = yield from _pass(call, breaker, entry)
        if refusal is None and bulkhead is not None:
            refusal = yield from _room(call, bulkhead, entry)
        if refusal is None and paced is not None:
            # Last, and in the room: units that were granted to somebody who waits for room would count for nothing.
            refusal = yield from _turn(call, *paced, entry)
        permit = entry.permit
        if refusal is not None or permit is None or not entry.delayed:
            return refusal
        if (yield from ask(breaker, partial(permit.stands, entry.at))):
            return None
        yield from give_back(call, entry)  # the host broke while it waited for the rest


def _pass(call: Call, breaker: Breaker, entry: Entry) -> Generator[Step, Told, Refusal | None]:
    until = call.until
    answer = yield from ask(breaker, partial(breaker.admit, entry.at, park=_parks(call)))
    while isinstance(answer, Parked):
        entry.ticket = ticket = answer.ticket
        wait = answer.look_at - entry.at
        if until is None or answer.look_at >= until:
            # An open time is known. A probe that is under way may report at any time before its lease ends; and where it
            # has closed, those who did not ask to wait are not made to.
            state = yield from ask(breaker, partial(breaker.state, entry.at))
            if state == "closed":
                yield from ask(breaker, partial(breaker.leave, ticket))
                answer = yield from ask(breaker, partial(breaker.admit, entry.at))
                continue
            if until is None or state == "open":
                return _refused(call, "circuit_open", "circuit_open", entry.at, wait)
        told = yield Sleep(max(AN_INSTANT, min(wait, _GLANCE, until - entry.at)))
        entry.delayed = True
        entry.at = now = told.at
        if now >= until:
            return _refused(call, "deadline", "circuit_open", now, max(0.0, answer.look_at - now))
        answer = yield from ask(breaker, partial(breaker.ticket_ready, ticket, now))
    entry.ticket = None
    if isinstance(answer, Open):
        return _refused(call, "circuit_open", "circuit_open", entry.at, max(0.0, answer.retry_at - entry.at))
    entry.permit = answer
    return None


def _refused(call: Call, reason: Reason, kind: str, now: float, retry_in: float = 0.0) -> Refusal:
    """End a call that was not let through; it may be worth asking again in so many seconds."""
    return Refusal(reason, now, call.host.refused(call, kind, retry_in))


def _parks(call: Call) -> bool:
    """Tell whether the caller would rather wait for its host than be refused."""
    return call.until is not None and bool(call.option("park", default=call.guard.park))


def _turn(call: Call, pacer: Pacer, cost: float, entry: Entry) -> Generator[Step, Told, Refusal | None]:
    now = entry.at
    longest = now + max(call.rules.longest_wait, _A_MOMENT)
    until = longest if call.until is None else min(call.until, longest)
    slot = yield from ask(pacer, partial(pacer.reserve, cost, now, until=until))
    if isinstance(slot, Full):
        in_time = call.until is None or slot.at < call.until
        return _refused(call, "wait_too_long" if in_time else "deadline", "paced", now, slot.at - now)
    entry.pacer, entry.slot, entry.waiting = pacer, slot, True
    wait, version = slot.at - now, pacer.version
    if wait > _A_WHILE:
        call.guard.log.waits_for_its_turn(call, wait)
    while wait > AN_INSTANT:
        if now + wait >= until:
            reason: Reason = "wait_too_long" if call.until is None or until < call.until else "deadline"
            return _refused(call, reason, "paced", now, wait)
        # Those ahead may give up, and a store that was away may be back: a long wait is looked at now and then.
        told = yield Sleep(min(wait, _A_WHILE))
        entry.delayed = True
        wait -= told.at - now
        entry.at = now = told.at
        if wait > AN_INSTANT and pacer.version == version and not pacer.is_to_look(now):
            continue
        version = pacer.version
        try:
            wait = yield from ask(pacer, partial(pacer.confirm, slot, now))
        except LookupError:  # its turn came, and it slept on for so long that its units have run out
            entry.slot = None
            return (yield from _turn(call, pacer, cost, entry))
    return None


def _room(call: Call, bulkhead: Bulkhead, entry: Entry) -> Generator[Step, Told, Refusal | None]:
    entry.place = place = bulkhead.acquire()
    if place is None:
        return _refused(call, "bulkhead_full", "bulkhead_full", entry.at)
    if place.state == "waiting":
        longest = entry.at + call.rules.longest_wait
        in_time = call.until is None or longest < call.until
        told = yield Queue(place, longest if in_time else call.until)
        entry.delayed = True
        entry.at = told.at
        if place.state == "waiting":
            return _refused(call, "wait_too_long" if in_time else "deadline", "no_room", entry.at)
    return None


def again(call: Call, verdict: Verdict, seconds: float, now: float) -> Generator[Step, Told, Reason | None]:
    """Ask whether a retry in so many seconds is worth its wait, and pay for it; else give the reason why not.

    It is asked while the answer is still at hand.
    """
    try:
        return (yield from _may_go_on(call, verdict, seconds, now))
    except AwayError:
        return "store_away"


def _may_go_on(
    call: Call, verdict: Verdict, seconds: float, now: float
) -> Generator[Step, Told, Reason | None]:
    guard: Guard = call.guard
    at = now + seconds
    breaker, budget = None if FAILED in call.request.extensions else guard.breaker, guard.budget
    call.price = 0
    state = "closed"
    if breaker is not None:
        state = yield from ask(breaker, partial(breaker.state, at))
        if state == "open" and (yield from _stays_open(call, breaker)):
            return "circuit_open"
    paced = guard.pace(call.request.method, call.request.url.path) if guard.paces else None
    if paced is not None:
        pacer, cost = paced
        turn = max(at, (yield from ask(pacer, partial(pacer.earliest, cost, now))))
        if call.until is not None and turn >= call.until:
            return "deadline"
        if turn - at > call.rules.longest_wait:
            return "wait_too_long"
    if budget is None or (state != "closed" and _parks(call)):
        return None  # who parks goes when a probe has worked, and not before: nothing is spent on a host that is down
    answered = verdict.status is not None and verdict.status < 500
    told_so = answered or verdict.retry_after is not None or verdict.category == "rate_limit"
    take = partial(budget.take, now, throttled=told_so, crowd=guard.crowd.size)
    call.price = yield from ask(budget, take)
    return None if call.price else "budget_exhausted"


def _stays_open(call: Call, breaker: Breaker) -> Asking:
    """Tell whether a breaker is open for longer than the caller would wait for it."""
    if not _parks(call) or call.until is None:
        return True
    return (yield from ask(breaker, partial(breaker.state, call.until))) == "open"
