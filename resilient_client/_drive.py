"""The two loops that do what a flow asks: all the I/O of a retry, once for threads and once for tasks.

Law of this file: it decides nothing. The two halves are the same but for `await`, and `tests/test_twins.py` holds them to it.
A response that is held when anything goes wrong, a cancellation included, is closed.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ._deadline import UNTIL, Shrinking
from ._flow import Ask, Body, Discard, Queue, Race, Read, Send, Sign, Sleep, Tell, Told, flow
from ._flow.attempt import FAILED, OPTIONS, longer_than
from ._wake import from_any_thread
from .clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._core import Core
    from ._flow.attempt import Call
    from ._http import Library, Request, Response
    from .clock import Clock

__all__ = ["adrive", "drive"]

_A_GLANCE = 0.02  # seconds
_NOTHING = Told(0.0)
_MOST_SIGN_INS = 8  # requests that an auth may send of its own before the one that it signs


class Transport(Protocol):
    """The transport whose calls are driven, in threads."""

    core: Core
    _engine: Any  # what sends

    @property
    def handle_request(self) -> Callable[[Any], Any]:
        """Send a request, as often as its policy asks."""


class AsyncTransport(Protocol):
    """The same for tasks."""

    core: Core
    _engine: Any

    @property
    def handle_async_request(self) -> Callable[[Any], Awaitable[Any]]:
        """Send a request, as often as its policy asks."""


def _shrink(request: Request, until: float, clock: Clock) -> None:
    request.extensions["timeout"] = Shrinking(request.extensions.get("timeout") or {}, until, clock)


def _login(request: Request, step: Sign, clock: Clock) -> Request:
    """Let a sign-in have the timeouts, and what is left of the deadline, of the request it is made for, and be known as one."""
    request.extensions.setdefault(FAILED, _nobody)
    if "timeout" not in request.extensions and "timeout" in step.request.extensions:
        request.extensions["timeout"] = step.request.extensions["timeout"]
    if step.until is not None:
        left = max(step.until - clock.monotonic(), Shrinking.LEAST)
        own = request.extensions.get(OPTIONS) or {}
        request.extensions[OPTIONS] = {**own, "deadline": min(own.get("deadline") or left, left)}
    return request


def _nobody(_error: Exception) -> None:
    """Tell nobody of the error that a sign-in ends with: its auth did not ask."""


def _prepare_to_sign(step: Sign) -> Any:
    forget = getattr(step.auth, "forget", None)
    if step.refused is not None and forget is not None:
        forget(step.refused)
    return step.auth


def _must_end(step: Read, size: int, now: float, until: float) -> str | None:
    """Tell whether reading must end here: too long a body, or too long a time."""
    if size > step.limit:
        return "long"
    if now >= until and step.response.headers.get("Content-Length") != str(size):
        return "slow" if step.until is None else "late"
    return None


def _glance(until: float | None, clock: Clock) -> float | None:
    """Tell how many real seconds to wait for an event before the clock is looked at again; None: it bounds nothing.

    Only the system's clock is sure to run as fast as events are waited for.
    """
    if until is None:
        return None
    return max(0.0, until - clock.monotonic()) if clock is SYSTEM else _A_GLANCE


# ---------------------------------------------------------------------------------------------------- threads


def drive(  # noqa: C901, PLR0912 - one branch for each step that there is
    call: Call, transport: Transport
) -> Any:
    """Carry out in this thread what a call's flow asks for, from the answer on that the call may have got already."""
    clock = transport.core.clock
    held = None if call.opening is None else call.opening.response
    steps = flow(call)
    bound = None if call.until is None else UNTIL.set((call.until, clock))
    try:
        step = next(steps)
        while True:
            if isinstance(step, Send):
                try:
                    if step.until is not None:
                        _shrink(step.request, step.until, clock)
                    held = transport._engine.handle_request(step.request)  # noqa: SLF001 - our own
                except Exception as error:  # noqa: BLE001 - the flow decides what it is
                    told = Told(clock.monotonic(), None, error, None, clock.time())
                else:
                    told = Told(clock.monotonic(), held)
            elif isinstance(step, Read):
                told = _read(step, clock, transport.core.host)
            elif isinstance(step, Discard):
                held = None
                close(step.response)
                told = Told(clock.monotonic())
            elif isinstance(step, Sleep):
                told = _NOTHING  # what came before is not held while it sleeps
                clock.sleep(step.seconds)
                told = Told(clock.monotonic())
            elif isinstance(step, Tell):
                step.call.reporter.tell(step)
                told = Told(clock.monotonic())
            elif isinstance(step, Ask):
                told = _ask(step, clock)
            elif isinstance(step, Queue):
                _queue(step, clock)
                told = Told(clock.monotonic())
            elif isinstance(step, Race):
                told = _raced(step, transport, clock)
                held = told.response
            else:
                told = _sign(step, transport.handle_request, clock)
            step = steps.send(told)
    except StopIteration as end:
        held = None
        return end.value
    finally:
        steps.close()
        if bound is not None:
            UNTIL.reset(bound)
        if held is not None:
            close(held)


def close(response: Response) -> None:
    """Give a response's connection back, whatever happens."""
    with suppress(Exception):
        response.stream.close()


def _raced(step: Race, transport: Transport, clock: Clock) -> Told:
    from ._race import race  # noqa: PLC0415 - only who hedges pays for it

    sign = partial(_sign, sign_in=transport.handle_request, clock=clock)
    return race(step, transport._engine.handle_request, sign, clock)  # noqa: SLF001 - our own


def _ask(step: Ask, clock: Clock) -> Told:
    try:
        return Told(clock.monotonic(), answer=step.question())
    except Exception as error:  # noqa: BLE001 - the flow decides what it is
        return Told(clock.monotonic(), None, error, None, clock.time())


def _queue(step: Queue, clock: Clock) -> None:
    granted = threading.Event()
    step.place.wake = granted.set
    while step.place.state == "waiting" and (step.until is None or clock.monotonic() < step.until):
        granted.wait(_glance(step.until, clock))


def _read(step: Read, clock: Clock, host: Library) -> Told:
    response = step.response
    stream: Any = response.stream
    if type(stream) is host.ByteStream:  # in memory: it cannot break off, nor be waited for
        content = b"".join(stream)
        if len(content) <= step.limit:
            return Told(clock.monotonic(), response, None, Body(content, "whole"), clock.time())
    if longer_than(response, step.limit):
        return Told(clock.monotonic(), response, None, Body(None, "long"), clock.time())
    until = step.until if step.until is not None else clock.monotonic() + step.patience
    chunks: list[bytes] = []
    size = 0
    state: Any = None
    failure: Exception | None = None
    rest = iter(stream)
    try:
        for chunk in rest:
            chunks.append(chunk)
            size += len(chunk)
            state = _must_end(step, size, clock.monotonic(), until)
            if state is not None:
                break
    except Exception as error:  # noqa: BLE001 - kept, and raised to whoever reads on
        state, failure = "broken", error
    if state is None:
        with suppress(Exception):
            stream.close()
        content = b"".join(chunks)
        response.stream = host.ByteStream(content)
        return Told(clock.monotonic(), response, None, Body(content, "whole"), clock.time())
    response.stream = host.Kept(chunks, rest, stream, host.late() if state == "late" else failure)
    return Told(clock.monotonic(), response, None, Body(None, state), clock.time())


def _sign(step: Sign, sign_in: Callable[[Request], Response], clock: Clock) -> Told:
    auth = _prepare_to_sign(step)
    try:
        steps = auth.sync_auth_flow(step.request)
        try:
            request = next(steps)
            for _ in range(_MOST_SIGN_INS):
                if request is step.request:
                    return Told(clock.monotonic())
                response = sign_in(_login(request, step, clock))
                response.request = request
                try:
                    request = steps.send(response)
                finally:
                    response.close()
        finally:
            steps.close()
    except Exception as error:  # noqa: BLE001 - the flow decides what it is
        return Told(clock.monotonic(), None, error, None, clock.time())
    return Told(clock.monotonic(), None, _never_signs(auth), None, clock.time())


# ------------------------------------------------------------------------------------------------------ tasks


async def adrive(  # noqa: C901, PLR0912 - one branch for each step that there is
    call: Call, transport: AsyncTransport
) -> Any:
    """Carry out in this task what a call's flow asks for, from the answer on that the call may have got already."""
    clock = transport.core.clock
    held = None if call.opening is None else call.opening.response
    steps = flow(call)
    bound = None if call.until is None else UNTIL.set((call.until, clock))
    try:
        step = next(steps)
        while True:
            if isinstance(step, Send):
                try:
                    if step.until is not None:
                        _shrink(step.request, step.until, clock)
                    held = await transport._engine.handle_async_request(step.request)  # noqa: SLF001 - our own
                except Exception as error:  # noqa: BLE001 - the flow decides what it is
                    told = Told(clock.monotonic(), None, error, None, clock.time())
                else:
                    told = Told(clock.monotonic(), held)
            elif isinstance(step, Read):
                told = await _aread(step, clock, transport.core.host)
            elif isinstance(step, Discard):
                held = None
                await aclose(step.response)
                told = Told(clock.monotonic())
            elif isinstance(step, Sleep):
                told = _NOTHING  # what came before is not held while it sleeps
                await clock.asleep(step.seconds)
                told = Told(clock.monotonic())
            elif isinstance(step, Tell):
                await step.call.reporter.tell(step)
                told = Told(clock.monotonic())
            elif isinstance(step, Ask):
                told = await _aask(step, clock)
            elif isinstance(step, Queue):
                await _aqueue(step, clock)
                told = Told(clock.monotonic())
            elif isinstance(step, Race):
                told = await _araced(step, transport, clock)
                held = told.response
            else:
                told = await _asign(step, transport.handle_async_request, clock)
            step = steps.send(told)
    except StopIteration as end:
        held = None
        return end.value
    finally:
        steps.close()
        if bound is not None:
            UNTIL.reset(bound)
        if held is not None:
            await aclose(held)


async def aclose(response: Response) -> None:
    """Give a response's connection back, whatever happens."""
    import anyio  # noqa: PLC0415 - only a call that fails pays for it

    # A cancelled task must still give its connection back.
    with anyio.CancelScope(shield=True), suppress(Exception):
        await response.stream.aclose()


async def _araced(step: Race, transport: AsyncTransport, clock: Clock) -> Told:
    from ._race import arace  # noqa: PLC0415 - only who hedges pays for it

    sign = partial(_asign, sign_in=transport.handle_async_request, clock=clock)
    return await arace(step, transport._engine.handle_async_request, sign, clock)  # noqa: SLF001 - our own


async def _aask(step: Ask, clock: Clock) -> Told:
    import anyio.to_thread  # noqa: PLC0415 - only a call that asks far away pays for it

    try:
        return Told(clock.monotonic(), answer=await anyio.to_thread.run_sync(step.question))
    except Exception as error:  # noqa: BLE001 - the flow decides what it is
        return Told(clock.monotonic(), None, error, None, clock.time())


async def _aqueue(step: Queue, clock: Clock) -> None:
    import anyio  # noqa: PLC0415 - only a call that has to wait pays for it

    granted = anyio.Event()
    step.place.wake = from_any_thread(granted)
    while step.place.state == "waiting" and (step.until is None or clock.monotonic() < step.until):
        with anyio.move_on_after(_glance(step.until, clock)):
            await granted.wait()


async def _aread(step: Read, clock: Clock, host: Library) -> Told:
    response = step.response
    stream: Any = response.stream
    if type(stream) is host.ByteStream:  # in memory: it cannot break off, nor be waited for
        content = b"".join(stream)
        if len(content) <= step.limit:
            return Told(clock.monotonic(), response, None, Body(content, "whole"), clock.time())
    if longer_than(response, step.limit):
        return Told(clock.monotonic(), response, None, Body(None, "long"), clock.time())
    until = step.until if step.until is not None else clock.monotonic() + step.patience
    chunks: list[bytes] = []
    size = 0
    state: Any = None
    failure: Exception | None = None
    rest = aiter(stream)
    try:
        async for chunk in rest:
            chunks.append(chunk)
            size += len(chunk)
            state = _must_end(step, size, clock.monotonic(), until)
            if state is not None:
                break
    except Exception as error:  # noqa: BLE001 - kept, and raised to whoever reads on
        state, failure = "broken", error
    if state is None:
        with suppress(Exception):
            await stream.aclose()
        content = b"".join(chunks)
        response.stream = host.ByteStream(content)
        return Told(clock.monotonic(), response, None, Body(content, "whole"), clock.time())
    response.stream = host.AsyncKept(chunks, rest, stream, host.late() if state == "late" else failure)
    return Told(clock.monotonic(), response, None, Body(None, state), clock.time())


async def _asign(step: Sign, sign_in: Callable[[Request], Awaitable[Response]], clock: Clock) -> Told:
    auth = _prepare_to_sign(step)
    try:
        steps = auth.async_auth_flow(step.request)
        try:
            request = await anext(steps)
            for _ in range(_MOST_SIGN_INS):
                if request is step.request:
                    return Told(clock.monotonic())
                response = await sign_in(_login(request, step, clock))
                response.request = request
                try:
                    request = await steps.asend(response)
                finally:
                    await response.aclose()
        finally:
            await steps.aclose()
    except Exception as error:  # noqa: BLE001 - the flow decides what it is
        return Told(clock.monotonic(), None, error, None, clock.time())
    return Told(clock.monotonic(), None, _never_signs(auth), None, clock.time())


def _never_signs(auth: object) -> RuntimeError:
    return RuntimeError(
        f"{type(auth).__name__} sent {_MOST_SIGN_INS} requests of its own and never came to the one it was to sign; "
        "an auth that runs per attempt must yield the very request that it was given"
    )
