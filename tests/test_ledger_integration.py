"""The activities integration API: each row of its error table, seen from outside."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from scenario import Run, answer, fail, in_turn, spread, up_to

from resilient_client import HmacAuth, load_policy

SUBMIT = "/api/integration/activity-results/tasks"
RESULT = b'{ "activity_id": "a-1", "task_result": { "result": "DONE", "score": 1.50 } }'
OK = answer(201, {"id": "r-1"})


def refused(
    status: int, name: str, message: Any = "Said by the server", headers: dict[str, str] | None = None
) -> Any:
    return answer(status, {"statusCode": status, "error": name, "message": message}, headers=headers)


CONFLICT = refused(409, "Conflict", "Activity already has a result")

FINAL = [
    (400, "Bad Request", "validation"),
    (401, "Unauthorized", "auth"),
    (403, "Forbidden", "permission"),
    (404, "Not Found", "not_found"),
    (409, "Conflict", "conflict"),
]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize(("status", "code", "category"), FINAL)
def test_a_4xx_is_never_sent_again(run: Run, method: str, status: int, code: str, category: str) -> None:
    """The code is the name in the body; the key does not matter."""
    ended = run(
        "integration",
        refused(status, code),
        method,
        SUBMIT,
        headers={"x-api-key": "mine", "Idempotency-Key": "k-0001"},
        client={"raise_for_status": True},
    )
    error = ended.api_error
    assert len(ended.requests) == 1
    assert ended.clock.sleeps == []
    assert error.outcome.reason == "not_retryable"
    assert not error.outcome.maybe_applied
    assert (error.api, error.name, error.code, error.category) == ("integration", code, code, category)
    assert error.cause
    assert error.remedy
    assert error.user_message


def test_a_message_may_be_a_list(run: Run) -> None:
    """All of it is told, and the body is kept for logs."""
    faults = ["occurred_at must be a valid ISO 8601 date string", "status should not be empty"]
    ended = run(
        "integration", refused(400, "Bad Request", faults), "POST", SUBMIT, client={"raise_for_status": True}
    )
    error = ended.api_error
    assert [fault for fault in faults if fault not in str(error)] == []
    assert error.log_record()["body"] == {"statusCode": 400, "error": "Bad Request", "message": faults}
    assert error.outcome.verdict.details == faults
    assert error.response.json()["message"] == faults


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_5xx_is_retried_for_any_method(run: Run, method: str, status: int) -> None:
    """The vendor asks for it: exponential, four retries, the same bytes."""
    ended = run("integration", refused(status, "Internal Server Error"), method, SUBMIT, content=RESULT)
    assert ended.waits == up_to(0.5, 1, 2, 4)
    assert ended.outcome.reason == "attempts_exhausted"
    assert ended.outcome.verdict.category == "server"
    assert ended.outcome.maybe_applied is (method != "GET")
    assert {sent.body for sent in ended.requests} == {RESULT}


def test_a_load_balancers_page_is_a_5xx_too(run: Run) -> None:
    """No envelope, and perhaps a Retry-After."""
    ended = run(
        "integration",
        answer(503, text="<html>", headers={"Retry-After": "10"}),
        "POST",
        SUBMIT,
        content=RESULT,
    )
    assert ended.waits == spread(10, 10, 10, 10)


def test_a_conflict_after_a_retry_may_be_the_callers_own(run: Run) -> None:
    """The lost first attempt may have registered the result: the outcome says so."""
    ended = run(
        "integration",
        in_turn(refused(500, "Internal Server Error"), CONFLICT),
        "POST",
        SUBMIT,
        content=RESULT,
    )
    assert ended.attempts == 2
    assert ended.outcome.verdict.name == "Conflict"
    assert ended.outcome.reason == "not_retryable"
    assert ended.outcome.maybe_applied


def test_a_conflict_after_a_rate_limit_is_not(run: Run) -> None:
    """What was refused has registered nothing."""
    limited = refused(429, "Too Many Requests", headers={"Retry-After": "1"})
    ended = run("integration", in_turn(limited, CONFLICT), "POST", SUBMIT, content=RESULT)
    assert ended.attempts == 2
    assert not ended.outcome.maybe_applied


# ------------------------------------------------------------------------------------------------------------- override


def test_a_conflict_is_overridden_once_when_the_caller_asks_for_it(run: Run) -> None:
    """The same request with hard_override: true; nothing else of the body is rewritten."""
    ended = run(
        "integration", in_turn(CONFLICT, OK), "POST", SUBMIT, content=RESULT, ask={"override_conflict": True}
    )
    first, second = ended.requests
    assert ended.response.status_code == 201
    assert first.body == RESULT
    assert json.loads(second.body) == json.loads(RESULT) | {"hard_override": True}
    assert second.body.startswith(RESULT.rstrip(b"} "))
    assert second.headers["Content-Length"] == str(len(second.body))
    assert ended.waits == [0]
    assert ended.outcome.attempts[0].change == ("override",)
    assert ended.outcome.reason == "success"


def test_a_second_conflict_goes_to_the_caller(run: Run) -> None:
    """Once, and not again."""
    ended = run("integration", CONFLICT, "POST", SUBMIT, content=RESULT, ask={"override_conflict": True})
    assert len(ended.requests) == 2
    assert ended.outcome.reason == "attempts_exhausted"


@pytest.mark.parametrize("ask", [{}, {"override_conflict": False}, {"idempotent": True}])
def test_nothing_is_overridden_unasked(run: Run, ask: dict[str, Any]) -> None:
    """Only override_conflict=True of this very request does it."""
    ended = run("integration", CONFLICT, "POST", SUBMIT, content=RESULT, ask=ask)
    assert len(ended.requests) == 1
    assert ended.outcome.reason == "not_retryable"


def test_the_first_attempt_never_carries_the_override(run: Run) -> None:
    """Asked for, but there was no conflict: nothing is overwritten."""
    ended = run("integration", OK, "POST", SUBMIT, content=RESULT, ask={"override_conflict": True})
    assert ended.requests[0].body == RESULT


def test_only_a_conflict_is_answered_with_the_override(run: Run) -> None:
    """A 500 is answered by the same bytes; once overridden, the retries keep the override."""
    error = refused(500, "Internal Server Error")
    ended = run(
        "integration",
        in_turn(error, CONFLICT, error, OK),
        "POST",
        SUBMIT,
        content=RESULT,
        ask={"override_conflict": True},
    )
    bodies = [json.loads(sent.body) for sent in ended.requests]
    assert [body.get("hard_override") for body in bodies] == [None, None, True, True]
    assert ended.requests[0].body == ended.requests[1].body
    assert ended.requests[2].body == ended.requests[3].body
    assert ended.outcome.maybe_applied


@pytest.mark.parametrize("body", [b"", b"[1]", b"no json", b'{"hard_override": true}'])
def test_a_body_that_cannot_take_the_override_is_not_sent_again(run: Run, body: bytes) -> None:
    """No JSON object, or the override is there already: the conflict goes to the caller."""
    ended = run("integration", CONFLICT, "POST", SUBMIT, content=body, ask={"override_conflict": True})
    assert len(ended.requests) == 1
    assert ended.response.status_code == 409
    assert ended.outcome.reason == "cannot_change"


def test_an_override_of_false_is_set_to_true(run: Run) -> None:
    """The caller's later word counts."""
    ended = run(
        "integration",
        in_turn(CONFLICT, OK),
        "POST",
        SUBMIT,
        json={"hard_override": False},
        ask={"override_conflict": True},
    )
    assert json.loads(ended.requests[1].body) == {"hard_override": True}


def test_an_overridden_body_is_signed_anew(run: Run) -> None:
    """Whatever signs, signs what is sent."""
    auth = HmacAuth("public", "secret", message=lambda request, _nonce: request.content)
    ended = run(
        "integration",
        in_turn(CONFLICT, OK),
        "POST",
        SUBMIT,
        content=RESULT,
        auth=auth,
        ask={"override_conflict": True},
    )
    signatures = ended.header("X-API-SIGN")
    assert signatures[0] != signatures[1]


# -------------------------------------------------------------------------------------------------------------- the rest


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_429_waits_for_retry_after(run: Run, method: str) -> None:
    """For every method; without the header it backs off."""
    limited = refused(429, "Too Many Requests", headers={"Retry-After": "10"})
    assert run("integration", limited, method, SUBMIT).waits == spread(10, 10, 10, 10)
    assert run("integration", answer(429), method, SUBMIT).waits == up_to(0.5, 1, 2, 4)


def test_a_result_whose_reply_was_lost_is_not_sent_again(run: Run) -> None:
    """*Any method* is said of 5xx, not of the network: decision 6."""
    ended = run("integration", fail(httpx.ReadTimeout), "POST", SUBMIT, content=RESULT)
    assert isinstance(ended.error, httpx.ReadTimeout)
    assert len(ended.requests) == 1
    assert ended.outcome.reason == "not_retryable"
    assert ended.outcome.maybe_applied


@pytest.mark.parametrize("status", [402, 405, 408, 410, 422, 423])
def test_other_4xx_are_final(run: Run, status: int) -> None:
    """No retry for 4xx holds for every 4xx but 429."""
    assert len(run("integration", refused(status, "Other")).requests) == 1


def test_classify_leaves_the_callers_wish_out() -> None:
    """A conflict is not retryable by the reply alone."""
    policy = load_policy("integration")
    verdict = policy.classify(
        httpx.Response(409, json={"statusCode": 409, "error": "Conflict", "message": "?"})
    )
    assert (verdict.name, verdict.code, verdict.retryable) == ("Conflict", "Conflict", False)
    verdict = policy.classify(httpx.Response(500, json={"statusCode": 500, "error": "Internal Server Error"}))
    assert (verdict.code, verdict.retryable) == ("Internal Server Error", True)
