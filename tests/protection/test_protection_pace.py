"""Pacing as a caller meets it: everybody in turn, never above the budget, and no wait begun that cannot fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from crew import BASE, TASKS, Crew, HandClock, Host, guard_of, left_in, policy
from loopback import WAYS, Caller, run
from scenario import answer, in_turn

from resilient_client import HmacAuth, PolicyError, ResilientClient, TokenAuth, load_policy
from resilient_client.errors import PaceExceeded
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from pathlib import Path

    from scenario import Run

FIVE = policy(pace={"budget": 5, "per": 10})
COSTS = policy(pace={"budget": 10, "per": 10, "cost": {"POST /big": 5, "GET /free": 0}})
ONCE = {"resilience": {"retry": False}}


class Book:
    """What a server has counted: (time, cost) of each request that came."""

    def __init__(self, clock: Any, *, cost: dict[str, float] | None = None, status: int = 200) -> None:
        self.entries: list[tuple[float, float]] = []
        self.status = status
        self.headers: dict[str, str] = {}
        self._clock = clock
        self._cost = cost or {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.entries.append((self._clock.monotonic(), self._cost.get(request.url.path, 1.0)))
        return httpx.Response(self.status, headers=self.headers)

    @property
    def times(self) -> list[float]:
        """When they came, in seconds."""
        return [at for at, _ in self.entries]

    def most(self, per: float) -> float:
        """Find the most units within any so many seconds."""
        return max(
            sum(cost for at, cost in self.entries if start <= at < start + per) for start, _ in self.entries
        )


def client_of(clock: VirtualClock, book: Any, given: Any = FIVE, **options: Any) -> ResilientClient:
    return ResilientClient(
        given, clock=clock, transport=httpx.MockTransport(book), **{"pace": True} | options
    )


# ------------------------------------------------------------------------------------------------- whose turn it is


def test_it_is_off_unless_it_is_switched_on() -> None:
    """A policy that states a budget changes nothing by itself."""
    clock = VirtualClock()
    book = Book(clock)
    with client_of(clock, book, pace=False) as client:
        for _ in range(20):
            client.get(BASE)
    assert book.times == [0.0] * 20


def test_a_budget_may_be_given_by_keyword(run: Run) -> None:
    """`pace=(5, 10)`, for an API whose policy has none: every request costs 1."""
    clock = VirtualClock()
    book = Book(clock)
    for _ in range(6):
        run(None, book, client={"pace": (5, 10)}, clock=clock)
    assert book.times[:5] == [0.0] * 5
    assert book.times[5] == pytest.approx(10, abs=0.1)


def test_the_sixth_call_waits_for_its_turn(run: Run) -> None:
    """Five at once, then one when the first has run out; the outcome tells how long it waited."""
    clock = VirtualClock()
    book = Book(clock)
    for _ in range(5):
        assert run(FIVE, book, client={"pace": True}, clock=clock).outcome.queued == 0
    ended = run(FIVE, book, client={"pace": True}, clock=clock)
    assert book.times[:5] == [0.0] * 5
    assert book.times[5] == pytest.approx(10, abs=0.1)
    assert book.times[5] > 10
    assert ended.outcome.queued == ended.outcome.attempts[0].queued == book.times[5]
    assert ended.outcome.slept == 0
    assert ended.outcome.elapsed == pytest.approx(book.times[5])


def test_costs_are_counted_and_what_costs_nothing_is_free(run: Run) -> None:
    """Two calls of 5 use the budget up; a free one goes on."""
    clock = VirtualClock()
    book = Book(clock)
    for _ in range(2):
        run(COSTS, book, "POST", "/big", client={"pace": True}, clock=clock)
    for _ in range(50):
        run(COSTS, book, "GET", "/free", client={"pace": True}, clock=clock)
    assert set(book.times) == {0.0}
    run(COSTS, book, "GET", "/", client={"pace": True}, clock=clock)
    assert book.times[-1] > 10


def test_a_request_belongs_to_the_first_budget_that_counts_it() -> None:
    """Two budgets of one API do not touch each other, and what neither counts is not paced."""
    tables = [
        {"name": "search", "routes": ["GET /search"], "budget": 1, "per": 10},
        {"name": "reads", "routes": ["GET **"], "budget": 2, "per": 10},
    ]
    clock = VirtualClock()
    book = Book(clock)
    with client_of(clock, book, policy(pace=tables)) as client:
        client.get(f"{BASE}/search")
        client.get(f"{BASE}/items")
        client.get(f"{BASE}/items")
        for _ in range(10):
            client.post(f"{BASE}/items")
        assert clock.sleeps == []
        client.get(f"{BASE}/search")
    assert book.times[-1] > 10


def test_the_shipped_tiers_of_dual_are_kept_with_their_bursts() -> None:
    """60 writes a minute, and no more than 10 of them within a second."""
    clock = VirtualClock()
    book = Book(clock)
    with client_of(clock, book, "dual") as client:
        for _ in range(75):
            client.post(f"{BASE}/objects", json={})
        client.get(f"{BASE}/objects")
    assert book.times[9] == 0.0
    assert book.most(1.0) == 10
    assert book.most(60.0) == 60
    assert book.times[75] == book.times[74]  # reads have a budget of their own


def test_zerotraces_weights_are_kept() -> None:
    """2500 units a minute, of which a create is 50."""
    clock = VirtualClock()
    cost = {"/v1/create": 50.0, "/v1/qr": 5.0}
    book = Book(clock, cost=cost)
    with client_of(clock, book, "zerotrace", auth=HmacAuth("key", "secret")) as client:
        for number in range(160):
            client.post(f"{BASE}{('/v1/create', '/v1/qr', '/v1/price')[number % 3]}", json={})
    assert 2450 <= book.most(60.0) <= 2500


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("takes", [0.0, 3.0])
def test_no_window_is_ever_above_the_budget(way: str, takes: float) -> None:
    """Forty callers at a time, of mixed weights, against a server that may take its time: in no ten seconds more than ten units."""

    async def scenario() -> None:
        clock = HandClock()
        book = Book(clock, cost={"/big": 5.0})
        host = Host(way, book, clock=clock, takes=lambda _: takes)
        async with Caller(way, COSTS, clock=clock, pace=True, transport=host.transport) as client:
            async with Crew(way) as crew:
                for number in range(40):
                    if number % 4:
                        crew.start(client.get, BASE)
                    else:
                        crew.start(client.post, f"{BASE}/big")
                    # In this order: how well large and small ones fill a window depends on it, and trio shuffles its tasks.
                    await crew.until(
                        lambda count=number + 1: clock.sleeping + (0 if takes else len(host.arrived)) == count  # type: ignore[misc]
                    )
                await crew.play(clock)
            assert [result.status_code for result in crew.ended] == [200] * 40
            arrived = Book(clock)
            arrived.entries = [
                (at, 5.0 if path == "/big" else 1.0) for at, path in zip(host.at, host.arrived, strict=True)
            ]
            # Whichever of the two the server counts by. A large one does not fit into what three small ones leave.
            assert 8 <= arrived.most(10.0) <= 10
            assert 8 <= book.most(10.0) <= 10
            assert host.at[-1] < 10 * (10.1 + takes)  # and it is used
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_callers_go_in_the_order_in_which_they_came(way: str) -> None:
    """Nobody overtakes, not even a small request a large one."""

    async def scenario() -> None:
        clock = HandClock()
        host = Host(way, clock=clock)
        async with Caller(way, COSTS, clock=clock, pace=True, transport=host.transport) as client:
            for _ in range(8):
                await client.get(BASE)
            async with Crew(way) as crew:
                crew.start(client.post, f"{BASE}/big")
                await crew.until(lambda: clock.sleeping == 1)
                for number in range(9):
                    crew.start(client.get, f"{BASE}/{number}")
                    await crew.until(lambda count=number + 2: clock.sleeping == count)  # type: ignore[misc]
                await crew.play(clock)
            # Those of one moment are in no order of their own.
            assert set(host.arrived[8:14]) == {"/big", "/0", "/1", "/2", "/3", "/4"}
            assert host.at[8:] == sorted(host.at[8:])

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_one_at_a_time_they_go_in_order(way: str) -> None:
    """A budget of one call: ten callers, each in their turn."""

    async def scenario() -> None:
        clock = HandClock()
        host = Host(way, clock=clock)
        given = policy(pace={"budget": 1, "per": 10})
        async with Caller(way, given, clock=clock, pace=True, transport=host.transport) as client:
            async with Crew(way) as crew:
                await client.get(f"{BASE}/first")
                for number in range(10):
                    crew.start(client.get, f"{BASE}/{number}")
                    await crew.until(lambda count=number + 1: clock.sleeping == count)  # type: ignore[misc]
                await crew.play(clock)
            assert host.arrived[1:] == [f"/{number}" for number in range(10)]
            assert all(later - sooner > 10 for sooner, later in zip(host.at, host.at[1:], strict=False))

    run(way, scenario)


@pytest.mark.parametrize("way", TASKS)
def test_whoever_is_cancelled_gives_the_place_back(way: str) -> None:
    """Those behind move up, and the budget is whole."""

    async def scenario() -> None:
        clock = HandClock()
        host = Host(way, clock=clock)
        async with Caller(way, FIVE, clock=clock, pace=True, transport=host.transport) as client:
            for _ in range(5):
                await client.get(BASE)
            async with Crew(way) as crew:
                for _ in range(20):
                    crew.start(client.get, BASE)
                await crew.until(lambda: clock.sleeping == 20)
                assert left_in(guard_of(client)) == {"crowd": 20, "line 0": 20}
                crew.cancel()
            assert left_in(guard_of(client)) == {}
            async with Crew(way) as crew:
                for _ in range(5):
                    crew.start(client.get, BASE)
                await crew.play(clock)
            assert host.at[5:] == [pytest.approx(10, abs=0.1)] * 5

    run(way, scenario)


# ------------------------------------------------------------------------------------------ what cannot be waited for


def test_a_wait_that_cannot_fit_the_deadline_is_not_begun(run: Run) -> None:
    """PaceExceeded at once, which is a PoolTimeout, and says when there is room."""
    clock = VirtualClock()
    book = Book(clock)
    for _ in range(5):
        run(FIVE, book, client={"pace": True}, clock=clock)
    ended = run(FIVE, book, client={"pace": True, "deadline": 5}, clock=clock)
    error = ended.error
    assert isinstance(error, PaceExceeded)
    assert isinstance(error, httpx.PoolTimeout)
    assert error.retry_after == pytest.approx(10, abs=0.1)
    assert error.retry_at == pytest.approx(clock.time() + error.retry_after)
    assert (ended.outcome.reason, ended.outcome.attempts) == ("deadline", ())
    assert clock.sleeps == []
    assert ended.requests == []
    clock.advance(error.retry_after)
    assert run(FIVE, book, client={"pace": True, "deadline": 5}, clock=clock).response.status_code == 200
    assert clock.sleeps == []


def test_a_wait_over_the_policys_longest_is_not_begun(run: Run) -> None:
    """Reason "wait_too_long", as for a server that asks for that much."""
    given = policy(pace={"budget": 1, "per": 30}, limits={"wait": 20})
    clock = VirtualClock()
    book = Book(clock)
    run(given, book, client={"pace": True}, clock=clock)
    ended = run(given, book, client={"pace": True}, clock=clock)
    assert isinstance(ended.error, PaceExceeded)
    assert ended.outcome.reason == "wait_too_long"
    assert clock.sleeps == []


def test_a_retry_whose_turn_is_too_far_away_gives_the_real_response(run: Run) -> None:
    """What the server said is worth more than a PaceExceeded that comes after the backoff."""
    given = policy(pace={"budget": 1, "per": 600})
    ended = run(given, lambda _: httpx.Response(503, text="down"), client={"pace": True})
    assert (ended.response.status_code, ended.response.text) == (503, "down")
    assert ended.outcome.reason == "wait_too_long"
    assert ended.clock.sleeps == []


def test_a_retry_whose_turn_is_past_the_deadline_gives_the_real_response(run: Run) -> None:
    """Reason "deadline", and nothing is slept."""
    given = policy(pace={"budget": 1, "per": 60})
    ended = run(given, lambda _: httpx.Response(503), client={"pace": True, "deadline": 30})
    assert ended.response.status_code == 503
    assert ended.outcome.reason == "deadline"
    assert ended.clock.sleeps == []


def test_a_policy_that_waits_for_nothing_sends_what_need_not_wait(run: Run) -> None:
    """`[limits] wait = 0` forbids waits, and nothing else: a call whose turn has come, a retry that is made at once."""
    once_more = {
        "name": "NONCE",
        "when": {"status": 401},
        "category": "auth",
        "retry": {"wait": 0, "retries": 1},
    }
    given = policy(pace={"budget": 5, "per": 10}, limits={"wait": 0}, rules=[once_more])
    for deadline in (None, 5):
        ended = run(given, in_turn(answer(401), answer(200)), client={"pace": True, "deadline": deadline})
        assert ended.response.status_code == 200
        assert ended.attempts == 2


@pytest.mark.parametrize(
    "table",
    [
        'budget = 10\nper = 60\ncost = { "POST /big" = 11 }',
        'budget = 100\nper = 60\nburst = 10\ncost = { "POST /big" = 11 }',
    ],
)
def test_a_cost_that_never_fits_is_an_error_of_the_policy(table: str, tmp_path: Path) -> None:
    """It is told when the file is loaded, by the route and the cost."""
    file = tmp_path / "acme.toml"
    file.write_text(f'extends = "default"\napi = "acme"\n[pace]\n{table}\n')
    with pytest.raises(PolicyError, match=r'(?s)acme\.toml.*"POST /big" costs 11 units'):
        load_policy(file)


def test_a_budget_that_the_usual_cost_never_fits_is_an_error_of_the_policy(tmp_path: Path) -> None:
    """What costs nothing else costs 1."""
    file = tmp_path / "acme.toml"
    file.write_text('extends = "default"\napi = "acme"\n[pace]\nbudget = 0.5\nper = 60\n')
    with pytest.raises(PolicyError, match=r"acme\.toml.*pace"):
        load_policy(file)


# ------------------------------------------------------------------------------------------- what the server says


@pytest.mark.parametrize(
    "headers",
    [
        {"RateLimit": '"default";r=0;t=7'},
        {"RateLimit-Limit": "5", "RateLimit-Remaining": "0", "RateLimit-Reset": "7"},
        {"X-RateLimit-Limit": "5", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "7"},
    ],
    ids=["RateLimit", "its drafts", "X-RateLimit"],
)
def test_an_answer_that_says_the_budget_is_used_up_is_believed(run: Run, headers: dict[str, str]) -> None:
    """Another process has spent it: the next call waits for the reset, though this one's own count has room."""
    clock = VirtualClock()
    book = Book(clock)
    book.headers = headers
    run(FIVE, book, client={"pace": True}, clock=clock)
    run(FIVE, book, client={"pace": True}, clock=clock)
    assert book.times == [0.0, pytest.approx(7, abs=0.1)]
    assert book.times[1] >= 7


def test_a_reset_that_is_far_away_is_asked_about_again(run: Run) -> None:
    """A clock gone wrong, or milliseconds for seconds: one header must not shut a host for ever."""
    clock = VirtualClock()
    book = Book(clock)
    book.headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9999999999"}
    run(FIVE, book, client={"pace": True}, clock=clock)
    clock.advance(3600)
    assert run(FIVE, book, client={"pace": True}, clock=clock).response.status_code == 200


def test_headers_without_sense_pace_nobody(run: Run) -> None:
    """Nonsense in, nothing learned."""
    clock = VirtualClock()
    book = Book(clock)
    book.headers = {"X-RateLimit-Limit": "lots", "X-RateLimit-Remaining": "-3", "X-RateLimit-Reset": "9" * 40}
    for _ in range(5):
        run(FIVE, book, client={"pace": True}, clock=clock)
    assert book.times == [0.0] * 5


@pytest.mark.parametrize("way", WAYS)
def test_one_429_holds_everybody_back_and_lets_them_go_spread_out(way: str) -> None:
    """Thirty callers, one of whom is told "20 seconds": none goes before, and they do not come back as a crowd."""

    async def scenario() -> None:
        clock = HandClock()
        given = policy(pace={"budget": 60, "per": 60})
        refused = False

        def serve(request: httpx.Request) -> httpx.Response:
            nonlocal refused
            if not refused:
                refused = True
                return httpx.Response(429, headers={"Retry-After": "20"})
            return httpx.Response(200)

        host = Host(way, serve, clock=clock)
        async with Caller(way, given, clock=clock, pace=True, transport=host.transport) as client:
            await client.get(BASE, extensions=ONCE)
            async with Crew(way) as crew:
                for _ in range(30):
                    crew.start(client.get, BASE)
                await crew.play(clock)
            assert [result.status_code for result in crew.ended] == [200] * 30
            assert min(host.at[1:]) >= 20
            assert max(host.at[1:]) - min(host.at[1:]) >= 20  # one a second is the budget's own rate
            assert left_in(guard_of(client)) == {}

    run(way, scenario)


def test_the_429s_own_call_waits_as_long_and_no_deadline_is_overrun(run: Run) -> None:
    """It gives up at once where the hold is longer than it has."""
    given = policy(pace={"budget": 60, "per": 60})
    ended = run(
        given,
        lambda _: httpx.Response(429, headers={"Retry-After": "20"}),
        client={"pace": True, "deadline": 15},
    )
    assert ended.response.status_code == 429
    assert ended.outcome.reason == "deadline"
    assert ended.clock.sleeps == []


# ------------------------------------------------------------------------------------ retries, signatures, sign-ins


def test_retries_are_paced_too(run: Run) -> None:
    """Each attempt costs what the request costs."""
    given = policy(pace={"budget": 1, "per": 10})
    clock = VirtualClock()
    book = Book(clock, status=503)
    ended = run(given, book, client={"pace": True}, clock=clock)
    assert ended.attempts == 5
    assert all(later - sooner > 10 for sooner, later in zip(book.times, book.times[1:], strict=False))
    assert ended.outcome.queued > 0
    assert ended.outcome.attempts[0].queued == 0
    assert sum(attempt.queued for attempt in ended.outcome.attempts) == ended.outcome.queued


def test_a_call_that_is_not_retried_is_paced_all_the_same(run: Run) -> None:
    """`retry: False` is about what comes after an error."""
    given = policy(pace={"budget": 1, "per": 10})
    clock = VirtualClock()
    book = Book(clock)
    for _ in range(2):
        run(given, book, client={"pace": True}, ask={"retry": False}, clock=clock)
    assert book.times[1] > 10


def test_a_signature_is_made_after_the_wait(run: Run) -> None:
    """The nonce of a retry that had to wait for its turn is as old as the request on the wire."""
    clock = VirtualClock()
    made: list[float] = []

    def nonce() -> str:
        made.append(clock.monotonic())
        return f"nonce-{len(made):016}"

    given = policy(pace={"budget": 1, "per": 60})
    book = Book(clock, status=503)
    client = {"pace": True, "auth": HmacAuth("key", "secret", nonce=nonce)}
    run(given, book, client=client, clock=clock)
    assert made == book.times
    assert made[1] > 60


def test_a_redirect_is_paced_as_a_request_of_its_own(run: Run) -> None:
    """Two requests, two units."""
    given = policy(pace={"budget": 1, "per": 10})
    clock = VirtualClock()
    book = Book(clock)

    def serve(request: httpx.Request) -> httpx.Response:
        response = book(request)
        return httpx.Response(302, headers={"Location": "/there"}) if request.url.path == "/" else response

    run(given, serve, client={"pace": True, "follow_redirects": True}, clock=clock)
    assert book.times == [0.0, pytest.approx(10, abs=0.1)]


@pytest.mark.parametrize("way", WAYS)
def test_all_who_wait_for_a_sign_in_are_told_that_its_turn_is_too_far_away(way: str) -> None:
    """The one that signs in and the others end with a PaceExceeded."""

    async def scenario() -> None:
        clock = HandClock()
        given = policy(pace={"routes": ["POST /login"], "budget": 1, "per": 25})
        host = Host(way, lambda _: httpx.Response(200, json={"token": "tok"}))
        auth = TokenAuth(httpx.Request("POST", f"{BASE}/login"), lifetime=10, leeway=0)
        async with Caller(
            way, given, clock=clock, pace=True, deadline=50, auth=auth, transport=host.transport
        ) as client:
            await client.get(BASE)
            clock.advance(20)
            async with Crew(way) as crew:
                crew.start(client.get, BASE)
                await crew.until(lambda: clock.sleeping == 1)
                for _ in range(2):
                    crew.start(client.get, BASE)
                flight = auth._flight
                assert flight is not None
                await crew.until(lambda: len(flight.wakers) == 2)
                _, pacer = guard_of(client).paces[0]
                pacer.hold(clock.monotonic(), 1000)
                clock.advance(6)  # past the turn that it was told of
                await crew.until(lambda: len(crew.ended) == 3)
            assert [type(error) for error in crew.ended] == [PaceExceeded] * 3
            assert len({id(error) for error in crew.ended}) == 3

    run(way, scenario)


@pytest.mark.parametrize("pace", [(2, 10), [2, 10.0]])
def test_an_api_without_a_policy_can_be_paced(pace: Any) -> None:
    """So many requests in any so many seconds, whatever they ask."""
    clock = VirtualClock()
    book = Book(clock)
    with ResilientClient(pace=pace, transport=httpx.MockTransport(book), clock=clock) as client:
        for path in "abc":
            client.get(f"{BASE}/{path}")

    assert book.times == [0.0, 0.0, pytest.approx(10, abs=0.1)]


def test_pace_with_nothing_to_keep_to_is_refused() -> None:
    """The default policy publishes no budget: the message says what to write."""
    with pytest.raises(ValueError, match=r"has no \[pace\] to keep to.*pace=\(100, 60\)"):
        ResilientClient(pace=True)


def test_who_waits_moves_up_when_those_ahead_give_up() -> None:
    """Within a second of it, and not when their turn would have come."""

    class Leaves(VirtualClock):
        """The one ahead gives up while somebody sleeps."""

        def sleep(self, seconds: float, /) -> None:
            super().sleep(seconds)
            if self.monotonic() > 3:
                pacer.cancel(ahead)

    clock = Leaves()
    book = Book(clock)
    with ResilientClient(pace=(1, 10), transport=httpx.MockTransport(book), clock=clock) as client:
        client.get(BASE)
        pacer = guard_of(client).paces[0][1]
        ahead = pacer.reserve(1, clock.monotonic())
        client.get(BASE)

    assert book.times == [0.0, pytest.approx(10, abs=1.1)]
