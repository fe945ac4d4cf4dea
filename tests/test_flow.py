"""The flow, driven by hand: no client, no mock, no loop and no sleep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from resilient_client import load_policy
from resilient_client._flow import Body, Discard, Read, Send, Sign, Sleep, Told, flow
from resilient_client._flow.attempt import Call
from resilient_client._httpx import HOST

if TYPE_CHECKING:
    from collections.abc import Generator

    from resilient_client._flow import Step
    from resilient_client._http import Response


class Setting:
    """What a transport would give its calls, with all chance taken out."""

    host = HOST
    clock = None
    keep_cookies: Any = None

    def __init__(self, chance: float = 0.0) -> None:
        self._chance = chance

    def chance(self) -> float:
        """Draw the number that the test chose."""
        return self._chance

    def new_key(self) -> str:
        """Make the key that the test knows."""
        return "a-key-of-the-test"


class Signer:
    """An auth that the flow only hears of."""

    headers = ("X-Sign",)
    renews = frozenset({"nonce"})


def a_call(request: httpx.Request, policy: str = "zerotrace", **attributes: Any) -> Call:
    """Make a call that starts at second 0."""
    call = Call(request, load_policy(policy).rulebook, 0.0, Setting())
    for name, value in attributes.items():
        setattr(call, name, value)
    return call


def answer(
    steps: Generator[Step, Told, Response | None], status: int, json: Any, at: float, **headers: str
) -> Step:
    """Answer a Send with this, read it when asked to, and give the step that follows."""
    response = httpx.Response(status, json=json, headers=headers)
    step = steps.send(Told(at, response))
    assert isinstance(step, Read)
    return steps.send(Told(at, response, None, Body(response.content, "whole"), 1_750_000_000.0 + at))


def ended(steps: Generator[Step, Told, Response | None], told: Told) -> Response | None:
    """Tell the flow this, and give what it returns."""
    with pytest.raises(StopIteration) as end:
        steps.send(told)
    returned: Response | None = end.value.value
    return returned


def test_a_success_is_returned_after_one_send_and_its_body_is_not_asked_for() -> None:
    """200 ends the call at once."""
    call = a_call(httpx.Request("GET", "https://h/api/v1/order"))
    steps = flow(call)
    assert next(steps) == Send(call.request, None)
    response = httpx.Response(200)
    assert ended(steps, Told(0.5, response)) is response
    assert (call.reason, call.ended, list(call.tried)) == ("success", 0.5, [])


def test_a_429_is_read_discarded_slept_out_and_sent_again_as_it_was() -> None:
    """The steps come in this order; where nothing is signed and nothing changed, nothing is copied either."""
    call = a_call(httpx.Request("POST", "https://h/api/v1/qr", json={"id": 1}))
    steps = flow(call)
    first = next(steps)
    step = answer(steps, 429, {"code": 5, "msg": "RATE_LIMIT"}, 1.0, **{"Retry-After": "7"})
    assert isinstance(step, Discard)
    assert steps.send(Told(1.0)) == Sleep(7.0)
    again = steps.send(Told(8.0))
    assert isinstance(first, Send)
    assert isinstance(again, Send)
    assert again.request is first.request
    assert again.request.read() == b'{"id":1}'


def test_a_zero_wait_is_not_slept() -> None:
    """AUTH_INVALID is signed anew at once: no Sleep step stands between."""
    call = a_call(httpx.Request("GET", "https://h/v1/order"), auth=Signer())
    steps = flow(call)
    next(steps)
    assert isinstance(answer(steps, 401, {"code": 3}, 1.0), Discard)
    assert isinstance(steps.send(Told(1.0)), Sign)
    assert isinstance(steps.send(Told(1.0)), Send)


def test_every_further_attempt_is_signed_anew_and_carries_no_old_signature() -> None:
    """The old header is taken off before the auth runs."""
    request = httpx.Request("GET", "https://h/v1/order", headers={"X-Sign": "old"})
    call = a_call(request, auth=Signer())
    steps = flow(call)
    next(steps)
    answer(steps, 503, {"code": 11}, 0.0)
    assert steps.send(Told(0.0)) == Sleep(1.0)
    step = steps.send(Told(1.0))
    assert isinstance(step, Sign)
    assert "X-Sign" not in step.request.headers
    assert request.headers["X-Sign"] == "old"


def test_each_rule_counts_its_own_retries_in_one_call() -> None:
    """UPSTREAM_ERROR keeps its four retries when AUTH_INVALID and INTERNAL have had theirs."""
    call = a_call(httpx.Request("GET", "https://h/v1/order"), auth=Signer())
    steps = flow(call)
    step: Step = next(steps)
    errors = [(401, 3), (500, 99), *[(503, 11)] * 5]
    for status, code in errors:
        assert isinstance(step, Send)
        response = httpx.Response(status, json={"code": code})
        steps.send(Told(0.0, response))
        try:
            step = steps.send(Told(0.0, response, None, Body(response.content, "whole"), 0.0))
        except StopIteration:
            break
        while not isinstance(step, Send):
            step = steps.send(Told(0.0))
    assert [tried.verdict.name for tried in call.tried] == [
        "AUTH_INVALID",
        "INTERNAL",
        *["UPSTREAM_ERROR"] * 5,
    ]
    assert [tried.wait for tried in call.tried] == [0.0, 0.0, 1.0, 2.0, 5.0, 10.0, 0.0]
    assert call.reason == "attempts_exhausted"


def test_maintenance_goes_on_until_its_time_has_passed_and_ends_on_it() -> None:
    """With the longest of waits, the last attempt is at second 300 and none comes after it."""
    call = Call(
        httpx.Request("GET", "https://h/v1/order"), load_policy("zerotrace").rulebook, 0.0, Setting(1.0)
    )
    steps = flow(call)
    step: Step = next(steps)
    now, sends = 0.0, []
    try:
        for _ in range(200):
            match step:
                case Send():
                    sends.append(now)
                    told = Told(now, httpx.Response(503, json={"code": 10}))
                case Read(response):
                    told = Told(now, response, None, Body(response.content, "whole"), now)
                case Sleep(seconds):
                    now += seconds
                    told = Told(now)
                case _:
                    told = Told(now)
            step = steps.send(told)
    except StopIteration:
        pass
    assert sends == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 63.5, 123.5, 183.5, 243.5, 300.0]
    assert call.reason == "attempts_exhausted"


def test_an_error_that_brought_no_answer_is_judged_without_reading() -> None:
    """A connection that was never made is tried again for a POST without a key; a lost one is not."""
    for error, step_kind in ((httpx.ConnectError("refused"), Sleep), (httpx.ReadError("gone"), None)):
        call = a_call(httpx.Request("POST", "https://h/x", json={}), "default")
        call.setting = Setting(1.0)
        steps = flow(call)
        next(steps)
        if step_kind is None:
            assert ended(steps, Told(0.0, None, error)) is None
            assert (call.error, call.reason, call.maybe_applied) == (error, "not_retryable", True)
        else:
            assert isinstance(steps.send(Told(0.0, None, error)), step_kind)
            assert call.maybe_applied is False


def test_a_failed_sign_in_ends_the_call_with_its_own_error() -> None:
    """What the sign-in raised is what the caller gets."""
    call = a_call(httpx.Request("GET", "https://h/v1/order"), auth=Signer())
    steps = flow(call)
    next(steps)
    answer(steps, 401, {"code": 3}, 0.0)
    assert isinstance(steps.send(Told(0.0)), Sign)
    failure = httpx.ConnectError("no login")
    assert ended(steps, Told(0.0, None, failure)) is None
    assert (call.error, call.reason) == (failure, "cannot_change")


def test_a_key_that_the_policy_forbids_is_refused_before_the_first_step() -> None:
    """The flow raises before it asks for anything."""
    call = a_call(httpx.Request("POST", "https://h/v1/create", headers={"Idempotency-Key": "short"}))
    with pytest.raises(ValueError, match="8 to 128 characters; this one has 5"):
        next(flow(call))


def test_a_server_that_asks_for_too_long_ends_the_call_without_a_wait() -> None:
    """301 seconds are over the policy's 300."""
    call = a_call(httpx.Request("GET", "https://h/v1/order"))
    steps = flow(call)
    next(steps)
    response = httpx.Response(429, json={"code": 5}, headers={"Retry-After": "301"})
    assert isinstance(steps.send(Told(0.0, response)), Read)
    assert ended(steps, Told(0.0, response, None, Body(response.content, "whole"), 0.0)) is response
    assert call.reason == "wait_too_long"
