"""The Sandbox itself: how it is opened, the clients that it gives, what it reports, and how it ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from plain import CREATE, PLACES, ask, order

from resilient_client import AsyncResilientClient, HmacAuth, ResilientClient, outcome_of
from resilient_client.sandbox import Sandbox, Schedule, Zerotrace, sandbox_names
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_client._libraries import LibraryName

BODY = {
    "fromCcy": "BTC",
    "toCcy": "XMR",
    "direction": "from",
    "amount": "0.01",
    "type": "fixed",
    "toAddress": "there",
}
UNRETRIED: dict[str, Any] = {"extensions": {"resilience": {"retry": False}}}


def report(api: Sandbox[Zerotrace]) -> Any:
    root = api.base_url.removesuffix("/api")
    return ask(api, "sync", {"method": "GET", "url": f"{root}/_sandbox"})[0].json


# --- opening


def test_sandboxes_have_the_names_of_the_shipped_policies() -> None:
    """There is one for each of the five."""
    assert sandbox_names() == ("zerotrace", "customer_verification", "dual", "openpoly", "integration")


def test_with_serves_on_a_socket_and_without_it_is_in_memory() -> None:
    """Before it is started its URL is made up, and nothing is opened."""
    api = Sandbox("zerotrace")
    before = api.base_url
    with api as started:
        assert started is api
        assert api.base_url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{api.base_url}/v1/codes").status_code == 401
        assert api.connections == 1

    assert before == "http://zerotrace.sandbox/api"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_with_serves_too(backend: str) -> None:
    """Under both loops, and the socket is closed on leaving."""

    async def task() -> str:
        async with Sandbox("zerotrace") as api, api.async_client() as client:
            assert (await client.get("/v1/codes")).status_code == 200
        async with httpx.AsyncClient() as plain:
            with pytest.raises(httpx.ConnectError):
                await plain.get(api.base_url)
        return api.base_url

    assert anyio.run(task, backend=backend).startswith("http://127.0.0.1:")


def test_failure_while_serving_is_raised_by_async_with_too() -> None:
    """A mistake of the stand-in does not get lost in a task either."""

    async def task() -> None:
        async with (
            Sandbox("zerotrace", faults=lambda _route, _request: "loose") as api,
            api.async_client() as client,
        ):
            await client.get("/v1/codes", **UNRETRIED)

    with pytest.raises(
        RuntimeError, match=r"the zerotrace sandbox failed while serving: no such fault .*'loose'"
    ):
        anyio.run(task)


def test_repr_tells_where_it_is_and_no_secret() -> None:
    """It may stand in any log."""
    api = Sandbox("zerotrace")

    assert repr(api) == "<Sandbox 'zerotrace' at http://zerotrace.sandbox/api>"
    assert api.secret not in repr(api.state.requests)


# --- credentials


def test_credentials_are_those_that_let_in() -> None:
    """All that a client of one's own needs is the URL and these."""
    with Sandbox("zerotrace", seed=7) as api:
        auth = HmacAuth(api.credentials["key"], api.credentials["secret"])
        with httpx.Client(base_url=api.base_url, auth=auth) as client:
            assert client.get("/v1/codes").status_code == 200

    assert (api.key, api.secret) == (api.credentials["key"], api.credentials["secret"])


def test_credentials_are_a_copy() -> None:
    """What a caller does to them is nothing to the sandbox."""
    api = Sandbox("zerotrace")
    api.credentials["key"] = "mine"

    assert api.key.startswith("sandbox-key-")


def test_rotation_shows_in_the_credentials() -> None:
    """They are always those that are good now; a client made before keeps the old secret, as a real one would."""
    api = Sandbox("zerotrace")
    with api.client() as before:
        rotated = before.post("/v1/keys/rotate", json={}).json()["data"]
        assert rotated["apiSecret"] == api.secret
        assert before.get("/v1/codes", **UNRETRIED).status_code == 401
        with api.client() as after:
            assert after.get("/v1/codes").status_code == 200


# --- clients


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", ["sync", "asyncio", "trio"])
def test_clients_are_ready(place: str, way: str) -> None:
    """Policy, URL, signature and clock are set: a create goes through a failure that its policy knows how to meet."""
    clock = VirtualClock()
    api = Sandbox("zerotrace", clock=clock, faults=Schedule().add(CREATE, ["UPSTREAM_ERROR", "lose"]))
    if place == "socket":
        api.start()
    try:
        if way == "sync":
            with api.client() as client:
                response = client.post("/v1/create", json=BODY)
        else:
            response = anyio.run(create, api, backend=way)
    finally:
        api.close()

    assert response.status_code == 200
    assert [attempt.verdict.name for attempt in outcome_of(response).attempts] == [
        "UPSTREAM_ERROR",
        "NETWORK_ERROR",
        "OK",
    ]
    assert len(api.state.orders) == 1
    assert clock.sleeps


async def create(api: Sandbox[Zerotrace]) -> httpx.Response:
    async with api.async_client() as client:
        return await client.post("/v1/create", json=BODY)


def test_clients_are_resilient_ones() -> None:
    """Sync and async, each of its own class."""
    api = Sandbox("zerotrace")

    with api.client() as client:
        assert isinstance(client, ResilientClient)
    assert isinstance(api.async_client(), AsyncResilientClient)


def test_options_of_a_client_replace_what_is_set() -> None:
    """Everything that ResilientClient takes may be given."""
    api = Sandbox("zerotrace", clock=VirtualClock())
    with api.client(auth=None, raise_for_status=False, headers={"X-Sandbox-Call": "mine"}) as client:
        assert client.get("/v1/codes").json()["code"] == 2

    assert [seen.call for seen in api.state.requests] == ["mine"]


def test_headers_of_a_client_are_added_to_the_credentials() -> None:
    """Where an API's key is a header, one more header does not lock the client out; one of the same name replaces it."""

    class Headed(Zerotrace):
        def sign_in(self, base_url: str, library: LibraryName = "httpx") -> Mapping[str, Any]:
            return {"headers": {"X-API-KEY": self.key, "X-API-SIGN": "none"}}

    api = Sandbox("zerotrace")
    api.state = Headed()

    with api.client(headers={"X-Sandbox-Call": "mine", "x-api-sign": "other"}) as client:
        sent = client.headers

    assert (sent["X-API-KEY"], sent["X-API-SIGN"], sent["X-Sandbox-Call"]) == (api.key, "other", "mine")


def test_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox is in this process; no proxy has a way to it."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    with Sandbox("zerotrace") as api, api.client() as client:
        assert client.get("/v1/codes").status_code == 200


def test_clock_without_sleep_is_no_clock_for_a_client() -> None:
    """The machine's time module serves the sandbox; its clients keep their own clock."""
    api = Sandbox("zerotrace", clock=time)

    with api.client() as client:
        assert client.get("/v1/codes").status_code == 200


# --- the report


@pytest.mark.parametrize("place", PLACES)
def test_report_tells_what_was_seen_and_injected(place: str) -> None:
    """GET /_sandbox is JSON, for whoever is in another process; asking for it leaves no trace, and it knows no secrets."""
    api = Sandbox("zerotrace", clock=VirtualClock(), faults="POST /v1/create = lose, RATE_LIMIT:2, stale")
    if place == "socket":
        api.start()
    try:
        ask(api, "sync", *(order(api, X_Sandbox_Call="mine") for _ in range(3)))
        first = report(api)
        again = report(api)
    finally:
        api.close()

    assert first == again
    assert (first["api"], first["requests"]) == ("zerotrace", 3)
    assert first["injected"] == {"lose": 1, "RATE_LIMIT:2": 1, "stale": 1} == api.state.tally()
    assert first["seen"][0] == {
        "time": 0.0,
        "method": "POST",
        "path": "/v1/create",
        "route": "POST /v1/create",
        "status": 200,
        "code": 0,
        "fault": "lose",
        "worked": True,
        "call": "mine",
        "idempotency_key": "one-key-for-all",
    }
    assert [(seen["status"], seen["worked"]) for seen in first["seen"]] == [
        (200, True),
        (429, False),
        (200, True),
    ]
    assert api.secret not in str(first)


@pytest.mark.parametrize("place", PLACES)
def test_report_meets_no_faults(place: str) -> None:
    """However much goes wrong, what went wrong can be asked for, on a stale connection too."""
    api = Sandbox("zerotrace", faults="stale=1")
    if place == "socket":
        api.start()
    root = api.base_url.removesuffix("/api")
    try:
        mets = ask(api, "sync", order(api), {"method": "GET", "url": f"{root}/_sandbox"}, order(api))
    finally:
        api.close()

    assert [met.status for met in mets] == [200, 200, None]


# --- ending


def test_close_may_be_called_twice_and_without_start() -> None:
    """It is for cleaning up, whatever came before."""
    api = Sandbox("zerotrace")
    api.close()
    api.start()
    api.close()
    api.close()


def test_failure_is_raised_once() -> None:
    """Who has been told of it can close again."""
    api = Sandbox("zerotrace", faults=lambda _route, _request: "loose").start()
    ask(api, "sync", order(api), order(api))

    with pytest.raises(RuntimeError, match="no such fault"):
        api.close()
    api.close()


def test_state_is_still_there_after_closing() -> None:
    """What happened is judged when all is over."""
    with Sandbox("zerotrace") as api, api.client() as client:
        client.post("/v1/create", json=BODY)

    assert len(api.state.orders) == 1
    assert [seen.worked for seen in api.state.requests] == [True]
