"""Any other API: each row of the default policy, and what is decided for all APIs alike, seen from outside."""

from __future__ import annotations

import gzip
import io
import json
import logging
from typing import TYPE_CHECKING, Any, cast

import anyio
import httpx
import pytest
from scenario import BASE, Chunks, Run, Within, answer, fail, in_turn, spread, up_to

from resilient_client import (
    ApiError,
    AsyncResilientClient,
    HmacAuth,
    PolicyError,
    ResilientClient,
    TokenAuth,
    load_policy,
    outcome_of,
    raise_for_status,
)
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

NOW = 1_750_000_000  # the clock's first second
OK = answer(200, {"ok": True})
BUSY = answer(503, {"error": {"code": "busy", "message": "Said by the server"}})
METHODS = ["GET", "HEAD", "OPTIONS", "QUERY", "PUT", "DELETE", "POST", "PATCH"]
REPEATABLE = {"GET", "HEAD", "OPTIONS", "QUERY", "PUT", "DELETE"}  # RFC 9110 9.2.2, RFC 10008
SAFE = {"GET", "HEAD", "OPTIONS", "QUERY"}  # RFC 9110 9.2.1, RFC 10008
BACKOFF = up_to(0.5, 1, 2, 4)


def limited(seconds: float | str) -> Any:
    return answer(429, headers={"Retry-After": str(seconds)})


# ------------------------------------------------------------------------------------------------------------- the rows


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("status", [429, 425])
def test_what_was_refused_is_sent_again_for_every_method(run: Run, method: str, status: int) -> None:
    """It was not processed: the same body, the key kept, and nothing can have been applied."""
    headers = {"Idempotency-Key": "order-1"}
    ended = run(
        None,
        answer(status),
        method,
        headers=headers,
        content=b"same" if method in {"POST", "PATCH"} else None,
    )
    assert ended.waits == BACKOFF
    assert ended.outcome.reason == "attempts_exhausted"
    assert ended.outcome.verdict.category == "rate_limit"
    assert not ended.outcome.maybe_applied
    assert len({sent.body for sent in ended.requests}) == 1
    assert set(ended.header("Idempotency-Key")) == {"order-1"}


@pytest.mark.parametrize("key", [None, "order-1"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_what_may_have_taken_effect_is_sent_again_where_that_is_safe(
    run: Run, status: int, method: str, key: str | None
) -> None:
    """Decision 4: idempotent methods, and requests that carry a key."""
    ended = run(None, answer(status), method, headers={} if key is None else {"Idempotency-Key": key})
    again = method in REPEATABLE or key is not None
    assert ended.waits == (BACKOFF if again else [])
    assert ended.outcome.reason == ("attempts_exhausted" if again else "not_retryable")
    assert ended.outcome.maybe_applied is (status >= 500 and method not in SAFE)
    assert set(ended.header("Idempotency-Key")) == {key}


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504])
def test_retry_after_is_kept_where_it_is_sent(run: Run, status: int) -> None:
    """Else the backoff counts."""
    assert run(None, answer(status, headers={"Retry-After": "9"})).waits == spread(9, 9, 9, 9)


@pytest.mark.parametrize(
    "status",
    [400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 426,
     428, 431, 451, 499, 501, 505],
)  # fmt: skip
def test_what_would_fail_the_same_way_is_not_sent_again(run: Run, status: int) -> None:
    """Other 4xx, 501 and 505, whatever the key, and whatever Retry-After says."""
    headers = {"Retry-After": "1"}
    ended = run(
        None,
        answer(status, headers=headers),
        headers={"Idempotency-Key": "k"},
        client={"raise_for_status": True},
    )
    assert len(ended.requests) == 1
    assert ended.clock.sleeps == []
    assert ended.api_error.outcome.reason == "not_retryable"
    assert ended.api_error.response.status_code == status
    assert ended.api_error.name


HINTS: list[Any] = [
    pytest.param(
        {"Retry-After": "7", "RateLimit": '"d";r=0;t=30', "X-RateLimit-Reset": "50"}, 7, id="retry-after"
    ),
    pytest.param({"RateLimit": '"d";r=0;t=30', "X-RateLimit-Reset": "50"}, 30, id="ratelimit"),
    pytest.param({"RateLimit": "limit=10, remaining=0, reset=30"}, 30, id="ratelimit of draft 07"),
    pytest.param({"X-RateLimit-Reset": "50"}, 50, id="reset in seconds"),
    pytest.param({"X-RateLimit-Reset": str(NOW + 50)}, 50, id="reset at a point in time"),
    pytest.param({"Retry-After": "Sun, 15 Jun 2025 15:07:10 GMT"}, 30, id="a date"),
    pytest.param({"Retry-After": "Sun, 15 Jun 2025 15:06:00 GMT"}, 0, id="a date that has passed"),
]


@pytest.mark.parametrize(("headers", "seconds"), HINTS)
def test_a_429_waits_where_it_is_told(run: Run, headers: dict[str, str], seconds: float) -> None:
    """Retry-After, then RateLimit and X-RateLimit-Reset."""
    ended = run(None, in_turn(answer(429, headers=headers), OK), "POST")
    assert ended.response.status_code == 200
    assert ended.waits == spread(seconds)


# ----------------------------------------------------------------------------------------------------------- the network

NEVER_SENT = [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout]
LOST = [
    httpx.ReadError,
    httpx.ReadTimeout,
    httpx.WriteError,
    httpx.WriteTimeout,
    httpx.RemoteProtocolError,
    httpx.CloseError,
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", NEVER_SENT)
def test_a_connection_that_was_never_made_is_tried_again_for_every_method(
    run: Run, method: str, error: type[httpx.TransportError]
) -> None:
    """Decision 6; nothing was sent, so nothing can have been applied; the error is httpx's own, with a note."""
    ended = run(None, fail(error), method)
    assert type(ended.error) is error
    assert ended.waits == BACKOFF
    assert ended.outcome.reason == "attempts_exhausted"
    assert not ended.outcome.maybe_applied
    assert "5" in "".join(ended.error.__notes__)
    assert [attempt.status for attempt in ended.outcome.attempts] == [None] * 5
    assert [type(attempt.error) for attempt in ended.outcome.attempts] == [error] * 5


@pytest.mark.parametrize(
    ("method", "key"), [*((method, None) for method in METHODS), ("POST", "k"), ("PATCH", "k")]
)
@pytest.mark.parametrize("error", LOST)
def test_a_lost_reply_is_tried_again_where_that_is_safe(
    run: Run, method: str, key: str | None, error: type[httpx.TransportError]
) -> None:
    """Decision 6: under decision 4."""
    ended = run(None, fail(error), method, headers={} if key is None else {"Idempotency-Key": key})
    again = method in REPEATABLE or key is not None
    assert type(ended.error) is error
    assert ended.waits == (BACKOFF if again else [])
    assert ended.outcome.reason == ("attempts_exhausted" if again else "not_retryable")
    assert ended.outcome.maybe_applied is (method not in SAFE)


def test_errors_of_the_network_and_of_the_server_are_counted_apart(run: Run) -> None:
    """Four of each in one call."""
    ended = run(None, in_turn(*[fail(httpx.ConnectError), BUSY] * 4, OK))
    assert ended.response.status_code == 200
    assert ended.waits[0::2] == BACKOFF
    assert ended.waits[1::2] == BACKOFF
    ended = run(None, in_turn(*[fail(httpx.ConnectError), BUSY] * 4, BUSY))
    assert ended.attempts == 9
    assert ended.outcome.reason == "attempts_exhausted"


def test_an_error_that_is_no_networks_is_not_touched(run: Run) -> None:
    """A bug in a transport is nobody's to retry."""

    def broken(_request: httpx.Request) -> httpx.Response:
        raise KeyError("a bug")

    ended = run(None, broken)
    assert isinstance(ended.error, KeyError)
    assert len(ended.requests) == 1


# ------------------------------------------------------------------------------------------------- decisions 1 and 2: waits


def test_a_crowd_that_is_told_one_second_does_not_come_back_as_a_crowd() -> None:
    """Jitter spreads a hundred callers over the fifth of a second and more that it may add."""
    waits = [Run("sync")(None, in_turn(limited(1), OK)).waits[0] for _ in range(100)]
    assert waits == spread(*[1.0] * 100)
    assert len(set(waits)) > 90
    assert max(waits) - min(waits) > 0.2


def test_a_backoff_spreads_from_nothing_to_its_ceiling() -> None:
    """Full jitter."""
    waits = [Run("sync")(None, in_turn(BUSY, OK)).waits[0] for _ in range(100)]
    assert waits == up_to(*[0.5] * 100)
    assert min(waits) < 0.1
    assert max(waits) > 0.4


@pytest.mark.parametrize("seconds", ["301", "86400", "1" * 20, "9" * 1_000_000])
def test_a_wait_over_the_longest_ends_the_call(run: Run, seconds: str) -> None:
    """At once, and said so; never slept, and never taken for no wait."""
    ended = run(None, limited(seconds))
    assert len(ended.requests) == 1
    assert ended.clock.sleeps == []
    assert ended.outcome.reason == "wait_too_long"
    assert ended.response.status_code == 429


@pytest.mark.parametrize("where", ["client", "request", "bare"])
def test_a_wait_over_the_deadline_ends_the_call(run: Run, where: str) -> None:
    """Wherever the deadline comes from."""
    if where == "request":
        ended = run(None, limited(60), ask={"deadline": 60})
    else:
        ended = run(None, limited(60), client={"deadline": 60}, bare=where == "bare")
    assert len(ended.requests) == 1
    assert ended.clock.sleeps == []
    assert ended.outcome.reason == "deadline"


def test_jitter_does_not_break_the_deadline(run: Run) -> None:
    """A wait that fits without its jitter is begun, is no shorter than asked and leaves time for the attempt."""
    for _ in range(20):
        ended = run(None, in_turn(limited(10), OK), client={"deadline": 10.1})
        assert ended.response.status_code == 200
        assert ended.waits == [Within(10, 10.1)]
        assert ended.requests[1].at < 10.1


def test_a_requests_deadline_replaces_the_clients(run: Run) -> None:
    """Longer, shorter, or none at all."""
    assert (
        run(
            None, in_turn(limited(60), OK), client={"deadline": 5}, ask={"deadline": 100}
        ).response.status_code
        == 200
    )
    assert (
        run(
            None, in_turn(limited(60), OK), client={"deadline": 5}, ask={"deadline": None}
        ).response.status_code
        == 200
    )
    assert (
        run(None, in_turn(limited(60), OK), client={"deadline": 100}, ask={"deadline": 5}).outcome.reason
        == "deadline"
    )


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), "5", True])
def test_a_deadline_that_is_no_time_is_a_value_error(run: Run, deadline: Any) -> None:
    """Before anything is sent."""
    ended = run(None, OK, ask={"deadline": deadline})
    assert isinstance(ended.error, ValueError)
    assert ended.requests == []
    with pytest.raises(ValueError, match="deadline"):
        ResilientClient(deadline=deadline)


def test_a_deadline_covers_the_attempts(run: Run) -> None:
    """What they take is taken off; none is begun when it has passed."""
    clock = VirtualClock()

    def slow(_request: httpx.Request) -> httpx.Response:
        clock.advance(4)
        return httpx.Response(503)

    ended = run(None, slow, clock=clock, client={"deadline": 10})
    assert len(ended.requests) in {2, 3}
    assert all(sent.at < 10 for sent in ended.requests)
    assert ended.outcome.reason == "deadline"


def test_each_attempts_timeouts_shrink_to_what_is_left(run: Run) -> None:
    """Connecting, reading, writing and waiting for the pool."""
    ended = run(None, BUSY, client={"deadline": 4})
    assert len(ended.requests) >= 2
    for sent in ended.requests:
        assert set(sent.timeouts) == {"connect", "read", "write", "pool"}
        assert list(sent.timeouts.values()) == [Within(0, 4 - sent.at)] * 4
    patient = run(None, OK, client={"deadline": 4}, timeout=None)
    assert set(patient.requests[0].timeouts.values()) == {4.0}
    hurried = run(None, OK, client={"deadline": 4}, timeout=1.5)
    assert set(hurried.requests[0].timeouts.values()) == {1.5}


def test_a_lost_reply_at_the_deadline_is_the_end(run: Run) -> None:
    """The caller gets the exception, and is told that it was the deadline."""
    clock = VirtualClock()

    def hang(request: httpx.Request) -> httpx.Response:
        clock.advance(request.extensions["timeout"]["read"])
        raise httpx.ReadTimeout("timed out", request=request)

    ended = run(None, hang, clock=clock, client={"deadline": 3})
    assert isinstance(ended.error, httpx.ReadTimeout)
    assert ended.outcome.reason == "deadline"
    assert ended.clock.monotonic() == Within(3, 3)


# ---------------------------------------------------------------------------------- decision 3: what can be sent twice


class NoSeek:
    """A file that can be read once."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


REPLAYABLE: dict[str, Callable[[], dict[str, Any]]] = {
    "bytes": lambda: {"content": b"\x00\xff" * 1000},
    "text": lambda: {"content": "ünïcode"},
    "json": lambda: {"json": {"a": [1, 2]}},
    "form": lambda: {"data": {"a": "1", "b": ["2", "3"]}},
    "file": lambda: {"files": {"f": ("a.bin", io.BytesIO(b"x" * 100_000))}},
    "file and form": lambda: {"files": {"f": ("a.bin", b"x")}, "data": {"a": "1"}},
}


@pytest.mark.parametrize("kind", REPLAYABLE)
def test_a_body_that_can_be_had_again_is_the_same_on_every_attempt(run: Run, kind: str) -> None:
    """Bytes, text, json, forms and files that seek."""
    ended = run(None, in_turn(limited(1), limited(1), OK), "POST", **REPLAYABLE[kind]())
    assert ended.response.status_code == 200
    bodies = [sent.body for sent in ended.requests]
    assert bodies == [bodies[0]] * 3
    assert bodies[0]
    assert len({sent.headers.get("Content-Length") for sent in ended.requests}) == 1


def test_a_file_is_sent_from_where_it_stood() -> None:
    """A file as the whole body, which httpx takes in threads only."""
    file = io.BytesIO(b"0123456789")
    ended = Run("sync")(None, in_turn(limited(1), OK), "POST", content=file)
    assert [sent.body for sent in ended.requests] == [b"0123456789"] * 2


def test_an_iterator_is_sent_once_and_the_caller_gets_the_real_response(run: Run) -> None:
    """Never StreamConsumed, never an empty body."""
    ended = run(None, answer(429, {"why": "too fast"}), "POST", content=run.one_shot(b"ab", b"cd"))
    assert [sent.body for sent in ended.requests] == [b"abcd"]
    assert ended.response.json() == {"why": "too fast"}
    assert ended.outcome.reason == "body_not_replayable"


def test_an_iterator_is_sent_once_and_the_caller_gets_the_real_error(run: Run) -> None:
    """Even where nothing of it was sent."""
    ended = run(None, fail(httpx.ConnectError), "POST", content=run.one_shot(b"ab", b"cd"))
    assert isinstance(ended.error, httpx.ConnectError)
    assert len(ended.requests) == 1
    assert ended.outcome.reason == "body_not_replayable"


def test_a_file_that_cannot_seek_is_sent_once(run: Run) -> None:
    """In a multipart form."""
    ended = run(None, limited(1), "PUT", files={"f": ("a.bin", NoSeek(b"once"))})
    assert len(ended.requests) == 1
    assert b"once" in ended.requests[0].body
    assert ended.outcome.reason == "body_not_replayable"


def test_a_request_without_a_body_is_replayable_whatever_its_stream() -> None:
    """No Content-Length and no Transfer-Encoding means no body."""
    sent = 0

    def server(_request: httpx.Request) -> httpx.Response:
        nonlocal sent
        sent += 1
        return httpx.Response(503 if sent == 1 else 200)

    with ResilientClient(clock=VirtualClock(), transport=httpx.MockTransport(server)) as client:
        request = httpx.Request("GET", BASE, stream=Chunks())
        assert client.send(request).status_code == 200


# ------------------------------------------------------------------------------------- decision 4: bodies of errors


def streamed(
    status: int, *pieces: Any, headers: dict[str, str] | None = None
) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _request: httpx.Response(status, stream=Chunks(*pieces), headers=headers)


def test_a_drip_cannot_outlast_the_deadline(run: Run) -> None:
    """Reading stops, the status decides, and whoever reads on gets a ReadTimeout."""
    clock = VirtualClock()
    drip = [piece for _ in range(100) for piece in (b" ", lambda: clock.advance(1))]
    ended = run(None, streamed(503, *drip), clock=clock, client={"deadline": 5}, stream=True)
    assert ended.response.status_code == 503
    assert ended.outcome.reason == "deadline"
    assert ended.outcome.verdict.name == "SERVICE_UNAVAILABLE"
    assert clock.monotonic() == Within(5, 6)
    assert isinstance(ended.read_error, httpx.ReadTimeout)


def test_a_drip_of_a_final_error_is_classified_by_its_status(run: Run) -> None:
    """The deadline changes nothing about a 404."""
    clock = VirtualClock()
    ended = run(
        None,
        streamed(404, b'{"error":', lambda: clock.advance(6), b'{"code": "x"}}'),
        clock=clock,
        client={"deadline": 5},
        stream=True,
    )
    assert (ended.outcome.verdict.name, ended.outcome.verdict.code) == ("NOT_FOUND", None)
    assert isinstance(ended.read_error, httpx.ReadTimeout)


def test_an_error_whose_body_breaks_off_is_classified_by_its_status(run: Run) -> None:
    """It is retried where its status is."""
    ended = run(None, in_turn(streamed(503, b"{", httpx.ReadError("gone")), OK))
    assert ended.response.status_code == 200
    assert ended.outcome.attempts[0].verdict.name == "SERVICE_UNAVAILABLE"


def test_where_it_is_not_retried_the_caller_meets_the_break(run: Run) -> None:
    """With what came before it, and with the original error."""
    error = httpx.ReadError("gone")
    ended = run(None, streamed(503, b'{"a":', error), "POST", stream=True)
    assert ended.response.status_code == 503
    assert ended.outcome.reason == "not_retryable"
    assert ended.body == b'{"a":'
    assert ended.read_error is error


@pytest.mark.parametrize("announced", [True, False])
def test_a_long_error_is_classified_by_its_status_and_comes_whole(run: Run, *, announced: bool) -> None:
    """64 KiB are read, and no more."""
    body = json.dumps({"code": 4, "msg": "x" * 100_000}).encode()
    pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)]
    headers = {"Content-Length": str(len(body))} if announced else {}
    ended = run("zerotrace", streamed(401, *pieces, headers=headers), stream=True)
    assert ended.outcome.verdict.code is None
    assert ended.body == body
    assert ended.read_error is None


def test_a_compressed_error_is_understood_and_comes_as_it_was_sent(run: Run) -> None:
    """Same bytes, same encoding, still streamable."""
    body = gzip.compress(json.dumps({"code": 4, "msg": "AUTH_DISABLED"}).encode())
    ended = run("zerotrace", streamed(401, body, headers={"Content-Encoding": "gzip"}), stream=True)
    assert ended.outcome.verdict.name == "AUTH_DISABLED"
    assert ended.body == body
    assert ended.response.headers["Content-Encoding"] == "gzip"


def test_a_success_is_not_read_by_the_transport(run: Run) -> None:
    """Its first byte is asked for by the caller."""
    events: list[str] = []

    def returned(_response: httpx.Response) -> None:
        events.append("returned")

    async def areturned(_response: httpx.Response) -> None:
        events.append("returned")

    hooks = {"response": [returned if run.backend == "sync" else areturned]}
    headers = {"Content-Type": "application/json"}
    reply = streamed(200, lambda: events.append("read"), b"{}", headers=headers)
    ended = run(None, reply, client={"event_hooks": hooks}, stream=True)
    assert ended.body == b"{}"
    assert events == ["returned", "read"]


def test_discarded_replies_are_let_go_before_the_next_attempt(run: Run) -> None:
    """A pool of one connection does not starve."""
    streams: list[Chunks] = []

    def server(_request: httpx.Request) -> httpx.Response:
        assert all(stream.closed for stream in streams)
        streams.append(Chunks(b"{}"))
        return httpx.Response(503, stream=streams[-1])

    ended = run(None, server)
    assert len(ended.requests) == 5


HOSTILE_BODIES = [
    b"",
    b"\xff\xfe\x00",
    b"[" * 60_000,
    b'{"error":' * 7_000,
    b'{"error": {"code": ' + b"9" * 5_000 + b"}}",
    b'{"error": {"code": NaN, "message": Infinity}}',
    b'{"error": {"code": [1], "message": {"a": 1}, "field": 7, "details": null}}',
    b'{"error": {"code": true}}',
    b'["error"]',
    b"null",
    b'"error"',
    '{"error": "\ud800"}'.encode("utf-8", "surrogatepass"),
]


@pytest.mark.parametrize(
    "policy", [None, "zerotrace", "customer_verification", "dual", "openpoly", "integration"]
)
@pytest.mark.parametrize("body", HOSTILE_BODIES, ids=range(len(HOSTILE_BODIES)))
def test_no_body_breaks_the_classifier(policy: str | None, body: bytes) -> None:
    """It is classified by its status, and comes to the caller whole."""
    ended = Run("sync")(
        policy, streamed(404, body, headers={"Content-Type": "application/json"}), stream=True
    )
    assert ended.outcome.reason == "not_retryable"
    assert ended.outcome.verdict.category == "not_found"
    assert ended.body == body
    verdict = load_policy(policy or "default").classify(httpx.Response(404, content=body))
    assert verdict.category == "not_found"


@pytest.mark.parametrize(
    "value", ["-1", "1.5.2", "NaN", "inf", "-inf", "1e9", "", " ", "٣", "0x10", "soon", "1 2"]
)
@pytest.mark.parametrize("name", ["Retry-After", "X-RateLimit-Reset", "RateLimit"])
def test_no_header_breaks_the_wait(name: str, value: str) -> None:
    """What cannot be read counts as absent."""
    reply = answer(429, headers=httpx.Headers([(name.encode(), value.encode())]))
    ended = Run("sync")(None, in_turn(reply, OK))
    assert ended.response.status_code == 200
    assert ended.waits == up_to(0.5)


def test_a_doubled_header_is_read_by_its_first_valid_line(run: Run) -> None:
    """Two proxies may each have added one."""
    ended = run(None, in_turn(answer(429, headers=[("Retry-After", "soon"), ("Retry-After", "3")]), OK))
    assert ended.waits == spread(3)


# -------------------------------------------------------------------------------------------- decision 5: maybe_applied

TRACES: list[Any] = [
    pytest.param([BUSY], {"POST", "PUT", "DELETE", "PATCH"}, id="5xx"),
    pytest.param([fail(httpx.ReadTimeout)], {"POST", "PUT", "DELETE", "PATCH"}, id="lost"),
    pytest.param([limited(1)], set(), id="429"),
    pytest.param([fail(httpx.ConnectError)], set(), id="never sent"),
    pytest.param([limited(1), BUSY], {"POST", "PUT", "DELETE", "PATCH"}, id="429 and 5xx"),
    pytest.param([], set(), id="success at once"),
]


@pytest.mark.parametrize("last", [OK, answer(404)], ids=["then success", "then 404"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("before", "methods"), TRACES)
def test_the_outcome_says_when_an_earlier_attempt_may_have_taken_effect(
    run: Run, method: str, last: Any, before: list[Any], methods: set[str]
) -> None:
    """For a method that changes something, after a lost reply or a 5xx on any attempt."""
    ended = run(None, in_turn(*before, last), method, headers={"Idempotency-Key": "k-1"})
    assert ended.attempts == len(before) + 1
    assert ended.outcome.maybe_applied is (method in methods)


# ----------------------------------------------------------------------------- decisions 7 and 8: auth per attempt


class CountingAuth(httpx.Auth):
    """A user's own auth that opts in: it leaves itself in the extensions and says which headers it sets."""

    headers = ("X-Count",)

    def __init__(self) -> None:
        self.count = 0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self.count += 1
        request.headers["X-Count"] = str(self.count)
        request.extensions["resilience.auth"] = self
        yield request


@pytest.mark.parametrize("bare", [False, True])
def test_a_users_own_auth_may_opt_in(run: Run, *, bare: bool) -> None:
    """It is run again for each attempt, and signs redirects on the same origin only."""
    ended = run(None, in_turn(BUSY, BUSY, OK), auth=CountingAuth(), bare=bare)
    assert ended.header("X-Count") == ["1", "2", "3"]
    follow = {"follow_redirects": True}
    near = run(
        None,
        in_turn(answer(302, headers={"Location": "/x"}), OK),
        auth=CountingAuth(),
        bare=bare,
        client=follow,
    )
    assert near.header("X-Count") == ["1", "2"]
    away = {"Location": "https://elsewhere.example/x"}
    far = run(
        None, in_turn(answer(302, headers=away), BUSY, OK), auth=CountingAuth(), bare=bare, client=follow
    )
    assert far.header("X-Count") == ["1", None, None]


def test_httpxs_own_auth_works_as_ever(run: Run) -> None:
    """Its header stays on every attempt."""
    ended = run(None, in_turn(BUSY, OK), auth=("me", "pw"))
    assert len(set(ended.header("Authorization"))) == 1
    assert None not in ended.header("Authorization")


def test_a_token_does_not_follow_to_another_origin(run: Run) -> None:
    """Nor to the same host on another port or scheme."""
    for location in ("https://elsewhere.example/x", "https://api.example:8443/x"):
        auth = TokenAuth(lambda: httpx.Request("POST", f"{BASE}/login"))
        server = in_turn(answer(200, {"token": "t"}), answer(307, headers={"Location": location}), BUSY, OK)
        ended = run(None, server, auth=auth, client={"follow_redirects": True})
        assert ended.header("Authorization") == [None, "Bearer t", None, None]


def test_the_sign_in_too_is_retried_by_its_policy(run: Run) -> None:
    """A busy login is waited for."""
    auth = TokenAuth(lambda: httpx.Request("GET", f"{BASE}/login"))
    ended = run(None, in_turn(BUSY, answer(200, {"token": "t"}), OK), auth=auth)
    assert ended.response.status_code == 200
    assert ended.header("Authorization") == [None, None, "Bearer t"]


def test_a_failed_sign_in_raises_its_own_error(run: Run) -> None:
    """An ApiError of the login's response; the call itself is not sent."""
    auth = TokenAuth(httpx.Request("POST", f"{BASE}/login"))
    ended = run(None, answer(403, {"error": {"code": "locked", "message": "No"}}), auth=auth)
    assert [sent.url.path for sent in ended.requests] == ["/login"]
    assert (ended.api_error.code, ended.api_error.response.status_code) == ("locked", 403)
    assert ended.api_error.request.url.path == "/login"


# ------------------------------------------------------------------------------------------------ decision 9: cookies


def cookie(*lines: str) -> Any:
    return answer(503, headers=[("Set-Cookie", line) for line in lines])


def test_a_cookie_of_a_discarded_attempt_goes_into_the_clients_jar(run: Run) -> None:
    """And the last attempt's own wins."""
    last = answer(200, headers=[("Set-Cookie", "b=new")])
    ended = run(None, in_turn(cookie("a=1", "b=old"), last))
    assert ended.cookies == {"a": "1", "b": "new"}


def test_a_bare_transport_carries_cookies_over_onto_the_final_response(run: Run) -> None:
    """They are found there by httpx's own client."""
    last = answer(200, headers=[("Set-Cookie", "b=new")])
    ended = run(None, in_turn(cookie("a=1"), cookie("b=old"), last), bare=True)
    assert ended.response.headers.get_list("Set-Cookie") == ["a=1", "b=old", "b=new"]
    assert ended.cookies == {"a": "1", "b": "new"}


# ------------------------------------------------------------------------------- decisions 10 and 14: what the log says


def test_every_attempt_is_logged_and_every_give_up(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """DEBUG for an attempt, WARNING for the end, one line each; the path without its query, the fields in extra."""
    with caplog.at_level(logging.DEBUG, logger="resilient_client"):
        ended = run(None, BUSY, path="/orders?token=s3cret", headers={"X-Api-Key": "s3cret-key"})
    records = [record for record in caplog.records if record.name.startswith("resilient_client")]
    assert [record.levelname for record in records] == ["DEBUG"] * 5 + ["WARNING"]
    assert all("\n" not in record.getMessage() for record in records)
    assert all("/orders" in record.getMessage() for record in records)
    assert "attempts_exhausted" in records[-1].getMessage()
    assert vars(records[-1])["statusCode"] == 503
    assert vars(records[-1])["endpoint"] == "GET /orders"
    assert "s3cret" not in "".join(repr(vars(record)) for record in records)
    assert "s3cret" not in json.dumps(api_error_of(ended.response).log_record())


def api_error_of(response: httpx.Response) -> ApiError:
    with pytest.raises(ApiError) as caught:
        raise_for_status(response)
    return caught.value


def test_a_success_is_no_warning(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it took."""
    with caplog.at_level(logging.DEBUG, logger="resilient_client"):
        run(None, in_turn(BUSY, OK))
    levels = [record.levelname for record in caplog.records if record.name.startswith("resilient_client")]
    assert levels == ["DEBUG", "DEBUG"]


def test_a_server_cannot_forge_a_line(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Control characters of messages and paths stay out of the log."""
    with caplog.at_level(logging.DEBUG, logger="resilient_client"):
        run(None, answer(404, {"message": "a\nWARNING forged\r\x1b[31m"}), path="/x%0AWARNING")
    assert [record.getMessage() for record in caplog.records if "\n" in record.getMessage()] == []


# ----------------------------------------------------------------------------------------- decision 12: anybody's clock


class MyClock:
    """Four methods, and nothing else of ours."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def time(self) -> float:
        return NOW + self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float, /) -> None:
        self.sleep(seconds)


def test_a_clock_is_four_methods(run: Run) -> None:
    """time, monotonic, sleep and asleep."""
    clock = MyClock()
    ended = run(
        None, in_turn(answer(429, headers={"X-RateLimit-Reset": str(NOW + 40)}), OK), clock=cast("Any", clock)
    )
    assert ended.response.status_code == 200
    assert clock.slept == spread(40)


# ------------------------------------------------------------------------------------------ what a caller may ask for


def test_retry_false_switches_it_off(run: Run) -> None:
    """One attempt, and the outcome says why."""
    for server in (BUSY, limited(1), fail(httpx.ConnectError)):
        ended = run(None, server, ask={"retry": False})
        assert len(ended.requests) == 1
        assert ended.outcome.reason == "retry_disabled"
    assert run(None, OK, ask={"retry": False}).outcome.reason == "success"


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_idempotent_says_that_twice_does_no_harm(run: Run, method: str) -> None:
    """For errors of the server and of the network; it does not make a final error retryable."""
    ask = {"idempotent": True}
    assert len(run(None, BUSY, method, ask=ask).requests) == 5
    assert len(run(None, fail(httpx.ReadTimeout), method, ask=ask).requests) == 5
    assert len(run(None, answer(409), method, ask=ask).requests) == 1
    assert len(run(None, BUSY, method, ask={"idempotent": False}).requests) == 1


def test_a_key_of_the_extension_goes_into_the_header(run: Run) -> None:
    """The same on every attempt, and the request may be sent twice."""
    ended = run(None, BUSY, "POST", ask={"idempotency_key": "order-2041"})
    assert ended.header("Idempotency-Key") == ["order-2041"] * 5
    assert ended.outcome.idempotency_key == "order-2041"


@pytest.mark.parametrize("key", ["", "a\nb", "sch\u00f6n"])
def test_a_key_that_no_header_takes_is_a_value_error(run: Run, key: str) -> None:
    """Whatever the API's own limits are."""
    ended = run(None, OK, "POST", ask={"idempotency_key": key})
    assert isinstance(ended.error, ValueError)
    assert ended.requests == []


def test_a_policy_may_be_given_with_the_request(run: Run) -> None:
    """By name, by path or as it is; it counts for this request alone."""
    reply = answer(503, {"code": 11, "msg": "UPSTREAM_ERROR"})
    for policy in ("zerotrace", load_policy("zerotrace")):
        ended = run(None, reply, "POST", "/v1/create", ask={"policy": policy})
        assert ended.waits == spread(1, 2, 5, 10)
        assert ended.outcome.api == "zerotrace"
        assert None not in ended.header("Idempotency-Key")
    assert run(None, reply, "POST", "/v1/create").outcome.api == "default"


def test_a_policy_that_does_not_exist_is_said_before_anything_is_sent(run: Run) -> None:
    """With the nearest name."""
    ended = run(None, OK, ask={"policy": "zerotrac"})
    assert isinstance(ended.error, PolicyError)
    assert "zerotrace" in str(ended.error)
    assert ended.requests == []


# ------------------------------------------------------------------------------------------- what the caller is told


def test_an_api_error_is_httpxs_own_and_says_more(run: Run) -> None:
    """All of the contract's fields."""
    reply = answer(
        422,
        {"error": {"code": "bad_amount", "message": "amount is negative", "param": "amount"}},
        headers={"X-Request-Id": "req_7", "Retry-After": "3"},
    )
    ended = run(None, reply, "POST", "/orders", client={"raise_for_status": True})
    error = ended.api_error
    assert isinstance(error, httpx.HTTPStatusError)
    assert error.response.status_code == 422
    assert error.response.json()["error"]["code"] == "bad_amount"
    assert (error.api, error.code, error.field, error.request_id) == (
        "default",
        "bad_amount",
        "amount",
        "req_7",
    )
    assert error.retry_after == 3
    assert error.outcome.attempts[0].request_id == "req_7"
    assert json.loads(json.dumps(error.log_record()))["errorMessage"] == "amount is negative"
    assert "POST /orders" in str(error)


def test_raise_for_status_gives_a_success_back(run: Run) -> None:
    """And raises for the response of the last attempt."""
    good = run(None, OK).response
    assert raise_for_status(good) is good
    bad = run(None, BUSY).response
    with pytest.raises(ApiError) as caught:
        raise_for_status(bad)
    assert caught.value.outcome == outcome_of(bad)
    assert outcome_of(caught.value).reason == "attempts_exhausted"


def test_an_outcome_tells_the_whole_way(run: Run) -> None:
    """Numbers, statuses, waits and times that add up."""
    clock = VirtualClock()

    def slowly(reply: Callable[[httpx.Request], httpx.Response]) -> Callable[[httpx.Request], httpx.Response]:
        def later(request: httpx.Request) -> httpx.Response:
            clock.advance(2)
            return reply(request)

        return later

    ended = run(None, in_turn(slowly(limited(5)), slowly(BUSY), slowly(OK)), clock=clock)
    outcome = ended.outcome
    assert [attempt.number for attempt in outcome.attempts] == [1, 2, 3]
    assert [attempt.status for attempt in outcome.attempts] == [429, 503, 200]
    assert [attempt.wait for attempt in outcome.attempts] == [*spread(5), *up_to(0.5), 0]
    assert [attempt.elapsed for attempt in outcome.attempts] == pytest.approx([2, 2, 2])
    assert outcome.slept == pytest.approx(sum(clock.sleeps))
    assert outcome.elapsed == pytest.approx(clock.monotonic())
    assert outcome.verdict.category == "success"
    assert not outcome.verdict.retryable


def test_no_outcome_is_made_up() -> None:
    """A response that came another way has none."""
    with pytest.raises(LookupError):
        outcome_of(httpx.Response(200))


@pytest.mark.parametrize("raised_as", [httpx.ReadTimeout, ApiError])
def test_what_was_raised_from_an_error_has_its_outcome(raised_as: type[Exception]) -> None:
    """An SDK makes exceptions of its own of the client's: `raise OwnError() from error`, once or more often."""
    last = answer(404) if raised_as is ApiError else fail(httpx.ReadTimeout)
    transport = httpx.MockTransport(in_turn(answer(503), last))

    def wrapped(client: ResilientClient) -> None:
        try:
            try:
                client.get("https://api.example/")
            except raised_as as error:
                raise KeyError("an SDK's own") from error
        except KeyError as error:
            raise RuntimeError("a framework's own") from error

    with (
        ResilientClient(clock=VirtualClock(), transport=transport, raise_for_status=True) as client,
        pytest.raises(RuntimeError) as caught,
    ):
        wrapped(client)
    assert outcome_of(caught.value).attempts[0].status == 503


def test_what_was_raised_beside_an_error_has_no_outcome() -> None:
    """Only what says `from` is about it."""
    transport = httpx.MockTransport(fail(httpx.ReadTimeout))
    with (
        ResilientClient(clock=VirtualClock(), transport=transport) as client,
        pytest.raises(httpx.ReadTimeout) as lost,
    ):
        client.get("https://api.example/")
    assert outcome_of(lost.value).reason == "attempts_exhausted"
    unrelated = RuntimeError("own")
    unrelated.__context__ = lost.value

    with pytest.raises(LookupError):
        outcome_of(unrelated)


def test_an_error_of_another_call_has_no_outcome_of_the_first() -> None:
    """A plain client that was asked instead, and failed as well, has nothing to tell, whatever its error was raised from."""
    transport = httpx.MockTransport(answer(404))
    with (
        ResilientClient(transport=transport, raise_for_status=True) as client,
        pytest.raises(ApiError) as first,
    ):
        client.get("https://api.example/")
    for second in (
        httpx.HTTPStatusError("500", request=first.value.request, response=httpx.Response(500)),
        httpx.ReadTimeout("late"),
    ):
        second.__cause__ = first.value
        with pytest.raises(LookupError):
            outcome_of(second)


def test_classify_does_not_read_what_is_not_read() -> None:
    """An unread body is judged by its status, and can be read afterwards."""
    response = httpx.Response(429, stream=Chunks(b'{"error": {"code": "x"}}'), headers={"Retry-After": "5"})
    verdict = load_policy("default").classify(response)
    assert (verdict.name, verdict.code, verdict.retryable, verdict.retry_after) == (
        "TOO_MANY_REQUESTS",
        None,
        True,
        5,
    )
    assert response.read() == b'{"error": {"code": "x"}}'
    assert load_policy("default").classify(response).code == "x"


def test_classify_calls_a_success_one() -> None:
    """By name and category."""
    verdict = load_policy("default").classify(httpx.Response(204))
    assert (verdict.name, verdict.category, verdict.retryable) == ("NO_CONTENT", "success", False)


def test_one_client_serves_many_calls_and_policies_stay_apart() -> None:
    """Progress is the call's, not the client's: the second call has all its retries."""

    def server(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(503)

    with ResilientClient(clock=VirtualClock(), transport=httpx.MockTransport(server)) as client:
        assert [len(outcome_of(client.get(BASE)).attempts) for _ in range(3)] == [5, 5, 5]


def test_a_cancelled_wait_ends_the_call_and_lets_go() -> None:
    """A task that is cancelled while it waits sends nothing more, and holds nothing."""
    streams: list[Chunks] = []

    class Forever(VirtualClock):
        async def asleep(self, seconds: float, /) -> None:
            await anyio.sleep_forever()

    def server(_request: httpx.Request) -> httpx.Response:
        streams.append(Chunks(b"{}"))
        return httpx.Response(503, stream=streams[-1])

    async def main() -> None:
        async with AsyncResilientClient(clock=Forever(), transport=httpx.MockTransport(server)) as client:
            with anyio.move_on_after(0.05):
                await client.get(BASE)

    for backend in ("asyncio", "trio"):
        anyio.run(main, backend=backend)
    assert [stream.closed for stream in streams] == [True, True]


def test_a_signer_without_a_body_signs_each_attempt(run: Run) -> None:
    """Under the default policy too: whatever signs, signs every attempt anew."""
    ended = run(None, BUSY, auth=HmacAuth("k", "s"))
    assert len(set(ended.header("X-API-NONCE"))) == 5
