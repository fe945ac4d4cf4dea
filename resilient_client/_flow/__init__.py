"""One request's way through the library, with no I/O in it. Start reading here.

    request --> admit --> attempt --> classify --> decide --+--> response
                  ^                                         |
                  +----------- amend <---- wait <-----------+

`flow` is a generator: it yields steps (send, read, discard, sleep, sign, tell, …), is told what came back and when, and returns the
response or the error that the call ends with. It holds no socket, no clock and no randomness. `_drive.py` carries the steps
out, once for threads and once for tasks, and decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from resilient_client.masking import mask, mask_exception, secrets_of
from resilient_client.outcome import Tried

from . import admit, amend, attempt, hedge, report
from .classify import Reading, classify, network_reading
from .decide import Again, decide
from .entry import abandon
from .steps import Ask, Body, Discard, Queue, Race, Raced, Read, Send, Sign, Sleep, Step, Tell, Told

if TYPE_CHECKING:
    from collections.abc import Generator

    from resilient_client._http import Request, Response
    from resilient_client.outcome import Reason

    from .attempt import Call
    from .steps import Moment

    Steps = Generator[Step, Told, Response | None]

__all__ = [
    "Ask",
    "Body",
    "Discard",
    "Queue",
    "Race",
    "Raced",
    "Read",
    "Send",
    "Sign",
    "Sleep",
    "Step",
    "Tell",
    "Told",
    "flow",
]

NO_LIMIT = 1 << 62  # bytes
PATIENCE = 10.0  # seconds that reading an error's body may take where there is no deadline


def flow(call: Call) -> Steps:
    """Lead one call from its first attempt to its end: return its response, or None and leave the error in `call.error`.

    Where the first attempt has been made already, `call.opening` is what it brought: a driver may send what `begin` has judged, and
    need not come here at all when the answer is one that the policy lets through at once (`Rulebook.at_once`).

    Whoever breaks it off, or cannot carry a step out, calls `entry.abandon` for what the call holds.

    Raises:
        ValueError, TypeError: the caller's idempotency key cannot be used. Nothing has been asked for yet.
    """
    if call.opening is None:
        attempt.begin(call)
    sent_at = call.started
    refused: Request | None = None
    signing = call.sign_first
    while True:
        # All that an attempt brought is forgotten here but for its verdict: ten thousand calls may be asleep at a time.
        again = yield from _attempt(call, sent_at, refused, signing=signing)
        if not isinstance(again, Resume):
            return again
        refused = call.request if again.refresh else None
        seconds, sent_at = again.seconds, again.at
        del again
        if seconds > 0:
            if call.guard is not None:
                call.guard.crowd.sleep(call)
            sent_at = (yield Sleep(seconds)).at
            if call.guard is not None:
                call.guard.crowd.wake(call)
        call.request = amend.next_request(call)
        signing = call.auth is not None


class Resume(NamedTuple):
    """The call goes on, after a while."""

    seconds: float  # to sleep
    refresh: bool  # the token is dead: sign in anew
    at: float  # monotonic seconds when this was said


def _attempt(  # noqa: C901, PLR0911, PLR0912 - the way of an attempt, on one screen
    call: Call, sent_at: float, refused: Request | None, *, signing: bool
) -> Generator[Step, Told, Resume | Response | None]:
    """Make one attempt, and judge it. Give what the call ends with, or when the next attempt is due."""
    opening, call.opening = call.opening, None
    if call.guard is not None and call.guard.gated and opening is None:
        refusal = yield from admit.enter(call, sent_at)
        if refusal is not None:
            return (yield from _settle(call, refusal.reason, Told(refusal.at, None, refusal.error), None))
        sent_at = call.entry.at
        # A signature is as old as the wait: who has one is signed anew.
        signing = signing or (call.waited > 0 and call.auth is not None)
    if signing:
        told = yield Sign(call.request, call.auth, refused, call.until)
        if told.error is not None:
            mask_exception(told.error, call.secrets)
            if call.guard is not None:
                abandon(call)
            return (yield from _settle(call, "cannot_change", told, None))
        sent_at = told.at
    told = opening if opening is not None else (yield from hedge.sent(call))
    if call.entry is not None:
        yield from report.answered(call, told)
    response = told.response
    if response is not None:
        if response.status_code in call.rules.at_once or (
            response.status_code < 400 and not _worth_reading(call, response)
        ):
            return (yield from _succeed(call, told, response, sent_at))
        # The answer to a HEAD has no body, whatever length it names.
        limit = call.rules.body_limit if call.request.method != "HEAD" else NO_LIMIT
        told = yield Read(response, limit, call.until, PATIENCE)
    reading = _read(call, told, response)
    if reading.verdict.category == "success" and response is not None:
        return (yield from _succeed(call, told, response, sent_at))
    tried = _remember(call, told, reading, sent_at)
    if call.entry is not None:
        yield from report.judged(call, reading.verdict, told.at, sent_at, told.error)
    answer = decide(call, reading.retry, call.tried[:-1], tried, token_expired=_token_expired(call, told))
    if not isinstance(answer, Again):
        return (yield from _settle(call, answer.reason, told, response))
    if not amend.prepare(call, answer.change):
        return (yield from _settle(call, "cannot_change", told, response))
    if call.guard is not None:
        reason = yield from admit.again(call, reading.verdict, answer.seconds, told.at)
        if reason is not None:
            return (yield from _settle(call, reason, told, response))
    tried.base, tried.wait, tried.change = answer.base, answer.seconds, answer.change
    call.watched(tried, response)
    now = told.at
    if response is not None:
        call.keep_cookies(response)
        now = (yield Discard(response)).at
    if call.reporter is not None:
        now = (yield Tell(call, ("attempt", "retry"))).at
    return Resume(answer.seconds, answer.refresh, now)


def _worth_reading(call: Call, response: Response) -> bool:
    """Tell whether the body of a success may hold what a rule asks for; streams and large bodies are left alone."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().casefold()
    is_json = kind == "application/json" or kind.endswith("+json")
    return is_json and not attempt.longer_than(response, call.rules.body_limit)


def _read(call: Call, told: Told, response: Response | None) -> Reading:
    if response is None:
        error = (
            told.error
            if told.error is not None
            else RuntimeError("an attempt brought neither answer nor error")
        )
        reading = network_reading(
            call.rules, error, sent=attempt.lost(error), worth_repeating=attempt.worth_repeating(error)
        )
        reading = _masked(call, reading)
        mask_exception(error, call.secrets)  # the outcome shows it, whatever the call ends with
        return reading
    request = call.request
    content = told.body.content if told.body is not None else None
    call.read_whole = content is not None
    reading = classify(
        call.rules,
        response.status_code,
        response.headers,
        call.host.decoded(response, content, call.rules.body_limit) if content is not None else None,
        method=request.method,
        path=request.url.path,
        now=told.wall,
    )
    return _masked(call, reading)


def _masked(call: Call, reading: Reading) -> Reading:
    if call.searched is not call.request:
        known = secrets_of(call.request, call.host.body_of(call.request))
        if known:
            call.secrets |= known
        call.searched = call.request
    verdict = mask(reading.verdict, call.secrets)
    return reading if verdict is reading.verdict else reading._replace(verdict=verdict)


def _remember(call: Call, told: Told, reading: Reading, sent_at: float) -> Tried:
    tried = Tried(
        reading.rule,
        reading.verdict,
        told.error,
        at=told.at,
        elapsed=max(0.0, told.at - sent_at),
        queued=call.waited,
    )
    call.tried = (*call.tried, tried)
    if call.leaves_traces():
        verdict = reading.verdict
        if told.error is not None:
            applied = attempt.lost(told.error)
        elif verdict.status is not None and verdict.status < 400:
            applied = verdict.category in {"server", "upstream", "maintenance"}
        else:
            applied = verdict.status is not None and verdict.status >= 500
        # Of two that were sent, one may have been lost.
        call.maybe_applied = call.maybe_applied or applied or call.hedges > 0
    return tried


def _token_expired(call: Call, told: Told) -> bool:
    ask = getattr(call.auth, "token_expired", None)
    return ask is not None and bool(ask(call.request, told.wall, call.rules.token_lifetime))


def _succeed(call: Call, told: Told, response: Response, sent_at: float) -> Steps:
    call.status, call.sent, call.ended = response.status_code, sent_at, told.at
    if call.guard is not None:
        if call.entry is not None:
            yield from report.judged(call, call.rules.success(response.status_code), told.at, sent_at)
        yield from report.ended(call, told.at, well=True)
    if call.cookies:
        call.host.with_cookies(response, call.cookies)
    call.watched(None, response)
    if call.reporter is not None:
        yield Tell(call, ("attempt", "success"))
    return response


def _settle(call: Call, reason: Reason, told: Told, response: Response | None) -> Steps:
    call.reason, call.ended, call.wall, call.error = reason, told.at, told.wall or None, told.error
    if call.guard is not None:
        well = bool(call.tried) and told.error is None and not report.fails(call.tried[-1].verdict)
        yield from report.ended(call, told.at, well=well)
    if call.cookies and response is not None:
        call.host.with_cookies(response, call.cookies)
    moments: tuple[Moment, ...] = ("give_up",)
    if call.tried and told.error is call.tried[-1].error:  # it ends with an attempt, and not with a sign-in
        call.watched(call.tried[-1], response)
        moments = ("attempt", "give_up")
    if call.reporter is not None:
        yield Tell(call, moments)
    return response
