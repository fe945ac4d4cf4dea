"""Which request fails, and how: a plan per route, or per call on a route, carried out in the order of arrival."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from resilient_client.sandbox.faults import check_route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resilient_client.sandbox._api import Request


class Schedule:
    """A plan of faults; the n-th sighting of a route gets the n-th fault of its plan.

    A fault is the name of any documented error ("UPSTREAM_ERROR", "RATE_LIMIT:2" with a number of seconds to wait), one of the kinds
    of the wire (`resilient_client.sandbox.faults.WIRE`: "reset", "lose", "truncate", …), or None: nothing goes wrong.

    A sighting is a request that the API would have accepted. One that it refuses by itself (bad signature, reused nonce,
    spent budget, maintenance) takes nothing from the plan, so that all that was planned does happen; but "reset-upload",
    when it is next, strikes whatever request of the route begins. Past the end of its plan a route behaves normally. May be
    used and added to from any thread.
    """

    def __init__(self) -> None:
        self._plans: dict[tuple[str, str | None], deque[str | None]] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Schedule left={self.left()!r}>"

    def add(self, route: str, faults: Iterable[str | None], *, call: str | None = None) -> Schedule:
        """Plan faults for a route, as "POST /v1/create"; what is added later comes after.

        With `call`, the plan is for requests that carry `X-Sandbox-Call: <call>`; such a request follows the plan of its
        call where there is one, the plan of its route otherwise. Returns the schedule itself. Raises ValueError for a
        route that is not "METHOD /path", TypeError for faults that are one string. A fault's name is looked up when its
        turn comes, for each API has its own.
        """
        check_route(route)
        if isinstance(faults, str):
            raise TypeError(f"faults is a list, one entry per sighting: [{faults!r}]")
        with self._lock:
            self._plans.setdefault((route, call), deque()).extend(faults)
        return self

    def left(self) -> dict[tuple[str, str | None], tuple[str | None, ...]]:
        """Tell what has not happened yet, by route and call; empty when the whole plan was carried out."""
        with self._lock:
            return {place: tuple(plan) for place, plan in self._plans.items() if plan}

    def early(self, route: str, request: Request, /) -> str | None:
        """Take the next fault where it is one that breaks an upload off."""
        with self._lock:
            plan = self._plan(route, request)
            return plan.popleft() if plan and plan[0] == "reset-upload" else None

    def _plan(self, route: str, request: Request) -> deque[str | None] | None:
        plan = self._plans.get((route, request.call))
        return self._plans.get((route, None)) if plan is None else plan

    def __call__(self, route: str, request: Request, /) -> str | None:
        """Take the next fault for this request."""
        with self._lock:
            plan = self._plan(route, request)
            return plan.popleft() if plan else None
