"""Several callers at a time, in threads or in tasks, and a time that stands still until a test moves it.

Law of this file: one scenario, written once with `await`, runs in threads, under asyncio and under trio. Nobody sleeps: a
test goes on when what it waits for has come about.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.lowlevel
import httpx
from loopback import Caller

from resilient_client import Policy, _httpx

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import TracebackType

    from anyio.abc import TaskGroup

BASE = "https://api.example"
PATIENCE = 10.0  # seconds after which a test that waits has failed
TASKS = ("asyncio", "trio")


def policy(api: str = "acme", **tables: Any) -> Policy:
    """Make a policy that is the default one but for these tables."""
    return _made(json.dumps({"api": api, "extends": "default", **tables}))


@cache
def _made(text: str) -> Policy:
    return Policy.model_validate(json.loads(text))


class StopIt(BaseException):
    """As KeyboardInterrupt is: no Exception."""


class HandClock:
    """A clock that a test moves: whoever sleeps sleeps until then, in threads and tasks alike."""

    def __init__(self) -> None:
        self._now = 0.0
        self._lock = threading.Lock()
        self._sleepers: dict[Callable[[], object], float] = {}  # what wakes them, and when
        self.slept: list[float] = []

    def time(self) -> float:
        return 1_750_000_000.0 + self._now

    def monotonic(self) -> float:
        return self._now

    @property
    def sleeping(self) -> int:
        """How many sleep now."""
        return len(self._sleepers)

    def sleep(self, seconds: float, /) -> None:
        woken = threading.Event()
        if self._lie_down(seconds, woken.set):
            try:
                assert woken.wait(PATIENCE), "nobody moved the time"
            finally:
                self._get_up(woken.set)

    async def asleep(self, seconds: float, /) -> None:
        woken = anyio.Event()
        wake = woken.set
        if self._lie_down(seconds, wake):
            try:
                with anyio.fail_after(PATIENCE):
                    await woken.wait()
            finally:
                self._get_up(wake)

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass, and wake whose time has come."""
        self._move_to(self._now + seconds)

    def skip(self) -> None:
        """Let time pass until the next sleeper wakes."""
        self._move_to(min(self._sleepers.values()))

    def _move_to(self, moment: float) -> None:
        with self._lock:
            self._now = moment
            due = [wake for wake, at in self._sleepers.items() if at <= moment]
            for wake in due:
                del self._sleepers[wake]
        for wake in due:
            wake()

    def _lie_down(self, seconds: float, wake: Callable[[], object]) -> bool:
        with self._lock:
            self.slept.append(seconds)
            if seconds <= 0:
                return False
            self._sleepers[wake] = self._now + seconds
            return True

    def _get_up(self, wake: Callable[[], object]) -> None:
        with self._lock:
            self._sleepers.pop(wake, None)


class Crew:
    """Callers under way, each in a thread or a task of its own. Left, it waits for all of them."""

    _group: TaskGroup

    def __init__(self, way: str) -> None:
        self.way = way
        self.alive = 0
        self.ended: list[Any] = []  # what they gave or raised, in the order in which they ended
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    async def __aenter__(self) -> Self:
        if self.way != "threads":
            self._group = anyio.create_task_group()
            await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if self.way != "threads":
            last = self._group.cancel_scope.deadline = anyio.current_time() + PATIENCE
            handled = await self._group.__aexit__(kind, error, trace)
            assert anyio.current_time() < last, "a caller did not end"
            return handled
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a caller did not end"
        return None

    def start(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Let somebody do this."""
        self.alive += 1
        if self.way != "threads":
            self._group.start_soon(self._one, function, arguments)
            return

        def work() -> None:
            steps: Iterator[object] = self._one(function, arguments).__await__()
            assert list(itertools.islice(steps, 1)) == []

        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def cancel(self) -> None:
        """Cancel all of them; they are tasks."""
        self._group.cancel_scope.cancel()

    async def _one(self, function: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]) -> None:
        try:
            result = await function(*arguments)
        except Exception as error:  # noqa: BLE001 - the test says what it must be
            result = error
        with self._lock:
            self.ended.append(result)
            self.alive -= 1

    def event(self) -> Any:
        """Make an event that callers and servers of this way can wait for."""
        return threading.Event() if self.way == "threads" else anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Go on when this has come about."""
        last = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < last, "it did not come about"
            if self.way == "threads":
                threading.Event().wait(0.0005)
            else:
                await anyio.lowlevel.checkpoint()

    async def play(self, clock: HandClock, queued: Callable[[], int] = lambda: 0) -> None:
        """Let time pass from one sleeper to the next until all have ended; `queued` counts those that wait, and do not sleep."""
        while True:
            await self.until(lambda: not self.alive or clock.sleeping >= self.alive - queued() > 0)
            if not self.alive:
                return
            clock.skip()


class Host:
    """A server in memory that answers by a function, after some time or when it is told to, and keeps count."""

    def __init__(
        self,
        way: str,
        answer: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(200),
        *,
        clock: HandClock | None = None,
        takes: Callable[[httpx.Request], float] = lambda _: 0.0,
    ) -> None:
        self.way = way
        self.arrived: list[str] = []  # paths
        self.at: list[float] = []  # monotonic seconds
        self.now = self.most = 0  # requests at a time
        self.gates: dict[str, Any] = {}  # path -> the event that its answer waits for
        self._answer = answer
        self._clock = clock
        self._takes = takes
        self._lock = threading.Lock()

    @property
    def transport(self) -> httpx.MockTransport:
        """What leads to it."""
        return httpx.MockTransport(self._serve if self.way == "threads" else self._aserve)

    def _serve(self, request: httpx.Request) -> httpx.Response:
        self._come(request)
        try:
            gate = self.gates.get(request.url.path)
            if gate is not None:
                assert gate.wait(PATIENCE), request.url
            if self._clock is not None and (takes := self._takes(request)):
                self._clock.sleep(takes)
            return self._answer(request)
        finally:
            self._go()

    async def _aserve(self, request: httpx.Request) -> httpx.Response:
        self._come(request)
        try:
            await anyio.lowlevel.checkpoint()
            gate = self.gates.get(request.url.path)
            if gate is not None:
                with anyio.fail_after(PATIENCE):
                    await gate.wait()
            if self._clock is not None and (takes := self._takes(request)):
                await self._clock.asleep(takes)
            return self._answer(request)
        finally:
            self._go()

    def _come(self, request: httpx.Request) -> None:
        with self._lock:
            self.arrived.append(request.url.path)
            self.at.append(0.0 if self._clock is None else self._clock.monotonic())
            self.now += 1
            self.most = max(self.most, self.now)

    def _go(self) -> None:
        with self._lock:
            self.now -= 1


class Weather:
    """A server in memory that is down or up as a test says, and counts what it is asked."""

    def __init__(self, status: int = 503, **response: Any) -> None:
        self.status = status
        self.asked = 0
        self._response = response

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        return httpx.Response(self.status, **self._response)


def guard_of(client: Any, url: str = BASE) -> Any:
    """Find what protects a client's calls to this URL."""
    real = client.real if isinstance(client, Caller) else client
    core = real._transport.core
    return core.guards.of(core.rules, *_httpx.HOST.origin_of(httpx.URL(url)))


def left_in(guard: Any) -> dict[str, int]:
    """List what calls that are over have left behind: nothing, if all is well."""
    left = {"crowd": guard.crowd.size}
    if guard.bulkhead is not None:
        left |= {"places": guard.bulkhead.in_use, "queue": guard.bulkhead.waiting}
    if guard.breaker is not None:
        closed = (
            guard.breaker._until is None
        )  # then a probe that others have closed it before is of no account
        left |= {
            "probes": 0 if closed else len(guard.breaker._probing),
            "parked": len(guard.breaker._waiting),
        }
    for number, (_, pacer) in enumerate(guard.paces):
        left[f"line {number}"] = len(pacer._line)
    return {name: count for name, count in left.items() if count}
