"""The race of a request and its hedge: whose answer counts, and that nothing is left of the other.

Law of this file: nobody sleeps. Each request says what it waits for, and a delay is either over at once or never.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import ssl
import subprocess
import sys
import threading
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import anyio.to_thread
import httpx
import pytest
import trustme
from loopback import WAYS, Exchange, Loopback, page, run

from resilient_client._deadline import Shrinking
from resilient_client._flow import Race, Raced, Sign, Told
from resilient_client._race import Workers, arace, race
from resilient_client.clock import SystemClock
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import FrameType

    from resilient_client._http import Request, Response
    from resilient_client.clock import Clock

TASKS = ("asyncio", "trio")
PATIENCE = 5.0  # seconds after which a test that waits has failed
SOON = 0.001  # seconds: the delay passes while the first request waits for what comes after it
NEVER = 60.0  # seconds: the delay does not pass


class StopIt(BaseException):
    """As KeyboardInterrupt is: no Exception."""


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that tells when it is closed."""

    def __init__(self, closed: Callable[[], None]) -> None:
        self._closed = closed

    def __iter__(self) -> Iterator[bytes]:
        yield b"whole"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"whole"

    def close(self) -> None:
        self._closed()

    async def aclose(self) -> None:
        self._closed()


class Meets(NamedTuple):
    """What a request meets: it waits until this has happened, and then comes a status, or this is raised or called."""

    until: str | None
    brings: int | BaseException | Callable[[], int]


class Course:
    """Two requests, what each meets, and how the race between them went."""

    def __init__(self, way: str, first: Meets, second: Meets | None = None, **options: Any) -> None:
        self.way = way
        self.meets = {1: first, 2: second}
        self.first = httpx.Request("GET", "https://api.example/1")
        self.second = httpx.Request("GET", "https://api.example/2")
        self.options = options
        self.sent: list[int] = []
        self.gone: list[int] = []  # cancelled, failed or closed
        self.signs: Callable[[Sign], Exception | None] = lambda _: None
        self._marks: dict[str, Any] = {}

    def mark(self, name: str) -> Any:
        """Give the event of this name."""
        if name not in self._marks:
            self._marks.setdefault(name, threading.Event() if self.way == "threads" else anyio.Event())
        return self._marks[name]

    async def happened(self, name: str) -> None:
        """Wait for it."""
        if self.way == "threads":
            assert self.mark(name).wait(PATIENCE), name
        else:
            with anyio.fail_after(PATIENCE):
                await self.mark(name).wait()

    def left(self) -> list[int]:
        """Tell which requests are neither over nor closed."""
        return [number for number in self.sent if number not in self.gone]

    # ------------------------------------------------------------------------------------- what the race calls

    def send(self, request: Request) -> httpx.Response:
        number, meets = self._begin(request)
        if meets.until is not None:
            assert self.mark(meets.until).wait(PATIENCE), meets.until
        return self._end(number, meets.brings)

    async def asend(self, request: Request) -> httpx.Response:
        number, meets = self._begin(request)
        try:
            if meets.until is not None:
                await self.happened(meets.until)
        except BaseException:
            self._is_gone(number)
            raise
        return self._end(number, meets.brings)

    def _begin(self, request: Request) -> tuple[int, Meets]:
        number = int(request.url.path[1:])
        meets = self.meets[number]
        assert meets is not None
        self.sent.append(number)
        self.mark(f"sent {number}").set()
        return number, meets

    def _end(self, number: int, brings: int | BaseException | Callable[[], int]) -> httpx.Response:
        self.mark(f"ended {number}").set()
        if isinstance(brings, BaseException):
            self._is_gone(number)
            raise brings
        status = brings if isinstance(brings, int) else brings()
        return httpx.Response(status, stream=Body(partial(self._is_gone, number)))

    def _is_gone(self, number: int) -> None:
        self.gone.append(number)
        self.mark(f"gone {number}").set()

    def make(self) -> httpx.Request | None:
        """Make the second request, where there is to be one; the first is under way by then."""
        if self.way == "threads":
            assert self.mark("sent 1").wait(PATIENCE)
        self.mark("asked").set()
        return None if self.meets[2] is None else self.second

    def sign(self, step: Sign) -> Told:
        error = self.signs(step)
        self.mark("signed").set()
        return Told(0.0, None, error)

    async def asign(self, step: Sign) -> Told:
        return self.sign(step)

    async def race(self, delay: float = SOON, **others: Any) -> Told:
        """Race; when it is over, "over" happens."""
        options: dict[str, Any] = {
            "until": None,
            "auth": None,
            "clock": SystemClock(),
            **self.options,
            **others,
        }
        second = options.get("second", self.make)
        step = Race(self.first, options["until"], options["auth"], delay, second)
        try:
            if self.way == "threads":
                return race(step, self.send, self.sign, options["clock"])
            return await arace(step, self.asend, options.get("sign", self.asign), options["clock"])
        finally:
            self.mark("over").set()

    async def lost(self, number: int) -> None:
        """Wait until nothing is left of the one that lost: for threads that is when its answer comes, for tasks now."""
        if self.way == "threads":
            await self.happened(f"gone {number}")


class Case(NamedTuple):
    """A race, and how it must end."""

    first: Meets
    second: Meets | None
    wins: int
    sent: int = 2
    delay: float = SOON


DOWN = httpx.ConnectError("the network is down")
LOST = httpx.ReadTimeout("no answer")

CASES: dict[str, Case] = {
    "the first answers in time": Case(Meets(None, 200), None, wins=1, sent=1, delay=NEVER),
    "the first fails in time": Case(Meets(None, DOWN), None, wins=1, sent=1, delay=NEVER),
    "the first is refused in time": Case(Meets(None, 503), None, wins=1, sent=1, delay=NEVER),
    "the second overtakes": Case(Meets("over", 200), Meets(None, 200), wins=2),
    "the second overtakes one that would fail": Case(Meets("over", DOWN), Meets(None, 200), wins=2),
    "the first comes in all the same": Case(Meets("sent 2", 200), Meets("over", 200), wins=1),
    "a redirect is good": Case(Meets("over", 200), Meets(None, 302), wins=2),
    "a refusal of the request is good": Case(Meets("over", 200), Meets(None, 404), wins=2),
    "the first is refused, the second is not": Case(Meets("sent 2", 503), Meets("ended 1", 200), wins=2),
    "the first fails, the second does not": Case(Meets("sent 2", DOWN), Meets("ended 1", 200), wins=2),
    "the second is refused, the first is not": Case(Meets("ended 2", 200), Meets(None, 500), wins=1),
    "the second is throttled, the first is not": Case(Meets("ended 2", 200), Meets(None, 429), wins=1),
    "the second fails, the first does not": Case(Meets("ended 2", 200), Meets(None, DOWN), wins=1),
    "both are refused": Case(Meets("sent 2", 503), Meets("ended 1", 500), wins=1),
    "both are refused, the second before": Case(Meets("ended 2", 503), Meets(None, 500), wins=1),
    "refused, and throttled": Case(Meets("ended 2", 503), Meets(None, 429), wins=2),
    "throttled, and refused": Case(Meets("sent 2", 429), Meets("ended 1", 503), wins=1),
    "failed, and refused": Case(Meets("sent 2", DOWN), Meets("ended 1", 503), wins=2),
    "refused, and failed": Case(Meets("sent 2", 503), Meets("ended 1", DOWN), wins=1),
    "both fail": Case(Meets("ended 2", LOST), Meets(None, DOWN), wins=1),
    "the second must not be sent": Case(Meets("asked", 200), None, wins=1, sent=1),
    "the second must not be sent, and the first fails": Case(Meets("asked", LOST), None, wins=1, sent=1),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_better_answer_counts_and_the_other_is_closed(way: str, case: Case) -> None:
    """Whose answer it is, how many were sent, and that of all that came the winner's alone is open."""

    async def scenario() -> None:
        course = Course(way, case.first, case.second)
        told = await course.race(case.delay)
        wins = course.first if case.wins == 1 else course.second
        assert told.raced == Raced(wins, case.sent)
        brought = case.first.brings if case.wins == 1 or case.second is None else case.second.brings
        assert brought == (told.error if told.response is None else told.response.status_code)
        assert (told.wall > 0) == (told.error is not None)
        assert len(course.sent) == case.sent
        if case.sent == 2:
            await course.lost(3 - case.wins)
        assert course.left() == ([] if told.response is None else [case.wins])

    run(way, scenario)


# ------------------------------------------------------------------------------------------------- the second request


@pytest.mark.parametrize("way", WAYS)
def test_the_second_request_is_signed_before_it_is_sent(way: str) -> None:
    """With the call's auth and deadline, and after it has been made."""

    async def scenario() -> None:
        course = Course(way, Meets("over", 200), Meets(None, 200), auth="hmac", until=1e9)
        signed = []

        def sign(step: Sign) -> None:
            signed.append(step)
            step.request.headers["Nonce"] = str(len(course.sent))

        course.signs = sign
        told = await course.race()
        assert signed == [Sign(course.second, "hmac", None, 1e9)]
        assert told.raced is not None
        assert told.raced.request.headers["Nonce"] == "1"
        await course.lost(1)

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_second_request_that_cannot_be_signed_is_not_sent(way: str) -> None:
    """The first one's answer is waited for, as if there had been no second."""

    async def scenario() -> None:
        course = Course(way, Meets("signed", 200), Meets(None, 200), auth="hmac")
        course.signs = lambda _: LookupError("no key")
        told = await course.race()
        assert told.raced == Raced(course.first, 1)
        assert (course.sent, course.left()) == ([1], [1])

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [200, 503])
def test_a_second_request_is_not_sent_when_the_first_is_answered_meanwhile(way: str, status: int) -> None:
    """Signing takes its time; what comes then counts, good or bad."""

    async def scenario() -> None:
        def bring() -> int:
            if way == "threads":
                sys.setprofile(handed_over)
            return status

        def handed_over(frame: FrameType, event: str, _: object) -> None:
            if event == "return" and frame.f_code.co_name == "_run":
                sys.setprofile(None)
                course.mark("handed over").set()

        async def asign(_step: Sign) -> Told:
            course.mark("signing").set()
            with anyio.CancelScope(shield=True):
                await course.happened("ended 1")
            return Told(0.0)

        def sign(_step: Sign) -> None:
            course.mark("signing").set()
            assert course.mark("handed over").wait(PATIENCE)

        course = Course(way, Meets("signing", bring), Meets(None, 200), auth="hmac")
        course.signs = sign
        told = await course.race(sign=asign)
        assert told.raced == Raced(course.first, 1)
        assert course.sent == [1]

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_both_requests_have_what_is_left_of_the_deadline(way: str) -> None:
    """Each timeout shrinks to it, as that of any attempt does."""

    async def scenario() -> None:
        clock = VirtualClock()
        course = Course(way, Meets("over", 200), Meets(None, 200), until=2.0, clock=clock)
        await course.race()
        for request in (course.first, course.second):
            assert isinstance(request.extensions["timeout"], Shrinking)
            assert request.extensions["timeout"]["read"] == 2.0
        await course.lost(1)

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_without_a_deadline_the_timeouts_are_the_callers(way: str) -> None:
    """Nothing is put into the requests."""

    async def scenario() -> None:
        course = Course(way, Meets("over", 200), Meets(None, 200))
        await course.race()
        assert "timeout" not in course.first.extensions
        assert "timeout" not in course.second.extensions
        await course.lost(1)

    run(way, scenario)


class Fast(SystemClock):
    speed = 60_000.0


@pytest.mark.parametrize("way", WAYS)
def test_the_delay_is_as_long_as_the_clock_is_fast(way: str) -> None:
    """A minute by a clock that runs 60 000 times as fast as the machine's is a millisecond."""

    async def scenario() -> None:
        course = Course(way, Meets("sent 2", 200), Meets("over", 200), clock=Fast())
        told = await course.race(delay=60.0)
        assert told.raced == Raced(course.first, 2)
        await course.lost(2)

    run(way, scenario)


CALL: ContextVar[str] = ContextVar("call", default="nobody's")


@pytest.mark.parametrize("way", WAYS)
def test_both_requests_are_sent_in_the_callers_context(way: str) -> None:
    """Deadlines and spans are found in context variables."""

    async def scenario() -> None:
        seen = []

        def bring() -> int:
            seen.append(CALL.get())
            return 503

        course = Course(way, Meets("sent 2", bring), Meets("ended 1", bring))
        token = CALL.set("mine")
        try:
            await course.race()
        finally:
            CALL.reset(token)
        assert seen == ["mine", "mine"]

    run(way, scenario)


# ------------------------------------------------------------------------------------------------- what breaks a race off


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", [LookupError("no body"), StopIt()], ids=["error", "interrupt"])
def test_what_making_the_second_raises_comes_out_bare(way: str, error: BaseException) -> None:
    """It is no answer; the first request is called off."""

    async def scenario() -> None:
        course = Course(way, Meets("over", 200))

        def second() -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            await course.race(second=second)
        assert caught.value is error
        await course.lost(1)
        assert course.left() == []

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", [1, 2])
def test_what_is_no_exception_comes_out_bare(way: str, number: int) -> None:
    """From whichever request it comes; the other one is called off."""

    async def scenario() -> None:
        stop = StopIt()
        late = Meets("over", 200)
        course = Course(way, *([Meets("sent 2", stop), late] if number == 1 else [late, Meets(None, stop)]))
        with pytest.raises(StopIt) as caught:
            await course.race()
        assert caught.value is stop
        await course.lost(3 - number)
        assert course.left() == []

    run(way, scenario)


class Interrupting(SystemClock):
    """A clock that is interrupted when it is asked."""

    def monotonic(self) -> float:
        raise StopIt


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_when_the_race_is_over_closes_the_winner_too(way: str) -> None:
    """Nobody else has it."""

    async def scenario() -> None:
        course = Course(way, Meets("sent 2", 503), Meets("ended 1", 200), clock=Interrupting())
        with pytest.raises(StopIt):
            await course.race()
        await course.lost(1)
        assert course.left() == []

    run(way, scenario)


@pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="there is no other way to interrupt a waiting thread"
)
def test_ctrl_c_is_heard_while_the_answer_is_awaited() -> None:
    """The answers that come later are closed by those who bring them."""
    heard = threading.Event()

    def hear(_number: int, _frame: FrameType | None) -> None:
        if not heard.is_set():
            heard.set()
            raise KeyboardInterrupt

    def interrupt(request: Request) -> httpx.Response:
        # Again and again: a signal that comes just before a thread begins to wait does not wake it.
        while request is course.second and not heard.wait(SOON):
            signal.pthread_kill(main, signal.SIGINT)
        return course.send(request)

    main = threading.get_ident()
    course = Course("threads", Meets("over", 200), Meets("over", 200))
    step = Race(course.first, None, None, SOON, course.make)
    before = signal.signal(signal.SIGINT, hear)
    try:
        with pytest.raises(KeyboardInterrupt):
            race(step, interrupt, course.sign, SystemClock())
    finally:
        signal.signal(signal.SIGINT, before)
        course.mark("over").set()
    for number in (1, 2):
        assert course.mark(f"gone {number}").wait(PATIENCE)


async def _cancel(way: str, native: bool, course: Course, when: str, **options: Any) -> None:  # noqa: FBT001 - of a table
    if native:
        task = asyncio.create_task(course.race(**options))
        await course.happened(when)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: course.race(**options))
            await course.happened(when)
            scope.cancel()
    assert scope.cancelled_caught


CANCELLERS = [("asyncio", False), ("asyncio", True), ("trio", False)]


@pytest.mark.parametrize(("way", "native"), CANCELLERS)
@pytest.mark.parametrize(
    ("when", "first", "second", "delay"),
    [
        ("sent 1", Meets("over", 200), None, NEVER),
        ("asked", Meets("over", 200), None, SOON),
        ("sent 2", Meets("over", 200), Meets("over", 200), SOON),
        ("ended 1", Meets("sent 2", 503), Meets("over", 200), SOON),
        ("ended 2", Meets("over", 200), Meets(None, 503), SOON),
    ],
)
def test_a_cancelled_race_leaves_nothing(
    way: str, *, native: bool, when: str, first: Meets, second: Meets | None, delay: float
) -> None:
    """Both are cancelled, and what has come is closed."""

    async def scenario() -> None:
        course = Course(way, first, second)
        await _cancel(way, native, course, when, delay=delay)
        assert course.left() == []

    run(way, scenario)


@pytest.mark.parametrize(("way", "native"), CANCELLERS)
def test_a_race_that_is_cancelled_while_the_second_is_signed_leaves_nothing(
    way: str, *, native: bool
) -> None:
    """The second one is not sent."""

    async def scenario() -> None:
        course = Course(way, Meets("over", 200), Meets(None, 200), auth="token")

        async def asign(_step: Sign) -> Told:
            course.mark("signing").set()
            await course.happened("over")
            return Told(0.0)

        await _cancel(way, native, course, "signing", sign=asign)
        assert (course.sent, course.left()) == ([1], [])

    run(way, scenario)


@pytest.mark.parametrize("way", TASKS)
@pytest.mark.parametrize("number", [1, 2])
def test_an_answer_that_comes_with_the_cancellation_is_closed(way: str, number: int) -> None:
    """Between the answer and its hand-over there is no moment at which a cancellation loses it."""

    async def scenario() -> None:
        with anyio.CancelScope() as scope:

            def bring() -> int:
                scope.cancel()
                return 200

            late = Meets("over", 200)
            course = Course(
                way, *([Meets("sent 2", bring), late] if number == 1 else [late, Meets(None, bring)])
            )
            await course.race()
        assert scope.cancelled_caught
        assert course.left() == []

    run(way, scenario)


@pytest.mark.parametrize("number", [1, 2])
def test_an_answer_that_comes_with_asyncios_own_cancellation_is_closed(number: int) -> None:
    """The same for `Task.cancel`, which is not lost for the race's own cancelling."""

    async def scenario() -> None:
        def bring() -> int:
            task.cancel()
            return 200

        late = Meets("over", 200)
        course = Course(
            "asyncio", *([Meets("sent 2", bring), late] if number == 1 else [late, Meets(None, bring)])
        )
        task = asyncio.create_task(course.race())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert course.left() == []

    asyncio.run(scenario())


def test_nothing_of_a_race_is_left_on_asyncios_loop() -> None:
    """The delay passes after the end: nobody is asked, and nothing goes wrong."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        wrong: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: wrong.append(context))
        course = Course("asyncio", Meets(None, 200), Meets(None, 200))
        await course.race()
        delay_is_over = asyncio.Event()
        loop.call_later(2 * SOON, delay_is_over.set)
        await delay_is_over.wait()
        gc.collect()  # a task's error is told of when it is collected
        assert (course.sent, wrong) == ([1], [])

    asyncio.run(scenario())


# ------------------------------------------------------------------------------------------------- on real sockets

BIG = bytes(range(256)) * 800


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Give a server's context for 127.0.0.1, and one that trusts it."""
    authority = trustme.CA()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return serving, trusting


class Slow:
    """A server that says half of the winner's page, and the rest when the race is over; the loser's page waits still longer."""

    def __init__(self, wins: int, status: int = 200) -> None:
        self.wins = wins
        self.status = status
        self.both = threading.Event()
        self.over = threading.Event()
        self.release = threading.Event()

    def __call__(self, exchange: Exchange) -> None:
        """Answer as the target says."""
        if exchange.target == "/2":
            self.both.set()
        said = page(self.status, BIG)
        if exchange.target == f"/{self.wins}":
            assert self.both.wait(PATIENCE)
            exchange.say(said[: len(said) // 2])
            assert self.over.wait(PATIENCE)
            exchange.say(said[len(said) // 2 :])
        elif exchange.target in {"/1", "/2"}:
            assert self.release.wait(PATIENCE)
            exchange.say(said)
        else:
            exchange.say(page(200, b"ok"))


class Wire:
    """httpx's own transport with a pool of two, for threads or tasks."""

    def __init__(self, way: str, server: Loopback, verify: ssl.SSLContext | bool = True) -> None:  # noqa: FBT001, FBT002 - httpx's own
        self.way = way
        self.url = server.url
        limits = httpx.Limits(max_connections=2)
        kind: Any = httpx.HTTPTransport if way == "threads" else httpx.AsyncHTTPTransport
        self.transport: Any = kind(limits=limits, verify=verify)

    def request(self, target: str) -> httpx.Request:
        """Make a request that waits for a connection as long as a test may."""
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), PATIENCE)
        return httpx.Request("GET", f"{self.url}/{target}", extensions={"timeout": timeout})

    async def race(self) -> Told:
        """Race for /1 with /2."""
        step = Race(self.request("1"), None, None, SOON, lambda: self.request("2"))
        clock: Clock = SystemClock()
        if self.way == "threads":
            return race(step, self.transport.handle_request, lambda _: Told(0.0), clock)
        return await arace(step, self.transport.handle_async_request, _sign_nothing, clock)

    async def open(self, target: str) -> httpx.Response:
        """Send, the body not read."""
        if self.way == "threads":
            response: httpx.Response = self.transport.handle_request(self.request(target))
            return response
        response = await self.transport.handle_async_request(self.request(target))
        assert isinstance(response, httpx.Response)
        return response

    async def read(self, response: Response) -> bytes:
        """Read the body to its end."""
        assert isinstance(response, httpx.Response)
        return response.read() if self.way == "threads" else await response.aread()

    async def close(self) -> None:
        """Close the pool."""
        if self.way == "threads":
            self.transport.close()
        else:
            await self.transport.aclose()

    async def works(self) -> bool:
        """Tell whether both connections are to be had at the same time."""
        opened = [await self.open("3"), await self.open("4")]
        return [await self.read(response) for response in opened] == [b"ok", b"ok"]


async def _sign_nothing(_step: Sign) -> Told:
    return Told(0.0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wins", [1, 2])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_the_winners_body_is_whole_and_the_losers_connection_free(
    way: str, *, wins: int, secure: bool, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """What is still on its way when the loser is called off arrives; then a pool of two gives both its connections."""
    serving, trusting = contexts

    async def scenario() -> None:
        said = Slow(wins)
        with Loopback(said, tls=serving if secure else None) as server:
            wire = Wire(way, server, trusting)
            told = await wire.race()
            said.over.set()
            assert told.response is not None
            assert await wire.read(told.response) == BIG
            assert told.raced is not None
            assert told.raced.sent == 2
            said.release.set()
            assert await wire.works()
            await wire.close()

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_of_two_refusals_one_can_be_read_and_the_other_holds_no_connection(way: str) -> None:
    """Both have come when the race is over."""

    async def scenario() -> None:
        def answer(exchange: Exchange) -> None:
            if exchange.target == "/2":
                both.set()
            if exchange.target in {"/1", "/2"}:
                assert both.wait(PATIENCE)
                exchange.say(page(503, exchange.target.encode()))
            else:
                exchange.say(page(200, b"ok"))

        both = threading.Event()
        with Loopback(answer) as server:
            wire = Wire(way, server)
            told = await wire.race()
            assert told.response is not None
            assert await wire.read(told.response) == b"/1"
            assert await wire.works()
            await wire.close()

    run(way, scenario)


@pytest.mark.parametrize("way", TASKS)
def test_a_race_that_is_cancelled_leaves_a_pool_of_two_usable(way: str) -> None:
    """While both wait for their answers."""

    async def scenario() -> None:
        said = Slow(wins=0)
        with Loopback(said) as server:
            wire = Wire(way, server)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(wire.race)
                    assert await anyio.to_thread.run_sync(said.both.wait, PATIENCE)
                    scope.cancel()
            said.release.set()
            assert await wire.works()
            await wire.close()

    run(way, scenario)


# ------------------------------------------------------------------------------------------------- the workers


class Work:
    """Something to do that tells which thread has done it."""

    def __init__(self) -> None:
        self.bell = threading.Lock()
        self.bell.acquire()
        self.thread: threading.Thread | None = None

    def __call__(self) -> threading.Lock:
        self.thread = threading.current_thread()
        return self.bell

    def done_by(self) -> threading.Thread:
        """Wait until it is done."""
        assert self.bell.acquire(timeout=PATIENCE)
        assert self.thread is not None
        return self.thread


def test_a_worker_that_has_rung_is_ready_for_more() -> None:
    """Calls one after the other are served by one thread."""
    workers = Workers(patience=PATIENCE)
    threads = set()
    for _ in range(20):
        work = Work()
        assert workers.start(work)
        threads.add(work.done_by())
    assert len(threads) == 1
    assert {thread.daemon for thread in threads} == {True}


def test_work_at_the_same_time_has_a_thread_each() -> None:
    """Nobody waits for another's answer."""
    workers = Workers(patience=PATIENCE)
    meeting = threading.Barrier(8, timeout=PATIENCE)
    bell = threading.Semaphore(0)

    def meet() -> Any:
        meeting.wait()
        return bell

    for _ in range(8):
        assert workers.start(meet)
    assert all(bell.acquire(timeout=PATIENCE) for _ in range(8))


def test_a_worker_without_work_ends_and_another_takes_its_place() -> None:
    """So that a burst does not leave its threads for ever."""
    workers = Workers(patience=SOON)
    ended = Work()
    workers.start(ended)
    thread = ended.done_by()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    again = Work()
    workers.start(again)
    assert again.done_by() is not thread


PROGRAM = """
import os, sys, threading, time
import httpx
from resilient_client._flow import Race, Told
from resilient_client._race import race
from resilient_client.clock import SYSTEM

FIRST, SECOND = (httpx.Request("GET", f"https://api.example/{{n}}") for n in "12")

def run(send):
    return race(Race(FIRST, None, None, 0.001, lambda: SECOND), send, lambda step: Told(0.0), SYSTEM)

def at_once(request):
    return httpx.Response(200, content=threading.current_thread().name)

def late(request):
    if request is FIRST:
        threading.Event().wait()
    return httpx.Response(200)

{body}
"""

PROGRAMS = {
    "a loser without an answer does not hold up the end": "print(run(late).raced.sent)",
    "a forked child has workers of its own": """
run(at_once)
child = os.fork()
if child == 0:
    os._exit(run(at_once).raced.sent)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) + 1)
""",
    "without a thread to be had the first is sent all the same": """
threading.stack_size(1 << 46)
told = run(at_once)
print(told.raced.sent + (told.response.content == b"MainThread"))
""",
}


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and how a thread is refused, differ elsewhere")
@pytest.mark.parametrize("body", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_that_races(body: str) -> None:
    """Each prints 2."""
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body)],
        capture_output=True,
        timeout=30,
        check=False,
        text=True,
    )
    assert (program.stdout, program.stderr, program.returncode) == ("2\n", "", 0)
