"""The transports: an httpx transport around another, that reads each reply by the API's policy and does what it asks.

What the two have in common (what a call is, and how it ends) is in `_Core`; what is left to each is which driver it uses.
"""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Any, Self

import httpx

from . import _log
from ._drive import adrive, drive
from ._flow import flow
from ._flow.attempt import AUTH, OPTIONS, Call, arrive, check_options, deadline_seconds
from ._httpx import HOST, Shrinking
from .clock import SYSTEM, Clock
from .loading import rulebook
from .outcome import RECORD, Record, mark_exception

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from ._flow.rulebook import Rulebook
    from ._flow.steps import Settled
    from .policy import Policy

__all__ = ["AsyncResilientTransport", "ResilientTransport"]


def _new_key() -> str:
    return str(uuid.uuid4())


class _Core:
    """What a resilient transport is, whichever way it waits. No I/O."""

    def __init__(
        self,
        policy: str | Path | Policy | None,
        *,
        clock: Clock | None,
        deadline: float | None,
        debug: bool = False,
    ) -> None:
        self.rules: Rulebook = rulebook(policy)
        self.clock = SYSTEM if clock is None else clock
        self.deadline = deadline_seconds(deadline)
        self.debug = debug
        # Given by a client, which has a jar of its own; a bare transport carries cookies over onto the final response.
        self.keep_cookies: Callable[[httpx.Request, httpx.Response], None] | None = None

    def call(self, request: httpx.Request) -> Call:
        """Make a call of a request: read what its caller asked for, and where it comes from."""
        rules, now = self.rules, self.clock.monotonic()
        extensions = request.extensions
        options: dict[str, Any] | None = extensions.get(OPTIONS)
        deadline = self.deadline
        if options:
            check_options(options)
            if options.get("policy") is not None:
                rules = rulebook(options["policy"])
            if "deadline" in options:
                deadline = deadline_seconds(options["deadline"])
        auth, sign_first, until = extensions.get(AUTH), False, None
        if auth is not None or deadline is not None or len(extensions) > 1:
            auth, sign_first, until = arrive(request, auth, deadline, now)
        record = Record(rules, now)
        record.clock = self.clock
        return Call(
            request,
            rules,
            record,
            host=HOST,
            chance=random.random,  # the module's own generator is seeded anew in a forked worker
            new_key=_new_key,
            until=until,
            auth=auth,
            sign_first=sign_first,
            jar=self.keep_cookies,
            options=options,
            watch=_log.watcher(debug=self.debug),
        )

    def finish(self, call: Call, settled: Settled) -> httpx.Response:
        """Hand the caller what the call ended with: the response with its record, or the error with a note."""
        record, request = call.record, call.request
        record.method, record.path = request.method, request.url.path
        if record.reason != "success":
            _log.gave_up(record)
        response, error = settled.response, settled.error
        if response is None:
            failure = error if error is not None else RuntimeError("a call ended with neither answer nor error")
            mark_exception(failure, record)
            if record.tried:
                failure.add_note(_log.note(record))
            raise failure
        response.extensions[RECORD] = record
        if call.until is not None and record.reason == "success":
            timeouts = request.extensions.get("timeout")
            if isinstance(timeouts, Shrinking):
                timeouts.release()
        return response


class ResilientTransport(httpx.BaseTransport):
    """An httpx transport that retries as an API's policy says, around any other transport.

    Args:
        policy: a shipped policy's name, a path to a policy file, a `Policy`, or None for the default policy.
        transport: what sends; `httpx.HTTPTransport()` when left out.
        clock: what tells the time and waits; the system's when left out.
        deadline: seconds that one call may take, attempts, waits and the reading of an error's body together.

    Works in `httpx.Client(transport=…)` and in `mounts={…}`, one policy per host. The response of the last attempt is returned
    as httpx would return it; `outcome_of(response)` tells what happened.

    Raises:
        PolicyError: the policy cannot be used; the message says what to do.
        ValueError: the deadline is no number above 0.
    """

    def __init__(
        self,
        policy: str | Path | Policy | None = None,
        transport: httpx.BaseTransport | None = None,
        *,
        clock: Clock | None = None,
        deadline: float | None = None,
    ) -> None:
        self.core = _Core(policy, clock=clock, deadline=deadline)
        self._inner: httpx.BaseTransport = httpx.HTTPTransport() if transport is None else transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, as often as its policy asks.

        Raises:
            httpx.TransportError: no answer came; the exception of the last attempt, with a note of what was tried.
            ValueError, TypeError: what the caller asked for in `extensions["resilience"]` cannot be; nothing was sent.
            ApiError: a sign-in that the call needed was refused.
        """
        call = self.core.call(request)
        settled = drive(flow(call), self._inner.handle_request, self.handle_request, self.core.clock)
        return self.core.finish(call, settled)

    def __getattr__(self, name: str) -> Any:
        """Give what the inner transport has: code that looks at its pool or its app finds them."""
        if name.startswith("__") or name in {"core", "_inner"}:
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._inner.__exit__(exc_type, exc_value, traceback)

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()

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
    ) -> None:
        self.core = _Core(policy, clock=clock, deadline=deadline)
        self._inner: httpx.AsyncBaseTransport = httpx.AsyncHTTPTransport() if transport is None else transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, as often as its policy asks. See `ResilientTransport.handle_request`."""
        call = self.core.call(request)
        settled = await adrive(
            flow(call), self._inner.handle_async_request, self.handle_async_request, self.core.clock
        )
        return self.core.finish(call, settled)

    def __getattr__(self, name: str) -> Any:
        """Give what the inner transport has: code that looks at its pool or its app finds them."""
        if name.startswith("__") or name in {"core", "_inner"}:
            raise AttributeError(name)
        return getattr(self._inner, name)

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.core.rules.api!r}, {self._inner!r})"
