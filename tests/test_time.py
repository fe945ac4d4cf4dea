"""Time: a deadline is a deadline, a server's wait is a floor, and nobody sleeps for longer than the policy bears."""

from __future__ import annotations

import datetime as dt
import itertools
import time
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from loopback import WAYS, Caller, Exchange, Loopback, page, run

from resilient_client import AsyncResilientClient, ResilientClient, ResilientTransport, TokenAuth, outcome_of
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

URL = "https://api.test/things"


class Drip(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body of which each byte takes a second of the clock."""

    def __init__(self, clock: VirtualClock, size: int, content: bytes = b"x") -> None:
        self.clock = clock
        self.size = size
        self.given = 0
        self.closed = 0
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self.size):
            self.clock.advance(1.0)
            self.given += 1
            yield self._content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


def mock(answer: Callable[[httpx.Request], httpx.Response]) -> Any:
    return httpx.MockTransport(answer)


def answers(*responses: httpx.Response) -> Any:
    said = iter(responses)
    return mock(lambda _: next(said))


# ----------------------------------------------------------------------------------------------- the deadline


@pytest.mark.parametrize("way", WAYS)
def test_a_deadline_ends_the_reading_of_an_error_that_drips(way: str) -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        body = Drip(clock, 1000)
        transport = mock(lambda _: httpx.Response(503, stream=body))
        async with Caller(way, clock=clock, deadline=5, transport=transport) as client:
            response = await client.open("GET", URL)
            assert response.status_code == 503
            outcome = outcome_of(response)
            assert outcome.reason == "deadline"
            assert outcome.verdict.name == "SERVICE_UNAVAILABLE"
            assert outcome.elapsed == pytest.approx(5)
            assert body.given == 5
            assert clock.sleeps == []
            with pytest.raises(httpx.ReadTimeout):
                await client.read(response)
            await client.close(response)
            assert body.closed >= 1

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_an_error_that_drips_without_a_deadline_is_not_waited_for_for_ever_and_stays_readable(
    way: str,
) -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        body = Drip(clock, 40)
        transport = mock(lambda _: httpx.Response(404, stream=body))
        async with Caller(way, clock=clock, transport=transport) as client:
            response = await client.open("GET", URL)
            assert 0 < body.given <= 30
            assert await client.raw(response) == b"x" * 40
            await client.close(response)

    run(way, scenario)


def test_an_error_that_was_read_whole_just_in_time_is_handed_over_whole() -> None:
    clock = VirtualClock()
    transport = mock(lambda _: httpx.Response(404, headers={"Content-Length": "5"}, stream=Drip(clock, 5)))
    with ResilientClient(clock=clock, deadline=5, transport=transport) as client:
        assert client.get(URL).content == b"xxxxx"


def test_a_call_that_ends_while_its_error_drips_tells_its_outcome_to_who_catches_it() -> None:
    clock = VirtualClock()
    transport = mock(lambda _: httpx.Response(503, stream=Drip(clock, 100)))
    with ResilientClient(clock=clock, deadline=5, transport=transport) as client:
        with pytest.raises(httpx.ReadTimeout) as caught:
            client.get(URL)
        assert outcome_of(caught.value).reason == "deadline"


def drip(before: bytes, every: float, piece: bytes = b"x") -> Callable[[Exchange], None]:
    """Say the beginning, and then a piece now and again, for ever."""

    def answer(exchange: Exchange) -> None:
        exchange.hang_up()
        exchange.say(before)
        for _ in range(100):
            exchange.wait(every)
            exchange.say(piece)

    return answer


DRIPS: dict[str, Callable[[Exchange], None]] = {
    "the body, in small pieces": drip(b"HTTP/1.1 503 No\r\nContent-Length: 5000\r\n\r\n", 0.05),
    "the body, slower than the deadline": drip(b"HTTP/1.1 503 No\r\nContent-Length: 5000\r\n\r\n", 3),
    "the body, once shortly before the deadline and then no more": drip(
        b"HTTP/1.1 503 No\r\nContent-Length: 5000\r\n\r\n", 0.36
    ),
    "the size of a chunk": drip(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n1;", 0.05),
    "the headers": drip(b"HTTP/1.1 503 No\r\nX-Long: ", 0.05),
    "the status": drip(b"HTTP/1.1 503 ", 0.05),
    "interim responses": drip(b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.05, b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "nothing at all": drip(b"", 3, b""),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", DRIPS)
def test_a_deadline_of_four_tenths_of_a_second_is_kept_on_a_socket_whatever_drips(
    way: str, what: str
) -> None:
    async def scenario() -> None:
        with Loopback(DRIPS[what]) as server:
            async with Caller(way, deadline=0.4) as client:
                begun = time.monotonic()
                with pytest.raises(httpx.TimeoutException):
                    await client.get(server.url)
                assert time.monotonic() - begun < 2

    run(way, scenario)


# httpcore leaves the body's generator behind when writing times out, and trio says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("way", WAYS)
def test_a_deadline_is_kept_while_a_large_body_is_sent_to_a_server_that_does_not_read(way: str) -> None:
    async def scenario() -> None:
        import socket  # noqa: PLC0415 - this one test

        with socket.create_server(("127.0.0.1", 0)) as deaf:
            async with Caller(way, deadline=0.4) as client:
                begun = time.monotonic()
                with pytest.raises(httpx.TimeoutException):
                    await client.request(
                        "PUT", f"http://127.0.0.1:{deaf.getsockname()[1]}", content=b"x" * 30_000_000
                    )
                assert time.monotonic() - begun < 3

    run(way, scenario)


def test_a_deadline_covers_attempts_and_waits_together() -> None:
    clock = VirtualClock()

    def answer(request: httpx.Request) -> httpx.Response:
        patience = request.extensions["timeout"]["read"]
        clock.advance(min(3.0, patience))
        if patience < 3:
            raise httpx.ReadTimeout("too slow")
        return httpx.Response(503, headers={"Retry-After": "2"})

    with ResilientClient(clock=clock, deadline=12, transport=mock(answer)) as client:
        try:
            outcome = outcome_of(client.get(URL))
        except httpx.ReadTimeout as error:
            outcome = outcome_of(error)
    assert outcome.reason == "deadline"
    assert outcome.elapsed <= 12
    assert clock.monotonic() <= 12
    assert len(outcome.attempts) >= 2
    assert all(attempt.wait >= 2 for attempt in outcome.attempts[:-1])


@pytest.mark.parametrize("asked", ["10", "9", "11", "300"])
def test_a_wait_that_cannot_fit_is_not_begun(asked: str) -> None:
    clock = VirtualClock()

    def answer(_: httpx.Request) -> httpx.Response:
        clock.advance(1.0)
        return httpx.Response(429, headers={"Retry-After": asked}, json={"message": "slow down"})

    with ResilientClient(clock=clock, deadline=10, transport=mock(answer)) as client:
        response = client.get(URL)
    assert outcome_of(response).reason == "deadline"
    assert clock.sleeps == []
    assert response.json() == {"message": "slow down"}


def test_a_wait_that_only_just_fits_leaves_time_for_the_attempt_and_is_no_shorter_than_asked() -> None:
    for _ in range(50):
        clock = VirtualClock()
        said = answers(httpx.Response(429, headers={"Retry-After": "9"}), httpx.Response(200))
        with ResilientClient(clock=clock, deadline=10, transport=said) as client:
            assert client.get(URL).status_code == 200
        assert 9 <= clock.sleeps[0] < 10


def test_a_wait_over_the_policys_longest_is_too_long_and_one_over_the_deadline_is_past_it() -> None:
    clock = VirtualClock()

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"Retry-After": request.url.params["wait"]})

    with ResilientClient(clock=clock, transport=mock(answer)) as client:
        too_long = client.get(URL, params={"wait": "301"})
        past = client.get(URL, params={"wait": "299"}, extensions={"resilience": {"deadline": 100}})
    assert outcome_of(too_long).reason == "wait_too_long"
    assert outcome_of(too_long).verdict.retry_after == 301
    assert outcome_of(past).reason == "deadline"
    assert clock.sleeps == []


def test_a_wait_of_exactly_the_longest_is_slept() -> None:
    clock = VirtualClock()
    said = answers(httpx.Response(429, headers={"Retry-After": "300"}), httpx.Response(200))
    with ResilientClient(clock=clock, transport=said) as client:
        assert client.get(URL).status_code == 200
    assert 300 <= clock.sleeps[0] <= 300 * 1.2 + 0.25


def test_the_deadline_of_a_request_goes_before_that_of_the_client_and_none_switches_it_off() -> None:
    clock = VirtualClock()
    seen: list[dict[str, float | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(
            {name: request.extensions["timeout"].get(name) for name in ("connect", "read", "write", "pool")}
        )
        return httpx.Response(200)

    with ResilientClient(clock=clock, deadline=2, transport=mock(answer), timeout=50) as client:
        client.get(URL)
        client.get(URL, extensions={"resilience": {"deadline": 9}})
        client.get(URL, extensions={"resilience": {"deadline": None}})
    assert [timeouts["read"] for timeouts in seen] == [2, 9, 50]


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), True, "5", b"1", [1]])
def test_a_deadline_that_is_none_is_refused_before_anything_is_sent(deadline: Any) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise AssertionError("sent")

    with (
        ResilientClient(transport=mock(answer), clock=VirtualClock()) as client,
        pytest.raises(ValueError, match="deadline"),
    ):
        client.get(URL, extensions={"resilience": {"deadline": deadline}})
    with pytest.raises(ValueError, match="deadline"):
        ResilientClient(deadline=deadline, transport=mock(answer))


# ----------------------------------------------------------------------------------------------- the timeouts


def test_each_attempts_timeouts_shrink_to_what_is_left_and_are_never_longer_than_asked_for() -> None:
    clock = VirtualClock()
    seen: list[tuple[float, float | None, float | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        timeouts = request.extensions["timeout"]
        seen.append((20 - clock.monotonic(), timeouts["read"], timeouts["connect"]))
        clock.advance(1)
        return httpx.Response(503, headers={"Retry-After": "4"})

    timeout = httpx.Timeout(100, connect=3)
    with ResilientClient(clock=clock, deadline=20, transport=mock(answer), timeout=timeout) as client:
        client.get(URL)
    assert len(seen) >= 3
    for left, read, connect in seen:
        assert read == pytest.approx(left)
        assert connect == pytest.approx(min(3, left))


def test_no_timeout_at_all_shrinks_too() -> None:
    seen: list[dict[str, float | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(dict(request.extensions["timeout"]))
        return httpx.Response(200)

    with ResilientClient(clock=VirtualClock(), deadline=20, transport=mock(answer), timeout=None) as client:
        client.get(URL)
    assert seen == [{"connect": 20, "read": 20, "write": 20, "pool": 20}]


def test_the_timeouts_are_the_callers_own_again_for_the_body_of_a_success() -> None:
    clock = VirtualClock()
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    with ResilientClient(clock=clock, deadline=20, transport=mock(answer), timeout=7) as client:
        client.get(URL)
        clock.advance(100)
        assert seen[0].extensions["timeout"].get("read") == 7
        assert seen[0].extensions["timeout"]["read"] == 7
        assert dict(seen[0].extensions["timeout"])["read"] == 7


def test_the_body_of_a_success_may_take_longer_than_the_deadline() -> None:
    def answer(exchange: Exchange) -> None:
        exchange.say(page(200, b"", "Content-Length: 4"))
        for _ in range(4):
            exchange.wait(0.15)
            exchange.say(b"x")

    with Loopback(answer) as server, ResilientClient(deadline=0.3, timeout=2) as client:
        assert client.get(server.url).content == b"xxxx"


def test_without_a_deadline_the_timeouts_are_those_of_httpx() -> None:
    seen: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"])
        return httpx.Response(503 if len(seen) < 3 else 200)

    with ResilientClient(clock=VirtualClock(), transport=mock(answer), timeout=7) as client:
        client.get(URL)
    assert seen == [httpx.Timeout(7).as_dict()] * 3
    assert {type(one) for one in seen} == {dict}


def test_the_same_request_sent_twice_has_its_whole_deadline_twice() -> None:
    clock = VirtualClock()
    seen: list[float | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["timeout"].get("read"))
        clock.advance(8)
        return httpx.Response(200)

    with ResilientClient(clock=clock, deadline=10, transport=mock(answer), timeout=60) as client:
        request = client.build_request("GET", URL)
        client.send(request)
        client.send(request)
    assert seen == [10, 10]


# ------------------------------------------------------------------------------------- redirects and sign-ins


@pytest.mark.parametrize("way", WAYS)
def test_the_deadline_of_a_redirected_call_is_one_deadline(way: str) -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        left: list[float | None] = []

        def answer(request: httpx.Request) -> httpx.Response:
            left.append(request.extensions["timeout"].get("read"))
            clock.advance(3)
            number = int(request.url.path.strip("/"))
            return httpx.Response(302, headers={"Location": f"https://other{number}.test/{number + 1}"})

        transport = mock(answer)
        async with Caller(
            way, clock=clock, deadline=10, transport=transport, timeout=60, follow_redirects=True
        ) as client:
            with pytest.raises(httpx.TooManyRedirects):
                await client.get("https://api.test/0")
        assert left[:4] == [10, 7, 4, 1]
        assert left[4] is not None
        assert left[4] < 0.01

    run(way, scenario)


def test_a_wait_after_a_redirect_must_fit_what_the_redirect_left() -> None:
    clock = VirtualClock()

    def answer(request: httpx.Request) -> httpx.Response:
        clock.advance(4)
        if request.url.path == "/a":
            return httpx.Response(307, headers={"Location": "/b"})
        return httpx.Response(503, headers={"Retry-After": "3"})

    with ResilientClient(clock=clock, deadline=10, transport=mock(answer), follow_redirects=True) as client:
        response = client.get("https://api.test/a")
    assert outcome_of(response).reason == "deadline"
    assert clock.sleeps == []


def test_a_request_that_borrows_the_extensions_of_an_earlier_one_has_a_deadline_of_its_own() -> None:
    clock = VirtualClock()
    left: list[float | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        left.append(request.extensions["timeout"].get("read"))
        return httpx.Response(200)

    with ResilientClient(clock=clock, deadline=10, transport=mock(answer), timeout=60) as client:
        first = client.get(URL)
        clock.advance(100)
        client.get(f"{URL}?page=2", extensions={**first.request.extensions})
    assert left == [10, 10]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("renewal", [False, True])
def test_a_sign_in_has_the_timeouts_of_the_call_that_needs_it(way: str, *, renewal: bool) -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        logins: list[Any] = []

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/login":
                logins.append(request.extensions.get("timeout"))
                return httpx.Response(200, json={"token": f"tok-{len(logins)}"})
            if renewal and len(logins) == 1:
                clock.advance(200)
                return httpx.Response(401, json={"error": {"code": 401}})
            return httpx.Response(200)

        auth = TokenAuth(httpx.Request("POST", "https://api.test/login"), lifetime=100)
        async with Caller(way, "dual", clock=clock, auth=auth, timeout=7, transport=mock(answer)) as client:
            assert (await client.get(URL)).status_code == 200
        assert len(logins) == 1 + renewal
        assert logins[-1] == httpx.Timeout(7).as_dict()

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("renewal", [False, True])
def test_a_sign_in_counts_against_the_deadline_of_the_call_that_needs_it(way: str, *, renewal: bool) -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        logins = 0

        def answer(request: httpx.Request) -> httpx.Response:
            nonlocal logins
            if request.url.path == "/login":
                logins += 1
                if renewal and logins == 1:
                    return httpx.Response(200, json={"token": "tok-1"})
                patience = (request.extensions.get("timeout") or {}).get("read") or 2.0
                clock.advance(min(2.0, patience))
                if patience < 2:
                    raise httpx.ReadTimeout("too slow")
                return httpx.Response(503, headers={"Retry-After": "2"})
            clock.advance(0.5)
            return httpx.Response(401, json={"error": {"code": 401}})

        auth = TokenAuth(
            httpx.Request("GET", "https://api.test/login"), lifetime=0.1 if renewal else 100, leeway=0
        )
        extensions = {"resilience": {"deadline": 10}}
        async with Caller(way, "dual", clock=clock, auth=auth, transport=mock(answer)) as client:
            begun = clock.monotonic()
            with pytest.raises(httpx.HTTPError):
                await client.get(URL, extensions=extensions)
            assert clock.monotonic() - begun <= 10.01

    run(way, scenario)


# --------------------------------------------------------------------------------------------------- crowds


def first_waits(count: int, headers: dict[str, str], status: int = 429) -> list[float]:
    waits = []
    for _ in range(count):
        clock = VirtualClock()
        said = answers(httpx.Response(status, headers=headers), httpx.Response(200))
        with ResilientClient(clock=clock, transport=said) as client:
            client.get(URL)
        waits.append(clock.sleeps[0])
    return sorted(waits)


@pytest.mark.parametrize("status", [429, 503])
def test_a_crowd_that_is_told_one_second_does_not_come_back_as_a_crowd(status: int) -> None:
    waits = first_waits(100, {"Retry-After": "1"}, status)
    assert waits[0] >= 1
    assert waits[-1] - waits[0] >= 0.2
    assert waits[-1] <= 1 * 1.2 + 0.25
    # Nowhere do more than a third of them fall into one twentieth of a second.
    assert all(waits[place + 34] - waits[place] > 0.05 for place in range(len(waits) - 34))


def test_a_crowd_that_is_told_now_does_not_come_back_as_a_crowd() -> None:
    waits = first_waits(100, {"Retry-After": "0"})
    assert waits[-1] - waits[0] >= 0.15


def test_a_crowd_that_is_told_one_second_under_a_tight_deadline_spreads_over_what_it_has() -> None:
    waits = []
    for _ in range(100):
        clock = VirtualClock()
        said = answers(httpx.Response(429, headers={"Retry-After": "1"}), httpx.Response(200))
        transport = said
        with ResilientClient(clock=clock, deadline=1.4, transport=transport) as client:
            assert client.get(URL).status_code == 200
        waits.append(clock.sleeps[0])
    assert min(waits) >= 1
    assert max(waits) < 1.4
    # A crowd that all comes back at the cap is a crowd.
    assert max(waits.count(wait) for wait in waits) < 20


# --------------------------------------------------------------------------------------------------- dates


def http_date(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize("off", [-86_400 * 400, -3600, 0, 3600, 86_400 * 400])
def test_a_date_is_measured_from_the_replys_own_date_however_wrong_our_clock_is(off: float) -> None:
    clock = VirtualClock()
    theirs = clock.time() + off
    headers = {"Date": http_date(theirs), "Retry-After": http_date(theirs + 30)}
    said = answers(httpx.Response(503, headers=headers), httpx.Response(200))
    with ResilientClient(clock=clock, transport=said) as client:
        assert client.get(URL).status_code == 200
    assert 30 <= clock.sleeps[0] <= 30 * 1.2 + 0.25


def test_a_date_without_a_date_is_measured_from_our_clock() -> None:
    clock = VirtualClock()
    said = answers(
        httpx.Response(503, headers={"Retry-After": http_date(clock.time() + 30)}), httpx.Response(200)
    )
    with ResilientClient(clock=clock, transport=said) as client:
        assert client.get(URL).status_code == 200
    assert 30 <= clock.sleeps[0] <= 30 * 1.2 + 0.25


def test_a_date_in_the_past_means_now() -> None:
    clock = VirtualClock()
    said = answers(
        httpx.Response(503, headers={"Retry-After": http_date(clock.time() - 30)}), httpx.Response(200)
    )
    with ResilientClient(clock=clock, transport=said) as client:
        response = client.get(URL)
    assert outcome_of(response).attempts[0].verdict.retry_after == 0
    assert sum(clock.sleeps) <= 0.25


def test_a_date_days_ahead_is_not_cut_to_hours() -> None:
    clock = VirtualClock()
    headers = {"Retry-After": http_date(clock.time() + 3 * 86_400 + 10)}
    with ResilientClient(
        clock=clock, transport=mock(lambda _: httpx.Response(503, headers=headers))
    ) as client:
        response = client.get(URL)
    assert outcome_of(response).reason == "wait_too_long"
    assert outcome_of(response).verdict.retry_after == 3 * 86_400 + 10


# ------------------------------------------------------------------------------------------ the clock itself


def test_a_wall_clock_that_jumps_does_not_touch_a_deadline() -> None:
    class Jumping(VirtualClock):
        """A clock that somebody sets while we look."""

        jumps = itertools.cycle([0.0, 1e9, -1e9])

        def time(self) -> float:
            return super().time() + next(self.jumps)

    clock = Jumping()
    said = answers(*[httpx.Response(503, headers={"Retry-After": "1"})] * 3, httpx.Response(200))
    with ResilientClient(clock=clock, deadline=20, transport=said) as client:
        response = client.get(URL)
    assert response.status_code == 200
    assert outcome_of(response).elapsed == pytest.approx(sum(clock.sleeps))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_other_tasks_run_while_one_sleeps(backend: str) -> None:
    async def scenario() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            for _ in range(20):
                await anyio.sleep(0.01)
                ticks += 1

        said = answers(httpx.Response(429, headers={"retry-after-ms": "200"}), httpx.Response(200))
        async with (
            AsyncResilientClient(transport=said) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(tick)
            begun = time.monotonic()
            await client.get(URL)
            assert time.monotonic() - begun >= 0.2
            assert ticks >= 5

    anyio.run(scenario, backend=backend)


def test_a_bare_transport_keeps_a_deadline_too() -> None:
    clock = VirtualClock()

    def answer(_: httpx.Request) -> httpx.Response:
        clock.advance(4)
        return httpx.Response(503, headers={"Retry-After": "3"})

    transport = ResilientTransport(transport=mock(answer), clock=clock, deadline=10)
    with httpx.Client(transport=transport) as client:
        assert outcome_of(client.get(URL)).reason == "deadline"
    assert len(clock.sleeps) == 1


def test_a_lost_connection_past_the_deadline_is_raised_as_what_it_was() -> None:
    clock = VirtualClock()

    def answer(_: httpx.Request) -> httpx.Response:
        clock.advance(11)
        raise httpx.ReadTimeout("too slow")

    with ResilientClient(clock=clock, deadline=10, transport=mock(answer)) as client:
        with pytest.raises(httpx.ReadTimeout, match="too slow") as caught:
            client.get(URL)
        assert outcome_of(caught.value).reason == "deadline"
        assert clock.sleeps == []
