"""What came of an attempt, told to what protects its host: the answer is in, it is judged, the call has ended."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from resilient_client import hints

from .attempt import worth_repeating
from .entry import ask, release

if TYPE_CHECKING:
    from collections.abc import Generator

    from resilient_client._http import Response
    from resilient_client.outcome import Verdict

    from .attempt import Call
    from .entry import Entry
    from .steps import Step, Told

__all__ = ["OVERLOADED", "answered", "ended", "fails", "judged", "went_well"]

OVERLOADED = frozenset({"rate_limit", "maintenance"})
_FAILURES = OVERLOADED | {"network", "server", "upstream"}
_HELD = 1.0  # seconds that a 429 without a hint holds the callers of a budget back
_SPREAD = 0.1  # of a hold: keeps processes that were told the same second apart


def answered(call: Call, told: Told) -> Generator[Step, Told, None]:
    """Take in that an attempt's answer has come, or its error: the API has counted it, and says perhaps what is left."""
    entry: Entry = call.entry
    entry.at = now = told.at
    pacer, slots = entry.pacer, [slot for slot in (entry.slot, entry.extra) if slot is not None]
    entry.slot = entry.extra = None
    if pacer is not None:
        for slot in slots:
            yield from ask(pacer, partial(pacer.finish, slot, now))
        if told.response is not None:
            left = _left(call, told.response)
            if left is not None:
                yield from ask(pacer, partial(pacer.learn, now, **left._asdict()))


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
            yield from ask(breaker, partial(permit.cancelled, now))
        elif failed and verdict.category != "rate_limit":  # a host that says 429 works
            yield from ask(breaker, partial(permit.failed, now, verdict.retry_after))
        else:
            yield from ask(breaker, partial(permit.succeeded, now, took))
        if breaker.epoch != epoch:
            call.guard.log.breaker_turned(call, is_open=failed)
    if call.guard.hedge is not None and not failed:  # what failed fast says nothing of answers
        call.guard.hedge.observe(now, took)
    if verdict.category == "rate_limit" and entry.pacer is not None:
        pacer, wait = entry.pacer, _HELD if verdict.retry_after is None else verdict.retry_after
        chance = call.setting.chance()
        held = min(wait, call.rules.longest_wait) * (1 + _SPREAD * chance)
        yield from ask(pacer, partial(pacer.hold, now, held))
    if entry.place is not None and verdict.category != "success":
        too_much = verdict.category in OVERLOADED or verdict.status == 503
        release(call, overloaded=True if too_much else None if failed else False)


def ended(call: Call, now: float, *, well: bool) -> Generator[Step, Told, None]:
    """Tell the retry budget how the call ended."""
    budget = call.guard.budget
    if budget is None or not well:
        return
    if call.price:
        yield from ask(budget, partial(budget.refund, call.price))
    elif len(call.tried) <= 1:
        # A first attempt that was refused for what it asked is proof that the host works, too.
        yield from ask(budget, partial(budget.first_try_succeeded, now))


def went_well(call: Call, response: Response, now: float) -> None:
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


def fails(verdict: Verdict) -> bool:
    """Tell whether a verdict speaks against the host, and not against the request."""
    return verdict.category in _FAILURES


def _speaks_of_the_host(error: Exception) -> bool:
    """Tell whether an error is not the caller's own: a request that cannot be sent, or a pool that is too small."""
    return worth_repeating(error) and not any(kind.__name__ == "PoolTimeout" for kind in type(error).__mro__)


def _left(call: Call, response: Response) -> hints.Left | None:
    """Read what a reply says of its budget; what it says of times that are far away is asked about again meanwhile."""
    left = hints.budget_left(response.headers, call.setting.clock.time)
    if left is None or left.reset_in is None:
        return left
    return left._replace(reset_in=min(left.reset_in, call.rules.longest_wait))
