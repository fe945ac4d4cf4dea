"""Timeouts and deadlines hold over both engines, whatever the server does with its time.

Law of this file: a bound is a few tenths of a second, and nothing is waited for that does not end by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from both import ONE, Engine, over_both, within
from loopback import Exchange, Loopback, page
from test_time import DRIPS

from resilient_client import outcome_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytest_generate_tests = over_both

ONCE = {"resilience": {"retry": False}}
HUGE = b"x" * 30_000_000  # more than two sockets hold between them


@pytest.fixture
def full() -> Iterator[str]:
    """Give the address of a host that answers no attempt to connect: its queue is full."""
    with socket.socket() as host:
        host.bind(("127.0.0.1", 0))
        host.listen(0)
        port = host.getsockname()[1]
        crowd = [socket.socket() for _ in range(4)]
        try:
            for one in crowd:
                one.settimeout(0)
                one.connect_ex(("127.0.0.1", port))
            yield f"http://127.0.0.1:{port}"
        finally:
            for one in crowd:
                one.close()


@contextlib.asynccontextmanager
async def deaf() -> AsyncIterator[str]:
    """Serve connections and read nothing; what was connected is reset in the end, and the clients' loop hears of it."""
    with socket.create_server(("127.0.0.1", 0)) as host:
        yield f"http://127.0.0.1:{host.getsockname()[1]}"
    await asyncio.sleep(0.01)


async def parts() -> AsyncIterator[bytes]:
    for _ in range(500):
        yield b"x" * 65_536


def stall(exchange: Exchange) -> None:
    """Say nothing for a while."""
    exchange.wait(3)
    exchange.hang_up()


# ------------------------------------------------------------------------------------------------ the timeouts


def test_a_connection_that_is_not_made_in_time_is_a_connect_timeout_and_nothing_was_sent(
    engine: Engine, full: str
) -> None:
    """A POST without a key goes out again: it has not been sent."""

    async def scenario() -> None:
        async with engine.client(timeout=httpx.Timeout(5, connect=0.05)) as client:
            with pytest.raises(httpx.ConnectTimeout) as caught:
                await client.post(full, json={"amount": 1}, extensions={"resilience": {"deadline": 1}})
            outcome = outcome_of(caught.value)
            assert not outcome.maybe_applied
            assert len(outcome.attempts) > 1

    within(5, scenario)


def test_a_refused_connection_is_a_connect_error_and_nothing_was_sent(engine: Engine) -> None:
    """And so is a host that has no address."""

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        async with engine.client() as client:
            for host in (f"127.0.0.1:{port}", "nowhere.invalid"):
                with pytest.raises(httpx.ConnectError) as caught:
                    await client.post(f"http://{host}/", json={"amount": 1}, extensions=ONCE)
                assert not outcome_of(caught.value).maybe_applied
                assert outcome_of(caught.value).verdict.category == "network"

    within(5, scenario)


def test_an_answer_that_is_not_there_in_time_is_a_read_timeout(engine: Engine) -> None:
    """By the client's timeout, or by the request's own."""

    async def scenario() -> None:
        with Loopback(stall) as server:
            async with engine.client(timeout=httpx.Timeout(5, read=0.1)) as client:
                with pytest.raises(httpx.ReadTimeout) as caught:
                    await client.post(server.url, extensions=ONCE)
                assert outcome_of(caught.value).maybe_applied
            async with engine.client(timeout=5) as client:
                with pytest.raises(httpx.ReadTimeout):
                    await client.get(server.url, timeout=0.1, extensions=ONCE)

    within(2.5, scenario)


def test_a_body_that_stops_coming_is_a_read_timeout(engine: Engine) -> None:
    """After what there was of it."""

    def half(exchange: Exchange) -> None:
        exchange.say(page(200, b"", "Content-Length: 10") + b"half")
        stall(exchange)

    async def scenario() -> None:
        with Loopback(half) as server:
            async with (
                engine.client(timeout=httpx.Timeout(5, read=0.1)) as client,
                client.stream("GET", server.url) as response,
            ):
                pieces = response.aiter_raw()
                assert await anext(pieces) == b"half"
                with pytest.raises(httpx.ReadTimeout):
                    await anext(pieces)

    within(2.5, scenario)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # httpcore leaves its generators
@pytest.mark.parametrize("body", ["bytes", "generator"])
def test_a_body_that_the_server_does_not_take_is_a_write_timeout(engine: Engine, body: str) -> None:
    """And not a hang; what has left may have been read."""

    async def scenario() -> None:
        content: Any = HUGE if body == "bytes" else parts()
        async with deaf() as url, engine.client(timeout=httpx.Timeout(5, write=0.2)) as client:
            with pytest.raises(httpx.WriteTimeout) as caught:
                await client.post(url, content=content, extensions=ONCE)
        assert outcome_of(caught.value).maybe_applied

    within(4, scenario)


def test_what_makes_a_body_may_take_longer_than_the_write_timeout(engine: Engine) -> None:
    """It is the network's time that is bounded."""

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0.1)
            yield b"part"

    async def scenario() -> None:
        with Loopback(page(200)) as server:
            async with engine.client(timeout=httpx.Timeout(5, write=0.05)) as client:
                assert (await client.put(server.url, content=slow())).status_code == 200
            assert server.exchanges[0].body == b"part" * 3

    within(4, scenario)


def test_a_pool_without_room_is_a_timeout_of_a_request_that_was_never_sent(engine: Engine) -> None:
    """The one that holds the connection is not harmed."""

    async def scenario() -> None:
        with Loopback(page(200, b"x" * 5_000_000), page(200, b"ok")) as server:
            timeout = httpx.Timeout(5, pool=0.1)
            async with engine.client(limits=ONE, timeout=timeout) as client:
                async with client.stream("GET", server.url) as held:
                    with pytest.raises(httpx.TimeoutException) as caught:
                        await client.post(server.url, extensions=ONCE)
                    assert not outcome_of(caught.value).maybe_applied
                    assert len(await held.aread()) == 5_000_000
                assert (await client.get(server.url)).content == b"ok"
            assert len(server.exchanges) == 2

    within(5, scenario)


# ------------------------------------------------------------------------------------------------ the deadline


@pytest.mark.parametrize("what", DRIPS)
def test_a_deadline_is_kept_whatever_drips(engine: Engine, what: str) -> None:
    """A byte now and again meets no read timeout; a call's deadline it does."""

    async def scenario() -> None:
        with Loopback(DRIPS[what]) as server:
            async with engine.client() as client:
                begun = time.monotonic()
                with pytest.raises(httpx.TimeoutException) as caught:
                    await client.get(server.url, extensions={"resilience": {"deadline": 0.4}})
                assert 0.35 < time.monotonic() - begun < 0.8
                assert outcome_of(caught.value).reason == "deadline"

    within(5, scenario)


def test_a_deadline_is_kept_while_connecting_and_nothing_was_sent(engine: Engine, full: str) -> None:
    """It is the connection that was waited for, and the exception says so."""

    async def scenario() -> None:
        async with engine.client(deadline=0.3, timeout=None) as client:
            begun = time.monotonic()
            with pytest.raises(httpx.ConnectTimeout) as caught:
                await client.post(full, json={"amount": 1})
            assert time.monotonic() - begun < 0.8
            assert not outcome_of(caught.value).maybe_applied

    within(5, scenario)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # httpcore leaves its generators
@pytest.mark.parametrize("body", ["bytes", "generator"])
def test_a_deadline_is_kept_while_a_body_is_sent_that_nobody_reads(engine: Engine, body: str) -> None:
    """Even where the caller has switched all timeouts off."""

    async def scenario() -> None:
        content: Any = HUGE if body == "bytes" else parts()
        async with deaf() as url, engine.client(deadline=0.3, timeout=None) as client:
            begun = time.monotonic()
            with pytest.raises(httpx.TimeoutException) as caught:
                await client.post(url, content=content)
            assert time.monotonic() - begun < 1.5
            assert outcome_of(caught.value).maybe_applied

    within(5, scenario)


def test_a_deadline_that_passes_while_an_answer_is_awaited_leaves_the_call_in_doubt(engine: Engine) -> None:
    """The exception is a timeout of httpx's, with the call's note; the pool of one is usable."""

    async def scenario() -> None:
        with Loopback(stall, page(200, b"ok")) as server:
            async with engine.client(deadline=0.2, limits=ONE, timeout=httpx.Timeout(5, pool=1)) as client:
                with pytest.raises(httpx.ReadTimeout) as caught:
                    await client.post(server.url, json={"amount": 1})
                assert outcome_of(caught.value).maybe_applied
                assert caught.value.__notes__
                assert (await client.get(server.url)).content == b"ok"

    within(4, scenario)


def test_the_body_of_a_success_has_the_callers_own_timeouts(engine: Engine) -> None:
    """The deadline was met when the answer came; what is left to read is not hurried by it."""

    def answer(exchange: Exchange) -> None:
        exchange.say(page(200, b"", "Content-Length: 10") + b"first")
        exchange.wait(0.5)
        exchange.say(b"last!")

    async def scenario() -> None:
        with Loopback(answer) as server:
            async with engine.client(deadline=0.25, timeout=3) as client:
                assert (await client.get(server.url)).content == b"firstlast!"

    within(4, scenario)


def test_an_error_that_drips_past_the_deadline_is_handed_over_by_its_status(engine: Engine) -> None:
    """With what there was of its body, and a timeout where that ends."""

    async def scenario() -> None:
        with Loopback(DRIPS["the body, in small pieces"]) as server:
            async with (
                engine.client(deadline=0.3) as client,
                client.stream("GET", server.url) as response,
            ):
                assert response.status_code == 503
                assert outcome_of(response).reason == "deadline"
                pieces = response.aiter_raw()
                assert (await anext(pieces)).startswith(b"x")
                with pytest.raises(httpx.ReadTimeout):
                    [piece async for piece in pieces]

    within(4, scenario)
