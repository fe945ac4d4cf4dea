"""Several protections at a time, what they leave behind, and who hears of it."""

from __future__ import annotations

import logging
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from crew import BASE, Crew, HandClock, Host, guard_of, left_in, policy
from loopback import WAYS, Caller, run
from scenario import Chunks

from resilient_client import ApiError, HmacAuth, ResilientClient, outcome_of
from resilient_client.errors import BulkheadFull, CircuitOpen, PaceExceeded
from resilient_client.protection import BreakerConfig, BudgetConfig, BulkheadConfig, HedgeConfig
from resilient_client.sandbox import Sandbox
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_client.observers import CallEvent, GiveUpEvent

ROOMY = policy(pace={"budget": 100, "per": 10})
PARKING = BreakerConfig(in_a_row=1, successes=1, jitter=0, park=True)
EVERYTHING: dict[str, Any] = {
    "pace": True,
    "breaker": BreakerConfig(min_calls=5, in_a_row=5, open_for=0.5),
    "hedge": HedgeConfig(extra_load=0.5, min_samples=1),
    "bulkhead": 3,
}


# ------------------------------------------------------------------------------------ what they do to each other


@pytest.mark.parametrize("way", WAYS)
def test_who_waits_for_room_is_not_sent_to_a_host_that_has_failed_meanwhile(way: str) -> None:
    """Six callers of a bulkhead of one: the breaker opens after two failures, and the other four are refused."""

    async def scenario() -> None:
        clock = HandClock()
        host = Host(way, lambda _: httpx.Response(500), clock=clock, takes=lambda _: 1.0)
        breaker = BreakerConfig(in_a_row=2, open_for=10)
        async with Caller(way, clock=clock, bulkhead=1, breaker=breaker, transport=host.transport) as client:
            guard = guard_of(client)
            async with Crew(way) as crew:
                for _ in range(6):
                    crew.start(client.post, BASE)
                await crew.until(lambda: guard.bulkhead.waiting == 5)
                await crew.play(clock, queued=lambda: guard.bulkhead.waiting)
            assert len(host.arrived) == 2
            assert sum(isinstance(result, CircuitOpen) for result in crew.ended) == 4
            assert left_in(guard) == {}

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_who_waits_for_a_turn_is_one_probe_and_not_many(way: str) -> None:
    """Ten fail at once while ten wait for their turn: when it comes the host has just begun to recover, and meets one probe."""

    async def scenario() -> None:
        clock = HandClock()
        host = Host(
            way,
            lambda _: httpx.Response(500 if clock.monotonic() < 5 else 200),
            clock=clock,
            takes=lambda _: 3.0,
        )
        given = policy(pace={"budget": 10, "per": 10})
        breaker = BreakerConfig(in_a_row=10, open_for=5, jitter=0)
        async with Caller(
            way, given, clock=clock, pace=True, breaker=breaker, transport=host.transport
        ) as client:
            async with Crew(way) as crew:
                for _ in range(20):
                    crew.start(client.post, BASE)
                await crew.until(lambda: clock.sleeping == 20)
                await crew.play(clock)
            assert sum(at > 5 for at in host.at) == 1
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_units_do_not_run_out_while_their_caller_waits_for_room(way: str) -> None:
    """The first answer takes 100 seconds: those behind it do not come as a crowd, and the budget holds."""

    async def scenario() -> None:
        clock = HandClock()
        host = Host(way, clock=clock, takes=lambda request: 100.0 if request.url.path == "/first" else 0.1)
        given = policy(pace={"budget": 2, "per": 10})
        async with Caller(way, given, clock=clock, pace=True, bulkhead=1, transport=host.transport) as client:
            guard = guard_of(client)
            async with Crew(way) as crew:
                crew.start(client.get, f"{BASE}/first")
                await crew.until(lambda: host.now == 1)
                for _ in range(7):
                    crew.start(client.get, BASE)
                await crew.play(clock, queued=lambda: guard.bulkhead.waiting)
            assert [result.status_code for result in crew.ended] == [200] * 8
            for start in host.at:
                assert sum(start <= at < start + 10 for at in host.at) <= 2
            assert host.at[1] == pytest.approx(100)
            assert host.at[-1] < 100 + 4 * 10.5
            assert left_in(guard) == {}

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_bulkhead_and_a_pace_do_not_stall_each_other(way: str) -> None:
    """Twelve calls of five seconds, one at a time, two of them in ten seconds: each goes as soon as both allow it."""

    async def scenario() -> None:
        clock = HandClock()
        host = Host(way, clock=clock, takes=lambda _: 5.0)
        given = policy(pace={"budget": 2, "per": 10})
        async with Caller(way, given, clock=clock, pace=True, bulkhead=1, transport=host.transport) as client:
            guard = guard_of(client)
            async with Crew(way) as crew:
                for _ in range(12):
                    crew.start(client.get, BASE)
                await crew.play(clock, queued=lambda: guard.bulkhead.waiting)
            assert [result.status_code for result in crew.ended] == [200] * 12
            # A unit is held from the sending until ten seconds after the answer: two calls in each 15 seconds.
            assert host.at[-1] == pytest.approx(5 * 15 + 5, abs=1)
            assert host.most == 1

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("queued", [0.0, 0.5])
def test_a_parked_call_holds_no_room(way: str, queued: float) -> None:
    """Where it did, the probe could wait for the room of those that wait for the probe. On a virtual clock no time need pass."""

    async def scenario() -> None:
        clock, down = HandClock(), True
        host = Host(way, lambda _: httpx.Response(503 if down else 200))
        async with Caller(
            way, clock=clock, deadline=60, bulkhead=1, breaker=PARKING, transport=host.transport
        ) as client:
            guard = guard_of(client)
            async with Crew(way) as crew:
                host.gates["/first"] = crew.event()
                crew.start(client.post, f"{BASE}/first")
                await crew.until(lambda: host.now == 1)
                for _ in range(3):
                    crew.start(client.get, BASE)
                await crew.until(lambda: guard.bulkhead.waiting == 3)
                clock.advance(queued)
                host.gates["/first"].set()
                await crew.until(lambda: len(crew.ended) == 1 and clock.sleeping == 3)
                assert left_in(guard) == {"crowd": 3, "parked": 3}
                down = False
                await crew.play(clock, queued=lambda: guard.bulkhead.waiting)
            assert [result.status_code for result in crew.ended] == [503, 200, 200, 200]
            assert clock.monotonic() < queued + 1 + PARKING.ramp + 1
            assert left_in(guard) == {}

    run(way, scenario)


# ------------------------------------------------------------------------------------------------ who hears of it


class Ears:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.ends: list[GiveUpEvent] = []

    @contextmanager
    def around(self, _event: CallEvent) -> Iterator[None]:
        self.heard.append("begins")
        yield
        self.heard.append("over")

    def on_attempt(self, _event: CallEvent) -> None:
        self.heard.append("attempt")

    def on_give_up(self, event: GiveUpEvent) -> None:
        self.heard.append("give_up")
        self.ends.append(event)


def test_observers_hear_of_a_call_that_was_refused() -> None:
    """No attempt, one end, with the error that is raised and the reason."""
    ears = Ears()
    with ResilientClient(
        clock=VirtualClock(),
        observers=[ears],
        breaker=BreakerConfig(in_a_row=1),
        transport=httpx.MockTransport(lambda _: httpx.Response(503)),
    ) as client:
        client.post(BASE)
        ears.heard.clear()
        with pytest.raises(CircuitOpen) as caught:
            client.post(BASE)
    assert ears.heard == ["begins", "give_up"]
    assert ears.ends[-1].error is caught.value
    assert ears.ends[-1].reason == "circuit_open"
    assert ears.ends[-1].outcome.attempts == ()


def test_observers_hear_why_a_retry_was_not_made() -> None:
    """Reason budget_exhausted, with the attempt."""
    ears = Ears()
    with ResilientClient(
        clock=VirtualClock(),
        observers=[ears],
        budget=BudgetConfig(capacity=14, crowd=0),
        transport=httpx.MockTransport(lambda _: httpx.Response(503)),
    ) as client:
        client.get(BASE)
        ears.heard.clear()
        client.get(BASE)
    assert ears.heard == ["begins", "attempt", "give_up", "over"]
    assert ears.ends[-1].reason == "budget_exhausted"
    assert [attempt.status for attempt in ears.ends[-1].outcome.attempts] == [503]


@pytest.mark.parametrize("refused", ["circuit_open", "deadline", "bulkhead_full", "budget_exhausted"])
def test_a_give_up_is_logged_once_and_without_secrets(refused: str, caplog: pytest.LogCaptureFixture) -> None:
    """At WARNING, whichever protection it was."""
    options: dict[str, dict[str, Any]] = {
        "circuit_open": {"breaker": BreakerConfig(in_a_row=1)},
        "deadline": {"pace": True, "deadline": 5},
        "bulkhead_full": {"bulkhead": BulkheadConfig(1, queue=0)},
        "budget_exhausted": {"budget": BudgetConfig(capacity=14, crowd=0)},
    }
    with ResilientClient(
        policy(pace={"budget": 1, "per": 60}),
        clock=VirtualClock(),
        auth=HmacAuth("the-public-key", "s3cret-half"),
        transport=httpx.MockTransport(lambda _: httpx.Response(503)),
        **options[refused],
    ) as client:
        if refused == "bulkhead_full":
            guard_of(client).bulkhead.acquire()
        elif refused == "budget_exhausted":
            client.get(BASE)
        else:
            client.post(BASE)
        caplog.clear()
        with caplog.at_level(logging.DEBUG, logger="resilient_client"):
            try:
                result: Any = client.get(
                    f"{BASE}/x?token=s3cret-query", headers={"Authorization": "Bearer s3cret-token"}
                )
            except httpx.TransportError as error:
                result = error
    assert outcome_of(result).reason == refused
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [getattr(record, "reason", None) for record in warnings] == [refused]
    assert "s3cret" not in caplog.text
    assert "the-public-key" not in caplog.text
    assert "s3cret" not in repr([vars(record) for record in caplog.records])


def test_raise_for_status_leaves_nothing_behind() -> None:
    """An error that is raised has given everything back, streamed or not."""
    with ResilientClient(
        ROOMY,
        clock=VirtualClock(),
        raise_for_status=True,
        pace=True,
        bulkhead=1,
        breaker=True,
        transport=httpx.MockTransport(lambda _: httpx.Response(404, stream=Chunks(b"no"))),
    ) as client:
        for _ in range(2):
            with pytest.raises(ApiError):
                client.get(BASE)
            with pytest.raises(ApiError), client.stream("GET", BASE):
                pass
        assert left_in(guard_of(client)) == {}


# -------------------------------------------------------------------------------------------- everything at a time


class Weather:
    """A server of which anything may be expected."""

    def __init__(self, draw: random.Random, clock: VirtualClock) -> None:
        self._draw = draw
        self._clock = clock

    def __call__(self, request: httpx.Request) -> httpx.Response:
        draw = self._draw
        self._clock.advance(0.001)
        errors = (httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError)
        if draw.random() < 0.15:
            raise draw.choice(errors)("fault", request=request)
        answers = [
            httpx.Response(draw.choice([500, 502, 503]), stream=Chunks(b"no")),
            httpx.Response(429, headers={"Retry-After": str(draw.randrange(3))}, stream=Chunks(b"{}")),
            httpx.Response(404, stream=Chunks(b'{"message": "none"}')),
            httpx.Response(200, stream=Chunks(b"half", httpx.ReadError("broke off"))),
            httpx.Response(200, stream=Chunks(b"who", b"le"), headers={"X-RateLimit-Remaining": "20"}),
        ]
        return draw.choices(answers, [3, 2, 2, 1, 9])[0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_calls_with_everything_on_leave_nothing_behind(way: str, seed: int) -> None:
    """Any faults in any order, streams read and streams left, some calls refused: at the end all engines are empty."""

    async def scenario() -> None:
        clock = VirtualClock()
        given = policy(pace={"budget": 40, "per": 10}, limits={"wait": 30})

        host = Host(way, Weather(random.Random(seed), clock))  # noqa: S311 - no secret
        async with Caller(
            way, given, clock=clock, transport=host.transport, timeout=5, **EVERYTHING
        ) as client:

            async def one(number: int) -> Any:
                ask = {"resilience": {"deadline": 20, "park": True}} if number % 3 else {}
                method = ("GET", "PUT", "POST", "DELETE")[number % 4]
                if number % 5:
                    return await client.request(method, BASE, extensions=ask)
                response = await client.open(method, BASE, extensions=ask)
                try:
                    return await client.read(response) if number % 2 else response
                finally:
                    await client.close(response)

            for _ in range(10):
                async with Crew(way) as crew:
                    for number in range(20):
                        crew.start(one, number)
                strange = [
                    result
                    for result in crew.ended
                    if not isinstance(result, bytes | httpx.Response | httpx.TransportError)
                ]
                assert strange == []
            guard = guard_of(client)
            assert left_in(guard) == {}
            assert not guard.crowd.asleep
            assert 0 <= guard.budget.level <= 500

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_sandbox_with_faults_is_brought_through_with_everything_on(way: str) -> None:
    """0trace, three faults in ten: every create is in the books once, and no engine holds anything."""

    async def scenario() -> None:
        sandbox = Sandbox("zerotrace", seed=7, clock=VirtualClock(), faults=0.3)
        order = {"fromCcy": "BTC", "toCcy": "ETH", "direction": "from", "amount": "0.01", "type": "fixed"}
        order["toAddress"] = "0x52908400098527886E0F7030069857D2E4169EE7"
        make: Callable[..., Any] = sandbox.client if way == "threads" else sandbox.async_client
        made = make(library="httpx", pace=True, breaker=True, bulkhead=5)
        results: list[Any] = []
        for _ in range(60):
            try:
                result = made.post("/v1/create", json=order)
                results.append(result if way == "threads" else await result)
            except httpx.TransportError as error:
                results.append(error)
        good = [result for result in results if isinstance(result, httpx.Response) and result.is_success]
        assert len(good) > 40
        assert len({result.json()["data"]["id"] for result in good}) == len(good)
        assert left_in(guard_of(made, sandbox.base_url)) == {}

    run(way, scenario)


def test_the_kinds_of_refusals_are_kinds_of_httpx() -> None:
    """Whoever catches httpx's errors catches these."""
    assert issubclass(CircuitOpen, httpx.TransportError)
    assert issubclass(PaceExceeded, httpx.PoolTimeout)
    assert issubclass(BulkheadFull, httpx.PoolTimeout)
