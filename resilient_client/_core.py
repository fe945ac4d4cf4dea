"""What a resilient transport is, whichever way it waits: what a call is, and how it ends. No I/O."""

from __future__ import annotations

import random
import uuid
from logging import DEBUG
from typing import TYPE_CHECKING, Any

from . import _log
from ._deadline import Shrinking
from ._flow import Told
from ._flow.admit import at_once
from ._flow.attempt import AUTH, FAILED, HOP, OPTIONS, Call, arrive, begin, check_options, deadline_seconds
from ._flow.entry import release
from ._flow.report import went_well
from ._flow.rulebook import SAFE_METHODS
from ._guard.guards import Guards
from ._libraries import refuse_other
from ._log import logger
from .clock import Clock, default_clock
from .loading import rulebook
from .outcome import RECORD, mark_exception

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ._flow.rulebook import Rulebook
    from ._guard.guards import Guard
    from ._guard.settings import Protections
    from ._http import Library, Request, Response
    from ._report import Observers
    from .observers import Observer
    from .outcome import Brief
    from .policy import Policy

__all__ = ["Core", "observed_by"]


class Core:
    """What the two transports have in common."""

    def __init__(
        self,
        host: Library,
        policy: str | Path | Policy | None,
        *,
        clock: Clock | None,
        deadline: float | None,
        protections: Protections,
    ) -> None:
        self.host = host
        self._parts_of, self._bytes = host.parts_of, host.ByteStream
        self.rules: Rulebook = rulebook(policy)
        self.clock = default_clock() if clock is None else clock
        self.now = self.clock.monotonic
        self.guards = Guards(self.clock, protections, _log)
        if protections.get("pace") is True and not self.rules.paces:
            raise ValueError(
                f"pace=True, and the policy {self.rules.api!r} has no [pace] to keep to: add the table to it, or say what to keep to, "
                "as in pace=(100, 60) for 100 requests in any 60 seconds"
            )
        self.deadline = deadline_seconds(deadline)
        self._rooms: set[Callable[[], None]] = set()  # of responses whose bodies are being read
        self.tell(None)

    chance = staticmethod(random.random)  # the module's own generator is seeded anew in a forked worker

    def tell(
        self,
        observers: Observers | None,
        *,
        debug: bool = False,
        keep_cookies: Callable[[Any, Any], None] | None = None,
    ) -> None:
        """Say who is told of calls, and of the cookies of responses that nobody else sees.

        A client has a jar of its own; a bare transport carries cookies over onto the final response.
        """
        self.observers, self._debug, self.keep_cookies = observers, debug, keep_cookies
        self._plain = observers is None and not debug and self.deadline is None

    @staticmethod
    def new_key() -> str:
        """Make an idempotency key."""
        return str(uuid.uuid4())

    def lane(self, request: Request) -> Guard | None:
        """Give the guard of a request of which nothing is to be judged, asked or told before it is sent, nor when it succeeds.

        None: it has to be made a call first.
        """
        extensions = request.extensions
        if (
            self._plain
            and request.method in SAFE_METHODS
            and type(request.stream) is self._bytes
            and len(extensions) == 1
            and "timeout" in extensions
            and not logger.isEnabledFor(DEBUG)
        ):
            parts_of = self._parts_of
            parts = parts_of(request.url)
            key = self.rules, parts[0], parts[2], parts[3]
            guard = self.guards.known.get(key) or self.guards.of(*key)
            if not guard.gated:
                return guard
        return None

    def call(self, request: Request, now: float) -> Call:
        """Make a call of a request that came `now`: read what its caller asked for, and where it comes from."""
        if not isinstance(request, self.host.Request):
            refuse_other(request, self.host.name, "a request")
        call = Call(request, self.rules, now, self)
        quick = True
        extensions = request.extensions
        if len(extensions) != 1 or "timeout" not in extensions or self.deadline is not None:
            options = extensions.get(OPTIONS)
            deadline = self.deadline
            if options:
                check_options(options)
                call.options = options
                if options.get("policy") is not None:
                    call.rules = rulebook(options["policy"])
                if "deadline" in options:
                    deadline = deadline_seconds(options["deadline"])
            call.auth, call.sign_first, call.until = arrive(request, extensions.get(AUTH), deadline, now)
            call.travelled = HOP in extensions
            quick = call.until is None and not call.sign_first
        if self._debug or logger.isEnabledFor(DEBUG):
            call.watch = _log.watch(debug=self._debug)
        if self.observers is not None:
            call.reporter = self.observers.reporter(call)
            quick = False
        guard = self.guards.of(call.rules, *self.host.origin_of(request.url))
        call.guard = guard
        if quick:
            begin(call)
            call.begun = call.request is request and (not guard.gated or at_once(call))
        return call

    def told(self, response: Response | None, error: Exception | None) -> Told:
        """Tell a flow what its first attempt brought."""
        return Told(
            self.clock.monotonic(), response, error, None, 0.0 if error is None else self.clock.time()
        )

    def let_through(self, call: Call, response: Response) -> None:
        """End a call that succeeded at its first attempt, and of which the policy has nothing to say."""
        call.status, call.ended = response.status_code, self.clock.monotonic()
        response.extensions[RECORD] = call
        if call.entry is not None:
            went_well(call, response, call.ended)
            if type(response.stream) is self._bytes:
                release(call, overloaded=False)
        if call.guard.budget is not None:
            call.guard.budget.first_try_succeeded(call.ended)
        if call.travelled:
            self._forget_travels(call.request, response)
        if call.watch is not None:
            call.watch(call, None, response)

    @staticmethod
    def _forget_travels(request: Request, response: Response | None) -> None:
        if response is None or not response.has_redirect_location:
            request.extensions.pop(HOP, None)  # no redirect will follow that must know of this call

    def finish(self, call: Call, request: Request, response: Any) -> Any:
        """Hand the caller what the call ended with: the response with its record, or the error with a note."""
        if call.travelled:
            self._forget_travels(request, response)
        if call.until is not None:  # met or passed, it bounds nothing that comes after
            for sent in (request, call.request):
                timeouts = sent.extensions.get("timeout")
                if isinstance(timeouts, Shrinking):
                    timeouts.release()
        if call.reason != "success":
            _log.gave_up(call)
        if response is None:
            error = (
                call.error
                if call.error is not None
                else RuntimeError("a call ended with neither answer nor error")
            )
            if FAILED in request.extensions:
                request.extensions[FAILED](error)
            mark_exception(error, call)
            if call.tried:
                _note(error, call)
            raise error
        response.extensions[RECORD] = call
        return response

    def room(self, call: Call, response: Response) -> Callable[[], None] | None:
        """Give what lets go of the room that a call has in its bulkhead, for when its body has been read; None: it has none."""
        if call.entry is None or call.entry.place is None:
            return None
        if type(response.stream) is self._bytes:
            release(call, overloaded=False)
            return None

        def let_go() -> None:
            self._rooms.discard(let_go)
            release(call, overloaded=False)

        self._rooms.add(let_go)
        return let_go

    def close(self) -> None:
        """Give back the room of responses that nobody has closed: their connections are gone."""
        for let_go in list(self._rooms):
            let_go()

    def broke(self, extensions: dict[str, Any], error: Exception) -> None:
        """Let the error of a body that broke off in the caller's hands tell what the call went through."""
        found: Call | Brief = extensions[RECORD]
        call = extensions[RECORD] = self._spelt_out(found) if isinstance(found, tuple) else found
        if call.reason == "success":
            call.broke(error, self.clock.monotonic(), self.clock.time())
            _log.gave_up(call)
        mark_exception(error, call)
        _note(error, call)

    def _spelt_out(self, brief: Brief) -> Call:
        request, rules, started, ended, status = brief
        call = Call(request, rules, started, self)
        call.ended, call.status = ended, status
        return call


def observed_by(observers: Iterable[Observer], *, tasks: bool) -> Observers | None:
    """Make ready to tell observers, in threads or in tasks; None where there are none.

    Raises:
        TypeError: one of them can observe nothing, or must be awaited where nothing can be; the message says what to do.
    """
    if not observers:
        return None
    from ._report import Observers  # noqa: PLC0415 - only who observes pays for it

    return Observers(observers, tasks=tasks)


def _note(error: Exception, call: Call) -> None:
    """Say what was tried; an exception that is raised time and again has one note, not one from each call."""
    notes = getattr(error, "__notes__", None)
    if notes is not None:
        notes[:] = [note for note in notes if not note.startswith("resilient_client (")]
    error.add_note(_log.note(call))
