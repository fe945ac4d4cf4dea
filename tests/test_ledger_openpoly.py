"""OpenPoly operator API: each row of its error table, seen from outside."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from scenario import Run, answer, fail, in_turn, spread, up_to

from resilient_client import load_policy
from resilient_client.testing import VirtualClock

SIMULATE = "/v1/simulator/transactions"
OK = answer(201, {"id": 1})


def refused(status: int, code: str, headers: dict[str, str] | None = None) -> Any:
    error = {"code": code, "message": "Said by the server", "request_id": "req_1a2b"}
    return answer(status, {"error": error}, headers=headers)


FINAL = [
    (401, "INVALID_API_KEY", "auth"),
    (403, "INSUFFICIENT_SCOPE", "permission"),
    (400, "INVALID_NAME", "validation"),
    (400, "INVALID_SCOPES", "validation"),
    (400, "INVALID_ID", "validation"),
    (400, "INVALID_URL", "validation"),
    (400, "INVALID_ENABLED_EVENTS", "validation"),
    (400, "INVALID_STATUS", "validation"),
    (400, "INVALID_ENDPOINT_ID", "validation"),
    (400, "INVALID_DIRECTION", "validation"),
    (400, "INVALID_AMOUNT_MINOR", "validation"),
    (404, "NOT_FOUND", "not_found"),
    (404, "SIMULATOR_DISABLED", "not_found"),
    (404, "OPERATOR_USER_NOT_FOUND", "not_found"),
    (400, "MISSING_SIGNATURE_HEADERS", "webhook"),
    (401, "INVALID_SIGNATURE", "webhook"),
    (400, "INVALID_TIMESTAMP", "webhook"),
    (400, "TIMESTAMP_SKEW_TOO_LARGE", "webhook"),
    (500, "TIMESTAMP_SKEW_TOO_LARGE", "webhook"),
    (400, "EVENT_ID_MISMATCH", "webhook"),
    (409, "DUPLICATE_EVENT_ID", "webhook"),
    (503, "DUPLICATE_EVENT_ID", "webhook"),
]


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
@pytest.mark.parametrize(("status", "code", "category"), FINAL)
def test_a_known_code_is_explained_and_final(
    run: Run, method: str, status: int, code: str, category: str
) -> None:
    """Whatever the method and the key in the body."""
    ended = run(
        "openpoly",
        refused(status, code),
        method,
        SIMULATE,
        json={"idempotency_key": "tx-2041"},
        client={"raise_for_status": True},
    )
    error = ended.api_error
    assert len(ended.requests) == 1
    assert ended.clock.sleeps == []
    assert error.outcome.reason == "not_retryable"
    assert (error.api, error.name, error.code, error.category) == ("openpoly", code, code, category)
    assert error.request_id == "req_1a2b"
    assert error.cause
    assert error.remedy
    assert error.user_message


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_429_waits_for_retry_after(run: Run, method: str) -> None:
    """For every method; without the header it backs off."""
    ended = run("openpoly", refused(429, "RATE_LIMITED", {"Retry-After": "10"}), method, SIMULATE)
    assert ended.waits == spread(10, 10, 10, 10)
    assert ended.outcome.verdict.category == "rate_limit"
    assert not ended.outcome.maybe_applied
    assert run("openpoly", answer(429), method, SIMULATE).waits == up_to(0.5, 1, 2, 4)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(
    ("method", "body", "again"),
    [
        ("GET", None, True),
        ("PUT", {"a": 1}, True),
        ("DELETE", None, True),
        ("POST", {"amount_minor": 1250}, False),
        ("PATCH", {"status": "active"}, False),
        ("POST", {"amount_minor": 1250, "idempotency_key": "tx-2041"}, True),
        ("POST", {"amount_minor": 1250, "idempotency_key": ""}, False),
        ("POST", {"amount_minor": 1250, "idempotency_key": None}, False),
        ("POST", {"amount_minor": 1250, "nested": {"idempotency_key": "tx-2041"}}, False),
        ("POST", ["idempotency_key"], False),
    ],
)
def test_a_5xx_is_retried_where_that_is_safe(
    run: Run, *, status: int, method: str, body: Any, again: bool
) -> None:
    """Idempotent methods, and bodies that carry an idempotency_key: sent again byte for byte."""
    ended = run("openpoly", refused(status, "INTERNAL_ERROR"), method, SIMULATE, json=body)
    assert ended.waits == (up_to(0.5, 1, 2, 4) if again else [])
    assert ended.outcome.reason == ("attempts_exhausted" if again else "not_retryable")
    assert ended.outcome.maybe_applied is (method != "GET")
    assert len({sent.body for sent in ended.requests}) == 1


def test_the_key_in_the_body_is_told_in_the_outcome(run: Run) -> None:
    """It is what support asks for."""
    ended = run("openpoly", OK, "POST", SIMULATE, json={"idempotency_key": "tx-2041"})
    assert ended.outcome.idempotency_key == "tx-2041"


def test_no_key_is_made(run: Run) -> None:
    """The API names no route where one must be: the caller's bytes go out as they are."""
    ended = run("openpoly", OK, "POST", SIMULATE, content=b'{ "amount_minor" : 1250 }')
    assert ended.requests[0].body == b'{ "amount_minor" : 1250 }'
    assert ended.outcome.idempotency_key is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{ "amount_minor" : 1250.00 }', {"amount_minor": 1250.0, "idempotency_key": "tx-2041"}),
        (b"{}", {"idempotency_key": "tx-2041"}),
        (b'{"idempotency_key": "older"}', {"idempotency_key": "tx-2041"}),
        (b'{"idempotency_key": "tx-2041"}', {"idempotency_key": "tx-2041"}),
    ],
)
def test_a_key_of_the_extension_goes_into_the_body(run: Run, before: bytes, after: Any) -> None:
    """The same bytes on every attempt, with the length that goes with them, and no header."""
    ended = run(
        "openpoly", refused(500, "X"), "POST", SIMULATE, content=before, ask={"idempotency_key": "tx-2041"}
    )
    assert len(ended.requests) == 5
    assert len({sent.body for sent in ended.requests}) == 1
    assert json.loads(ended.requests[0].body) == after
    assert {sent.headers["Content-Length"] for sent in ended.requests} == {str(len(ended.requests[0].body))}
    assert set(ended.header("Idempotency-Key")) == {None}
    assert ended.outcome.idempotency_key == "tx-2041"


def test_what_the_caller_wrote_stays_as_it_was_written(run: Run) -> None:
    """Numbers, blanks and escapes are not rewritten for the sake of a key."""
    ended = run(
        "openpoly",
        OK,
        "POST",
        SIMULATE,
        content=b'{ "n" : 1250.00, "u": "\\u00e9" }',
        ask={"idempotency_key": "tx-2041"},
    )
    assert ended.requests[0].body.startswith(b'{ "n" : 1250.00, "u": "\\u00e9"')


@pytest.mark.parametrize("body", [b"", b"[1]", b"a=1&b=2", b"\xff\xfe{}"])
def test_a_key_that_has_no_place_is_a_value_error(run: Run, body: bytes) -> None:
    """Where the body is no JSON object, nothing is sent."""
    ended = run("openpoly", OK, "POST", SIMULATE, content=body, ask={"idempotency_key": "tx-2041"})
    assert isinstance(ended.error, ValueError)
    assert ended.requests == []


def test_the_support_report_has_what_an_escalation_needs(run: Run) -> None:
    """Path, status, scopes, event or key, request id and UTC times, and no query string."""
    ended = run(
        "openpoly",
        refused(500, "INTERNAL_ERROR"),
        "POST",
        SIMULATE + "?token=s3cret",
        json={"idempotency_key": "tx-2041"},
        headers={"Authorization": "Bearer s3cret-token"},
        client={"raise_for_status": True},
        clock=VirtualClock(1_750_000_000),
    )
    report = ended.api_error.support_report(scopes=["wallet:read", "wallet:write"], event_id="evt_77")
    for wanted in (
        SIMULATE,
        "500",
        "wallet:read",
        "wallet:write",
        "evt_77",
        "tx-2041",
        "req_1a2b",
        "2025-06-15T15:06:40",
        "UTC",
    ):
        assert wanted in report
    assert "s3cret" not in report


def test_a_lost_reply_is_sent_again_only_under_a_key(run: Run) -> None:
    """Decision 6, with the key in the body."""
    under_key = run(
        "openpoly",
        in_turn(fail(httpx.ReadTimeout), OK),
        "POST",
        SIMULATE,
        json={"idempotency_key": "tx-2041"},
    )
    assert under_key.response.status_code == 201
    assert under_key.outcome.maybe_applied
    without = run("openpoly", in_turn(fail(httpx.ReadTimeout), OK), "POST", SIMULATE, json={"a": 1})
    assert isinstance(without.error, httpx.ReadTimeout)
    assert without.outcome.reason == "not_retryable"


def test_classify_knows_the_receivers_codes_whatever_the_status() -> None:
    """They are met in delivery logs, with the status that the receiver gave."""
    for status in (200, 400, 401, 409, 500):
        verdict = load_policy("openpoly").classify(
            httpx.Response(status, json={"error": {"code": "INVALID_SIGNATURE"}})
        )
        if status >= 400:
            assert (verdict.name, verdict.category, verdict.retryable) == (
                "INVALID_SIGNATURE",
                "webhook",
                False,
            )
