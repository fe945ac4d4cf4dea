"""How long until the next attempt? Pure: the rule, the history, the server's word and one random number in, seconds out.

The laws: a wait that the server asks for is never shortened; jitter only ever adds to it, and to a schedule; a backoff with
full jitter is drawn from nothing to its ceiling; what does not fit its bounds is refused, not cut.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tenacity

    from resilient_client.outcome import Reason, Tried

    from .rulebook import Retry

__all__ = ["Refused", "Wait", "next_wait"]

SPREAD = 0.2  # of the wait: enough to spread a crowd that was told the same second
SPREAD_SECONDS = 0.25  # on top, so that short waits spread too
_AN_INSTANT = 1e-3  # seconds: what is left of a rule's time is over when it is shorter than this


class Wait(NamedTuple):
    """Wait this long, then try again."""

    base: float  # seconds, before jitter; the upper end where the jitter is full
    seconds: float  # seconds to sleep


class Refused(NamedTuple):
    """Do not try again."""

    reason: Reason


def next_wait(  # noqa: C901, PLR0913 - the whole of what a wait depends on
    retry: Retry,
    earlier: Sequence[Tried],
    tried: Tried,
    asked: float | None,
    *,
    chance: float,
    longest: float,
    until: float | None,
) -> Wait | Refused:
    """Work out the wait after `tried`, the newest attempt that this rule judged, `earlier` being those before it in this call.

    `asked` is what the server asked for, `chance` a random number in [0, 1), `longest` the policy's longest single wait in
    seconds, `until` the monotonic second of the deadline. The rule's stop decides whether there is another attempt, and its
    wait how long to wait where the server does not say.
    """
    now = tried.at
    first = earlier[0].at if earlier else now
    attempts, elapsed = len(earlier) + 1, now - first
    state = _retry_state(earlier, tried, first) if retry.foreign else None
    try:
        own = float(retry.wait.after(attempts, elapsed) if state is None else retry.wait(state))
    except OverflowError:
        own = math.inf
    own = 0.0 if own < 0 else own
    base, spread = own, retry.spread
    if asked is not None:
        base, spread = max(own, asked) if retry.floor_only else asked, "add"
    if state is not None:
        state.upcoming_sleep = base
    if retry.stop.after(attempts, elapsed) if state is None else retry.stop(state):
        return Refused("attempts_exhausted")
    if not base <= longest:  # written so that NaN is too long
        return Refused("wait_too_long")
    if retry.duration is not None:
        left = first + retry.duration - now
        if left < _AN_INSTANT:
            return Refused("attempts_exhausted")
        if asked is not None and asked > left:  # the server asks for longer than the rule goes on
            return Refused("wait_too_long")
    room = math.inf
    if until is not None:
        room = until - now
        if base >= room and spread == "add":
            return Refused("deadline")
    # Half of what the deadline leaves over belongs to the attempt itself; the crowd spreads over the other half.
    seconds = _jittered(base, spread, chance, most=(room - base) / 2, hinted=asked is not None)
    if retry.duration is not None:
        seconds = max(min(seconds, left), asked or 0.0)
    return Wait(base, seconds) if seconds < room else Refused("deadline")


def _jittered(base: float, spread: str, chance: float, *, most: float, hinted: bool) -> float:
    if spread == "full":
        return base * chance
    if spread == "add" and (base > 0 or hinted):
        return base + chance * min(SPREAD * base + SPREAD_SECONDS, most)
    return base


_RETRYING: list[tenacity.Retrying] = []


def _retry_state(earlier: Sequence[Tried], tried: Tried, first: float) -> tenacity.RetryCallState:
    """Tell a user's wait or stop what tenacity would."""
    import tenacity  # noqa: PLC0415 - loaded with the first policy that brings its own

    # Waits and stops read a state that belongs to a loop of tenacity's; this one never runs.
    if not _RETRYING:
        _RETRYING.append(tenacity.Retrying())
    state = tenacity.RetryCallState(_RETRYING[0], fn=None, args=(), kwargs={})
    state.start_time = first
    state.attempt_number = len(earlier) + 1
    state.outcome_timestamp = tried.at
    state.idle_for = sum(before.wait for before in earlier)
    outcome = tenacity.Future(state.attempt_number)
    if tried.error is not None:
        outcome.set_exception(tried.error)
    else:
        outcome.set_result(tried.verdict)
    state.outcome = outcome
    return state
