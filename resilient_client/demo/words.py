"""How outcomes are put into words, for the table and for the timeline alike. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resilient_client import Attempt, Outcome

__all__ = ["ended", "met", "numbers", "renewed", "span"]

# How a call that failed came to its end, by the outcome's reason.
_ENDS = {
    "not_retryable": "not sent again",
    "attempts_exhausted": "gave up",
    "deadline": "gave up, the deadline is too near",
    "wait_too_long": "gave up at once",
    "cannot_change": "nothing could be renewed",
}


def met(attempt: Attempt) -> str:
    """Name what an attempt met: status, code and name of an error, or an exception."""
    verdict = attempt.verdict
    if attempt.error is not None:
        return type(attempt.error).__name__
    return f"{numbers(attempt.status, verdict.code)} {verdict.name}"


def numbers(status: int | None, code: int | str | None) -> str:
    """Write a status and a code, where the code is a number and not the status once more."""
    return f"{status}/{code}" if isinstance(code, int) and code not in {0, status} else str(status)


def ended(outcome: Outcome) -> str:
    """Say why a call that failed was not sent (again)."""
    why = _ENDS.get(outcome.reason, outcome.reason.replace("_", " "))
    asked = outcome.verdict.retry_after
    if outcome.reason == "wait_too_long" and asked is not None:
        why = f"told to wait {asked:.0f} s, {why}"
    if outcome.maybe_applied and len(outcome.attempts) == 1:
        why += ", for it may have been done"
    elif outcome.maybe_applied and outcome.reason == "not_retryable":
        why += ", an earlier attempt may have done it"
    return why


def renewed(change: str) -> str:
    """Name what was renewed before the next attempt, by its word in a policy."""
    return {"nonce": "new nonce", "refresh": "new token", "override": "overriding"}.get(
        change, f"new {change}"
    )


def span(length: float) -> str:
    """Write a length of time, as shortly as makes sense."""
    return f"{length:.1f} s" if length >= 0.1 else f"{length:.2f} s"
