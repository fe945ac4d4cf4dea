"""The transports: an httpx transport around another, that reads each reply by the API's policy and does what it asks.

What the two have in common is in `_core.py`; what is left to each is which driver it uses.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import httpx

from ._bodies import BYTES, AsyncWatched, Watched
from ._core import Core, observed_by
from ._drive import aclose, adrive, close, drive
from ._flow.entry import abandon
from ._httpx import HOST, bound_reads, engines_of, quicken
from ._libraries import refuse_other
from .outcome import RECORD

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType
    from typing import Unpack

    from ._flow.attempt import Call
    from ._guard.settings import Protections
    from .clock import Clock
    from .observers import Observer
    from .policy import Policy

__all__ = ["AsyncResilientTransport", "ResilientTransport"]

UNOBSERVED = nullcontext()

# What __getattr__ must not fetch from the inner transport: the way round the retries, and what stands here while it is made.
_OWN = frozenset({"core", "_engine", "_inner", "_quick", "handle_request", "handle_async_request"})


class ResilientTransport(httpx.BaseTransport):
    """An httpx transport that retries as an API's policy says, around any other transport.

    Args:
        policy: a shipped policy's name, a path to a policy file, a `Policy`, or None for the default policy.
        transport: what sends; `httpx.HTTPTransport()` when left out.
        clock: what tells the time and waits; the system's when left out, or that of `testing.use_clock`.
        deadline: seconds that one call may take, attempts, waits and the reading of an error's body together.
        observers: who is told of attempts, retries and ends of calls; see `resilient_client.observers`.
        protections: `budget`, `pace`, `breaker`, `hedge`, `bulkhead`, `shared` and `scope`; see `resilient_client.protection`.

    Works in `httpx.Client(transport=…)` and in `mounts={…}`, one policy per host. The response of the last attempt is returned
    as httpx would return it; `outcome_of(response)` tells what happened.

    Raises:
        PolicyError: the policy cannot be used; the message says what to do.
        ValueError: the deadline is no number above 0.
        TypeError: an observer has nothing to be told by, or must be awaited where nothing can be; a protection cannot be set
            to what was given; or the transport is one of another library.
    """

    def __init__(
        self,
        policy: str | Path | Policy | None = None,
        transport: httpx.BaseTransport | None = None,
        *,
        clock: Clock | None = None,
        deadline: float | None = None,
        observers: Iterable[Observer] = (),
        **protections: Unpack[Protections],
    ) -> None:
        refuse_other(transport, HOST.name, "a transport")
        self.core = Core(HOST, policy, clock=clock, deadline=deadline, protections=protections)
        self.core.tell(observed_by(observers, tasks=False))
        self._inner: httpx.BaseTransport = httpx.HTTPTransport() if transport is None else transport
        self._quick = self._engine = self._inner  # what sends: calls without a deadline, and all others
        bound_reads(self._inner)

    def handle_request(self, request: httpx.Request) -> httpx.Response:  # noqa: C901, PLR0912 - the short way and the long one
        """Send one request, as often as its policy asks.

        Raises:
            httpx.TransportError: no answer came; the exception of the last attempt, with a note of what was tried.
            ValueError, TypeError: what the caller asked for in `extensions["resilience"]` cannot be, or the request is one of
                another library; nothing was sent.
            ApiError: a sign-in that the call needed was refused.
        """
        core = self.core
        now = core.now
        started = now()
        guard, call = core.lane(request), None
        if guard is None:
            call = core.call(request, started)
            guard = call.guard
        crowd = guard.crowd
        response: Any = None
        crowd.began = crowd.begin()
        try:
            if call is None or call.begun:
                try:
                    response = self._quick.handle_request(request)
                except Exception as error:  # noqa: BLE001 - the flow decides what it is
                    brought: tuple[httpx.Response | None, Exception | None] = None, error
                else:
                    status, rules = response.status_code, core.rules if call is None else call.rules
                    if status in rules.at_once:
                        if call is None:
                            ended = now()
                            response.extensions[RECORD] = request, rules, started, ended, status
                            if guard.budget is not None:
                                guard.budget.first_try_succeeded(ended)
                        else:
                            core.let_through(call, response)
                        return response if type(response.stream) is BYTES else self._watched(call, response)
                    brought = response, None
                call = call or core.call(request, started)
                call.opening = core.told(*brought)
                del brought  # the flow lets go of it before it waits
                response = None
            with call.reporter or UNOBSERVED:
                response = drive(call, self)
                return self._watched(call, core.finish(call, request, response))
        except (
            BaseException
        ):  # an observer was interrupted while it was left, say: nobody else has the response
            if call is not None and call.opening is not None:
                response = call.opening.response
            if response is not None:
                close(response)
            if call is not None:
                abandon(call)
            raise
        finally:
            crowd.ended = crowd.end()

    def _watched(self, call: Call | None, response: httpx.Response) -> httpx.Response:
        room = None if call is None else self.core.room(call, response)
        if type(response.stream) is not BYTES:
            response.stream = Watched(response.stream, partial(self.core.broke, response.extensions), room)
        return response

    def __getattr__(self, name: str) -> Any:
        """Give what the inner transport has: code that looks at its pool or its app finds them."""
        if name.startswith("__") or name in _OWN:
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __eq__(self, other: object) -> bool:
        """Equal what it stands in front of: code that looks for the transport it passed in finds it."""
        return self is other or self._inner is other

    def __hash__(self) -> int:
        return hash(self._inner)

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        try:
            self._inner.__exit__(exc_type, exc_value, traceback)
        finally:
            self.core.close()

    def close(self) -> None:
        """Close the inner transport."""
        try:
            self._inner.close()
        finally:
            self.core.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.core.rules.api!r}, {self._inner!r})"


class AsyncResilientTransport(httpx.AsyncBaseTransport):
    """The same for asyncio and trio; `transport` defaults to `httpx.AsyncHTTPTransport()`. See `ResilientTransport`."""

    def __init__(
        self,
        policy: str | Path | Policy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        clock: Clock | None = None,
        deadline: float | None = None,
        observers: Iterable[Observer] = (),
        **protections: Unpack[Protections],
    ) -> None:
        refuse_other(transport, HOST.name, "a transport")
        self.core = Core(HOST, policy, clock=clock, deadline=deadline, protections=protections)
        self.core.tell(observed_by(observers, tasks=True))
        self._inner: httpx.AsyncBaseTransport = (
            quicken(httpx.AsyncHTTPTransport()) if transport is None else transport
        )
        self._quick, self._engine = engines_of(self._inner)  # what sends: as above
        bound_reads(self._inner)

    async def handle_async_request(  # noqa: C901, PLR0912 - as above
        self, request: httpx.Request
    ) -> httpx.Response:
        """Send one request, as often as its policy asks. See `ResilientTransport.handle_request`."""
        core = self.core
        now = core.now
        started = now()
        guard, call = core.lane(request), None
        if guard is None:
            call = core.call(request, started)
            guard = call.guard
        crowd = guard.crowd
        response: Any = None
        crowd.began = crowd.begin()
        try:
            if call is None or call.begun:
                try:
                    response = await self._quick.handle_async_request(request)
                except Exception as error:  # noqa: BLE001 - the flow decides what it is
                    brought: tuple[httpx.Response | None, Exception | None] = None, error
                else:
                    status, rules = response.status_code, core.rules if call is None else call.rules
                    if status in rules.at_once:
                        if call is None:
                            ended = now()
                            response.extensions[RECORD] = request, rules, started, ended, status
                            if guard.budget is not None:
                                guard.budget.first_try_succeeded(ended)
                        else:
                            core.let_through(call, response)
                        return response if type(response.stream) is BYTES else self._watched(call, response)
                    brought = response, None
                call = call or core.call(request, started)
                call.opening = core.told(*brought)
                del brought  # the flow lets go of it before it waits
                response = None
            with call.reporter or UNOBSERVED:
                response = await adrive(call, self)
                return self._watched(call, core.finish(call, request, response))
        except (
            BaseException
        ):  # an observer was interrupted while it was left, say: nobody else has the response
            if call is not None and call.opening is not None:
                response = call.opening.response
            if response is not None:
                await aclose(response)
            if call is not None:
                abandon(call)
            raise
        finally:
            crowd.ended = crowd.end()

    def _watched(self, call: Call | None, response: httpx.Response) -> httpx.Response:
        room = None if call is None else self.core.room(call, response)
        if type(response.stream) is not BYTES:
            response.stream = AsyncWatched(
                response.stream, partial(self.core.broke, response.extensions), room
            )
        return response

    def __getattr__(self, name: str) -> Any:
        """Give what the inner transport has: code that looks at its pool or its app finds them."""
        if name.startswith("__") or name in _OWN:
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __eq__(self, other: object) -> bool:
        """Equal what it stands in front of: code that looks for the transport it passed in finds it."""
        return self is other or self._inner is other

    def __hash__(self) -> int:
        return hash(self._inner)

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        try:
            await self._inner.__aexit__(exc_type, exc_value, traceback)
        finally:
            self.core.close()

    async def aclose(self) -> None:
        """Close the inner transport."""
        try:
            await self._inner.aclose()
        finally:
            self.core.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.core.rules.api!r}, {self._inner!r})"
