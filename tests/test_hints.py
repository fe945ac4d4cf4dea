"""Waits are read out of headers and bodies strictly, and no text is too odd or too long to be read.

Tables from other projects are in `tests/vectors`, each with its source and with what is read differently here.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resilient_client import hints
from resilient_client.hints import (
    FOREVER,
    Kind,
    bucket_wait,
    default_kind,
    parse_http_date,
    server_now,
    wait_from_lines,
    wait_from_text,
    wait_from_value,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

VECTORS = Path(__file__).parent / "vectors"
NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z, a Tuesday
KINDS: tuple[Kind, ...] = get_args(Kind)
DATED: tuple[Kind, ...] = ("retry-after", "retry-after-or-epoch")
WHOLE: tuple[Kind, ...] = (*DATED, "seconds", "epoch", "epoch-ms")

repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=100)


def rows(name: str) -> list[Any]:
    """Give each row of a table as a test's parameters: its table and itself, named by what is read."""
    tables = json.loads((VECTORS / name).read_text("utf-8"))["tables"]
    return [
        pytest.param(table, row, id=f"{table['source'].split()[0]}-{row.get('text', row.get('lines'))}")
        for table in tables
        for row in table["rows"]
    ]


def is_a_wait(wait: object) -> bool:
    return wait is None or (isinstance(wait, float) and 0.0 <= wait <= FOREVER)


# --- Tables of other projects ---


@pytest.mark.parametrize(("table", "row"), rows("http_date.json"))
def test_a_date_is_read_as_the_table_says(table: Any, row: Any) -> None:
    assert row["epoch"] == parse_http_date(row["text"], table["now"])


@pytest.mark.parametrize(("table", "row"), rows("retry_after.json"))
def test_a_wait_is_read_as_the_table_says(table: Any, row: Any) -> None:
    kind = row.get("kind", table["kind"])
    assert row["wait"] == wait_from_lines(row["lines"], kind, table["now"])


@pytest.mark.parametrize(("table", "row"), [*rows("http_date.json"), *rows("retry_after.json")])
def test_a_row_that_is_read_differently_says_why(table: Any, row: Any) -> None:
    assert "why" in row or "theirs" not in row
    assert row.get("theirs", "as here") != row.get("wait", row.get("epoch"))


# --- Which reading ---


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Retry-After", "retry-after"),
        ("RateLimit-Reset", "seconds"),
        ("retry-after-ms", "milliseconds"),
        ("X-RateLimit-Reset", "reset"),
        ("RateLimit", "ratelimit"),
        ("X-RateLimit-Reset-After", "number"),
        ("/error/retryAfter", "number"),
        ("", "number"),
    ],
)
@pytest.mark.parametrize("spell", [str, str.lower, str.upper])
def test_a_header_is_read_by_its_name_in_any_case(name: str, kind: Kind, spell: Any) -> None:
    assert kind == default_kind(spell(name))


def test_every_kind_has_a_reading_or_is_the_ratelimit_field() -> None:
    assert {*KINDS} == {*hints._MEANINGS, "ratelimit"}


# --- One text, every kind ---

PAST, SOON = "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:30 GMT"


@pytest.mark.parametrize(
    ("kind", "text", "wait"),
    [
        ("retry-after", "7", 7.0),
        ("retry-after", "007", 7.0),
        ("retry-after", SOON, 10.0),
        ("retry-after", PAST, 0.0),
        ("retry-after", "1700000010", 1_700_000_010.0),
        ("retry-after", "2147483649", FOREVER),
        ("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT", FOREVER),
        ("retry-after", "1.5", None),
        ("retry-after", "7s", None),
        ("retry-after", "7, 8", None),
        ("retry-after", "1_0", None),
        ("retry-after", "7\n", None),
        ("retry-after", "\xa07", None),
        ("retry-after", "\u0667", None),
        ("retry-after-or-epoch", "7", 7.0),
        ("retry-after-or-epoch", "999999999", 999_999_999.0),
        ("retry-after-or-epoch", "1700000010", 10.0),
        ("retry-after-or-epoch", "1700000000", 0.0),
        ("retry-after-or-epoch", "1699999999", None),
        ("retry-after-or-epoch", "1000000000", None),
        ("retry-after-or-epoch", "999999999999", FOREVER),
        ("retry-after-or-epoch", "1000000000000", FOREVER),
        ("retry-after-or-epoch", SOON, 10.0),
        ("retry-after-or-epoch", PAST, 0.0),
        ("seconds", "7", 7.0),
        ("seconds", " 7\t", 7.0),
        ("seconds", "7.0", None),
        ("seconds", SOON, None),
        ("milliseconds", "1500", 1.5),
        ("milliseconds", "0.5", 0.0005),
        ("milliseconds", "1500ms", None),
        ("milliseconds", "-1", None),
        ("milliseconds", "2147483648001", FOREVER),
        ("number", "7", 7.0),
        ("number", "0.65", 0.65),
        ("number", "3.5s", 3.5),
        ("number", "0s", 0.0),
        ("number", "20ms", 0.02),
        ("number", "2m", 120.0),
        ("number", "1.5h", 5400.0),
        ("number", "6m0s", 360.0),
        ("number", "1h2m3.5s", 3723.5),
        ("number", "1s500ms", 1.5),
        ("number", "3s2m", None),
        ("number", "1s1s", None),
        ("number", "3 s", None),
        ("number", "s", None),
        ("number", "3.5S", None),
        ("number", "-3.5s", None),
        ("number", "+1", None),
        ("number", "1.", None),
        ("number", ".5", None),
        ("number", "1.5.5", None),
        ("number", "1,5", None),
        ("number", "1e3", None),
        ("number", "0x10", None),
        ("number", "1_0.5", None),
        ("number", "inf", None),
        ("number", "nan", None),
        ("number", "\u0661.\u0665", None),
        ("number", "1.\u0665", None),
        ("number", "1.²", None),
        ("number", SOON, None),
        ("number", "9999999h", FOREVER),
        ("epoch", "1700000010", 10.0),
        ("epoch", "1700000000", 0.0),
        ("epoch", "1699999999", None),
        ("epoch", "7", None),
        ("epoch", "1700000010.5", None),
        ("epoch", SOON, None),
        ("epoch-ms", "1700000010500", 10.5),
        ("epoch-ms", "1700000000000", 0.0),
        ("epoch-ms", "1699999999999", None),
        ("epoch-ms", "1700000010", None),
        ("reset", "7", 7.0),
        ("reset", "2.5", 2.5),
        ("reset", "999999999", 999_999_999.0),
        ("reset", "1000000000", None),
        ("reset", "1700000010", 10.0),
        ("reset", "1700000010.25", 10.25),
        ("reset", "1699999999", None),
        ("reset", "1700000010500", 10.5),
        ("reset", "1000000000000", None),
        ("reset", SOON, None),
        ("reset", "-1", None),
    ],
)
def test_a_text_is_read_by_its_kind(kind: Kind, text: str, wait: float | None) -> None:
    assert wait == wait_from_text(text, kind, NOW)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", ["", " ", "-1", "+1", "-0", "--", "²", "NaN", "inf", "Infinity", "null", "1 2", "\x00"]
)
def test_what_is_no_wait_in_any_kind_is_absent(kind: Kind, text: str) -> None:
    assert wait_from_text(text, kind, NOW) is None


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "ratelimit"])
@pytest.mark.parametrize("digits", [17, 18, 19, 20, 400, 5000, 1_000_000])
def test_an_absurd_number_is_a_wait_without_end_and_not_an_absent_one(kind: Kind, digits: int) -> None:
    """5000 digits are more than int() accepts; a million would take it minutes where it does."""
    assert wait_from_text("9" * digits, kind, NOW) == FOREVER


def test_an_absurd_number_with_a_fraction_or_a_unit_is_one_too() -> None:
    many = "9" * 1_000_000
    texts: list[tuple[str, Kind]] = [
        (f"{many}.{many}", "number"),
        (f"{many}s", "number"),
        (f"{many}.5", "milliseconds"),
        (f"{many}.5", "reset"),
    ]
    for text, kind in texts:
        assert wait_from_text(text, kind, NOW) == FOREVER


def test_leading_zeros_and_long_fractions_do_not_make_a_number_absurd() -> None:
    zeros = "0" * 1_000_000
    assert wait_from_text(f"{zeros}5", "retry-after", NOW) == 5.0
    assert wait_from_text(zeros, "retry-after", NOW) == 0.0
    assert wait_from_text(f"1.5{zeros}1", "number", NOW) == 1.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", ["", '"a"', 'a;x=%"', "Tue, 14 Nov "])
def test_a_long_hostile_text_is_read_in_one_pass(kind: Kind, start: str) -> None:
    """Reading that starts over at every character would take minutes where this takes milliseconds."""
    units = [
        "9h",
        "1.",
        "9",
        " ",
        "\t",
        '"',
        "\\",
        '"a",',
        '"a";',
        "a, ",
        ";r=0",
        "a;r=0,",
        '"\\"',
        "%aa",
        "=",
    ]
    began = time.process_time()
    for unit in units:
        assert is_a_wait(wait_from_text(start + unit * (100_000 // len(unit)) + "x", kind, NOW))
    assert time.process_time() - began < 10  # seconds, for slow machines


# --- Any text, any value ---

hostile = st.one_of(
    st.text(max_size=60),
    st.text(alphabet='0123456789.,;=: "\\\tehmsrtqGMTNovTue-+_²\u0667', max_size=40),
    st.from_regex(r"[0-9]{1,25}(\.[0-9]{1,25})?(ms|[smh])?", fullmatch=True),
    st.from_regex(r'"[a-z]*";[rtqw]=-?[0-9]{1,16}(;[rtqw]=[0-9]{1,16})?', fullmatch=True),
    st.from_regex(
        r"(Mon|Sun|Tue|Fri), [0-3][0-9] (Jan|Feb|Nov|Dec) [0-9]{4} [0-2][0-9]:[0-6][0-9]:[0-6][0-9] GMT",
        fullmatch=True,
    ),
    st.from_regex(
        r"(Monday|Sunday|Tuesday), [0-3][0-9]-(Jan|Feb|Dec)-[0-9]{2} [0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT",
        fullmatch=True,
    ),
)
times = st.floats(min_value=-1e15, max_value=1e15)


@pytest.mark.parametrize("kind", KINDS)
@repeatable
@given(text=hostile, now=times)
@example(text="\u0663", now=NOW)
@example(text="\ud800", now=NOW)
@example(text="Saturday, 01-Jan-00 00:00:00 GMT", now=1e15)
@example(text="Saturday, 01-Jan-00 00:00:00 GMT", now=-1e15)
@example(text="Saturday, 01-Jan-00 00:00:00 GMT", now=253402300799.5)
def test_no_text_raises_or_gives_anything_but_a_bounded_wait(kind: Kind, text: str, now: float) -> None:
    assert is_a_wait(wait_from_text(text, kind, now))
    assert is_a_wait(wait_from_lines([text, text], kind, now))
    assert math.isfinite(server_now([text], now))


@pytest.mark.parametrize("kind", KINDS)
@repeatable
@given(
    value=st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.binary(), st.lists(st.integers()), hostile
    )
)
@example(value=10**1000)
@example(value=-(10**1000))
@example(value=5e-324)
@example(value=1.7976931348623157e308)
def test_no_value_raises_or_gives_anything_but_a_bounded_wait(kind: Kind, value: object) -> None:
    assert is_a_wait(wait_from_value(value, kind, NOW))


@pytest.mark.parametrize("kind", KINDS)
@repeatable
@given(seconds=st.integers(min_value=0, max_value=10**20))
def test_an_integer_is_read_as_its_text_is(kind: Kind, seconds: int) -> None:
    assert wait_from_value(seconds, kind, NOW) == wait_from_text(str(seconds), kind, NOW)


numbers = st.one_of(
    st.integers(), st.floats(), st.sampled_from([10**1000, -(10**1000), 5e-324, 1.7e308, -1.7e308])
)


@repeatable
@given(need=numbers, have=numbers, rate=numbers)
def test_no_bucket_raises_or_gives_anything_but_a_bounded_wait(need: float, have: float, rate: float) -> None:
    assert is_a_wait(bucket_wait(need, have, rate))


# --- JSON values ---


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_float_is_a_whole_number_and_a_fraction_is_not(kind: Kind) -> None:
    soon = {"epoch": 1_700_000_010, "epoch-ms": 1_700_000_010_000}.get(kind, 10)
    assert wait_from_value(float(soon), kind, NOW) == 10.0
    assert wait_from_value(soon + 0.5, kind, NOW) is None


@pytest.mark.parametrize(
    ("value", "kind", "wait"),
    [
        (0.65, "number", 0.65),
        (1500.5, "milliseconds", 1.5005),
        (1_700_000_010.25, "reset", 10.25),
        (-0.0, "number", 0.0),
        ("3.5s", "number", 3.5),
        (" 7 ", "seconds", 7.0),
        ('"a";r=0;t=5', "ratelimit", 5.0),
        (1.7e308, "number", FOREVER),
        (10**1000, "epoch", FOREVER),
    ],
)
def test_a_json_value_is_read_by_its_kind(value: object, kind: Kind, wait: float) -> None:
    assert wait == wait_from_value(value, kind, NOW)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "value",
    [True, False, None, -1, -0.5, -(10**1000), math.nan, math.inf, -math.inf, [], [7], {"seconds": 7}, b"7"],
)
def test_a_value_that_is_no_amount_of_time_is_absent(kind: Kind, value: object) -> None:
    assert wait_from_value(value, kind, NOW) is None


def test_minus_zero_does_not_leak_out() -> None:
    wait = wait_from_value(-0.0, "number", NOW)
    assert wait is not None
    assert math.copysign(1.0, wait) == 1.0


# --- Several lines ---


@pytest.mark.parametrize(
    ("lines", "wait"),
    [
        ([], None),
        ([""], None),
        (["x", "3"], 3.0),
        (["-1", "", "3", "2"], 3.0),
        (["0", "9"], 0.0),
        ([PAST, "9"], 0.0),
    ],
)
def test_the_first_line_that_is_valid_wins(lines: list[str], wait: float | None) -> None:
    assert wait == wait_from_lines(lines, "retry-after", NOW)


def test_a_point_in_time_that_has_passed_gives_way_to_the_next_line() -> None:
    assert wait_from_lines(["1699999999", "1700000003"], "epoch", NOW) == 3.0


# --- Leaky buckets ---


@pytest.mark.parametrize(
    ("need", "have", "rate", "wait"),
    [
        (500, 100, 50, 8.0),
        (1, 0.5, 0.25, 2.0),
        (100, 100, 50, 0.0),
        (1, 5, 50, 0.0),
        (1, 0, 1e-300, FOREVER),
        (1.7e308, -1.7e308, 1e-300, FOREVER),
        (10**1000, 0, 1, FOREVER),
        (500, 100, 0, None),
        (500, 100, -50, None),
        (100, 500, 0, None),
        (None, 100, 50, None),
        ("500", 100, 50, None),
        (500, True, 50, None),
        (500, 100, math.nan, None),
        (500, 100, math.inf, None),
        (math.inf, 100, 50, None),
    ],
)
def test_a_bucket_is_waited_for_until_it_holds_enough(
    need: object, have: object, rate: object, wait: float | None
) -> None:
    assert wait == bucket_wait(need, have, rate)


# --- Dates ---


def at(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc] # mypy counts tzinfo among the parts


@pytest.mark.parametrize(
    ("now", "text", "then"),
    [
        # 31 years back, for the other reading is 69 years ahead.
        (at(2025, 6, 1), "Sunday, 06-Nov-94 08:49:37 GMT", at(1994, 11, 6, 8, 49, 37)),
        # The next century, seen from the end of this one.
        (at(1999, 12, 31), "Saturday, 01-Jan-05 00:00:00 GMT", at(2005, 1, 1)),
        # Exactly 50 years ahead is not more than 50; one second later is, and 1973 is what it then means.
        (at(2023, 11, 14, 22, 13, 20), "Tuesday, 14-Nov-73 22:13:20 GMT", at(2073, 11, 14, 22, 13, 20)),
        (at(2023, 11, 14, 22, 13, 20), "Wednesday, 14-Nov-73 22:13:21 GMT", at(1973, 11, 14, 22, 13, 21)),
        # The weekday does not choose the century: a date that needs it to is a wrong one.
        (at(2023, 11, 14, 22, 13, 20), "Tuesday, 14-Nov-73 22:13:21 GMT", None),
        (at(2023, 11, 14, 22, 13, 20), "Wednesday, 14-Nov-73 22:13:20 GMT", None),
        # Before 1970 there is no epoch to count from.
        (at(1970, 1, 1), "Wednesday, 31-Dec-69 23:59:59 GMT", None),
    ],
)
def test_a_two_digit_year_is_at_most_fifty_years_ahead(now: float, text: str, then: float | None) -> None:
    assert then == parse_http_date(text, now)


DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def all_three_forms(when: datetime) -> tuple[str, str, str]:
    """Write a date by hand, for strftime asks the locale."""
    day, month, clock = DAYS[when.weekday()], MONTHS[when.month - 1], f"{when:%H:%M:%S}"
    return (
        f"{day[:3]}, {when.day:02} {month} {when.year} {clock} GMT",
        f"{day}, {when.day:02}-{month}-{when.year % 100:02} {clock} GMT",
        f"{day[:3]} {month} {when.day:2} {clock} {when.year}",
    )


@repeatable
@given(
    seconds=st.integers(min_value=0, max_value=int(at(9900, 1, 1))),
    ago=st.integers(min_value=-49 * 365 * 86400, max_value=49 * 365 * 86400),
)
def test_what_is_written_is_read_back_in_all_three_forms(seconds: int, ago: int) -> None:
    """A two-digit year is read right from up to 49 years before or after."""
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    for text in all_three_forms(when):
        assert parse_http_date(text, max(0.0, seconds + ago)) == float(seconds)


@pytest.fixture
def time_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Move the whole process to another time zone for one test."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(
    not hasattr(time, "tzset"), reason="this platform cannot change its time zone while it runs"
)
@pytest.mark.parametrize(
    "time_zone",
    ["UTC", "XYZ-14", "XYZ12", "EST5EDT,M3.2.0,M11.1.0", "Asia/Jerusalem", "Nonsense/Nowhere"],
    indirect=True,
)
@pytest.mark.usefixtures("time_zone")
def test_the_time_zone_of_the_process_does_not_matter() -> None:
    dates = {
        "Sun, 06 Nov 1994 08:49:37 GMT": 784111777.0,
        "Sunday, 06-Nov-94 08:49:37 GMT": 784111777.0,
        "Sun Nov  6 08:49:37 1994": 784111777.0,
        "Sun, 10 Mar 2024 02:30:00 GMT": 1710037800.0,  # an hour that New York's clocks leave out
    }
    assert dates == {text: parse_http_date(text, NOW) for text in dates}
    assert wait_from_text(SOON, "retry-after", NOW) == 10.0


@pytest.mark.parametrize("second", range(62))
def test_seconds_go_to_sixty(second: int) -> None:
    read = parse_http_date(f"Sun, 06 Nov 1994 08:49:{second:02} GMT", NOW)
    assert read == (784111740.0 + second if second <= 60 else None)


# --- The server's time ---


@pytest.mark.parametrize(
    ("lines", "then"),
    [
        ([], NOW),
        (["nonsense"], NOW),
        (["1700000005"], NOW),
        ([SOON], NOW + 10),
        ([PAST], NOW - 1),
        (["nonsense", SOON, PAST], NOW + 10),
        (["Sunday, 06-Nov-94 08:49:37 GMT"], 784111777.0),
    ],
)
def test_the_servers_time_is_its_date_header_or_else_ours(lines: list[str], then: float) -> None:
    assert then == server_now(lines, NOW)


def test_a_clock_that_is_off_does_not_change_what_a_date_asks_for() -> None:
    """The reply's own Date says 5 seconds, though by the client's clock the moment is long past."""
    ours = at(2019, 8, 5, 11, 0, 0)
    served = server_now(["Mon, 05 Aug 2019 09:27:00 GMT"], ours)
    assert wait_from_text("Mon, 05 Aug 2019 09:27:05 GMT", "retry-after", served) == 5.0
    assert wait_from_text("Mon, 05 Aug 2019 09:27:05 GMT", "retry-after", ours) == 0.0


# --- The module itself ---


def test_reading_hints_needs_nothing_but_the_standard_library() -> None:
    code = (
        "import sys, types; package = types.ModuleType('resilient_client'); package.__path__ = [sys.argv[1]];"
        "sys.modules['resilient_client'] = package; import resilient_client.hints;"
        "print(*sorted({'httpx', 'pydantic', 'tenacity', 'email', 'locale', 'calendar'} & {*sys.modules}))"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(Path(hints.__file__).parent)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "\n"
