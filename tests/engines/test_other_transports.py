"""A deadline is kept over any async transport, under asyncio and trio, whether or not it knows of timeouts.

Law of this file: what is late would be late for a minute, and is not waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from resilient_client import AsyncResilientClient, AsyncResilientTransport, outcome_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

URL = "https://api.example/"
LATE = 60.0  # seconds
WAY = pytest.mark.parametrize("way", ["asyncio", "trio"])


class Body(httpx.AsyncByteStream):
    """A piece, and then another one that is late; it tells whether it was closed, and what became of it."""

    def __init__(self, wait: float) -> None:
        self._wait = wait
        self.ended: list[str] = []

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"first "
        try:
            await anyio.sleep(self._wait)
        except anyio.get_cancelled_exc_class():
            self.ended.append("called off")
            raise
        yield b"last"

    async def aclose(self) -> None:
        self.ended.append("closed")


class Mine(httpx.AsyncBaseTransport):
    """A transport that has not heard of timeouts."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response], wait: float = 0.0) -> None:
        self._answer = answer
        self._wait = wait
        self.called_off = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            await anyio.sleep(self._wait)
        except anyio.get_cancelled_exc_class():
            self.called_off += 1
            raise
        return self._answer(request)


def run(way: str, scenario: Any) -> None:
    """Run a scenario, and fail if it waits."""

    async def bounded() -> None:
        with anyio.fail_after(5):
            await scenario()

    anyio.run(bounded, backend=way)


@WAY
def test_an_answer_that_is_late_is_called_off(way: str) -> None:
    """The call ends with a timeout of httpx's, and may have been applied."""

    async def scenario() -> None:
        transport = Mine(lambda _: httpx.Response(200), LATE)
        async with AsyncResilientClient(transport=transport, deadline=0.05) as client:
            with pytest.raises(httpx.ReadTimeout) as caught:
                await client.post(URL)
        outcome = outcome_of(caught.value)
        assert (outcome.reason, outcome.maybe_applied) == ("not_retryable", True)
        assert transport.called_off == 1

    run(way, scenario)


@WAY
def test_an_error_whose_body_is_late_is_judged_by_its_status(way: str) -> None:
    """What there was of the body can be read; then comes a timeout."""

    async def scenario() -> None:
        body = Body(LATE)
        transport = Mine(lambda _: httpx.Response(503, stream=body))
        async with AsyncResilientClient(transport=transport, deadline=0.05) as client:
            async with client.stream("GET", URL) as response:
                assert outcome_of(response).reason == "deadline"
                pieces = response.aiter_raw()
                assert await anext(pieces) == b"first "
                with pytest.raises(httpx.ReadTimeout):
                    await anext(pieces)
            assert body.ended[:2] == ["called off", "closed"]

    run(way, scenario)


@WAY
def test_the_body_of_a_success_is_not_hurried(way: str) -> None:
    """The deadline was met when the answer came."""

    async def scenario() -> None:
        transport = Mine(lambda _: httpx.Response(200, stream=Body(0.1)))
        async with AsyncResilientClient(transport=transport, deadline=0.05) as client:
            assert (await client.get(URL)).content == b"first last"

    run(way, scenario)


@WAY
@pytest.mark.parametrize("deadline", [None, 1e9])
def test_where_nothing_is_bounded_everything_is_waited_for(way: str, deadline: float | None) -> None:
    """No deadline, or one that is years away."""

    async def scenario() -> None:
        transport = Mine(lambda _: httpx.Response(404, stream=Body(0.02)), 0.02)
        async with AsyncResilientClient(transport=transport, deadline=deadline) as client:
            assert (await client.get(URL)).content == b"first last"

    run(way, scenario)


@WAY
def test_a_body_in_memory_stays_one(way: str) -> None:
    """There is nothing to wait for in it."""

    async def scenario() -> None:
        beneath = Mine(lambda _: httpx.Response(200, content=b"here"))
        async with AsyncResilientTransport(transport=beneath, deadline=5) as transport:
            response = await transport.handle_async_request(httpx.Request("GET", URL))
        assert isinstance(response.stream, httpx.ByteStream)

    run(way, scenario)
