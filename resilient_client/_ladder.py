"""How far does a rule lead a call, step by step? What is asked is the flow itself, at both ends of what it leaves open.

Law of this file: whether there is another attempt, and after which wait, is for `_flow.decide` to say; nothing here
knows either. It is asked with no jitter and with the most of it, where the server names no wait, and where it names the
least or the longest.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import tenacity

from ._flow import plain
from ._flow.attempt import Call, deadline_seconds
from ._flow.decide import Again, Settle, decide
from ._flow.rulebook import SAFE_METHODS
from ._httpx import HOST
from .outcome import Tried, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ._flow.rulebook import Retry, Rule
    from .outcome import Reason
    from .policy import Policy

__all__ = ["MOST_RETRIES", "Case", "Ladder", "Walk", "Way", "rules_of"]

MOST_RETRIES = 10_000  # of one rule in one call: what goes on after these is said to have no end
A_FEW = 64  # retries after which an end is looked for
MOST_ROWS = 1_000  # retries of a timetable
RENEWABLE = frozenset({"nonce", "token"})  # what an auth can make anew, in the words of its `renews`

# tenacity's objects that go by attempts and time alone, so that they answer here as they will in a call.
_FORESEEN_WAITS = {
    tenacity.wait_none,
    tenacity.wait_fixed,
    tenacity.wait_incrementing,
    tenacity.wait_exponential,
}
_FORESEEN_STOPS = {tenacity.stop_after_attempt, tenacity.stop_after_delay, type(tenacity.stop_never)}


@dataclass(frozen=True, slots=True)
class Way:
    """What is allowed for one kind of reply, in two forms: for the shortest waits and for the longest.

    They differ where the wait is an object of the user's own: nobody knows what it will answer, so it is all that it
    may be. A stop of which the same is true never stops.
    """

    least: Retry
    most: Retry


@dataclass(frozen=True, slots=True)
class Ladder:
    """The retries of one rule in one call, whatever the server does."""

    rule: Rule | None  # None: no rule matches, and the server's own word decides
    rungs: tuple[float, ...]  # the least seconds slept before each retry
    endless: bool  # more may follow than were looked at
    sleep: float  # seconds: the longest single sleep
    slept: float  # seconds: all sleeps together, at the most


@dataclass(frozen=True, slots=True)
class Walk:
    """A call whose every attempt meets the same rule: when each retry is sent, in seconds, and what was decided."""

    steps: tuple[tuple[float, Again], ...]
    others: tuple[float, ...]  # seconds that each wait takes at the other end of the jitter
    reason: Reason | None  # why it ends; None: it goes on


class _Auth:
    """An auth that can make anew what the caller's own can."""

    headers: tuple[str, ...] = ()

    def __init__(self, renews: frozenset[str]) -> None:
        self.renews = renews


class Case:
    """One call, and what is known of it before it is sent.

    Raises:
        ValueError: a number of seconds is none, or an auth can renew nothing of that name.
    """

    # What the flow asks of a transport, as far as it is asked here.
    host = HOST
    clock = None
    keep_cookies = None

    def __init__(  # noqa: PLR0913 - what is known of a call
        self,
        policy: Policy,
        method: str,
        path: str,
        *,
        deadline: float | None = None,
        timeout: float | None = None,
        keyed: bool | None = None,
        renews: Collection[str] | None = None,
        override_conflict: bool = False,
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise ValueError(
                f"timeout must be seconds above 0, or None where it is not known (got {timeout!r})"
            )
        if renews is not None and not set(renews) <= RENEWABLE:
            raise ValueError(f'renews holds "nonce", "token", both or nothing (got {sorted(renews)!r})')
        self.deadline = deadline_seconds(deadline) or math.inf
        self.timeout = timeout
        self._policy = policy
        self._rules = policy.rulebook
        self._renews = _spoken_of(policy) if renews is None else frozenset(renews)
        self._draw = 0.0
        request = httpx.Request(method, f"https://api.example/{path.removeprefix('/')}")
        self.method, self.path = request.method, request.url.path
        self._call = Call(request, self._rules, 0.0, self)
        self._call.stream = request.stream
        self._call.options = {"override_conflict": override_conflict}
        self._call.auth = _Auth(self._renews) if self._renews else None
        if keyed is None:
            keyed = self.method not in SAFE_METHODS and self._rules.idempotency.routes.match(
                self.method, self.path
            )
        self._call.key = self.new_key() if keyed else None

    def chance(self) -> float:
        """Draw the end of the jitter that is being asked for: 0 or 1."""
        return self._draw

    @staticmethod
    def new_key() -> str:
        """Make an idempotency key; which one makes no difference here."""
        return "00000000-0000-4000-8000-000000000000"

    def own_way(self, rule: Rule) -> Way | None:
        """Give what the rule itself allows; None where its error is final."""
        retry = rule.retry
        if retry is None:
            return None
        if not retry.foreign:
            return Way(retry, retry)
        words = next(one.retry for one in self._policy.rules if one.name == rule.name)
        if words is not None and words.stop is not None and not _foreseen(words.stop):
            retry = dataclasses.replace(retry, stop=plain.stop(None, None))
        if words is None or not callable(words.wait) or type(words.wait) in _FORESEEN_WAITS:
            return Way(retry, retry)
        longest = self._rules.longest_wait
        return Way(
            dataclasses.replace(retry, wait=plain.chain([0.0])),
            dataclasses.replace(retry, wait=plain.chain([longest])),
        )

    def ways(self, rule: Rule | None) -> list[Way]:
        """Give all that may be done about a reply: what its rule allows, and what the server's own word makes of it."""
        own = self.own_way(rule) if rule is not None else None
        ways = [own] if own is not None else []
        said = self._rules.default_retry if self._rules.should_retry is not None else None
        if (
            said is not None
            and rule is not self._rules.network
            and not (own is not None and own.least.unsafe)
        ):
            ways.append(Way(said, said))
        return ways

    def ladder(self, rule: Rule | None, ways: Sequence[Way]) -> Ladder:
        """Go as far as the ways lead, as fast as they let one, and look for the longest sleep on each step."""
        rungs: list[float] = []
        sleeps: list[float] = []
        at, overridden, endless = 0.0, False, False
        while (step := self._quickest(rule, ways, len(rungs), at, overridden=overridden)) is not None:
            sleeps.append(self._longest(rule, [way.most for way in ways], len(rungs)))
            rungs.append(step.seconds)
            at += step.seconds
            overridden = overridden or self._only_once(step)
            # Will it go on like this?
            late = at + step.seconds * (MOST_RETRIES - len(rungs))
            far = len(rungs) == A_FEW and self._quickest(
                rule, ways, MOST_RETRIES, late, overridden=overridden
            )
            if far or len(rungs) == MOST_RETRIES:
                endless = True
                break
        if endless:  # what was not looked at may wait for longer yet
            wait = plain.chain([self._rules.longest_wait])
            sleeps.append(self._longest(rule, [dataclasses.replace(way.most, wait=wait) for way in ways], 0))
        slept = min(
            math.inf if endless else sum(sleeps),
            max((way.most.duration or math.inf for way in ways), default=math.inf),
            self.deadline,
        )
        return Ladder(rule, tuple(rungs), endless, max(sleeps, default=0.0), slept)

    def walk(self, rule: Rule, way: Way | None, asked: float | None = None, *, longest: bool) -> Walk:
        """Meet one rule again and again, a server that is heard asking for `asked` seconds each time.

        With the shortest waits and no time on the wire, or with the longest waits and all the time an attempt may take.
        """
        retry = None if way is None else way.most if longest else way.least
        took = (self.timeout or 0.0) if longest else 0.0
        word = asked if retry is not None and retry.after else None
        earlier: list[Tried] = []
        steps: list[tuple[float, Again]] = []
        others: list[float] = []
        at, overridden = took, False
        while len(steps) < MOST_ROWS:
            tried = self._met(rule, at, word)
            step = self._decided(retry, earlier, tried, longest=longest, until=self.deadline)
            if isinstance(step, Settle):
                return Walk(tuple(steps), tuple(others), step.reason)
            if overridden and "override" in step.change:
                return Walk(tuple(steps), tuple(others), "cannot_change")
            others.append(self._other_end(way, earlier, tried, step, longest=not longest))
            overridden = overridden or self._only_once(step)
            earlier.append(tried)
            steps.append((at + step.seconds, step))
            at += step.seconds + took
        return Walk(tuple(steps), tuple(others), None)

    def _other_end(
        self, way: Way | None, earlier: Sequence[Tried], tried: Tried, step: Again, *, longest: bool
    ) -> float:
        """Ask how long the same wait takes by the other end of the jitter; a wait that does not fit is drawn shorter."""
        retry = None if way is None else way.most if longest else way.least
        other = self._decided(retry, earlier, tried, longest=longest, until=math.inf)
        seconds = other.seconds if isinstance(other, Again) else step.seconds
        return min(seconds, self.deadline - tried.at)

    def _quickest(
        self, rule: Rule | None, ways: Sequence[Way], number: int, at: float, *, overridden: bool
    ) -> Again | None:
        steps = (step for way in ways for step in self._steps(rule, way.least, number, at=at))
        # A field that is in the body already is not put there again; what needs no such thing leaves it for later.
        possible = [step for step in steps if not (overridden and "override" in step.change)]
        return min(possible, key=lambda step: ("override" in step.change, step.seconds), default=None)

    def _longest(self, rule: Rule | None, retries: Sequence[Retry], number: int) -> float:
        steps = (step for retry in retries for step in self._steps(rule, retry, number, longest=True))
        return min(max(step.seconds for step in steps), self.deadline)

    def _steps(
        self, rule: Rule | None, retry: Retry, number: int, *, at: float = 0.0, longest: bool = False
    ) -> Iterator[Again]:
        """Give the steps that may follow so many retries: where the server names no wait, and where it names one."""
        earlier = [self._met(rule, 0.0, None)] * number
        # The longest of waits is not begun before a deadline, but one that is as long as the deadline lets it be.
        until = None if longest else self.deadline
        word = min(self._rules.longest_wait, retry.duration or math.inf) if longest else 0.0
        for asked in (None, word) if retry.after else (None,):
            step = self._decided(retry, earlier, self._met(rule, at, asked), longest=longest, until=until)
            if isinstance(step, Again):
                yield step

    def _decided(
        self,
        retry: Retry | None,
        earlier: Sequence[Tried],
        tried: Tried,
        *,
        longest: bool,
        until: float | None,
    ) -> Again | Settle:
        self._draw, self._call.until = float(longest), until
        return decide(self._call, retry, earlier, tried, token_expired="token" in self._renews)

    def _met(self, rule: Rule | None, at: float, asked: float | None) -> Tried:
        # Of all that the network does, a refused connection is what may be tried again for every method.
        error = httpx.ConnectError("refused") if rule is self._rules.network else None
        return Tried(rule, Verdict("", "", retry_after=asked), error, at=at, elapsed=0.0)

    def _only_once(self, step: Again) -> bool:
        return "override" in step.change and self._rules.override_value is not None


def rules_of(policy: Policy) -> dict[str, Rule]:
    """Give the compiled rules by name; those that wait for their code, which no look-up would find, are among them."""
    findable = policy.model_copy(update={"codes": {rule.name: [rule.name] for rule in policy.rules}})
    return {str(code): entries[0][1] for code, entries in findable.rulebook.by_code.items()}


def _spoken_of(policy: Policy) -> frozenset[str]:
    """List what the policy asks an auth to renew: a caller whom it serves has one that does."""
    retries = [rule.retry for rule in policy.rules if rule.retry is not None]
    changes = {change for retry in retries for change in (*retry.change, *(retry.requires or ()))}
    nonce = policy.signing.nonce is not None or "nonce" in changes
    token = "refresh" in changes or any(retry.only_if == "token_expired" for retry in retries)
    return frozenset(name for name, wanted in (("nonce", nonce), ("token", token)) if wanted)


def _foreseen(stop: Any) -> bool:
    if type(stop) in {tenacity.stop_any, tenacity.stop_all}:
        return all(_foreseen(one) for one in stop.stops)
    return type(stop) in _FORESEEN_STOPS
