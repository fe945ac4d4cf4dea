"""What would the client do with this reply, and why? The reply is played through the very flow that real calls go through.

    said = explain(load_policy("zerotrace"), {"status": 401, "json": {"code": 3}, "signer": True})
    said.rule, said.retried, said.reason      # ("AUTH_INVALID", True, "attempts_exhausted")

Law of this file: it decides nothing. What matched is read off the policy's own words and checked against what the flow found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._compile import statuses
from ._flow.classify import classify
from ._flow.rulebook import Pointer, Routes, parse
from ._rehearse import body_of, rehearse, reply_of
from ._words import Given

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._rehearse import Rehearsal
    from ._words import Rule, When
    from .outcome import Reason, Verdict
    from .policy import Policy

_AN_INSTANT = 1e-9  # seconds: what is lost by rounding

__all__ = ["Condition", "Explanation", "NearMiss", "Step", "explain"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that a rule asks of a reply, and what the reply says."""

    asks: str
    finds: str
    holds: bool


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A rule that was not taken, though something of it fits."""

    rule: str
    lacks: tuple[Condition, ...]  # what did not hold


@dataclass(frozen=True, slots=True)
class Step:
    """What precedes one further attempt, as long as the API keeps answering the same."""

    attempt: int  # counted from 1: the first retry is attempt 2
    least: float  # seconds waited before it, at the lower end of the jitter
    most: float  # and at the upper end
    change: tuple[str, ...]  # what is renewed


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a reply means to a policy, and what the client does about it."""

    api: str
    verdict: Verdict
    rule: str | None  # None: no rule of the policy speaks of it
    matched: tuple[Condition, ...]  # all that the rule asked for
    steps: tuple[Step, ...]
    reason: Reason  # why the call ends then
    maybe_applied: bool
    near: tuple[NearMiss, ...]

    @property
    def retried(self) -> bool:
        """Tell whether the request is sent again."""
        return bool(self.steps)


def explain(
    policy: Policy, given: Given | Mapping[str, Any], *, deadline: float | None = None
) -> Explanation:
    """Explain what the client does when every attempt of a call is answered with `given`.

    `given` is what an example of a policy file gives: status, json or text, headers, and where it matters the request (method, path,
    request_headers) and what the client holds (signer, token). `deadline` is in seconds.

    Raises:
        ValueError: `given` is no such table (pydantic's ValidationError), or has a key that the policy forbids.
    """
    given = given if isinstance(given, Given) else Given.model_validate(dict(given))
    longest = rehearse(policy.rulebook, given, deadline=deadline)
    middling = rehearse(policy.rulebook, given, deadline=deadline, chance=0.5)
    verdict = longest.outcome.attempts[0].verdict
    asked = _Asked(policy, given)
    return Explanation(
        api=policy.api,
        verdict=verdict,
        rule=asked.rule,
        matched=asked.matched(),
        steps=tuple(_steps(longest, middling)),
        reason=longest.outcome.reason,
        maybe_applied=longest.outcome.maybe_applied,
        near=tuple(asked.near()),
    )


def _steps(longest: Rehearsal, middling: Rehearsal) -> Iterator[Step]:
    for number, (base, most) in enumerate(zip(longest.waits, longest.sleeps, strict=True)):
        # Full jitter draws from nothing on; all other only adds.
        drawn = middling.sleeps[number] < middling.waits[number] - _AN_INSTANT
        yield Step(number + 2, 0.0 if drawn else base, most, longest.outcome.attempts[number].change)


class _Asked:
    """A reply, and what each rule of a policy asks of it."""

    def __init__(self, policy: Policy, given: Given) -> None:
        reply, body = reply_of(given), body_of(given)
        reading = classify(
            policy.rulebook, given.status, reply.headers, body, method=given.method, path=given.path, now=None
        )
        self.rule = reading.rule.name if reading.rule is not None else None
        self._policy = policy
        self._given = given
        self._code = reading.verdict.code
        self._headers = reply.headers
        self._document = parse(body) if len(body) <= policy.limits.body else None

    def matched(self) -> tuple[Condition, ...]:
        """List what the rule that was taken asked for; nothing where none was."""
        for rule in self._policy.rules:
            if rule.name == self.rule:
                tables = [tuple(self._conditions(rule, when)) for when in _tables(rule)]
                return next((table for table in tables if all(each.holds for each in table)), ())
        return ()

    def near(self) -> Iterator[NearMiss]:
        """Name the rules before the one that was taken, or all of them, that fit in part: by code, or but for one thing."""
        for rule in self._policy.rules:
            if rule.name == self.rule:
                continue
            for when in _tables(rule):
                conditions = tuple(self._conditions(rule, when))
                lacks = tuple(each for each in conditions if not each.holds)
                if len(lacks) == 1 and len(conditions) > 1:
                    yield NearMiss(rule.name, lacks)
                    break

    def _conditions(self, rule: Rule, when: When) -> Iterator[Condition]:
        codes = self._policy.codes.get(rule.name, when.code)
        if when.status is not None:
            holds = self._given.status in set(statuses(when.status))
            yield Condition(f"status is {_listed(when.status)}", str(self._given.status), holds)
        if codes is not None:
            wanted = codes if isinstance(codes, list) else [codes]
            holds = any(_same(self._code, code) for code in wanted)
            asks = f"code is {_listed(codes)}" if wanted else "code is one that is not given yet"
            yield Condition(asks, "none" if self._code is None else repr(self._code), holds)
        for name, value in when.headers.items():
            found = self._headers.get(name)
            if isinstance(value, bool):
                yield Condition(
                    f"header {name} is {'there' if value else 'not there'}",
                    "not there" if found is None else found,
                    (found is not None) is value,
                )
            else:
                holds = found is not None and found.strip().casefold() == value.casefold()
                yield Condition(f"header {name} is {value}", "not there" if found is None else found, holds)
        for pointer, value in when.body.items():
            values = list(Pointer(pointer).find(self._document))
            holds = any(_same(found, value) for found in values)
            yield Condition(
                f"body {pointer} is {value!r}", ", ".join(map(repr, values)) or "not there", holds
            )
        if when.route is not None:
            routes = when.route if isinstance(when.route, list) else [when.route]
            yield Condition(
                f"route is {_listed(routes)}",
                f"{self._given.method} {self._given.path}",
                Routes(routes).match(self._given.method, self._given.path),
            )


def _tables(rule: Rule) -> list[When]:
    return list(rule.when) if isinstance(rule.when, list) else [rule.when]


def _same(found: Any, wanted: Any) -> bool:
    return bool(found == wanted) and isinstance(found, bool) == isinstance(wanted, bool)


def _listed(values: Any) -> str:
    several = values if isinstance(values, list | tuple) else [values]
    return " or ".join(str(value) for value in several)
