"""0trace Partner API: each row of its error table, seen from outside."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from scenario import Run, Within, answer, error_response, fail, in_turn, spread, up_to

from resilient_client import HmacAuth, load_policy
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from scenario import Ended

SECRET = "partner-secret-0123456789"
ORDER = {"from": "BTC", "to": "XMR", "amount": "0.015"}
CREATE = "/api/v1/create"
QR = "/api/v1/qr"


def signer() -> HmacAuth:
    return HmacAuth("pk_partner_1", SECRET)


def refused(status: int, code: int, **headers: str) -> Any:
    return answer(status, {"code": code, "msg": "SAID_BY_THE_SERVER"}, headers=headers)


CREATED = answer(200, {"code": 0, "data": {"id": "ord_1", "token": "t"}})


def assert_signed_anew(ended: Ended) -> None:
    """Each request carries a nonce of its own and the signature of its own bytes."""
    nonces = ended.header("X-API-NONCE")
    assert None not in nonces
    assert len(set(nonces)) == len(nonces)
    assert all(16 <= len(nonce or "") <= 64 for nonce in nonces)
    for sent in ended.requests:
        assert sent.headers["X-API-KEY"] == "pk_partner_1"
        assert sent.headers["X-API-SIGN"] == hmac.new(SECRET.encode(), sent.body, hashlib.sha256).hexdigest()


def assert_same_message(ended: Ended) -> None:
    """Each request carries the same key and the same bytes."""
    assert len({sent.headers.get("Idempotency-Key") for sent in ended.requests}) == 1
    assert len({sent.body for sent in ended.requests}) == 1


FINAL = [
    pytest.param(400, 1, "INVALID_REQUEST", "validation", id="1"),
    pytest.param(409, 1, "INVALID_REQUEST", "validation", id="1-key-reused"),
    pytest.param(401, 2, "AUTH_REQUIRED", "auth", id="2"),
    pytest.param(401, 4, "AUTH_DISABLED", "auth", id="4"),
    pytest.param(404, 6, "NOT_FOUND", "not_found", id="6"),
    pytest.param(400, 7, "LIMIT_MIN", "business", id="7"),
    pytest.param(400, 8, "LIMIT_MAX", "business", id="8"),
    pytest.param(400, 9, "RESERVE_EXCEEDED", "quota", id="9-as-400"),
    pytest.param(403, 9, "RESERVE_EXCEEDED", "quota", id="9-as-403"),
    pytest.param(503, 9, "RESERVE_EXCEEDED", "quota", id="9-as-503"),
    pytest.param(400, 12, "EMERGENCY_INVALID_CHOICE", "validation", id="12"),
    pytest.param(403, 13, "LIMIT_EXCEEDED", "quota", id="13"),
    pytest.param(409, 14, "ROTATION_CONFLICT", "conflict", id="14"),
]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize(("status", "code", "name", "category"), FINAL)
def test_a_final_code_is_never_sent_again(
    run: Run, *, method: str, status: int, code: int, name: str, category: str
) -> None:
    """Whatever the method, the key, the signer and the caller's own word that twice does no harm."""
    ended = run(
        "zerotrace",
        refused(status, code),
        method,
        QR,
        auth=signer(),
        headers={"Idempotency-Key": "order-0001"},
        ask={"idempotent": True},
        client={"raise_for_status": True},
    )
    error = ended.api_error
    assert len(ended.requests) == ended.attempts == 1
    assert ended.clock.sleeps == []
    assert ended.outcome.reason == "not_retryable"
    assert (error.api, error.name, error.code, error.category) == ("zerotrace", name, code, category)
    assert error.response.status_code == status
    assert error.cause
    assert error.remedy
    assert error.user_message
    assert "SAID_BY_THE_SERVER" in str(error)
    assert "SAID_BY_THE_SERVER" not in error.user_message


def test_a_final_5xx_code_leaves_doubt_only_where_the_status_does(run: Run) -> None:
    """A refusal by 4xx took no effect."""
    ended = run("zerotrace", refused(409, 14), "POST", "/api/v1/keys/rotate", auth=signer())
    assert not ended.outcome.maybe_applied


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_auth_invalid_is_signed_again_once_and_at_once(run: Run, method: str) -> None:
    """Code 3 with a signer: one more attempt, no wait, a new nonce."""
    ended = run("zerotrace", in_turn(refused(401, 3), CREATED), method, QR, auth=signer())
    assert ended.response.status_code == 200
    assert ended.outcome.reason == "success"
    assert ended.waits == [0]
    assert ended.clock.sleeps == []
    assert ended.outcome.attempts[0].change == ("nonce",)
    assert_signed_anew(ended)


def test_auth_invalid_twice_goes_to_the_caller(run: Run) -> None:
    """Code 3 is retried once in a call, not more."""
    ended = run("zerotrace", refused(401, 3), "POST", CREATE, auth=signer(), json=ORDER)
    assert len(ended.requests) == 2
    assert ended.outcome.reason == "attempts_exhausted"
    assert ended.outcome.verdict.name == "AUTH_INVALID"
    assert not ended.outcome.maybe_applied
    assert_signed_anew(ended)
    assert_same_message(ended)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_auth_invalid_without_a_signer_changes_nothing_and_is_not_retried(run: Run, method: str) -> None:
    """The same signature would be refused the same way."""
    ended = run("zerotrace", refused(401, 3), method, QR, headers={"X-API-SIGN": "made-by-hand"})
    assert len(ended.requests) == 1
    assert ended.outcome.reason == "cannot_change"


def test_a_401_is_judged_by_its_code_and_not_by_its_status(run: Run) -> None:
    """A 401 with a code that nobody knows, or with none, is final."""
    for reply in (
        refused(401, 77),
        answer(401, text="<html>Unauthorized</html>"),
        answer(401, {"code": "3"}),
    ):
        ended = run("zerotrace", reply, auth=signer())
        assert len(ended.requests) == 1
        assert ended.outcome.reason == "not_retryable"


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("asked", [0, 1, 7, 60, 240])
def test_rate_limit_waits_as_long_as_it_is_told_and_no_less(run: Run, method: str, asked: int) -> None:
    """Code 5: Retry-After is a lower bound; four retries; the nonce is new, the key is not."""
    ended = run(
        "zerotrace",
        refused(429, 5, **{"Retry-After": str(asked)}),
        method,
        CREATE,
        auth=signer(),
        json=ORDER if method == "POST" else None,
        client={"raise_for_status": True},
    )
    assert len(ended.requests) == 5
    assert ended.waits == spread(asked, asked, asked, asked)
    assert [attempt.wait for attempt in ended.outcome.attempts] == [*spread(asked, asked, asked, asked), 0]
    assert ended.outcome.reason == "attempts_exhausted"
    assert not ended.outcome.maybe_applied
    assert ended.api_error.retry_after == asked
    assert (ended.api_error.name, ended.api_error.code, ended.api_error.category) == (
        "RATE_LIMIT",
        5,
        "rate_limit",
    )
    assert_signed_anew(ended)
    assert_same_message(ended)


def test_rate_limit_over_the_longest_wait_ends_the_call_at_once(run: Run) -> None:
    """The policy's longest wait is 300 s: the client says so and sleeps for nothing."""
    ended = run("zerotrace", refused(429, 5, **{"Retry-After": "301"}), auth=signer())
    assert len(ended.requests) == 1
    assert ended.clock.sleeps == []
    assert ended.outcome.reason == "wait_too_long"
    assert ended.outcome.verdict.retry_after == 301


def test_a_wait_of_exactly_the_longest_is_waited(run: Run) -> None:
    """300 s are not over 300 s."""
    ended = run("zerotrace", in_turn(refused(429, 5, **{"Retry-After": "300"}), CREATED), auth=signer())
    assert ended.response.status_code == 200
    assert ended.waits == spread(300)


def test_rate_limit_over_the_deadline_ends_the_call_at_once(run: Run) -> None:
    """What does not fit into the caller's time is not begun."""
    ended = run("zerotrace", refused(429, 5, **{"Retry-After": "60"}), auth=signer(), client={"deadline": 59})
    assert len(ended.requests) == 1
    assert ended.clock.monotonic() == 0
    assert ended.outcome.reason == "deadline"


def test_rate_limit_without_a_number_backs_off(run: Run) -> None:
    """A proxy's 429 has no code and no Retry-After: exponential backoff."""
    ended = run("zerotrace", answer(429, text="Too Many Requests"), "POST", QR, auth=signer())
    assert ended.waits == up_to(0.5, 1, 2, 4)
    assert ended.outcome.verdict.name == "RATE_LIMIT"
    assert_signed_anew(ended)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_maintenance_is_tried_for_about_five_minutes(run: Run, method: str) -> None:
    """Code 10, any method: waits grow to a minute at most, until 300 s have passed."""
    ended = run("zerotrace", refused(503, 10), method, QR, auth=signer())
    ceilings = [min(60.0, 0.5 * 2**number) for number in range(len(ended.waits))]
    assert ended.waits == up_to(*ceilings)
    assert len(ended.requests) >= 10  # eleven waits at their ceilings are the fewest that reach 300 s
    assert ended.outcome.slept == Within(299.0, 300.0)
    assert ended.outcome.reason == "attempts_exhausted"
    assert ended.outcome.verdict.name == "MAINTENANCE"
    assert ended.outcome.maybe_applied is (method == "POST")
    assert_signed_anew(ended)
    assert_same_message(ended)


def test_maintenance_ends_when_the_site_is_back(run: Run) -> None:
    """The call goes on as if nothing had been."""
    ended = run(
        "zerotrace", in_turn(*[refused(503, 10)] * 6, CREATED), "POST", CREATE, auth=signer(), json=ORDER
    )
    assert ended.response.status_code == 200
    assert ended.attempts == 7
    assert ended.waits == up_to(0.5, 1, 2, 4, 8, 16)
    assert_same_message(ended)


def test_maintenance_counts_the_time_that_attempts_take(run: Run) -> None:
    """About 300 s, attempts included: slow replies make it fewer attempts."""
    clock = VirtualClock()

    def slow(_request: httpx.Request) -> httpx.Response:
        clock.advance(100)
        return httpx.Response(503, json={"code": 10, "msg": "MAINTENANCE"})

    ended = run("zerotrace", slow, auth=signer(), clock=clock)
    # Attempts end at 100, 200.., 300.. and 400..: three hundred seconds after the first one, it is over.
    assert len(ended.requests) in {3, 4}
    assert ended.outcome.reason == "attempts_exhausted"


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_upstream_error_keeps_to_its_schedule(run: Run, method: str) -> None:
    """Code 11, any method: 1, 2, 5 and 10 s, then an error that is fit for a partner's eyes."""
    ended = run("zerotrace", refused(503, 11), method, QR, auth=signer(), client={"raise_for_status": True})
    assert len(ended.requests) == 5
    assert ended.waits == spread(1, 2, 5, 10)
    assert ended.outcome.reason == "attempts_exhausted"
    error = ended.api_error
    assert (error.name, error.code, error.category) == ("UPSTREAM_ERROR", 11, "upstream")
    assert error.user_message
    assert "SAID_BY_THE_SERVER" not in error.user_message
    assert error.outcome.maybe_applied is (method != "GET")
    assert_signed_anew(ended)
    assert_same_message(ended)


def test_upstream_error_waits_longer_where_it_is_told_to(run: Run) -> None:
    """A server's wait is a lower bound under the schedule, too."""
    ended = run("zerotrace", refused(503, 11, **{"Retry-After": "4"}), auth=signer())
    assert ended.waits == spread(4, 4, 5, 10)


@pytest.mark.parametrize(("method", "path"), [("POST", CREATE), ("POST", QR), ("GET", "/api/v1/ccies")])
def test_internal_is_sent_again_once(run: Run, method: str, path: str) -> None:
    """Code 99, any method: one more attempt after a short backoff; an order goes under its key."""
    ended = run(
        "zerotrace", refused(500, 99), method, path, auth=signer(), json=ORDER if method == "POST" else None
    )
    assert len(ended.requests) == 2
    assert ended.waits == up_to(0.5)
    assert ended.outcome.reason == "attempts_exhausted"
    assert (ended.outcome.verdict.name, ended.outcome.verdict.code) == ("INTERNAL", 99)
    assert ended.outcome.maybe_applied is (method == "POST")
    assert (ended.header("Idempotency-Key")[0] is not None) is (path == CREATE)
    assert_signed_anew(ended)
    assert_same_message(ended)


# --------------------------------------------------------------------------------------------- replies without a code


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_5xx_without_a_code_is_retried_where_that_is_safe(run: Run, status: int) -> None:
    """Reads, and orders, which carry a key; no other POST."""
    page = answer(status, text="<html>Bad Gateway</html>")
    assert run("zerotrace", page, auth=signer()).waits == up_to(0.5, 1, 2, 4)
    create = run("zerotrace", page, "POST", CREATE, auth=signer(), json=ORDER)
    assert create.waits == up_to(0.5, 1, 2, 4)
    assert_signed_anew(create)
    assert_same_message(create)
    other = run("zerotrace", page, "POST", QR, auth=signer(), json=ORDER)
    assert len(other.requests) == 1
    assert other.outcome.reason == "not_retryable"
    assert other.outcome.maybe_applied


@pytest.mark.parametrize("status", [400, 402, 403, 404, 408, 409, 410, 422, 423, 501, 505])
def test_a_status_without_a_code_that_no_row_names_is_final(run: Run, status: int) -> None:
    """No retry for 4xx holds for every 4xx except 429; 501 and 505 do not pass."""
    ended = run("zerotrace", answer(status, text="?"), auth=signer())
    assert len(ended.requests) == 1
    assert ended.outcome.reason == "not_retryable"


# ------------------------------------------------------------------------------------------------ two rules in one call


def test_each_rule_counts_its_own_retries(run: Run) -> None:
    """Seven errors of three rules in one call, each within its own number, and then success."""
    ended = run(
        "zerotrace",
        in_turn(
            refused(401, 3),
            *[refused(503, 11)] * 4,
            refused(500, 99),
            refused(429, 5, **{"Retry-After": "9"}),
            CREATED,
        ),
        "POST",
        CREATE,
        auth=signer(),
        json=ORDER,
    )
    assert ended.response.status_code == 200
    assert ended.waits == [0, *spread(1, 2, 5, 10), *up_to(0.5), *spread(9)]
    assert [attempt.verdict.name for attempt in ended.outcome.attempts[:-1]] == [
        "AUTH_INVALID",
        *["UPSTREAM_ERROR"] * 4,
        "INTERNAL",
        "RATE_LIMIT",
    ]
    assert [attempt.number for attempt in ended.outcome.attempts] == list(range(1, 9))
    assert [attempt.status for attempt in ended.outcome.attempts] == [401, 503, 503, 503, 503, 500, 429, 200]
    assert ended.outcome.reason == "success"
    assert ended.outcome.maybe_applied
    assert_signed_anew(ended)
    assert_same_message(ended)


def test_a_rule_that_comes_back_goes_on_where_it_was(run: Run) -> None:
    """A rate limit in between does not start the schedule anew, nor does code 3 get a second chance."""
    limited = refused(429, 5, **{"Retry-After": "3"})
    ended = run(
        "zerotrace",
        in_turn(refused(401, 3), refused(503, 11), limited, refused(503, 11), limited, refused(401, 3)),
        auth=signer(),
    )
    assert ended.waits == [0, *spread(1), *spread(3), *spread(2), *spread(3)]
    assert ended.outcome.reason == "attempts_exhausted"
    assert ended.outcome.verdict.name == "AUTH_INVALID"


# -------------------------------------------------------------------------------------------------------- keys of orders


@pytest.mark.parametrize("path", ["/v1/create", "/api/v1/create", "/deep/er/api/v1/create"])
def test_an_order_always_carries_a_key(run: Run, path: str) -> None:
    """The route is matched against the end of the base path; the key is told in the outcome."""
    ended = run("zerotrace", in_turn(refused(503, 11), CREATED), "POST", path, auth=signer(), json=ORDER)
    first, second = ended.header("Idempotency-Key")
    assert first is not None
    assert 8 <= len(first) <= 128
    assert first == second == ended.outcome.idempotency_key


def test_two_orders_have_two_keys(run: Run) -> None:
    """A key belongs to one call."""
    one = run("zerotrace", CREATED, "POST", CREATE, auth=signer(), json=ORDER)
    other = run("zerotrace", CREATED, "POST", CREATE, auth=signer(), json=ORDER)
    assert one.header("Idempotency-Key") != other.header("Idempotency-Key")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", QR), ("GET", CREATE), ("POST", "/api/v1/create/again"), ("PUT", CREATE)]
)
def test_other_routes_get_no_key(run: Run, method: str, path: str) -> None:
    """Only POST /v1/create is given one."""
    ended = run("zerotrace", CREATED, method, path, auth=signer())
    assert ended.header("Idempotency-Key") == [None]
    assert ended.outcome.idempotency_key is None


def test_the_callers_own_key_is_kept(run: Run) -> None:
    """By header or by extension, on every attempt."""
    by_header = run(
        "zerotrace",
        refused(503, 11),
        "POST",
        CREATE,
        auth=signer(),
        json=ORDER,
        headers={"Idempotency-Key": "my-order-2041"},
    )
    by_extension = run(
        "zerotrace",
        refused(503, 11),
        "POST",
        CREATE,
        auth=signer(),
        json=ORDER,
        ask={"idempotency_key": "my-order-2042"},
    )
    assert by_header.header("Idempotency-Key") == ["my-order-2041"] * 5
    assert by_extension.header("Idempotency-Key") == ["my-order-2042"] * 5
    assert by_extension.outcome.idempotency_key == "my-order-2042"
    assert_signed_anew(by_extension)


@pytest.mark.parametrize("length", [0, 1, 7, 129, 1000])
@pytest.mark.parametrize("place", ["header", "extension"])
def test_a_key_that_the_api_would_refuse_is_a_value_error(run: Run, length: int, place: str) -> None:
    """8 to 128 characters; outside of that nothing is sent."""
    key = "k" * length
    if place == "header":
        ended = run(
            "zerotrace", CREATED, "POST", CREATE, auth=signer(), json=ORDER, headers={"Idempotency-Key": key}
        )
    else:
        ended = run(
            "zerotrace", CREATED, "POST", CREATE, auth=signer(), json=ORDER, ask={"idempotency_key": key}
        )
    assert isinstance(ended.error, ValueError)
    assert "8" in str(ended.error)
    assert "128" in str(ended.error)
    assert ended.requests == []


@pytest.mark.parametrize("length", [8, 128])
def test_the_shortest_and_the_longest_key_are_taken(run: Run, length: int) -> None:
    """The bounds are part of what is allowed."""
    ended = run(
        "zerotrace", CREATED, "POST", CREATE, auth=signer(), json=ORDER, ask={"idempotency_key": "k" * length}
    )
    assert ended.header("Idempotency-Key") == ["k" * length]


def test_a_key_makes_any_post_safe_to_repeat(run: Run) -> None:
    """A caller's key on a route that needs none protects it all the same."""
    ended = run(
        "zerotrace",
        answer(502, text="?"),
        "POST",
        QR,
        auth=signer(),
        json={},
        ask={"idempotency_key": "k" * 8},
    )
    assert len(ended.requests) == 5


# -------------------------------------------------------------------------------------------------------------- signing


@pytest.mark.parametrize("body", [b"", b"{}", b'{"a": 1}\n', "ünïcode".encode(), bytes(range(256))])
def test_the_signature_is_of_the_exact_bytes(run: Run, body: bytes) -> None:
    """Lower-case hex HMAC-SHA256 of what is on the wire; the empty body signs as zero bytes."""
    ended = run(
        "zerotrace",
        in_turn(refused(429, 5, **{"Retry-After": "1"}), CREATED),
        "POST",
        QR,
        auth=signer(),
        content=body,
    )
    assert [sent.body for sent in ended.requests] == [body, body]
    assert_signed_anew(ended)


def test_a_nonce_made_by_hand_is_not_used_twice(run: Run) -> None:
    """Nothing can renew it, and the API refuses it the second time: cannot_change, even for a 429."""
    ended = run(
        "zerotrace",
        refused(429, 5, **{"Retry-After": "1"}),
        headers={"X-API-KEY": "k", "X-API-SIGN": "s", "X-API-NONCE": "5e0c7a1f93d24b68"},
    )
    assert len(ended.requests) == 1
    assert ended.outcome.reason == "cannot_change"


@pytest.mark.parametrize("bare", [False, True])
def test_a_redirect_on_the_same_origin_is_signed_anew(run: Run, *, bare: bool) -> None:
    """A 307 keeps method and body: the nonce is new, the signature right, the key the same."""
    ended = run(
        "zerotrace",
        in_turn(answer(307, headers={"Location": "/v2/v1/create"}), CREATED),
        "POST",
        CREATE,
        auth=signer(),
        json=ORDER,
        client={"follow_redirects": True},
        bare=bare,
    )
    assert [sent.url.path for sent in ended.requests] == ["/api/v1/create", "/v2/v1/create"]
    assert_signed_anew(ended)
    assert_same_message(ended)


def test_a_redirect_that_drops_the_body_is_signed_for_no_body(run: Run) -> None:
    """A 303 turns POST into GET: what is signed is what is sent."""
    ended = run(
        "zerotrace",
        in_turn(answer(303, headers={"Location": "/api/v1/done"}), refused(503, 11), CREATED),
        "POST",
        QR,
        auth=signer(),
        json=ORDER,
        client={"follow_redirects": True},
    )
    assert [sent.method for sent in ended.requests] == ["POST", "GET", "GET"]
    assert [sent.body for sent in ended.requests[1:]] == [b"", b""]
    assert_signed_anew(ended)


def test_a_redirect_to_another_origin_carries_no_signature(run: Run) -> None:
    """Nor does any retry over there."""
    elsewhere = {"Location": "https://elsewhere.example/api/v1/qr"}
    ended = run(
        "zerotrace",
        in_turn(answer(307, headers=elsewhere), refused(503, 11), CREATED),
        "POST",
        QR,
        auth=signer(),
        json=ORDER,
        client={"follow_redirects": True},
    )
    assert [sent.url.host for sent in ended.requests] == [
        "api.example",
        "elsewhere.example",
        "elsewhere.example",
    ]
    for name in ("X-API-KEY", "X-API-SIGN", "X-API-NONCE"):
        assert ended.header(name)[1:] == [None, None]


def test_the_secret_and_the_key_show_nowhere(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a log, a repr, an exception's text, an outcome or a report, though the server echoes them."""
    auth = signer()

    def echo(request: httpx.Request) -> httpx.Response:
        told = " ".join(request.headers[name] for name in ("X-API-KEY", "X-API-SIGN", "X-API-NONCE"))
        return httpx.Response(401, json={"code": 3, "msg": f"not good: {told}"})

    with caplog.at_level("DEBUG", logger="resilient_client"):
        ended = run("zerotrace", echo, "POST", QR, auth=auth, json=ORDER, client={"raise_for_status": True})
    error = ended.api_error
    seen = [
        caplog.text,
        *(repr(vars(record)) for record in caplog.records),
        repr(auth),
        str(error),
        repr(error),
        repr(error.outcome),
        json.dumps(error.log_record()),
        error.support_report(),
        repr(error.verdict),
    ]
    for sent in ended.requests:
        secrets = [SECRET, *(sent.headers[name] for name in ("X-API-KEY", "X-API-SIGN", "X-API-NONCE"))]
        for text in seen:
            assert not [secret for secret in secrets if secret in text]


# ---------------------------------------------------------------------------------------------------- the network itself


def test_an_order_whose_reply_was_lost_is_sent_again_under_its_key(run: Run) -> None:
    """The vendor's replay returns the same order; the outcome tells that the first attempt may have made it."""
    ended = run(
        "zerotrace", in_turn(fail(httpx.ReadTimeout), CREATED), "POST", CREATE, auth=signer(), json=ORDER
    )
    assert ended.response.status_code == 200
    assert ended.outcome.maybe_applied
    assert_signed_anew(ended)
    assert_same_message(ended)


def test_another_post_whose_reply_was_lost_is_not(run: Run) -> None:
    """The exception is httpx's own, and tells what was tried."""
    ended = run("zerotrace", fail(httpx.ReadTimeout), "POST", QR, auth=signer(), json=ORDER)
    assert isinstance(ended.error, httpx.ReadTimeout)
    assert len(ended.requests) == 1
    assert ended.outcome.reason == "not_retryable"
    assert ended.outcome.maybe_applied


def test_a_connection_that_was_never_made_is_tried_again_for_every_method(run: Run) -> None:
    """Four retries with full jitter, a new nonce each; nothing can have been applied."""
    ended = run("zerotrace", fail(httpx.ConnectError), "POST", QR, auth=signer(), json=ORDER)
    assert isinstance(ended.error, httpx.ConnectError)
    assert ended.waits == up_to(0.5, 1, 2, 4)
    assert ended.outcome.reason == "attempts_exhausted"
    assert not ended.outcome.maybe_applied
    assert_signed_anew(ended)


# -------------------------------------------------------------------------------------------------- what else is promised


def test_a_success_is_not_an_error_whatever_its_body_says(run: Run) -> None:
    """Codes are read in errors only."""
    ended = run("zerotrace", answer(200, {"code": 5, "msg": "RATE_LIMIT"}), client={"raise_for_status": True})
    assert ended.response.json() == {"code": 5, "msg": "RATE_LIMIT"}
    assert ended.outcome.reason == "success"


def test_classify_tells_what_a_reply_means() -> None:
    """By code and status, pure, and a condition that the flow must see to is no part of it."""
    policy = load_policy("zerotrace")
    verdict = policy.classify(httpx.Response(401, json={"code": 3, "msg": "AUTH_INVALID"}))
    assert (verdict.name, verdict.code, verdict.category, verdict.retryable) == (
        "AUTH_INVALID",
        3,
        "auth",
        True,
    )
    verdict = policy.classify(httpx.Response(401, json={"code": 4, "msg": "AUTH_DISABLED"}))
    assert (verdict.name, verdict.code, verdict.retryable) == ("AUTH_DISABLED", 4, False)
    assert verdict.message == "AUTH_DISABLED"


@pytest.mark.parametrize(
    "name",
    [
        rule.name
        for rule in load_policy("zerotrace").rules
        if rule.name not in {"NOT_SUPPORTED", "SERVER_ERROR"}
    ],
)
def test_error_response_builds_what_the_api_would_send(name: str) -> None:
    """Every row by its name, classified as itself."""
    assert load_policy("zerotrace").classify(error_response("zerotrace", name)).name == name


def test_error_response_takes_a_code_and_a_wait(run: Run) -> None:
    """As users' tests would use it."""
    ended = run(
        "zerotrace",
        in_turn(
            lambda _: error_response("zerotrace", "RATE_LIMIT", retry_after=7),
            lambda _: error_response("zerotrace", 4),
        ),
        auth=signer(),
    )
    assert ended.waits == spread(7)
    assert ended.outcome.verdict.name == "AUTH_DISABLED"
