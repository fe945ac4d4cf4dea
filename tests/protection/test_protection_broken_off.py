"""Calls that are broken off, by a cancellation or a Ctrl-C, wherever they are: no engine holds anything of them afterwards."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import httpx
import pytest
from crew import BASE, TASKS, Crew, HandClock, Host, StopIt, guard_of, left_in, policy
from loopback import WAYS, Caller, run
from scenario import Chunks

from resilient_client import ResilientClient
from resilient_client.protection import BreakerConfig, HedgeConfig
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from resilient_client.observers import CallEvent

ROOMY = policy(pace={"budget": 100, "per": 10})
PARKING = BreakerConfig(in_a_row=1, successes=1, jitter=0, park=True)
SETS: dict[str, dict[str, Any]] = {
    "the budget alone": {},
    "pace, breaker, bulkhead": {"pace": True, "breaker": True, "bulkhead": 1},
    "a park": {"breaker": PARKING, "bulkhead": 1},
    "a hedge": {"hedge": HedgeConfig(min_samples=1), "bulkhead": 1},
}


@pytest.mark.parametrize("way", TASKS)
@pytest.mark.parametrize(
    "where", ["in the park", "in the queue", "in the line", "at the server", "in the backoff"]
)
def test_a_cancelled_call_leaves_nothing_behind_wherever_it_was(way: str, where: str) -> None:
    """No ticket, no place, no turn, no permit, no member of the crowd."""

    async def scenario() -> None:
        clock = HandClock()
        status = 503 if where in {"in the park", "in the backoff"} else 200
        host = Host(way, lambda _: httpx.Response(status))
        given = policy(pace={"budget": 1 if where == "in the line" else 100, "per": 10})
        breaker = BreakerConfig(in_a_row=1 if where == "in the park" else 50, jitter=0, park=True)
        limit = 1 if where == "in the queue" else 50
        async with Caller(
            way,
            given,
            clock=clock,
            deadline=60,
            pace=True,
            breaker=breaker,
            bulkhead=limit,
            transport=host.transport,
        ) as client:
            guard = guard_of(client)
            if where in {"in the park", "in the line"}:
                await client.post(BASE)
            async with Crew(way) as crew:
                if where in {"in the queue", "at the server"}:
                    host.gates["/"] = crew.event()
                for _ in range(5):
                    crew.start(client.get, BASE)
                waits = {
                    "in the queue": lambda: guard.bulkhead.waiting == 4,
                    "at the server": lambda: host.now == 5,
                }.get(where, lambda: clock.sleeping == 5)
                await crew.until(waits)
                crew.cancel()
            assert left_in(guard) == {}
            assert not guard.crowd.asleep

    run(way, scenario)


class InterruptedClock(VirtualClock):
    """A clock that is interrupted at the n-th look at it: between any two steps of a call."""

    def __init__(self, nth: int) -> None:
        super().__init__()
        self.looks = 0
        self.on = True
        self._nth = nth

    def _look(self) -> None:
        if self.on:
            self.looks += 1
            if self.looks == self._nth:
                raise StopIt

    def time(self) -> float:
        self._look()
        return super().time()

    def monotonic(self) -> float:
        self._look()
        return super().monotonic()

    def sleep(self, seconds: float, /) -> None:
        self._look()
        super().sleep(seconds)


# Nothing closes the generators that an exception leaves behind between two chunks, and trio says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("deadline", [None, 500])
@pytest.mark.parametrize("protections", SETS)
def test_an_interrupt_between_any_two_steps_leaves_nothing_behind(
    way: str, deadline: float | None, protections: str
) -> None:
    """Two failures and a success, interrupted at every look at the clock in turn: all bodies are closed, all engines empty."""

    async def scenario() -> None:
        for nth in range(1, 60):
            clock = InterruptedClock(nth)
            bodies: list[Chunks] = []

            def answer(_request: httpx.Request, bodies: list[Chunks] = bodies) -> httpx.Response:
                bodies.append(Chunks(b"body"))
                return httpx.Response(503 if len(bodies) < 3 else 200, stream=bodies[-1])

            options = SETS[protections]
            async with Caller(
                way, ROOMY, clock=clock, deadline=deadline, transport=Host(way, answer).transport, **options
            ) as client:
                interrupted = False
                try:
                    assert (await client.get(BASE)).content == b"body"
                except StopIt:
                    interrupted = True
                clock.on = False
                assert left_in(guard_of(client)) == {}, nth
                assert all(body.closed for body in bodies), nth
            if not interrupted:
                assert nth > 5
                return
        raise AssertionError("it was interrupted for ever")

    run(way, scenario)
    gc.collect()  # those generators are this test's


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("protections", SETS)
@pytest.mark.parametrize("failures", [0, 1, 2])
def test_an_interrupt_in_the_transport_leaves_nothing_behind(
    way: str, protections: str, failures: int
) -> None:
    """A Ctrl-C while the answer is awaited, at the first attempt and at later ones."""

    async def scenario() -> None:
        asked = 0

        def answer(_request: httpx.Request) -> httpx.Response:
            nonlocal asked
            asked += 1
            if asked > failures:
                raise StopIt
            return httpx.Response(503)

        async with Caller(
            way,
            ROOMY,
            clock=VirtualClock(),
            deadline=500,
            transport=Host(way, answer).transport,
            **SETS[protections],
        ) as client:
            with pytest.raises(StopIt):
                await client.get(BASE)
            assert asked == failures + 1
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as above
@pytest.mark.parametrize("way", TASKS)
@pytest.mark.parametrize("deadline", [None, 500])
@pytest.mark.parametrize("protections", SETS)
def test_a_cancellation_at_any_turn_of_the_loop_leaves_nothing_behind(
    way: str, deadline: float | None, protections: str
) -> None:
    """Two failures and a success, cancelled at every turn: all bodies are closed, all engines empty."""

    async def scenario() -> None:
        for nth in range(100):
            bodies: list[Chunks] = []

            def answer(_request: httpx.Request, bodies: list[Chunks] = bodies) -> httpx.Response:
                bodies.append(Chunks(b"body"))
                return httpx.Response(503 if len(bodies) < 3 else 200, stream=bodies[-1])

            async with Caller(
                way,
                ROOMY,
                clock=VirtualClock(),
                deadline=deadline,
                transport=Host(way, answer).transport,
                **SETS[protections],
            ) as client:
                async with Crew(way) as crew:
                    crew.start(client.get, BASE)
                    for _ in range(nth):
                        await anyio.lowlevel.checkpoint()
                    crew.cancel()
                assert left_in(guard_of(client)) == {}, nth
                assert not guard_of(client).crowd.asleep, nth
                assert all(body.closed for body in bodies), nth
            if crew.ended:
                assert nth > 1
                return
        raise AssertionError("it never ended")

    run(way, scenario)
    gc.collect()


@pytest.mark.parametrize("moment", ["around", "on_attempt", "on_retry", "on_success", "on_give_up"])
@pytest.mark.parametrize("status", [200, 503])
def test_an_observer_that_is_interrupted_leaves_nothing_behind(moment: str, status: int) -> None:
    """A Ctrl-C while somebody is being told."""

    class Watcher:
        def interrupt(self, _event: CallEvent) -> Any:
            raise StopIt

    setattr(Watcher, moment, Watcher.interrupt)
    with ResilientClient(
        clock=VirtualClock(),
        observers=[Watcher()],  # type: ignore[list-item]  # it has the one method that is asked for
        bulkhead=1,
        breaker=True,
        transport=httpx.MockTransport(lambda _: httpx.Response(status, stream=Chunks(b"body"))),
    ) as client:
        told = {"around", "on_attempt"} | ({"on_success"} if status == 200 else {"on_retry", "on_give_up"})
        if moment in told:
            with pytest.raises(StopIt):
                client.get(BASE)
        else:
            client.get(BASE)
        assert left_in(guard_of(client)) == {}
