"""All of it as one JSON-ready document. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from resilient_client import ApiError, load_policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resilient_client import Outcome

    from .audit import Account, Audit
    from .play import Played

__all__ = ["document"]


def document(
    played: Sequence[Played], books: Audit, *, speed: float, seed: int, seconds: float
) -> dict[str, Any]:
    """Give all of it. `seconds` are real ones; all others are of the demonstration's time."""
    return {
        "speed": speed,
        "seed": seed,
        "seconds": round(seconds, 3),
        "ok": books.ok,
        "summary": {**asdict(books.count), "slept": round(books.slept, 3)},
        "apis": {account.vendor.name: _account(account) for account in books.accounts},
        "problems": list(books.problems),
        "calls": [_call(each) for each in played],
    }


def _account(account: Account) -> dict[str, Any]:
    return {
        "title": load_policy(account.vendor.name).title,
        "summary": asdict(account.count),
        "codes": {"met": list(account.codes), "reserved": sorted(account.vendor.reserved, key=str)},
    }


def _call(played: Played) -> dict[str, Any]:
    call, outcome, error = played.call, played.outcome, played.error
    return {
        "name": call.name,
        "api": played.scene.site.vendor.name,
        "scene": played.scene.title,
        "route": call.route,
        "planned": list(call.faults),
        "creates": call.creates,
        "expected": call.ends,
        "result": played.result,
        "ok": played.result == call.ends,
        "reason": outcome.reason if outcome is not None else None,
        "maybe_applied": outcome.maybe_applied if outcome is not None else None,
        "id": played.data.get("id") if isinstance(played.data, dict) else None,
        "user_message": error.user_message if isinstance(error, ApiError) else None,
        "remedy": error.remedy if isinstance(error, ApiError) else None,
        "began": round(played.began, 3),
        "seen": [
            {"at": round(seen.time, 3), "status": seen.status, "code": seen.code, "fault": seen.fault}
            for seen in played.seen
        ],
        "attempts": list(_attempts(outcome)),
    }


def _attempts(outcome: Outcome | None) -> Iterator[dict[str, Any]]:
    for attempt in outcome.attempts if outcome is not None else ():
        yield {
            "status": attempt.status,
            "name": attempt.verdict.name,
            "code": attempt.verdict.code,
            "error": type(attempt.error).__name__ if attempt.error is not None else None,
            "wait": round(attempt.wait, 3),
            "change": list(attempt.change),
            "elapsed": round(attempt.elapsed, 3),
        }
