"""Which rule can be the first to match: found without trying, and compared with trying everything."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_client import Policy
from resilient_client._flow.classify import classify
from resilient_client._reach import Replies


def policy_of(*whens: Any, **tables: Any) -> Policy:
    """Make a policy of rules that ask for these, named R0, R1 and so on."""
    rules = [{"name": f"R{number}", "when": when} for number, when in enumerate(whens)]
    return Policy.model_validate({"api": "made", "envelope": {"code": "/code"}, **tables, "rules": rules})


def reachable(policy: Policy, *request: str) -> list[str | None]:
    """Name the rules that can be the first to match."""
    replies = Replies(policy.rulebook, (request[0], request[1]) if request else None)
    return [None if rule is None else rule.name for rule in replies.rules()]


# Everything that the rules below can tell apart, and something of each kind that none of them names.
STATUSES = (400, 404, 500, 504)
CODES = (None, 1, 2, 3)
VALUES = (None, "a", "b")
SEGMENTS = ("x", "y", "z")
PATHS = ["/" + "/".join(way) for size in range(4) for way in itertools.product(SEGMENTS, repeat=size)]
METHODS = ("GET", "POST", "PUT")
HEADERS = [
    httpx.Headers({name: value for name, value in zip("AB", pair, strict=True) if value is not None})
    for pair in itertools.product(VALUES, VALUES)
]
BODIES = [json.dumps({"code": code}).encode() for code in CODES]

WHENS = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from([400, 500, "5xx", [400, 500]]),
        "code": st.sampled_from([1, 2, [1, 2]]),
        "headers": st.dictionaries(
            st.sampled_from(["A", "B"]), st.sampled_from([True, False, "a"]), max_size=2
        ),
    },
)
ROUTES = st.lists(
    st.sampled_from(
        [
            "GET /x",
            "POST /x",
            "* /x",
            "GET /{any}",
            "* /x/{any}",
            "GET /{any}/x",
            "GET /x/**",
            "* **",
            "POST **",
        ]
    ),
    min_size=1,
    max_size=2,
)


@settings(derandomize=True, deadline=None, max_examples=120)
@given(whens=st.lists(WHENS, min_size=1, max_size=6))
def test_what_is_reachable_by_status_code_and_headers_is_what_some_reply_reaches(whens: list[Any]) -> None:
    """Neither more nor less, whatever the rules and their order."""
    policy = policy_of(*whens)
    tried = set()
    for status, headers, body in itertools.product(STATUSES, HEADERS, BODIES):
        rule = classify(policy.rulebook, status, headers, body, now=None).rule
        tried.add(rule.name if rule else None)

    assert set(reachable(policy)) == tried


@settings(derandomize=True, deadline=None, max_examples=60)
@given(routes=st.lists(ROUTES, min_size=1, max_size=4))
def test_what_is_reachable_by_route_is_what_some_request_reaches(routes: list[list[str]]) -> None:
    """Of any method and on any path, however long."""
    policy = policy_of(*({"status": 500, "route": route} for route in routes))
    plain = httpx.Headers()
    tried = set()
    for method, path in itertools.product(METHODS, PATHS):
        rule = classify(policy.rulebook, 500, plain, None, method=method, path=path, now=None).rule
        tried.add(rule.name if rule else None)
        assert reachable(policy, method, path) == [*([rule.name] if rule else []), None]

    assert {*reachable(policy)} - {None} == tried - {None}


@pytest.mark.parametrize(
    ("whens", "tables", "found"),
    [
        (
            [{"body": {"/ok": False}}, {"body": {"/ok": True}}, {"body": {"/ok": False, "/n": 1}}],
            {},
            ["R0", "R1", None],
        ),
        ([{"body": {"/ok": 1}}, {"body": {"/ok": True}}], {}, ["R0", "R1", None]),
        ([{"body": {"/e/*/c": "a"}}, {"body": {"/e/*/c": "b"}}], {}, ["R0", "R1", None]),
        ([{"body": {"/e": ["a"]}}, {"body": {"/e": ["a"]}}], {}, ["R0", None]),
        ([{"headers": {"X": True}}, {"headers": {"x": False}}, {"status": 500}], {}, ["R0", "R1"]),
        ([{"headers": {"X": True, "x": False}}], {}, [None]),
        (
            [{"headers": {"X": x, "Y": y}} for x in (True, False) for y in (True, False)],
            {},
            ["R0", "R1", "R2", "R3"],
        ),
        ([{"code": 1}, {"status": 500}], {"envelope": {}}, ["R1", None]),
        ([{"code": []}, {"status": []}], {}, ["R1"]),
        ([[], {"route": []}], {}, [None]),
        ([{"status": "2xx"}, {"code": 1}, {}], {}, ["R0", "R1", "R2"]),
        ([[{"status": 500}, {"code": 1}], {"status": 500, "code": 1}], {}, ["R0", None]),
    ],
    ids=[
        "a value, another, and more",
        "one is not true",
        "a star finds several",
        "a list is a value",
        "there or not there",
        "there and not there",
        "all four ways",
        "no place for a code",
        "no code and any status",
        "no table and no route",
        "everything",
        "two tables",
    ],
)
def test_what_else_a_rule_may_ask_for(
    whens: list[Any], tables: dict[str, Any], found: list[str | None]
) -> None:
    """Bodies, what cannot be, and the lists that are empty."""
    assert reachable(policy_of(*whens, **tables)) == found


def test_many_rules_that_tell_replies_apart_by_one_header_are_no_trouble() -> None:
    """Each is reachable, and so is what has another value."""
    policy = policy_of(*({"headers": {"X-Kind": str(number)}} for number in range(2_000)))
    replies = Replies(policy.rulebook, ("GET", "/"))

    assert replies.wins(replies.asked[-1], None, 500)
