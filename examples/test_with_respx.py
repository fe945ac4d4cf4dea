"""How to test an integration with respx or httpx alone: the replies that the real API sends, and time that costs nothing.

It works under any test framework; test_with_the_kit.py does the same with the fixtures for pytest. Run it:
pytest examples/test_with_respx.py
"""

from __future__ import annotations

import httpx
import pytest
import respx

from resilient_client import ApiError, HmacAuth, ResilientClient, outcome_of
from resilient_client.testing import VirtualClock, error_response

BASE = "https://0trace.io/api"
CREATE = f"{BASE}/v1/create"


class Shop:
    """The integration under test."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def order(self, amount: str) -> str:
        """Place an order and give its id, or say in the user's words why there is none."""
        try:
            return str(self._client.post("/v1/create", json={"amount": amount}).json()["data"]["id"])
        except ApiError as error:
            return error.user_message


@pytest.fixture
def clock() -> VirtualClock:
    """Give time that the test is the master of."""
    return VirtualClock()


@pytest.fixture
def client(clock: VirtualClock) -> ResilientClient:
    """Make the client as the application makes it, but for its clock."""
    auth = HmacAuth("a-key", "a-secret")
    return ResilientClient("zerotrace", base_url=BASE, auth=auth, clock=clock, raise_for_status=True)


@respx.mock
def test_a_rate_limit_is_waited_out(client: ResilientClient, clock: VirtualClock) -> None:
    """A 429 is answered by a wait of at least Retry-After, then by the same request under a new nonce."""
    route = respx.post(CREATE).mock(
        side_effect=[
            error_response("zerotrace", "RATE_LIMIT", retry_after=7),
            httpx.Response(200, json={"code": 0, "data": {"id": "A1"}}),
        ]
    )

    assert Shop(client).order("0.01") == "A1"

    first, second = (call.request for call in route.calls)
    assert 7 <= clock.sleeps[0] <= 7 * 1.2 + 0.25
    assert second.content == first.content
    assert second.headers["Idempotency-Key"] == first.headers["Idempotency-Key"]
    assert second.headers["X-API-NONCE"] != first.headers["X-API-NONCE"]


@respx.mock
def test_a_limit_is_told_to_the_user(client: ResilientClient, clock: VirtualClock) -> None:
    """An error that no retry cures comes at once, with words for the user."""
    route = respx.post(CREATE).mock(return_value=error_response("zerotrace", "LIMIT_MIN"))

    assert "amount" in Shop(client).order("0.00000001").lower()

    assert route.call_count == 1
    assert clock.sleeps == []


def test_the_same_without_respx(clock: VirtualClock) -> None:
    """`httpx.MockTransport` does as well: the client wraps whatever transport it is given."""
    replies = iter([error_response("zerotrace", "UPSTREAM_ERROR"), httpx.Response(200, json={"code": 0})])
    transport = httpx.MockTransport(lambda _request: next(replies))
    with ResilientClient("zerotrace", base_url=BASE, clock=clock, transport=transport) as client:
        response = client.get("/v1/codes")

    assert [attempt.verdict.name for attempt in outcome_of(response).attempts] == ["UPSTREAM_ERROR", "OK"]
    assert 1 <= clock.sleeps[0] <= 1.45
