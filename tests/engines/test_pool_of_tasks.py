"""The pool for tasks: who gets a connection, when, and where it goes on every way out."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from unittest import mock

import anyio
import anyio.lowlevel
import httpcore
import httpx
import pytest
import respx
from wires import OK, TASKS, Network, Wire, quick, run, settled

from resilient_client import AsyncResilientTransport
from resilient_client._pool import TaskPool
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf "
URL = "http://api.test/"
WAY = pytest.mark.parametrize("way", TASKS)


def limits(most: int | None = None, idle: int | None = None, expiry: float | None = None) -> httpx.Limits:
    return httpx.Limits(max_connections=most, max_keepalive_connections=idle, keepalive_expiry=expiry)


def pool_of(client: httpx.AsyncClient) -> TaskPool:
    pool: Any = client._transport._pool  # type: ignore[attr-defined]  # httpx's transport has one
    assert isinstance(pool, TaskPool)
    return pool


def client_on(
    network: Network, most: int | None = None, idle: int | None = None, **options: Any
) -> httpx.AsyncClient:
    expiry = options.pop("expiry", None)
    options.setdefault("timeout", None)
    return httpx.AsyncClient(transport=quick(network, limits=limits(most, idle, expiry)), **options)


def assert_at_rest(pool: TaskPool, network: Network) -> None:
    """Nobody holds a connection, nobody waits, and what is open is what lies idle."""
    assert [connection.is_idle() for connection in pool.connections] == [True] * len(network.open)
    assert len(pool._idle) == len(network.open)
    assert sum(len(pile) for pile in pool._piles.values()) == len(network.open)
    assert not pool._line


class Crowd:
    """Tasks that make one request each, in the order in which they were begun."""

    def __init__(self, client: httpx.AsyncClient, tasks: anyio.abc.TaskGroup) -> None:
        self._client = client
        self._tasks = tasks
        self.served: list[str] = []
        self.failed: dict[str, Exception] = {}

    async def begin(self, *names: str, url: str = URL) -> None:
        """Begin a request for each name, one after the other, and let all come as far as they can."""
        for name in names:
            self._tasks.start_soon(self._request, url + name)
            await settled()

    async def _request(self, url: str) -> None:
        name = url.rpartition("/")[2]
        try:
            await self._client.get(url)
        except httpx.HTTPError as error:
            self.failed[name] = error
        else:
            self.served.append(name)


# ------------------------------------------------------------------------------------------- who gets which one


@WAY
def test_requests_one_after_the_other_use_one_connection(way: str) -> None:
    """What was given back is taken again."""

    async def scenario() -> None:
        network = Network()
        async with client_on(network) as client:
            assert [(await client.get(URL)).text for _ in range(5)] == ["ok"] * 5
            assert len(network.wires) == 1
            assert_at_rest(pool_of(client), network)
        assert not network.open

    run(way, scenario)


@WAY
def test_the_connection_used_last_is_taken_first(way: str) -> None:
    """A pile, so that those that are not needed grow old and end."""

    async def scenario() -> None:
        network = Network(None, None, None, OK)
        async with client_on(network) as client, anyio.create_task_group() as tasks:
            await Crowd(client, tasks).begin("a", "b", "c")
            for number in (2, 0, 1):
                network.wires[number].say(OK)
                await settled()
            await client.get(URL)
            assert [len(wire.requests) for wire in network.wires] == [1, 2, 1]

    run(way, scenario)


@WAY
def test_no_more_connections_than_the_limit_whatever_the_crowd(way: str) -> None:
    """Fifty tasks on three connections all succeed, and no connection is opened twice for that."""

    async def scenario() -> None:
        network = Network()
        async with client_on(network, 3) as client:
            async with anyio.create_task_group() as tasks:
                crowd = Crowd(client, tasks)
                for number in range(50):
                    tasks.start_soon(crowd._request, f"{URL}{number}")
            assert len(crowd.served) == 50
            assert network.most == 3
            assert len(network.wires) == 3
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


@WAY
def test_without_a_limit_everybody_has_a_connection(way: str) -> None:
    """`Limits()` of httpx: no bound at all."""

    async def scenario() -> None:
        network = Network(*[None] * 150, OK)
        async with client_on(network) as client, anyio.create_task_group() as tasks:
            await Crowd(client, tasks).begin(*map(str, range(150)))
            assert network.most == 150
            for wire in network.wires:
                wire.say(OK)

    run(way, scenario)


@WAY
def test_who_came_first_is_served_first(way: str) -> None:
    """The line is served in the order of arrival, on the one connection."""

    async def scenario() -> None:
        network = Network(None)
        async with client_on(network, 1) as client, anyio.create_task_group() as tasks:
            crowd = Crowd(client, tasks)
            await crowd.begin("a", "b", "c", "d")
            for _ in range(4):
                network.wires[0].say(OK)
                await settled()
            assert crowd.served == ["a", "b", "c", "d"]
            assert [head.split()[1] for head in network.wires[0].requests] == [b"/a", b"/b", b"/c", b"/d"]

    run(way, scenario)


@WAY
def test_nobody_overtakes_the_line(way: str) -> None:
    """One who comes in the moment in which a connection is given back stands behind those who wait for it."""

    async def scenario() -> None:
        network = Network(None)
        async with client_on(network, 1) as client, anyio.create_task_group() as tasks:
            crowd = Crowd(client, tasks)
            await crowd.begin("a", "b")

            async def comes_back() -> None:
                await client.get(f"{URL}again")  # the holder of the connection, without a pause
                crowd.served.append("again")

            first = client.build_request("GET", f"{URL}first")
            tasks.start_soon(crowd._request, str(first.url))
            await settled()
            network.wires[0].say(OK)
            tasks.start_soon(comes_back)
            await settled()
            for _ in range(3):
                network.wires[0].say(OK)
                await settled()
            assert crowd.served == ["a", "b", "first", "again"]

    run(way, scenario)


# ----------------------------------------------------------------------------------------------------- the line


@WAY
def test_the_pools_timeout_ends_the_wait_and_gives_up_the_place(way: str) -> None:
    """PoolTimeout after its seconds; who stands behind moves up."""

    async def scenario() -> None:
        network = Network(None)
        async with client_on(network, 1) as client, anyio.create_task_group() as tasks:
            crowd = Crowd(client, tasks)
            await crowd.begin("holder")
            client.timeout = httpx.Timeout(None, pool=5)
            began = anyio.current_time()
            await crowd.begin("hasty")
            client.timeout = httpx.Timeout(None)
            await crowd.begin("patient")
            with anyio.move_on_after(7):
                await anyio.sleep_forever()
            assert isinstance(crowd.failed["hasty"], httpx.PoolTimeout)
            assert anyio.current_time() - began == pytest.approx(7)
            for _ in range(2):
                network.wires[0].say(OK)
                await settled()
            assert crowd.served == ["holder", "patient"]

    run(way, scenario)


@WAY
def test_the_pools_timeout_is_kept_to_the_second(way: str) -> None:
    """Neither earlier nor later than asked for, and none for who asks for none at all."""

    async def scenario() -> None:
        network = Network(None)
        async with client_on(network, 1) as client, anyio.create_task_group() as tasks:
            await Crowd(client, tasks).begin("holder")
            for seconds in (0, 0.25, 30):
                began = anyio.current_time()
                with pytest.raises(httpx.PoolTimeout):
                    await client.get(URL, timeout=httpx.Timeout(None, pool=seconds))
                assert anyio.current_time() - began == pytest.approx(seconds)
            assert not pool_of(client)._line
            network.wires[0].say(OK)

    run(way, scenario)


@WAY
def test_a_cancelled_task_leaves_the_line(way: str) -> None:
    """The next one in line gets what it would have got."""

    async def scenario() -> None:
        network = Network(None)
        async with client_on(network, 1) as client, anyio.create_task_group() as tasks:
            crowd = Crowd(client, tasks)
            await crowd.begin("holder")
            async with anyio.create_task_group() as doomed:
                await Crowd(client, doomed).begin("gone")
                await crowd.begin("next")
                doomed.cancel_scope.cancel()
            for _ in range(2):
                network.wires[0].say(OK)
                await settled()
            assert crowd.served == ["holder", "next"]
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


@WAY
def test_who_is_cancelled_in_the_moment_of_being_called_passes_the_connection_on(way: str) -> None:
    """It has been called and has not run yet: its connection is nobody's but its own, and it must not be lost."""

    async def scenario() -> None:
        network = Network(None)
        async with client_on(network, 1) as client, anyio.create_task_group() as tasks:
            crowd = Crowd(client, tasks)
            response = await _opened(client, network)
            async with anyio.create_task_group() as doomed:
                await Crowd(client, doomed).begin("gone")
                await crowd.begin("next")
                await response.aclose()
                doomed.cancel_scope.cancel()
            await settled()
            network.wires[0].say(OK)
            await settled()
            assert crowd.served == ["next"]
            assert len(network.wires) == 1
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


def test_a_task_that_asyncio_itself_cancels_when_it_is_called_passes_the_connection_on() -> None:
    """The same without anyio: `task.cancel()`."""

    async def scenario() -> None:
        network = Network(None)
        async with client_on(network, 1) as client:
            response = await _opened(client, network)
            gone = asyncio.create_task(client.get(f"{URL}gone"))
            await settled()
            after = asyncio.create_task(client.get(f"{URL}next"))
            await settled()
            await response.aclose()
            gone.cancel()
            await settled()
            network.wires[0].say(OK)
            assert (await after).text == "ok"
            assert gone.cancelled()
            assert_at_rest(pool_of(client), network)

    run("asyncio", scenario)


async def _opened(client: httpx.AsyncClient, network: Network, url: str = URL) -> httpx.Response:
    """Send a request whose response has been read to the end, and is not closed."""
    response: list[httpx.Response] = []

    async def send() -> None:
        response.append(await client.send(client.build_request("GET", url), stream=True))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await settled()
        network.wires[-1].say(OK)
    stream: Any = response[0].stream
    async with aclosing(aiter(stream)) as parts:
        assert [part async for part in parts] == [b"ok"]
    return response[0]


# -------------------------------------------------------------------------------------- what is not used again


@WAY
def test_a_connection_that_the_server_closed_while_it_was_idle_is_not_used(way: str) -> None:
    """It is closed, and its place taken by a new one."""

    async def scenario() -> None:
        network = Network()
        async with client_on(network, 1) as client:
            await client.get(URL)
            network.wires[0].hung_up = True
            assert (await client.get(URL)).text == "ok"
            assert [len(wire.requests) for wire in network.wires] == [1, 1]
            assert network.wires[0].closed
            assert network.most == 1

    run(way, scenario)


@WAY
def test_of_a_pile_the_first_that_is_alive_is_used(way: str) -> None:
    """Those above it are closed."""

    async def scenario() -> None:
        network = Network(None, None, None, OK)
        async with client_on(network, 3) as client, anyio.create_task_group() as tasks:
            await Crowd(client, tasks).begin("a", "b", "c")
            for wire in network.wires:
                wire.say(OK)
                await settled()
            network.wires[1].hung_up = network.wires[2].hung_up = True
            await client.get(URL)
            assert [wire.closed for wire in network.wires] == [False, True, True]
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


@WAY
def test_a_connection_that_ends_between_the_call_and_the_caller_is_not_used(way: str) -> None:
    """The first in line looks at what it is given."""

    async def scenario() -> None:
        network = Network(None, OK)
        async with client_on(network, 1) as client, anyio.create_task_group() as tasks:
            crowd = Crowd(client, tasks)
            response = await _opened(client, network)
            await crowd.begin("waiting")
            await response.aclose()
            network.wires[0].hung_up = True
            await settled()
            assert crowd.served == ["waiting"]
            assert [len(wire.requests) for wire in network.wires] == [1, 1]
            assert network.most == 1

    run(way, scenario)


@WAY
def test_an_idle_connection_that_is_too_old_is_closed_at_the_next_occasion(way: str) -> None:
    """`keepalive_expiry`, whatever origin the next request is for."""

    async def scenario() -> None:
        network = Network()
        async with client_on(network, expiry=-1) as client:
            await client.get("http://one.test/")
            assert not network.wires[0].closed
            await client.get("http://two.test/")
            assert [wire.closed for wire in network.wires] == [True, False]
            await client.get("http://two.test/")
            assert [wire.closed for wire in network.wires] == [True, True, False]
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


@WAY
def test_what_cannot_be_used_is_closed_when_one_is_taken_and_when_one_is_given_back(way: str) -> None:
    """Neither waits for the end of the other request, nor for the next one."""

    async def scenario() -> None:
        network = Network(OK, OK, None)
        async with client_on(network) as client, anyio.create_task_group() as tasks:
            await client.get("http://one.test/")
            await client.get("http://two.test/")
            network.wires[0].hung_up = True
            await Crowd(client, tasks).begin("a", url="http://three.test/")
            assert [wire.closed for wire in network.wires] == [True, False, False]
            network.wires[1].hung_up = True
            network.wires[2].say(OK)
            await settled()
            assert [wire.closed for wire in network.wires] == [True, True, False]
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


@WAY
@pytest.mark.parametrize(("idle", "left"), [(2, [3, 4]), (0, [])])
def test_no_more_idle_connections_than_the_limit(way: str, idle: int, left: list[int]) -> None:
    """`max_keepalive_connections`: the ones used last stay."""

    async def scenario() -> None:
        network = Network(None)
        async with client_on(network, 5, idle) as client, anyio.create_task_group() as tasks:
            await Crowd(client, tasks).begin(*"abcde")
            for wire in network.wires:
                wire.say(OK)
                await settled()
            assert [wire.number for wire in network.wires if not wire.closed] == left
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


@WAY
def test_busy_connections_do_not_count_as_idle_ones(way: str) -> None:
    """One that is given back while many are in use stays: httpcore's own pool would close it."""

    async def scenario() -> None:
        network = Network(None)
        async with client_on(network, 5, 1) as client, anyio.create_task_group() as tasks:
            crowd = Crowd(client, tasks)
            await crowd.begin(*"abcde")
            network.wires[2].say(OK)
            await settled()
            await crowd.begin("f")
            assert len(network.wires) == 5
            for wire in network.wires:
                wire.say(OK)
            await settled()
            assert len(crowd.served) == 6

    run(way, scenario)


@WAY
def test_a_body_that_was_not_read_to_its_end_costs_the_connection(way: str) -> None:
    """What is left of it would be the next answer's beginning."""

    async def scenario() -> None:
        network = Network(LONG, OK)
        async with client_on(network, 1) as client:
            async with client.stream("GET", URL) as response:
                assert response.status_code == 200
            assert network.wires[0].closed
            assert network.wires[0].closings == 1
            assert (await client.get(URL)).text == "ok"

    run(way, scenario)


@WAY
def test_a_body_that_breaks_off_costs_the_connection_and_no_place(way: str) -> None:
    """The reader is told, and the next request has a connection of its own."""

    async def scenario() -> None:
        network = Network(LONG, OK)
        async with client_on(network, 1) as client:
            async with client.stream("GET", URL) as response:
                network.wires[0].say(b"")
                with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
                    await response.aread()
                assert not pool_of(client).connections
            assert (await client.get(URL)).text == "ok"

    run(way, scenario)


@WAY
def test_a_server_that_closes_after_its_answer_is_believed(way: str) -> None:
    """`Connection: close`."""

    async def scenario() -> None:
        network = Network(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", OK)
        async with client_on(network, 1) as client:
            assert [(await client.get(URL)).text for _ in range(3)] == ["ok"] * 3
            assert [len(wire.requests) for wire in network.wires] == [1, 2]

    run(way, scenario)


# ---------------------------------------------------------------------------------------------- several origins


@WAY
def test_origins_share_the_places_and_the_idle_one_used_longest_ago_makes_room(way: str) -> None:
    """A new origin's connection takes the place of the oldest idle one, which is closed first."""

    async def scenario() -> None:
        network = Network()
        async with client_on(network, 2) as client:
            for name in ("one", "two", "one", "three"):
                await client.get(f"http://{name}.test/")
            assert [wire.closed for wire in network.wires] == [False, True, False]
            assert network.most == 2
            await client.get("http://one.test/")
            assert len(network.wires) == 3
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


@WAY
def test_a_dead_connection_makes_room_before_a_living_one_does(way: str) -> None:
    """The place that has to be given up anyway is enough."""

    async def scenario() -> None:
        network = Network()
        async with client_on(network, 2) as client:
            await client.get("http://one.test/")
            await client.get("http://two.test/")
            network.wires[1].hung_up = True
            await client.get("http://two.test/")
            assert [wire.closed for wire in network.wires] == [False, True, False]
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


@WAY
def test_the_first_in_line_gets_the_place_also_for_another_origin(way: str) -> None:
    """First come, first served: the connection that came free is closed for its place."""

    async def scenario() -> None:
        network = Network(None, OK)
        async with client_on(network, 1) as client, anyio.create_task_group() as tasks:
            crowd = Crowd(client, tasks)
            await crowd.begin("a", url="http://one.test/")
            await crowd.begin("b", url="http://two.test/")
            await crowd.begin("c", url="http://one.test/")
            network.wires[0].say(OK)
            await settled()
            assert crowd.served == ["a", "b", "c"]
            assert network.most == 1
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


@WAY
def test_a_scheme_and_a_port_of_its_own_are_an_origin_of_its_own(way: str) -> None:
    """A connection is used for what it was opened for, and for nothing else."""

    async def scenario() -> None:
        network = Network()
        async with client_on(network) as client:
            for url in (
                "http://h.test/",
                "http://h.test:80/",
                "https://h.test/",
                "http://h.test:81/",
                "http://g.test/",
            ):
                await client.get(url)
            assert [len(wire.requests) for wire in network.wires] == [2, 1, 1, 1]

    run(way, scenario)


# --------------------------------------------------------------------------------------- failures, cancellation


@WAY
def test_a_connection_that_cannot_be_made_leaves_its_place(way: str) -> None:
    """The error is httpx's, and the next one in line may try."""

    async def scenario() -> None:
        network = Network()
        network.refuse = 2
        network.connectable = anyio.Event()
        async with client_on(network, 1) as client, anyio.create_task_group() as tasks:
            crowd = Crowd(client, tasks)
            await crowd.begin("a", "b", "c")
            network.connectable.set()
            await settled()
            assert len(pool_of(client).connections) == 1
            assert {name: (type(error), str(error)) for name, error in crowd.failed.items()} == {
                "a": (httpx.ConnectError, "refused"),
                "b": (httpx.ConnectError, "refused"),
            }
            assert crowd.served == ["c"]
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


@WAY
def test_httpcores_own_retries_of_connecting_are_kept(way: str) -> None:
    """`retries` of the transport: the connection tries again, in its place."""

    async def scenario() -> None:
        network = Network()
        network.refuse = 2
        transport = quick(network, retries=2)
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get(URL)).text == "ok"

    run(way, scenario)


@WAY
@pytest.mark.parametrize("where", ["connecting", "before the answer", "in the body"])
def test_who_is_cancelled_gives_its_place_back(way: str, where: str) -> None:
    """Its connection is closed, for nobody knows what is on it; the next in line opens one."""

    async def scenario() -> None:
        network = Network(LONG if where == "in the body" else None, OK)
        if where == "connecting":
            network = Network(OK)
            network.connectable = anyio.Event()
        async with client_on(network, 1) as client, anyio.create_task_group() as tasks:
            crowd = Crowd(client, tasks)
            async with anyio.create_task_group() as doomed:
                await Crowd(client, doomed).begin("gone")
                await crowd.begin("next")
                doomed.cancel_scope.cancel()
            network.connectable.set()
            await settled()
            assert crowd.served == ["next"]
            assert network.most == 1
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


@WAY
@pytest.mark.parametrize("seed", range(6))
def test_no_place_is_ever_lost_in_a_crowd_that_is_cancelled_at_random(way: str, seed: int) -> None:
    """Two hundred tasks for three origins on four connections, a third of them cancelled anywhere, servers that hang up."""

    async def scenario() -> None:
        chance = random.Random(seed)  # noqa: S311 - a test's chance
        pages = [chance.choice([OK, OK, OK, LONG, None]) for _ in range(200)]
        network = Network(*pages, OK)
        async with client_on(network, 4, 3, timeout=httpx.Timeout(3, pool=8)) as client:

            async def one(number: int) -> None:
                await anyio.sleep(chance.random() * 20)
                with anyio.move_on_after(chance.choice([0, 0.001, 1, 2, 100, 100, 100])):
                    try:
                        await client.get(f"http://{number % 3}.test/")
                    except (httpx.ReadTimeout, httpx.PoolTimeout):
                        return
                    for wire in network.wires:
                        wire.hung_up |= chance.random() < 0.1

            async with anyio.create_task_group() as tasks:
                for number in range(200):
                    tasks.start_soon(one, number)
            assert network.most <= 4
            assert_at_rest(pool_of(client), network)
            network.pages = deque([OK])
            async with anyio.create_task_group() as tasks:
                crowd = Crowd(client, tasks)
                await crowd.begin(*map(str, range(8)))
            assert len(crowd.served) == 8
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


@pytest.mark.parametrize("turns", range(40))
def test_no_place_is_lost_whichever_turn_of_the_loop_a_task_is_cancelled_in(turns: int) -> None:
    """`task.cancel()` of asyncio, after every number of turns that a request takes, one waiting behind it."""

    async def scenario() -> None:
        network = Network()
        async with client_on(network, 1) as client:
            await client.get("http://other.test/")  # whose connection is in the way
            task = asyncio.create_task(client.get(URL))
            behind = asyncio.create_task(client.get(URL))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert (await behind).text == "ok"
            assert network.most == 1
            assert_at_rest(pool_of(client), network)

    run("asyncio", scenario)


class Stubborn(Wire):
    """A connection that does not close well."""

    error: BaseException = RuntimeError("Event loop is closed")

    async def aclose(self) -> None:
        await super().aclose()
        raise self.error


@WAY
def test_an_old_connection_that_does_not_close_well_is_not_the_next_requests_trouble(way: str) -> None:
    """Nobody asked for it to be closed: the new one is used all the same."""

    async def scenario() -> None:
        network = Network()
        async with client_on(network, 1) as client:
            await client.get(URL)
            network.wires[0].__class__ = Stubborn
            network.wires[0].hung_up = True
            assert (await client.get(URL)).text == "ok"
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


def test_an_interruption_while_connections_are_closed_closes_the_rest_of_them() -> None:
    """It is raised when all are closed."""

    async def scenario() -> None:
        network = Network(None, None, None, OK)
        async with client_on(network, 4) as client, anyio.create_task_group() as tasks:
            crowd = Crowd(client, tasks)
            await crowd.begin("a", "b", "c")
            for wire in network.wires:
                wire.say(OK)
            await settled()
            for wire in network.wires:
                wire.hung_up = True
            network.wires[1].__class__ = Stubborn
            network.wires[1].error = asyncio.CancelledError()  # type: ignore[attr-defined]  # it is one now
            with pytest.raises(asyncio.CancelledError):
                await client.get(URL)
            assert [wire.closed for wire in network.wires] == [True, True, True]
            assert (await client.get(URL)).text == "ok"
            assert_at_rest(pool_of(client), network)

    run("asyncio", scenario)


class Slow(Wire):
    """A connection that closes in two steps."""

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        await super().aclose()


@WAY
def test_a_cancelled_task_closes_what_it_has_to_close_to_the_end(way: str) -> None:
    """A connection that closes in several steps is not left in the middle of them."""

    async def scenario() -> None:
        network = Network()
        async with client_on(network, 1) as client:
            await client.get(URL)
            network.wires[0].__class__ = Slow
            network.wires[0].hung_up = True
            with anyio.CancelScope() as scope:
                scope.cancel()
                await client.get(URL)
            assert network.wires[0].closed
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


@WAY
def test_a_cancelled_task_gives_back_what_it_has_read_to_the_end(way: str) -> None:
    """Nothing is wrong with that connection."""

    async def scenario() -> None:
        network = Network(None)
        async with client_on(network, 1) as client:
            response = await _opened(client, network)
            with anyio.CancelScope() as scope:
                scope.cancel()
                await response.aclose()
            assert len(network.open) == 1
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


@WAY
def test_a_response_that_is_closed_twice_gives_its_connection_back_once(way: str) -> None:
    """By the second time it is somebody else's."""

    async def scenario() -> None:
        network = Network(None)
        async with client_on(network, 2) as client, anyio.create_task_group() as tasks:
            response = await _opened(client, network)
            stream: Any = response.stream
            await stream.aclose()
            crowd = Crowd(client, tasks)
            await crowd.begin("a")
            await stream.aclose()
            assert not network.wires[0].closed
            network.wires[0].say(OK)
            await settled()
            assert crowd.served == ["a"]
            assert_at_rest(pool_of(client), network)

    run(way, scenario)


# ------------------------------------------------------------------------------------------------------ closing


@WAY
def test_closing_the_client_closes_all_connections_those_in_use_too(way: str) -> None:
    """As httpcore does: who reads is told, and later gives back what is no more."""

    async def scenario() -> None:
        network = Network(OK, None)
        client = client_on(network)
        async with anyio.create_task_group() as tasks:
            await client.get("http://idle.test/")
            crowd = Crowd(client, tasks)
            await crowd.begin("busy")
            await client.aclose()
            assert not network.open
            await settled()
            assert isinstance(crowd.failed["busy"], httpx.ReadError)
            assert not pool_of(client).connections

    run(way, scenario)


@WAY
def test_a_response_that_outlives_its_client_can_still_be_closed(way: str) -> None:
    """Its connection is closed already, and does not come back among the idle ones."""

    async def scenario() -> None:
        network = Network(None)
        client = client_on(network)
        response = await _opened(client, network)
        await client.aclose()
        await response.aclose()
        await response.aclose()
        assert not pool_of(client).connections
        assert not pool_of(client)._idle

    run(way, scenario)


@WAY
def test_a_transport_that_was_closed_can_be_used_again(way: str) -> None:
    """As httpcore's: it opens a new connection."""

    async def scenario() -> None:
        network = Network()
        async with quick(network) as transport:
            for _ in range(2):
                response = await transport.handle_async_request(httpx.Request("GET", URL))
                assert await response.aread() == b"ok"
                await transport.aclose()
            assert len(network.wires) == 2
            assert not network.open

    run(way, scenario)


@WAY
def test_the_pool_is_left_as_a_context_is(way: str) -> None:
    """`async with` on the transport closes what is open."""

    async def scenario() -> None:
        network = Network()
        async with quick(network) as transport:
            await transport.handle_async_request(httpx.Request("GET", URL))
            assert len(network.open) == 1
        assert not network.open

    run(way, scenario)


# ------------------------------------------------------------------------------------- what stays as it was


@WAY
@pytest.mark.parametrize("code", [101, 200], ids=["upgrade", "connect"])
def test_an_upgraded_connection_is_the_users_until_the_response_is_closed(way: str, code: int) -> None:
    """101, and 2xx for CONNECT: the stream below is given out, what the server has said already comes first."""

    async def scenario() -> None:
        said = b"HTTP/1.1 101 Yes\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nwelcome"
        network = Network(said if code == 101 else b"HTTP/1.1 200 Yes\r\n\r\nwelcome", OK)
        async with client_on(network, 1) as client:
            request = client.build_request("GET" if code == 101 else "CONNECT", URL)
            if code == 101:
                request.headers.update({"Connection": "upgrade", "Upgrade": "echo"})
            response = await client.send(request, stream=True)
            stream = response.extensions["network_stream"]
            assert response.status_code == code
            assert await stream.read(100) == b"welcome"
            network.wires[0].say(b"more")
            assert await stream.read(100) == b"more"
            await response.aclose()
            assert network.wires[0].closed
            assert (await client.get(URL)).text == "ok"

    run(way, scenario)


@WAY
@pytest.mark.parametrize("url", ["ftp://h.test/", "//h.test/", "unix:///"])
def test_a_scheme_that_cannot_be_sent_to_is_refused_in_httpx_own_words(way: str, url: str) -> None:
    """The same exception, with the same text, as from a transport of httpx."""

    async def scenario() -> None:
        errors = []
        for transport in (httpx.AsyncHTTPTransport(), quick(Network())):
            async with transport:
                with pytest.raises(httpx.UnsupportedProtocol) as caught:
                    await transport.handle_async_request(httpx.Request("GET", url, headers={"Host": "h"}))
                errors.append(str(caught.value))
        assert errors[0] == errors[1]

    run(way, scenario)


def test_what_the_pool_does_not_have_is_that_of_the_pool_beneath() -> None:
    """Read and set: code that looks at `_pool`, or gives it another network, finds what it knows."""
    transport = quick(limits=limits(7, 3))
    pool: Any = transport._pool
    assert pool._max_connections == 7
    assert pool._ssl_context is pool._beneath._ssl_context
    network = Network()
    pool._network_backend = network
    assert pool._beneath._network_backend is network
    with pytest.raises(AttributeError):
        pool.no_such_thing  # noqa: B018 - the look is the test


@WAY
def test_the_pool_tells_its_connections(way: str) -> None:
    """`connections`, as httpcore's, and a repr that counts."""

    async def scenario() -> None:
        network = Network(None)
        async with client_on(network, 1) as client, anyio.create_task_group() as tasks:
            await Crowd(client, tasks).begin("a", "b")
            pool = pool_of(client)
            assert [repr(connection) for connection in pool.connections] == [
                "<AsyncHTTPConnection ['http://api.test:80', HTTP/1.1, ACTIVE, Request Count: 1]>"
            ]
            assert repr(pool) == "<TaskPool [1 connections, 0 of them idle; 1 requests in line]>"
            for _ in range(2):
                network.wires[0].say(OK)
                await settled()

    run(way, scenario)


@WAY
def test_the_trace_extension_is_told_what_httpcore_tells(way: str) -> None:
    """The same events in the same order as from a transport of httpx."""

    async def scenario() -> None:
        told: list[list[str]] = []
        for make in (httpx.AsyncHTTPTransport, quick):
            events: list[str] = []

            async def trace(name: str, _: object, events: list[str] = events) -> None:
                events.append(name)

            transport = make()
            transport._pool._network_backend = Network()
            async with httpx.AsyncClient(transport=transport) as client:
                for _ in range(2):
                    await client.get(URL, extensions={"trace": trace})
            told.append(events)
        assert told[0] == told[1]
        assert "http11.response_closed.complete" in told[0]

    run(way, scenario)


@WAY
def test_respx_answers_for_the_network(way: str) -> None:
    """It replaces the way of httpcore's pool, and that way is gone: nothing is connected, every call is counted."""

    async def scenario() -> None:
        network = Network()
        async with client_on(network) as client:
            with respx.mock(assert_all_called=True) as router:
                route = router.get(URL).mock(return_value=httpx.Response(418))
                assert (await client.get(URL)).status_code == 418
                assert route.call_count == 1
            assert not network.wires
            assert (await client.get(URL)).status_code == 200
            assert len(network.wires) == 1

    run(way, scenario)


@WAY
@pytest.mark.parametrize("when", ["before the client", "after the client"])
def test_what_replaces_httpcores_way_sees_every_request(way: str, when: str) -> None:
    """A recorder that wraps the method of httpcore's pool: nothing goes past it while it is there."""

    async def scenario() -> None:
        seen: list[bytes] = []
        real = httpcore.AsyncConnectionPool.handle_async_request

        async def recording(
            pool: httpcore.AsyncConnectionPool, request: httpcore.Request
        ) -> httpcore.Response:
            seen.append(request.url.target)
            return await real(pool, request)

        network = Network()
        replaced = mock.patch.object(httpcore.AsyncConnectionPool, "handle_async_request", recording)
        if when == "before the client":
            with replaced:
                client = client_on(network)
                await client.get(f"{URL}a")
        else:
            client = client_on(network)
            with replaced:
                await client.get(f"{URL}a")
        await client.get(f"{URL}b")
        await client.aclose()
        assert seen == [b"/a"]
        assert not network.open

    run(way, scenario)


@WAY
def test_a_retry_goes_out_on_the_connection_that_the_failure_came_in_on(way: str) -> None:
    """Three times 503, then 200: one connection."""

    async def scenario() -> None:
        no = b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno"
        network = Network(no, no, no, OK)
        transport = AsyncResilientTransport(transport=quick(network, limits=limits(1)), clock=VirtualClock())
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get(URL)).text == "ok"
            assert len(network.wires[0].requests) == 4
            assert len(network.wires) == 1

    run(way, scenario)


@WAY
def test_a_body_that_is_uploaded_is_sent_as_it_comes(way: str) -> None:
    """An async iterable, in chunks."""

    async def scenario() -> None:
        async def parts() -> AsyncIterator[bytes]:
            yield b"one"
            yield b"two\r\n\r\n"  # ends the request to the wire's eyes

        network = Network()
        async with client_on(network) as client:
            assert (await client.post(URL, content=parts())).text == "ok"

    run(way, scenario)
