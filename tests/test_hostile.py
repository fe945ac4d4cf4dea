"""Whatever a server says, nothing but httpx's own exceptions comes of it, and nobody waits longer than the policy bears."""

from __future__ import annotations

import json
import time
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resilient_client import (
    ApiError,
    AsyncResilientTransport,
    Policy,
    ResilientTransport,
    load_policy,
    outcome_of,
    policy_names,
    raise_for_status,
)
from resilient_client.testing import VirtualClock

URL = "https://api.test/things"
MOST = 300 * 1.2 + 0.25  # seconds: the longest wait of the shipped policies, and its jitter

EVERYTHING = Policy.model_validate(
    {
        "api": "everything",
        "envelope": {
            "code": ["/code", "/error/code", "/errors/*/code"],
            "message": ["/message", "/error", "/errors/*"],
            "field": ["/field", "/error/*/field"],
            "details": ["/details", "/errors"],
            "request_id": ["/id", "/error/id"],
            "request_id_header": ["X-Id"],
        },
        "should_retry": "x-should-retry",
        "rules": [
            {"name": "ONE", "when": {"code": 1}, "retry": {"retries": 2, "wait": 1, "unsafe": True}},
            {"name": "TEXT", "when": {"code": "1"}, "retry": {"schedule": [1, 2], "unsafe": True}},
            {
                "name": "TRUE",
                "when": {"status": 200, "body": {"/ok": False}},
                "retry": {"retries": 1, "unsafe": True},
            },
            {
                "name": "HINTED",
                "when": {"status": ["4xx", "5xx"], "headers": {"X-Hint": True}},
                "retry": {
                    "retries": 2,
                    "unsafe": True,
                    "after": [
                        "Retry-After",
                        "retry-after-ms",
                        "RateLimit",
                        {"header": "X-Reset", "as": "reset"},
                        {"header": "X-Epoch-Ms", "as": "epoch-ms"},
                        "/retry_after",
                        {"body": "/details/*/retryDelay", "as": "number"},
                        {"need": "/need", "have": "/have", "rate": "/rate"},
                    ],
                },
            },
            {"name": "ANY", "when": {"status": "5xx"}, "retry": {"retries": 1, "unsafe": True}},
        ],
    }
)

POLICIES: list[Any] = [EVERYTHING, *policy_names()]


def attack(policy: Any, status: int, headers: Any, body: bytes, method: str = "GET") -> httpx.Response:
    """Let a server say the same each time; check what must hold whatever it says."""
    clock = VirtualClock()
    sent = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal sent
        sent += 1
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))

    transport = ResilientTransport(policy, httpx.MockTransport(answer), clock=clock)
    request = httpx.Request(method, URL, content=b"{}" if method == "POST" else None)
    response = transport.handle_request(request)
    response.request = request
    assert response.status_code == status
    assert b"".join(response.iter_raw()) == body
    assert all(0 <= slept <= MOST for slept in clock.sleeps)
    assert sum(clock.sleeps) <= 25 * MOST
    assert sent <= 60
    outcome = outcome_of(response)
    assert len(outcome.attempts) == sent
    assert isinstance(repr(outcome), str)
    if outcome.reason != "success":
        with pytest.raises(ApiError) as caught:
            raise_for_status(response)
        json.dumps(caught.value.log_record())
        assert isinstance(caught.value.support_report(), str)
        assert "\n" not in str(caught.value)
    return response


TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=0x10FFFF), max_size=30)
NUMBERISH = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["NaN", "inf", "-1", "1e9", "1,2", "0x10", "1_000", "\u0663", "\u00b2", "+5", " 5 ", "05", "5.", ".5"]
    ),
    st.integers(10**17, 10**25).map(str),
)
HEADER_VALUE = st.one_of(NUMBERISH, TEXT).map(
    lambda text: (
        text.encode("utf-8", "surrogatepass").replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
    )
)
HEADER_NAME = st.sampled_from(
    [
        b"Retry-After", b"retry-after-ms", b"RateLimit", b"X-RateLimit-Reset", b"X-Reset", b"X-Epoch-Ms", b"Date", b"X-Hint",
        b"X-Id", b"X-Request-Id", b"Content-Encoding", b"Content-Type", b"Content-Length", b"x-should-retry", b"Set-Cookie",
        b"stripe-should-retry", b"X-RateLimit-Remaining", b"WWW-Authenticate", b"X-Any",
    ]
)  # fmt: skip
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.just(1), st.just("1")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                ["code", "error", "errors", "message", "msg", "details", "detail", "field", "id", "ok", "retry_after", "need",
                 "have", "rate", "retryDelay", "x_request_id", "request_id"]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=12,
)  # fmt: skip
BODY = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda value: json.dumps(value).encode()),
    JSON.map(lambda value: json.dumps(value).encode("utf-16")),
    JSON.map(lambda value: b"\xef\xbb\xbf" + json.dumps(value).encode()),
    JSON.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    JSON.map(lambda value: json.dumps(value).encode()[:-1]),
)


@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
@given(
    policy=st.sampled_from(POLICIES),
    status=st.integers(200, 599),
    headers=st.lists(st.tuples(HEADER_NAME, HEADER_VALUE), max_size=6),
    body=BODY,
    method=st.sampled_from(["GET", "POST", "DELETE", "PATCH", "HEAD"]),
)
def test_any_reply_is_judged_and_handed_over(
    policy: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes, method: str
) -> None:
    attack(policy, status, headers, body, method)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
@given(
    status=st.integers(200, 599),
    headers=st.lists(st.tuples(HEADER_NAME, HEADER_VALUE), max_size=6),
    body=BODY,
)
def test_a_verdict_on_any_response_in_hand_is_given(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    for policy in (EVERYTHING, load_policy("default")):
        lines = [line for line in headers if line[0] not in {b"Content-Encoding", b"Content-Length"}]
        response = httpx.Response(status, headers=lines, content=body)
        verdict = policy.classify(response)
        assert verdict == policy.classify(response)
        assert verdict.status == status
        assert verdict.retry_after is None or 0 <= verdict.retry_after <= 2147483648


@settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
@given(
    status=st.integers(200, 599),
    headers=st.lists(st.tuples(HEADER_NAME, HEADER_VALUE), max_size=6),
    body=BODY,
)
def test_sync_and_async_judge_alike(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    clocks = VirtualClock(), VirtualClock()
    inner = httpx.MockTransport(
        lambda _: httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))
    )
    ours = ResilientTransport(EVERYTHING, inner, clock=clocks[0]).handle_request(httpx.Request("GET", URL))

    async def scenario() -> httpx.Response:
        return await AsyncResilientTransport(EVERYTHING, inner, clock=clocks[1]).handle_async_request(
            httpx.Request("GET", URL)
        )

    theirs = anyio.run(scenario)
    assert outcome_of(ours).reason == outcome_of(theirs).reason
    assert [attempt.verdict for attempt in outcome_of(ours).attempts] == [
        attempt.verdict for attempt in outcome_of(theirs).attempts
    ]


HUGE = "9" * 1_000_000
DEEP = 30_000

BODIES: dict[str, bytes] = {
    "lists in lists": b"[" * DEEP + b"]" * DEEP,
    "lists that never end": b"[" * 65_000,
    "objects in objects": b'{"error":' * 7000 + b"1" + b"}" * 7000,
    "a deep code": b'{"code":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep details": b'{"details":' + b"[" * 900 + b"]" * 900 + b"}",
    "deep but legal details": b'{"details":' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}",
    "a long integer": b'{"code":' + b"9" * 60_000 + b"}",
    "an integer of 4300 digits": b'{"code":' + b"9" * 4300 + b"}",
    "an integer of 4301 digits": b'{"code":' + b"9" * 4301 + b"}",
    "an id of 4300 digits": b'{"code":1,"id":' + b"9" * 4300 + b"}",
    "a long exponent": b'{"code": 1e999999999, "retry_after": 1e999999999}',
    "NaN": b'{"code": NaN, "retry_after": NaN, "details": [NaN, -Infinity]}',
    "a BOM": b'\xef\xbb\xbf{"code": 1}',
    "two BOMs": b'\xef\xbb\xbf\xef\xbb\xbf{"code": 1}',
    "UTF-16": '{"code": 1}'.encode("utf-16"),
    "UTF-32 without a BOM": '{"code": 1}'.encode("utf-32-be"),
    "half of UTF-16": '{"code": 1}'.encode("utf-16")[:-1],
    "Latin-1": '{"code": "\u00e9"}'.encode("latin-1"),
    "a lone surrogate": b'{"code": "\\ud800", "message": "\\udfff \\ud800", "field": "\\ud800", "id": "\\ud800"}',
    "a NUL": b'{"code": "a\\u0000b", "message": "\\u0000"}',
    "duplicate keys": b'{"code": 9, "code": 1}',
    "a string": b'"error"',
    "a number": b"1",
    "null": b"null",
    "nothing": b"",
    "spaces": b" " * 60_000,
    "HTML": b"<html>" + b"<div>" * 9000,
    "many errors": json.dumps({"errors": [{"code": None}] * 4000}).encode(),
    "many texts": json.dumps({"errors": ["a" * 9] * 4000}).encode(),
    "very long message": json.dumps({"message": "m" * 60_000, "code": "c" * 5}).encode(),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("status", [200, 404, 503])
@pytest.mark.parametrize(
    "kind", ["application/json", "text/html; charset=\x22", "application/json; charset=utf-7", None]
)
def test_any_body_is_judged_quickly(body: str, status: int, kind: str | None) -> None:
    begun = time.process_time()
    attack(EVERYTHING, status, {"Content-Type": kind} if kind else {}, BODIES[body])
    assert time.process_time() - begun < 1


CODES: dict[str, tuple[bytes, str]] = {
    "an integer": (b"1", "ONE"),
    "its text": (b'"1"', "TEXT"),
    "true": (b"true", "ANY"),
    "false": (b"false", "ANY"),
    "null": (b"null", "ANY"),
    "a float": (b"1.5", "ANY"),
    "a whole float": (b"1.0", "ANY"),
    "an exponent": (b"1e0", "ANY"),
    "a list": (b"[1]", "ANY"),
    "an object": (b'{"1": 1}', "ANY"),
    "empty text": (b'""', "ANY"),
    "text with spaces": (b'" 1"', "ANY"),
    "a negative": (b"-1", "ANY"),
    "a huge integer": (b"9" * 4000, "ANY"),
    "NaN": (b"NaN", "ANY"),
}


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_a_text_or_an_integer_and_neither_is_taken_for_the_other(code: str) -> None:
    raw, name = CODES[code]
    response = attack(EVERYTHING, 503, {}, b'{"code": ' + raw + b"}")
    assert outcome_of(response).verdict.name == name


HEADERS: dict[str, list[tuple[str, str]]] = {
    "a million digits": [("Retry-After", HUGE)],
    "a million digits of milliseconds": [("retry-after-ms", HUGE)],
    "a million zeros": [("Retry-After", "0" * 1_000_000)],
    "a million digits after the point": [("Retry-After", "0." + HUGE)],
    "a million digits in a reset": [("X-Reset", HUGE)],
    "a million spaces": [("Retry-After", " " * 1_000_000 + "x")],
    "a million commas": [("Retry-After", "," * 1_000_000)],
    "a million digits in a RateLimit": [("RateLimit", f'"a";r=0;t={HUGE}')],
    "a million quotes": [("RateLimit", '"' * 1_000_000)],
    "eight thousand policies": [("RateLimit", ",".join(['"a";r=0;t=9'] * 8_000))],
    "negative": [("Retry-After", "-1")],
    "minus zero": [("Retry-After", "-0")],
    "fractional": [("Retry-After", "1.5")],
    "NaN": [("Retry-After", "NaN")],
    "infinity": [("Retry-After", "Infinity")],
    "hexadecimal": [("Retry-After", "0x5")],
    "an exponent": [("Retry-After", "1e1")],
    "doubled and different": [("Retry-After", "1"), ("Retry-After", "7")],
    "doubled and joined": [("Retry-After", "1, 7")],
    "doubled and wrong at first": [("Retry-After", "x"), ("Retry-After", "7")],
    "day 32": [("Retry-After", "Fri, 32 Dec 1999 23:59:59 GMT")],
    "the year 0": [("Retry-After", "Sat, 01 Jan 0000 00:00:00 GMT")],
    "the year 9999": [("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT")],
    "no zone": [("Retry-After", "Fri, 31 Dec 1999 23:59:59")],
    "a date of its own that is none": [("Date", "x"), ("Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT")],
    "a million Dates": [("Date", "x" * 1_000_000), ("Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT")],
    "other scripts": [("X-Reset", "5")],
    "a should-retry of a million letters": [("x-should-retry", "true" * 250_000)],
    "a content encoding that is none": [("Content-Encoding", "gzip, br, zstd, deflate, x, identity, ,")],
    "a content length that is none": [("Content-Length", "-5")],
    "a content length of a million digits": [("Content-Length", HUGE)],
}


@pytest.mark.parametrize("headers", HEADERS)
@pytest.mark.parametrize("status", [200, 429, 503])
def test_any_header_is_judged_quickly(headers: str, status: int) -> None:
    begun = time.process_time()
    attack(EVERYTHING, status, [*HEADERS[headers], ("X-Hint", "1")], b"{}")
    attack("default", status, HEADERS[headers], b"{}")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("headers", ["a million digits", "a million digits in a reset", "the year 9999"])
def test_a_wait_beyond_all_bounds_ends_the_call(headers: str) -> None:
    response = attack(EVERYTHING, 503, [*HEADERS[headers], ("X-Hint", "1")], b"{}")
    assert outcome_of(response).reason == "wait_too_long"


@pytest.mark.parametrize(
    "raw", [b"1e400", b"-5", b"NaN", b'"NaN"', b"true", b"[5]", b"{}", b"9" * 4000, b'"9"', b'"1e9"']
)
@pytest.mark.parametrize("status", [429, 503])
def test_any_wait_in_a_body_is_bounded(raw: bytes, status: int) -> None:
    attack(EVERYTHING, status, {"X-Hint": "1"}, b'{"retry_after": ' + raw + b"}")
    attack(
        EVERYTHING,
        status,
        {"X-Hint": "1"},
        b'{"details": [{"retryDelay": '
        + raw
        + b'}], "need": '
        + raw
        + b', "have": '
        + raw
        + b', "rate": 1e-300}',
    )


def test_an_error_of_a_class_that_is_not_httpxs_goes_through_as_it_is() -> None:
    class OwnError(Exception):
        """What some transport of the user's raises."""

    def answer(_: httpx.Request) -> httpx.Response:
        raise OwnError("mine")

    with pytest.raises(OwnError, match="mine"):
        ResilientTransport(transport=httpx.MockTransport(answer), clock=VirtualClock()).handle_request(
            httpx.Request("GET", URL)
        )


def test_a_set_cookie_of_any_bytes_on_a_discarded_attempt_does_no_harm() -> None:
    answers = iter(
        [
            httpx.Response(
                503, headers=[(b"Set-Cookie", "a=caf\u00e9".encode("latin-1")), (b"Set-Cookie", b"b=1")]
            ),
            httpx.Response(200, headers=[(b"X-Name", "caf\u00e9".encode())]),
        ]
    )
    transport = ResilientTransport(
        transport=httpx.MockTransport(lambda _: next(answers)), clock=VirtualClock()
    )
    response = transport.handle_request(httpx.Request("GET", URL))
    assert response.status_code == 200
    assert (b"Set-Cookie", "a=caf\u00e9".encode("latin-1")) in response.headers.raw
    assert (b"X-Name", "caf\u00e9".encode()) in response.headers.raw


def test_a_log_record_is_json_whatever_the_body_holds() -> None:
    response = attack(EVERYTHING, 404, {}, b'{"code": NaN, "details": [Infinity]}')
    with pytest.raises(ApiError) as caught:
        raise_for_status(response)
    json.dumps(caught.value.log_record(), allow_nan=False)


def test_two_thousand_hostile_replies_in_a_row_leave_the_classifier_as_it_was() -> None:
    for number in range(2000):
        attack(EVERYTHING, 200 + number % 400, {}, b'{"code": %d}' % number)
    assert outcome_of(attack(EVERYTHING, 503, {}, b'{"code": 1}')).verdict.name == "ONE"
