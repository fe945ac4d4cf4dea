"""The circuit breaker as a caller meets it: refused in time, told when to come back, or parked until the host works."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from crew import BASE, TASKS, Crew, HandClock, Host, StopIt, Weather, guard_of, left_in
from loopback import WAYS, Caller, run
from scenario import answer, in_turn

from resilient_client import ResilientClient, TokenAuth, outcome_of
from resilient_client.errors import CircuitOpen
from resilient_client.protection import BreakerConfig
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from scenario import Run

AT_ONCE = BreakerConfig(
    in_a_row=1, successes=1, jitter=0
)  # one failure opens it for a second, one success closes it
PARKING = BreakerConfig(in_a_row=1, successes=1, jitter=0, park=True)


def client_of(
    clock: VirtualClock, serve: Callable[[httpx.Request], httpx.Response], **options: Any
) -> ResilientClient:
    return ResilientClient(
        options.pop("policy", None), clock=clock, transport=httpx.MockTransport(serve), **options
    )


def open_by(client: httpx.Client) -> None:
    """Let one call fail that is not retried."""
    assert client.post(BASE).status_code >= 500


# ---------------------------------------------------------------------------------------------------- it opens


def test_a_run_of_failures_opens_it() -> None:
    """The twentieth in a row is the last that is sent."""
    host = Weather()
    with client_of(VirtualClock(), host, breaker=True) as client:
        for _ in range(20):
            open_by(client)
        with pytest.raises(CircuitOpen):
            client.post(BASE)
    assert host.asked == 20


def test_a_rate_of_failures_opens_it() -> None:
    """Every other call fails: no run, but half of the calls in the window."""
    host = Weather()
    with client_of(VirtualClock(), host, breaker=BreakerConfig(in_a_row=None)) as client:
        for number in range(20):
            host.status = 200 if number % 2 == 0 else 500
            client.post(BASE)
        with pytest.raises(CircuitOpen):
            client.post(BASE)
    assert host.asked == 20


def test_answers_that_are_slow_open_it() -> None:
    """By the transport's clock, with `slow_after`."""
    clock = VirtualClock()

    def slow(_request: httpx.Request) -> httpx.Response:
        clock.advance(2)
        return httpx.Response(200)

    config = BreakerConfig(slow_after=1.5, min_calls=3)
    with client_of(clock, slow, breaker=config) as client:
        for _ in range(3):
            client.get(BASE)
        with pytest.raises(CircuitOpen):
            client.get(BASE)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_refusal_is_a_success(status: int) -> None:
    """A host that says no is a host that works."""
    host = Weather(status)
    with client_of(VirtualClock(), host, breaker=AT_ONCE) as client:
        for _ in range(30):
            assert client.get(BASE).status_code == status
        assert guard_of(client).breaker.state(0.0) == "closed"


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_no_answer_is_a_failure(error: type[httpx.TransportError]) -> None:
    """Refused, timed out or garbage."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise error("down", request=request)

    with client_of(VirtualClock(), fail, breaker=AT_ONCE) as client:
        with pytest.raises(error):
            client.post(BASE, extensions={"resilience": {"retry": False}})
        with pytest.raises(CircuitOpen):
            client.post(BASE)


@pytest.mark.parametrize(
    "error",
    [
        httpx.LocalProtocolError("Illegal header value"),
        httpx.PoolTimeout("no connection"),
        TypeError("a bug"),
    ],
    ids=["illegal header", "pool too small", "bug in a transport"],
)
def test_a_mistake_of_the_callers_own_says_nothing_of_the_host(error: Exception) -> None:
    """Nobody else is refused because one caller's requests cannot be sent."""

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/bad":
            raise error
        return httpx.Response(200)

    with client_of(VirtualClock(), serve, breaker=AT_ONCE) as client:
        for _ in range(3):
            with pytest.raises(type(error)):
                client.post(BASE + "/bad", extensions={"resilience": {"retry": False}})
        assert client.get(BASE).status_code == 200


def test_another_host_is_not_refused() -> None:
    """Each host has a breaker of its own."""
    host = Weather()
    with client_of(VirtualClock(), host, breaker=AT_ONCE) as client:
        open_by(client)
        host.status = 200
        assert client.get("https://eu.api.example").status_code == 200


# ------------------------------------------------------------------------------------------- what a caller is told


def test_a_refused_call_says_when_to_come_back(run: Run) -> None:
    """Nothing is sent, nothing is slept; the error is a TransportError, and its outcome tells all."""
    clock = VirtualClock()
    run(None, Weather(), "POST", client={"breaker": AT_ONCE}, clock=clock)
    clock.advance(0.25)
    ended = run(None, Weather(200), client={"breaker": AT_ONCE}, clock=clock)
    error = ended.error
    assert isinstance(error, CircuitOpen)
    assert isinstance(error, httpx.TransportError)
    assert error.retry_after == pytest.approx(0.75)
    assert error.retry_at == pytest.approx(clock.time() + 0.75)
    assert error.request.url == "https://api.example/"
    assert "api.example" in str(error)
    assert ended.requests == []
    assert clock.sleeps == []
    outcome = ended.outcome
    assert (outcome.reason, outcome.attempts, outcome.maybe_applied) == ("circuit_open", (), False)
    assert outcome.verdict.category != "auth"


def test_a_refused_call_is_an_httpx_error_for_raise_for_status_too() -> None:
    """There is no response to make an ApiError of: the CircuitOpen itself is raised."""
    client = client_of(VirtualClock(), Weather(), breaker=AT_ONCE, raise_for_status=True)
    with client:
        with pytest.raises(httpx.HTTPStatusError):
            client.post(BASE)
        with pytest.raises(CircuitOpen):
            client.post(BASE)


def test_a_call_in_the_middle_is_given_the_real_response_at_once() -> None:
    """The attempt that opens the breaker ends its call: no backoff, and not an exception instead of the answer."""
    clock, host = VirtualClock(), Weather(503, text="down for now")
    config = BreakerConfig(in_a_row=1, open_for=60, max_open_for=60)
    with client_of(clock, host, breaker=config) as client:
        response = client.get(BASE)
    assert (response.status_code, response.text) == (503, "down for now")
    assert outcome_of(response).reason == "circuit_open"
    assert host.asked == 1
    assert clock.sleeps == []


def test_a_network_error_in_the_middle_is_raised_as_it_was() -> None:
    """The error that opens the breaker is the one that is raised."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset", request=request)

    clock = VirtualClock()
    config = BreakerConfig(in_a_row=1, open_for=60, max_open_for=60)
    with client_of(clock, fail, breaker=config) as client, pytest.raises(httpx.ReadError) as caught:
        client.get(BASE)
    assert outcome_of(caught.value).reason == "circuit_open"
    assert clock.sleeps == []


def test_a_retry_that_comes_after_the_open_time_is_made() -> None:
    """What waits long enough anyhow needs not give up."""
    answers = iter([httpx.Response(429, headers={"Retry-After": "7"}), httpx.Response(200)])
    config = BreakerConfig(in_a_row=1, jitter=0, max_retry_after=0)
    with client_of(VirtualClock(), lambda _: next(answers), breaker=config) as client:
        response = client.get(BASE)
    assert response.status_code == 200
    assert len(outcome_of(response).attempts) == 2


# ------------------------------------------------------------------------------------------------- it closes again


def test_a_probe_that_works_closes_it() -> None:
    """One call is let through when the open time is over, then all are."""
    clock, host = VirtualClock(), Weather()
    with client_of(clock, host, breaker=AT_ONCE) as client:
        open_by(client)
        host.status = 200
        clock.advance(1)
        assert [client.get(BASE).status_code for _ in range(5)] == [200] * 5


def test_a_probe_that_fails_keeps_it_open_for_longer() -> None:
    """Twice as long, as `growth` has it."""
    clock, host = VirtualClock(), Weather()
    with client_of(clock, host, breaker=AT_ONCE) as client:
        open_by(client)
        clock.advance(1)
        open_by(client)
        with pytest.raises(CircuitOpen) as caught:
            client.post(BASE)
    assert caught.value.retry_after == pytest.approx(2)


def test_retry_after_sets_the_time() -> None:
    """What the server says outweighs the configured time, and is bounded by `max_retry_after`."""
    clock, host = VirtualClock(), Weather(503, headers={"Retry-After": "42"})
    with client_of(clock, host, breaker=AT_ONCE) as client:
        open_by(client)
        with pytest.raises(CircuitOpen) as caught:
            client.post(BASE)
        assert caught.value.retry_after == pytest.approx(42)
        clock.advance(41.9)
        with pytest.raises(CircuitOpen):
            client.post(BASE)
        clock.advance(0.2)
        host.status = 200
        assert client.get(BASE).status_code == 200


@pytest.mark.parametrize("way", WAYS)
def test_one_probe_at_a_time(way: str) -> None:
    """While a probe is under way, others are refused: a host that comes up is not met by a crowd."""

    async def scenario() -> None:
        clock, down = HandClock(), True
        host = Host(way, lambda _: httpx.Response(503 if down else 200))
        async with Caller(way, clock=clock, breaker=AT_ONCE, transport=host.transport) as client:
            await client.post(BASE)
            down = False
            clock.advance(1)
            async with Crew(way) as crew:
                host.gates["/probe"] = crew.event()
                crew.start(client.get, f"{BASE}/probe")
                await crew.until(lambda: host.now == 1)
                for _ in range(5):
                    crew.start(client.get, BASE)
                await crew.until(lambda: len(crew.ended) == 5)
                assert [type(error) for error in crew.ended] == [CircuitOpen] * 5
                host.gates["/probe"].set()
            assert crew.ended[-1].status_code == 200
            assert host.arrived == ["/", "/probe"]
            assert (await client.get(BASE)).status_code == 200
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


@pytest.mark.parametrize("way", TASKS)
@pytest.mark.parametrize("parked", [False, True])
def test_a_probe_that_is_cancelled_counts_neither_way_and_leaves_room(way: str, *, parked: bool) -> None:
    """The next call is the probe."""

    async def scenario() -> None:
        clock, down = HandClock(), True
        host = Host(way, lambda _: httpx.Response(503 if down else 200))
        config = PARKING if parked else AT_ONCE
        deadline = 100 if parked else None
        async with Caller(
            way, clock=clock, breaker=config, deadline=deadline, transport=host.transport
        ) as client:
            await client.post(BASE)
            down = False
            clock.advance(1)
            async with Crew(way) as crew:
                host.gates["/probe"] = crew.event()
                crew.start(client.get, f"{BASE}/probe")
                await crew.until(lambda: host.now == 1)
                assert left_in(guard_of(client)) == {"crowd": 1, "probes": 1}
                crew.cancel()
            assert left_in(guard_of(client)) == {}
            assert guard_of(client).breaker.state(clock.monotonic()) == "half_open"
            assert (await client.get(BASE)).status_code == 200
            assert guard_of(client).breaker.state(clock.monotonic()) == "closed"

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_probe_that_never_reports_does_not_stick(way: str) -> None:
    """Its lease ends, and another call is the probe; what comes of the first one later counts no more."""

    async def scenario() -> None:
        clock, down = HandClock(), True
        host = Host(way, lambda _: httpx.Response(503 if down else 200))
        async with Caller(way, clock=clock, breaker=AT_ONCE, transport=host.transport) as client:
            await client.post(BASE)
            down = False
            clock.advance(1)
            async with Crew(way) as crew:
                host.gates["/probe"] = crew.event()
                crew.start(client.post, f"{BASE}/probe")
                await crew.until(lambda: host.now == 1)
                clock.advance(9.9)
                with pytest.raises(CircuitOpen):
                    await client.get(BASE)
                clock.advance(0.2)
                assert (await client.get(BASE)).status_code == 200
                down = True
                host.gates["/probe"].set()
            assert guard_of(client).breaker.state(clock.monotonic()) == "closed"

    run(way, scenario)


def test_a_probe_that_is_interrupted_leaves_room() -> None:
    """A Ctrl-C says nothing of the host."""
    clock, host = VirtualClock(), Weather()

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/stop":
            raise StopIt
        return host(request)

    with client_of(clock, serve, breaker=AT_ONCE) as client:
        open_by(client)
        clock.advance(1)
        with pytest.raises(StopIt):
            client.get(f"{BASE}/stop")
        assert left_in(guard_of(client)) == {}
        host.status = 200
        assert client.get(BASE).status_code == 200


# ------------------------------------------------------------------------------------------------------- sign-ins


def test_a_sign_in_is_not_refused() -> None:
    """Neither the one before a call, nor the one in the middle of a call that has been let through."""
    clock = VirtualClock()
    objects = in_turn(
        answer(401, {"error": {"code": 401, "message": "Token expired"}}),
        answer(200),
    )
    signed_in = 0

    def serve(request: httpx.Request) -> httpx.Response:
        nonlocal signed_in
        if request.url.path == "/wallets/login":
            signed_in += 1
            return httpx.Response(200, json={"token": f"tok-{signed_in}"})
        if request.url.path == "/down":
            return httpx.Response(500)
        clock.advance(200)  # the token has outlived itself on the way
        return objects(request)

    auth = TokenAuth(httpx.Request("POST", f"{BASE}/wallets/login"), lifetime=100, leeway=0)
    config = BreakerConfig(in_a_row=1, jitter=0, open_for=150, max_open_for=150)
    with client_of(clock, serve, policy="dual", breaker=config, auth=auth) as client:
        client.post(f"{BASE}/down")
        clock.advance(120)
        with pytest.raises(CircuitOpen):
            client.get(f"{BASE}/objects")
        assert signed_in == 2
        clock.advance(30)
        response = client.get(f"{BASE}/objects")
    assert response.status_code == 200
    assert signed_in == 3
    assert len(outcome_of(response).attempts) == 2


def test_threads_that_are_refused_have_errors_of_their_own() -> None:
    """One exception is never raised in two threads."""
    host, errors = Weather(), []
    with client_of(VirtualClock(), host, breaker=AT_ONCE) as client:
        open_by(client)

        def call() -> None:
            try:
                client.get(BASE)
            except CircuitOpen as error:
                errors.append(error)

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({id(error) for error in errors}) == 8
