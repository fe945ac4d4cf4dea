"""Playing the scenes: sandboxes on loopback sockets, one client for each, a small pool of threads.

Law of this file: it makes the calls and notes what came of them. Whether that is right is for `audit` to say.
"""

from __future__ import annotations

import logging
import queue
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx

from resilient_client import ApiError, HmacAuth, ResilientClient, outcome_of, raise_for_status
from resilient_client.sandbox import Sandbox, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from typing import TypeAlias

    from resilient_client import Outcome
    from resilient_client.sandbox import Request, Seen, Zerotrace

    from ._clock import ScaledClock
    from .scenes import Call, Data, Scene, Site, Story

    OpenClient: TypeAlias = "Callable[[Sandbox[Zerotrace], ScaledClock], httpx.Client]"

__all__ = ["Played", "Stage", "open_client"]

THREADS = 24  # enough that no call waits for another's waits
ARRIVAL = 1.0  # real seconds in which the calls of a scene that goes first have reached the server
TAG = "X-Sandbox-Call"


@dataclass(frozen=True, slots=True)
class Played:
    """A call that has been made, and what came of it."""

    scene: Scene
    call: Call
    result: str  # a status, the name of a documented error, or of an exception
    error: Exception | None
    data: Data  # what a success brought
    outcome: Outcome | None  # None where no resilient transport had the last word
    seen: tuple[Seen, ...]  # its requests, as the server had them


def open_client(api: Sandbox[Zerotrace], clock: ScaledClock) -> httpx.Client:
    """Open the client that the demonstration is about."""
    return ResilientClient(
        "zerotrace",
        clock=clock,
        base_url=api.base_url,
        auth=HmacAuth(api.key, api.secret),
        trust_env=False,  # a proxy of the environment has no way to this process
    )


class Stage:
    """Everything that is open while the scenes are played; as a context manager it closes all of it, whatever happens."""

    def __init__(
        self, scenes: Sequence[Scene], *, clock: ScaledClock, seed: int, open_client: OpenClient = open_client
    ) -> None:
        self.scenes = scenes
        self.clock = clock
        self.sandboxes: dict[Site, Sandbox[Zerotrace]] = {}
        self.schedule = Schedule()
        self._always: dict[str | None, str] = {}
        self._seed = seed
        self._open_client = open_client
        self._clients: dict[Site, httpx.Client] = {}
        self._done: queue.SimpleQueue[Played | BaseException] = queue.SimpleQueue()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(_quiet_log())
            for scene in self.scenes:
                for call in scene.calls():
                    self.schedule.add(call.route, call.faults, call=call.name)
                    if call.always is not None:
                        self._always[call.name] = call.always
                if scene.site not in self.sandboxes:
                    self._open_site(scene.site, opening)
            self._callers = ThreadPoolExecutor(THREADS, thread_name_prefix="caller")
            opening.callback(self._callers.shutdown, cancel_futures=True)
            opening.callback(self.clock.stop)  # first of all: nobody sleeps on while the rest is closed
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def _open_site(self, site: Site, opening: ExitStack) -> None:
        seed = self._seed * 10 + len(self.sandboxes)  # no two sites make up the same
        api = Sandbox("zerotrace", seed=seed, clock=self.clock, faults=self._fault, **site.options)
        site.begins(api.state)
        self.sandboxes[site] = opening.enter_context(api)
        self._clients[site] = opening.enter_context(self._open_client(api, self.clock))

    def _fault(self, route: str, request: Request) -> str | None:
        return self.schedule(route, request) or self._always.get(request.call)

    def requests(self) -> int:
        """Tell how many requests have reached the servers."""
        return sum(len(api.state.requests) for api in self.sandboxes.values())

    def play(self) -> Iterator[Played]:
        """Play all scenes at once, and give each call when it has ended."""
        for site, api in self.sandboxes.items():
            if site.meanwhile is not None:
                self._callers.submit(self._guard, site.meanwhile, api.state, self.clock)
        for scene in self.scenes:
            if scene.first:
                self._begin(scene)
                self._await_arrival(scene)
        for scene in self.scenes:
            if not scene.first:
                self._begin(scene)
        for _ in range(sum(1 for scene in self.scenes for _ in scene.calls())):
            played = self._done.get()
            if isinstance(played, BaseException):
                raise played
            yield played

    def _begin(self, scene: Scene) -> None:
        for story in scene.stories:
            self._callers.submit(self._guard, self._tell, scene, story)

    def _await_arrival(self, scene: Scene) -> None:
        """Wait until the server has seen every call of the scene, or one of the threads has failed."""
        names = {call.name for call in scene.calls()}
        requests = self.sandboxes[scene.site].state.requests
        until = time.monotonic() + ARRIVAL
        while not names <= {seen.call for seen in tuple(requests)} and time.monotonic() < until:
            time.sleep(0.001)

    def _guard(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do it, and let nothing that is raised get lost in its thread."""
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001 - raised again where the calls are awaited
            self._done.put(error)

    def _tell(self, scene: Scene, story: Story) -> None:
        told: dict[str, Data] = {}
        for call in story:
            played = self._make(scene, call, told)
            told[call.name] = played.data
            self._done.put(played)

    def _make(self, scene: Scene, call: Call, told: Data) -> Played:
        api = self.sandboxes[scene.site]
        if call.before is not None:
            call.before(api.state)
        response: httpx.Response | None = None
        error: Exception | None = None
        try:
            response = self._clients[scene.site].request(**_request(call, told, api))
            raise_for_status(response, policy="zerotrace")
        except (httpx.HTTPError, LookupError) as failure:
            error = failure  # a LookupError where an earlier call has not brought what this one needs
        if error is not None:
            result = error.name if isinstance(error, ApiError) else type(error).__name__
        else:
            result = str(response.status_code) if response is not None else ""
        return Played(
            scene=scene,
            call=call,
            result=result,
            error=error,
            data=_data(response) if error is None else {},
            outcome=_outcome(response if error is None else error),
            seen=tuple(seen for seen in tuple(api.state.requests) if seen.call == call.name),
        )


def _request(call: Call, told: Data, api: Sandbox[Zerotrace]) -> dict[str, Any]:
    """Put a call into the words of `httpx.Client.request`."""
    method, _, path = call.route.partition(" ")
    body = call.body(told) if callable(call.body) else call.body
    options = {"idempotency_key": call.key, "deadline": call.deadline}
    request: dict[str, Any] = {
        "method": method,
        "url": path,
        "headers": {TAG: call.name},
        "extensions": {"resilience": {name: value for name, value in options.items() if value is not None}},
    }
    if body is not None:
        request["params" if method == "GET" else "json"] = body
    if call.auth is not None:
        request["auth"] = call.auth(api)
    return request


def _data(response: httpx.Response | None) -> Data:
    document = response.json() if response is not None else None
    data = document.get("data") if isinstance(document, dict) else None
    return data if isinstance(data, dict) else {}


def _outcome(source: object) -> Outcome | None:
    try:
        outcome = outcome_of(source)
    except LookupError:
        return None
    return outcome if outcome.attempts else None


def _quiet_log() -> ExitStack:
    """Keep the library's warnings from stderr where no log was set up: each failure is in the report."""
    quiet = ExitStack()
    logger, handler = logging.getLogger("resilient_client"), logging.NullHandler()
    logger.addHandler(handler)
    quiet.callback(logger.removeHandler, handler)
    return quiet
