"""How long a server asks its clients to wait: header or body text -> seconds, given the time.

Pure. The time is an argument, nothing is raised for any text, and the work is linear in the text's length. What cannot
be read is None: the caller then asks the next place, or falls back on its own schedule. A guess would be worse than
either, so the reading is strict.
"""

from __future__ import annotations

import re
from datetime import date
from math import isfinite
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from .ratelimit import SPACE as _SPACE
from .ratelimit import RateLimitItem, parse_ratelimit, parse_ratelimit_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._http import Headers

__all__ = [
    "FOREVER",
    "Kind",
    "Left",
    "RateLimitItem",
    "bucket_wait",
    "budget_left",
    "default_kind",
    "parse_http_date",
    "parse_ratelimit",
    "parse_ratelimit_policy",
    "server_now",
    "wait_from_lines",
    "wait_from_text",
    "wait_from_value",
]

Kind = Literal[
    "retry-after",
    "retry-after-or-epoch",
    "seconds",
    "milliseconds",
    "number",
    "epoch",
    "epoch-ms",
    "reset",
    "ratelimit",
]

# Seconds. A number too large to mean anything is still a number: RFC 9111 1.2.2 lets it count as 2**31. It is
# longer than any caller waits, so it ends the call; taken as absent, it would do the opposite, and retry soon.
FOREVER: Final = 2147483648.0

# No wait and no date has more digits than this. Longer digits are never converted, for int() is quadratic.
_MOST_DIGITS: Final = 18
_SATURATED: Final = 10**_MOST_DIGITS

# From here on (September 2001) a number that may be either is a date, and from there on one in milliseconds: 10**9
# seconds are 32 years of waiting, and 10**12 seconds are the year 33658.
_EPOCHS_FROM: Final = 10**9
_EPOCHS_MS_FROM: Final = 10**12


# --- Which reading ------------------------------------------------------------------------------------------

_DEFAULT_KINDS: Final[Mapping[str, Kind]] = {
    "retry-after": "retry-after",
    "ratelimit-reset": "seconds",
    "retry-after-ms": "milliseconds",
    "x-ratelimit-reset": "reset",
    "ratelimit": "ratelimit",
}


def default_kind(header_name: str) -> Kind:
    """Say how a header is read where the policy does not; letter case does not matter.

    Any name that has no reading of its own (a body pointer is one) is a "number".
    """
    return _DEFAULT_KINDS.get(header_name.lower(), "number")


# --- Text and JSON values to waits --------------------------------------------------------------------------


def wait_from_text(text: str, kind: Kind, now: float) -> float | None:
    """Read one header line, or one string of a body, as a wait.

    `now` is in epoch seconds. The wait is in seconds from then, at least 0 and at most FOREVER; None where the text
    does not say, or says it wrongly. Retry-After is read as RFC 9110 10.2.3 defines it.
    """
    text = text.strip(_SPACE)
    if kind == "ratelimit":
        return _wait_until_more(parse_ratelimit(text))
    number: float | None = _whole(text)
    if number is None:
        if kind in _DATED:
            at = parse_http_date(text, now)
            # RFC 9110 10.2.3 asks to wait until then; once it is over, there is nothing to wait for.
            return None if at is None else _delta(max(0.0, at - now), now)
        if kind in _FRACTIONAL:
            number = _duration(text) if kind == "number" else _decimal(text)
    return None if number is None else _MEANINGS[kind](number, now)


def wait_from_lines(lines: Sequence[str], kind: Kind, now: float) -> float | None:
    """Read all the lines of one header: the first that is valid wins.

    The lines of a RateLimit field are one list (RFC 9651 4.2) and are read together. Units as in `wait_from_text`.
    """
    if kind == "ratelimit":
        return wait_from_text(", ".join(lines), kind, now)
    for line in lines:
        wait = wait_from_text(line, kind, now)
        if wait is not None:
            return wait
    return None


def wait_from_value(value: object, kind: Kind, now: float) -> float | None:
    """Read a value out of a JSON body: a number as the text of that number would be, a string as text.

    JSON has one type of number, so 2.0 is a whole one. Anything else, true and NaN included, is None. Units as in
    `wait_from_text`.
    """
    if isinstance(value, str):
        return wait_from_text(value, kind, now)
    number = _finite(value)
    if number is None or number < 0 or kind == "ratelimit":
        return None
    if kind not in _FRACTIONAL and not number.is_integer():
        return None
    return _MEANINGS[kind](number, now)


def bucket_wait(need: object, have: object, rate: object) -> float | None:
    """Say how long a leaky bucket takes to hold enough: (need - have) / rate.

    `need` and `have` are in the API's units, `rate` in units per second. In seconds, at least 0 and at most FOREVER;
    None unless all three are finite numbers and the rate is above 0.
    """
    wanted, held, speed = _finite(need), _finite(have), _finite(rate)
    if wanted is None or held is None or speed is None or speed <= 0:
        return None
    return 0.0 if held >= wanted else min((wanted - held) / speed, FOREVER)


def server_now(date_lines: Sequence[str], now: float) -> float:
    """Say what time it is for the server: its response's own Date (RFC 9110 6.6.1), or `now` where it sent none.

    Both in epoch seconds. Points in time that the same response names are to be measured against this, so that a
    client whose clock is off still waits as long as it was meant to.
    """
    for line in date_lines:
        at = parse_http_date(line, now)
        if at is not None:
            return at
    return now


# --- What a number means ------------------------------------------------------------------------------------


def _delta(value: float, _now: float) -> float:
    return min(float(value), FOREVER)


def _delta_ms(value: float, _now: float) -> float:
    return min(value / 1000, FOREVER)


def _point(value: float, now: float) -> float | None:
    """Measure a point in time; one that has passed says nothing about when to come back."""
    left = value - now
    return min(left, FOREVER) if left >= 0 else None


def _point_ms(value: float, now: float) -> float | None:
    return _point(value / 1000, now)


def _delta_or_point(value: float, now: float) -> float | None:
    return _point(value, now) if value >= _EPOCHS_FROM else _delta(value, now)


def _reset(value: float, now: float) -> float | None:
    return _point_ms(value, now) if value >= _EPOCHS_MS_FROM else _delta_or_point(value, now)


_MEANINGS: Final[Mapping[Kind, Callable[[float, float], float | None]]] = {
    "retry-after": _delta,
    "retry-after-or-epoch": _delta_or_point,
    "seconds": _delta,
    "milliseconds": _delta_ms,
    "number": _delta,
    "epoch": _point,
    "epoch-ms": _point_ms,
    "reset": _reset,
}
_DATED: Final = frozenset[Kind]({"retry-after", "retry-after-or-epoch"})
_FRACTIONAL: Final = frozenset[Kind]({"milliseconds", "number", "reset"})


# --- Numbers ------------------------------------------------------------------------------------------------

# Digits on both sides of the point, as in JSON. Possessive, so that no text makes the matching start over.
_NUMBER: Final = r"[0-9]++(?:\.[0-9]++)?"
# "3.5s" of Google's RetryInfo (a protobuf Duration), and "6m0s" or "20ms" as Go prints them and OpenAI's headers say.
_DURATION: Final = re.compile(rf"(?:({_NUMBER})h)?(?:({_NUMBER})m)?(?:({_NUMBER})s)?(?:({_NUMBER})ms)?")
_UNITS: Final = (3600.0, 60.0, 1.0, 0.001)  # seconds


def _whole(text: str) -> int | None:
    # isdigit() alone would let the digits of other scripts through, and superscripts, at which int() raises.
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > _MOST_DIGITS:
        text = text.lstrip("0") or "0"
        if len(text) > _MOST_DIGITS:
            return _SATURATED
    return int(text)


def _decimal(text: str) -> float | None:
    whole, point, fraction = text.partition(".")
    units = _whole(whole)
    if units is None or not point:
        return units
    if not (fraction.isascii() and fraction.isdigit()):
        return None
    return float(f"{units}.{fraction}")


def _duration(text: str) -> float | None:
    plain = _decimal(text)
    if plain is not None:
        return plain
    parts = _DURATION.fullmatch(text)
    if parts is None or not text:
        return None
    return sum((_decimal(part) or 0.0) * unit for part, unit in zip(parts.groups("0"), _UNITS, strict=True))


def _finite(value: object) -> float | None:
    # bool is an int to Python, not to JSON. A large int is cut before float() sees it, at which it would overflow.
    match value:
        case bool():
            return None
        case int():
            return float(max(-_SATURATED, min(value, _SATURATED)))
        case float() if isfinite(value):
            return value + 0.0  # -0.0 becomes 0.0
        case _:
            return None


# --- HTTP dates ---------------------------------------------------------------------------------------------

# RFC 9110 5.6.7. Not email.utils, which takes any zone and half of a date; not strptime, which speaks the user's
# language. The names' letter case is the one thing left open: servers differ in it, and it cannot mislead.
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY: Final = rf"(?P<weekday>{'|'.join(_DAYS)})"
_LONG_DAY: Final = r"(?P<weekday>monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
_MONTH: Final = rf"(?P<month>{'|'.join(_MONTHS)})"
# The grammar's seconds go to 60, for a leap second; as everywhere in epoch time it is the second that follows.
_TIME: Final = r"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"
_DATE_FORMS: Final = tuple(
    re.compile(form, re.ASCII | re.IGNORECASE)
    for form in (
        rf"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",
        rf"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        rf"{_DAY} {_MONTH} (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)
_ASCTIME: Final = _DATE_FORMS[-1]
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_LAST_SECOND: Final = (date.max.toordinal() - _EPOCH_DAY + 1) * 86400 - 1.0


def parse_http_date(text: str, now: float) -> float | None:
    """Read an HTTP date in any of its three forms (RFC 9110 5.6.7), strictly but for the letter case.

    In epoch seconds, from 1970 on; None unless the day exists and is that weekday (in asctime's form, where the tables
    of others accept a wrong one, it is not compared). `now`, in epoch seconds, gives a
    two-digit year its century. Neither the process's time zone nor its locale matters.
    """
    text = text.strip(_SPACE)
    found = next((match for form in _DATE_FORMS if (match := form.fullmatch(text))), None)
    if found is None:
        return None
    month = _MONTHS.index(found["month"].lower()) + 1
    day = int(found["day"])
    clock = int(found["hour"]) * 3600 + int(found["minute"]) * 60 + int(found["second"])
    year = int(found["year"])
    if len(found["year"]) == 2:
        year = _full_year(year, (month, day, clock), now)
    try:
        when = date(year, month, day)
    except ValueError:
        return None
    if year < 1970 or (
        found.re is not _ASCTIME and when.weekday() != _DAYS.index(found["weekday"][:3].lower())
    ):
        return None
    return float((when.toordinal() - _EPOCH_DAY) * 86400 + clock)


def _full_year(two_digits: int, moment: tuple[int, int, int], now: float) -> int:
    """Find the latest year with these digits in which the moment is at most 50 years ahead (RFC 9110 5.6.7)."""
    days, clock = divmod(min(max(0.0, now), _LAST_SECOND), 86400)
    today = date.fromordinal(_EPOCH_DAY + int(days))
    latest = today.year + 50
    year = latest - (latest - two_digits) % 100
    if year == latest and moment > (today.month, today.day, clock):
        year -= 100
    return year


def _wait_until_more(items: Sequence[RateLimitItem]) -> float | None:
    """Take the longest wait of the policies that are used up, for each of them stands in the way.

    A server that never says what remains means its waits to be kept. One that has units left asks for no wait: then
    `t` is only when the window ends.
    """
    told = [item for item in items if item.remaining is not None]
    in_the_way = [item for item in told if item.remaining == 0] if told else items
    resets = [item.reset for item in in_the_way if item.reset is not None]
    return _delta(max(resets), 0.0) if resets else None


# --- What is left of a budget -------------------------------------------------------------------------------

_REMAINING: Final = ("RateLimit-Remaining", "X-RateLimit-Remaining")
_LIMIT: Final = ("RateLimit-Limit", "X-RateLimit-Limit")
_RESET: Final[Mapping[str, Kind]] = {"RateLimit-Reset": "seconds", "X-RateLimit-Reset": "reset"}


class Left(NamedTuple):
    """What a reply says of the budget that it was counted against; None where it does not say."""

    remaining: float | None  # units
    limit: float | None  # units in all
    reset_in: float | None  # seconds until there are more


def budget_left(headers: Headers, now: Callable[[], float]) -> Left | None:
    """Read what a reply's headers say of a budget: the RateLimit field, the three fields of its earlier drafts, or the X- ones.

    https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/. `now` tells the time in epoch seconds, where
    it matters. None where they say nothing of what is left, nor of how much there is.
    """
    for name, _ in headers.raw:
        if b"ratelimit" in name.lower():
            break
    else:
        return None
    items = parse_ratelimit(", ".join(headers.get_list("RateLimit"))) if "RateLimit" in headers else ()
    told = [item for item in items if item.remaining is not None]
    if told:
        least = min(told, key=lambda item: item.remaining or 0)
        return Left(least.remaining, least.quota, least.reset)
    remaining, limit = _first_number(headers, _REMAINING), _first_number(headers, _LIMIT)
    if remaining is None and limit is None:
        return None
    at = server_now(headers.get_list("Date"), now())
    resets = (
        wait_from_lines(headers.get_list(name), kind, at) for name, kind in _RESET.items() if name in headers
    )
    return Left(remaining, limit, next((reset for reset in resets if reset is not None), None))


def _first_number(headers: Headers, names: Sequence[str]) -> float | None:
    for name in names:
        # Earlier drafts let the limit be followed by the windows that it is made of.
        text = headers.get(name, "").partition(",")[0].partition(";")[0].strip(_SPACE)
        number = _whole(text)
        if number is not None:
            return float(number)
    return None
