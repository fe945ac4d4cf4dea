"""The retry budget as a caller meets it: on by default, shared by all calls to a host, and in nobody's way."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from crew import BASE, TASKS, Crew, HandClock, Host, guard_of, left_in, policy
from loopback import WAYS, Caller, run
from scenario import Chunks, answer, error_response, in_turn

from resilient_client import AsyncResilientClient, HmacAuth, ResilientClient, ResilientTransport, outcome_of
from resilient_client.protection import BudgetConfig
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scenario import Run

TWO = BudgetConfig(capacity=28, crowd=0)  # pays for two retries after a 5xx


def broken(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(503, json={"message": "broken"})


def client_of(
    clock: VirtualClock,
    serve: Callable[[httpx.Request], httpx.Response] = broken,
    given: Any = None,
    **options: Any,
) -> ResilientClient:
    return ResilientClient(given, clock=clock, transport=httpx.MockTransport(serve), **options)


def attempts(client: httpx.Client, url: str = BASE, **options: Any) -> int:
    """Make a call, and tell how many attempts it came to."""
    return len(outcome_of(client.get(url, **options)).attempts)


# ---------------------------------------------------------------------------------------- whose budget it is


def test_it_is_on_unless_it_is_switched_off() -> None:
    """Calls one after the other to a host that is down are soon made once only; without a budget they never are."""
    clock = VirtualClock()
    with client_of(clock) as client, client_of(clock, budget=False) as free:
        counts = [attempts(client) for _ in range(20)]
        assert counts[0] == 5
        assert counts[-1] == 1
        assert sum(counts) < 20 + 40
        assert [attempts(free) for _ in range(20)] == [5] * 20


def test_a_policy_switches_it_off_and_a_keyword_outweighs_the_policy(tmp_path: Path) -> None:
    """`[protect] budget = false` is the keyword's default."""
    file = tmp_path / "acme.toml"
    file.write_text('extends = "default"\napi = "acme"\n[protect]\nbudget = false\n')
    clock = VirtualClock()
    with client_of(clock, given=file) as off, client_of(clock, given=file, budget=TWO) as on:
        assert [attempts(off) for _ in range(15)] == [5] * 15
        assert [attempts(on) for _ in range(3)] == [3, 1, 1]


def test_two_clients_of_one_host_share_it() -> None:
    """What one of them spends, the other has not got."""
    clock = VirtualClock()
    with client_of(clock, budget=TWO) as one, client_of(clock, budget=TWO) as other:
        assert [attempts(one), attempts(other)] == [3, 1]


def test_a_transport_shares_it_with_a_client() -> None:
    """It is the process that has a budget, whoever sends."""
    clock = VirtualClock()
    transport = ResilientTransport(None, httpx.MockTransport(broken), clock=clock, budget=TWO)
    with client_of(clock, budget=TWO) as one, httpx.Client(transport=transport) as other:
        assert [attempts(one), attempts(other)] == [3, 1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://api.example", "https://api.example:443/v2?x=1"),
        ("https://api.example", "https://API.example"),
        ("http://api.example:80", "http://api.example"),
    ],
)
def test_one_host_is_one_host_however_it_is_written(one: str, other: str) -> None:
    """A default port, a path and the letter case make no other host."""
    with client_of(VirtualClock(), budget=TWO) as client:
        assert [attempts(client, one), attempts(client, other)] == [3, 1]


@pytest.mark.parametrize(
    "other",
    ["https://eu.api.example", "https://api.example:8443", "http://api.example", "https://203.0.113.7"],
)
def test_another_host_port_or_scheme_has_its_own(other: str) -> None:
    """A host that is down costs the others nothing."""
    with client_of(VirtualClock(), budget=TWO) as client:
        assert [attempts(client, BASE), attempts(client, BASE), attempts(client, other)] == [3, 1, 3]


def test_another_scope_has_its_own() -> None:
    """Accounts that the API keeps apart can be kept apart."""
    clock = VirtualClock()
    with (
        client_of(clock, budget=TWO, scope="a") as one,
        client_of(clock, budget=TWO, scope="b") as two,
        client_of(clock, budget=TWO, scope="a") as three,
    ):
        assert [attempts(one), attempts(two), attempts(three)] == [3, 3, 1]


def test_another_virtual_clock_has_its_own() -> None:
    """One test meets nothing of another's."""
    with client_of(VirtualClock(), budget=TWO) as one, client_of(VirtualClock(), budget=TWO) as other:
        assert [attempts(one), attempts(other)] == [3, 3]


def test_another_policy_has_its_own() -> None:
    """Two APIs behind one gateway do not pay for each other, be it by a request's own policy."""
    ask = {"resilience": {"policy": policy("other")}}
    with client_of(VirtualClock(), budget=TWO) as client:
        counts = [attempts(client), attempts(client, extensions=ask), attempts(client)]
    assert counts == [3, 3, 1]


@pytest.mark.parametrize("way", WAYS)
def test_threads_and_tasks_share_it(way: str) -> None:
    """Thirty callers at a time spend what one caller would."""

    async def scenario() -> None:
        host = Host(way, broken)
        async with Caller(way, clock=VirtualClock(), budget=TWO, transport=host.transport) as client:
            async with Crew(way) as crew:
                for _ in range(30):
                    crew.start(client.get, BASE)
            assert [response.status_code for response in crew.ended] == [503] * 30
            assert len(host.arrived) == 32
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


def test_event_loops_and_threads_share_it() -> None:
    """A budget that is spent in a thread is spent for asyncio, and for trio."""
    clock = VirtualClock()
    with client_of(clock, budget=TWO) as client:
        counts = [attempts(client)]

    async def one() -> None:
        async with AsyncResilientClient(
            clock=clock, budget=TWO, transport=httpx.MockTransport(broken)
        ) as tasks:
            counts.append(len(outcome_of(await tasks.get(BASE)).attempts))

    for backend in TASKS:
        anyio.run(one, backend=backend)
    assert counts == [3, 1, 1]


# -------------------------------------------------------------------------------------- when it is exhausted


def test_the_real_response_is_given_at_once_and_untouched(run: Run) -> None:
    """Same status, same bytes as on the wire, same encoding; nothing is slept."""
    body = gzip.compress('{"message": "überlastet"}'.encode("latin-1"))
    headers = {"Content-Type": "application/json; charset=latin-1", "Content-Encoding": "gzip", "X-Mark": "7"}

    def serve(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(503, stream=Chunks(body[:9], body[9:]), headers=headers)

    none_left = BudgetConfig(capacity=14, crowd=0)
    ended = run(None, serve, client={"budget": none_left})
    ended = run(None, serve, client={"budget": none_left}, clock=ended.clock, stream=True)
    assert ended.response.status_code == 503
    assert ended.body == body
    assert ended.response.headers["X-Mark"] == "7"
    assert ended.outcome.reason == "budget_exhausted"
    assert ended.attempts == 1
    assert len(ended.clock.sleeps) == 1  # of the first call

    ended = run(None, serve, client={"budget": none_left}, clock=ended.clock)
    assert ended.response.text == '{"message": "überlastet"}'


def test_a_network_error_is_raised_as_it_was(run: Run) -> None:
    """The httpx exception itself, with a note, and an outcome that says why there was no retry."""
    error = httpx.ReadError("reset by peer")

    def serve(_request: httpx.Request) -> httpx.Response:
        raise error

    one = BudgetConfig(capacity=14, crowd=0)
    clock = run(None, serve, client={"budget": one}).clock
    ended = run(None, serve, client={"budget": one}, clock=clock)
    assert ended.error is error
    assert ended.outcome.reason == "budget_exhausted"
    assert "budget_exhausted" in "".join(error.__notes__)
    assert ended.attempts == 1


def test_raise_for_status_tells_the_reason() -> None:
    """The ApiError says that the budget is why."""
    with client_of(
        VirtualClock(), budget=BudgetConfig(capacity=14, crowd=0), raise_for_status=True
    ) as client:
        for _ in range(2):
            with pytest.raises(httpx.HTTPStatusError) as caught:
                client.get(BASE)
    assert outcome_of(caught.value).reason == "budget_exhausted"
    assert "budget_exhausted" in str(caught.value)


# ------------------------------------------------------------------------------------- what it costs, what pays


def test_a_retry_that_succeeds_is_paid_back(run: Run) -> None:
    """A host that fails every other time never exhausts a budget of one retry."""
    clock, one = VirtualClock(), BudgetConfig(capacity=14, first_try=0, crowd=0)
    for _ in range(5):
        ended = run(None, in_turn(broken, answer(200)), client={"budget": one}, clock=clock)
        assert ended.response.status_code == 200
        assert ended.attempts == 2


def test_a_call_that_succeeds_at_first_brings_a_token() -> None:
    """After as many of them as a retry costs there is one more."""
    down = False

    def serve(request: httpx.Request) -> httpx.Response:
        return broken(request) if down else httpx.Response(200)

    with client_of(VirtualClock(), serve, budget=BudgetConfig(capacity=14, crowd=0)) as client:
        down = True
        assert [attempts(client), attempts(client)] == [2, 1]
        down = False
        for _ in range(13):
            client.get(BASE)
        down = True
        assert attempts(client) == 1
        down = False
        client.get(BASE)
        down = True
        assert attempts(client) == 2


@pytest.mark.parametrize("status", [404, 400, 409, 422])
def test_a_refusal_counts_as_the_host_working(status: int) -> None:
    """A 4xx at first try brings what a success at first try brings."""
    down = True

    def serve(request: httpx.Request) -> httpx.Response:
        return broken(request) if down else httpx.Response(status)

    with client_of(VirtualClock(), serve, budget=BudgetConfig(capacity=14, crowd=0)) as client:
        assert [attempts(client), attempts(client)] == [2, 1]
        down = False
        for _ in range(14):
            assert client.get(BASE).status_code == status
        down = True
        assert attempts(client) == 2


def test_a_refusal_after_a_retry_pays_the_retry_back() -> None:
    """The 404 that a retry brought is what the caller was to see."""
    serve = in_turn(*[broken, answer(404)] * 6)
    with client_of(VirtualClock(), serve, budget=BudgetConfig(capacity=14, crowd=0)) as client:
        assert [attempts(client) for _ in range(6)] == [2] * 6


def level_after(first: Callable[[httpx.Request], httpx.Response], given: Any = None, **options: Any) -> int:
    """Make a call that is retried once and fails, and tell what the budget has left of 500."""
    times = 0

    def serve(request: httpx.Request) -> httpx.Response:
        nonlocal times
        times += 1
        return first(request) if times == 1 else httpx.Response(500)

    with client_of(VirtualClock(), serve, given, **options) as client:
        client.post(BASE + "/v1/qr", json={})
        return int(guard_of(client).budget.level)


def test_a_429_that_names_the_time_pays_the_lower_price() -> None:
    """5 tokens and not 14."""
    assert level_after(lambda _: httpx.Response(429, headers={"Retry-After": "1"})) == 495


def test_a_fresh_nonce_pays_the_lower_price() -> None:
    """The host answered, and said what to do: a 401 for a nonce is no failure of it."""
    refused = error_response("zerotrace", "AUTH_INVALID")
    left = level_after(lambda _: refused, "zerotrace", auth=HmacAuth("key", "secret"))
    assert refused.status_code == 401
    assert left == 495


def test_a_lost_connection_pays_the_full_price() -> None:
    """14 tokens."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    assert level_after(refuse) == 486


def test_a_call_that_must_not_be_retried_takes_nothing() -> None:
    """`retry: False`, and what the policy does not retry."""
    with client_of(VirtualClock()) as client:
        client.get(BASE, extensions={"resilience": {"retry": False}})
        client.post(BASE, json={})
        assert guard_of(client).budget.level == 500


# ---------------------------------------------------------------------------------------------------- crowds


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loss", [False, True], ids=["503", "no answer"])
def test_a_crowd_of_thirty_with_two_failures_each_succeeds(way: str, *, loss: bool) -> None:
    """What is on its way when trouble begins is brought through."""

    async def scenario() -> None:
        seen: dict[str, int] = {}

        def serve(request: httpx.Request) -> httpx.Response:
            seen[request.url.path] = times = seen.get(request.url.path, 0) + 1
            if times > 2:
                return httpx.Response(200)
            if loss:
                raise httpx.ReadError("reset", request=request)
            return broken(request)

        host = Host(way, serve)
        async with Caller(way, clock=VirtualClock(), transport=host.transport) as client:
            async with Crew(way) as crew:
                everybody = crew.event()
                host.gates = {f"/{number}": everybody for number in range(30)}
                for number in range(30):
                    crew.start(client.get, f"{BASE}/{number}")
                await crew.until(lambda: host.now == 30)
                everybody.set()
            assert [getattr(response, "status_code", response) for response in crew.ended] == [200] * 30
            assert len(host.arrived) == 90
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


@pytest.mark.parametrize("way", TASKS)
@pytest.mark.parametrize("where", ["on its way", "in a sleep"])
def test_a_cancelled_call_leaves_nothing_behind(way: str, where: str) -> None:
    """A crowd that was cancelled is a crowd of nobody."""

    async def scenario() -> None:
        host = Host(way, broken)
        clock = HandClock()
        async with Caller(way, clock=clock, transport=host.transport) as client:
            async with Crew(way) as crew:
                if where == "on its way":
                    host.gates["/"] = crew.event()
                for _ in range(5):
                    crew.start(client.get, BASE)
                await crew.until(lambda: (clock.sleeping if where == "in a sleep" else host.now) == 5)
                assert guard_of(client).crowd.size == (0 if where == "in a sleep" else 5)
                crew.cancel()
            assert left_in(guard_of(client)) == {}
            assert not guard_of(client).crowd.asleep

    run(way, scenario)
