"""A sandbox: one API's state, reachable over a loopback socket or in memory. Both ways ask the same state."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, cast, overload

from resilient_client.clock import default_clock
from resilient_client.sandbox._api import Api, Clock, Faults
from resilient_client.sandbox._desk import Desk
from resilient_client.sandbox._host import host
from resilient_client.sandbox._memory import Memory
from resilient_client.sandbox.spec import read_faults

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import httpx
    import httpx2

    import resilient_client.httpx2
    from resilient_client import AsyncResilientClient, ResilientClient, _http
    from resilient_client._libraries import LibraryName
    from resilient_client.sandbox._server import Server
    from resilient_client.sandbox.customer_verification import CustomerVerification
    from resilient_client.sandbox.dual import Dual
    from resilient_client.sandbox.integration import Integration
    from resilient_client.sandbox.openpoly import Openpoly
    from resilient_client.sandbox.zerotrace import Zerotrace

ApiT = TypeVar("ApiT", bound=Api)

_APIS = {
    "zerotrace": "Zerotrace",
    "customer_verification": "CustomerVerification",
    "dual": "Dual",
    "openpoly": "Openpoly",
    "integration": "Integration",
}
_LAST_PORT = 65_535


def sandbox_names() -> tuple[str, ...]:
    """List the APIs that have a sandbox."""
    return tuple(_APIS)


def api_class(name: str) -> type[Api]:
    """Find an API's class. Raises ValueError for an API that has no sandbox."""
    if name not in _APIS:
        raise ValueError(f"there is no sandbox for {name!r}; there is one for {', '.join(sorted(_APIS))}")
    module = importlib.import_module(f"resilient_client.sandbox.{name}")
    return cast("type[Api]", getattr(module, _APIS[name]))


class Sandbox(Generic[ApiT]):
    """A local stand-in for an API, which refuses what the API would refuse.

    As a context manager it serves on 127.0.0.1 (`port=0` takes any free port) from a thread of its own. Without being
    started it serves in memory: `httpx.MockTransport(sandbox.handler)`, or httpx2's; it imports neither library itself.

    `clock` gives the time that nonces, budgets and dates are judged by, the default clock when left out; one that runs
    fast, or stands still, will do.
    `faults` decides what goes wrong: a rate, a line or a file (`read_faults`), a `Schedule`, `RandomFaults`, any function.
    Further options are those of the API's own class. Everything made up (credentials, ids, faults) follows from `seed`.
    """

    @overload
    def __init__(
        self: Sandbox[Zerotrace],
        name: Literal["zerotrace"],
        *,
        seed: int = 0,
        clock: Clock | None = None,
        port: int = 0,
        faults: Faults | float | str | Path | None = None,
        **options: Any,
    ) -> None: ...

    @overload
    def __init__(
        self: Sandbox[CustomerVerification],
        name: Literal["customer_verification"],
        *,
        seed: int = 0,
        clock: Clock | None = None,
        port: int = 0,
        faults: Faults | float | str | Path | None = None,
        **options: Any,
    ) -> None: ...

    @overload
    def __init__(
        self: Sandbox[Dual],
        name: Literal["dual"],
        *,
        seed: int = 0,
        clock: Clock | None = None,
        port: int = 0,
        faults: Faults | float | str | Path | None = None,
        **options: Any,
    ) -> None: ...

    @overload
    def __init__(
        self: Sandbox[Openpoly],
        name: Literal["openpoly"],
        *,
        seed: int = 0,
        clock: Clock | None = None,
        port: int = 0,
        faults: Faults | float | str | Path | None = None,
        **options: Any,
    ) -> None: ...

    @overload
    def __init__(
        self: Sandbox[Integration],
        name: Literal["integration"],
        *,
        seed: int = 0,
        clock: Clock | None = None,
        port: int = 0,
        faults: Faults | float | str | Path | None = None,
        **options: Any,
    ) -> None: ...

    @overload
    def __init__(
        self: Sandbox[Any],
        name: str,
        *,
        seed: int = 0,
        clock: Clock | None = None,
        port: int = 0,
        faults: Faults | float | str | Path | None = None,
        **options: Any,
    ) -> None: ...

    def __init__(
        self,
        name: str,
        *,
        seed: int = 0,
        clock: Clock | None = None,
        port: int = 0,
        faults: Faults | float | str | Path | None = None,
        **options: Any,
    ) -> None:
        """Set up, without opening anything.

        Raises ValueError for an API that has no sandbox, a port that there cannot be or faults that cannot be read, OSError
        for a file of them that cannot be opened, TypeError for an option that the API's class does not take.
        """
        if not 0 <= port <= _LAST_PORT:
            raise ValueError(f"a port is from 0, which is any free one, to {_LAST_PORT} (got {port})")
        make = cast("type[Any]", api_class(name))
        if isinstance(faults, float | int | str | Path):
            faults = read_faults(faults, name, seed=seed)
        self.state: ApiT = make(seed=seed, faults=faults, **options)
        self.clock: Clock = default_clock() if clock is None else clock
        self._name = name
        self._port = port
        self._desk = Desk(self.state, self.clock)
        self._memory = Memory(self._desk)
        self._server: Server | None = None
        self._origin = f"http://{name.replace('_', '-')}.sandbox"

    def __repr__(self) -> str:
        return f"<Sandbox {self._name!r} at {self.base_url}>"

    @property
    def base_url(self) -> str:
        """The URL to give to a client: a real one once started, a made-up one for the handler before that."""
        return f"{self._origin}{self.state.base}"

    @property
    def key(self) -> str:
        """The made-up key that the API knows its caller by."""
        return self.state.credentials["key"]

    @property
    def secret(self) -> str:
        """The made-up secret that requests are signed with, where the API has one; a rotation changes it."""
        return self.state.credentials["secret"]

    @property
    def credentials(self) -> dict[str, str]:
        """All that a caller needs to know to be let in, by name."""
        return dict(self.state.credentials)

    @overload
    def client(self, *, library: Literal["httpx"] = "httpx", **options: Any) -> ResilientClient: ...

    @overload
    def client(
        self, *, library: Literal["httpx2"], **options: Any
    ) -> resilient_client.httpx2.ResilientClient: ...

    def client(self, *, library: LibraryName = "httpx", **options: Any) -> Any:
        """Open a resilient client for this sandbox: policy, URL, credentials and clock are set, unless given.

        A sandbox that is not started is called in memory. `headers` are added to those of the credentials; all other options
        of `ResilientClient` replace what is set here. With `library="httpx2"` the client is that of `resilient_client.httpx2`.

        Raises ValueError for any other library, ImportError for one that is not installed.
        """
        memory = Memory(self._desk).handle
        return host(library).resilient.ResilientClient(**self._options(options, library, memory))

    @overload
    def async_client(
        self, *, library: Literal["httpx"] = "httpx", **options: Any
    ) -> AsyncResilientClient: ...

    @overload
    def async_client(
        self, *, library: Literal["httpx2"], **options: Any
    ) -> resilient_client.httpx2.AsyncResilientClient: ...

    def async_client(self, *, library: LibraryName = "httpx", **options: Any) -> Any:
        """Open an async one; see `client`."""
        memory = Memory(self._desk).ahandle
        return host(library).resilient.AsyncResilientClient(**self._options(options, library, memory))

    def _options(
        self, given: dict[str, Any], library: LibraryName, memory: Callable[[_http.Request], Any]
    ) -> dict[str, Any]:
        http = host(library).http
        options: dict[str, Any] = {
            "policy": self._name,
            "base_url": self.base_url,
            "trust_env": False,  # a proxy of the environment has no way to this process
            **self.state.sign_in(self.base_url, library),
        }
        if hasattr(self.clock, "sleep") and hasattr(self.clock, "asleep"):
            options["clock"] = self.clock
        if self._server is None:
            options["transport"] = http.MockTransport(memory)
        headers = http.Headers(options.get("headers"))
        headers.update(given.get("headers"))
        return options | given | {"headers": headers}

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
        self._server = Server(self._desk, name=self._name, port=self._port)
        self._origin = f"http://127.0.0.1:{self._server.port}"
        return self

    def close(self) -> None:
        """Stop serving; returns when the thread has ended and all sockets are closed. May be called twice.

        Raises RuntimeError where the sandbox itself failed while serving, as over a fault that does not exist.
        """
        if self._server is not None:
            self._server.close()
        if self._desk.failures:
            first = self._desk.failures[0]
            self._desk.failures.clear()
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

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    @overload
    def handler(self, request: httpx.Request) -> httpx.Response: ...

    @overload
    def handler(self, request: httpx2.Request) -> httpx2.Response: ...

    def handler(self, request: _http.Request) -> Any:
        """Answer in memory: for the `MockTransport` of httpx or of httpx2, sync or async.

        Raises the library's exception that the wire would: ReadError for a reset, RemoteProtocolError for a connection closed
        without a reply or in the middle of a body, ReadTimeout for a reply that comes too late. Delays pass at once on a clock
        that can be moved (`VirtualClock`); on any other they are slept out in the calling thread. All that is answered here
        comes over one connection, as far as "stale" goes.
        """
        return self._memory.handle(request)

    @overload
    async def async_handler(self, request: httpx.Request) -> httpx.Response: ...

    @overload
    async def async_handler(self, request: httpx2.Request) -> httpx2.Response: ...

    async def async_handler(self, request: _http.Request) -> Any:
        """Answer likewise, for the `MockTransport` under an async client: delays let other tasks go on."""
        return await self._memory.ahandle(request)
