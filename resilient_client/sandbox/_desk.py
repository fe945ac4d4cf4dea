"""Where requests are handed in: one API's state, one at a time, on one clock. Sockets and memory both come here."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import anyio

from resilient_client.sandbox._api import Reply

if TYPE_CHECKING:
    from resilient_client.sandbox._api import Api, Clock, Request

CONTROL = "/_sandbox"


class Line:
    """What is to be known of a connection between two of its requests."""

    def __init__(self) -> None:
        self.ends = False  # the next request finds it closed


class Desk:
    """Takes requests for an API, from any thread."""

    garbage = b"220 mail.sandbox ESMTP ready\r\n\r\n"
    """What a server says that is none for HTTP."""

    def __init__(self, state: Api, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._lock = threading.Lock()
        self.failures: list[Exception] = []
        """What the stand-in itself did wrong while it served in a thread that nobody watches."""

    def early(self, request: Request, line: Line) -> Reply | None:
        """Say what becomes of a request of which only the head is here; None to let it go on."""
        if line.ends:
            return None
        with self._lock:
            return self._state.early(request, self._clock.monotonic())

    def answer(self, request: Request, line: Line) -> Reply:
        """Answer a request that came in on a connection."""
        if request.path == CONTROL:
            return self._report()
        with self._lock:
            now = self._clock.monotonic()
            if line.ends:
                line.ends = False
                return self._state.drop(request, now)
            reply = self._state.answer(request, now, self._clock.time())
            line.ends = reply.stale
        return replace(reply, headers=(*reply.headers, ("Date", formatdate(self._clock.time(), usegmt=True))))

    def own_up(self, failure: Exception) -> Reply:
        """Keep a failure of the stand-in itself, and tell the client of it."""
        self.failures.append(failure)
        text = f"the {self._state.name} sandbox failed: {failure}"
        return Reply(500, (("Content-Type", "text/plain; charset=utf-8"),), text.encode())

    def pause(self, seconds: float) -> None:
        """Let time pass: on a clock that can be moved, by moving it; else by sleeping in this thread."""
        advance = getattr(self._clock, "advance", None)
        if advance is not None:
            advance(seconds)
        else:
            getattr(self._clock, "sleep", time.sleep)(seconds)

    async def apause(self, seconds: float) -> None:
        """Let time pass in a task."""
        if hasattr(self._clock, "advance"):
            self.pause(seconds)
        else:
            await getattr(self._clock, "asleep", anyio.sleep)(seconds)

    def _report(self) -> Reply:
        """Tell what was seen and what was injected, as JSON: for those who are in another process."""
        with self._lock:
            seen, injected = list(self._state.requests), self._state.tally()
        document: dict[str, Any] = {
            "api": self._state.name,
            "requests": len(seen),
            "injected": injected,
            "seen": [
                {
                    "time": round(each.time, 6),
                    "method": each.method,
                    "path": each.path,
                    "route": each.route,
                    "status": each.status,
                    "code": each.code,
                    "fault": each.fault,
                    "worked": each.worked,
                    "call": each.call,
                    "idempotency_key": each.idempotency_key,
                }
                for each in seen
            ],
        }
        body = json.dumps(document, indent=1).encode()
        return Reply(status=200, headers=(("Content-Type", "application/json"),), body=body)
