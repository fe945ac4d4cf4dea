"""The two hosts, httpx and httpx2: the sandbox serves both, gives clients of both, and knows neither until it is asked."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest
from plain import CREATE, PLACES, WAYS

from resilient_client import outcome_of
from resilient_client._libraries import HOMES
from resilient_client.sandbox import Sandbox, sandbox_names
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from resilient_client._libraries import LibraryName

OTHER: dict[str, LibraryName] = {"httpx": "httpx2", "httpx2": "httpx"}
CLIENTS = {"httpx": "resilient_client", "httpx2": "resilient_client.httpx2"}
ORDER = {
    "fromCcy": "BTC",
    "toCcy": "XMR",
    "direction": "from",
    "amount": "0.01",
    "type": "fixed",
    "toAddress": "there",
}
# A request of each API that nobody makes who has not signed in.
PRIVATE = {
    "zerotrace": "/v1/codes",
    "customer_verification": "/customers?email=ada@example.com",
    "dual": "/wallets/me",
    "openpoly": "/users",
    "integration": "/activities/tasks",
}


def asked(api: Sandbox[Any], way: str, library: LibraryName, *request: str, **how: Any) -> Any:
    """Send a request with a client that the sandbox gives."""
    if way == "sync":
        with api.client(library=library) as client:
            return client.request(*request, **how)

    async def task() -> Any:
        async with api.async_client(library=library) as client:
            return await client.request(*request, **how)

    return anyio.run(task, backend=way)


# --- before it is asked, and by whom

SERVED = """
import sys
from resilient_client.sandbox import Sandbox, sandbox_names

for name in sandbox_names():
    Sandbox(name)
with Sandbox("dual"):
    pass
assert not {"httpx", "httpx2"} & set(sys.modules)

import LIBRARY

api = Sandbox("zerotrace", faults="GET /v1/codes = reset")
with LIBRARY.Client(base_url=api.base_url, transport=LIBRARY.MockTransport(api.handler)) as client:
    assert client.get("/v1/codes").json()["code"] == 2
print(*sorted({"httpx", "httpx2"} & set(sys.modules)))
"""


@pytest.mark.parametrize("library", HOMES)
def test_sandbox_imports_no_library(library: str) -> None:
    """Made, started or asked in memory, it brings in neither; who asks with one of the two has that one alone."""
    program = SERVED.replace("LIBRARY", library)

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.stdout.strip(), done.stderr) == (library, "")


# --- requests of either


@pytest.mark.parametrize("library", HOMES)
def test_answer_in_memory_is_of_the_library_that_asks(library: str) -> None:
    """One sandbox answers both; each gets a response that its own clients take."""
    api = Sandbox("zerotrace")
    for name in (library, OTHER[library]):
        http = import_module(name)
        response = api.handler(http.Request("GET", f"{api.base_url}/v1/codes"))

        assert type(response) is http.Response
        assert isinstance(response.stream, http.SyncByteStream)
        assert isinstance(response.stream, http.AsyncByteStream)
        assert response.read().startswith(b"{")


# --- clients of either


@pytest.mark.parametrize("library", HOMES)
def test_clients_are_those_of_the_library(library: LibraryName) -> None:
    """`library=` chooses; httpx's come unless it is given."""
    package = import_module(CLIENTS[library])
    api = Sandbox("zerotrace")

    with api.client(library=library) as client:
        assert type(client) is package.ResilientClient
    assert type(api.async_client(library=library)) is package.AsyncResilientClient
    assert isinstance(client, import_module(library).Client)


@pytest.mark.parametrize("library", HOMES)
@pytest.mark.parametrize("way", ["sync", "asyncio"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", PRIVATE)
def test_client_of_either_library_is_signed_in(name: str, place: str, way: str, library: LibraryName) -> None:
    """A key in a header, a signature, a token that is fetched first: each API lets in the clients of both."""
    api: Sandbox[Any] = Sandbox(name)
    if place == "socket":
        api.start()
    try:
        response = asked(api, way, library, "GET", PRIVATE[name])
    finally:
        api.close()

    assert response.status_code == 200
    assert type(response) is import_module(library).Response


def test_every_api_is_tried() -> None:
    """There is a private request of each."""
    assert tuple(PRIVATE) == sandbox_names()


@pytest.mark.parametrize("library", HOMES)
@pytest.mark.parametrize("way", WAYS)
def test_client_of_either_library_comes_through_faults(way: str, library: LibraryName) -> None:
    """What breaks in memory breaks with the library's own exceptions, which its resilient client knows."""
    api = Sandbox("zerotrace", clock=VirtualClock(), faults=f"{CREATE} = lose, reset, latency:100, -")

    response = asked(api, way, library, "POST", "/v1/create", json=ORDER)

    assert [attempt.verdict.name for attempt in outcome_of(response).attempts] == [
        *["NETWORK_ERROR"] * 3,
        "OK",
    ]
    assert len(api.state.orders) == 1


@pytest.mark.parametrize("library", HOMES)
def test_headers_are_added_whosever_they_are(library: LibraryName) -> None:
    """A key that is a header stays beside the headers that are given, as a mapping or as the library's own."""
    http = import_module(library)
    api = Sandbox("openpoly")

    with api.client(library=library, headers=http.Headers({"X-Sandbox-Call": "mine"})) as client:
        sent = client.headers

    assert type(sent) is http.Headers
    assert (sent["authorization"], sent["x-sandbox-call"]) == (f"Bearer {api.key}", "mine")


@pytest.mark.parametrize("library", HOMES)
@pytest.mark.parametrize("name", PRIVATE)
def test_plain_client_of_either_library_signs_in(name: str, library: LibraryName) -> None:
    """`state.sign_in` gives what a client of one's own needs, made of its library."""
    http = import_module(library)
    api: Sandbox[Any] = Sandbox(name)
    transport = http.MockTransport(api.handler)

    signed = api.state.sign_in(api.base_url, library)
    with http.Client(base_url=api.base_url, transport=transport, **signed) as client:
        assert client.get(PRIVATE[name]).status_code == 200


def test_other_library_is_refused() -> None:
    """There are two, and the error says which."""
    api = Sandbox("zerotrace")

    with pytest.raises(ValueError, match=r"the libraries are httpx and httpx2 \(got 'requests'\)"):
        api.client(library=cast("Any", "requests"))
