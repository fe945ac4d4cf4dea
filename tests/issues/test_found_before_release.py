"""Faults that a reader with fresh eyes found before the first release, one test each."""

from __future__ import annotations

import copy
import logging
import pickle
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from loopback import Exchange, Loopback, page
from scenario import error_response

from resilient_client import (
    HmacAuth,
    Policy,
    PolicyError,
    ResilientClient,
    ResilientTransport,
    load_policy,
    outcome_of,
)
from resilient_client._flow.classify import classify
from resilient_client.masking import is_secret
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

URL = "https://api.test/x"


def client(
    answer: Callable[[httpx.Request], httpx.Response], policy: Any = None, **options: Any
) -> ResilientClient:
    """Make a client that is answered by a function."""
    return ResilientClient(policy, clock=VirtualClock(), transport=httpx.MockTransport(answer), **options)


def refuse(_: httpx.Request) -> httpx.Response:
    """Let nobody in."""
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("policy", "error", "status"),
    [
        ("zerotrace", 5, 429),
        ("zerotrace", 409, 409),
        ("zerotrace", 502, 502),
        ("dual", 409, 409),
        ("dual", 505, 505),
        ("integration", 503, 503),
        ("integration", "Internal Server Error", 500),
        ("integration", "Too Many Requests", 429),
        ("customer_verification", 501, 501),
        ("openpoly", 500, 500),
    ],
)
def test_a_response_is_built_for_every_code_and_status(policy: str, error: str | int, status: int) -> None:
    """With the status that was asked for, not that of a neighbour."""
    assert error_response(policy, error).status_code == status


def test_a_wait_that_is_no_whole_number_is_rounded_up() -> None:
    """Retry-After has no fractions."""
    assert error_response("zerotrace", "RATE_LIMIT", retry_after=7.5).headers["Retry-After"] == "8"


def test_the_outcome_is_told_of_httpxs_own_status_error() -> None:
    """The commonest exception there is."""
    with pytest.raises(httpx.HTTPStatusError) as caught:
        client(lambda _: httpx.Response(503)).get(URL).raise_for_status()
    assert outcome_of(caught.value).reason == "attempts_exhausted"


@pytest.mark.parametrize("asked", [301, 3600])
def test_a_server_in_maintenance_that_asks_for_too_long_is_told_as_that(asked: int) -> None:
    """And not as an end of patience."""
    reply = error_response("zerotrace", "MAINTENANCE", retry_after=asked)
    assert outcome_of(client(lambda _: reply, "zerotrace").get(URL)).reason == "wait_too_long"


def test_a_network_error_can_be_pickled_and_copied_and_keeps_its_outcome() -> None:
    """Process pools and task queues do both."""
    with pytest.raises(httpx.ConnectError) as caught:
        client(refuse).get(URL)
    for other in (pickle.loads(pickle.dumps(caught.value)), copy.deepcopy(caught.value)):  # noqa: S301 - our own bytes
        assert isinstance(other, httpx.ConnectError)
        assert outcome_of(other).reason == "attempts_exhausted"


def test_a_policy_that_was_used_can_be_pickled_and_a_copy_is_compiled_anew() -> None:
    """The compiled form belongs to the one it was made of."""
    policy = load_policy("default")
    policy.classify(httpx.Response(200))
    again: Policy = pickle.loads(pickle.dumps(policy))  # noqa: S301 - our own bytes
    assert again.model_dump() == policy.model_dump()
    bare = policy.model_copy(update={"rules": []})
    assert len(outcome_of(client(lambda _: httpx.Response(503), bare).get(URL)).attempts) == 1


def test_a_secret_of_bytes_may_hold_any_bytes() -> None:
    """It goes into no header."""
    HmacAuth("key", b"\x00abc ")


def test_a_redirect_to_a_get_needs_no_key_in_its_body() -> None:
    """The create was sent with its key; what follows is no create."""

    def answer(request: httpx.Request) -> httpx.Response:
        return (
            httpx.Response(303, headers={"Location": "/done"})
            if request.method == "POST"
            else httpx.Response(200)
        )

    with client(answer, "openpoly", follow_redirects=True) as opened:
        reply = opened.post(URL, json={"a": 1}, extensions={"resilience": {"idempotency_key": "k1"}})
    assert reply.status_code == 200


def test_a_request_that_met_its_deadline_can_be_sent_again_without_one() -> None:
    """Its timeouts are the caller's again."""
    seen: list[float | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"]["read"])
        return httpx.Response(503)

    with client(answer, deadline=0.001, timeout=5) as bounded:
        request = bounded.build_request("GET", URL)
        bounded.send(request)
    httpx.Client(transport=httpx.MockTransport(answer)).send(request)
    assert seen[-1] == 5


def test_cookies_do_not_multiply_on_a_response_that_is_used_again() -> None:
    """A handler may give the same object every time."""
    one = httpx.Response(503, headers={"Set-Cookie": "a=b"})
    transport = ResilientTransport(None, httpx.MockTransport(lambda _: one), clock=VirtualClock())
    with httpx.Client(transport=transport) as plain:
        for _ in range(3):
            assert plain.get(URL).headers.get_list("Set-Cookie") == ["a=b"]


@pytest.fixture
def greedy_records() -> Iterator[None]:
    """Have a program's own record factory set names that this library uses, too."""
    factory = logging.getLogRecordFactory()

    def greedy(*values: Any, **options: Any) -> logging.LogRecord:
        record = factory(*values, **options)
        record.timestamp = "now"
        return record

    logging.setLogRecordFactory(greedy)
    yield
    logging.setLogRecordFactory(factory)


@pytest.mark.usefixtures("greedy_records")
def test_a_programs_own_log_records_do_not_break_a_call(caplog: pytest.LogCaptureFixture) -> None:
    """The line is written without the fields."""
    assert client(lambda _: httpx.Response(404)).get(URL).status_code == 404
    assert "failed with 404 NOT_FOUND" in caplog.text


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ('[[rules]]\nname = "A"\nretry = { for = 1, wait = 0 }', "would send without a pause"),
        ('[override]\nfield = "/f"\nvalue = 2020-01-01', "something that JSON can say"),
        ('[rules]\nname = "A"', "write [[rules]]"),
        ('[[rules]]\nname = "A"\nretry = true', "is a table: retry = { … }"),
    ],
)
def test_a_policy_that_would_misbehave_is_refused_when_it_is_loaded(
    tmp_path: Path, text: str, mend: str
) -> None:
    """With what to do about it."""
    (tmp_path / "p.toml").write_text(f'api = "p"\n{text}')
    with pytest.raises(PolicyError) as caught:
        load_policy(tmp_path / "p.toml")
    assert mend in str(caught.value)


def test_the_wrong_kind_of_transport_is_not_a_way_round_the_retries() -> None:
    """What sends is not fetched from the inner transport."""
    transport = ResilientTransport(None, httpx.MockTransport(refuse))
    assert not hasattr(transport, "handle_async_request")


@pytest.mark.parametrize("option", ["retry", "idempotent", "override_conflict"])
def test_an_option_that_is_neither_true_nor_false_is_refused(option: str) -> None:
    """0 and None look as if they switched something off."""
    with client(lambda _: httpx.Response(200)) as opened, pytest.raises(TypeError, match=option):
        opened.get(URL, extensions={"resilience": {option: 0}})


@pytest.mark.parametrize("deadline", [float("inf"), 1e10])
def test_a_deadline_that_is_ages_away_bounds_nothing_on_a_socket(deadline: float) -> None:
    """No socket takes such a timeout."""
    with Loopback(page(200, b"ok")) as server, ResilientClient(deadline=deadline, timeout=None) as opened:
        assert opened.get(server.url).text == "ok"


def test_a_deadline_holds_on_a_connection_that_a_call_without_one_opened() -> None:
    """A head that drips, on a connection kept alive: the call ends, and long before the drip does."""

    def drip(exchange: Exchange) -> None:
        exchange.hang_up()
        exchange.say(b"HTTP/1.1 503 No\r\nX-Long: ")
        for _ in range(40):
            exchange.wait(0.05)
            exchange.say(b"x")
        exchange.say(b"\r\nContent-Length: 0\r\n\r\n")

    with Loopback(page(200, b"ok"), drip) as server, ResilientClient() as opened:
        opened.get(server.url)
        with pytest.raises(httpx.ReadTimeout):
            opened.get(server.url, extensions={"resilience": {"deadline": 0.3}})
        assert server.connections == 1


def test_one_exception_that_is_raised_time_and_again_has_one_note() -> None:
    """Not one from each call."""
    same = httpx.ConnectError("refused")

    def answer(_: httpx.Request) -> httpx.Response:
        raise same

    with client(answer) as opened:
        for _ in range(3):
            with pytest.raises(httpx.ConnectError):
                opened.get(URL)
    assert len(same.__notes__) == 1


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("author", False),
        ("design", False),
        ("monkey", False),
        ("authToken", True),
        ("X-API-SIGN", True),
        ("api_key", True),
    ],
)
def test_a_word_that_only_holds_a_secret_one_is_no_secret(name: str, secret: bool) -> None:  # noqa: FBT001 - a table
    """Names are read word by word."""
    assert is_secret(name) is secret


def test_true_is_not_one_in_a_condition_on_the_body() -> None:
    """In Python it is."""
    policy = Policy.model_validate(
        {"api": "x", "rules": [{"name": "A", "when": {"status": 400, "body": {"/n": 1}}}]}
    )
    for said, name in ((1, "A"), (True, "BAD_REQUEST")):
        body = b'{"n": true}' if said is True else b'{"n": 1}'
        assert classify(policy.rulebook, 400, httpx.Headers(), body, now=None).verdict.name == name
