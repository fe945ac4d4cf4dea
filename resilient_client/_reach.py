"""Which replies can each rule be the first to match? Of several that match the first one counts: some are never asked.

Law of this file: it is exact over statuses, codes, headers and routes. The parts of a body are taken to be independent
of each other and of the code, so what it calls unreachable is unreachable, and what it calls reachable may yet not be: nor is all tried
where the ways are very many (`PATIENCE`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from ._flow.rulebook import Clause

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ._flow.rulebook import Code, Entry, Routes, Rule, Rulebook

__all__ = ["NO_METHOD", "Asked", "Replies"]

_Request = tuple[str, str]  # a method and a path
_Place = tuple[str, ...]  # a header, or a part of the body
_Values = frozenset[tuple[Any, ...]]  # some of the values of a place that are told apart
_Literal = tuple[_Place, _Values]  # where, and the values with which it is content

_ABSENT = ("absent",)
_PRESENT = ("present",)  # whatever is not absent
_ELSE = ("something else",)
NO_METHOD = "any"  # stands for the methods that no route names: a route's is in capitals
_NO_SEGMENT = "\0"  # and for the segments that none does
_WHATEVER = Clause()
PATIENCE = 300  # ways in which a reply is looked for; a person's policy needs a few


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One table of a rule's `when`: what it asks of a reply."""

    place: int  # of the rule, in the file
    rule: Rule
    clause: Clause
    codes: tuple[Code | None, ...]  # (None,): it asks for no code
    statuses: tuple[int, ...]  # of those that are judged at all
    any_status: bool  # it names none


class Replies:
    """The replies to one request (method, path), or to all of them, as far as a policy tells them apart."""

    def __init__(self, rules: Rulebook, request: _Request | None = None) -> None:
        self._rules = rules
        self._request = request
        self._answers: dict[
            tuple[int, ...], bool
        ] = {}  # by the clauses asked about, which the rulebook keeps
        # 600 stands for whatever no rule can name.
        self._judged = tuple(status for status in range(100, 601) if status not in rules.at_once)
        self.asked = tuple(self._gathered())
        self._tables = {id(asked.clause): asked for asked in self.asked}
        self._longest = max(
            (len(parts) for asked in self.asked for _, _, parts in _patterns(asked.clause.routes)), default=0
        )

    def rules(self) -> list[Rule | None]:
        """List the rules that can be the first to match, in file order; None last, where some error matches none."""
        found: dict[int, Rule] = {}
        for asked in self.asked:
            if asked.place not in found and any(
                self.wins(asked, code, status) for code in asked.codes for status in asked.statuses
            ):
                found[asked.place] = asked.rule
        left = any(
            self._left(_WHATEVER, [entry[2] for entry in self._rules.candidates(None, status)])
            for status in self._judged
            if status >= 400
        )
        return [*found.values(), *([None] if left else [])]

    def wins(self, asked: Asked, code: Code | None, status: int) -> bool:
        """Tell whether a table is the first to match some reply of this code and status."""
        return self._left(asked.clause, [clause for _, _, clause in self._rivals(asked, code, status)])

    def takers(self, asked: Asked, code: Code | None, status: int) -> list[Asked]:
        """List the tables that take all replies of this code and status from a table that has none of them.

        It is one where one alone does it, and none where the table asks for what no reply can be.
        """
        rivals = [self._tables[id(clause)] for _, _, clause in self._rivals(asked, code, status)]
        alone = [rival for rival in rivals if not self._left(asked.clause, [rival.clause])]
        return (alone[:1] or rivals) if self._left(asked.clause, []) else []

    def requests(self, routes: Routes | None) -> Iterator[_Request]:
        """Give requests that stand for all that a table of these routes speaks of: what matches them matches every one.

        A segment that a route leaves open is filled with one that no route names, and an open end is of every length
        that could matter.
        """
        if self._request is not None:
            if routes is None or routes.match(*self._request):
                yield self._request
            return
        for method, open_ended, parts in _patterns(routes):
            way = [_NO_SEGMENT if part[0] == "{" and part[-1] == "}" else part for part in parts]
            for more in range(self._longest + 2 if open_ended else 1):
                path = "/" + "/".join([*way, *[_NO_SEGMENT] * more])
                yield NO_METHOD if method == "*" else method, path

    def _gathered(self) -> Iterator[Asked]:
        rules = self._rules
        found: dict[int, tuple[Entry, list[Code | None], list[int | None]]] = {}
        for status, entries in rules.by_status.items():
            for entry in entries:
                found.setdefault(id(entry[2]), (entry, [None], []))[2].append(status)
        for code, entries in rules.by_code.items():
            for entry in entries:
                found.setdefault(id(entry[2]), (entry, [], list(entry[2].statuses or [None])))[1].append(code)
        for (place, rule, clause), codes, statuses in sorted(found.values(), key=lambda item: item[0][0]):
            anything = None in statuses
            judged = tuple(status for status in self._judged if anything or status in statuses)
            # Where the envelope has no place for a code, no reply has one.
            known = codes if codes == [None] or rules.envelope.code else []
            yield Asked(place, rule, clause, tuple(known), judged, anything)

    def _rivals(self, asked: Asked, code: Code | None, status: int) -> list[Entry]:
        return [
            entry
            for entry in self._rules.candidates(code, status)
            if entry[0] < asked.place and (entry[2].statuses is None or status in entry[2].statuses)
        ]

    def _left(self, clause: Clause, others: Sequence[Clause]) -> bool:
        """Tell whether there is a request and a reply to it that fits the clause and none of the others."""
        key = (id(clause), *map(id, others))
        if key not in self._answers:
            self._answers[key] = any(
                _can_be(clause, [one for one in others if one.routes is None or one.routes.match(*request)])
                for request in self.requests(clause.routes)
            )
        return self._answers[key]


def _patterns(routes: Routes | None) -> Iterator[tuple[str, bool, tuple[str, ...]]]:
    if routes is None:
        yield "*", True, ()
        return
    for method, patterns in routes.by_method.items():
        for open_ended, parts in patterns:
            yield method, open_ended, parts


def _can_be(clause: Clause, others: Iterable[Clause]) -> bool:
    """Tell whether headers and a body can be what the clause asks for and what none of the others does."""
    asks = _literals(clause)
    refused = [_literals(other) for other in others]
    known: dict[_Place, _Values] = {}  # the values that are told apart at each place
    for place, values in chain(asks, *refused):
        known[place] = known.get(place, frozenset((_ABSENT, _ELSE))) | (values - {_PRESENT})
    left = dict(known)
    for place, values in asks:
        left[place] &= _meant(values, known[place])
        if not left[place]:
            return False
    return _escapes(
        left, [[(place, _meant(values, known[place])) for place, values in one] for one in refused]
    )


def _meant(values: _Values, known: _Values) -> _Values:
    return known - {_ABSENT} if _PRESENT in values else values


def _escapes(left: dict[_Place, _Values], others: Sequence[Sequence[_Literal]]) -> bool:
    """Tell whether the values that are left can give each of the others the lie, in one of its literals at least.

    The ways of doing so are tried one after the other, up to `PATIENCE`; what is not known by then counts as possible, which
    keeps a bound a bound, and calls no rule unreachable that is not.
    """
    ways = [(left, others)]
    for _ in range(PATIENCE):
        if not ways:
            return False
        left, others = ways.pop()
        undecided = _undecided(left, others)
        if undecided is None:
            continue
        left, rest = undecided
        if not rest:
            return True
        first, *more = rest
        ways += [
            ({**left, place: left[place] - values}, more)
            for place, values in reversed(first)
            if left[place] - values
        ]
    return True


def _undecided(
    left: dict[_Place, _Values], others: Sequence[Sequence[_Literal]]
) -> tuple[dict[_Place, _Values], list[Sequence[_Literal]]] | None:
    """Take away what those with one literal have, and give those that may still hold; None where one cannot but hold."""
    left = dict(left)
    for one in others:
        if not one:
            return None  # it asks for nothing, and always holds
        if len(one) == 1:
            ((place, values),) = one
            left[place] -= values
            if not left[place]:
                return None
    return left, [
        one
        for one in others
        if len(one) > 1 and not any(left[place].isdisjoint(values) for place, values in one)
    ]


def _literals(clause: Clause) -> list[_Literal]:
    """List what a clause asks of headers and body: a place, and the values with which it is content."""
    literals: list[_Literal] = []
    for name, wanted in clause.headers:
        place: _Place = ("header", name.casefold())
        if isinstance(wanted, bool):
            literals.append((place, frozenset((_PRESENT if wanted else _ABSENT,))))
        else:
            literals.append((place, frozenset((("value", wanted.casefold()),))))
    for pointer, wanted in clause.body:
        # In Python True == 1; in a body it is not. A list or a table is known by how it is written.
        value = ("value", isinstance(wanted, bool), wanted if wanted.__hash__ is not None else repr(wanted))
        # A star may find several values at once: each has a place of its own.
        place = ("body", pointer.text, *map(str, value)) if "*" in pointer.parts else ("body", pointer.text)
        literals.append((place, frozenset((value,))))
    return literals
