"""Playing the scenes: sandboxes on loopback sockets, one client for each, a thread for every story.

Law of this file: it makes the calls and notes what came of them. Whether that is right is for `audit` to say.
"""

from __future__ import annotations

import queue
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx

from resilient_client import ApiError, outcome_of, raise_for_status
from resilient_client.sandbox import Sandbox, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from typing import TypeAlias

    from resilient_client import Outcome
    from resilient_client.sandbox import Request, Seen
    from resilient_client.sandbox.clock import ScaledClock

    from .script import Body, Call, Data, Scene, Site, Story, Vendor

    OpenClient: TypeAlias = "Callable[[Sandbox[Any]], httpx.Client]"

__all__ = ["Met", "Played", "Stage", "open_client"]

ARRIVAL = 2.0  # real seconds, and one of the clock's: in which the calls of a scene have reached the server
TAG = "X-Sandbox-Call"


@dataclass(frozen=True, slots=True)
class Played:
    """A call that has been made, and what came of it."""

    scene: Scene
    call: Call
    result: str  # a status, the name of a documented error, or of an exception
    error: Exception | None
    data: Any  # what a success brought; None where there was none
    outcome: Outcome | None  # None where no resilient transport had the last word
    seen: tuple[Seen, ...]  # its requests, as the server had them
    began: float  # seconds of the clock


@dataclass(frozen=True, slots=True)
class Met:
    """What the servers have met so far, sign-ins apart."""

    attempts: int  # requests
    faults: int  # those that brought no success: an error, or no reply at all
    retries: int  # attempts after the first of their call


def open_client(api: Sandbox[Any]) -> httpx.Client:
    """Open the client that the demonstration is about."""
    return api.client()


class Stage:
    """All that is open while the scenes are played; as a context manager it closes all of it, whatever happens."""

    def __init__(
        self, scenes: Sequence[Scene], *, clock: ScaledClock, seed: int, open_client: OpenClient = open_client
    ) -> None:
        self.scenes = scenes
        self.clock = clock
        self.sandboxes: dict[Site, Sandbox[Any]] = {}
        self.schedules: dict[Site, Schedule] = {}
        self.began = 0.0
        """When the first call was made, in seconds of the clock."""
        self._seed = seed
        self._open_client = open_client
        self._clients: dict[Site, httpx.Client] = {}
        self._done: queue.SimpleQueue[Played | BaseException] = queue.SimpleQueue()
        self._ended: set[str | None] = set()  # the names of calls
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            for site in dict.fromkeys(scene.site for scene in self.scenes):
                self._open_site(site, opening)
            # A thread for every story, and for every operator: no call waits for another's waits.
            threads = len(self.sandboxes) + sum(len(scene.stories) for scene in self.scenes)
            self._callers = ThreadPoolExecutor(threads, thread_name_prefix="caller")
            opening.callback(self._callers.shutdown, cancel_futures=True)
            opening.callback(self.clock.stop)  # first of all: nobody sleeps on while the rest is closed
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def _open_site(self, site: Site, opening: ExitStack) -> None:
        api: Sandbox[Any] = Sandbox(
            site.vendor.name,
            seed=self._seed * 100 + len(self.sandboxes),  # no two sites make up the same
            clock=self.clock,
            faults=self._faults(site),
            **site.options,
        )
        site.begins(api.state)
        self.sandboxes[site] = opening.enter_context(api)
        self._clients[site] = opening.enter_context(self._open_client(api))

    def _faults(self, site: Site) -> Callable[[str, Request], str | None]:
        """Plan what the script says for a site: first what is planned for a call, then what always happens to it."""
        schedule = self.schedules[site] = Schedule()
        always: dict[str | None, str] = {}
        for route, faults in site.planned.items():
            schedule.add(route, faults)
        for call in (call for scene in self.scenes if scene.site is site for call in scene.calls()):
            schedule.add(call.route, call.faults, call=call.name)
            if call.always is not None:
                always[call.name] = call.always
        return lambda route, request: schedule(route, request) or always.get(request.call)

    def vendors(self) -> tuple[Vendor, ...]:
        """List the APIs that are played, in the order of the script."""
        return tuple(dict.fromkeys(scene.site.vendor for scene in self.scenes))

    def requests(self, vendor: Vendor | None = None) -> Iterator[Seen]:
        """Give the requests that have reached the servers so far, of one API or of all, sign-ins apart."""
        for site, api in self.sandboxes.items():
            if vendor is None or site.vendor is vendor:
                yield from (seen for seen in tuple(api.state.requests) if seen.call is not None)

    def sign_ins(self, site: Site) -> tuple[Seen, ...]:
        """Give the requests by which a site's client has signed in."""
        requests = tuple(self.sandboxes[site].state.requests)
        return tuple(seen for seen in requests if seen.route == site.vendor.sign_in)

    def met(self, vendor: Vendor | None = None) -> Met:
        """Count what has been met so far, at one API or at all."""
        seen = tuple(self.requests(vendor))
        faults = sum(1 for each in seen if each.fault or each.status is None or each.status >= 400)
        return Met(len(seen), faults, len(seen) - len({each.call for each in seen}))

    def play(self) -> Iterator[Played]:
        """Play all scenes, and give each call when it has ended.

        A scene begins when the calls of the one before have reached the server: nobody's time goes by in a crowd.
        """
        self.began = self.clock.monotonic()
        for site, api in self.sandboxes.items():
            if site.meanwhile is not None:
                self._callers.submit(self._guard, site.meanwhile, api.state, self.clock)
        for scene in sorted(self.scenes, key=lambda scene: not scene.first):
            self._begin(scene)
            self._await_arrival(scene)
        for _ in range(sum(1 for scene in self.scenes for _ in scene.calls())):
            played = self._done.get()
            if isinstance(played, BaseException):
                raise played
            yield played

    def _begin(self, scene: Scene) -> None:
        if scene.before is not None:
            scene.before(self.sandboxes[scene.site].state)
        for story in scene.stories:
            self._callers.submit(self._guard, self._tell, scene, story)

    def _await_arrival(self, scene: Scene) -> None:
        """Wait for a scene's calls: all of one that goes first, else the first call of each story."""
        stories = scene.stories if scene.first else [story[:1] for story in scene.stories]
        names = {call.name for story in stories for call in story}
        requests = self.sandboxes[scene.site].state.requests
        until = time.monotonic() + ARRIVAL + 1 / self.clock.speed
        while time.monotonic() < until and not names <= self._ended | {seen.call for seen in tuple(requests)}:
            time.sleep(0.001)

    def _guard(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do it, and let nothing that is raised get lost in its thread."""
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001 - raised again where the calls are awaited
            self._done.put(error)

    def _tell(self, scene: Scene, story: Story) -> None:
        told: dict[str, Any] = {}
        for call in story:
            played = self._make(scene, call, told)
            told[call.name] = played.data
            self._ended.add(call.name)
            self._done.put(played)

    def _make(self, scene: Scene, call: Call, told: Data) -> Played:
        api = self.sandboxes[scene.site]
        if call.before is not None:
            call.before(api.state)
        response: httpx.Response | None = None
        error: Exception | None = None
        began = self.clock.monotonic()
        try:
            response = self._clients[scene.site].request(**_request(call, told, api))
            raise_for_status(response, policy=scene.site.vendor.name)
        except (httpx.HTTPError, LookupError, TypeError) as failure:
            error = failure  # one of the latter where an earlier call has not brought what this one needs
        if error is not None:
            result = error.name if isinstance(error, ApiError) else type(error).__name__
        else:
            result = str(response.status_code) if response is not None else ""
        return Played(
            scene=scene,
            call=call,
            result=result,
            error=error,
            data=_data(response) if error is None else None,
            outcome=_outcome(response if error is None else error),
            seen=tuple(seen for seen in tuple(api.state.requests) if seen.call == call.name),
            began=began,
        )


def _request(call: Call, told: Data, api: Sandbox[Any]) -> dict[str, Any]:
    """Put a call into the words of `httpx.Client.request`."""
    method, _, path = call.route.partition(" ")
    body = _filled(call.body, told)
    request: dict[str, Any] = {
        "method": method,
        "url": path.format_map(_filled(call.params, told) or {}),
        "extensions": {"resilience": dict(call.options)},
        **(call.signed(api) if call.signed is not None else {}),
    }
    request["headers"] = {TAG: call.name, **request.get("headers", {})}
    if body is not None:
        request["params" if method == "GET" else "json"] = body
    return request


def _filled(part: Body, told: Data) -> Data | None:
    return part(told) if callable(part) else part


def _data(response: httpx.Response | None) -> Any:
    """Give what a success brought: what its envelope holds under `data`, or all of it."""
    document = response.json() if response is not None and response.content else None
    return document.get("data", document) if isinstance(document, dict) else document


def _outcome(source: object) -> Outcome | None:
    try:
        outcome = outcome_of(source)
    except LookupError:
        return None
    return outcome if outcome.attempts else None
