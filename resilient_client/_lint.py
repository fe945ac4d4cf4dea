"""What is wrong with a policy that can be read? Rules never asked, retries that never come or never end, false proofs.

Law of this file: a finding is true and says what to do; errors and warnings are silenced by doing it. What cannot be
decided is let pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, get_args

from ._flow.attempt import deadline_seconds
from ._flow.rulebook import IDEMPOTENT_METHODS
from ._ladder import MOST_RETRIES, Case, rules_of
from ._reach import NO_METHOD, Replies
from ._rehearse import contradictions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ._flow.rulebook import Code, Rule
    from ._reach import Asked
    from ._words import Retry
    from ._words import Rule as Words
    from .policy import Policy

__all__ = ["Finding", "Kind", "Severity", "lint"]

Severity = Literal["error", "warning", "note"]  # it cannot be meant; it is hardly meant; it may be meant
Kind = Literal[
    "contradicting-example",
    "empty-rule",
    "never-retried",
    "no-example",
    "no-source",
    "over-longest-wait",
    "overlaps",
    "schedule-exceeds-deadline",
    "schedule-exceeds-for",
    "unbounded-retries",
    "unbounded-wait",
    "unreachable",
    "unsafe-without-key",
    "waits-for-code",
]

_NO_CODE = (
    "it asks for a code, and [envelope] does not say where a code is",
    'say it, as a JSON pointer: [envelope] code = "/error/code"',
)

A_DAY = 86_400.0  # seconds: no caller waits for longer
A_THOUSAND = 1_000  # retries: an end for a rule that has none, where its seconds are more


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a policy that its author should know."""

    code: Kind
    severity: Severity
    rule: str | None  # None: it is about the policy as a whole
    message: str  # what is wrong; of a rule, without its name
    remedy: str  # what to do about it


def lint(policy: Policy, *, deadline: float | None = None) -> tuple[Finding, ...]:
    """Look for faults, the worst first and then in file order; see `Policy.lint`."""
    places = {rule.name: place for place, rule in enumerate(policy.rules)}
    severities = get_args(Severity)
    found = [
        *_of_the_whole(policy),
        *_of_matching(policy),
        *_of_retries(policy, deadline_seconds(deadline)),
        *_of_effects(policy),
        *_of_examples(policy),
    ]
    return tuple(
        sorted(found, key=lambda one: (severities.index(one.severity), places.get(one.rule or "", -1)))
    )


def _of_the_whole(policy: Policy) -> Iterator[Finding]:
    if policy.limits.wait > A_DAY:
        yield Finding(
            "unbounded-wait",
            "warning",
            None,
            f"limits.wait is {policy.limits.wait:g} s: with one header, a server can hold a call for days",
            "bring it down to what a caller will wait for; left out, it is 300 s",
        )
    uncited = [rule.name for rule in policy.own_rules if not rule.source]
    if uncited and not policy.source:
        yield Finding(
            "no-source",
            "note",
            None,
            f"no page is cited for {_listed(uncited)}, so nobody can check what is said there",
            'name the vendor\'s page: source = "https://…", at the top or in each rule',
        )


# ------------------------------------------------------------------------------------------ which replies a rule gets


def _of_matching(policy: Policy) -> Iterator[Finding]:
    replies = Replies(policy.rulebook)
    own = {rule.name for rule in policy.own_rules}
    asked_by: dict[int, list[Asked]] = {}
    for asked in replies.asked:
        asked_by.setdefault(asked.place, []).append(asked)
    for place, rule in enumerate(policy.rules):
        tables = asked_by.get(place, [])
        lost = [_lost(replies, asked) for asked in tables]
        inherited = rule.name not in own
        if not tables and _waits_for_its_code(policy, rule):
            yield Finding(
                "waits-for-code",
                "note",
                rule.name,
                "is off: it waits for its code",
                f"who knows it switches it on, in a policy that extends this one: codes = {{ {rule.name} = … }}",
            )
        elif all(
            len(cells) == len(asked.codes) * len(asked.statuses)
            for asked, cells in zip(tables, lost, strict=True)
        ):
            yield _unreachable(replies, rule.name, tables, inherited=inherited)
        else:
            for asked, cells in zip(tables, lost, strict=True):
                if asked.codes:
                    yield from _overlaps(replies, asked, cells, inherited=inherited)
                else:
                    yield Finding(
                        "overlaps",
                        "note" if inherited else "warning",
                        rule.name,
                        f"one of its tables never matches: {_NO_CODE[0]}",
                        _NO_CODE[1],
                    )
        if not inherited and any(asked.any_status and not _conditions(asked) for asked in tables):
            yield Finding(
                "empty-rule",
                "warning",
                rule.name,
                "asks for nothing, so it takes every error that no rule before it takes",
                'say which are meant; all of them are when = { status = ["4xx", "5xx"] }',
            )


def _waits_for_its_code(policy: Policy, rule: Words) -> bool:
    return any(policy.codes.get(rule.name, when.code) == [] for when in _tables(rule))


def _lost(replies: Replies, asked: Asked) -> set[tuple[Code | None, int]]:
    """List the codes and statuses that a table asks for and never gets."""
    return {
        (code, status)
        for code in asked.codes
        for status in asked.statuses
        if not replies.wins(asked, code, status)
    }


def _conditions(asked: Asked) -> int:
    """Count what a table asks for beyond a status."""
    clause = asked.clause
    return (asked.codes != (None,)) + len(clause.headers) + len(clause.body) + (clause.routes is not None)


def _unreachable(replies: Replies, name: str, tables: Sequence[Asked], *, inherited: bool) -> Finding:
    takers = _listed(
        taker.rule.name
        for asked in tables
        for code in asked.codes
        for status in asked.statuses
        for taker in replies.takers(asked, code, status)
    )
    if takers:
        message = f"never matches: {takers}, before it, takes every reply that it asks for"
        remedy = f"move it before {takers}, or ask for what tells the two apart"
        if inherited:
            remedy = (
                f'if that is meant, name the rule that takes its place "{name}": it then replaces this one'
            )
    elif tables and not any(asked.codes for asked in tables):
        message, remedy = f"never matches: {_NO_CODE[0]}", _NO_CODE[1]
    else:
        message = "never matches: no reply can be all that it asks for"
        remedy = "look for an empty list in its `when`, and for a header that must both be there and not"
    return Finding("unreachable", "note" if inherited and takers else "error", name, message, remedy)


def _overlaps(
    replies: Replies, asked: Asked, lost: set[tuple[Code | None, int]], *, inherited: bool
) -> Iterator[Finding]:
    """Tell of what a table names and never gets, and of what a rule that asks for less keeps from it."""
    dead = {status for status in asked.statuses if all((code, status) in lost for code in asked.codes)}
    takers: dict[str, None] = {}
    kept: list[int] = []
    for status in sorted(dead):
        here = replies.takers(asked, asked.codes[0], status)
        broader = any(_conditions(taker) < _conditions(asked) for taker in here)
        # A few statuses by name, and then a rule for all the rest: no fault, while something is left of each word.
        if broader or dead.issuperset(_word(asked, status)):
            kept.append(status)
            takers |= dict.fromkeys(taker.rule.name for taker in here)
    words = _spelled(kept)
    for code in asked.codes if not dead else ():
        if all((code, status) in lost for status in asked.statuses):
            words.append(f"code {code!r}")
            takers |= dict.fromkeys(
                taker.rule.name for taker in replies.takers(asked, code, asked.statuses[0])
            )
    if not words:
        return
    what = _listed(words, quoted=False)
    yield Finding(
        "overlaps",
        "note" if inherited else "warning",
        asked.rule.name,
        f"never gets {what}: {_listed(takers)}, before it, takes all that it asks for"
        if takers
        else f"never gets {what}: no reply can be all that it asks for",
        f"move it before {_listed(takers)}, or say in `when` what is left to it"
        if takers
        else f"leave {what} out",
    )


def _spelled(statuses: Sequence[int]) -> list[str]:
    """Write statuses as a policy does, a whole hundred as its class; what no rule can name is left out."""
    words: list[str] = []
    for hundred in sorted({status // 100 for status in statuses if status < 600}):
        some = [status for status in statuses if status // 100 == hundred]
        words += [f"{hundred}xx"] if len(some) == 100 else map(str, some)
    return words


def _word(asked: Asked, status: int) -> Sequence[int]:
    """List the statuses that one word names with this one: a class has a hundred, and to say none means all."""
    if asked.any_status:
        return asked.statuses
    hundred = [other for other in asked.statuses if other // 100 == status // 100]
    return hundred if len(hundred) == 100 else [status]


# ----------------------------------------------------------------------------------------- what becomes of its retries


def _of_retries(policy: Policy, deadline: float | None) -> Iterator[Finding]:
    # Whoever may do the most: what is not retried for this caller is not for anyone.
    able = Case(policy, "POST", "/", keyed=True, renews=("nonce", "token"), override_conflict=True)
    timed = Case(
        policy, "POST", "/", keyed=True, renews=("nonce", "token"), override_conflict=True, deadline=deadline
    )
    compiled = rules_of(policy)
    for words in policy.rules:
        rule, retry = compiled.get(words.name), words.retry
        if rule is None or retry is None:
            continue
        yield from _of_its_end(policy, able, rule, retry)
        if retry.schedule is not None and retry.duration is not None:
            total = sum(retry.schedule[: retry.retries])
            if total > retry.duration:
                yield Finding(
                    "schedule-exceeds-for",
                    "warning",
                    rule.name,
                    f"its schedule takes {total:g} s, and it ends after {retry.duration:g} s",
                    f"shorten the schedule, or raise for to {total:g}",
                )
        if deadline is not None:
            yield from _of_its_deadline(timed, rule, retry, deadline)


def _of_its_end(policy: Policy, able: Case, rule: Rule, retry: Retry) -> Iterator[Finding]:
    way = able.own_way(rule)
    ladder = able.ladder(rule, [way] if way is not None else [])
    longest = able.walk(rule, way, longest=True)
    if not ladder.rungs:
        message, remedy = _never(policy, longest.reason)
        yield Finding("never-retried", "warning", rule.name, message, remedy)
    elif longest.reason == "wait_too_long":
        yield Finding(
            "over-longest-wait",
            "warning",
            rule.name,
            f"ends at retry {len(longest.steps) + 1}, whose wait is over the longest allowed, {policy.limits.wait:g} s",
            "shorten the wait, allow fewer retries, or raise limits.wait",
        )
    if ladder.endless:
        yield Finding(
            "unbounded-retries",
            "warning",
            rule.name,
            f"may be sent more than {MOST_RETRIES:,} times in one call: its waits can be next to nothing",
            "give its stop a number of attempts"
            if retry.stop is not None
            else f"say retries = {ceil(min(retry.duration or A_THOUSAND, A_THOUSAND))} as well",
        )


def _never(policy: Policy, reason: str | None) -> tuple[str, str]:
    match reason:
        case "attempts_exhausted":
            return "has a retry that never comes: none is allowed", "leave `retry` out, or allow one at least"
        case "cannot_change":
            return (
                "has a retry that never comes: it requires a change that it does not make",
                "list in `change` whatever is in `requires`",
            )
        case _:
            return (
                f"has a retry that never comes: its wait is over the longest allowed, {policy.limits.wait:g} s",
                "shorten the wait, or raise limits.wait",
            )


def _of_its_deadline(timed: Case, rule: Rule, retry: Retry, deadline: float) -> Iterator[Finding]:
    soonest = timed.walk(rule, timed.own_way(rule), longest=False)
    if soonest.reason == "deadline":
        fitting = len(soonest.steps)
        message = f"of its waits, {f'only the first {fitting}' if fitting else 'none'} can be over before"
    elif retry.duration is not None and retry.duration > deadline:
        message = f"goes on for {retry.duration:g} s, which is longer than"
    else:
        return
    yield Finding(
        "schedule-exceeds-deadline",
        "warning",
        rule.name,
        f"{message} a deadline of {deadline:g} s",
        "give such calls more time, or the rule less of it",
    )


# --------------------------------------------------------------------------------------- what it may do a second time


def _of_effects(policy: Policy) -> Iterator[Finding]:
    replies = Replies(policy.rulebook)
    own = {rule.name: rule for rule in policy.own_rules}
    seen: set[str] = set()
    for asked in replies.asked:
        rule = asked.rule
        if rule.name not in own or rule.name in seen or rule.retry is None or not rule.retry.unsafe:
            continue
        methods = _unkeyed(policy, replies, asked)
        if methods and any(
            _may_have_acted(rule, status) and replies.wins(asked, code, status)
            for code in asked.codes
            for status in asked.statuses
        ):
            seen.add(rule.name)
            source = own[rule.name].source
            yield Finding(
                "unsafe-without-key",
                "note" if source else "warning",
                rule.name,
                f"sends {' and '.join(methods)} again without a key, after a reply that may mean that it took effect",
                f"leave it where {source} says to retry"
                if source
                else "cite in `source` the page that says to retry, or take unsafe out",
            )


def _unkeyed(policy: Policy, replies: Replies, asked: Asked) -> list[str]:
    """List the methods that are not idempotent, and get no key, of the requests that a table speaks of."""
    methods: dict[str, None] = {}
    for method, path in replies.requests(asked.clause.routes):
        for each in ("POST", "PATCH") if method == NO_METHOD else (method,):
            if each not in IDEMPOTENT_METHODS and not policy.rulebook.idempotency.routes.match(each, path):
                methods[each] = None
    return list(methods)


def _may_have_acted(rule: Rule, status: int) -> bool:
    # As `Outcome.maybe_applied` sees it: a 4xx says that the request was refused.
    return status >= 500 or (status < 400 and rule.category in {"server", "upstream", "maintenance"})


# ------------------------------------------------------------------------------------------------- what it is proved by


def _of_examples(policy: Policy) -> Iterator[Finding]:
    for rule in policy.own_rules:
        if not rule.examples:
            yield Finding(
                "no-example",
                "warning",
                rule.name,
                "has no example: nothing proves it, and no fake of the API can send it",
                "add one as [[rules.examples]]: the reply as the vendor shows it, and what the client does",
            )
    try:
        for line in contradictions(policy):
            # Each begins with the rule and the number of the example.
            rule, what = next(
                (rule, line.removeprefix(start))
                for rule in policy.own_rules
                if line.startswith(start := f'rule "{rule.name}", ')
            )
            yield Finding(
                "contradicting-example",
                "error",
                rule.name,
                what,
                "correct whichever the vendor's page belies",
            )
    except AssertionError as endless:
        yield Finding(
            "contradicting-example",
            "error",
            None,
            f"an example cannot be played: {endless}",
            "give its rule an end",
        )


def _tables(rule: Words) -> list[Any]:
    return list(rule.when) if isinstance(rule.when, list) else [rule.when]


def _listed(names: Iterable[str], *, quoted: bool = True) -> str:
    """Name each once, and of many the first few."""
    several = list(dict.fromkeys(names))
    shown = [f'"{name}"' if quoted else name for name in several[:4]]
    return ", ".join([*shown, *([f"{len(several) - 4} more"] if len(several) > 4 else [])])
