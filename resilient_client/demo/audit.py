"""Comparing what was asked for with what the servers have: things created, attempts, errors. Pure.

Law of this file: everything is counted in the ledgers, nothing is known beforehand. The only expectations are those
that each call, scene and site of the script states.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from resilient_client.loading import rulebook
from resilient_client.sandbox._documented import documented

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resilient_client.sandbox import Sandbox

    from .play import Played, Stage
    from .script import Vendor

__all__ = ["Account", "Audit", "Count", "audit"]

AN_INSTANT = 1e-3  # seconds: what is lost by rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Numbers from the ledgers."""

    calls: int = 0
    attempts: int = 0  # requests that reached a server, sign-ins apart
    asked: int = 0  # things that callers wanted created, and should have
    made: int = 0  # things that exist
    duplicates: int = 0  # things asked for, of which more than one exists
    lost: int = 0  # things asked for, of which none exists

    def __add__(self, other: Count) -> Count:
        return Count(
            **{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(Count)}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the books say of one API."""

    vendor: Vendor
    count: Count
    codes: tuple[int | str, ...]  # the documented codes that were met


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the books say."""

    accounts: tuple[Account, ...]  # one for each API, in the order of the script
    slept: float  # seconds of the demonstration's time, over all calls
    problems: tuple[str, ...]  # whatever is not as it has to be, in sentences

    @property
    def count(self) -> Count:
        """The numbers of all APIs together."""
        return sum((account.count for account in self.accounts), Count())

    @property
    def ok(self) -> bool:
        """Tell whether everything is as it has to be."""
        return not self.problems


def audit(stage: Stage, played: Sequence[Played]) -> Audit:
    """Go through the books when all has been played."""
    accounts, problems = [], []
    for vendor in stage.vendors():
        of_vendor = [each for each in played if each.scene.site.vendor is vendor]
        account, wrong = _account(stage, vendor, of_vendor)
        accounts.append(account)
        problems += wrong
    return Audit(
        accounts=tuple(accounts),
        slept=sum(each.outcome.slept for each in played if each.outcome is not None),
        problems=(
            *problems,
            *(problem for each in played for problem in _problems_of(each)),
            *_unmet(stage, played),
            *_sign_ins(stage),
            *(
                f"{call or route}: planned, and did not happen: {plan}"
                for schedule in stage.schedules.values()
                for (route, call), plan in schedule.left().items()
            ),
        ),
    )


def _account(stage: Stage, vendor: Vendor, played: Sequence[Played]) -> tuple[Account, list[str]]:
    """Count what one API has, and compare it with what was asked of it."""
    sandboxes = [api for site, api in stage.sandboxes.items() if site.vendor is vendor]
    asked = dict.fromkeys(each.call.creates for each in played if each.call.creates is not None)
    ledger = Counter(name for api in sandboxes for name in vendor.created(api.state))
    duplicates = [name for name in asked if ledger[name] > 1]
    lost = [name for name in asked if ledger[name] == 0]
    replies = {reply for name in documented(vendor.name) for reply in _replies(sandboxes[0], name)}
    known = {code for _, code in replies if code is not None} - vendor.reserved
    codes = {seen.code for seen in stage.requests(vendor) if seen.code is not None} & known
    account = Account(
        vendor=vendor,
        count=Count(
            calls=len(played),
            attempts=stage.met(vendor).attempts,
            asked=len(asked),
            made=ledger.total(),
            duplicates=len(duplicates),
            lost=len(lost),
        ),
        codes=tuple(sorted(codes, key=_by_kind)),
    )
    missing = sorted(known - codes, key=_by_kind) if vendor.complete else ()
    return account, [
        *(f"{name}: {ledger[name]} of it exist, and one was asked for" for name in duplicates),
        *(f"{name}: asked for, and does not exist" for name in lost),
        *(f"{name}: exists, and should not" for name in ledger if name not in asked),
        *(f"{vendor.name}: code {code} is documented, and was not met" for code in missing),
    ]


def _by_kind(code: int | str) -> tuple[bool, int | str]:
    """Order codes: numbers, then words."""
    return isinstance(code, str), code


def _replies(api: Sandbox[Any], name: str) -> set[tuple[int, int | str | None]]:
    """Give status and code of each reply that is documented for an error."""
    return {
        (entry.status, api.state.code_of(entry.json) if entry.json is not None else None)
        for entry in documented(api.state.name)[name]
    }


def _problems_of(played: Played) -> Iterator[str]:
    """Check one call: its end, and what all its attempts must have in common on the wire."""
    call, seen = played.call, played.seen
    attempts = played.outcome.attempts if played.outcome is not None else ()
    if played.result != call.ends:
        yield f"{call.name}: ended with {played.result}, not with {call.ends}"
    if not seen:
        yield f"{call.name}: the server has not seen it"
    if played.outcome is not None and len(attempts) != len(seen):
        yield f"{call.name}: {len(attempts)} attempts told, {len(seen)} seen by the server"
    nonces = [each.nonce for each in seen if each.nonce is not None]
    if len(set(nonces)) < len(nonces):
        yield f"{call.name}: two attempts under one nonce"
    meant = {after for after, attempt in enumerate(attempts) if "override" in attempt.change}
    if any(a.digest != b.digest for after, (a, b) in enumerate(pairwise(seen)) if after not in meant):
        yield f"{call.name}: the body changed from attempt to attempt"
    keyed = rulebook(played.scene.site.vendor.name).idempotency.routes
    if any(each.idempotency_key is None and keyed.match(each.method, each.path) for each in seen):
        yield f"{call.name}: a create without an idempotency key"
    if len({each.idempotency_key for each in seen}) > 1:
        yield f"{call.name}: the idempotency key changed from attempt to attempt"
    gaps = [after.time - before.time for before, after in pairwise(seen)]
    for attempt, gap in zip(attempts, gaps, strict=False):
        if gap < max(attempt.wait, attempt.verdict.retry_after or 0.0) - AN_INSTANT:
            yield f"{call.name}: sent again {gap:.2f} s after attempt {attempt.number}, which is too soon"


def _unmet(stage: Stage, played: Sequence[Played]) -> Iterator[str]:
    """Check that what the sandbox had to refuse by itself, it did refuse by itself."""
    for scene in stage.scenes:
        if scene.meets is None:
            continue
        replies = _replies(stage.sandboxes[scene.site], scene.meets)
        of_scene = [seen for each in played if each.scene is scene for seen in each.seen]
        if not any((seen.status, seen.code) in replies and seen.fault is None for seen in of_scene):
            yield f"{scene.title}: nobody met {scene.meets}"


def _sign_ins(stage: Stage) -> Iterator[str]:
    """Check that a client has signed in for all of its callers as often as was needed."""
    for site in stage.sandboxes:
        count = len(stage.sign_ins(site))
        if site.sign_ins not in {None, count}:
            yield f"{site.vendor.name}: {count} sign-ins where {site.sign_ins} had to be enough"
