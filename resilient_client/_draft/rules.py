"""From what a document says of errors to the rules of a policy.

Law of this file: what is done about an error is what the standards say of its status; a code's name may make it final (a quota that
is used up) or a rate limit, and nothing else.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from resilient_client.loading import load_policy

from .errors import Stated
from .meanings import humanised, meaning, rule_name, says_nothing, standard
from .waits import asked_by_example, places

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from resilient_client._flow.rulebook import Code

    from .envelope import Envelope
    from .errors import Coded, Errors, Sighting

__all__ = ["Drafted", "rules_of"]

_MOST = 300  # rules by code of one draft
_LARGEST_EXAMPLE = 600  # characters
_LONGEST_CAUSE = 400  # characters
_RATE_LIMITED = 429
_ANY_4XX, _ANY_5XX = 499, 599  # for which the standards have no more to say than for their class


@dataclass(slots=True)
class Drafted:
    """One rule, and the replies that may prove it, the most telling first."""

    table: dict[str, Any]  # in the words of a policy file
    givens: list[dict[str, Any]]
    by_code: bool

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.table["name"])


class _Case(NamedTuple):
    """Which replies a rule is for."""

    status: Any  # of its `when`; None where the code alone tells
    shown: int  # the status of its example
    like: int  # the status whose standard answer is its own
    sightings: Sequence[Sighting]


def rules_of(errors: Errors, inherited: Collection[str], *, alone: bool) -> tuple[list[Drafted], list[Code]]:
    """Make the rules, those with a code first; and list the codes of which the document tells too little for a rule.

    `inherited` are the rules of the policy that the draft extends; `alone` says that it extends none, so that what every API does
    (429, 5xx) needs rules of its own.
    """
    maker = _Maker(errors, inherited, alone=alone)
    by_code: list[Drafted] = []
    untold: list[Code] = []
    cases = [(coded, _cases(coded)) for coded in errors.coded]
    for coded, case in sorted(
        ((coded, case) for coded, several in cases for case in several), key=lambda pair: _place(pair[1])
    ):
        if len(by_code) < _MOST:
            by_code.append(maker.coded(coded.code, case))
        else:
            untold.append(coded.code)
    untold += [coded.code for coded, several in cases if not several]
    return [*by_code, *maker.stated()], list(dict.fromkeys(untold))


def _cases(coded: Coded) -> list[_Case]:
    sure = [one for one in coded.sightings if one.sure]
    told = meaning(coded.code)
    if not sure:
        return _by_name(coded) if told is not None else []
    groups: dict[tuple[str, bool], list[Sighting]] = {}
    for one in sure:
        kind = _category(coded.code, int(one.status)) if one.status.isdecimal() else one.status
        groups.setdefault((kind, one.status.isdecimal()), []).append(one)
    cases = []
    for (_, numbered), several in groups.items():
        if numbered:
            cases.append(_numbered([int(one.status) for one in several], several))
        else:
            cases.append(_of_class(several[0].status, coded.code, several))
    return cases


def _by_name(coded: Coded) -> list[_Case]:
    """Place a code by what its name says, as far as the document has such a status."""
    told = meaning(coded.code)
    named = {one.status for one in coded.sightings}
    commonly = told.statuses if told is not None else ()
    fitting = [status for status in commonly if str(status) in named]
    if fitting:
        return [_numbered(fitting, _seen(coded, map(str, fitting)))]
    of_class = f"{commonly[0] // 100}XX"
    if of_class in named:
        return [_of_class(of_class, coded.code, _seen(coded, (of_class,)))]
    if "default" in named:
        return [_Case(None, commonly[0], commonly[0], _seen(coded, ("default",)))]
    return []


def _seen(coded: Coded, statuses: Iterable[str]) -> list[Sighting]:
    several = set(statuses)
    return [one for one in coded.sightings if one.status in several]


def _numbered(statuses: Iterable[int], sightings: Sequence[Sighting]) -> _Case:
    several = list(dict.fromkeys(statuses))
    return _Case(several if len(several) > 1 else several[0], several[0], several[0], sightings)


def _of_class(status: str, code: Code, sightings: Sequence[Sighting]) -> _Case:
    told = meaning(code)
    fitting = [one for one in (told.statuses if told is not None else ()) if str(one)[0] == status[0]]
    unknown = _ANY_4XX if status[0] == "4" else _ANY_5XX
    shown, like = (fitting[0], fitting[0]) if fitting else (int(status[0]) * 100, unknown)
    return _Case(status.lower(), shown, like, sightings)


def _place(case: _Case) -> tuple[int, int]:
    """Order cases: the closer a rule says which replies it means, the sooner it is asked."""
    kind = 2 if case.status is None else 1 if isinstance(case.status, str) else 0
    return kind, case.shown


def _category(code: Code, status: int) -> str:
    """Give the category of a code that comes with a status: the status's own, unless the code's name tells better."""
    told = meaning(code)
    if told is not None and (
        (told.category == "quota" and status in told.statuses)
        or (told.category == "rate_limit" and status < 500)
        or (told.category == "maintenance" and status >= 500)
    ):
        return told.category
    # A 402 with a code is what the business refused; that an account is used up, the code would say.
    return "business" if status == 402 else standard(status).category


# Of these, the standards speak under a status of their own; of what a business refuses, they know nothing.
_SPOKEN_OF_AT = {"quota": 402, "rate_limit": _RATE_LIMITED, "business": _ANY_4XX}


class _Maker:
    """Makes rules; a name is given once."""

    def __init__(self, errors: Errors, inherited: Collection[str], *, alone: bool) -> None:
        self._errors = errors
        self._alone = alone
        # A rule replaces its namesake: what is said of a status alone may, what is said of a code may not.
        self._reserved = {*inherited, *(rule.name for rule in load_policy("default").rules)}
        self._taken: set[str] = set()

    def coded(self, code: Code, case: _Case) -> Drafted:
        """Make the rule of a code."""
        category = _category(code, case.like)
        known = standard(_SPOKEN_OF_AT.get(category, case.like))
        named = [one.status for one in case.sightings]
        when = {"status": case.status, "code": code}
        table: dict[str, Any] = {
            "name": self._named(rule_name(code, case.shown), case.shown, self._reserved),
            "when": {word: asked for word, asked in when.items() if asked is not None},
            "category": category,
            "cause": self._cause(code, case, known.cause),
            "remedy": known.remedy,
            "user_message": known.user_message,
        }
        headers = self._asked(category, named)
        retry = self._retry(category, case.like, named)
        if retry is not None:
            table["retry"] = retry
        envelope = self._errors.envelope
        bodies = [_with_code(one, code, envelope) for one in case.sightings[:3]]
        bodies.append(_put(None, case.sightings[0].pointer or envelope.code[0], code))
        return Drafted(table, [_given(case.shown, body, headers) for body in bodies], by_code=True)

    def stated(self) -> Iterator[Drafted]:
        """Make the rules of statuses."""
        stated = {int(status): one for status, one in self._errors.stated.items() if status.isdecimal()}
        if self._alone:
            stated.setdefault(_RATE_LIMITED, Stated())
        for status, one in sorted(stated.items()):
            yield self._by_status(status, status, one)
        if self._alone:
            yield self._by_status("5xx", _ANY_5XX, self._errors.stated.get("5XX", Stated()))

    def _by_status(self, asked: int | str, like: int, stated: Stated) -> Drafted:
        known = standard(like)
        description = "" if says_nothing(stated.description, like) else _shortened(stated.description)
        name = known.name if isinstance(asked, int) else "SERVER_ERROR"
        table: dict[str, Any] = {
            "name": self._named(name, like, ()),
            "when": {"status": asked},
            "category": known.category,
            "cause": description or known.cause,
            "remedy": known.remedy,
            "user_message": known.user_message,
        }
        retry = self._retry(known.category, like, [str(asked)])
        if retry is not None:
            table["retry"] = retry
        headers = self._asked(known.category, [str(asked)])
        if isinstance(asked, int):
            givens = [_given(asked, body, headers) for body in [*stated.bodies[:5], None]]
        else:  # of a class, the first that no rule of its own takes
            givens = [_given(status, None, {}) for status in (500, 502, 520)]
        return Drafted(table, givens, by_code=False)

    def _named(self, name: str, status: int, reserved: Collection[str]) -> str:
        number, chosen = 1, name
        while chosen in self._taken or chosen in reserved:
            chosen = f"{name}_{status}" if number == 1 else f"{name}_{status}_{number}"
            number += 1
        self._taken.add(chosen)
        return chosen

    def _cause(self, code: Code, case: _Case, known: str) -> str:
        for one in case.sightings:
            if one.words and not says_nothing(one.words, case.shown):
                return _shortened(one.words)
        described = (self._errors.stated[one.status].description for one in case.sightings)
        telling = next((words for words in described if not says_nothing(words, case.shown)), known)
        return _shortened(f"{humanised(code)}. {telling}")

    def _retry(self, category: str, like: int, named: Iterable[str]) -> dict[str, Any] | None:
        """Give the standards' answer, with the waits where the document says that they are."""
        limited = category == "rate_limit"
        retry = None if category == "quota" else standard(_RATE_LIMITED if limited else like).retry
        if retry is None:
            return None
        told = places(self._spoken_of(named, limited=limited))
        if told:
            if not any(isinstance(place, str) and place.casefold() == "retry-after" for place in told):
                told.append("Retry-After")
            retry["after"] = told
        return {word: _whole(said) for word, said in retry.items()}

    def _asked(self, category: str, named: Iterable[str]) -> dict[str, str]:
        limited = category == "rate_limit"
        return asked_by_example(self._spoken_of(named, limited=limited)) if limited else {}

    def _spoken_of(self, named: Iterable[str], *, limited: bool) -> list[Stated]:
        """List what may speak of a wait: the statuses themselves, and for a rate limit whatever stands for it."""
        statuses = [*named, *((str(_RATE_LIMITED), "4XX", "default") if limited else ())]
        return [
            self._errors.stated[status] for status in dict.fromkeys(statuses) if status in self._errors.stated
        ]


def _given(status: int, body: Any, headers: dict[str, str]) -> dict[str, Any]:
    """Write a reply as an example has it; a body that is too large to read is left out."""
    given: dict[str, Any] = {"status": status}
    if headers:
        given["headers"] = headers
    if isinstance(body, str):
        given["text"] = body[:_LARGEST_EXAMPLE]
    elif body is not None and len(json.dumps(body)) <= _LARGEST_EXAMPLE:
        given["json"] = _without_nulls(body)
    return given


def _without_nulls(body: Any) -> Any:
    """Leave out what TOML cannot say."""
    if isinstance(body, dict):
        return {word: _without_nulls(part) for word, part in body.items() if part is not None}
    if isinstance(body, list):
        return [_without_nulls(part) for part in body if part is not None]
    return body


def _with_code(one: Sighting, code: Code, envelope: Envelope) -> Any:
    """Give a body in which the client finds the code: the example as it is, or one with the code put where it belongs."""
    if not one.pointer:
        return one.body
    body = one.body
    for pointer in envelope.code:
        body = _put(body, pointer, code if pointer == one.pointer else None)
    return body


def _put(body: Any, pointer: str, value: Any) -> Any:
    """Copy a body with this value at a place; what is in the way gives way, and where the value is None, nothing is left there."""
    return _put_at(
        copy.deepcopy(body),
        [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]],
        value,
    )


def _put_at(body: Any, parts: list[str], value: Any) -> Any:
    if not parts:
        return value
    part, rest = parts[0], parts[1:]
    if part == "*":
        elements = body if isinstance(body, list) else []
        if value is None and not elements:
            return body
        return [_put_at(elements[0] if elements else None, rest, value), *elements[1:]]
    table = body if isinstance(body, dict) else {}
    if value is None and part not in table:
        return body
    return {**table, part: _put_at(table.get(part), rest, value)}


def _whole(said: Any) -> Any:
    """Write 30.0 as 30."""
    if isinstance(said, dict):
        return {word: _whole(part) for word, part in said.items()}
    return int(said) if isinstance(said, float) and said.is_integer() else said


def _shortened(words: str) -> str:
    if len(words) <= _LONGEST_CAUSE:
        return words
    return f"{words[:_LONGEST_CAUSE].rpartition(' ')[0] or words[:_LONGEST_CAUSE]} …"
