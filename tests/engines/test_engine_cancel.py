"""A call that is called off, wherever it stands, leaves nothing behind over either engine; protections count as they should.

Law of this file: a pool of one connection, so that what is left in use starves the next call.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from both import ONE, Engine, over_both, until, within
from loopback import Exchange, Loopback, page
from test_pool import STALLS

from resilient_client import CircuitOpen, outcome_of
from resilient_client.protection import HedgeConfig
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytest_generate_tests = over_both

PATIENT = httpx.Timeout(5, pool=1)
BIG = b"x" * 200_000
HUGE = b"x" * 5_000_000  # more than is read ahead of the caller


async def called_off(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and see it end by that."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("where", STALLS)
def test_a_call_that_is_cancelled_anywhere_leaves_a_pool_of_one_usable(engine: Engine, where: str) -> None:
    """While it waits for the answer, in an error's body, in a sleep, in a later attempt."""

    async def scenario() -> None:
        with Loopback(*STALLS[where], page(200, b"ok")) as server:
            async with engine.client(limits=ONE, timeout=PATIENT) as client:
                task = asyncio.create_task(client.get(server.url))
                await until(lambda: len(server.exchanges) == len(STALLS[where]))
                await asyncio.sleep(0.05)  # what the server says next is on its way
                await called_off(task)
                assert (await client.get(server.url)).content == b"ok"

    within(8, scenario)


def test_a_call_that_is_cancelled_while_it_connects_leaves_a_pool_of_one_usable(engine: Engine) -> None:
    """Nothing was sent, and the next call connects."""

    async def scenario() -> None:
        with Loopback(page(200, b"ok")) as server, socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            crowd = [socket.socket() for _ in range(4)]
            for one in crowd:
                one.settimeout(0)
                one.connect_ex(full.getsockname())
            async with engine.client(limits=ONE, timeout=PATIENT) as client:
                task = asyncio.create_task(client.get(f"http://127.0.0.1:{full.getsockname()[1]}"))
                await asyncio.sleep(0.05)
                await called_off(task)
                assert (await client.get(server.url)).content == b"ok"
            for one in crowd:
                one.close()

    within(5, scenario)


def test_a_call_that_is_cancelled_while_it_waits_for_the_pool_leaves_its_place(engine: Engine) -> None:
    """The one before it goes on, and the one after it has its turn."""

    async def scenario() -> None:
        with Loopback(page(200, HUGE), page(200, b"ok")) as server:
            async with engine.client(limits=ONE, timeout=PATIENT) as client:
                async with client.stream("GET", server.url) as first:
                    task = asyncio.create_task(client.get(server.url))
                    await asyncio.sleep(0.02)
                    await called_off(task)
                    assert await first.aread() == HUGE
                assert (await client.get(server.url)).content == b"ok"
            assert len(server.exchanges) == 2

    within(5, scenario)


@pytest.mark.parametrize("body", [b"no", BIG], ids=["small", "large"])
def test_a_call_that_is_cancelled_after_any_number_of_steps_leaves_a_pool_of_one_usable(body: bytes) -> None:
    """Between any two things that its task does over aiohttp: an error, its discarding, a success, and whatever lies between.

    httpcore 1.0 loses the place of a connection whose making is cancelled.
    """

    def answer(exchange: Exchange) -> None:
        exchange.say(
            page(503, body) if exchange.target == "/fails" and exchange.number % 2 == 0 else page(200, BIG)
        )

    async def scenario() -> None:
        with Loopback(answer) as server:
            async with Engine("aiohttp").client(clock=VirtualClock(), limits=ONE, timeout=PATIENT) as client:
                for steps in range(60):
                    task = asyncio.create_task(client.get(f"{server.url}/fails"))
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.wait([task])
                    assert (await client.get(server.url)).content == BIG

    within(20, scenario)


def test_a_reader_that_is_cancelled_in_the_body_gives_the_connection_back(engine: Engine) -> None:
    """A stream that was open is closed by the way out."""

    def half(exchange: Exchange) -> None:
        if exchange.number:
            exchange.say(page(200, b"ok"))
            return
        exchange.say(page(200, b"", "Content-Length: 10") + b"half")
        exchange.wait(3)

    async def scenario() -> None:
        with Loopback(half) as server:
            async with engine.client(limits=ONE, timeout=PATIENT) as client:
                got: list[bytes] = []

                async def read() -> None:
                    async with client.stream("GET", server.url) as response:
                        async for piece in response.aiter_raw():
                            got.append(piece)  # noqa: PERF401 - what has come is looked at from outside

                task = asyncio.create_task(read())
                await until(lambda: got == [b"half"])
                await called_off(task)
                assert (await client.get(server.url)).content == b"ok"

    within(5, scenario)


def test_an_upload_that_is_cancelled_gives_the_connection_back(engine: Engine) -> None:
    """In the middle of a body that is still being made."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.001)
            yield b"x" * 100

    async def scenario() -> None:
        with Loopback(page(200, b"ok")) as server:
            async with engine.client(limits=ONE, timeout=PATIENT) as client:
                task = asyncio.create_task(client.put(server.url, content=endless()))
                await until(lambda: server.connections == 1)
                await asyncio.sleep(0.02)
                await called_off(task)
                assert (await client.get(server.url)).content == b"ok"

    within(5, scenario)


# ------------------------------------------------------------------------------------------------- protections


def test_a_hedge_is_won_and_the_loser_is_called_off(engine: Engine) -> None:
    """The winner's body comes whole, and both connections are free afterwards."""
    eager = HedgeConfig(extra_load=0.5, min_samples=1)

    def answer(exchange: Exchange) -> None:
        late = [other for other in exchange.server.exchanges if other.target == "/late"]
        if exchange in late[:1]:
            exchange.wait(3)
            exchange.hang_up()
        else:
            exchange.say(page(200, BIG))

    async def scenario() -> None:
        clock = VirtualClock()
        with Loopback(answer) as server:
            limits = httpx.Limits(max_connections=2)
            async with engine.client(clock=clock, hedge=eager, limits=limits, timeout=PATIENT) as client:
                for _ in range(4):
                    await client.get(server.url)
                clock.advance(2)
                response = await client.get(f"{server.url}/late")
                assert (response.content, outcome_of(response).hedges) == (BIG, 1)
                both = await asyncio.gather(*(client.get(server.url) for _ in range(2)))
                assert [response.content for response in both] == [BIG] * 2
            server.stopping.set()

    within(8, scenario)


def test_a_bulkheads_place_is_held_until_the_body_is_read_closed_or_lost(engine: Engine) -> None:
    """One call at a time: each of these lets the next one in."""

    def answer(exchange: Exchange) -> None:
        if exchange.target == "/breaks":
            exchange.say(page(200, b"", "Content-Length: 10") + b"half")
            exchange.hang_up()
        else:
            exchange.say(page(200, BIG))

    async def scenario() -> None:
        with Loopback(answer) as server:
            async with engine.client(bulkhead=1, timeout=PATIENT) as client:
                async with client.stream("GET", server.url) as response:
                    second = asyncio.create_task(client.get(server.url))
                    await asyncio.sleep(0.02)
                    assert len(server.exchanges) == 1
                    assert await response.aread() == BIG
                    assert (await second).content == BIG
                async with client.stream("GET", server.url):
                    pass
                with pytest.raises(httpx.TransportError):
                    await client.get(f"{server.url}/breaks")
                assert (await client.get(server.url)).content == BIG

    within(8, scenario)


def test_refused_connections_open_the_breaker(engine: Engine) -> None:
    """They speak of the host; while it is open nothing is sent."""

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with engine.client(clock=VirtualClock(), breaker=True) as client:
            raised: list[type[Exception]] = []
            for _ in range(10):
                with pytest.raises(httpx.TransportError) as caught:
                    await client.get(url)
                raised.append(caught.type)
            assert raised[0] is httpx.ConnectError
            assert raised[-1] is CircuitOpen

    within(8, scenario)
