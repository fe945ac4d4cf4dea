"""What real APIs do that a format of this kind must not find hard: each said in a small policy file, and done."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from scenario import Run, answer, fail, in_turn, spread, up_to

from resilient_client import HmacAuth, load_policy

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_750_000_000  # the clock's first second
OK = answer(200, {"ok": True})
BACKOFF = up_to(0.5, 1, 2, 4)


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Write a policy file and give its path."""

    def write(toml: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(toml, encoding="utf-8")
        return path

    return write


# ---------------------------------------------------------------------------------------------------------------- Slack

SLACK = """
api = "slack"
envelope = { code = "/error" }

[[rules]]
name = "ratelimited"
when = { status = 200, code = "ratelimited", body = { "/ok" = false } }
category = "rate_limit"
retry = { unsafe = true }

[[rules]]
name = "any other error"
when = { status = 200, body = { "/ok" = false } }
"""


def test_slack_hides_a_rate_limit_in_a_200(run: Run, written: Any) -> None:
    """It is waited for, and what follows is the caller's."""
    limited = answer(200, {"ok": False, "error": "ratelimited"}, headers={"Retry-After": "30"})
    ended = run(
        written(SLACK), in_turn(limited, limited, OK), "POST", "/api/chat.postMessage", json={"text": "hi"}
    )
    assert ended.response.json() == {"ok": True}
    assert ended.waits == spread(30, 30)
    assert [attempt.status for attempt in ended.outcome.attempts] == [200, 200, 200]
    assert not ended.outcome.maybe_applied


def test_slack_hides_every_other_error_in_a_200_too(run: Run, written: Any) -> None:
    """It is an error to raise_for_status, and is not sent again."""
    reply = answer(200, {"ok": False, "error": "invalid_auth"})
    ended = run(written(SLACK), reply, client={"raise_for_status": True})
    assert len(ended.requests) == 1
    assert (ended.api_error.name, ended.api_error.code) == ("any other error", "invalid_auth")
    assert ended.api_error.outcome.reason == "not_retryable"


def test_slacks_successes_stay_successes(run: Run, written: Any) -> None:
    """Read by the transport, and still whole; a file that is no JSON is not read."""
    assert run(written(SLACK), OK, client={"raise_for_status": True}).response.json() == {"ok": True}
    ended = run(written(SLACK), answer(200, text='{"ok": false}'), client={"raise_for_status": True})
    assert ended.outcome.reason == "success"


# --------------------------------------------------------------------------------------------------------------- GitHub

GITHUB = """
api = "github"
envelope = { message = "/message" }

[[rules]]
name = "primary rate limit"
when = { status = [403, 429], headers = { x-ratelimit-remaining = "0" } }
category = "rate_limit"
retry = { after = ["Retry-After", { header = "x-ratelimit-reset", as = "epoch" }], wait = 60, unsafe = true }

[[rules]]
name = "secondary rate limit"
when = { status = [403, 429], headers = { Retry-After = true } }
category = "rate_limit"
retry = { unsafe = true }

[[rules]]
name = "forbidden"
when = { status = 403, headers = { Retry-After = false } }
category = "permission"
"""


def test_github_limits_by_403_when_nothing_remains(run: Run, written: Any) -> None:
    """Until the reset, a point in time; for a POST as well."""
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(NOW + 42)}
    ended = run(
        written(GITHUB), in_turn(answer(403, {"message": "limit"}, headers=headers), OK), "POST", "/graphql"
    )
    assert ended.response.status_code == 200
    assert ended.waits == spread(42)


def test_github_limits_by_403_and_retry_after(run: Run, written: Any) -> None:
    """The secondary limit."""
    headers = {"X-RateLimit-Remaining": "4990", "Retry-After": "60"}
    ended = run(written(GITHUB), in_turn(answer(403, headers=headers), OK), "POST", "/graphql")
    assert ended.waits == spread(60)
    assert ended.outcome.attempts[0].verdict.name == "secondary rate limit"


def test_any_other_403_of_github_is_a_403(run: Run, written: Any) -> None:
    """Some remains, so it is the permission that is missing."""
    ended = run(written(GITHUB), answer(403, headers={"X-RateLimit-Remaining": "4990"}))
    assert len(ended.requests) == 1
    assert (ended.outcome.verdict.name, ended.outcome.verdict.category) == ("forbidden", "permission")


# --------------------------------------------------------------------------------------------------------------- OpenAI

OPENAI = """
api = "openai"
extends = "default"
should_retry = "x-should-retry"
envelope = { code = ["/error/code", "/error/type"] }

[[rules]]
name = "insufficient_quota"
when = { status = 429, code = "insufficient_quota" }
category = "quota"

[[rules]]
name = "rate_limit_exceeded"
when = { status = 429, code = "rate_limit_exceeded" }
category = "rate_limit"
retry = { after = ["retry-after-ms", "Retry-After"], unsafe = true }
"""


def openai(status: int, code: str, **headers: str) -> Any:
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(status, {"error": {"message": "?", "type": code, "code": code}}, headers=lines)


def test_openais_spent_quota_is_final(run: Run, written: Any) -> None:
    """A 429 that no waiting cures."""
    ended = run(written(OPENAI), openai(429, "insufficient_quota", retry_after="1"), "POST", "/v1/responses")
    assert len(ended.requests) == 1
    assert ended.outcome.reason == "not_retryable"
    assert ended.outcome.verdict.category == "quota"


def test_openais_rate_limit_is_waited_for(run: Run, written: Any) -> None:
    """retry-after-ms is closer than Retry-After."""
    reply = openai(429, "rate_limit_exceeded", retry_after_ms="1500", retry_after="2")
    ended = run(written(OPENAI), in_turn(reply, OK), "POST", "/v1/responses")
    assert ended.waits == spread(1.5)
    ended = run(
        written(OPENAI),
        in_turn(openai(429, "rate_limit_exceeded", retry_after="2"), OK),
        "POST",
        "/v1/responses",
    )
    assert ended.waits == spread(2)


@pytest.mark.parametrize(
    ("status", "code"), [(429, "rate_limit_exceeded"), (500, "server_error"), (503, "x")]
)
@pytest.mark.parametrize("word", ["false", "False", " false "])
def test_x_should_retry_false_overrides_all_else(
    run: Run, written: Any, status: int, code: str, word: str
) -> None:
    """Even where the rules would retry."""
    ended = run(written(OPENAI), openai(status, code, x_should_retry=word))
    assert len(ended.requests) == 1
    assert ended.outcome.reason == "not_retryable"


@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "insufficient_quota"), (400, "x"), (409, "conflict"), (500, "server_error"), (418, "x")],
)
def test_x_should_retry_true_overrides_all_else(run: Run, written: Any, status: int, code: str) -> None:
    """Even where the rules would not, and for a POST: the server knows that it did nothing."""
    reply = openai(status, code, x_should_retry="true", retry_after_ms="700")
    ended = run(written(OPENAI), in_turn(reply, reply, OK), "POST", "/v1/responses", json={"input": "hi"})
    assert ended.response.status_code == 200
    assert ended.waits == spread(0.7, 0.7)
    assert len({sent.body for sent in ended.requests}) == 1


def test_x_should_retry_true_is_not_for_ever(run: Run, written: Any) -> None:
    """Four retries, and never beyond what the caller allows."""
    reply = openai(400, "x", x_should_retry="true")
    ended = run(written(OPENAI), reply, "POST", "/v1/responses")
    assert ended.waits == BACKOFF
    assert ended.outcome.reason == "attempts_exhausted"
    off = run(written(OPENAI), reply, "POST", "/v1/responses", ask={"retry": False})
    assert len(off.requests) == 1


def test_classify_hears_the_servers_own_word(written: Any) -> None:
    """It is in the reply."""
    policy = load_policy(written(OPENAI))
    assert policy.classify(httpx.Response(400, headers={"x-should-retry": "true"})).retryable
    assert not policy.classify(httpx.Response(500, headers={"x-should-retry": "false"})).retryable


# --------------------------------------------------------------------------------------------------------------- Stripe

STRIPE = """
api = "stripe"
should_retry = "stripe-should-retry"
envelope = { code = ["/error/code", "/error/type"], message = "/error/message", field = "/error/param" }
idempotency = { routes = ["POST **"], length = [1, 255] }

[[rules]]
name = "lock_timeout"
when = { status = 409, code = "lock_timeout" }
category = "conflict"
retry = { retries = 2, backoff = { first = 0.5, max = 2 }, unsafe = true }

[[rules]]
name = "key in progress"
when = { status = 409, code = ["idempotency_key_in_use", "idempotency_error"] }
category = "conflict"
retry = { retries = 3, schedule = [2, 5, 10], unsafe = true }

[[rules]]
name = "conflict"
when = { status = 409 }
category = "conflict"

[[rules]]
name = "server"
when = { status = "5xx" }
category = "server"
retry = {}
"""


def stripe(status: int, code: str, headers: dict[str, str] | None = None) -> Any:
    return answer(
        status, {"error": {"type": "invalid_request_error", "code": code, "message": "?"}}, headers=headers
    )


def test_stripes_lock_timeout_is_retried_under_its_key(run: Run, written: Any) -> None:
    """Twice, with the same key and bytes."""
    ended = run(written(STRIPE), stripe(409, "lock_timeout"), "POST", "/v1/charges", data={"amount": "200"})
    assert ended.waits == up_to(0.5, 1)
    assert len(set(ended.header("Idempotency-Key"))) == 1
    assert None not in ended.header("Idempotency-Key")
    assert len({sent.body for sent in ended.requests}) == 1


def test_a_key_that_is_still_in_progress_is_waited_for(run: Run, written: Any) -> None:
    """The first request is at work; under the same key its answer comes."""
    ended = run(
        written(STRIPE), stripe(409, "idempotency_key_in_use"), "POST", "/v1/charges", data={"amount": "200"}
    )
    assert ended.waits == spread(2, 5, 10)
    assert len(set(ended.header("Idempotency-Key"))) == 1


def test_the_two_conflicts_are_counted_apart(run: Run, written: Any) -> None:
    """Each rule has its own retries in one call."""
    busy, locked = stripe(409, "idempotency_key_in_use"), stripe(409, "lock_timeout")
    ended = run(written(STRIPE), in_turn(locked, busy, locked, busy, OK), "POST", "/v1/charges")
    assert ended.response.status_code == 200
    assert ended.waits == [*up_to(0.5), *spread(2), *up_to(1), *spread(5)]


def test_any_other_conflict_of_stripes_is_final(run: Run, written: Any) -> None:
    """Unless Stripe says so itself."""
    assert len(run(written(STRIPE), stripe(409, "other"), "POST", "/v1/charges").requests) == 1
    told = stripe(409, "other", {"Stripe-Should-Retry": "true"})
    assert len(run(written(STRIPE), in_turn(told, OK), "POST", "/v1/charges").requests) == 2
    not_told = stripe(500, "x", {"Stripe-Should-Retry": "false"})
    assert len(run(written(STRIPE), not_told, "POST", "/v1/charges").requests) == 1


# ------------------------------------------------------------------------------------------------------------ Anthropic

ANTHROPIC = """
api = "anthropic"
should_retry = "x-should-retry"
envelope = { code = "/error/type", message = "/error/message", request_id = "/request_id", request_id_header = "request-id" }

[[rules]]
name = "overloaded_error"
when = { status = 529, code = "overloaded_error" }
category = "server"
retry = { after = ["retry-after-ms", "Retry-After"], unsafe = true }
"""


def test_anthropics_529_is_a_status_like_any_other(run: Run, written: Any) -> None:
    """Retried for a POST, by the rule that names it; the request id is found."""
    reply = answer(
        529,
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        headers={"request-id": "req_1"},
    )
    ended = run(
        written(ANTHROPIC), reply, "POST", "/v1/messages", json={"a": 1}, client={"raise_for_status": True}
    )
    assert ended.waits == BACKOFF
    assert ended.api_error.response.status_code == 529
    assert (ended.api_error.name, ended.api_error.request_id) == ("overloaded_error", "req_1")


# -------------------------------------------------------------------------------------------------------------- Discord

DISCORD = """
api = "discord"
envelope = { code = "/code", message = "/message" }

[[rules]]
name = "rate limited"
when = { status = 429 }
category = "rate_limit"
retry = { after = ["/retry_after", "Retry-After"], unsafe = true }
"""


@pytest.mark.parametrize("seconds", [0.65, 64.57, 3])
def test_discord_tells_fractions_in_the_body(run: Run, written: Any, seconds: float) -> None:
    """More exactly than the header, which is rounded."""
    reply = answer(
        429, {"message": "limited", "retry_after": seconds, "global": False}, headers={"Retry-After": "65"}
    )
    ended = run(written(DISCORD), in_turn(reply, OK), "POST", "/channels/1/messages", json={})
    assert ended.waits == spread(seconds)
    assert ended.outcome.attempts[0].verdict.retry_after == seconds


# --------------------------------------------------------------------------------------------------------------- Google

GOOGLE = """
api = "google"
envelope = { code = "/error/status", message = "/error/message", details = "/error/details" }

[[rules]]
name = "RESOURCE_EXHAUSTED"
when = { status = 429, code = "RESOURCE_EXHAUSTED" }
category = "rate_limit"
retry = { after = ["/error/details/*/retryDelay"], unsafe = true }
"""


def test_google_tells_a_duration_inside_a_list_of_details(run: Run, written: Any) -> None:
    """RetryInfo stands among other details, in any place."""
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s"},
    ]
    reply = answer(
        429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "?", "details": details}}
    )
    ended = run(written(GOOGLE), in_turn(reply, OK), "POST", "/v1/models:generate", json={})
    assert ended.waits == spread(3.5)
    bare = answer(429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "?"}})
    assert run(written(GOOGLE), bare).waits == BACKOFF


# -------------------------------------------------------------------------------------------------------------- Shopify

SHOPIFY = """
api = "shopify"
envelope = { code = "/errors/*/extensions/code", message = "/errors/*/message" }

[[rules]]
name = "THROTTLED"
when = { status = 200, code = "THROTTLED" }
category = "rate_limit"

[rules.retry]
unsafe = true

[[rules.retry.after]]
need = "/extensions/cost/requestedQueryCost"
have = "/extensions/cost/throttleStatus/currentlyAvailable"
rate = "/extensions/cost/throttleStatus/restoreRate"
"""


def test_shopifys_bucket_is_worked_out(run: Run, written: Any) -> None:
    """(requested - available) / restore rate, in a 200 body."""
    body = {
        "errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}],
        "extensions": {
            "cost": {
                "requestedQueryCost": 752,
                "throttleStatus": {
                    "maximumAvailable": 1000.0,
                    "currentlyAvailable": 152,
                    "restoreRate": 50.0,
                },
            }
        },
    }
    done = answer(200, {"data": {"shop": {"name": "x"}}})
    server = in_turn(answer(200, body), done)
    ended = run(written(SHOPIFY), server, "POST", "/admin/api/graphql.json", json={"query": "{shop{name}}"})
    assert ended.response.json()["data"]["shop"]["name"] == "x"
    assert ended.waits == spread(12)
    assert ended.outcome.attempts[0].verdict.code == "THROTTLED"
    assert not ended.outcome.maybe_applied


# ----------------------------------------------------------------------------------------------------------------- keys

KEYS = """
api = "keys"

[idempotency]
%s
routes = ["POST /orders"]

[[rules]]
name = "server"
when = { status = "5xx" }
retry = {}
"""
BUSY = answer(503)


def test_a_key_may_be_sent_quoted(run: Run, written: Any) -> None:
    """As the structured-field string that the Idempotency-Key draft asks for; the outcome has it plain."""
    policy = written(KEYS % "quoted = true")
    ended = run(policy, BUSY, "POST", "/orders")
    assert ended.header("Idempotency-Key") == [f'"{ended.outcome.idempotency_key}"'] * 5
    own = run(policy, BUSY, "POST", "/other", ask={"idempotency_key": 'say "hi" \\ now'})
    assert own.header("Idempotency-Key") == ['"say \\"hi\\" \\\\ now"'] * 5
    assert own.outcome.idempotency_key == 'say "hi" \\ now'
    by_hand = run(policy, BUSY, "POST", "/orders", headers={"Idempotency-Key": '"mine"'})
    assert by_hand.header("Idempotency-Key") == ['"mine"'] * 5
    assert by_hand.outcome.idempotency_key == "mine"


def test_a_key_may_have_another_header(run: Run, written: Any) -> None:
    """And then Idempotency-Key means nothing."""
    policy = written(KEYS % 'header = "X-Request-Token"\nlength = [4, 10]')
    ended = run(policy, BUSY, "POST", "/other", ask={"idempotency_key": "tok-1"})
    assert ended.header("X-Request-Token") == ["tok-1"] * 5
    assert ended.header("Idempotency-Key") == [None] * 5
    assert len(run(policy, BUSY, "POST", "/other", headers={"X-Request-Token": "tok-1"}).requests) == 5
    assert len(run(policy, BUSY, "POST", "/other", headers={"Idempotency-Key": "tok-1"}).requests) == 1
    long = run(policy, BUSY, "POST", "/other", ask={"idempotency_key": "k" * 11})
    assert isinstance(long.error, ValueError)
    assert long.requests == []


def test_a_key_that_is_made_fits_the_apis_length(run: Run, written: Any) -> None:
    """What the library makes is held to what it holds callers to."""
    policy = written(KEYS % "length = [4, 10]")
    ended = run(policy, BUSY, "POST", "/orders")
    key = ended.header("Idempotency-Key")[0]
    assert key is not None
    assert 4 <= len(key) <= 10


def test_a_key_may_travel_in_the_body(run: Run, written: Any) -> None:
    """One is made for the route, the same on every attempt, and what signs signs the body that is sent."""
    policy = written(KEYS % 'field = "/client_ref"')
    ended = run(
        policy, BUSY, "POST", "/orders", content=b'{"amount": 1.50}', auth=HmacAuth("public", "secret")
    )
    assert len(ended.requests) == 5
    assert len({sent.body for sent in ended.requests}) == 1
    body = json.loads(ended.requests[0].body)
    assert body == {"amount": 1.5, "client_ref": ended.outcome.idempotency_key}
    for sent in ended.requests:
        assert sent.headers["X-API-SIGN"] == hmac.new(b"secret", sent.body, hashlib.sha256).hexdigest()
    assert len(set(ended.header("X-API-NONCE"))) == 5


def test_a_key_in_the_body_protects_a_lost_reply(run: Run, written: Any) -> None:
    """As one in a header does."""
    policy = written(KEYS % 'field = "/meta/ref"')
    server = in_turn(fail(httpx.ReadTimeout), OK)
    ended = run(policy, server, "POST", "/other", json={"meta": {"ref": "r-1"}})
    assert ended.response.status_code == 200
    assert ended.outcome.idempotency_key == "r-1"
    nested = run(policy, BUSY, "POST", "/other", json={"meta": {"a": 1}}, ask={"idempotency_key": "r-2"})
    assert [json.loads(sent.body) for sent in nested.requests] == [{"meta": {"a": 1, "ref": "r-2"}}] * 5
