"""Which transports have this library's pool and network: those that nobody gave to it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpcore
import httpx
import pytest
from loopback import Loopback, page

from resilient_client import AsyncResilientClient, AsyncResilientTransport, ResilientClient
from resilient_client._network import AsyncBounded
from resilient_client._pool import TaskPool
from resilient_client._sockets import LoopNetwork
from resilient_client.testing import VirtualClock


def pool_of(client: httpx.AsyncClient) -> Any:
    transport: Any = client._transport
    return transport._pool


def test_a_clients_own_transport_has_the_pool_for_tasks() -> None:
    """With the limits that the client was given, and under the deadline's watch."""
    client = AsyncResilientClient(limits=httpx.Limits(max_connections=7, max_keepalive_connections=3))
    pool = pool_of(client)
    assert isinstance(pool, TaskPool)
    assert (pool._max_connections, pool._max_idle) == (7, 3)
    assert isinstance(pool._network_backend, AsyncBounded)
    assert isinstance(pool._network_backend._inner, LoopNetwork)


def test_a_transport_made_for_a_resilient_one_has_it_too() -> None:
    """`AsyncResilientTransport()`, which makes its own."""
    pool: Any = AsyncResilientTransport()._pool
    assert isinstance(pool, TaskPool)
    assert isinstance(pool._network_backend, AsyncBounded)


def test_a_transport_of_the_users_own_stays_as_it_is() -> None:
    """As `transport=`, in `mounts`, and under a transport of this library."""
    given = [httpx.AsyncHTTPTransport() for _ in range(3)]
    AsyncResilientClient(transport=given[0], mounts={"http://h": given[1]})
    AsyncResilientTransport(transport=given[2])
    assert [type(transport._pool) for transport in given] == [httpcore.AsyncConnectionPool] * 3


def test_http2_keeps_httpcores_pool() -> None:
    """Its requests share connections."""
    assert type(pool_of(AsyncResilientClient(http2=True))) is httpcore.AsyncConnectionPool


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_a_proxy_keeps_httpcores_pool(proxy: str) -> None:
    """Whether it was given or is the environment's: it is told by its pool."""
    client = AsyncResilientClient(proxy=proxy)
    mounted: Any = next(iter(client._mounts.values()))
    assert not isinstance(mounted._pool, TaskPool)
    assert isinstance(pool_of(client), TaskPool)


def test_a_client_for_threads_keeps_httpcores_pool() -> None:
    """There is little to gain."""
    sync: Any = ResilientClient()._transport
    assert type(sync._pool) is httpcore.ConnectionPool


def test_a_client_that_outlives_its_loop_can_be_used_in_the_next() -> None:
    """One at the top of a module, called by several `asyncio.run`."""

    async def call() -> str:
        return (await client.get(server.url)).text

    async def end() -> None:
        await call()
        await client.aclose()

    with Loopback(page(200, b"ok", close=True)) as server:
        client = AsyncResilientClient()
        assert asyncio.run(call()) == "ok"
        asyncio.run(end())


def test_three_failures_and_a_success_are_one_connection() -> None:
    """What is retried goes out where the failure came in."""

    async def scenario() -> None:
        async with AsyncResilientClient(clock=VirtualClock()) as client:
            assert (await client.get(server.url)).text == "ok"

    no = page(503, b"no")
    with Loopback(no, no, no, page(200, b"ok")) as server:
        asyncio.run(scenario())
        assert server.connections == 1


@pytest.mark.parametrize("body", [b"no", b"x" * 200_000], ids=["small", "large"])
def test_a_call_that_is_cancelled_after_any_number_of_steps_leaves_a_pool_of_one_usable(body: bytes) -> None:
    """At some of them httpcore's own pool loses its one place for ever."""

    async def scenario() -> None:
        async with AsyncResilientClient(
            clock=VirtualClock(), limits=httpx.Limits(max_connections=1), timeout=httpx.Timeout(5, pool=0.5)
        ) as client:
            for steps in range(40):
                task = asyncio.create_task(client.get(f"{server.url}/fails"))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                assert (await client.get(server.url)).text == "ok"

    def answer(exchange: Any) -> None:
        failing = exchange.target == "/fails" and exchange.number % 2 == 0
        exchange.say(page(503, body) if failing else page(200, b"ok"))

    with Loopback(answer) as server:
        asyncio.run(scenario())
