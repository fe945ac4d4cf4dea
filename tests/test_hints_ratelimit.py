"""RateLimit and RateLimit-Policy are read as the IETF draft and RFC 9651 have it; a malformed field says nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_client.hints import (
    FOREVER,
    RateLimitItem,
    parse_ratelimit,
    parse_ratelimit_policy,
    wait_from_lines,
    wait_from_text,
)

VECTORS = Path(__file__).parent / "vectors"
NOW = 1_700_000_000.0
READERS = {"RateLimit": parse_ratelimit, "RateLimit-Policy": parse_ratelimit_policy}

repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=200)


def tables(name: str) -> list[Any]:
    found: list[Any] = json.loads((VECTORS / name).read_text("utf-8"))["tables"]
    return found


FIELDS = [
    pytest.param(table["field"], row, id=f"{table['field']}-{row['text']}")
    for table in tables("ratelimit.json")
    for row in table["rows"]
]
LISTS = [
    pytest.param(row, id=f"{row['lines']}")
    for table in tables("structured_list.json")
    for row in table["rows"]
]


@pytest.mark.parametrize(("field", "row"), FIELDS)
def test_a_field_says_what_the_table_says(field: str, row: Any) -> None:
    assert tuple(RateLimitItem(**item) for item in row["items"]) == READERS[field](row["text"])


@pytest.mark.parametrize(("field", "row"), FIELDS)
def test_a_field_asks_for_the_wait_that_the_table_says(field: str, row: Any) -> None:
    if field == "RateLimit":
        assert row["wait"] == wait_from_text(row["text"], "ratelimit", NOW)


@pytest.mark.parametrize("field", READERS)
@pytest.mark.parametrize("row", LISTS)
def test_a_list_parses_where_rfc_9651_lets_it(field: str, row: Any) -> None:
    read = READERS[field](", ".join(row["lines"]))
    assert (row["policies"] or []) == [item.policy for item in read]


@pytest.mark.parametrize("row", LISTS)
def test_the_lines_of_a_field_are_one_list(row: Any) -> None:
    """A last line that asks for 5 seconds is heard if the whole list parses, and not on its own."""
    lines = [line for line in row["lines"] if line or row["policies"] is None]
    wait = wait_from_lines([*lines, "last;r=0;t=5"], "ratelimit", NOW)
    assert wait == (None if row["policies"] is None else 5.0)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ('"a";r=0;t=5, "b";r=0;t=60', 60.0),
        ('"a";r=0;t=60, "b";r=0;t=5', 60.0),
        ('"a";r=0;t=5, "b";r=3;t=60', 5.0),
        ('"a";r=2;t=5, "b";r=3;t=60', None),
        ('"a";t=5, "b";t=60', 60.0),
        ('"a";t=60, "b";r=0;t=5', 5.0),
        ('"a";t=60, "b";r=3;t=5', None),
        ('"a";r=0', None),
        ('"a";r=0, "b";r=0;t=5', 5.0),
        ('"a";r=0;t=0', 0.0),
        ('"a"', None),
        ('"a";r=0;t=999999999999999', FOREVER),
        ('"a";r=0;t=1000000000000000', None),
        ('"a";r=3;r=0;t=60;t=5', 5.0),
        ('"a";r=0;t=5;t', None),
        ('"a";r=0;t=?1', None),
        ('"a";r=0;t=5.0', None),
        ('"a";r=0;t=5, "b";r=x', None),
        ('"a";r=0;t=5;q=?1', None),
        ('"a";r=0;t=5;pk=:YQ==:;x="r=9, ;t=9";y=?0;z=@1;v', 5.0),
        ("limit=10, remaining=0, reset=10, policy=x", 10.0),
        ("remaining=0,reset=10;x=1", 10.0),
        ("limit=10, remaining=0", None),
        ("limit=10, remaining=-1, reset=10", None),
        ("limit=10, remaining=0, reset=10s", None),
        ("limit=10, remaining=0, reset=abc", None),
        ("limit=10, remaining=0, reset=10,", None),
        ("limit=10; remaining=0; reset=10", None),
        ("Limit=10, remaining=0, reset=10", None),
        ("0;w=1", None),
        ("10", None),
    ],
)
def test_the_policies_that_are_used_up_are_waited_for(text: str, wait: float | None) -> None:
    assert wait == wait_from_text(text, "ratelimit", NOW)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("x=1, y=2", ()),
        ("limit=10", (RateLimitItem("", quota=10),)),
        (
            'limit=100, remaining=50, reset=5, policy="a"',
            (RateLimitItem("", quota=100, remaining=50, reset=5),),
        ),
        ('10;w=1, "named";q=5', ()),
    ],
)
def test_the_form_of_draft_07_has_no_names_and_is_not_mixed(
    text: str, items: tuple[RateLimitItem, ...]
) -> None:
    assert items == parse_ratelimit(text)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ('100;w=60;burst=1000;comment="sliding window"', (RateLimitItem("", quota=100, window=60),)),
        ('10;w=1, "named";q=5', (RateLimitItem("", quota=10, window=1), RateLimitItem("named", quota=5))),
        ("-10;w=1", ()),
        ("10.5;w=1", ()),
        ('"a";q=100;w=-60', ()),
        ('"a";q=100;w="60"', ()),
        ("limit=10", ()),
    ],
)
def test_a_policy_is_named_or_is_a_quota(text: str, items: tuple[RateLimitItem, ...]) -> None:
    assert items == parse_ratelimit_policy(text)


def test_an_item_cannot_be_changed() -> None:
    item = RateLimitItem("a")
    with pytest.raises(AttributeError):
        item.policy = "b"  # type: ignore[misc] # the error that is being tested
    assert not hasattr(item, "__dict__")


counts = st.none() | st.integers(min_value=0, max_value=10**15 - 1)
items_strategy = st.builds(
    RateLimitItem,
    st.text(alphabet=[chr(code) for code in range(0x20, 0x7F)], max_size=12),
    counts,
    counts,
    counts,
    counts,
)


def written(item: RateLimitItem) -> str:
    name = item.policy.replace("\\", "\\\\").replace('"', '\\"')
    values = {"q": item.quota, "r": item.remaining, "t": item.reset, "w": item.window}
    return f'"{name}"' + "".join(f";{key}={value}" for key, value in values.items() if value is not None)


@repeatable
@given(st.lists(items_strategy, max_size=5))
def test_what_is_written_is_read_back(items: list[RateLimitItem]) -> None:
    text = ", ".join(written(item) for item in items)
    assert tuple(items) == parse_ratelimit(text)
    assert tuple(items) == parse_ratelimit_policy(text)


@repeatable
@given(st.text() | st.text(alphabet='ab"\\;=,rtqw019-.:?@%* \t', max_size=30))
def test_no_text_raises(text: str) -> None:
    for item in (*parse_ratelimit(text), *parse_ratelimit_policy(text)):
        given_counts = [item.quota, item.remaining, item.reset, item.window]
        assert all(count is None or 0 <= count < 10**15 for count in given_counts)
