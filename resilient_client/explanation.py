"""What would the client do with this reply, and why? The reply is played through the very flow that real calls go through.

    said = explain(load_policy("zerotrace"), {"status": 401, "json": {"code": 3}, "signer": True})
    said.rule, said.retried, said.reason      # ("AUTH_INVALID", True, "attempts_exhausted")

Law of this file: it decides nothing. What matched is read off the policy's own words, what follows is read off the flow, and no
secret of the request is in what it tells.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import httpx

from ._compile import statuses
from ._flow.attempt import deadline_seconds
from ._flow.classify import Reading, classify
from ._flow.rulebook import Pointer, Routes, parse
from ._flow.wait import Wait, next_wait
from ._rehearse import body_of, rehearse, reply_of
from ._words import Given
from .masking import MASK, is_secret, one_line, secrets_of, without
from .outcome import Tried

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ._flow.rulebook import Retry
    from ._rehearse import Rehearsal
    from ._words import Rule, When
    from .outcome import Outcome, Reason, Verdict
    from .policy import Policy

__all__ = ["Condition", "Explanation", "NearMiss", "Step", "explain"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that a rule asks of a reply, and what the reply says."""

    part: Literal["status", "code", "header", "body", "route"]
    asks: str
    finds: str
    holds: bool


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A rule that would have been taken but for one thing."""

    rule: str
    lacks: Condition


@dataclass(frozen=True, slots=True)
class Step:
    """What precedes one further attempt, as long as the API keeps answering the same."""

    attempt: int  # counted from 1: the first retry is attempt 2
    least: float  # seconds waited before it, at the lower end of the jitter
    most: float  # and at the upper end
    change: tuple[str, ...]  # what is renewed


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a reply means to a policy, and what the client does about it.

    The steps are those of the longest waits. Under a rule that goes by time, shorter ones leave room for more: `sends` at the most.
    """

    api: str
    method: str
    path: str
    verdict: Verdict
    rule: str | None  # None: no rule of the policy speaks of it
    matched: tuple[Condition, ...]  # all that the rule asked for
    steps: tuple[Step, ...]
    sends: int | None  # attempts at the most, however the waits are drawn; None: no bound
    reason: Reason  # why the call ends then
    because: str  # the same in a sentence, where the reason alone leaves a question
    maybe_applied: bool
    near: tuple[NearMiss, ...]

    @property
    def retried(self) -> bool:
        """Tell whether the request may be sent again."""
        return self.sends != 1


def explain(
    policy: Policy,
    given: Given | Mapping[str, Any],
    *,
    deadline: float | None = None,
    now: float | None = None,
) -> Explanation:
    """Explain what the client does when every attempt of a call is answered with `given`.

    `given` is what an example of a policy file gives: status, json or text, headers, and where it matters the request (method, path,
    request_headers) and what the client holds (signer, token). Of a path, the query is left out. `deadline` is in seconds.
    `now` is the epoch second of the reply, for points in time that it names without a Date of its own; the present one, unless given.

    Raises:
        ValueError: the deadline is no number above 0, `given` is no such table (pydantic's ValidationError), no request can be made of it, it has a key that the policy
            forbids, or the policy would have it sent for ever.
    """
    given = _placed(given if isinstance(given, Given) else Given.model_validate(dict(given)))
    start = time.time() if now is None else now
    deadline = deadline_seconds(deadline)
    asked = _Asked(policy, given)
    if asked.succeeds:
        return asked.success()
    try:
        longest = rehearse(policy.rulebook, given, deadline=deadline, start=start)
    except AssertionError as endless:
        raise ValueError(str(endless)) from None
    outcome = longest.outcome
    if outcome.reason == "success":  # a rule speaks of it, and the client does not read such a body
        return dataclasses.replace(asked.success(), verdict=outcome.attempts[0].verdict)
    return Explanation(
        api=policy.api,
        method=asked.method,
        path=asked.path,
        verdict=outcome.attempts[0].verdict,
        rule=asked.rule,
        matched=asked.matched(),
        steps=tuple(_steps(asked.reading.retry, longest, deadline)),
        sends=_sends(policy, given, deadline, start),
        reason=outcome.reason,
        because=asked.because(outcome),
        maybe_applied=outcome.maybe_applied,
        near=tuple(asked.near()),
    )


def _placed(given: Given) -> Given:
    """Leave out whatever of the path is no path; a whole URL is one, too."""
    path = urlsplit(given.path).path
    return given.model_copy(update={"path": f"/{path.removeprefix('/')}"})


def _steps(retry: Retry | None, longest: Rehearsal, deadline: float | None) -> Iterator[Step]:
    for number, slept in enumerate(longest.sleeps):
        attempt = longest.outcome.attempts[number]
        least, most = _bounds(retry, number, attempt.verdict, slept) if retry is not None else (slept, slept)
        yield Step(number + 2, least, min(most, deadline or math.inf), attempt.change)


def _bounds(retry: Retry, number: int, verdict: Verdict, slept: float) -> tuple[float, float]:
    """Ask for the wait after so many retries at both ends of the jitter, as if no time had passed so far.

    A rule that goes on for so many seconds cuts its last wait short: `slept` is what is left of it on the longest way.
    """
    tried = Tried(None, verdict, None, at=0.0, elapsed=0.0)
    waits = (
        next_wait(
            retry,
            [tried] * number,
            tried,
            verdict.retry_after,
            chance=chance,
            longest=math.inf,
            until=None,
        )
        for chance in (0.0, 1.0)
    )
    # A stop of the user's own may see that no time has passed: then what was slept on the longest way has to do.
    least, most = (answer.seconds if isinstance(answer, Wait) else slept for answer in waits)
    return min(least, slept), most


def _sends(policy: Policy, given: Given, deadline: float | None, start: float) -> int | None:
    try:
        shortest = rehearse(policy.rulebook, given, deadline=deadline, chance=0.0, start=start)
        return len(shortest.outcome.attempts)
    except AssertionError:  # where every wait may come out as nothing, time alone ends nothing
        return None


_UNLESS: dict[str, str] = {
    "token_expired": "it is sent again only when the client's own token is past its life",
    "override_conflict": "it is sent again only when the caller asks to override the conflict",
}


class _Asked:
    """A reply, and what each rule of a policy asks of it."""

    def __init__(self, policy: Policy, given: Given) -> None:
        try:
            request = httpx.Request(
                given.method, f"https://api.example{given.path}", headers=given.request_headers
            )
        except httpx.InvalidURL as error:
            raise ValueError(f"{one_line(given.path, 80)!r} is no path of a URL: {error}") from None
        self.method, self.path = request.method, request.url.path
        reply, body = reply_of(given), body_of(given)
        self.reading: Reading = classify(
            policy.rulebook, given.status, reply.headers, body, method=self.method, path=self.path, now=None
        )
        self.rule = self.reading.rule.name if self.reading.rule is not None else None
        self.succeeds = self.rule is None and given.status < 400
        self._policy = policy
        self._status = given.status
        self._code = self.reading.verdict.code
        self._headers = reply.headers
        self._document = parse(body) if len(body) <= policy.limits.body else None
        self._secrets = secrets_of(request, None)

    def success(self) -> Explanation:
        """Tell of a reply that goes to the caller as it is."""
        return Explanation(
            api=self._policy.api,
            method=self.method,
            path=self.path,
            verdict=self.reading.verdict,
            rule=None,
            matched=(),
            steps=(),
            sends=1,
            reason="success",
            because="",
            maybe_applied=False,
            near=(),
        )

    def matched(self) -> tuple[Condition, ...]:
        """List what the rule that was taken asked for; nothing where none was."""
        for rule in self._policy.rules:
            if rule.name == self.rule:
                tables = [tuple(self._conditions(rule, when)) for when in _tables(rule)]
                return next((table for table in tables if all(each.holds for each in table)), ())
        return ()

    def near(self) -> Iterator[NearMiss]:
        """Name the rules that would have been taken but for one thing: those before the one that was, or all.

        Of a code that a rule was found for, it is no news that other rules ask for other ones.
        """
        known = any(condition.part == "code" for condition in self.matched())
        for rule in self._policy.rules:
            if rule.name == self.rule:
                return
            for when in _tables(rule):
                conditions = tuple(self._conditions(rule, when))
                lacks = [each for each in conditions if not each.holds]
                if len(lacks) == 1 < len(conditions) and not (known and lacks[0].part == "code"):
                    yield NearMiss(rule.name, lacks[0])
                    break

    def because(self, outcome: Outcome) -> str:
        """Say what kept the request from being sent again, where there is more to it than a final error."""
        match outcome.reason:
            case "not_retryable":
                return self._final(self.reading.retry)
            case "cannot_change":
                return self._lacking(self.reading.retry)
            case "wait_too_long":
                return self._too_long(outcome.verdict.retry_after)
            case "deadline":
                return "the next wait may not be over before the deadline"
            case _:
                return ""

    def _final(self, retry: Retry | None) -> str:
        if retry is None:
            return self._forbidden()
        if retry.only_if is not None:
            return _UNLESS[retry.only_if]
        return (
            f"a {self.method} may take effect twice: it is sent again only with an idempotency key, or when the caller says that "
            "it is idempotent"
        )

    def _forbidden(self) -> str:
        word = self._policy.should_retry
        allowed = any(rule.name == self.rule and rule.retry is not None for rule in self._policy.rules)
        return f"the server says so: {word} is {self._headers[word]}" if word is not None and allowed else ""

    def _too_long(self, asked: float | None) -> str:
        longest = self._policy.limits.wait
        if asked is None or asked <= longest:
            return "the next wait is longer than what is left of the rule's time, or than the longest allowed"
        return f"the server asks for {asked:g} s, and the longest wait that is allowed is {longest:g} s"

    def _lacking(self, retry: Retry | None) -> str:
        requires = retry.requires if retry is not None else frozenset()
        if "refresh" in requires:
            return "the client holds nothing that can sign in anew (TokenAuth)"
        if "nonce" in requires:
            return "the client holds no signer that makes a new nonce (HmacAuth)"
        if "override" in requires:
            return "the caller did not ask for the override, or the body cannot take it"
        return f"the request carries a {self._policy.signing.nonce} made by hand, and the client cannot make a new one"

    def _conditions(self, rule: Rule, when: When) -> Iterator[Condition]:
        codes = self._policy.codes.get(rule.name, when.code)
        if when.status is not None:
            holds = self._status in set(statuses(when.status))
            yield Condition("status", f"status is {_listed(when.status)}", str(self._status), holds)
        if codes is not None:
            wanted = codes if isinstance(codes, list) else [codes]
            holds = any(_same(self._code, code) for code in wanted)
            asks = f"code is {_listed(wanted)}" if wanted else "code is one that is not given yet"
            yield Condition(
                "code", asks, "none" if self._code is None else self._shown("", [self._code]), holds
            )
        for name, value in when.headers.items():
            found = self._headers.get(name)
            if isinstance(value, bool):
                asks = f"header {name} is {'there' if value else 'not there'}"
                holds = (found is not None) is value
            else:
                asks = f"header {name} is {value}"
                holds = found is not None and found.strip().casefold() == value.casefold()
            yield Condition(
                "header", asks, "not there" if found is None else self._shown(name, [found]), holds
            )
        for pointer, value in when.body.items():
            values = list(Pointer(pointer).find(self._document))
            holds = any(_same(found, value) for found in values)
            name = pointer.rpartition("/")[2]
            yield Condition(
                "body",
                f"body {pointer} is {value!r}",
                self._shown(name, values) if values else "not there",
                holds,
            )
        if when.route is not None:
            routes = when.route if isinstance(when.route, list) else [when.route]
            yield Condition(
                "route",
                f"route is {_listed(routes)}",
                one_line(f"{self.method} {self.path}"),
                Routes(routes).match(self.method, self.path),
            )

    def _shown(self, name: str, values: Iterable[Any]) -> str:
        """Show what a reply holds under a name, on one line; a secret is not shown."""
        if is_secret(name):
            return MASK
        return one_line(without(" or ".join(str(value) for value in values), self._secrets), 120)


def _tables(rule: Rule) -> list[When]:
    return list(rule.when) if isinstance(rule.when, list) else [rule.when]


def _same(found: Any, wanted: Any) -> bool:
    return bool(found == wanted) and isinstance(found, bool) == isinstance(wanted, bool)


def _listed(values: Any) -> str:
    several = values if isinstance(values, list | tuple) else [values]
    return " or ".join(str(value) for value in several)
