"""The bulkhead as a caller meets it: never more calls at a time than it says, in order, and every place comes back."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from crew import BASE, TASKS, Crew, HandClock, Host, StopIt, guard_of, left_in, policy
from loopback import WAYS, Caller, Loopback, page, run
from scenario import Chunks, answer

from resilient_client import ResilientClient, TokenAuth, outcome_of
from resilient_client.errors import BulkheadFull
from resilient_client.protection import Adaptive, BulkheadConfig
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Generator

    from scenario import Run

ONE = {"bulkhead": 1}


# ------------------------------------------------------------------------------------------------------ its limit


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("limit", [1, 3])
def test_never_more_than_its_limit_at_a_time(way: str, limit: int) -> None:
    """Twelve callers, and each time as many of them at the server as may be: no fewer, and no more."""

    async def scenario() -> None:
        host = Host(way)
        async with Caller(way, clock=HandClock(), bulkhead=limit, transport=host.transport) as client:
            async with Crew(way) as crew:
                for number in range(12):
                    host.gates[f"/{number}"] = crew.event()
                    crew.start(client.get, f"{BASE}/{number}")
                bulkhead = guard_of(client).bulkhead
                for answered in range(0, 12, limit):
                    await crew.until(lambda done=answered: len(host.arrived) == done + limit)  # type: ignore[misc]
                    left = 12 - limit - answered
                    await crew.until(lambda left=left: bulkhead.waiting == left)  # type: ignore[misc]
                    for path in host.arrived[answered:]:
                        host.gates[path].set()
            assert [response.status_code for response in crew.ended] == [200] * 12
            assert host.most == limit
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


@pytest.mark.parametrize("backend", TASKS)
def test_threads_and_event_loops_wait_in_one_queue(backend: str) -> None:
    """A thread holds the only place, a task waits for it; when the thread lets go, the task goes on, and the other way round."""
    clock = HandClock()

    async def scenario() -> None:
        threads, tasks = Host("threads"), Host(backend)
        async with Caller(backend, clock=clock, transport=tasks.transport, **ONE) as asynchronous:
            with ResilientClient(clock=clock, transport=threads.transport, bulkhead=1) as synchronous:
                async with Crew(backend) as crew, Crew("threads") as band:
                    threads.gates["/"] = band.event()

                    async def call() -> httpx.Response:
                        return synchronous.get(BASE)

                    band.start(call)
                    await crew.until(lambda: threads.now == 1)
                    crew.start(asynchronous.get, BASE)
                    bulkhead = guard_of(asynchronous).bulkhead
                    await crew.until(lambda: bulkhead.waiting == 1)
                    tasks.gates["/"] = crew.event()
                    threads.gates["/"].set()
                    await crew.until(lambda: tasks.now == 1)
                    del threads.gates["/"]
                    band.start(call)
                    await crew.until(lambda: bulkhead.waiting == 1)
                    tasks.gates["/"].set()
                    await crew.until(lambda: len(band.ended) == 2)
                assert [response.status_code for response in band.ended + crew.ended] == [200] * 3
                assert left_in(guard_of(synchronous)) == {}

    anyio.run(scenario, backend=backend)


@pytest.mark.parametrize("way", WAYS)
def test_the_queue_is_first_in_first_out(way: str) -> None:
    """Nobody overtakes."""

    async def scenario() -> None:
        host = Host(way)
        async with Caller(way, clock=HandClock(), transport=host.transport, **ONE) as client:
            async with Crew(way) as crew:
                host.gates["/first"] = crew.event()
                crew.start(client.get, f"{BASE}/first")
                await crew.until(lambda: host.now == 1)
                bulkhead = guard_of(client).bulkhead
                for number in range(8):
                    crew.start(client.get, f"{BASE}/{number}")
                    await crew.until(lambda count=number + 1: bulkhead.waiting == count)  # type: ignore[misc]
                host.gates["/first"].set()
            assert host.arrived == ["/first", *(f"/{number}" for number in range(8))]

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_full_queue_refuses_at_once(way: str) -> None:
    """BulkheadFull is a PoolTimeout; nothing was sent, and the outcome says why."""

    async def scenario() -> None:
        host = Host(way)
        clock = HandClock()
        config = BulkheadConfig(1, queue=1)
        async with Caller(way, clock=clock, bulkhead=config, transport=host.transport) as client:
            async with Crew(way) as crew:
                host.gates["/"] = crew.event()
                crew.start(client.get, BASE)
                await crew.until(lambda: host.now == 1)
                crew.start(client.get, BASE)
                await crew.until(lambda: guard_of(client).bulkhead.waiting == 1)
                with pytest.raises(BulkheadFull) as caught:
                    await client.post(f"{BASE}/refused", json={})
                host.gates["/"].set()
            assert isinstance(caught.value, httpx.PoolTimeout)
            assert caught.value.request.url.path == "/refused"
            outcome = outcome_of(caught.value)
            assert (outcome.reason, outcome.attempts, outcome.maybe_applied) == ("bulkhead_full", (), False)
            assert "/refused" not in host.arrived
            assert [response.status_code for response in crew.ended] == [200, 200]
            assert left_in(guard_of(client)) == {}
            assert clock.slept == []

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_deadline_that_passes_in_the_queue_ends_the_call(way: str) -> None:
    """Reason "deadline"; it is not sent when its place comes."""

    async def scenario() -> None:
        host, clock = Host(way), HandClock()
        async with Caller(way, clock=clock, transport=host.transport, deadline=5, **ONE) as client:
            async with Crew(way) as crew:
                host.gates["/first"] = crew.event()
                crew.start(client.get, f"{BASE}/first")
                await crew.until(lambda: host.now == 1)
                crew.start(client.get, f"{BASE}/late")
                await crew.until(lambda: guard_of(client).bulkhead.waiting == 1)
                clock.advance(5)
                await crew.until(lambda: len(crew.ended) == 1)
                host.gates["/first"].set()
            assert isinstance(crew.ended[0], BulkheadFull)
            assert outcome_of(crew.ended[0]).reason == "deadline"
            assert outcome_of(crew.ended[0]).queued == 5
            assert host.arrived == ["/first"]
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_deadline_in_the_queue_holds_by_the_systems_clock(way: str) -> None:
    """Where nobody moves the time but time itself."""

    async def scenario() -> None:
        host = Host(way)
        async with Caller(
            way, transport=host.transport, deadline=0.02, scope=f"queue-{way}", **ONE
        ) as client:
            bulkhead = guard_of(client).bulkhead
            place = bulkhead.acquire()
            with pytest.raises(BulkheadFull) as caught:
                await client.get(BASE)
            assert 0.02 <= outcome_of(caught.value).queued < 2
            bulkhead.release(place)
            assert (await client.get(BASE)).status_code == 200

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_the_outcome_tells_how_long_a_call_queued(way: str) -> None:
    """Seconds by the transport's clock, of the attempt and of the whole call; they are no sleep."""

    async def scenario() -> None:
        host, clock = Host(way), HandClock()
        async with Caller(way, clock=clock, transport=host.transport, **ONE) as client:
            async with Crew(way) as crew:
                host.gates["/"] = crew.event()
                crew.start(client.get, BASE)
                await crew.until(lambda: host.now == 1)
                crew.start(client.get, BASE)
                await crew.until(lambda: guard_of(client).bulkhead.waiting == 1)
                clock.advance(3)
                host.gates["/"].set()
            outcomes = [outcome_of(response) for response in crew.ended]
            assert [outcome.queued for outcome in outcomes] == [0.0, 3.0]
            assert outcomes[1].attempts[0].queued == 3.0
            assert outcomes[1].slept == 0.0
            assert outcomes[1].attempts[0].elapsed == 0.0

    run(way, scenario)


# ---------------------------------------------------------------------------------------- when a place comes back


@pytest.mark.parametrize("way", WAYS)
def test_a_streamed_response_keeps_its_place_until_it_is_closed(way: str) -> None:
    """On real sockets: while its body is under way, so is the call."""

    async def scenario() -> None:
        with Loopback(page(200, b"x" * 200_000), page(200, b"ok")) as server:
            async with Caller(way, transport=None, **ONE) as client:
                bulkhead = guard_of(client, server.url).bulkhead
                response = await client.open("GET", server.url)
                assert bulkhead.in_use == 1
                async with Crew(way) as crew:
                    crew.start(client.get, server.url)
                    await crew.until(lambda: bulkhead.waiting == 1)
                    assert len(server.exchanges) == 1
                    await client.close(response)
                assert crew.ended[0].content == b"ok"
                assert left_in(guard_of(client, server.url)) == {}

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_was_read_has_given_its_place_back(way: str) -> None:
    """`get` and `read` are enough; nobody has to close."""

    async def scenario() -> None:
        with Loopback(page(200, b"x" * 200_000)) as server:
            async with Caller(way, **ONE) as client:
                for _ in range(2):
                    await client.get(server.url)
                response = await client.open("GET", server.url)
                assert left_in(guard_of(client, server.url)) == {"places": 1}
                await client.read(response)
                assert left_in(guard_of(client, server.url)) == {}

    run(way, scenario)


def test_a_body_that_breaks_off_gives_its_place_back(run: Run) -> None:
    """The error is the caller's, the place is not."""
    broken = Chunks(b"half", httpx.ReadError("reset"))
    clock = VirtualClock()
    for stream in (True, False):
        ended = run(
            None, lambda _: httpx.Response(200, stream=broken), client=ONE, clock=clock, stream=stream
        )
        error = ended.read_error if stream else ended.error
        assert isinstance(error, httpx.ReadError)
        assert broken.closed
    with ResilientClient(
        clock=clock, transport=httpx.MockTransport(lambda _: httpx.Response(200)), bulkhead=1
    ) as client:
        assert left_in(guard_of(client)) == {}
        assert guard_of(client).bulkhead.in_use == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_that_breaks_off_gives_its_place_back_though_nobody_closes_it(way: str) -> None:
    """As it gives its connection back."""

    async def scenario() -> None:
        host = Host(way, lambda _: httpx.Response(200, stream=Chunks(b"half", httpx.ReadError("reset"))))
        async with Caller(way, clock=VirtualClock(), transport=host.transport, **ONE) as client:
            response = await client.open("GET", BASE)
            with pytest.raises(httpx.ReadError):
                await client.read(response)
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


@pytest.mark.parametrize("how", ["left in the middle", "not what its Content-Encoding says"])
def test_a_stream_that_is_dropped_gives_its_place_back(how: str) -> None:
    """With the iterator: httpx's own connection comes back then, too."""
    headers = {} if how == "left in the middle" else {"Content-Encoding": "gzip"}
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers=headers, stream=Chunks(b"one", b"two"))
    )
    with ResilientClient(clock=VirtualClock(), transport=transport, bulkhead=1) as client:
        response = client.send(client.build_request("GET", BASE), stream=True)
        if how == "left in the middle":
            next(response.iter_raw())
        else:
            with pytest.raises(httpx.DecodingError):
                response.read()
        gc.collect()
        assert left_in(guard_of(client)) == {}


def test_a_hook_that_raises_gives_the_place_back() -> None:
    """Httpx closes the response, and so it is."""

    def refuse(_response: httpx.Response) -> None:
        raise LookupError("not here")

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Chunks(b"body")))
    with ResilientClient(
        clock=VirtualClock(), transport=transport, bulkhead=1, event_hooks={"response": [refuse]}
    ) as client:
        with pytest.raises(LookupError):
            client.get(BASE)
        assert left_in(guard_of(client)) == {}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [404, 503])
def test_an_error_gives_its_place_back(way: str, status: int) -> None:
    """It has been read: whoever holds the response holds nobody up."""

    async def scenario() -> None:
        host = Host(way, lambda _: httpx.Response(status, stream=Chunks(b"no")))
        async with Caller(way, clock=VirtualClock(), transport=host.transport, **ONE) as client:
            ask = {"resilience": {"retry": False}}
            response = await client.open("GET", BASE, extensions=ask)
            assert left_in(guard_of(client)) == {}
            assert await client.read(response) == b"no"

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_an_error_that_is_streamed_holds_no_place(way: str) -> None:
    """A large error's body is the caller's to read; the next call need not wait for that."""

    async def scenario() -> None:
        with Loopback(page(404, b"x" * 200_000), page(200, b"ok")) as server:
            async with Caller(way, deadline=5, **ONE) as client:
                response = await client.open("GET", server.url)
                assert (await client.get(server.url)).content == b"ok"
                assert await client.read(response) == b"x" * 200_000

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_sleeps_before_a_retry_holds_no_place(way: str) -> None:
    """Others go meanwhile, and it waits for its place again."""

    async def scenario() -> None:
        clock = HandClock()
        refused: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/sleeper" and not refused:
                refused.append(request.url.path)
                return httpx.Response(429, headers={"Retry-After": "10"})
            return httpx.Response(200)

        host = Host(way, answer)
        async with Caller(way, clock=clock, transport=host.transport, **ONE) as client:
            async with Crew(way) as crew:
                crew.start(client.get, f"{BASE}/sleeper")
                await crew.until(lambda: clock.sleeping == 1)
                assert guard_of(client).bulkhead.in_use == 0
                assert (await client.get(BASE)).status_code == 200
                await crew.play(clock)
            assert crew.ended[0].status_code == 200
            assert host.arrived == ["/sleeper", "/", "/sleeper"]

    run(way, scenario)


@pytest.mark.parametrize("way", TASKS)
@pytest.mark.parametrize("where", ["in the queue", "at the server"])
def test_a_cancelled_call_gives_its_place_back(way: str, where: str) -> None:
    """Those behind it go on."""

    async def scenario() -> None:
        host = Host(way)
        async with Caller(way, clock=HandClock(), transport=host.transport, **ONE) as client:
            bulkhead = guard_of(client).bulkhead
            async with Crew(way) as others:
                host.gates["/first"] = others.event()
                async with Crew(way) as crew:
                    first, second = (crew, others) if where == "at the server" else (others, crew)
                    first.start(client.get, f"{BASE}/first")
                    await crew.until(lambda: host.now == 1)
                    second.start(client.get, f"{BASE}/second")
                    await crew.until(lambda: bulkhead.waiting == 1)
                    others.start(client.get, f"{BASE}/third")
                    await crew.until(lambda: bulkhead.waiting == 2)
                    crew.cancel()
                host.gates["/first"].set()
            assert [response.status_code for response in others.ended] == [200, 200]
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


@pytest.mark.parametrize("way", TASKS)
def test_a_call_that_is_cancelled_when_its_place_has_just_come_passes_it_on(way: str) -> None:
    """Between being granted a place and hearing of it."""

    async def scenario() -> None:
        host = Host(way)
        async with Caller(way, clock=HandClock(), transport=host.transport, **ONE) as client:
            bulkhead = guard_of(client).bulkhead
            holder = bulkhead.acquire()
            async with Crew(way) as others, Crew(way) as crew:
                crew.start(client.get, f"{BASE}/cancelled")
                await crew.until(lambda: bulkhead.waiting == 1)
                others.start(client.get, f"{BASE}/next")
                await crew.until(lambda: bulkhead.waiting == 2)
                for place in bulkhead.release(holder):
                    place.wake()
                crew.cancel()
            assert host.arrived == ["/next"]
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


@pytest.mark.parametrize("bulkhead", [1, "adaptive"])
def test_an_interrupt_gives_its_place_back(run: Run, bulkhead: Any) -> None:
    """A Ctrl-C in the transport, at the first attempt and at a retry."""
    for before in (0, 1):
        answers: list[Any] = [httpx.Response(503)] * before + [StopIt()]

        def answer(_request: httpx.Request, left: list[Any] = answers) -> httpx.Response:
            brings = left.pop(0)
            if isinstance(brings, BaseException):
                raise brings
            return brings  # type: ignore[no-any-return]  # what else it is

        clock = VirtualClock()
        with pytest.raises(StopIt):
            run(None, answer, client={"bulkhead": bulkhead}, clock=clock)
        with ResilientClient(clock=clock, bulkhead=bulkhead, transport=httpx.MockTransport(answer)) as client:
            assert left_in(guard_of(client)) == {}


# --------------------------------------------------------------------------------------------- calls within a call


def test_a_redirect_needs_no_second_place(run: Run) -> None:
    """The first answer has been read when the second request is sent."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/":
            return httpx.Response(302, headers={"Location": "/there"}, stream=Chunks(b"moved"))
        return httpx.Response(200, stream=Chunks(b"here"))

    ended = run(None, answer, client=ONE | {"follow_redirects": True})
    assert ended.response.text == "here"


@pytest.mark.parametrize("way", WAYS)
def test_a_tokens_sign_in_within_a_call_needs_no_place(way: str) -> None:
    """The call that waits for it may hold the only one."""

    async def scenario() -> None:
        clock = HandClock()
        expired = {"error": {"code": 401, "message": "Token expired"}}
        answers = [httpx.Response(401, json=expired), httpx.Response(200)]

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/wallets/login":
                return httpx.Response(200, json={"token": f"tok-{len(answers)}"})
            clock.advance(200)  # the token has outlived itself on the way
            return answers.pop(0)

        host = Host(way, answer)
        auth = TokenAuth(httpx.Request("POST", f"{BASE}/wallets/login"), lifetime=100, leeway=0)
        async with Caller(way, "dual", clock=clock, auth=auth, transport=host.transport, **ONE) as client:
            async with Crew(way) as crew:
                crew.start(client.get, f"{BASE}/objects")
                await crew.play(clock)
            assert crew.ended[0].status_code == 200
            assert len(host.arrived) == 4
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


class Login(httpx.Auth):
    """A user's own auth: it signs in before each attempt."""

    renews = frozenset({"token"})
    headers = ("Authorization",)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        answer = yield httpx.Request("POST", f"{BASE}/login")
        request.headers["Authorization"] = f"Bearer {answer.status_code}"
        request.extensions["resilience.auth"] = self
        yield request


@pytest.mark.parametrize("way", WAYS)
def test_a_sign_in_of_the_users_own_auth_needs_no_place_either(way: str) -> None:
    """Whatever signs in for a retry does so on behalf of a call that holds a place."""

    async def scenario() -> None:
        clock = HandClock()
        answers = [httpx.Response(503), httpx.Response(200)]
        host = Host(way, lambda request: answers.pop(0) if request.url.path == "/" else httpx.Response(200))
        async with Caller(way, clock=clock, auth=Login(), transport=host.transport, **ONE) as client:
            async with Crew(way) as crew:
                crew.start(client.get, BASE)
                await crew.play(clock)
            assert crew.ended[0].status_code == 200
            assert host.arrived == ["/login", "/", "/login", "/"]
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


# ------------------------------------------------------------------------------------------------- a learned limit


@pytest.mark.parametrize("status", [429, 503])
def test_a_learned_limit_shrinks_on_overload(run: Run, status: int) -> None:
    """429 and 503 say that it was too much; a 404, a 500 and a success do not."""
    clock = VirtualClock()
    config = BulkheadConfig(Adaptive(start=10, backoff=0.5))
    options: dict[str, Any] = {"bulkhead": config}
    with ResilientClient(
        clock=clock, transport=httpx.MockTransport(lambda _: httpx.Response(200)), **options
    ) as client:
        bulkhead = guard_of(client).bulkhead
        for harmless in (200, 404, 500):
            run(None, answer(harmless), client=options, ask={"retry": False}, clock=clock)
        assert bulkhead.limit == 10
        run(None, answer(status), client=options, ask={"retry": False}, clock=clock)
        assert bulkhead.limit == 5


@pytest.mark.parametrize("way", WAYS)
def test_a_learned_limit_grows_while_it_is_filled_and_borne(way: str) -> None:
    """By one for each round trip that fills it."""

    async def scenario() -> None:
        host = Host(way)
        config = BulkheadConfig(Adaptive(start=1, ceiling=4))
        async with Caller(way, clock=HandClock(), bulkhead=config, transport=host.transport) as client:
            async with Crew(way) as crew:
                host.gates["/"] = crew.event()
                for _ in range(30):
                    crew.start(client.get, BASE)
                await crew.until(lambda: guard_of(client).bulkhead.waiting == 29)
                host.gates["/"].set()
            assert guard_of(client).bulkhead.limit == 4
            assert host.most <= 4
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


def test_a_word_and_a_switch_mean_a_learned_limit() -> None:
    """`bulkhead="adaptive"` and `bulkhead=True` are the same, and share what they learn."""
    clock = VirtualClock()
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    with (
        ResilientClient(clock=clock, transport=transport, bulkhead="adaptive") as one,
        ResilientClient(clock=clock, transport=transport, bulkhead=True) as other,
        ResilientClient(policy(protect={"bulkhead": "adaptive"}), clock=clock, transport=transport) as third,
    ):
        assert guard_of(one).bulkhead is guard_of(other).bulkhead
        assert guard_of(third).bulkhead.limit == guard_of(one).bulkhead.limit == Adaptive().start
