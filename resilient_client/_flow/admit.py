"""May it be sent now? Asks what protects the call (see `_guard`) before each attempt, and tells it what came of it.

    is the host worth asking (breaker) --> is there room (bulkhead) --> has its turn come (pacing) --> attempt

Law of this file: whatever was granted is given back, on every way out. Engines that are far away are asked by `Ask`; what
waits here waits before the request is signed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from resilient_client import hints
from resilient_client._guard.breaker import Open, Parked, Permit
from resilient_client._guard.pace import Refused as Full
from resilient_client._guard.pace import Slot

from . import amend
from .attempt import FAILED, worth_repeating
from .rulebook import SAFE_METHODS
from .steps import Ask, Queue, Race, Send, Sleep

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import httpx

    from resilient_client._guard.breaker import Breaker, Ticket
    from resilient_client._guard.bulkhead import Bulkhead, Place
    from resilient_client._guard.guards import Guard
    from resilient_client._guard.pace import Pacer
    from resilient_client.outcome import Reason, Verdict

    from .attempt import Call
    from .steps import Step, Told

    Asking = Generator[Step, Told, Any]

__all__ = ["Refusal", "abandon", "again", "answered", "ended", "enter", "judged", "sent"]

_AN_INSTANT = 1e-6  # seconds
_A_MOMENT = 1e-3  # seconds: a policy that waits for nothing waits for no more than this
_GLANCE = 0.25  # seconds: how often a parked caller looks whether the host works again
_A_WHILE = 1.0  # seconds: how often somebody who waits for a turn looks whether it comes sooner
_HELD = 1.0  # seconds that a 429 without a hint holds the callers of a budget back
_FAILURES = frozenset({"network", "server", "upstream", "maintenance", "rate_limit"})
_OVERLOADED = frozenset({"rate_limit", "maintenance"})


class Refusal(NamedTuple):
    """The attempt must not be sent."""

    reason: Reason
    at: float  # monotonic seconds now
    error: Exception  # what the call ends with, for there is no answer to give


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


class _AwayError(Exception):
    """What was to be asked is away, and its owner would rather be refused than go on alone."""


def _ask(engine: Any, question: Callable[[], Any]) -> Asking:
    if not engine.shared:
        return question()
    told = yield Ask(question)
    if told.error is not None:
        if type(told.error).__name__ == "StoreAwayError":  # by name: what knows it comes with an extra
            raise _AwayError from told.error
        raise told.error
    return told.answer


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
            slot = pacer.reserve(cost, now, until=now + _AN_INSTANT)
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


def went_well(call: Call, response: httpx.Response, now: float) -> None:
    """Tell the engines of an attempt that `at_once` let through, and that succeeded. It keeps its room."""
    entry: Entry = call.entry
    if entry.slot is not None and entry.pacer is not None:
        entry.pacer.finish(entry.slot, now)
        entry.slot = None
        left = _left(call, response)
        if left is not None:
            entry.pacer.learn(now, **left._asdict())
    permit, entry.permit = entry.permit, None
    if permit is not None:
        epoch = permit.breaker.epoch
        permit.succeeded(now, now - call.started)
        if permit.breaker.epoch != epoch:
            call.guard.log.breaker_turned(call, is_open=False)


def enter(call: Call, now: float) -> Generator[Step, Told, Refusal | None]:
    """Wait until the next attempt may be sent; None: it may, now."""
    entry = call.entry = Entry(now)
    try:
        refusal = yield from _admitted(call, entry)
        if refusal is not None:
            yield from _give_back(call, entry)
    except _AwayError as away:
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
        if (yield from _ask(breaker, partial(permit.stands, entry.at))):
            return None
        yield from _give_back(call, entry)  # the host broke while it waited for the rest


def _pass(call: Call, breaker: Breaker, entry: Entry) -> Generator[Step, Told, Refusal | None]:
    until = call.until
    answer = yield from _ask(breaker, partial(breaker.admit, entry.at, park=_parks(call)))
    while isinstance(answer, Parked):
        entry.ticket = ticket = answer.ticket
        wait = answer.look_at - entry.at
        if until is None or answer.look_at >= until:
            # An open time is known. A probe that is under way may report at any time before its lease ends; and where it
            # has closed, those who did not ask to wait are not made to.
            state = yield from _ask(breaker, partial(breaker.state, entry.at))
            if state == "closed":
                yield from _ask(breaker, partial(breaker.leave, ticket))
                answer = yield from _ask(breaker, partial(breaker.admit, entry.at))
                continue
            if until is None or state == "open":
                return _refused(call, "circuit_open", "circuit_open", entry.at, wait)
        told = yield Sleep(max(_AN_INSTANT, min(wait, _GLANCE, until - entry.at)))
        entry.delayed = True
        entry.at = now = told.at
        if now >= until:
            return _refused(call, "deadline", "circuit_open", now, max(0.0, answer.look_at - now))
        answer = yield from _ask(breaker, partial(breaker.ticket_ready, ticket, now))
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
    slot = yield from _ask(pacer, partial(pacer.reserve, cost, now, until=until))
    if isinstance(slot, Full):
        in_time = call.until is None or slot.at < call.until
        return _refused(call, "wait_too_long" if in_time else "deadline", "paced", now, slot.at - now)
    entry.pacer, entry.slot, entry.waiting = pacer, slot, True
    wait, version = slot.at - now, pacer.version
    if wait > _A_WHILE:
        call.guard.log.waits_for_its_turn(call, wait)
    while wait > _AN_INSTANT:
        if now + wait >= until:
            reason: Reason = "wait_too_long" if call.until is None or until < call.until else "deadline"
            return _refused(call, reason, "paced", now, wait)
        # Those ahead may give up, and a store that was away may be back: a long wait is looked at now and then.
        told = yield Sleep(min(wait, _A_WHILE))
        entry.delayed = True
        wait -= told.at - now
        entry.at = now = told.at
        if wait > _AN_INSTANT and pacer.version == version and not pacer.is_to_look(now):
            continue
        version = pacer.version
        try:
            wait = yield from _ask(pacer, partial(pacer.confirm, slot, now))
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
            _forgo(call, entry)  # an answer came before it was sent
        else:  # the race is over, and one of the two is left
            place, entry.second_place = entry.second_place, None
            _give_room(call, place, overloaded=None)
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


def _second(call: Call) -> httpx.Request | None:
    """Make the hedge of an attempt, where the host is well, and where it is allowed, paid for, and has room."""
    guard: Guard = call.guard
    entry: Entry = call.entry
    now = call.setting.clock.monotonic()
    if guard.breaker is not None and not guard.far and guard.breaker.state(now) != "closed":
        return None
    if entry.place is not None and guard.bulkhead is not None:
        entry.second_place = guard.bulkhead.acquire()
        if entry.second_place is None or entry.second_place.state == "waiting":
            _forgo(call, entry)
            return None
    if entry.pacer is not None and entry.slot is not None:
        slot = entry.pacer.reserve(entry.slot.cost, now, until=now + _AN_INSTANT)
        if isinstance(slot, Full):
            _forgo(call, entry)
            return None
        entry.extra = slot

    def spend() -> bool:
        budget = None if guard.far else guard.budget
        return budget is None or budget.take(now, throttled=True) > 0

    if guard.hedge is not None and guard.hedge.may_hedge(spend):
        return amend.next_request(call, ())
    _forgo(call, entry)
    return None


def _forgo(call: Call, entry: Entry) -> None:
    """Give back what a hedge was given that is not sent."""
    place, slot = entry.second_place, entry.extra
    entry.second_place = entry.extra = None
    if slot is not None and entry.pacer is not None:
        entry.pacer.cancel(slot)
    _give_room(call, place, overloaded=None)


def answered(call: Call, told: Told) -> Generator[Step, Told, None]:
    """Take in that an attempt's answer has come, or its error: the API has counted it, and says perhaps what is left."""
    entry: Entry = call.entry
    entry.at = now = told.at
    pacer, slots = entry.pacer, [slot for slot in (entry.slot, entry.extra) if slot is not None]
    entry.slot = entry.extra = None
    if pacer is not None:
        for slot in slots:
            yield from _ask(pacer, partial(pacer.finish, slot, now))
        if told.response is not None:
            left = _left(call, told.response)
            if left is not None:
                yield from _ask(pacer, partial(pacer.learn, now, **left._asdict()))


def _left(call: Call, response: httpx.Response) -> hints.Left | None:
    """Read what a reply says of its budget; what it says of times that are far away is asked about again meanwhile."""
    left = hints.budget_left(response.headers, call.setting.clock.time)
    if left is None or left.reset_in is None:
        return left
    return left._replace(reset_in=min(left.reset_in, call.rules.longest_wait))


def judged(
    call: Call, verdict: Verdict, now: float, sent_at: float, error: Exception | None = None
) -> Generator[Step, Told, None]:
    """Tell what an attempt says of its host. A success keeps its room until its body has been read."""
    entry: Entry = call.entry
    took, entry.at = entry.at - sent_at, now
    failed = fails(verdict)
    permit, entry.permit = entry.permit, None
    if permit is not None:
        breaker = permit.breaker
        epoch = breaker.epoch
        if error is not None and not _speaks_of_the_host(error):
            yield from _ask(breaker, partial(permit.cancelled, now))
        elif failed and verdict.category != "rate_limit":  # a host that says 429 works
            yield from _ask(breaker, partial(permit.failed, now, verdict.retry_after))
        else:
            yield from _ask(breaker, partial(permit.succeeded, now, took))
        if breaker.epoch != epoch:
            call.guard.log.breaker_turned(call, is_open=failed)
    if call.guard.hedge is not None and not failed:  # what failed fast says nothing of answers
        call.guard.hedge.observe(now, took)
    if verdict.category == "rate_limit" and entry.pacer is not None:
        pacer, wait = entry.pacer, _HELD if verdict.retry_after is None else verdict.retry_after
        chance = call.setting.chance()
        held = min(wait, call.rules.longest_wait) * (1 + _SPREAD * chance)
        yield from _ask(pacer, partial(pacer.hold, now, held))
    if entry.place is not None and verdict.category != "success":
        too_much = verdict.category in _OVERLOADED or verdict.status == 503
        release(call, overloaded=True if too_much else None if failed else False)


_SPREAD = 0.1  # of a hold: keeps processes that were told the same second apart


def _speaks_of_the_host(error: Exception) -> bool:
    """Tell whether an error is not the caller's own: a request that cannot be sent, or a pool that is too small."""
    return worth_repeating(error) and not any(kind.__name__ == "PoolTimeout" for kind in type(error).__mro__)


def fails(verdict: Verdict) -> bool:
    """Tell whether a verdict speaks against the host, and not against the request."""
    return verdict.category in _FAILURES


def again(call: Call, verdict: Verdict, seconds: float, now: float) -> Generator[Step, Told, Reason | None]:
    """Ask whether a retry in so many seconds is worth its wait, and pay for it; else give the reason why not.

    It is asked while the answer is still at hand.
    """
    try:
        return (yield from _may_go_on(call, verdict, seconds, now))
    except _AwayError:
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
        state = yield from _ask(breaker, partial(breaker.state, at))
        if state == "open" and (yield from _stays_open(call, breaker)):
            return "circuit_open"
    paced = guard.pace(call.request.method, call.request.url.path) if guard.paces else None
    if paced is not None:
        pacer, cost = paced
        turn = max(at, (yield from _ask(pacer, partial(pacer.earliest, cost, now))))
        if call.until is not None and turn >= call.until:
            return "deadline"
        if turn - at > call.rules.longest_wait:
            return "wait_too_long"
    if budget is None or (state != "closed" and _parks(call)):
        return None  # who parks goes when a probe has worked, and not before: nothing is spent on a host that is down
    answered = verdict.status is not None and verdict.status < 500
    told_so = answered or verdict.retry_after is not None or verdict.category == "rate_limit"
    take = partial(budget.take, now, throttled=told_so, crowd=guard.crowd.size)
    call.price = yield from _ask(budget, take)
    return None if call.price else "budget_exhausted"


def _stays_open(call: Call, breaker: Breaker) -> Asking:
    """Tell whether a breaker is open for longer than the caller would wait for it."""
    if not _parks(call) or call.until is None:
        return True
    return (yield from _ask(breaker, partial(breaker.state, call.until))) == "open"


def ended(call: Call, now: float, *, well: bool) -> Generator[Step, Told, None]:
    """Tell the retry budget how the call ended."""
    budget = call.guard.budget
    if budget is None or not well:
        return
    if call.price:
        yield from _ask(budget, partial(budget.refund, call.price))
    elif (
        len(call.tried) <= 1
    ):  # a first attempt that was refused for what it asked is proof that the host works, too
        yield from _ask(budget, partial(budget.first_try_succeeded, now))


def release(call: Call, *, overloaded: bool | None) -> None:
    """Give an attempt's room to whoever waits for it."""
    entry: Entry | None = call.entry
    if entry is None:
        return
    place, second = entry.place, entry.second_place
    entry.place = entry.second_place = None
    _give_room(call, place, overloaded=overloaded)
    _give_room(call, second, overloaded=None)


def _give_room(call: Call, place: Place | None, *, overloaded: bool | None) -> None:
    bulkhead: Bulkhead | None = call.guard.bulkhead
    if place is not None and bulkhead is not None:
        for next_one in bulkhead.release(place, overloaded=overloaded):
            next_one.wake()


def _give_back(call: Call, entry: Entry) -> Asking:
    pacer, slot, breaker = entry.pacer, entry.slot, call.guard.breaker
    permit, ticket, now = entry.permit, entry.ticket, entry.at
    entry.slot = entry.permit = entry.ticket = None
    if pacer is not None and slot is not None:
        yield from _ask(pacer, partial(pacer.cancel, slot))
    if permit is not None:
        yield from _ask(breaker, partial(permit.cancelled, now))
    if breaker is not None and ticket is not None:
        yield from _ask(breaker, partial(breaker.leave, ticket))
    release(call, overloaded=None)


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
