"""A transport of others called a connection that broke after the request was sent a ConnectTimeout, and it was believed.

httpx-aiohttp 0.2 does so. A movement of money without a key was made twice, and the outcome said that nothing had been applied.
"""

from __future__ import annotations

import httpx
import pytest

from resilient_client import ResilientClient, outcome_of
from resilient_client.testing import VirtualClock

URL = "https://api.test/moves"


class ServerDisconnectedError(OSError):
    """As aiohttp names it."""


def raising(cause: BaseException | None, sent: list[bytes]) -> httpx.MockTransport:
    """Make a transport that calls whatever happens a ConnectTimeout."""

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        raise httpx.ConnectTimeout("no answer", request=request) from cause

    return httpx.MockTransport(answer)


def test_what_broke_after_it_was_sent_is_not_sent_again_and_may_have_been_applied() -> None:
    """The cause is believed rather than the name."""
    sent: list[bytes] = []
    transport = raising(ServerDisconnectedError(), sent)
    with (
        ResilientClient(clock=VirtualClock(), transport=transport) as client,
        pytest.raises(httpx.ConnectTimeout) as caught,
    ):
        client.post(URL, json={"amount": 1})

    assert len(sent) == 1
    assert outcome_of(caught.value).maybe_applied


class ConnectTimeout(Exception):  # noqa: N818 - httpcore's name
    """As httpcore names it."""


@pytest.mark.parametrize("cause", [None, ConnectTimeout(), TimeoutError(), ConnectionRefusedError()])
def test_a_connection_that_was_not_made_is_tried_again(cause: BaseException | None) -> None:
    """Nothing was sent: any method goes again."""
    sent: list[bytes] = []
    with (
        ResilientClient(clock=VirtualClock(), transport=raising(cause, sent)) as client,
        pytest.raises(httpx.ConnectTimeout) as caught,
    ):
        client.post(URL, json={"amount": 1})

    assert len(sent) == 5
    assert not outcome_of(caught.value).maybe_applied
