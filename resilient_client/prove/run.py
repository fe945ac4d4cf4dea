"""One run: a sandbox on a loopback socket that fails in every way, and all creates, half from threads and half from tasks.

Law of this file: it has the creates made and notes what their callers were told. Whether that is right is for `books` to say.
"""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.from_thread
import httpx

from resilient_client.loading import rulebook
from resilient_client.sandbox import RandomFaults, Sandbox, every_fault
from resilient_client.sandbox.clock import ScaledClock

from .books import Told
from .wire import Wire, inspect

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from .callers import Caller
    from .subjects import Subject

__all__ = ["PATIENCE", "Run"]

THREADS = 16
TASKS = 64
SPEED = 100.0  # how many seconds of the run's time pass in a real one, for client and server alike
PATIENCE = 2.0  # real seconds that a client waits for a reply: more than a busy machine takes for one
TAG = "X-Sandbox-Call"


class Run:
    """Everything that is open while the creates are made; as a context manager it closes all of it, whatever happens."""

    def __init__(  # noqa: PLR0913 - what a run is made of, by keyword
        self,
        subject: Subject,
        *,
        caller: Caller,
        creates: int,
        rate: float,
        seed: int,
        patience: float = PATIENCE,
    ) -> None:
        """Set up, without opening anything; `patience` is the clients' timeout in real seconds."""
        self.subject = subject
        self.caller = caller
        self.rate = rate
        self.seed = seed
        self.clock = ScaledClock(SPEED)
        # Half as late again as anybody waits: that is a lost reply, and no mere delay.
        self.late = f"latency:{1.5 * patience * SPEED:g}"
        kinds = [self.late if kind == "latency" else kind for kind in every_fault(subject.api)]
        self.kinds = len(kinds)
        self.sandbox: Sandbox[Any] = Sandbox(
            subject.api,
            seed=seed,
            clock=self.clock,
            faults=RandomFaults(rate, kinds=kinds, seed=seed),
            **subject.options(creates),
        )
        self.asked = subject.marks(self.sandbox.state, creates)
        self._timeout = httpx.Timeout(patience, pool=None)
        self._done: queue.SimpleQueue[Told | Exception] = queue.SimpleQueue()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(self.sandbox)
            self._client = opening.enter_context(self.caller.open(self.sandbox, self._timeout))
            self._portal = opening.enter_context(anyio.from_thread.start_blocking_portal())
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="caller")
            opening.callback(self._threads.shutdown, cancel_futures=True)
            opening.callback(self.sandbox.close)  # nobody waits for a reply any longer
            opening.callback(self.clock.stop)  # first of all: nobody sleeps on while the rest is closed
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def requests(self) -> int:
        """Tell how many requests have reached the server."""
        return len(self.sandbox.state.requests)

    def faults(self) -> Counter[str]:
        """Count what the server injected, by kind."""
        tally: Counter[str] = self.sandbox.state.tally()
        if self.late in tally:
            tally["latency"] = tally.pop(self.late)
        return tally

    def held(self) -> Mapping[str, int]:
        """Count what the server holds, by mark."""
        return self.subject.held(self.sandbox.state)

    def wire(self) -> Wire:
        """Look at what the server has seen of the creates."""
        path = self.subject.path
        return inspect(
            self.sandbox.state.requests,
            route=f"POST {path}",
            asked=self.asked,
            keyed=rulebook(self.subject.api).idempotency.routes.match("POST", path),
        )

    def play(self) -> Iterator[Told]:
        """Have all creates made, and give what the caller of each was told, when it was."""
        for mark in self.asked[::2]:
            self._threads.submit(self._create, mark)
        tasks = self._portal.start_task_soon(self._acreate_all, self.asked[1::2])
        for _ in self.asked:
            told = self._done.get()
            if isinstance(told, Exception):
                raise told
            yield told
        tasks.result()

    def _request(self, mark: str) -> dict[str, Any]:
        return {
            "url": self.subject.path,
            "json": self.subject.body(self.sandbox.state, mark),
            "headers": {TAG: mark},
        }

    def _create(self, mark: str) -> None:
        try:
            told = Told(mark, self.caller.create(self._client, self._request(mark), self.clock))
        except Exception as error:  # noqa: BLE001 - whatever it is, it goes into the books
            told = _told_nothing(mark, error)
        self._done.put(told)

    async def _acreate_all(self, marks: Sequence[str]) -> None:
        """Make creates in a number of tasks, until there are none left."""
        left = iter(marks)

        async def work(client: httpx.AsyncClient) -> None:
            for mark in left:
                try:
                    told = Told(mark, await self.caller.acreate(client, self._request(mark), self.clock))
                except Exception as error:  # noqa: BLE001 - whatever it is, it goes into the books
                    told = _told_nothing(mark, error)
                self._done.put(told)

        try:
            client = self.caller.aopen(self.sandbox, self._timeout)
            async with client, anyio.create_task_group() as tasks:
                for _ in range(TASKS):
                    tasks.start_soon(work, client)
        except Exception as error:
            self._done.put(error)  # where the answers are awaited: there will be none
            raise


def _told_nothing(mark: str, error: Exception) -> Told:
    return Told(mark, None, failure=f"{type(error).__name__}: {error}")
