"""The third driver: it carries out what a flow asks for on virtual time, without a thread, a socket or a sleep.

Law of this file: it decides nothing, as the two drivers of `_drive.py` do not. The flow, the engines behind it and the rules of
a race are the library's own, and a call begins and ends as in `ResilientTransport.handle_request`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from resilient_client._flow import Ask, Body, Queue, Race, Read, Send, Sleep, Told, flow
from resilient_client._race import _Answer, _is_over, _tell, _winner

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_client._core import Core
    from resilient_client._flow import Step, Steps
    from resilient_client._flow.attempt import Call
    from resilient_client._http import Request, Response

    from .server import Answered, Server
    from .world import World

__all__ = ["Journey"]


class Journey:
    """One call, from its begin to its end. `ended` is told of it then."""

    def __init__(  # noqa: PLR0913 - all that a call meets, by keyword
        self,
        request: Request,
        *,
        world: World,
        server: Server,
        core: Core,
        timeout: float,
        ended: Callable[[Journey], None],
    ) -> None:
        self.requests = 0
        self.call: Call = core.call(request, core.clock.monotonic())
        self._world = world
        self._server = server
        self._core = core
        self._timeout = timeout  # seconds that an attempt may take
        self._ended = ended

    def begin(self) -> None:
        """Set out."""
        call, crowd = self.call, self.call.guard.crowd
        crowd.began = crowd.begin()
        if call.begun:
            self._send(call.request, None, self._opened)
        else:
            self._lead(None)

    def _opened(self, brought: Response | Exception) -> None:
        told = self._told(brought)
        if told.response is not None and told.response.status_code in self.call.rules.at_once:
            self._core.let_through(self.call, told.response)
            self._end(told.response)
        else:
            self._lead(told)

    def _lead(self, opening: Told | None) -> None:
        self.call.opening = opening
        self._steps: Steps = flow(self.call)
        self._go(None)

    def _go(self, told: Told | None) -> None:
        """Tell the flow what its step has come to, and carry out what it asks for until that takes time."""
        try:
            step = self._steps.send(told)  # type: ignore[arg-type]  # None begins it
            while (told := self._carried_out(step)) is not None:
                step = self._steps.send(told)
        except StopIteration as end:
            response: Response | None = end.value
        else:
            return
        self._end(response)

    def _end(self, response: Response | None) -> None:
        crowd = self.call.guard.crowd
        crowd.ended = crowd.end()
        if response is not None:
            self._core.room(self.call, response)  # its body is in memory: its room is free at once
        self._ended(self)

    def _carried_out(self, step: Step) -> Told | None:
        """Carry a step out; None: it takes time, and `_go` is told at its end."""
        match step:
            case Send(request, until):
                self._send(request, until, lambda brought: self._go(self._told(brought)))
            case Race():
                _Field(step, self._world, self._send, self._go).start()
            case Sleep(seconds):
                self._world.after(seconds, lambda: self._go(self._now()))
            case Queue():
                self._queue(step)
            case Read(response, limit):
                whole = len(response.content) <= limit
                body = Body(response.content, "whole") if whole else Body(None, "long")
                return self._now()._replace(response=response, body=body, wall=self._core.clock.time())
            case Ask(question):
                return self._now()._replace(answer=question())
            case _:  # to sign, to let go of a response, to tell somebody: it takes no time
                return self._now()
        return None

    def _send(self, request: Any, until: float | None, answered: Answered) -> None:
        self.requests += 1
        patience = self._timeout if until is None else min(self._timeout, max(0.0, until - self._world.now))
        self._server.send(request, patience, answered)

    def _queue(self, step: Queue) -> None:
        waiting = [True]

        def go() -> None:
            if waiting:
                waiting.clear()
                self._go(self._now())

        # Who makes room is in the middle of a step of its own.
        step.place.wake = partial(self._world.after, 0.0, go)
        if step.until is not None:
            self._world.at(step.until, go)

    def _now(self) -> Told:
        return Told(self._world.now)

    def _told(self, brought: Response | Exception) -> Told:
        if not isinstance(brought, Exception):
            return self._core.told(brought, None)
        return self._core.told(None, brought)


class _Field:
    """A request and its hedge; whichever answer counts, `_race.py` says."""

    def __init__(
        self,
        step: Race,
        world: World,
        send: Callable[[Any, float | None, Answered], None],
        go: Callable[[Told], None],
    ) -> None:
        self._step = step
        self._world = world
        self._send = send
        self._go = go
        self._answers: list[_Answer] = []
        self._sent = 0
        self._over = False

    def start(self) -> None:
        """Send the first one."""
        self._start(self._step.request)
        self._world.after(self._step.delay, self._hedge)

    def _hedge(self) -> None:
        second = None if self._answers else self._step.second()
        if second is not None:
            self._start(second)

    def _start(self, request: Request) -> None:
        self._sent += 1
        self._send(request, self._step.until, partial(self._come, request))

    def _come(self, request: Request, brought: Response | Exception) -> None:
        if self._over:
            return
        if not isinstance(brought, Exception):
            self._answers.append(_Answer(request, brought))
        else:
            self._answers.append(_Answer(request, None, brought))
        self._over = _is_over(self._answers, self._sent)
        if self._over:
            self._go(_tell(_winner(self._answers, self._step.request), self._sent, self._world.clock))
