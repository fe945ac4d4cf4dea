"""What an attack on the change to two libraries found: bodies that were left to the collector, names that collided, classes that were lost."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import httpcore
import httpcore2
import httpx
import httpx2
import pytest
from loopback import Loopback, page

import resilient_client
import resilient_client.httpx2 as other
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOSTS = pytest.mark.parametrize(
    ("library", "resilient"), [(httpx, resilient_client), (httpx2, other)], ids=["httpx", "httpx2"]
)


class Body(httpx2.AsyncByteStream):
    """A body that has something to clean up."""

    def __init__(self, cleaned: list[str]) -> None:
        self._cleaned = cleaned

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for _ in range(10):
                yield b"abc"
        finally:
            await asyncio.sleep(0)
            self._cleaned.append("cleaned up")


class Bodies(httpx2.AsyncBaseTransport):
    """Answers with such bodies, which no decoder can read."""

    def __init__(self, status: int, cleaned: list[str]) -> None:
        self._status = status
        self._cleaned = cleaned

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer."""
        headers = {"Content-Encoding": "gzip"} if request.url.path == "/encoded" else {}
        return httpx2.Response(self._status, headers=headers, stream=Body(self._cleaned))


@pytest.mark.parametrize("deadline", [None, 60])
@pytest.mark.parametrize("status", [200, 404])
def test_a_body_that_is_left_is_ended_at_once(status: int, deadline: float | None) -> None:
    """httpx2 ends the generators of a body in order, and so do those that are put between: nothing is left to the collector."""
    cleaned: list[str] = []

    async def scenario() -> None:
        transport = Bodies(status, cleaned)
        async with other.AsyncResilientClient(transport=transport, deadline=deadline) as client:
            async with (
                client.stream("GET", "https://api.test/") as response,
                aclosing(response.aiter_raw()) as pieces,
            ):
                async for _ in pieces:
                    break
            assert cleaned == ["cleaned up"]
            with pytest.raises(httpx2.DecodingError):
                await client.get("https://api.test/encoded")
            assert cleaned == ["cleaned up"] * 2

    asyncio.run(scenario())


@HOSTS
def test_a_subclass_may_keep_a_host_of_its_own(library: Any, resilient: Any) -> None:
    """`self._host = "api.test"` is what somebody calls the host of their API."""

    class Auth(resilient.TokenAuth):  # type: ignore[misc]  # of either library
        def __init__(self, host: str) -> None:
            self._host = self._library = self._over = host
            super().__init__(lambda: library.Request("POST", f"https://{self._host}/login"))

    class Client(resilient.ResilientClient):  # type: ignore[misc]  # as above
        def __init__(self, host: str, **options: Any) -> None:
            super().__init__(**options)
            self._host = self._library = self._over = host

    def answer(request: Any) -> Any:
        assert request.url.path == "/login" or request.headers["Authorization"] == "Bearer t"
        return library.Response(200, json={"token": "t"})

    transport = library.MockTransport(answer)
    with Client("api.test", auth=Auth("api.test"), transport=transport, clock=VirtualClock()) as client:
        assert client.get("https://api.test/x").is_success
    with Client("api.test", transport=library.MockTransport(lambda _: library.Response(200))) as client:
        assert client.get("https://api.test/x").is_success


@HOSTS
def test_the_network_stream_of_a_response_is_one(library: Any, resilient: Any) -> None:
    """`response.extensions["network_stream"]` is documented: who upgrades a connection may ask what it is."""
    core = httpcore if library is httpx else httpcore2

    async def tasks(url: str) -> None:
        async with resilient.AsyncResilientClient() as client, client.stream("GET", url) as response:
            assert isinstance(response.extensions["network_stream"], core.AsyncNetworkStream)

    with Loopback(page(200, b"ok")) as server:
        with resilient.ResilientClient() as client, client.stream("GET", server.url) as response:
            assert isinstance(response.extensions["network_stream"], core.NetworkStream)
        asyncio.run(tasks(server.url))


class OfBoth(httpx.BaseTransport, httpx2.BaseTransport):
    """An adapter, or a fake, that goes with either library."""

    def handle_request(self, request: Any) -> Any:
        """Answer in the request's own classes."""
        return (httpx if isinstance(request, httpx.Request) else httpx2).Response(200)


@HOSTS
def test_a_transport_that_is_of_both_libraries_is_taken(library: Any, resilient: Any) -> None:
    """Only what is of the other one alone is refused."""
    with resilient.ResilientClient(transport=OfBoth()) as client:
        assert isinstance(client.get("https://api.test/"), library.Response)


@pytest.mark.parametrize("named", ["openai", "httpx"])
def test_a_class_whose_module_somebody_has_renamed_is_still_the_librarys(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """The openai package says of httpx2's BaseTransport, which it hands on, that it is its own."""
    monkeypatch.setattr(httpx2.BaseTransport, "__module__", named)

    class Own(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200)

    with other.ResilientClient(transport=Own()) as client:
        assert client.get("https://api.test/").is_success
    with pytest.raises(TypeError, match=r"Own is a transport of httpx2, .* one of httpx:"):
        resilient_client.ResilientClient(transport=Own())  # type: ignore[arg-type]
