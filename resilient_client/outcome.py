"""What a call went through, told in plain frozen values.

The flow keeps a `Record` while a call is under way and leaves it on the response (or on the exception); `outcome_of` turns it
into an `Outcome` when somebody asks. A first-try success costs one tuple, a `Brief`, and no history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ._libraries import is_librarys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._flow.rulebook import Rule, Rulebook
    from ._http import Request

__all__ = ["Attempt", "Outcome", "Reason", "Verdict", "outcome_of"]

Reason = Literal[
    "success",
    "not_retryable",
    "attempts_exhausted",
    "deadline",
    "wait_too_long",
    "body_not_replayable",
    "cannot_change",
    "retry_disabled",
    "budget_exhausted",
    "circuit_open",
    "bulkhead_full",
    "store_away",
]

_MOST_CAUSES = 8  # exceptions that were raised one from another

RECORD = "resilience.record"  # the key under which a response's extensions carry the Record
_EXCEPTION_RECORD = "_resilience_record"  # and the attribute under which an exception does

# What a call is told by that had nothing to judge, to ask or to tell, and succeeded at first: its request, the rules, when it
# began and ended (monotonic seconds), and the status. It becomes a Record when somebody asks.
Brief = tuple["Request", "Rulebook", float, float, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one reply means, by the policy's rules. Pure: the same reply gives the same verdict.

    `retryable` says that the rule allows a retry; whether one follows also depends on the call (its method, its key, its
    deadline, what can be changed), which `Outcome.reason` tells.
    """

    name: str
    category: str
    status: int | None = None  # None where no answer came
    code: str | int | None = None  # the API's own code, from the envelope
    retryable: bool = False
    cause: str = ""
    remedy: str = ""
    user_message: str = ""  # fit for an end user's eyes
    source: str = ""  # the vendor's page
    message: str | None = None  # the vendor's words; for people, never to be parsed
    field: str | None = None
    details: Any = None
    request_id: str | None = None
    retry_after: float | None = None  # seconds from now that the server asked for


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that was sent, what came of it, and what was done before the next."""

    number: int  # from 1
    status: int | None  # None where no answer came
    error: Exception | None  # the httpx exception where no answer came
    verdict: Verdict
    wait: float = 0.0  # seconds slept after this attempt, jitter included
    change: tuple[str, ...] = ()  # what was renewed after this attempt: "nonce", "refresh", "override"
    request_id: str | None = None
    elapsed: float = 0.0  # seconds from sending to the headers, or to the end of an error's body
    queued: float = (
        0.0  # seconds that it waited before it was sent: for its turn, for room, or for the host to work
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The whole way of one call, redirects and the sign-in apart."""

    attempts: tuple[Attempt, ...]
    verdict: Verdict
    reason: Reason
    elapsed: float  # seconds, waits included
    slept: float  # seconds of waiting
    maybe_applied: (
        bool  # an attempt of this call may have taken effect without the caller having seen its answer
    )
    idempotency_key: str | None = None  # the key that every attempt carried
    api: str = ""
    queued: float = 0.0  # seconds that its attempts waited before they were sent, on behalf of a protection
    hedges: int = 0  # requests sent beside an attempt whose answer was late


@dataclass(slots=True)
class Tried:
    """One attempt as the flow remembers it: an Attempt, and the rule that spoke."""

    rule: Rule | None
    verdict: Verdict
    error: Exception | None
    at: float  # monotonic seconds when its answer was in
    elapsed: float
    base: float = 0.0  # seconds of waiting before jitter; the upper end where the jitter is full
    wait: float = 0.0
    change: tuple[str, ...] = ()
    queued: float = 0.0  # seconds before it was sent


class Record:
    """What is known of one call while it is under way; the flow writes it, nobody else.

    What most calls never touch is a default of the class: a call that succeeds at first pays for two timestamps.
    """

    request: Request  # of the newest attempt
    rules: Rulebook
    started: float  # monotonic seconds
    ended: float
    sent: float | None = None  # when the attempt that succeeded went out; None where it was the first
    tried: Sequence[Tried] = ()  # the failures so far, and what they led to
    reason: Reason = "success"
    status = 0
    maybe_applied = False
    key: str | None = None
    wall: float | None = None  # epoch seconds when the error that ended the call was in
    secrets: frozenset[str] = frozenset()  # what its requests carried that nobody else may read
    waited = 0.0  # seconds before the newest attempt was sent
    queued = 0.0  # and before all of them
    hedges = 0
    read_whole = False  # the body of the response that ended the call is in memory

    @classmethod
    def of(cls, brief: Brief) -> Record:
        """Spell out what is known of a call that succeeded at first."""
        record = Record()
        record.request, record.rules, record.started, record.ended, record.status = brief
        return record

    @property
    def clock(self) -> object:
        """The transport's clock, for an auth that must judge by it."""
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes, on an exception, as the outcome that it stands for."""
        return _as_it_is, (self.outcome(),)

    def outcome(self) -> Outcome:
        """Freeze what happened."""
        attempts = [attempt_of(number, tried) for number, tried in enumerate(self.tried, start=1)]
        if self.reason == "success":
            verdict = self.rules.success(self.status)
            begun = self.started if self.sent is None else self.sent
            attempts.append(
                Attempt(
                    len(attempts) + 1,
                    self.status,
                    None,
                    verdict,
                    elapsed=max(0.0, self.ended - begun),
                    queued=self.waited,
                )
            )
        elif attempts:
            verdict = attempts[-1].verdict
        elif self.reason == "cannot_change":
            verdict = Verdict("NOT_SENT", "auth", cause="The request could not be signed, and was not sent.")
        else:
            cause = (
                "What protects the host and its budget did not let the request through, and it was not sent."
            )
            verdict = Verdict("NOT_SENT", "other", cause=cause)
        return Outcome(
            attempts=tuple(attempts),
            verdict=verdict,
            reason=self.reason,
            elapsed=max(0.0, self.ended - self.started),
            slept=sum(attempt.wait for attempt in attempts),
            maybe_applied=self.maybe_applied,
            idempotency_key=self.key,
            api=self.rules.api,
            queued=self.queued,
            hedges=self.hedges,
        )


def _as_it_is(outcome: Outcome) -> Outcome:
    return outcome


def attempt_of(number: int, tried: Tried) -> Attempt:
    """Freeze one attempt, counted from 1."""
    verdict = tried.verdict
    return Attempt(
        number=number,
        status=verdict.status,
        error=tried.error,
        verdict=verdict,
        wait=tried.wait,
        change=tried.change,
        request_id=verdict.request_id,
        elapsed=tried.elapsed,
        queued=tried.queued,
    )


def record_of(source: object) -> Record | None:
    """Find the record that a response or an exception carries, if it went through a resilient transport."""
    extensions = getattr(source, "extensions", None)
    found = (
        extensions.get(RECORD) if isinstance(extensions, dict) else getattr(source, _EXCEPTION_RECORD, None)
    )
    return Record.of(found) if isinstance(found, tuple) else found if isinstance(found, Record) else None


def mark_exception(error: Exception, record: Record) -> None:
    """Leave the record on an exception that is about to be raised.

    An ApiError that comes from within, a sign-in's, is told as the end of this call: what its earlier attempts may have done counts.
    """
    setattr(error, _EXCEPTION_RECORD, record)
    if isinstance(getattr(error, "outcome", None), Outcome):
        error.outcome = record.outcome()  # type: ignore[attr-defined] # it has one: that was asked


def outcome_of(source: object) -> Outcome:
    """Tell what a response, or an exception that was raised, went through.

    Takes the response or any exception that a resilient client or transport gave you, `ApiError` included, and an exception
    that was raised from one of these (`raise … from error`), as SDKs do; not an error of another call, whatever it was raised from.

    Raises:
        LookupError: it did not come through a resilient transport, so there is nothing to tell.
    """
    told: object = source
    for _ in range(_MOST_CAUSES):
        # An ApiError has its outcome; an exception that was pickled has what is left of its record.
        for ready in (getattr(told, "outcome", None), getattr(told, _EXCEPTION_RECORD, None)):
            if isinstance(ready, Outcome):
                return ready
        # httpx's own HTTPStatusError knows the response that it is about, and so do the SDKs' own.
        response = getattr(told, "response", None)
        record = record_of(told) or record_of(response)
        if record is not None:
            return record.outcome()
        # What is left then is the error of another call, which had nothing to do with this library.
        if response is not None or is_librarys(told):
            break
        told = getattr(told, "__cause__", None)
    raise LookupError(
        f"this {type(source).__name__} did not come through a resilient transport; "
        "send the request with ResilientClient, or mount a ResilientTransport"
    )
