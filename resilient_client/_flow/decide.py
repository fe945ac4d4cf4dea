"""Again, or not? Pure: the reading of the newest attempt, the history and the call in; one of two answers out.

Law of this file: each `Settle` names the first reason that ends the call, and the order of the questions is the order of
what a caller would want to know first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import attempt, wait

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_client.outcome import Reason, Tried

    from .attempt import Call
    from .rulebook import Change, Retry

__all__ = ["Again", "Settle", "decide"]


class Settle(NamedTuple):
    """The call ends here."""

    reason: Reason


class Again(NamedTuple):
    """The call goes on: wait, make these changes, send."""

    base: float  # seconds, before jitter
    seconds: float  # seconds to sleep
    change: tuple[Change, ...]
    refresh: bool  # the token is dead: sign in anew


def decide(  # noqa: PLR0911 - one return for each answer that there is
    call: Call, retry: Retry | None, earlier: Sequence[Tried], tried: Tried, *, token_expired: bool
) -> Settle | Again:
    """Decide what follows the attempt `tried`, `earlier` being those before it.

    `retry` is what the policy allows for it, `token_expired` whether the token that the attempt carried is past its life.
    """
    if retry is None:
        return Settle("not_retryable")
    if retry.only_if == "token_expired" and not token_expired:
        return Settle("not_retryable")
    if retry.only_if == "override_conflict" and not call.option("override_conflict"):
        return Settle("not_retryable")
    if call.option("retry", default=True) is False:
        return Settle("retry_disabled")
    if not (
        retry.unsafe or call.may_repeat() or (tried.error is not None and attempt.never_sent(tried.error))
    ):
        return Settle("not_retryable")
    change = _changes(call, retry)
    if not retry.requires <= set(change) or _would_reuse_a_nonce(call):
        return Settle("cannot_change")
    if call.stream is None:
        return Settle("body_not_replayable")
    if call.until is not None and tried.at >= call.until:
        return Settle("deadline")
    same = [before for before in earlier if before.rule is tried.rule]
    answer = wait.next_wait(
        retry,
        same,
        tried,
        tried.verdict.retry_after,
        chance=call.setting.chance(),
        longest=call.rules.longest_wait,
        until=call.until,
    )
    if isinstance(answer, wait.Refused):
        return Settle(answer.reason)
    return Again(answer.base, answer.seconds, change, refresh="refresh" in change)


def _changes(call: Call, retry: Retry) -> tuple[Change, ...]:
    if not retry.change and call.auth is None:
        return ()
    change = tuple(kind for kind in retry.change if _can(call, kind))
    # Whatever signs, signs every attempt anew, whether or not this rule says so.
    return change if "nonce" in change or not _can(call, "nonce") else ("nonce", *change)


def _can(call: Call, kind: Change) -> bool:
    if kind == "override":
        return call.rules.override_field is not None and bool(call.option("override_conflict"))
    renews = getattr(call.auth, "renews", "nonce") if call.auth is not None else ""
    return ("token" if kind == "refresh" else "nonce") in renews


def _would_reuse_a_nonce(call: Call) -> bool:
    # A nonce that was made by hand cannot be made anew, and an API that asks for one refuses it the second time.
    header = call.rules.nonce_header
    return header is not None and call.auth is None and header in call.request.headers
