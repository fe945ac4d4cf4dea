"""Parking as a caller meets it: whoever has time waits for the host, all behind one probe, and none longer than it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from crew import BASE, TASKS, Crew, HandClock, Host, Weather, guard_of, left_in
from loopback import WAYS, Caller, run
from scenario import answer, in_turn

from resilient_client import outcome_of
from resilient_client.errors import CircuitOpen
from resilient_client.protection import BreakerConfig
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from pathlib import Path

    from scenario import Run

PARKING = BreakerConfig(in_a_row=1, successes=1, jitter=0, park=True)


@pytest.mark.parametrize("how", ["by the request", "by the client", "by the policy"])
def test_a_parked_call_goes_on_when_the_host_works_again(run: Run, how: str, tmp_path: Path) -> None:
    """It waits for the open time, and is the probe."""
    file = tmp_path / "acme.toml"
    settings = "in_a_row = 1, successes = 1, jitter = 0"
    file.write_text(
        f'extends = "default"\napi = "acme"\n[protect]\nbreaker = {{ {settings}, park = {str(how == "by the policy").lower()} }}\n'
    )
    clock = VirtualClock()
    ask = {"deadline": 30} | ({"park": True} if how == "by the request" else {})
    options = {"breaker": PARKING} if how == "by the client" else {}
    run(file, Weather(), "POST", client=options, clock=clock)
    ended = run(file, Weather(200), client=options, ask=ask, clock=clock)
    assert ended.response.status_code == 200
    assert 1.0 <= clock.monotonic() <= 1.5
    assert ended.outcome.queued == pytest.approx(clock.monotonic())
    assert ended.outcome.attempts[0].queued == ended.outcome.queued
    assert ended.outcome.slept == 0


@pytest.mark.parametrize("way", WAYS)
def test_parked_calls_wait_behind_one_probe(way: str) -> None:
    """Ten callers: one request while the host comes up, and then the others go on in the order in which they came."""

    async def scenario() -> None:
        clock, down = HandClock(), True
        host = Host(way, lambda _: httpx.Response(503 if down else 200), clock=clock, takes=lambda _: 0.5)
        async with Caller(way, clock=clock, breaker=PARKING, deadline=60, transport=host.transport) as client:
            async with Crew(way) as crew:
                crew.start(client.post, BASE)
                await crew.play(clock)
                down = False
                for number in range(10):
                    crew.start(client.get, f"{BASE}/{number}")
                    await crew.until(lambda count=number + 1: clock.sleeping == count)  # type: ignore[misc]
                await crew.play(clock)
            assert [result.status_code for result in crew.ended] == [503] + [200] * 10
            probe, *others = host.arrived[1:]
            assert others == [f"/{number}" for number in range(10) if probe != f"/{number}"]
            first, second = host.at[1], host.at[2]
            assert second - first >= 0.5  # nobody goes before the probe has worked
            assert host.at[-1] <= second + PARKING.ramp
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_parked_call_waits_for_a_probe_that_has_longer_than_itself(way: str) -> None:
    """A probe may report at any time: whoever has less time than its lease waits all the same."""

    async def scenario() -> None:
        clock, down = HandClock(), True
        host = Host(way, lambda _: httpx.Response(503 if down else 200), clock=clock, takes=lambda _: 0.5)
        async with Caller(way, clock=clock, breaker=PARKING, deadline=4, transport=host.transport) as client:
            async with Crew(way) as crew:
                crew.start(client.post, BASE)
                await crew.play(clock)
                down = False
                clock.advance(1)
                crew.start(client.get, f"{BASE}/probe")
                await crew.until(lambda: host.now == 1)
                crew.start(client.get, f"{BASE}/other")
                await crew.play(clock)
            assert [result.status_code for result in crew.ended[1:]] == [200, 200]

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_deadline_that_passes_in_the_park_ends_the_call(way: str) -> None:
    """CircuitOpen at the deadline and not before, reason "deadline", and nobody is left in the park."""

    async def scenario() -> None:
        clock, down = HandClock(), True
        host = Host(way, lambda _: httpx.Response(503 if down else 200))
        async with Caller(way, clock=clock, breaker=PARKING, deadline=4, transport=host.transport) as client:
            await client.post(BASE)
            down = False
            clock.advance(1)
            async with Crew(way) as crew:
                host.gates["/probe"] = crew.event()
                crew.start(client.get, f"{BASE}/probe")
                await crew.until(lambda: host.now == 1)
                crew.start(client.get, f"{BASE}/other")
                while not crew.ended:
                    await crew.until(lambda: clock.sleeping == 1 or bool(crew.ended))
                    if not crew.ended:
                        clock.skip()
                assert clock.monotonic() == pytest.approx(5)
                host.gates["/probe"].set()
            error = crew.ended[0]
            assert isinstance(error, CircuitOpen)
            assert (outcome_of(error).reason, outcome_of(error).attempts) == ("deadline", ())
            assert host.arrived == ["/", "/probe"]
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


def test_an_open_time_beyond_the_deadline_is_not_waited_for(run: Run) -> None:
    """A wait that cannot fit is not begun."""
    clock = VirtualClock()
    run(None, Weather(503, headers={"Retry-After": "60"}), "POST", client={"breaker": PARKING}, clock=clock)
    ended = run(None, Weather(200), client={"breaker": PARKING, "deadline": 30}, clock=clock)
    assert isinstance(ended.error, CircuitOpen)
    assert ended.error.retry_after == pytest.approx(60)
    assert ended.outcome.reason == "circuit_open"
    assert clock.sleeps == []


def test_without_a_deadline_nobody_is_parked(run: Run) -> None:
    """Who does not say how long they can wait is not made to."""
    clock = VirtualClock()
    run(None, Weather(), "POST", client={"breaker": PARKING}, clock=clock)
    ended = run(None, Weather(200), client={"breaker": PARKING}, ask={"park": True}, clock=clock)
    assert isinstance(ended.error, CircuitOpen)
    assert clock.sleeps == []


def test_a_request_that_will_not_be_parked_is_not(run: Run) -> None:
    """What one request asks for outweighs its client."""
    clock = VirtualClock()
    run(None, Weather(), "POST", client={"breaker": PARKING}, clock=clock)
    ended = run(
        None, Weather(200), client={"breaker": PARKING, "deadline": 30}, ask={"park": False}, clock=clock
    )
    assert isinstance(ended.error, CircuitOpen)
    assert clock.sleeps == []


def test_a_retry_that_parks_goes_on_when_the_host_works(run: Run) -> None:
    """The attempt that opened the breaker waits for its own probe."""
    ended = run(None, in_turn(answer(503), answer(200)), client={"breaker": PARKING, "deadline": 30})
    assert ended.response.status_code == 200
    assert ended.outcome.attempts[1].queued > 0
    assert ended.clock.monotonic() >= 1


@pytest.mark.parametrize("way", WAYS)
def test_a_retry_that_could_not_be_parked_for_so_long_gives_the_real_response(way: str) -> None:
    """Another call has been told "120 seconds", and this one has 60: its own answer is worth more than a CircuitOpen."""

    async def scenario() -> None:
        clock = HandClock()

        def serve(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/long":
                return httpx.Response(503, headers={"Retry-After": "120"})
            return httpx.Response(503, text="my own")

        host = Host(way, serve)
        async with Caller(way, clock=clock, breaker=PARKING, deadline=60, transport=host.transport) as client:
            async with Crew(way) as crew:
                host.gates["/own"] = crew.event()
                crew.start(client.get, f"{BASE}/own")
                await crew.until(lambda: host.now == 1)
                await client.post(f"{BASE}/long")
                host.gates["/own"].set()
                await crew.play(clock)
            assert crew.ended[0].text == "my own"
            assert clock.slept == []

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_to_ask_for_parking_makes_nothing_worse(way: str) -> None:
    """While those who waited are let go one by one, a newcomer who cannot wait for a turn goes at once."""

    async def scenario() -> None:
        clock, down = HandClock(), True
        host = Host(way, lambda _: httpx.Response(503 if down else 200))
        async with Caller(way, clock=clock, breaker=PARKING, deadline=60, transport=host.transport) as client:
            await client.post(BASE)
            down = False
            async with Crew(way) as crew:
                for number in range(5):
                    crew.start(client.get, f"{BASE}/{number}")
                await crew.until(lambda: clock.sleeping == 5)
                while not crew.ended:
                    clock.skip()
                    await crew.until(lambda: clock.sleeping + len(crew.ended) == 5)
                clock.advance(1)
                response = await client.get(BASE, extensions={"resilience": {"deadline": 0.1}})
                assert response.status_code == 200
                await crew.play(clock)

    run(way, scenario)


@pytest.mark.parametrize("way", TASKS)
def test_a_parked_call_that_is_cancelled_leaves_the_park(way: str) -> None:
    """Those behind it are not kept waiting for it."""

    async def scenario() -> None:
        clock = HandClock()
        host = Host(way, lambda _: httpx.Response(503))
        async with Caller(way, clock=clock, breaker=PARKING, deadline=60, transport=host.transport) as client:
            await client.post(BASE)
            async with Crew(way) as crew:
                for _ in range(3):
                    crew.start(client.get, BASE)
                await crew.until(lambda: clock.sleeping == 3)
                assert left_in(guard_of(client)) == {"crowd": 3, "parked": 3}
                crew.cancel()
            assert left_in(guard_of(client)) == {}

    run(way, scenario)
