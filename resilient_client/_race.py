"""The race of a request and its hedge: how `Race` is carried out, once in threads and once in tasks.

The laws: the first good answer wins, and nothing done to the other one touches it. An answer that nobody will see is closed
by whoever finds it. `second` is asked once, after the delay, and only while no answer has come.

Good is a status below 500 that is neither 429 nor 409, by which an API may mean that the other one, of the same key, is still
being worked on. A worse answer counts when both have come and neither is good: one of these two before
another response, for it says how long to wait; a response before an exception, for it is the API's own word; else the first
request's, which the caller knows. Where only one was sent, its answer counts, whatever it is.

Threads: a thread that waits for an answer cannot be called off, so both requests are sent by workers, and a loser's answer is
closed by its worker when it comes. Tasks: the first request is sent by the caller's own task, the second by a child, and the
loser is cancelled.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING

from ._drive import _shrink, aclose, close
from ._flow import Raced, Sign, Told

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from ._flow import Race
    from ._http import Request, Response
    from .clock import Clock

__all__ = ["Workers", "arace", "race"]


class _Answer:
    """What one request brought."""

    __slots__ = ("error", "request", "response")

    def __init__(
        self, request: Request, response: Response | None, error: BaseException | None = None
    ) -> None:
        self.request = request
        self.response = response
        self.error = error

    @property
    def worth(self) -> int:
        """Rank it; 3 ends the race: a good answer, or what is no error of a request but the program's end."""
        if self.response is None:
            return 0 if isinstance(self.error, Exception) else 3
        status = self.response.status_code
        return 2 if status in {409, 429} else 1 if status >= 500 else 3


def _is_over(answers: list[_Answer], sent: int) -> bool:
    return len(answers) >= sent or any(answer.worth == 3 for answer in answers)


def _winner(answers: list[_Answer], first: Request) -> _Answer:
    for answer in answers:  # in the order in which they came
        if answer.worth == 3:
            return answer
    return max(answers, key=lambda answer: (answer.worth, answer.request is first))


def _tell(answer: _Answer, sent: int, clock: Clock) -> Told:
    raced = Raced(answer.request, sent)
    if answer.error is None:
        return Told(clock.monotonic(), answer.response, raced=raced)
    if not isinstance(answer.error, Exception):
        raise answer.error
    return Told(clock.monotonic(), None, answer.error, None, clock.time(), raced=raced)


def _real_seconds(seconds: float, clock: Clock) -> float:
    """Tell how long that is for the network, which knows no clock but the machine's."""
    return seconds / float(getattr(clock, "speed", 1.0))


# ---------------------------------------------------------------------------------------------------- threads


def race(step: Race, send: Callable[[Request], Response], sign: Callable[[Sign], Told], clock: Clock) -> Told:
    """Carry a race out for this thread, which waits; what `send` raises is told.

    Raises:
        BaseException: of `second`, or what `send` raised that is no Exception; whatever comes then is closed.
    """
    field = _Field(send)
    delay = _real_seconds(step.delay, clock)
    try:
        field.start(step, step.request, clock)
        if not field.wait(delay):
            second = step.second()
            if second is not None and step.auth is not None:
                signed = sign(Sign(second, step.auth, None, step.until))
                second = second if signed.error is None else None
            if second is not None and not field.answers:
                field.start(step, second, clock)
            field.wait()
        winner = _winner(field.answers, step.request)
        told = _tell(winner, field.sent, clock)
        field.call_off(winner)
    except BaseException:
        field.call_off()
        raise
    return told


class _Field:
    """The requests of one race that are under way, and the thread that waits for their answers."""

    __slots__ = ("_bell", "_send", "answers", "off", "sent")

    def __init__(self, send: Callable[[Request], Response]) -> None:
        self._send = send
        self._bell = threading.Lock()
        self._bell.acquire()
        self.answers: list[_Answer] = []  # whoever takes one out closes it
        self.sent = 0
        self.off = False

    def start(self, step: Race, request: Request, clock: Clock) -> None:
        """Have a worker send a request; where no thread is to be had, the first is sent by this one and the second not."""
        if step.until is not None:
            _shrink(request, step.until, clock)
        context = copy_context()  # the deadline's, and whoever traces
        self.sent += 1
        if not _WORKERS.start(lambda: context.run(self._run, request)):
            if self.sent == 1:
                _ring(self._run(request))
            else:
                self.sent = 1

    def _run(self, request: Request) -> threading.Lock:
        try:
            answer = _Answer(request, self._send(request))
        except BaseException as error:  # noqa: BLE001 - the thread that waits is told
            answer = _Answer(request, None, error)
        self.answers.append(answer)
        if self.off:
            self._drop(answer)
        return self._bell

    def wait(self, seconds: float = -1) -> bool:
        """Wait until the race is over, or for so many seconds; tell whether it is over."""
        while self._bell.acquire(timeout=seconds):  # it rings after each answer
            if _is_over(self.answers, self.sent):
                return True
        return False

    def call_off(self, winner: _Answer | None = None) -> None:
        """Close what has come, but for the winner, and what is yet to come."""
        self.off = True
        for answer in tuple(self.answers):
            if answer is not winner:
                self._drop(answer)

    def _drop(self, answer: _Answer) -> None:
        with suppress(ValueError):  # it was taken out by another thread
            self.answers.remove(answer)
            if answer.response is not None:
                close(answer.response)


def _ring(bell: threading.Lock) -> None:
    with suppress(RuntimeError):  # it has been rung, and not been heard yet
        bell.release()


class _Worker:
    """One thread's work, and what sets it going."""

    __slots__ = ("go", "job")

    def __init__(self, job: Callable[[], threading.Lock]) -> None:
        self.go = threading.Lock()
        self.go.acquire()
        self.job = job


class Workers:
    """Threads that wait for work: as many as were ever needed at a time, and after `patience` idle seconds each ends.

    They are daemons: a program does not wait for them at its end, and a loser's answer may never come.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._idle: list[_Worker] = []  # the one that worked last is taken first, so that the others may end

    def start(self, job: Callable[[], threading.Lock]) -> bool:
        """Have a thread do this, which raises nothing, and then ring; False: no thread is to be had."""
        try:
            worker = self._idle.pop()
        except IndexError:
            thread = threading.Thread(
                target=self._work, args=(_Worker(job),), name="resilient_client race", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # the system gives no more, or the interpreter is ending
                return False
        else:
            worker.job = job
            worker.go.release()
        return True

    def _work(self, worker: _Worker) -> None:
        while True:
            bell = worker.job()
            del worker.job  # it holds what the request brought
            self._idle.append(worker)
            _ring(bell)  # last: a thread that is woken while this one goes on has to wait for it once more
            if not worker.go.acquire(timeout=self._patience):
                try:
                    self._idle.remove(worker)
                except ValueError:  # it has been given work at this very moment
                    worker.go.acquire()
                else:
                    return

    def forget(self) -> None:
        """Forget the threads: a forked child has none of them."""
        self._idle.clear()


_WORKERS = Workers(patience=10.0)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_WORKERS.forget)


# ------------------------------------------------------------------------------------------------------ tasks


async def arace(
    step: Race,
    send: Callable[[Request], Awaitable[Response]],
    sign: Callable[[Sign], Awaitable[Told]],
    clock: Clock,
) -> Told:
    """Carry a race out for this task, under asyncio or trio; what `send` raises is told.

    Raises:
        BaseException: of `second`, or what `send` raised that is no Exception, and a cancellation; whatever has come then is
            closed.
    """
    field = _AsyncField(step, send, sign, clock)
    try:
        await field.run()
        winner = _winner(field.answers, step.request)
        told = _tell(winner, field.sent, clock)
        await field.call_off(winner)
    except BaseException:
        await field.call_off()
        raise
    return told


class _AsyncField:
    """The same for a task: both requests are under way in one task group, whose end is the end of both."""

    __slots__ = ("_clock", "_group", "_hedging", "_send", "_sign", "_step", "_timer", "answers", "sent")

    _group: TaskGroup

    def __init__(
        self,
        step: Race,
        send: Callable[[Request], Awaitable[Response]],
        sign: Callable[[Sign], Awaitable[Told]],
        clock: Clock,
    ) -> None:
        self._step = step
        self._send = send
        self._sign = sign
        self._clock = clock
        self._timer: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._hedging = False
        self.answers: list[_Answer] = []
        self.sent = 1

    async def run(self) -> None:
        """Run the race to its end."""
        import asyncio  # noqa: PLC0415 - threads do without

        import anyio  # noqa: PLC0415 - as above

        failure: BaseException | None = None
        try:
            async with anyio.create_task_group() as self._group:
                delay = _real_seconds(self._step.delay, self._clock)
                try:
                    loop = asyncio.get_running_loop()
                except RuntimeError:  # trio has no timers but tasks
                    await self._hedge(delay)
                else:
                    self._timer = loop.call_later(delay, self._on_time, loop)
                try:
                    await self._run(self._step.request)
                finally:
                    if self._timer is not None:
                        self._timer.cancel()
        except BaseExceptionGroup as errors:
            cancelled = anyio.get_cancelled_exc_class()
            failure = next(error for error in errors.exceptions if not isinstance(error, cancelled))
        if failure is not None:  # bare, as `send` or `second` raised it
            raise failure

    def _on_time(self, loop: asyncio.AbstractEventLoop) -> None:
        # anyio adds to a task group from within a task only: a timer's callback has no current one.
        self._timer = loop.create_task(self._hedge(0.0))

    async def _hedge(self, delay: float) -> None:
        self._hedging = True
        self._group.start_soon(self._run_second, delay)

    async def _run_second(self, delay: float) -> None:
        import anyio  # noqa: PLC0415 - threads do without

        await anyio.sleep(delay)
        second = None if self.answers else self._step.second()
        if second is not None and self._step.auth is not None:
            signed = await self._sign(Sign(second, self._step.auth, None, self._step.until))
            second = second if signed.error is None else None
        if second is not None and not self.answers:
            self.sent = 2
            await self._run(second)

    async def _run(self, request: Request) -> None:
        if self._step.until is not None:
            _shrink(request, self._step.until, self._clock)
        try:
            answer = _Answer(request, await self._send(request))
        except Exception as error:  # noqa: BLE001 - the flow decides what it is
            answer = _Answer(request, None, error)
        self.answers.append(answer)
        if self._hedging and _is_over(self.answers, self.sent):
            self._group.cancel_scope.cancel()

    async def call_off(self, winner: _Answer | None = None) -> None:
        """Close what has come, but for the winner."""
        for answer in self.answers:
            if answer is not winner and answer.response is not None:
                await aclose(answer.response)
