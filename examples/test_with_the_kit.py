"""How to test an integration under pytest: errors by name, time that costs nothing, assertions on a whole call.

The fixtures `api_mock` and `virtual_clock` come with the package. Run it: pytest examples/test_with_the_kit.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from resilient_client import ApiError, AsyncResilientClient, HmacAuth, ResilientClient, outcome_of
from resilient_client.testing import assert_attempts, assert_fresh_nonces, assert_same_key, assert_waits

if TYPE_CHECKING:
    from resilient_client.testing import ApiMock, MockedApi, VirtualClock

BASE = "https://0trace.io/api"


class Shop:
    """The integration under test. It makes its client as it does in production: no clock is passed, no transport."""

    def __init__(self) -> None:
        auth = HmacAuth("a-key", "a-secret")
        self._client = ResilientClient("zerotrace", base_url=BASE, auth=auth, raise_for_status=True)

    def order(self, amount: str) -> httpx.Response:
        """Place an order."""
        return self._client.post("/v1/create", json={"amount": amount})

    def rates(self) -> dict[str, str]:
        """Tell the rates; none where they are not to be had."""
        try:
            response = self._client.get("/v1/rates")
        except (ApiError, httpx.TransportError):
            return {}
        rates: dict[str, str] = response.json()["data"]
        return rates


@pytest.fixture
def zerotrace(api_mock: ApiMock) -> MockedApi:
    """Stand in for the API at its own address."""
    return api_mock("zerotrace", BASE)


def test_a_rate_limit_is_waited_out(zerotrace: MockedApi, virtual_clock: VirtualClock) -> None:
    """A 429 is answered by a wait of at least Retry-After, then by the same order under a new nonce."""
    route = zerotrace.post("/v1/create").fails("RATE_LIMIT", retry_after=7).then(200, json={"code": 0})

    response = Shop().order("0.01")

    assert_attempts(response, "RATE_LIMIT", "OK")
    assert_waits(response, 7)
    assert_same_key(route)
    assert_fresh_nonces(route)
    assert len(virtual_clock.sleeps) == 1


def test_an_order_whose_reply_is_lost_is_in_doubt(zerotrace: MockedApi) -> None:
    """The key makes it safe to send the order again; the outcome says that an earlier one may have taken effect."""
    route = zerotrace.post("/v1/create").raises(httpx.ReadTimeout).then(200, json={"code": 0})

    response = Shop().order("0.01")

    assert_attempts(response, httpx.ReadTimeout, "OK")
    assert_same_key(route)
    assert outcome_of(response).maybe_applied


def test_an_upstream_that_stays_down_is_given_up(zerotrace: MockedApi) -> None:
    """Four retries, at the distances that the vendor asks for; then the caller is told."""
    route = zerotrace.post("/v1/create").always_fails("UPSTREAM_ERROR")

    with pytest.raises(ApiError) as caught:
        Shop().order("0.01")

    assert_waits(caught.value, 1, 2, 5, 10)
    assert route.call_count == 5
    assert "try again" in caught.value.user_message


@pytest.mark.parametrize("error", ["AUTH_DISABLED", "NOT_FOUND", "LIMIT_EXCEEDED"])
def test_the_shop_opens_without_rates(zerotrace: MockedApi, error: str) -> None:
    """What no retry cures comes at once, and the shop does without."""
    zerotrace.get("/v1/rates").fails(error)

    assert Shop().rates() == {}


@pytest.mark.anyio
async def test_the_same_for_tasks(zerotrace: MockedApi) -> None:
    """Under asyncio and trio nothing else changes."""
    zerotrace.get("/v1/codes").fails("MAINTENANCE", times=3).then(200, json={"code": 0})

    async with AsyncResilientClient("zerotrace", base_url=BASE) as client:
        response = await client.get("/v1/codes")

    assert_attempts(response, *["MAINTENANCE"] * 3, "OK")
    assert_waits(response, (0, 0.5), (0, 1), (0, 2))
