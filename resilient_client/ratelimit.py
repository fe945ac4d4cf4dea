"""What a server says of its budgets in RateLimit and RateLimit-Policy, drafts of the IETF's HTTPAPI group, old and new.

Pure, and nothing is raised for any text. The grammar is that of RFC 9651 as far as these fields use it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RateLimitItem", "parse_ratelimit", "parse_ratelimit_policy"]

SPACE: Final = (
    " \t"  # OWS of RFC 9110 5.6.3; str.strip() alone would take Unicode's spaces and newlines as well
)


@dataclass(frozen=True, slots=True)
class RateLimitItem:
    """What one item of a RateLimit or RateLimit-Policy field says about one policy of the server.

    None where the field does not say.
    """

    policy: str  # its name; "" in the drafts that had none
    quota: int | None = None  # q: units allowed per window
    remaining: int | None = None  # r: units left
    reset: int | None = None  # t: seconds until there are more
    window: int | None = None  # w: seconds


def parse_ratelimit(text: str) -> tuple[RateLimitItem, ...]:
    """Read a RateLimit field: `"default";r=0;t=30`, or `limit=10, remaining=0, reset=30` as draft 07 had it.

    In the order sent; empty where anything in it is malformed, which is what the draft
    (draft-ietf-httpapi-ratelimit-headers) asks for. Parameters that it does not define are passed over.
    """
    items = _read_items(text, _NAMED)
    return items if items is not None else _read_draft_07(text)


def parse_ratelimit_policy(text: str) -> tuple[RateLimitItem, ...]:
    """Read a RateLimit-Policy field: `"burst";q=100;w=60`, or `100;w=60` as drafts 03 to 07 had it.

    In the order sent; empty where anything in it is malformed. Parameters that are not defined are passed over.
    """
    return _read_items(text, _NAMED_OR_QUOTA) or ()


# RFC 9651, as far as these fields go: lists and dictionaries of bare items with parameters. Inner lists have no place
# in them. Possessive throughout: one pass, no way back. An integer has at most 15 digits, by the RFC.
_INTEGER: Final = r"-?[0-9]{1,15}+(?![0-9.])"
_STRING: Final = r'"(?:[ !#-\[\]-~]|\\["\\])*+"'
_TOKEN: Final = r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*+"  # noqa: S105 - a token of the grammar, no secret
_KEY: Final = r"[a-z*][a-z0-9_\-.*]*+"
_DECIMAL: Final = r"-?[0-9]{1,12}+\.[0-9]{1,3}+(?![0-9.])"
_BYTES: Final = r":[A-Za-z0-9+/]*+={0,2}+:"
_BOOLEAN: Final = r"\?[01]"
_DATE: Final = rf"@{_INTEGER}"
_DISPLAY: Final = r'%"(?:[ !#$&-~]|%[0-9a-f]{2})*+"'
_OTHERS: Final = rf"{_STRING}|{_TOKEN}|{_DECIMAL}|{_BYTES}|{_BOOLEAN}|{_DATE}|{_DISPLAY}"
# A key without a value is the boolean true.
_PAIR: Final = rf"(?P<key>{_KEY})(?:=(?:(?P<integer>{_INTEGER})|{_OTHERS}))?+"

_PARAMETER: Final = re.compile(rf";[ ]*+{_PAIR}")
_ENTRY: Final = re.compile(_PAIR)
_NAMED: Final = re.compile(rf"(?P<string>{_STRING})|(?P<token>{_TOKEN})")
_NAMED_OR_QUOTA: Final = re.compile(rf"{_NAMED.pattern}|(?P<quota>{_INTEGER})")
_COMMA: Final = re.compile(r"[ \t]*+,[ \t]*+")
_ESCAPED: Final = re.compile(r"\\(.)")


class _MalformedError(ValueError):
    """The field breaks RFC 9651, or gives a count that is none. Never leaves this file."""


def _members(text: str, head: re.Pattern[str]) -> Iterator[tuple[re.Match[str], dict[str, int | None]]]:
    """Go through the members of a list or dictionary: each one's head, and its parameters (RFC 9651 4.2.1, 4.2.2).

    A parameter that is no integer has the value None; of two with one key the last counts, as the RFC has it.
    """
    text = text.strip(SPACE)
    place = 0
    while place < len(text):
        if place:
            comma = _COMMA.match(text, place)
            if comma is None:
                raise _MalformedError
            place = comma.end()
        start = head.match(text, place)
        if start is None:
            raise _MalformedError
        place = start.end()
        parameters: dict[str, int | None] = {}
        while found := _PARAMETER.match(text, place):
            place = found.end()
            parameters[found["key"]] = _integer(found)
        yield start, parameters


def _integer(pair: re.Match[str]) -> int | None:
    digits = pair["integer"]
    return None if digits is None else int(digits)


def _count(values: Mapping[str, int | None], key: str) -> int | None:
    """Take a count that may be missing, but not be anything other than a count."""
    if key not in values:
        return None
    value = values[key]
    if value is None or value < 0:
        raise _MalformedError
    return value


def _read_items(text: str, head: re.Pattern[str]) -> tuple[RateLimitItem, ...] | None:
    try:
        return tuple(_item(start.groupdict(), values) for start, values in _members(text, head))
    except _MalformedError:
        return None


def _item(start: Mapping[str, str | None], values: dict[str, int | None]) -> RateLimitItem:
    string, quota = start["string"], start.get("quota")
    if quota is not None:
        values = {**values, "q": int(quota)}
    return RateLimitItem(
        policy=_ESCAPED.sub(r"\1", string[1:-1]) if string is not None else start["token"] or "",
        quota=_count(values, "q"),
        remaining=_count(values, "r"),
        reset=_count(values, "t"),
        window=_count(values, "w"),
    )


def _read_draft_07(text: str) -> tuple[RateLimitItem, ...]:
    try:
        values = {start["key"]: _integer(start) for start, _ in _members(text, _ENTRY)}
        item = RateLimitItem(
            policy="",
            quota=_count(values, "limit"),
            remaining=_count(values, "remaining"),
            reset=_count(values, "reset"),
        )
    except _MalformedError:
        return ()
    return () if item == RateLimitItem(policy="") else (item,)
