"""Hedging as a caller meets it: a late answer is asked for once more, where that does no harm, and costs no more than it may.

Law of this file: the delay is a millisecond, and the first request waits for what its hedge does. Only to see that no hedge
comes is time spent: many delays.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from crew import BASE, TASKS, Crew, HandClock, guard_of, left_in, policy
from loopback import WAYS, Caller, Exchange, Loopback, page, run
from scenario import Chunks

from resilient_client import HmacAuth, outcome_of
from resilient_client.protection import BreakerConfig, BudgetConfig, HedgeConfig

if TYPE_CHECKING:
    from collections.abc import Callable

EAGER = HedgeConfig(extra_load=0.5, min_samples=1)  # every other request may be hedged, after a millisecond


class Pair:
    """A server whose answers are quick until the n-th request, which waits until it is let go; it keeps all requests."""

    def __init__(self, way: str, crew: Crew, answer: Callable[[int], httpx.Response]) -> None:
        self.way = way
        self.requests: list[httpx.Request] = []
        self.late: int | None = None  # the number of the request that waits
        self.let_go = crew.event()
        self.hedged = crew.event()
        self.gone: list[int] = []  # requests that are over, or cancelled
        self.most = 0
        self._answer = answer

    @property
    def transport(self) -> httpx.MockTransport:
        """What leads to it."""
        return httpx.MockTransport(self._serve if self.way == "threads" else self._aserve)

    def _serve(self, request: httpx.Request) -> httpx.Response:
        number = self._come(request)
        if number == self.late:
            assert self.let_go.wait(10)
        self.gone.append(number)
        return self._answer(number)

    async def _aserve(self, request: httpx.Request) -> httpx.Response:
        number = self._come(request)
        try:
            if number == self.late:
                await self.let_go.wait()
        finally:
            self.gone.append(number)
        return self._answer(number)

    def _come(self, request: httpx.Request) -> int:
        self.requests.append(request)
        self.most = max(self.most, len(self.requests) - len(self.gone))
        if self.late is not None and len(self.requests) > self.late:
            self.hedged.set()
        return len(self.requests)


async def learn(client: Caller, clock: HandClock, pair: Pair) -> None:
    """Make enough quick calls that the next request may be hedged, and let that one be late."""
    for _ in range(4):
        await client.get(BASE)
    clock.advance(2)  # until then it is settled that too little is known
    pair.late = len(pair.requests) + 1


async def not_hedged(crew: Crew, pair: Pair, call: Callable[[], Any]) -> httpx.Response | Exception:
    """Make a call whose first answer is late by thirty delays, and see that it stays the only request of it."""
    crew.start(call)
    late = pair.late
    assert late is not None
    await crew.until(lambda: len(pair.requests) == late)
    crew.start(_thirty_delays, crew)
    await crew.until(lambda: bool(crew.ended))
    assert len(pair.requests) == late
    pair.let_go.set()
    await crew.until(lambda: len(crew.ended) == 2)
    return crew.ended[1]  # type: ignore[no-any-return]  # a response or an exception


async def _thirty_delays(crew: Crew) -> None:
    """Wait for thirty milliseconds: what is not there after that was not going to come."""
    last = time.monotonic() + 0.03
    await crew.until(lambda: time.monotonic() > last)


def ok(_number: int) -> httpx.Response:
    return httpx.Response(200)


# ----------------------------------------------------------------------------------------------------- the winner


@pytest.mark.parametrize("way", WAYS)
def test_a_late_answer_is_asked_for_once_more(way: str) -> None:
    """The hedge's answer is whole, the outcome counts the hedge, and the other one's answer is closed."""

    async def scenario() -> None:
        clock = HandClock()
        bodies: dict[int, Chunks] = {}

        def answer(number: int) -> httpx.Response:
            bodies[number] = Chunks(b"ans", b"wer %d" % number)
            return httpx.Response(200, stream=bodies[number])

        async with Crew(way) as crew:
            pair = Pair(way, crew, answer)
            async with Caller(way, clock=clock, hedge=EAGER, transport=pair.transport) as client:
                await learn(client, clock, pair)
                response = await client.get(BASE)
                assert response.text == "answer 6"
                outcome = outcome_of(response)
                assert (outcome.hedges, len(outcome.attempts), outcome.reason) == (1, 1, "success")
                assert outcome.maybe_applied is False
                pair.let_go.set()
                await crew.until(lambda: set(pair.gone) >= {5, 6})
                if way == "threads":
                    await crew.until(lambda: 5 in bodies and bodies[5].closed)
                assert all(body.closed for body in bodies.values())
                assert left_in(guard_of(client)) == {}

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_in_time_is_not_asked_for_twice(way: str) -> None:
    """No hedge, none counted."""

    async def scenario() -> None:
        clock = HandClock()
        slow = HedgeConfig(extra_load=0.5, min_samples=1, min_delay=60)
        async with Crew(way) as crew:
            pair = Pair(way, crew, ok)
            async with Caller(way, clock=clock, hedge=slow, transport=pair.transport) as client:
                for _ in range(8):
                    response = await client.get(BASE)
                    clock.advance(2)
                assert len(pair.requests) == 8
                assert outcome_of(response).hedges == 0

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_hedged_before_enough_is_known(way: str) -> None:
    """`hedge=0.05` asks for a hundred answers first."""

    async def scenario() -> None:
        clock = HandClock()
        async with Crew(way) as crew:
            pair = Pair(way, crew, ok)
            async with Caller(way, clock=clock, hedge=0.05, transport=pair.transport) as client:
                await learn(client, clock, pair)
                await not_hedged(crew, pair, lambda: client.get(BASE))

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_large_answer_of_the_winner_comes_whole_over_a_socket(way: str) -> None:
    """The end of the race cuts nothing, and the pool is usable afterwards."""

    async def scenario() -> None:
        body = bytes(range(256)) * 2000

        def answer(exchange: Exchange) -> None:
            if exchange.target == "/late" and not any(
                other.target == "/late" for other in exchange.server.exchanges[: exchange.number]
            ):
                exchange.wait(3)
                exchange.hang_up()
                return
            exchange.say(page(200, body))

        clock = HandClock()
        with Loopback(answer) as server:
            limits = httpx.Limits(max_connections=2)
            async with Caller(way, clock=clock, hedge=EAGER, limits=limits) as client:
                for _ in range(4):
                    await client.get(server.url)
                clock.advance(2)
                response = await client.get(f"{server.url}/late")
                assert response.content == body
                assert outcome_of(response).hedges == 1
                assert (await client.get(server.url)).content == body
            server.stopping.set()

    run(way, scenario)


# -------------------------------------------------------------------------------------------------- what is hedged


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("method", "ask"),
    [("POST", {}), ("PATCH", {}), ("PUT", {}), ("DELETE", {}), ("GET", {"retry": False})],
    ids=["POST", "PATCH", "PUT", "DELETE", "retry: False"],
)
def test_what_might_do_harm_is_not_hedged(way: str, method: str, ask: dict[str, Any]) -> None:
    """Two DELETEs side by side: the caller might be told 404 of what has just been deleted."""

    async def scenario() -> None:
        clock = HandClock()
        async with Crew(way) as crew:
            pair = Pair(way, crew, ok)
            async with Caller(way, clock=clock, hedge=EAGER, transport=pair.transport) as client:
                await learn(client, clock, pair)
                response = await not_hedged(
                    crew, pair, lambda: client.request(method, BASE, extensions={"resilience": ask})
                )
                assert outcome_of(response).hedges == 0

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_can_be_sent_once_is_not_hedged(way: str) -> None:
    """Whatever the caller says of the request."""

    async def scenario() -> None:
        clock = HandClock()

        async def body() -> Any:
            yield b"once"

        async with Crew(way) as crew:
            pair = Pair(way, crew, ok)
            async with Caller(way, clock=clock, hedge=EAGER, transport=pair.transport) as client:
                await learn(client, clock, pair)
                content = iter([b"once"]) if way == "threads" else body()
                await not_hedged(
                    crew,
                    pair,
                    lambda: client.post(
                        BASE, content=content, extensions={"resilience": {"idempotent": True}}
                    ),
                )

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_hedge_has_its_own_nonce_and_the_same_key_and_body(way: str) -> None:
    """A create of 0trace: signed anew, and one order."""

    async def scenario() -> None:
        clock = HandClock()
        async with Crew(way) as crew:
            pair = Pair(way, crew, lambda _: httpx.Response(200, json={"code": 0}))
            async with Caller(
                way,
                "zerotrace",
                clock=clock,
                hedge=EAGER,
                auth=HmacAuth("key", "secret"),
                transport=pair.transport,
            ) as client:
                await learn(client, clock, pair)
                response = await client.post(f"{BASE}/v1/create", json={"amount": "1"})
                assert outcome_of(response).hedges == 1
                first, second = pair.requests[-2:]
                assert first.headers["X-API-NONCE"] != second.headers["X-API-NONCE"]
                assert first.headers["X-API-SIGN"] == second.headers["X-API-SIGN"]
                assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
                assert first.headers["Idempotency-Key"] == outcome_of(response).idempotency_key
                assert first.content == second.content
                pair.let_go.set()

    run(way, scenario)


# ---------------------------------------------------------------------------------------------------- what it costs


@pytest.mark.parametrize("way", WAYS)
def test_no_more_is_hedged_than_the_extra_load_allows(way: str) -> None:
    """Four calls at one half have saved up two hedges, and the third late call after them has none."""

    async def scenario() -> None:
        clock = HandClock()
        async with Crew(way) as crew:
            pair = Pair(way, crew, ok)
            config = HedgeConfig(extra_load=0.25, min_samples=1, burst=1)
            async with Caller(way, clock=clock, hedge=config, transport=pair.transport) as client:
                await learn(client, clock, pair)
                assert outcome_of(await client.get(BASE)).hedges == 1
                pair.let_go.set()
                await crew.until(lambda: len(pair.gone) == len(pair.requests))
                pair.late, pair.let_go = len(pair.requests) + 1, crew.event()
                await not_hedged(crew, pair, lambda: client.get(BASE))

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("used_up", ["retry budget", "pace", "bulkhead", "breaker"])
def test_a_hedge_has_to_have_room_everywhere(way: str, used_up: str) -> None:
    """It takes what a retry takes: nothing is left, nothing is hedged, and nothing is taken for it."""

    async def scenario() -> None:
        clock = HandClock()
        settings: dict[str, dict[str, Any]] = {
            "retry budget": {"budget": BudgetConfig(capacity=5, transient=5, first_try=0, crowd=0)},
            "pace": {"pace": True},
            "bulkhead": {"bulkhead": 1},
            "breaker": {"breaker": BreakerConfig(in_a_row=1, successes=9, jitter=0)},
        }
        given = policy(pace={"budget": 5, "per": 1000})
        async with Crew(way) as crew:
            pair = Pair(way, crew, ok)
            async with Caller(
                way, given, clock=clock, hedge=EAGER, transport=pair.transport, **settings[used_up]
            ) as client:
                guard = guard_of(client)
                if used_up == "retry budget":
                    guard.budget.take(clock.monotonic())
                if used_up == "breaker":
                    guard.breaker.admit(0.0).failed(0.0)
                    clock.advance(1)
                await learn(client, clock, pair)
                await not_hedged(crew, pair, lambda: client.get(BASE))
                assert pair.most == 1
                assert left_in(guard) == {}

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_hedge_pays_for_itself(way: str) -> None:
    """5 tokens of the retry budget, its units of the pace, a place of the bulkhead; what is to be given back is."""

    async def scenario() -> None:
        clock = HandClock()
        given = policy(pace={"budget": 10, "per": 1000})
        async with Crew(way) as crew:
            pair = Pair(way, crew, ok)
            async with Caller(
                way, given, clock=clock, hedge=EAGER, pace=True, bulkhead=2, transport=pair.transport
            ) as client:
                await learn(client, clock, pair)
                guard = guard_of(client)
                crew.start(client.get, BASE)
                await crew.until(pair.hedged.is_set)
                await crew.until(lambda: len(crew.ended) == 1)
                assert outcome_of(crew.ended[0]).hedges == 1
                pair.let_go.set()
                assert guard.budget.level == 496  # and one for the call that succeeded at first
                _, pacer = guard.paces[0]
                assert pacer._windows[0].used(clock.monotonic()) == 6
                assert left_in(guard) == {}

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_hedged_answer_that_is_streamed_holds_one_place(way: str) -> None:
    """The other request's place comes back when the race is over, and not when the download is."""

    async def scenario() -> None:
        clock = HandClock()
        async with Crew(way) as crew:
            pair = Pair(way, crew, lambda _: httpx.Response(200, stream=Chunks(b"long")))
            async with Caller(way, clock=clock, hedge=EAGER, bulkhead=2, transport=pair.transport) as client:
                await learn(client, clock, pair)
                response = await client.open("GET", BASE)
                pair.let_go.set()
                assert outcome_of(response).hedges == 1
                assert left_in(guard_of(client)) == {"places": 1}
                await client.close(response)
                assert left_in(guard_of(client)) == {}

    run(way, scenario)


# ------------------------------------------------------------------------------------------------------ how it ends


@pytest.mark.parametrize("way", WAYS)
def test_both_bad_is_one_failed_attempt_that_is_retried(way: str) -> None:
    """A race is one attempt: its verdict is that of the answer that counts."""

    async def scenario() -> None:
        clock = HandClock()
        async with Crew(way) as crew:
            pair = Pair(way, crew, lambda number: httpx.Response(503 if number in {5, 6} else 200))
            async with Caller(way, clock=clock, hedge=EAGER, transport=pair.transport) as client:
                await learn(client, clock, pair)
                crew.start(client.get, BASE)
                await crew.until(pair.hedged.is_set)
                pair.let_go.set()
                await crew.play(clock)
                outcome = outcome_of(crew.ended[0])
                assert [attempt.status for attempt in outcome.attempts] == [503, 200]
                assert outcome.hedges == 1
                assert left_in(guard_of(client)) == {}

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_hedged_call_under_a_deadline_has_its_own_timeouts_back(way: str) -> None:
    """Both requests shrink to what is left; the winner's body is the caller's to read in its own time."""

    async def scenario() -> None:
        clock = HandClock()
        async with Crew(way) as crew:
            pair = Pair(way, crew, ok)
            async with Caller(
                way, clock=clock, hedge=EAGER, deadline=3, timeout=5, transport=pair.transport
            ) as client:
                await learn(client, clock, pair)
                response = await client.get(BASE)
                assert outcome_of(response).hedges == 1
                second = pair.requests[-1]
                assert second.extensions["timeout"]["read"] == 5
                pair.let_go.set()

    run(way, scenario)


@pytest.mark.parametrize("way", TASKS)
def test_a_hedged_call_that_is_cancelled_leaves_nothing_behind(way: str) -> None:
    """Neither of the two requests, no place, no turn."""

    async def scenario() -> None:
        clock = HandClock()
        given = policy(pace={"budget": 100, "per": 10})
        async with Crew(way) as outer:
            pair = Pair(way, outer, ok)
            async with Caller(
                way,
                given,
                clock=clock,
                hedge=EAGER,
                pace=True,
                bulkhead=5,
                breaker=True,
                transport=pair.transport,
            ) as client:
                await learn(client, clock, pair)
                async with Crew(way) as crew:
                    crew.start(client.get, BASE)
                    await crew.until(lambda: len(pair.requests) == 5)
                    crew.cancel()
                assert sorted(pair.gone) == list(range(1, len(pair.requests) + 1))
                assert left_in(guard_of(client)) == {}

    run(way, scenario)


@pytest.mark.parametrize(
    ("hedge", "problem"),
    [
        (0.9, "extra_load must be a share above 0, at most 0.5"),
        (1, "hedge is True or False, the extra load as a share"),
        ("5%", "hedge is True or False, the extra load as a share"),
    ],
)
def test_a_hedge_that_cannot_be_is_refused(hedge: Any, problem: str) -> None:
    """When the client is made."""
    with pytest.raises((TypeError, ValueError), match=re.escape(problem)):
        Caller("threads", hedge=hedge)
