"""What may stand in a compiled policy, as JSON and as the rulebook that it is, and the way from the one to the other.

Law of this file: each field says here what it may hold, and all else is refused with a ValueError, both ways; what is read back equals
what was written. Nothing is looked up by a name that the data gives, and nothing of pydantic is needed.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from ._flow import rulebook as tables
from ._flow.plain import Plain
from ._guard.breaker import BreakerConfig
from ._guard.budget import BudgetConfig
from ._guard.bulkhead import Adaptive, BulkheadConfig
from ._guard.hedge import HedgeConfig
from ._guard.pace import Window
from ._guard.settings import Paced, Protection
from .hints import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["SOURCES", "book_of", "document_of"]


class _Shape(NamedTuple):
    """What a value may be: how it is written as JSON, and how it is read. Both raise ValueError for what it cannot be."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _refused(value: object) -> ValueError:
    return ValueError(f"a compiled policy cannot hold this {type(value).__name__}")


def _one(*kinds: type, where: Callable[[Any], bool] = lambda _: True) -> _Shape:
    """Let it be of one of these types exactly, for True is not 1, and pass a test."""

    def same(value: Any) -> Any:
        if type(value) not in kinds or not where(value):
            raise _refused(value)
        if type(value) is str:
            value.encode()  # half of a surrogate pair, which JSON can spell, is a ValueError
        return value

    return _Shape(same, same)


def _optional(shape: _Shape) -> _Shape:
    return _Shape(
        lambda value: None if value is None else shape.write(value),
        lambda given: None if given is None else shape.read(given),
    )


def _either(*shapes: _Shape) -> _Shape:
    """Let it be what the first of the shapes takes that takes it."""

    def first(way: int, value: Any) -> Any:
        for shape in shapes[:-1]:
            try:
                return shape[way](value)
            except ValueError:
                continue
        return shapes[-1][way](value)

    return _Shape(lambda value: first(0, value), lambda given: first(1, given))


def _list(given: Any, least: int = 0, most: int = sys.maxsize) -> list[Any]:
    if type(given) is not list or not least <= len(given) <= most:
        raise _refused(given)
    return given


def _several(shape: _Shape, least: int = 0) -> _Shape:
    """Let it be a tuple of any length."""
    write, read = shape
    return _Shape(lambda value: [*map(write, value)], lambda given: tuple(map(read, _list(given, least))))


def _each(*shapes: _Shape) -> _Shape:
    """Let it be a tuple with a shape for each place."""
    size = len(shapes)

    def write(value: Any) -> Any:
        return [shape.write(one) for shape, one in zip(shapes, value, strict=True)]

    def read(given: Any) -> Any:
        return tuple(shape.read(one) for shape, one in zip(shapes, _list(given, size, size), strict=True))

    return _Shape(write, read)


def _set(shape: _Shape) -> _Shape:
    return _Shape(
        lambda value: sorted(map(shape.write, value)), lambda given: frozenset(map(shape.read, _list(given)))
    )


def _dict(value: _Shape) -> _Shape:
    """Let it be a dict of texts to values."""

    def through(way: int, given: Any) -> Any:
        if type(given) is not dict:
            raise _refused(given)
        return {_TEXT[way](name): value[way](one) for name, one in given.items()}

    return _Shape(lambda given: through(0, given), lambda given: through(1, given))


def _record(kind: type, /, **fields: _Shape) -> _Shape:
    """Let it be a dataclass, which may refuse numbers of its own accord."""
    names, writers = fields.keys(), [(name, shape.write) for name, shape in fields.items()]
    readers = [(name, shape.read) for name, shape in fields.items()]

    def write(value: Any) -> Any:
        if type(value) is not kind:
            raise _refused(value)
        return {name: writer(getattr(value, name)) for name, writer in writers}

    def read(given: Any) -> Any:
        if type(given) is not dict or given.keys() != names:
            raise _refused(given)
        return kind(**{name: reader(given[name]) for name, reader in readers})

    return _Shape(write, read)


def _word(words: Any) -> _Shape:
    return _one(str, where=frozenset(get_args(words)).__contains__)


def _same(value: Any) -> Any:
    """Pass what JSON can say, whatever it is."""
    if type(value) is list:
        return [_same(one) for one in value]
    if type(value) is dict:
        return {_TEXT.read(name): _same(one) for name, one in value.items()}
    return None if value is None else _PLAIN_VALUE.read(value)


def _plain(*kinds: str) -> _Shape:
    """Let it be a wait or a stop in numbers; an object of tenacity's own is none."""

    def write(value: Any) -> Any:
        if type(value) is not Plain:
            raise _refused(value)
        return [value.kind, *value.numbers]

    def read(given: Any) -> Any:
        match _list(given):
            case ["chain" as kind, _, *_]:
                shapes = [_NUMBER] * (len(given) - 1)
            case ["exponential" as kind, _, _, _]:
                shapes = [_NUMBER] * 3
            case ["stop" as kind, attempts, delay] if attempts is not None or delay is not None:
                shapes = [_optional(_WHOLE), _optional(_NUMBER)]
            case _:
                raise _refused(given)
        if kind not in kinds:
            raise _refused(given)
        return Plain(kind, tuple(shape.read(one) for shape, one in zip(shapes, given[1:], strict=True)))

    return _Shape(write, read)


def _pointer_read(given: Any) -> tables.Pointer:
    return tables.Pointer(_TEXT.read(given))


def _routes_read(given: Any) -> tables.Routes:
    routes = tables.Routes(())
    routes.by_method = {method: [*patterns] for method, patterns in _PATTERNS.read(given).items()}
    return routes


def _runs(statuses: Iterable[int]) -> list[list[int]]:
    """Write statuses by the first and the last of each run."""
    runs: list[list[int]] = []
    for status in sorted(statuses):
        if runs and runs[-1][1] == status - 1:
            runs[-1][1] = status
        else:
            runs.append([status, status])
    return runs


def _runs_read(given: Any) -> frozenset[int]:
    return frozenset(status for first, last in _RUNS.read(given) for status in range(first, last + 1))


def _settings(kind: Any) -> _Shape:
    """Let it be the settings of an engine, which says itself what its numbers may be."""
    return _record(kind, **{field.name: _SETTINGS[str(field.type)] for field in dataclasses.fields(kind)})


_TEXT = _one(str)
_FLAG = _one(bool)
_WHOLE = _one(int, where=lambda value: 0 <= value <= sys.maxsize)
_NUMBER = _one(int, float, where=lambda value: 0 <= value <= sys.float_info.max)  # so NaN is none
_CODE = _one(str, int)
_PLAIN_VALUE = _one(str, bool, int, float)
_ANYTHING = _Shape(_same, _same)
_POINTER = _Shape(lambda value: value.text, _pointer_read)
_PATTERNS = _dict(_several(_each(_FLAG, _several(_one(str, where=bool)))))
_ROUTES = _Shape(lambda value: _PATTERNS.write(value.by_method), _routes_read)
_STATUS = _one(int, where=lambda value: 100 <= value <= 599)
_RUNS = _several(_each(_STATUS, _STATUS))
_STATUSES = _Shape(_runs, _runs_read)
_KIND, _CHANGE = _word(Kind), _word(tables.Change)

_HINT = _either(
    _record(tables.HeaderHint, header=_TEXT, kind=_KIND),
    _record(tables.BodyHint, pointer=_POINTER, kind=_KIND),
    _record(tables.BucketHint, need=_POINTER, have=_POINTER, rate=_POINTER),
)
# Not `foreign`: what makes it true, an object of tenacity's own, cannot be written.
_RETRY = _record(
    tables.Retry,
    wait=_plain("chain", "exponential"),
    stop=_plain("stop"),
    spread=_one(str, where=("full", "add", "none").__contains__),
    floor_only=_FLAG,
    duration=_optional(_NUMBER),
    after=_several(_HINT),
    unsafe=_FLAG,
    change=_several(_CHANGE),
    requires=_set(_CHANGE),
    only_if=_optional(_word(tables.Condition)),
)
_RULE = _record(
    tables.Rule,
    name=_TEXT,
    category=_TEXT,
    cause=_TEXT,
    remedy=_TEXT,
    user_message=_TEXT,
    source=_TEXT,
    retry=_optional(_RETRY),
)
_CLAUSE = _record(
    tables.Clause,
    statuses=_optional(_STATUSES),
    headers=_several(_each(_TEXT, _one(str, bool))),
    body=_several(_each(_POINTER, _ANYTHING)),
    routes=_optional(_ROUTES),
)
_SETTINGS = {
    "bool": _FLAG,
    "int": _WHOLE,
    "float": _NUMBER,
    "int | None": _optional(_WHOLE),
    "float | None": _optional(_NUMBER),
}
_SETTINGS["int | Adaptive"] = _either(_WHOLE, _settings(Adaptive))
# Of a rulebook: all but the rules, and the tables by which they are found.
_BOOK = {
    "api": _TEXT,
    "title": _TEXT,
    "network": _RULE,
    "envelope": _record(
        tables.Envelope,
        code=_several(_POINTER),
        message=_several(_POINTER),
        field=_several(_POINTER),
        details=_several(_POINTER),
        request_id=_several(_POINTER),
        request_id_header=_several(_TEXT),
    ),
    "idempotency": _record(
        tables.Idempotency,
        header=_TEXT,
        field=_optional(_POINTER),
        quoted=_FLAG,
        shortest=_WHOLE,
        longest=_WHOLE,
        routes=_ROUTES,
    ),
    "longest_wait": _NUMBER,
    "body_limit": _WHOLE,
    "nonce_header": _optional(_TEXT),
    "token_lifetime": _optional(_NUMBER),
    "override_field": _optional(_POINTER),
    "override_value": _ANYTHING,
    "should_retry": _optional(_TEXT),
    "default_retry": _optional(_RETRY),
    "at_once": _STATUSES,
    # Not `shared` and `scope`, and no pace but the policy's own: these are keywords, and no file can say them.
    "protection": _record(
        Protection,
        budget=_optional(_settings(BudgetConfig)),
        pace=_FLAG,
        breaker=_optional(_settings(BreakerConfig)),
        hedge=_optional(_settings(HedgeConfig)),
        bulkhead=_optional(_settings(BulkheadConfig)),
    ),
    "paces": _several(
        _record(
            Paced,
            windows=_several(_record(Window, budget=_NUMBER, per=_NUMBER), least=1),
            routes=_optional(_ROUTES),
            costs=_several(_each(_ROUTES, _NUMBER)),
        )
    ),
}


_NUMBERS = _several(_WHOLE)
# An entry's place in the file, its rule's number, and what else must hold.
_ENTRY = _each(_WHOLE, _WHOLE, _CLAUSE)
_TABLES = {
    "rules": _several(_RULE),
    "entries": _several(_ENTRY),
    "by_code": _several(_each(_CODE, _NUMBERS)),
    "by_status": _several(_each(_optional(_STATUSES), _NUMBERS)),  # None: those that ask for no status
}
# The files that a form was made of: by which word each is extended, its size in bytes, its digest.
SOURCES = _several(_each(_TEXT, _WHOLE, _TEXT))


def document_of(book: tables.Rulebook) -> dict[str, Any]:
    """Write a rulebook: each rule once and each entry once, the tables naming them by their numbers.

    Raises:
        ValueError: something in it cannot be written: a function, an object of tenacity's own, a date; the message names its rule.
    """
    found = {
        id(entry): entry
        for table in (book.by_code, book.by_status)
        for each in table.values()
        for entry in each
    }
    entries = sorted(found.values(), key=lambda entry: entry[0])
    rules = list({id(rule): rule for _, rule, _ in entries}.values())
    numbers = {id(one): number for several in (entries, rules) for number, one in enumerate(several)}
    by_entries: dict[tuple[int, ...], list[int]] = {}
    anywhere = []
    for status, each in book.by_status.items():
        listed = tuple(numbers[id(entry)] for entry in each)
        if status is None:
            anywhere.append((None, listed))
        else:
            by_entries.setdefault(listed, []).append(status)
    said = {name: shape.write(getattr(book, name)) for name, shape in _BOOK.items()}
    return said | {
        "rules": [_said(rule, _RULE, rule) for rule in rules],
        "entries": [
            _said(rule, _ENTRY, (place, numbers[id(rule)], clause)) for place, rule, clause in entries
        ],
        "by_code": _TABLES["by_code"].write(
            (code, [numbers[id(entry)] for entry in each]) for code, each in book.by_code.items()
        ),
        "by_status": _TABLES["by_status"].write(
            [*anywhere, *((statuses, listed) for listed, statuses in by_entries.items())]
        ),
    }


def _said(rule: tables.Rule, shape: _Shape, value: Any) -> Any:
    """Write what belongs to a rule, so that an error names it."""
    try:
        return shape.write(value)
    except ValueError as error:
        raise ValueError(f'rule "{rule.name}": {error}') from None


def book_of(document: dict[str, Any]) -> tables.Rulebook:
    """Read a rulebook: it equals the one that was written.

    Raises:
        ValueError: the document is not as one that `document_of` writes.
    """
    if document.keys() != {*_BOOK, *_TABLES}:
        raise _refused(document)
    parts = {name: shape.read(document[name]) for name, shape in _TABLES.items()}
    rules = parts["rules"]
    entries = [(place, _numbered(rules, rule), clause) for place, rule, clause in parts["entries"]]
    by_status: dict[int | None, list[tables.Entry]] = {}
    for statuses, listed in parts["by_status"]:
        each = [_numbered(entries, number) for number in listed]
        by_status.update(dict.fromkeys((None,) if statuses is None else statuses, each))
    return tables.Rulebook(
        by_code={
            code: [_numbered(entries, number) for number in listed] for code, listed in parts["by_code"]
        },
        by_status=by_status,
        **{name: shape.read(document[name]) for name, shape in _BOOK.items()},
    )


def _numbered(several: Sequence[Any], number: int) -> Any:
    if number >= len(several):
        raise _refused(number)
    return several[number]
