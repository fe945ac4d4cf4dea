"""Customer Verification API: each row of its error table, seen from outside."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from scenario import BASE, Run, answer, error_response, fail, in_turn, spread, up_to

from resilient_client import ApiError, TokenAuth, load_policy, outcome_of
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

API = "customer_verification"
CREATE = "/api/v1/customers"
CUSTOMER = "/api/v1/customers/cus_81c2"
BODY = {"email": "user@example.com"}
OK = answer(201, {"id": "cus_81c2"})
NOW = 1_750_000_000  # the clock's first second


def refused(status: int, code: str, headers: dict[str, str] | None = None, **more: Any) -> Any:
    error = {"code": code, "message": "Said by the server", "details": "In more words"} | more
    return answer(status, {"error": error}, headers={"X-Request-Id": "req_abc123xyz"} | (headers or {}))


class Tokens:
    """A server that signs in with token-1, token-2, … and answers the rest by what token came."""

    def __init__(self, server: Callable[[httpx.Request], httpx.Response]) -> None:
        self.logins = 0
        self.server = server
        self.auth = TokenAuth(lambda: httpx.Request("POST", f"{BASE}/api/v1/auth/token", json={"user": "me"}))

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v1/auth/token":
            self.logins += 1
            return httpx.Response(200, json={"token": f"secret-token-{self.logins}"})
        return self.server(request)


def dead_before(number: int) -> Callable[[httpx.Request], httpx.Response]:
    """Call every token dead that is older than this one."""

    def reply(request: httpx.Request) -> httpx.Response:
        token = int(request.headers["Authorization"].rpartition("-")[2])
        return (refused(401, "TOKEN_EXPIRED") if token < number else answer(200, {"ok": True}))(request)

    return reply


FINAL = [
    (401, "AUTHENTICATION_FAILED", "auth"),
    (403, "INSUFFICIENT_PERMISSIONS", "permission"),
    (400, "VALIDATION_ERROR", "validation"),
    (422, "INVALID_FIELD_FORMAT", "validation"),
    (422, "INVALID_DOCUMENT_FORMAT", "validation"),
    (404, "RESOURCE_NOT_FOUND", "not_found"),
    (409, "RESOURCE_CONFLICT", "conflict"),
    (409, "DUPLICATE_RESOURCE", "conflict"),
    (422, "VERIFICATION_FAILED", "business"),
    (422, "DOCUMENT_QUALITY_INSUFFICIENT", "business"),
    (401, "WEBHOOK_SIGNATURE_INVALID", "webhook"),
    (400, "WEBHOOK_DELIVERY_FAILED", "webhook"),
    (500, "WEBHOOK_DELIVERY_FAILED", "webhook"),
    (503, "WEBHOOK_DELIVERY_FAILED", "webhook"),
]


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
@pytest.mark.parametrize(("status", "code", "category"), FINAL)
def test_a_final_code_is_never_sent_again(
    run: Run, method: str, status: int, code: str, category: str
) -> None:
    """Whatever the method and the key; what the error tells is what the page tells."""
    ended = run(
        API,
        refused(status, code, field="email"),
        method,
        CREATE,
        ask={"idempotent": True},
        client={"raise_for_status": True},
    )
    error = ended.api_error
    assert len(ended.requests) == 1
    assert ended.clock.sleeps == []
    assert error.outcome.reason == "not_retryable"
    assert (error.api, error.name, error.code, error.category) == (API, code, code, category)
    assert (error.field, error.request_id) == ("email", "req_abc123xyz")
    assert error.cause
    assert error.remedy
    assert error.user_message
    assert "Said by the server" not in error.user_message


@pytest.mark.parametrize(("status", "code", "_category"), FINAL)
def test_a_final_code_signs_nobody_in(run: Run, status: int, code: str, _category: str) -> None:
    """A token source does not make it worth another attempt."""
    server = Tokens(refused(status, code))
    ended = run(API, server, auth=server.auth)
    assert server.logins == 1
    assert ended.outcome.reason == "not_retryable"


def test_the_log_record_is_the_one_that_the_vendor_wants() -> None:
    """Timestamp, requestId, statusCode, errorCode, errorMessage, endpoint and field, ready for JSON."""
    clock = VirtualClock()
    ended = Run("sync")(
        API,
        refused(400, "VALIDATION_ERROR", field="email"),
        "POST",
        CREATE + "?invite=s3cret",
        clock=clock,
        client={"raise_for_status": True},
    )
    record = ended.api_error.log_record()
    wanted = {
        "timestamp": "2025-06-15T15:06:40.000Z",
        "requestId": "req_abc123xyz",
        "statusCode": 400,
        "errorCode": "VALIDATION_ERROR",
        "errorMessage": "Said by the server",
        "endpoint": f"POST {CREATE}",
        "field": "email",
    }
    assert {name: record[name] for name in wanted} == wanted
    assert "s3cret" not in json.dumps(record)


# --------------------------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_token_expired_signs_in_anew_and_sends_again_once(run: Run, method: str) -> None:
    """No wait, a new token; a create keeps its key."""
    server = Tokens(dead_before(2))
    ended = run(API, server, method, CREATE, auth=server.auth, json=BODY)
    mine = [sent for sent in ended.requests if sent.url.path == CREATE]
    assert ended.response.status_code == 200
    assert server.logins == 2
    assert [sent.headers["Authorization"] for sent in mine] == [
        "Bearer secret-token-1",
        "Bearer secret-token-2",
    ]
    assert ended.clock.sleeps == []
    assert ended.outcome.attempts[0].change == ("refresh",)
    assert ended.attempts == 2
    assert len({sent.headers.get("Idempotency-Key") for sent in mine}) == 1
    assert len({sent.body for sent in mine}) == 1
    assert not ended.outcome.maybe_applied


def test_token_expired_twice_goes_to_the_caller(run: Run) -> None:
    """One refresh in a call: a brand new token that is called dead needs a person."""
    server = Tokens(dead_before(99))
    ended = run(API, server, auth=server.auth)
    assert server.logins == 2
    assert ended.attempts == 2
    assert ended.outcome.reason == "attempts_exhausted"
    assert ended.outcome.verdict.name == "TOKEN_EXPIRED"


def test_token_expired_without_a_token_source_is_final(run: Run) -> None:
    """The old token would be refused again."""
    ended = run(API, refused(401, "TOKEN_EXPIRED"), headers={"Authorization": "Bearer mine"})
    assert len(ended.requests) == 1
    assert ended.outcome.reason == "cannot_change"


def test_a_body_that_cannot_be_sent_twice_signs_nobody_in(run: Run) -> None:
    """It is judged before anything is done."""
    server = Tokens(dead_before(2))
    ended = run(API, server, "POST", CREATE, auth=server.auth, content=run.one_shot(b"{", b"}"))
    assert ended.response.status_code == 401
    assert ended.outcome.reason == "body_not_replayable"
    assert server.logins == 1


def test_a_crowd_with_a_dead_token_signs_in_once(run: Run) -> None:
    """Ten callers meet the 401 together: one new token, which all of them use."""
    server = Tokens(dead_before(2))
    results = run.crowd(
        API,
        server,
        10,
        CUSTOMER,
        together=lambda request: request.headers.get("Authorization") == "Bearer secret-token-1",
        auth=server.auth,
    )
    assert [getattr(result, "status_code", result) for result in results] == [200] * 10
    assert server.logins == 2


def test_a_refused_sign_in_is_told_to_everybody_who_waits_for_it(run: Run) -> None:
    """An ApiError of the login's own response, and one login."""
    logins = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal logins
        logins += 1
        return refused(401, "AUTHENTICATION_FAILED")(request)  # type: ignore[no-any-return]  # what answer() makes

    auth = TokenAuth(httpx.Request("POST", f"{BASE}/login"))
    ended = run(API, server, auth=auth)
    error = ended.api_error
    assert error.response.status_code == 401
    assert error.request.url.path == "/login"
    assert error.name == "AUTHENTICATION_FAILED"
    assert logins == 1


def test_a_refresh_that_fails_ends_the_call_with_the_logins_error(run: Run) -> None:
    """The token was dead and no other is to be had; every waiting caller is told so."""
    logins = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal logins
        if request.url.path == "/login":
            logins += 1
            return httpx.Response(200, json={"token": "t-1"}) if logins == 1 else httpx.Response(403, json={})
        return refused(401, "TOKEN_EXPIRED")(request)  # type: ignore[no-any-return]  # what answer() makes

    auth = TokenAuth(lambda: httpx.Request("POST", f"{BASE}/login"))
    results = run.crowd(
        API, server, 5, CUSTOMER, together=lambda request: request.url.path == CUSTOMER, auth=auth
    )
    assert [type(result) for result in results] == [ApiError] * 5
    assert {result.response.status_code for result in results if isinstance(result, ApiError)} == {403}
    assert {result.request.url.path for result in results if isinstance(result, ApiError)} == {"/login"}


def test_a_new_token_that_the_server_echoes_is_in_no_report(run: Run) -> None:
    """The tokens of every attempt are secrets, not only the first one's."""

    def echo(request: httpx.Request) -> httpx.Response:
        error = {"code": "TOKEN_EXPIRED", "message": f"dead: {request.headers['Authorization']}"}
        return httpx.Response(401, json={"error": error})

    server = Tokens(echo)
    ended = run(API, server, auth=server.auth, client={"raise_for_status": True})
    error = ended.api_error
    told = [str(error), repr(error.outcome), error.support_report(), json.dumps(error.log_record())]
    assert [text for text in told if "secret-token-" in text] == []


# ----------------------------------------------------------------------------------------------------------- rate limits


def limited(headers: dict[str, str] | None = None, **more: Any) -> Any:
    return refused(429, "RATE_LIMIT_EXCEEDED", headers, **more)


RESET = str(NOW + 90)
WAITS: list[Any] = [
    pytest.param(
        limited({"Retry-After": "20", "X-RateLimit-Reset": RESET}, retryAfter=45), 20, id="header first"
    ),
    pytest.param(limited({"X-RateLimit-Reset": RESET}, retryAfter=45), 45, id="then the body"),
    pytest.param(limited(retryAfter="45"), 45, id="the body, as text"),
    pytest.param(limited(retryAfter=2.5), 2.5, id="the body, a fraction"),
    pytest.param(limited({"X-RateLimit-Reset": RESET}), 90, id="then the reset"),
    pytest.param(limited(), 60, id="else a minute"),
    pytest.param(limited({"Retry-After": "soon"}, retryAfter=45), 45, id="unreadable header"),
    pytest.param(limited({"Retry-After": "-5"}, retryAfter=-5), 60, id="negative"),
    pytest.param(limited({"Retry-After": "NaN"}, retryAfter="NaN"), 60, id="not a number"),
    pytest.param(limited({"X-RateLimit-Reset": str(NOW - 1)}), 60, id="a reset that has passed"),
    pytest.param(
        limited({"X-RateLimit-Reset": "1699900060", "Date": "Mon, 13 Nov 2023 18:27:10 GMT"}),
        30,
        id="a reset by the server's own clock",
    ),
    pytest.param(answer(429, text="Too Many Requests"), 60, id="a proxy's"),
]


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
@pytest.mark.parametrize(("reply", "seconds"), WAITS)
def test_a_rate_limit_waits_where_it_is_told(run: Run, method: str, reply: Any, seconds: float) -> None:
    """Retry-After, else the body's retryAfter, else X-RateLimit-Reset, else 60 s; for every method, the key kept."""
    ended = run(API, in_turn(reply, OK), method, CREATE, json=BODY)
    assert ended.response.status_code == 201
    assert ended.waits == spread(seconds)
    assert ended.outcome.attempts[0].verdict.name == "RATE_LIMIT_EXCEEDED"
    assert not ended.outcome.maybe_applied
    assert len(set(ended.header("Idempotency-Key"))) == 1
    assert (ended.header("Idempotency-Key")[0] is not None) is (method == "POST")


def test_a_rate_limit_is_retried_four_times(run: Run) -> None:
    """A rule without a number of its own: five attempts."""
    ended = run(API, limited({"Retry-After": "2"}), "POST", CREATE, json=BODY)
    assert ended.waits == spread(2, 2, 2, 2)
    assert ended.outcome.reason == "attempts_exhausted"


def test_a_minute_does_not_fit_into_half_of_one(run: Run) -> None:
    """The fallback wait too is judged by the deadline."""
    ended = run(API, limited(), client={"deadline": 30})
    assert len(ended.requests) == 1
    assert ended.clock.sleeps == []
    assert ended.outcome.reason == "deadline"


def test_the_retry_after_of_the_error_is_what_the_server_asked() -> None:
    """Of the body as well."""
    ended = Run("sync")(API, limited(retryAfter=45), client={"raise_for_status": True})
    assert ended.api_error.retry_after == 45


# -------------------------------------------------------------------------------------------------------- the other side


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize(("status", "code"), [(500, "INTERNAL_SERVER_ERROR"), (503, "SERVICE_UNAVAILABLE")])
def test_server_errors_are_retried_for_any_method(run: Run, method: str, status: int, code: str) -> None:
    """The vendor says so: exponential, the key kept."""
    ended = run(API, refused(status, code), method, CREATE, client={"raise_for_status": True})
    assert ended.waits == up_to(0.5, 1, 2, 4)
    assert ended.outcome.reason == "attempts_exhausted"
    assert (ended.api_error.name, ended.api_error.code, ended.api_error.category) == (code, code, "server")
    assert ended.outcome.maybe_applied is (method != "GET")
    assert len(set(ended.header("Idempotency-Key"))) == 1
    assert (ended.header("Idempotency-Key")[0] is not None) is (method == "POST")


def test_unavailable_waits_where_it_is_told(run: Run) -> None:
    """Retry-After, if sent."""
    ended = run(API, refused(503, "SERVICE_UNAVAILABLE", {"Retry-After": "10"}), "PATCH", CUSTOMER, json=BODY)
    assert ended.waits == spread(10, 10, 10, 10)


def test_a_5xx_without_a_code_follows_the_method_and_the_key(run: Run) -> None:
    """Creates carry a key; a PATCH is protected by nothing."""
    page = answer(502, text="<html>Bad Gateway</html>")
    assert len(run(API, page, "GET", CUSTOMER).requests) == 5
    assert len(run(API, page, "POST", CREATE, json=BODY).requests) == 5
    patched = run(API, page, "PATCH", CUSTOMER, json=BODY)
    assert len(patched.requests) == 1
    assert patched.outcome.reason == "not_retryable"
    assert patched.outcome.maybe_applied


@pytest.mark.parametrize(
    ("first", "maybe"),
    [
        pytest.param(refused(500, "INTERNAL_SERVER_ERROR"), True, id="after a 500"),
        pytest.param(fail(httpx.ReadTimeout), True, id="after a lost reply"),
        pytest.param(fail(httpx.ConnectError), False, id="never sent"),
        pytest.param(limited({"Retry-After": "1"}), False, id="refused"),
    ],
)
def test_a_duplicate_after_a_retried_create_may_be_the_callers_own(
    run: Run, *, first: Any, maybe: bool
) -> None:
    """The outcome says so; after a refusal alone it does not."""
    ended = run(API, in_turn(first, refused(409, "DUPLICATE_RESOURCE")), "POST", CREATE, json=BODY)
    assert len(ended.requests) == 2
    assert ended.outcome.reason == "not_retryable"
    assert ended.outcome.verdict.name == "DUPLICATE_RESOURCE"
    assert ended.outcome.maybe_applied is maybe


def test_two_rules_each_count_their_own(run: Run) -> None:
    """Four 500s, four rate limits, one refresh: ten attempts."""
    turn = in_turn(
        *[refused(500, "INTERNAL_SERVER_ERROR"), limited({"Retry-After": "3"})] * 4,
        refused(401, "TOKEN_EXPIRED"),
        OK,
    )
    server = Tokens(turn)
    ended = run(API, server, "POST", CREATE, auth=server.auth, json=BODY)
    assert ended.response.status_code == 201
    assert ended.attempts == 10
    waits = [attempt.wait for attempt in ended.outcome.attempts[:-1]]
    assert waits[0::2] == [*up_to(0.5, 1, 2, 4), 0]
    assert waits[1::2] == spread(3, 3, 3, 3)
    assert server.logins == 2


# ------------------------------------------------------------------------------------------------------- keys and bodies


def test_every_create_carries_a_key_and_nothing_else_does(run: Run) -> None:
    """POST, whatever the path."""
    for method, path in [
        ("POST", CREATE),
        ("POST", f"{CUSTOMER}/documents"),
        ("PUT", CUSTOMER),
        ("GET", CUSTOMER),
    ]:
        ended = run(API, OK, method, path)
        assert (ended.header("Idempotency-Key") != [None]) is (method == "POST")


def test_a_large_document_is_replayed_without_a_copy(run: Run) -> None:
    """Ten megabytes of Base64: each attempt sends the caller's very bytes."""
    document = base64.b64encode(bytes(7_500_000))
    ended = run(
        API,
        in_turn(refused(500, "INTERNAL_SERVER_ERROR"), OK),
        "POST",
        f"{CUSTOMER}/documents",
        content=document,
    )
    assert [sent.body is document for sent in ended.requests] == [True, True]


def test_classify_knows_the_codes() -> None:
    """Pure, and by what is in the reply alone."""
    policy = load_policy(API)
    verdict = policy.classify(error_response(API, "RATE_LIMIT_EXCEEDED"))
    assert (verdict.retryable, verdict.category, verdict.status) == (True, "rate_limit", 429)
    verdict = policy.classify(error_response(API, "VALIDATION_ERROR", field="email", request_id="req_1"))
    assert (verdict.retryable, verdict.field, verdict.request_id) == (False, "email", "req_1")
    verdict = policy.classify(error_response(API, "TOKEN_EXPIRED"))
    assert (verdict.retryable, verdict.category) == (True, "auth")


def test_outcome_of_an_api_error_is_the_calls_outcome(run: Run) -> None:
    """The same, asked of the error and of its response."""
    ended = run(API, refused(404, "RESOURCE_NOT_FOUND"), client={"raise_for_status": True})
    assert outcome_of(ended.api_error) == outcome_of(ended.api_error.response) == ended.api_error.outcome
