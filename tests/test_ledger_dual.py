"""DUAL API: each row of its error table, seen from outside."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from scenario import BASE, Run, answer, in_turn, spread, up_to

from resilient_client import TokenAuth, load_policy
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = 1_750_000_000  # the clock's first second
DAY = 86_400
ACTIONS = "/ebus/actions"
LOGIN = "/wallets/login"
OK = answer(200, {"ok": True})


def refused(status: int, headers: dict[str, str] | None = None, code: int | None = None, **more: Any) -> Any:
    error = {"code": code or status, "message": "Said by the server"} | more
    return answer(status, {"error": error, "x_request_id": "req_body"}, headers=headers)


def jwt(expires: int) -> str:
    def part(claims: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part({'exp': expires})}.c2ln"


class Wallet:
    """A server with a login, of which each sign-in gives the next token; a token source for it; a clock."""

    def __init__(
        self,
        server: Callable[[httpx.Request], httpx.Response],
        token: Callable[[int], str] = "token-{}".format,
    ) -> None:
        self.clock = VirtualClock()
        self.logins = 0
        self.server = server
        self.token = token
        self.auth = TokenAuth(
            lambda: httpx.Request("POST", BASE + LOGIN, json={"email": "e", "password": "p"})
        )

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == LOGIN:
            self.logins += 1
            return httpx.Response(200, json={"token": self.token(self.logins)})
        return self.server(request)

    def after(self, seconds: float, reply: Callable[[httpx.Request], httpx.Response]) -> Any:
        """Let this time pass before a reply."""

        def late(request: httpx.Request) -> httpx.Response:
            self.clock.advance(seconds)
            return reply(request)

        return late


FINAL = [
    pytest.param(400, 400, "VALIDATION_ERROR", "validation", id="validation"),
    pytest.param(400, 4001, "INVALID_TEMPLATE_SCHEMA", "validation", id="template schema"),
    pytest.param(401, 401, "AUTHENTICATION_ERROR", "auth", id="authentication"),
    pytest.param(403, 403, "PERMISSION_DENIED", "permission", id="permission"),
    pytest.param(404, 404, "NOT_FOUND", "not_found", id="not found"),
    pytest.param(409, 409, "CONFLICT", "conflict", id="conflict"),
    pytest.param(422, 422, "UNPROCESSABLE", "business", id="state"),
]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH"])
@pytest.mark.parametrize(("status", "code", "name", "category"), FINAL)
def test_a_final_status_is_never_sent_again(
    run: Run, *, method: str, status: int, code: int, name: str, category: str
) -> None:
    """Whatever the method and the key; the field comes out of the details."""
    ended = run(
        "dual",
        refused(status, code=code, details={"field": "private.price", "reason": "wrong"}),
        method,
        "/templates",
        headers={"Idempotency-Key": "k-1", "x-api-key": "mine"},
        client={"raise_for_status": True},
    )
    error = ended.api_error
    assert len(ended.requests) == 1
    assert ended.outcome.reason == "not_retryable"
    assert (error.api, error.name, error.code, error.category) == ("dual", name, code, category)
    assert (error.field, error.request_id) == ("private.price", "req_body")
    assert error.cause
    assert error.remedy
    assert error.user_message


def test_details_may_be_a_list(run: Run) -> None:
    """The first of them names the field; all of them are kept."""
    details = [{"field": "color", "reason": "unknown"}, {"field": "size", "reason": "too large"}]
    ended = run("dual", refused(400, details=details), "POST", "/objects", client={"raise_for_status": True})
    assert ended.api_error.field == "color"
    assert ended.api_error.outcome.verdict.details == details


def test_the_request_id_of_the_header_wins(run: Run) -> None:
    """X-Request-Id, and x_request_id where there is none."""
    ended = run("dual", refused(404, {"X-Request-Id": "req_header"}), client={"raise_for_status": True})
    assert ended.api_error.request_id == "req_header"


@pytest.mark.parametrize("message", ["Object locked", "Too many requests", "Token expired", "retry"])
@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
def test_messages_are_never_parsed(run: Run, status: int, message: str) -> None:
    """They are for people: whatever they say, the status decides."""
    ended = run("dual", refused(status, message=message))
    assert len(ended.requests) == 1
    assert ended.outcome.reason == "not_retryable"


# --------------------------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_a_token_past_its_day_is_renewed_once(run: Run, method: str) -> None:
    """24 hours since the login, for a token that does not say itself: log in anew, send again, no wait."""
    wallet = Wallet(OK)
    wallet.server = in_turn(wallet.after(DAY, refused(401)), OK)
    ended = run("dual", wallet, method, ACTIONS, auth=wallet.auth, clock=wallet.clock)
    mine = [sent for sent in ended.requests if sent.url.path == ACTIONS]
    assert ended.response.status_code == 200
    assert wallet.logins == 2
    assert [sent.headers["Authorization"] for sent in mine] == ["Bearer token-1", "Bearer token-2"]
    assert ended.clock.sleeps == []
    assert ended.outcome.attempts[0].change == ("refresh",)
    assert not ended.outcome.maybe_applied


def test_a_token_within_its_day_is_not_renewed(run: Run) -> None:
    """Something else is wrong, and a new one would not help."""
    wallet = Wallet(OK)
    wallet.server = wallet.after(DAY - 1, refused(401))
    ended = run("dual", wallet, auth=wallet.auth, clock=wallet.clock)
    assert ended.attempts == 1
    assert wallet.logins == 1
    assert ended.outcome.reason == "not_retryable"


def test_a_jwt_says_itself_when_it_ends(run: Run) -> None:
    """Its exp counts, not the API's 24 hours; judged by the transport's clock."""
    wallet = Wallet(OK, token=lambda number: jwt(NOW + 600 * number))
    wallet.server = in_turn(wallet.after(600, refused(401)), OK)
    ended = run("dual", wallet, auth=wallet.auth, clock=wallet.clock)
    assert ended.response.status_code == 200
    assert wallet.logins == 2


def test_a_jwt_that_lives_longer_than_a_day_is_not_renewed_after_one(run: Run) -> None:
    """The same, the other way round."""
    wallet = Wallet(OK, token=lambda _number: jwt(NOW + 7 * DAY))
    wallet.server = wallet.after(2 * DAY, refused(401))
    ended = run("dual", wallet, auth=wallet.auth, clock=wallet.clock)
    assert wallet.logins == 1
    assert ended.outcome.reason == "not_retryable"


def test_a_new_token_that_is_refused_goes_to_the_caller(run: Run) -> None:
    """Once: the second 401 comes with a live token, or with one that ended again; neither is sent a third time."""
    wallet = Wallet(OK)
    wallet.server = wallet.after(DAY, refused(401))
    ended = run("dual", wallet, auth=wallet.auth, clock=wallet.clock)
    assert ended.attempts == 2
    assert wallet.logins == 2
    assert ended.outcome.reason == "attempts_exhausted"
    live = Wallet(OK)
    live.server = in_turn(live.after(DAY, refused(401)), refused(401))
    ended = run("dual", live, auth=live.auth, clock=live.clock)
    assert ended.attempts == 2
    assert ended.outcome.reason == "not_retryable"


def test_an_api_key_cannot_be_renewed(run: Run) -> None:
    """A 401 without a token of the client's own."""
    ended = run("dual", refused(401), headers={"x-api-key": "mine"})
    assert len(ended.requests) == 1
    assert ended.outcome.reason == "not_retryable"


@pytest.mark.parametrize("path", [LOGIN, f"/api/v2{LOGIN}"])
def test_a_401_of_the_login_never_starts_another_login(run: Run, path: str) -> None:
    """Where it is the call itself."""
    wallet = Wallet(OK)
    seen: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        if request.url.path == path and len(seen) > 1:
            wallet.clock.advance(2 * DAY)
            return httpx.Response(401, json={"error": {"code": 401, "message": "Invalid credentials"}})
        return httpx.Response(200, json={"token": "token-1"})

    auth = TokenAuth(lambda: httpx.Request("POST", f"{BASE}/first{LOGIN}"))
    ended = run("dual", server, "POST", path, auth=auth, clock=wallet.clock)
    assert ended.outcome.verdict.name == "INVALID_CREDENTIALS"
    assert ended.outcome.reason == "not_retryable"
    assert seen == [f"/first{LOGIN}", path]


def test_a_refused_login_ends_the_call_that_needed_it(run: Run) -> None:
    """Where a call needs it: an ApiError of the login's response, and one login."""
    ended = run("dual", refused(401), auth=TokenAuth(httpx.Request("POST", BASE + LOGIN)))
    assert [sent.url.path for sent in ended.requests] == [LOGIN]
    assert ended.api_error.name == "INVALID_CREDENTIALS"
    assert ended.api_error.request.url.path == LOGIN
    assert "Authorization" not in ended.requests[0].headers


# ----------------------------------------------------------------------------------------------------------- rate limits

HTTP_NOW = "Sun, 15 Jun 2025 15:06:40 GMT"

LIMITS: list[Any] = [
    pytest.param({"Retry-After": "12", "X-RateLimit-Reset": str(NOW + 50)}, 12, id="seconds"),
    pytest.param({"Retry-After": str(NOW + 15)}, 15, id="epoch seconds"),
    pytest.param(
        {"Retry-After": "1711036800", "Date": "Thu, 21 Mar 2024 15:59:45 GMT"}, 15, id="epoch by their clock"
    ),
    pytest.param({"Retry-After": "Sun, 15 Jun 2025 15:07:10 GMT"}, 30, id="a date"),
    pytest.param({"Retry-After": "Sun, 15 Jun 2025 15:06:00 GMT"}, 0, id="a date that has passed means now"),
    pytest.param({"X-RateLimit-Reset": str(NOW + 20)}, 20, id="the reset"),
    pytest.param({"X-RateLimit-Reset": str(NOW + 20), "Date": HTTP_NOW}, 20, id="the reset by their clock"),
    pytest.param(
        {"Retry-After": "x", "X-RateLimit-Reset": str(NOW + 20)}, 20, id="unreadable, then the reset"
    ),
    pytest.param(
        {"Retry-After": str(NOW - 15), "X-RateLimit-Reset": str(NOW + 20)}, 20, id="passed, then the reset"
    ),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("headers", "seconds"), LIMITS)
def test_a_rate_limit_waits_where_it_is_told(
    run: Run, method: str, headers: dict[str, str], seconds: float
) -> None:
    """Retry-After in seconds, as a date or as a point in time, else X-RateLimit-Reset; for every method."""
    ended = run("dual", in_turn(refused(429, headers), OK), method, "/objects")
    assert ended.response.status_code == 200
    assert ended.waits == spread(seconds)
    assert not ended.outcome.maybe_applied


def test_a_rate_limit_that_says_nothing_backs_off(run: Run) -> None:
    """Exponential, four retries."""
    ended = run("dual", answer(429, text="Too Many Requests"), "POST", "/objects")
    assert ended.waits == up_to(0.5, 1, 2, 4)
    assert ended.outcome.reason == "attempts_exhausted"
    assert (ended.outcome.verdict.name, ended.outcome.verdict.category) == ("RATE_LIMITED", "rate_limit")


def test_an_epoch_far_ahead_is_too_long(run: Run) -> None:
    """Not a wait of fifty years, and not a wait of nothing."""
    ended = run("dual", refused(429, {"Retry-After": str(NOW + 301)}))
    assert len(ended.requests) == 1
    assert ended.outcome.reason == "wait_too_long"


# -------------------------------------------------------------------------------------------------------- the other side


SERVER = [
    pytest.param(500, "SERVER_ERROR", "server", id="500"),
    pytest.param(503, "UNAVAILABLE", "server", id="503"),
    pytest.param(504, "GATEWAY_TIMEOUT", "upstream", id="504"),
]


@pytest.mark.parametrize(
    ("method", "key", "again"),
    [
        ("GET", None, True),
        ("PUT", None, True),
        ("DELETE", None, True),
        ("POST", None, False),
        ("PATCH", None, False),
        ("POST", "transfer-7f21-1", True),
        ("PATCH", "transfer-7f21-1", True),
    ],
)
@pytest.mark.parametrize(("status", "name", "category"), SERVER)
def test_a_server_error_is_retried_where_that_is_safe(
    run: Run, *, status: int, name: str, category: str, method: str, key: str | None, again: bool
) -> None:
    """Decision 4: idempotent methods, and whatever carries a key."""
    headers = {} if key is None else {"Idempotency-Key": key}
    ended = run("dual", refused(status), method, ACTIONS, headers=headers, client={"raise_for_status": True})
    assert ended.waits == (up_to(0.5, 1, 2, 4) if again else [])
    assert ended.outcome.reason == ("attempts_exhausted" if again else "not_retryable")
    assert (ended.api_error.name, ended.api_error.category) == (name, category)
    assert ended.outcome.maybe_applied is (method != "GET")
    assert set(ended.header("Idempotency-Key")) == {key}


def test_the_caller_may_say_that_twice_does_no_harm(run: Run) -> None:
    """idempotent=True on the request."""
    ended = run("dual", refused(500), "POST", ACTIONS, ask={"idempotent": True})
    assert len(ended.requests) == 5


def test_unavailable_waits_where_it_is_told(run: Run) -> None:
    """Retry-After, if sent."""
    assert run("dual", refused(503, {"Retry-After": "10"})).waits == spread(10, 10, 10, 10)


def test_no_key_is_made_where_the_api_asks_for_none(run: Run) -> None:
    """A key that the API does not know would make nothing safe."""
    ended = run("dual", OK, "POST", ACTIONS)
    assert ended.header("Idempotency-Key") == [None]


# -------------------------------------------------------------------------------------------------------- object locked


@pytest.mark.parametrize("status", [409, 422])
def test_object_locked_is_off_by_default(run: Run, status: int) -> None:
    """No code is published that tells it from the rest."""
    ended = run("dual", refused(status, code=4230), "POST", ACTIONS)
    assert len(ended.requests) == 1


@pytest.mark.parametrize("status", [409, 422])
@pytest.mark.parametrize("codes", ["4230", "[4229, 4230]"])
def test_object_locked_is_switched_on_in_one_line(run: Run, tmp_path: Path, status: int, codes: str) -> None:
    """A policy of two lines that extends this one: retried for any method, for the locked object took no action."""
    mine = tmp_path / "mine.toml"
    mine.write_text(f'extends = "dual"\ncodes = {{ OBJECT_LOCKED = {codes} }}\n', encoding="utf-8")
    ended = run(mine, in_turn(*[refused(status, code=4230)] * 3, OK), "POST", ACTIONS)
    assert ended.response.status_code == 200
    assert ended.waits == up_to(0.5, 1, 2)
    assert ended.outcome.attempts[0].verdict.name == "OBJECT_LOCKED"
    assert ended.outcome.attempts[0].verdict.category == "conflict"
    other = run(mine, refused(status, code=4231), "POST", ACTIONS)
    assert len(other.requests) == 1


# ------------------------------------------------------------------------------------------------------ classify, debug


def test_classify_leaves_conditions_out() -> None:
    """Whether the token has ended is known to the call, not to the reply: retryable is False."""
    verdict = load_policy("dual").classify(
        httpx.Response(401, json={"error": {"code": 401, "message": "Token expired"}})
    )
    assert (verdict.name, verdict.retryable) == ("AUTHENTICATION_ERROR", False)
    verdict = load_policy("dual").classify(httpx.Response(503))
    assert (verdict.name, verdict.retryable) == ("UNAVAILABLE", True)


def test_classify_knows_the_route() -> None:
    """A 401 of the login is another error than a 401 elsewhere."""
    request = httpx.Request("POST", f"{BASE}/api{LOGIN}")
    assert load_policy("dual").classify(httpx.Response(401, request=request)).name == "INVALID_CREDENTIALS"


def test_debug_shows_each_request_and_response_and_no_secret(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr."""
    run(
        "dual",
        in_turn(refused(503), OK),
        "POST",
        "/objects?ticket=s3cret-query",
        headers={
            "x-api-key": "s3cret-key",
            "Authorization": "Bearer s3cret-token",
            "Idempotency-Key": "k-0001",
        },
        json={"name": "Ring", "password": "s3cret-password"},
        client={"debug": True},
    )
    err = capsys.readouterr().err
    assert err.count("POST") == 2
    assert "/objects" in err
    assert "503" in err
    assert "200" in err
    assert "Ring" in err
    assert "s3cret" not in err
