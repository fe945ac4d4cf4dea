"""A sign-in that fails in the middle of a call hid what the call had done, and those who waited for it were told nothing.

A create was sent and its reply was lost; the next attempt needed a new token, and the sign-in was refused. The caller was
raised an ApiError whose outcome was the sign-in's: one attempt, nothing applied. The order existed. And a caller who waited for
somebody else's sign-in, which met a network error, was raised an exception that `outcome_of` did not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest
from scenario import error_response

from resilient_client import ApiError, AsyncResilientClient, ResilientClient, TokenAuth, outcome_of
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY = "customer_verification"
BASE = "https://api.test"


def auth() -> TokenAuth:
    """Sign in once, without retries of its own."""
    once = {"resilience": {"retry": False}}
    return TokenAuth(lambda: httpx.Request("POST", f"{BASE}/login", extensions=once))


def test_a_refused_sign_in_does_not_hide_a_lost_create() -> None:
    """The error is the sign-in's, its outcome is the call's: the create may have been applied."""
    logins: Iterator[httpx.Response | Exception] = iter(
        [httpx.Response(200, json={"token": "one"}), error_response(POLICY, "AUTHENTICATION_FAILED")]
    )
    creates: Iterator[httpx.Response | Exception] = iter(
        [httpx.RemoteProtocolError("the reply is lost"), error_response(POLICY, "TOKEN_EXPIRED")]
    )

    def answer(request: httpx.Request) -> httpx.Response:
        reply = next(logins if request.url.path == "/login" else creates)
        if isinstance(reply, Exception):
            raise reply
        return reply

    with (
        ResilientClient(
            POLICY,
            base_url=BASE,
            auth=auth(),
            clock=VirtualClock(),
            transport=httpx.MockTransport(answer),
        ) as client,
        pytest.raises(ApiError) as caught,
    ):
        client.post("/customers", json={"email": "a@example.com"})

    assert caught.value.name == "AUTHENTICATION_FAILED"
    for outcome in (caught.value.outcome, outcome_of(caught.value)):
        assert outcome.maybe_applied
        assert [attempt.verdict.name for attempt in outcome.attempts] == ["NETWORK_ERROR", "TOKEN_EXPIRED"]
    assert caught.value.log_record()["maybeApplied"] is True


@pytest.mark.parametrize(
    "trouble", [httpx.ReadError("reset"), error_response(POLICY, "INTERNAL_SERVER_ERROR")]
)
def test_a_create_that_was_never_sent_has_not_been_applied(trouble: Exception | httpx.Response) -> None:
    """What a sign-in may have done is nothing that the caller asked for."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if isinstance(trouble, Exception):
            raise trouble
        return trouble

    with (
        ResilientClient(
            POLICY,
            base_url=BASE,
            auth=auth(),
            clock=VirtualClock(),
            transport=httpx.MockTransport(answer),
        ) as client,
        pytest.raises(httpx.HTTPError) as caught,
    ):
        client.post("/customers", json={"email": "a@example.com"})

    assert set(asked) == {"/login"}
    assert not outcome_of(caught.value).maybe_applied


def test_who_waited_for_a_sign_in_is_told_what_it_went_through() -> None:
    """Two callers, one sign-in, one network error: both are raised an exception with an outcome and a request."""
    raised: list[httpx.TransportError] = []

    async def play() -> None:
        waiting = anyio.Event()

        async def answer(request: httpx.Request) -> httpx.Response:
            await waiting.wait()
            raise httpx.ReadError("[Errno 104] Connection reset by peer", request=request)

        async with AsyncResilientClient(
            POLICY,
            base_url=BASE,
            auth=auth(),
            clock=VirtualClock(),
            transport=httpx.MockTransport(answer),
        ) as client:

            async def call() -> None:
                try:
                    await client.post("/customers", json={})
                except httpx.TransportError as error:
                    raised.append(error)

            async with anyio.create_task_group() as callers:
                callers.start_soon(call)
                callers.start_soon(call)
                await anyio.wait_all_tasks_blocked()  # the one signs in, the other waits for it
                waiting.set()

    anyio.run(play)

    assert len({id(error) for error in raised}) == 2
    for error in raised:
        assert outcome_of(error).attempts[0].verdict.name == "NETWORK_ERROR"
        assert error.request.url.path == "/login"
