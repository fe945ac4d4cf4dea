"""What is raised, whichever library it is raised over: what the errors say, and when there is one.

`errors.py` makes the library's own exceptions of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from . import _log
from .loading import rulebook
from .masking import mask, masked_json, one_line, secrets_of, values_without
from .outcome import Outcome, Verdict, record_of

if TYPE_CHECKING:
    from pathlib import Path

    from ._flow.attempt import Call
    from ._http import Library
    from .policy import Policy

__all__ = ["NotNow", "Problem", "error_of", "refusal"]

P = TypeVar("P", bound="Problem")


class Problem:
    """An error that the API answered with, and what its policy knows of it. Comes before the library's exception."""

    def __init__(  # noqa: PLR0913 - made in this file only
        self,
        response: Any,
        verdict: Verdict,
        outcome: Outcome,
        *,
        wall: float | None = None,
        problem: str = "",
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        self.outcome = outcome
        self.verdict = verdict
        self.api: str = outcome.api
        self.code = verdict.code
        self.name: str = verdict.name
        self.category: str = verdict.category
        self.cause: str = verdict.cause
        self.remedy: str = verdict.remedy
        self.user_message: str = verdict.user_message
        self.field = verdict.field
        self.request_id = verdict.request_id
        self.retry_after = verdict.retry_after  # seconds, as the server asked when it last answered
        self._wall = wall
        request = response.request
        self._secrets = secrets
        self._endpoint = request.method, request.url.path
        super().__init__(problem or self._text(), request=request, response=response)  # type: ignore[call-arg]  # the library's own

    def _text(self) -> str:
        verdict = self.verdict
        code = (
            ""
            if verdict.code is None or verdict.code == verdict.name
            else f", code {one_line(str(verdict.code))}"
        )
        parts = [
            f"{self.api} {verdict.name} ({verdict.status}{code}) at {one_line(' '.join(self._endpoint))}."
        ]
        parts += [text for text in (verdict.cause, verdict.remedy) if text]
        if verdict.field:
            parts.append(f"Field: {one_line(verdict.field)}.")
        if verdict.message:
            parts.append(f'The API says: "{one_line(verdict.message)}".')
        if verdict.request_id:
            parts.append(f"Request id: {one_line(verdict.request_id)}.")
        tried = len(self.outcome.attempts)
        if tried > 1 or self.outcome.reason != "not_retryable":
            parts.append(f"Gave up after {tried} attempt{'s' * (tried != 1)}: {self.outcome.reason}.")
        if self.outcome.maybe_applied:
            parts.append("An attempt may have taken effect.")
        return " ".join(parts)

    def log_record(self) -> dict[str, Any]:
        """Give what the vendors ask to have logged, as a dict that json.dumps takes; no secret is in it.

        Keys: timestamp (ISO 8601, UTC), requestId, statusCode, errorCode, errorName, errorMessage, endpoint (method and path,
        without the query), field, category, api, attempts (a count), reason, maybeApplied, elapsed and slept (seconds), body
        (the error's JSON, secrets hidden; None where it is none).
        """
        method, path = self._endpoint
        return _log.fields(self.verdict, method=method, path=path, wall=self._wall) | {
            "api": self.api,
            "attempts": len(self.outcome.attempts),
            "reason": self.outcome.reason,
            "maybeApplied": self.outcome.maybe_applied,
            "elapsed": round(self.outcome.elapsed, 3),
            "slept": round(self.outcome.slept, 3),
            "body": self._body(),
        }

    def _body(self) -> Any:
        own: Any = self  # and the library's exception
        try:
            body = own.response.json()
        except Exception:  # noqa: BLE001 - an unread, closed or undecodable body is no reason to fail while reporting one
            return None
        return values_without(masked_json(body), self._secrets)

    def support_report(
        self, *, scopes: str | list[str] | tuple[str, ...] = (), event_id: str | None = None
    ) -> str:
        """Write what a vendor's support asks for, one line each, ready to be pasted into a ticket; no secret is in it.

        Args:
            scopes: the scope set of the API key, which only its owner knows.
            event_id: the webhook event at issue, where there is one.
        """
        method, path = self._endpoint
        verdict, outcome = self.verdict, self.outcome
        lines = {
            "api": self.api,
            "request path": f"{method} {path}",
            "response status": verdict.status,
            "error code": verdict.code,
            "error name": verdict.name,
            "message": None if verdict.message is None else one_line(verdict.message),
            "field": verdict.field,
            "request id": verdict.request_id,
            "event_id": event_id,
            "idempotency_key": outcome.idempotency_key,
            "key scopes": (scopes if isinstance(scopes, str) else ", ".join(scopes)) or None,
            "answered at (UTC)": _log.stamp(self._wall),
            "first sent at (UTC)": _log.stamp(None if self._wall is None else self._wall - outcome.elapsed),
            "attempts": "; ".join(
                f"{attempt.number}: {attempt.status or type(attempt.error).__name__} {attempt.verdict.name}"
                + (f", request id {attempt.request_id}" if attempt.request_id else "")
                + (f", then waited {attempt.wait:.2f} s" if attempt.wait else "")
                for attempt in outcome.attempts
            ),
            "outcome": outcome.reason
            + (" (an attempt may have taken effect)" if outcome.maybe_applied else ""),
            "documented at": verdict.source or None,
        }
        return "\n".join(
            f"{name}: {one_line(str(value), 2000)}" for name, value in lines.items() if value is not None
        )


class NotNow:
    """A request was not sent, and may be later. Comes before the library's exception."""

    def __init__(self, message: str, *, request: Any, retry_after: float, retry_at: float) -> None:
        super().__init__(message, request=request)  # type: ignore[call-arg]  # the library's own
        self.retry_after = retry_after
        """Seconds from now after which it is worth asking again, at the earliest."""
        self.retry_at = retry_at
        """The same as epoch seconds, by the transport's clock."""

    def __reduce__(self) -> tuple[Any, ...]:
        own: Any = self  # and the library's exception
        return (
            _made_again,
            (type(self), str(self), own.request, self.retry_after, self.retry_at),
            self.__dict__,
        )


def _made_again(
    kind: Any,
    message: str,
    request: Any,
    retry_after: float,
    retry_at: float,
) -> Any:
    return kind(message, request=request, retry_after=retry_after, retry_at=retry_at)


def refusal(kinds: Any, call: Call, kind: str, retry_in: float) -> Any:
    """Make the exception of a call that a protection does not let through, out of those that `kinds` has."""
    request, api = call.request, call.rules.api
    where = f"{request.url.host} ({api})"
    if kind in {"bulkhead_full", "no_room"}:
        bulkhead = call.guard.bulkhead
        why = (
            "no more may wait" if kind == "bulkhead_full" else "none has ended in the time that this one had"
        )
        return kinds.BulkheadFull(
            f"{bulkhead.in_use} calls are under way to {where}, {bulkhead.limit} may be, and {why}; this one was not sent. "
            "A response counts until its body has been read or closed.",
            request=request,
        )
    if kind == "store_away":
        return kinds.StoreAway(
            f"the store that the budgets of {where} are shared by is away, and this request was not sent",
            request=request,
        )
    retry_at = call.setting.clock.time() + retry_in
    if kind == "paced":
        return kinds.PaceExceeded(
            f"{where} has room for this request in {retry_in:.3g} s, and it has not so much time; it was not sent",
            request=request,
            retry_after=retry_in,
            retry_at=retry_at,
        )
    return kinds.CircuitOpen(
        f"{where} has failed too often of late, and is not asked for {retry_in:.3g} s; this request was not sent",
        request=request,
        retry_after=retry_in,
        retry_at=retry_at,
    )


def error_of(
    response: Any,
    kind: type[P],
    host: Library,
    *,
    policy: str | Path | Policy | None = None,
    problem: str = "",
) -> P | None:
    """Make the error that a response means; None where it means none.

    `problem` replaces the text, and makes an error of any response.
    """
    record = record_of(response)
    if record is not None and (record.reason != "success" or problem):
        outcome = record.outcome()
        return kind(
            response, outcome.verdict, outcome, wall=record.wall, problem=problem, secrets=record.secrets
        )
    if record is not None:
        return None
    from ._flow.classify import classify  # noqa: PLC0415 - a response that no resilient transport has seen

    rules = rulebook(policy)
    request = response.request
    content = host.content_of(response)
    reading = classify(
        rules,
        response.status_code,
        response.headers,
        content,
        method=request.method,
        path=request.url.path,
        now=None,
    )
    secrets = secrets_of(request, host.body_of(request))
    verdict = mask(reading.verdict, secrets)
    if verdict.category == "success" and not problem:
        return None
    outcome = Outcome((), verdict, "not_retryable", 0.0, 0.0, maybe_applied=False, api=rules.api)
    return kind(response, verdict, outcome, problem=problem, secrets=secrets)
