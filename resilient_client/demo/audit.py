"""Comparing what was asked for with what the servers have: orders, attempts, errors. Pure.

Law of this file: everything is counted in the ledgers, nothing is known beforehand. The only expectations are those that each
call of the script states.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from resilient_client.sandbox._documented import documented

from .scenes import marker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .play import Played, Stage

__all__ = ["Audit", "audit"]

AN_INSTANT = 1e-3  # seconds: what is lost by rounding
RESERVED = frozenset({9})  # documented, and sent by no route: https://0trace.io/api/errors/cookbook


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the books say."""

    calls: int
    attempts: int  # requests that reached a server
    slept: float  # seconds of the demonstration's time, over all calls
    asked: int  # orders that callers wanted and should have
    made: int  # orders that exist
    duplicates: int  # orders asked for, of which more than one exists
    lost: int  # orders asked for, of which none exists
    codes: tuple[int, ...]  # the documented codes that were met
    problems: tuple[str, ...]  # whatever is not as it has to be, in sentences

    @property
    def ok(self) -> bool:
        """Tell whether everything is as it has to be."""
        return not self.problems


def audit(stage: Stage, played: Sequence[Played]) -> Audit:
    """Go through the books when all has been played."""
    asked = dict.fromkeys(each.call.order for each in played if each.call.order is not None)
    ledger = Counter(
        json.loads(order.body)["toAddress"]
        for api in stage.sandboxes.values()
        for order in api.state.orders.values()
    )
    duplicates = [name for name in asked if ledger[marker(name)] > 1]
    lost = [name for name in asked if ledger[marker(name)] == 0]
    codes = {
        seen.code
        for api in stage.sandboxes.values()
        for seen in api.state.requests
        if isinstance(seen.code, int)
    }
    known = {
        entries[0].json["code"] for entries in documented("zerotrace").values() if entries[0].json
    } - RESERVED
    problems = [
        *(f"{name}: {ledger[marker(name)]} orders exist, and one was asked for" for name in duplicates),
        *(f"{name}: asked for, and no such order exists" for name in lost),
        *(
            f"{address}: an order that should not exist"
            for address in ledger.keys() - {marker(name) for name in asked}
        ),
        *(problem for each in played for problem in _problems_of(each)),
        *_unmet(played),
        *(
            f"{call or route}: planned, and did not happen: {plan}"
            for (route, call), plan in stage.schedule.left().items()
        ),
        *(f"code {code} is documented, and was not met" for code in sorted(known - codes)),
    ]
    return Audit(
        calls=len(played),
        attempts=stage.requests(),
        slept=sum(each.outcome.slept for each in played if each.outcome is not None),
        asked=len(asked),
        made=ledger.total(),
        duplicates=len(duplicates),
        lost=len(lost),
        codes=tuple(sorted(codes & known)),
        problems=tuple(problems),
    )


def _problems_of(played: Played) -> Iterator[str]:
    """Check one call: its end, and what all its attempts must have in common on the wire."""
    call, seen = played.call, played.seen
    if played.result != call.ends:
        yield f"{call.name}: ended with {played.result}, not with {call.ends}"
    if not seen:
        yield f"{call.name}: the server has not seen it"
    if played.outcome is not None and len(played.outcome.attempts) != len(seen):
        yield f"{call.name}: {len(played.outcome.attempts)} attempts told, {len(seen)} seen by the server"
    nonces = [each.nonce for each in seen if each.nonce is not None]
    if len(set(nonces)) < len(nonces):
        yield f"{call.name}: two attempts under one nonce"
    if len({each.body for each in seen}) > 1:
        yield f"{call.name}: the body changed from attempt to attempt"
    if call.route == "POST /v1/create" and any(each.idempotency_key is None for each in seen):
        yield f"{call.name}: a create without an Idempotency-Key"
    if len({each.idempotency_key for each in seen}) > 1:
        yield f"{call.name}: the Idempotency-Key changed from attempt to attempt"
    gaps = [after.time - before.time for before, after in pairwise(seen)]
    for attempt, gap in zip(
        played.outcome.attempts if played.outcome is not None else (), gaps, strict=False
    ):
        if gap < max(attempt.wait, attempt.verdict.retry_after or 0.0) - AN_INSTANT:
            yield f"{call.name}: sent again {gap:.2f} s after attempt {attempt.number}, which is too soon"


def _unmet(played: Sequence[Played]) -> Iterator[str]:
    """Check that what the sandbox had to refuse by itself, it did refuse by itself."""
    table = documented("zerotrace")
    for scene in dict.fromkeys(each.scene for each in played):
        if scene.meets is None:
            continue
        code = table[scene.meets][0].json["code"]
        of_scene = [seen for each in played if each.scene is scene for seen in each.seen]
        if not any(seen.code == code and seen.fault is None for seen in of_scene):
            yield f"{scene.title}: nobody met {scene.meets}"
