"""A sandbox: one API's state, reachable over a loopback socket or in memory. Both ways ask the same state."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, overload

from resilient_client.sandbox._api import Api, Clock, Faults, Reply, Request
from resilient_client.sandbox.zerotrace import Zerotrace

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import httpx

    from resilient_client.sandbox._server import Server

ApiT = TypeVar("ApiT", bound=Api)

_APIS: dict[str, Callable[..., Any]] = {"zerotrace": Zerotrace}


class Sandbox(Generic[ApiT]):
    """A local stand-in for an API, which refuses what the API would refuse.

    As a context manager it serves on 127.0.0.1 (`port=0` takes any free port) from a thread of its own. Without being
    started it serves in memory: `httpx.MockTransport(sandbox.handler)`.

    `clock` gives the time that nonces, budgets and dates are judged by; one that runs fast, or stands still, will do.
    `faults` decides what goes wrong; see `Schedule`. Further options are those of the API's own class. Everything made up
    (credentials, ids) follows from `seed`.
    """

    @overload
    def __init__(
        self: Sandbox[Zerotrace],
        name: Literal["zerotrace"],
        *,
        seed: int = 0,
        clock: Clock = time,
        port: int = 0,
        faults: Faults | None = None,
        **options: Any,
    ) -> None: ...

    @overload
    def __init__(
        self: Sandbox[Any],
        name: str,
        *,
        seed: int = 0,
        clock: Clock = time,
        port: int = 0,
        faults: Faults | None = None,
        **options: Any,
    ) -> None: ...

    def __init__(
        self,
        name: str,
        *,
        seed: int = 0,
        clock: Clock = time,
        port: int = 0,
        faults: Faults | None = None,
        **options: Any,
    ) -> None:
        """Set up, without opening anything.

        Raises ValueError for an API that has no sandbox, TypeError for an option that the API's class does not take.
        """
        if name not in _APIS:
            raise ValueError(f"there is no sandbox for {name!r}; there is one for {', '.join(sorted(_APIS))}")
        self.state: ApiT = _APIS[name](seed=seed, faults=faults, **options)
        self._name = name
        self._clock = clock
        self._port = port
        self._lock = threading.Lock()
        self._server: Server | None = None
        self._origin = f"http://{name}.sandbox"
        self._failures: list[Exception] = []

    def __repr__(self) -> str:
        return f"<Sandbox {self._name!r} at {self.base_url}>"

    @property
    def base_url(self) -> str:
        """The URL to give to a client: a real one once started, a made-up one for the handler before that."""
        return f"{self._origin}{self.state.base}"

    @property
    def key(self) -> str:
        """The made-up key that the API knows its partner by."""
        return self.state.key

    @property
    def secret(self) -> str:
        """The made-up secret that requests are signed with; a rotation changes it."""
        return self.state.secret

    @property
    def connections(self) -> int:
        """How many TCP connections were accepted since the start; 0 in memory."""
        return self._server.connections if self._server is not None else 0

    def start(self) -> Self:
        """Listen, and serve from a background thread.

        Raises OSError where the port is taken, RuntimeError where the sandbox was started before.
        """
        from resilient_client.sandbox._server import Server  # noqa: PLC0415 - asyncio and h11 only where they are used

        if self._server is not None:
            raise RuntimeError(f"the {self._name} sandbox was started already; make another one")
        self._server = Server(self._answer_or_own_up, name=self._name, port=self._port)
        self._origin = f"http://127.0.0.1:{self._server.port}"
        return self

    def close(self) -> None:
        """Stop serving; returns when the thread has ended and all sockets are closed. May be called twice.

        Raises RuntimeError where the sandbox itself failed while serving, as over a fault that does not exist.
        """
        if self._server is not None:
            self._server.close()
        if self._failures:
            first = self._failures.pop(0)
            self._failures.clear()
            raise RuntimeError(f"the {self._name} sandbox failed while serving: {first}") from first

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except RuntimeError as failure:
            if error is None:
                raise
            error.add_note(str(failure))  # the test's own error comes first; this may be why

    def handler(self, request: httpx.Request) -> httpx.Response:
        """Answer in memory: for `httpx.MockTransport`, sync or async.

        Raises the httpx exception that the wire would: ReadError for a reset, RemoteProtocolError for a connection closed
        without a reply, or in the middle of a body.
        """
        from resilient_client.sandbox._memory import respond  # noqa: PLC0415 - httpx only where it is used

        return respond(self._answer, request)

    def _answer(self, request: Request) -> Reply:
        with self._lock:
            reply = self.state.answer(request, self._clock.monotonic())
        date = formatdate(self._clock.time(), usegmt=True)
        return replace(reply, headers=(*reply.headers, ("Date", date)))

    def _answer_or_own_up(self, request: Request) -> Reply:
        """Answer, and keep for `close` what must not be lost in a thread that nobody watches."""
        try:
            return self._answer(request)
        except Exception as failure:  # noqa: BLE001 - anything at all is re-raised by close
            self._failures.append(failure)
            text = f"the {self._name} sandbox failed: {failure}"
            return Reply(500, (("Content-Type", "text/plain; charset=utf-8"),), text.encode())
