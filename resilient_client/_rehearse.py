"""Play a call through the flow with no network and no clock: every attempt is answered alike, and time is a number.

It is what proves a policy's examples, in the test suite and wherever a policy is checked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from ._flow import Body, Discard, Read, Send, Sign, Sleep, Told, flow
from ._flow.attempt import Call
from ._httpx import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._flow.rulebook import Rule, Rulebook
    from ._words import Example, Given
    from .outcome import Outcome
    from .policy import Policy

__all__ = ["Rehearsal", "body_of", "contradictions", "rehearse", "reply_of"]

_START = 1_750_000_000.0  # epoch seconds
_MOST_STEPS = 10_000


class _Stand:
    """A signer or a token source that stands for the caller's own."""

    headers: tuple[str, ...] = ()

    def __init__(self, renews: str, *, expired: bool) -> None:
        self.renews = frozenset({renews})
        self._expired = expired

    def token_expired(self, _request: httpx.Request, _now: float, _lifetime: float | None) -> bool:
        return self._expired


class _Setting:
    host = HOST
    clock = None
    keep_cookies: Any = None

    def __init__(self, chance: float) -> None:
        self._chance = chance

    def chance(self) -> float:
        return self._chance

    @staticmethod
    def new_key() -> str:
        return "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a call would go through."""

    outcome: Outcome
    waits: list[float]  # seconds between attempts, without jitter; the upper ends where the jitter is full
    sleeps: list[float]  # the same with jitter, as they would be slept
    rule: Rule | None  # what the first reply was judged by


def rehearse(
    rules: Rulebook,
    given: Given,
    *,
    deadline: float | None = None,
    chance: float = 1.0,
    start: float = _START,
) -> Rehearsal:
    """Play one call, each of whose attempts is answered with `given`.

    `deadline` is in seconds; `chance` is what every jitter draws: 0 for its lower end, 1 for its upper one, the longest way.
    `start` is the epoch second at which the call begins: points in time that a reply names are measured from there, unless it has a Date.
    """
    request = _request(given)
    call = Call(request, rules, 0.0, _Setting(chance))
    call.options = {"override_conflict": True} if given.override_conflict else None
    call.until = deadline
    if given.signer:
        call.auth = _Stand("nonce", expired=False)
    elif given.token is not None:
        call.auth = _Stand("token", expired=given.token != "live")  # noqa: S105 - a word of the format
    steps = flow(call)
    now = 0.0
    try:
        step = next(steps)
        for _ in range(_MOST_STEPS):
            told = Told(now, wall=start + now)
            match step:
                case Send():
                    told = told._replace(response=reply_of(given))
                case Read(response):
                    told = told._replace(response=response, body=Body(body_of(given), "whole"))
                case Sleep(seconds):
                    now += seconds
                    told = Told(now, wall=start + now)
                case Sign() | Discard():
                    pass
            step = steps.send(told)
    except StopIteration:
        waited = call.tried[: _waits(call)]
        return Rehearsal(
            call.outcome(),
            [tried.base for tried in waited],
            [tried.wait for tried in waited],
            call.tried[0].rule if call.tried else None,
        )
    raise AssertionError(f"{rules.api}: a call that is always answered {given.status} never ends")


def _waits(call: Call) -> int:
    return len(call.tried) - (call.reason != "success")


def _request(given: Given) -> httpx.Request:
    headers = {"Host": "api.example", **given.request_headers}
    content = None if given.method in {"GET", "HEAD", "OPTIONS", "TRACE", "DELETE"} else b'{"sample":1}'
    return httpx.Request(given.method, f"https://api.example{given.path}", headers=headers, content=content)


def body_of(given: Given) -> bytes:
    """Give the bytes of the reply's body."""
    if given.json_ is not None:
        return json.dumps(given.json_).encode()
    return (given.text or "").encode()


def reply_of(given: Given) -> httpx.Response:
    """Make the reply."""
    headers = dict(given.headers)
    if given.json_ is not None:
        headers.setdefault("Content-Type", "application/json")
    return httpx.Response(given.status, headers=headers, content=body_of(given))


def contradictions(policy: Policy) -> Iterator[str]:
    """Tell where a policy's own examples and its rules disagree, one line each; nothing where they agree.

    The examples of a policy that it extends prove that one, and are not played again under this one's other tables.
    """
    for rule in policy.own_rules:
        for number, example in enumerate(rule.examples, start=1):
            where = f'rule "{rule.name}", example {number}'
            try:
                differences = list(_differences(policy, rule.name, example))
            except ValueError as error:  # a key in request_headers that this very policy forbids
                yield f"{where}: cannot be played: {error}"
                continue
            yield from (f"{where}: {difference}" for difference in differences)


def _differences(policy: Policy, name: str, example: Example) -> Iterator[str]:
    rehearsal = rehearse(policy.rulebook, example.given)
    first, expect = rehearsal.outcome.attempts[0], example.expect
    retried = len(rehearsal.outcome.attempts) > 1

    def differs(what: str, expected: object, actual: object, why: str = "") -> Iterator[str]:
        if expected != actual:
            yield f"expects {what} {expected!r}, and the client does {actual!r}{why}"

    yield from differs("name", expect.name or name, first.verdict.name)
    yield from differs("retry", expect.retry, retried, f" ({rehearsal.outcome.reason})")
    if retried is not expect.retry:
        return  # all else follows from that
    if expect.waits is not None and not _alike(expect.waits, rehearsal.waits):
        yield from differs("waits", expect.waits, [round(wait, 3) for wait in rehearsal.waits])
    if expect.reason is not None:
        yield from differs("reason", expect.reason, rehearsal.outcome.reason)
    if expect.change is not None:
        yield from differs("change", list(expect.change), list(first.change))
    if expect.retry_after is not None:
        yield from differs("retry_after", expect.retry_after, first.verdict.retry_after)


def _alike(expected: list[float], actual: list[float]) -> bool:
    return len(expected) == len(actual) and all(
        abs(one - other) < 1e-6 for one, other in zip(expected, actual, strict=True)
    )
