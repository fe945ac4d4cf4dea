"""TokenAuth with a store: as many processes as there are, and one sign-in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from cryptography.fernet import Fernet

from resilient_client import AsyncResilientClient, ResilientClient, TokenAuth
from resilient_client.testing import VirtualClock, use_clock

if TYPE_CHECKING:
    from shared_engines import Stores

pytest_plugins = ["valkey_fixtures"]

KEY = Fernet.generate_key()
URL = "https://api.example/things"
LOGIN = "https://api.example/login"


class Api:
    """Hands out a new token at each sign-in; only the newest is good."""

    def __init__(self) -> None:
        self.logins = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/login":
            self.logins += 1
            return httpx.Response(200, json={"token": f"token-{self.logins}"})
        good = request.headers["Authorization"] == f"Bearer token-{self.logins}"
        return httpx.Response(200 if good else 401, json={"error": {"code": 401}})


def auth(stores: Stores, name: str = "account", **options: Any) -> TokenAuth:
    """Make the auth of another process."""
    store = stores(encryption_key=KEY)
    return TokenAuth(lambda: httpx.Request("POST", LOGIN), shared=store, shared_as=name, **options)


def ask(api: Api, auth: TokenAuth, clock: VirtualClock) -> int:
    """Make one call of a process's own client."""
    with ResilientClient("dual", transport=httpx.MockTransport(api), auth=auth, clock=clock) as client:
        return client.get(URL).status_code


def test_a_second_process_takes_the_token_of_the_first(stores: Stores) -> None:
    """Three processes, one sign-in."""
    api, clock = Api(), VirtualClock()

    assert [ask(api, auth(stores), clock) for _ in range(3)] == [200] * 3
    assert api.logins == 1


def test_another_account_signs_in_for_itself(stores: Stores) -> None:
    """A name is an account: what is left under one is not found under another."""
    api, clock = Api(), VirtualClock()
    ask(api, auth(stores), clock)
    ask(api, auth(stores, "other"), clock)

    assert api.logins == 2


def test_a_token_that_the_api_called_dead_is_not_taken_again(stores: Stores) -> None:
    """It is taken off the shelf, one process signs in, and the next finds the new one."""
    api = Api()
    with use_clock(VirtualClock()) as clock:
        mine = auth(stores, lifetime=100.0)
        ask(api, mine, clock)
        api.logins += 1  # the token is dead from now on
        clock.advance(200)

        assert ask(api, mine, clock) == 200
        assert api.logins == 3
        assert ask(api, auth(stores), clock) == 200
        assert api.logins == 3


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_share_it_too(stores: Stores, backend: str) -> None:
    """The store is asked in a thread, and the answer comes back to the task."""
    api, clock = Api(), VirtualClock()

    async def scenario() -> list[int]:
        statuses = []
        for _ in range(2):
            transport = httpx.MockTransport(api)
            async with AsyncResilientClient(
                "dual", transport=transport, auth=auth(stores), clock=clock
            ) as client:
                statuses.append((await client.get(URL)).status_code)
        return statuses

    assert anyio.run(scenario, backend=backend) == [200, 200]
    assert api.logins == 1


def test_a_sign_in_that_fails_lets_another_try(stores: Stores) -> None:
    """Its turn ends with it, and not with its lease."""
    api, clock = Api(), VirtualClock()

    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"error": {"code": 400}})

    with (
        ResilientClient(
            "dual", transport=httpx.MockTransport(refuse), auth=auth(stores), clock=clock
        ) as client,
        pytest.raises(httpx.HTTPStatusError),
    ):
        client.get(URL)

    assert ask(api, auth(stores), clock) == 200
    assert clock.sleeps == []


def test_a_store_without_a_key_shares_no_token(stores: Stores) -> None:
    """There is no silent plain text."""
    with pytest.raises(ValueError, match="encrypted or not at all"):
        TokenAuth(httpx.Request("POST", LOGIN), shared=stores(), shared_as="account")


def test_a_store_and_a_name_go_together() -> None:
    """The error says what the name is for."""
    with pytest.raises(ValueError, match="names the account"):
        TokenAuth(httpx.Request("POST", LOGIN), shared_as="account")
