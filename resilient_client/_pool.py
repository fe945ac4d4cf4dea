"""A pool of connections for tasks, of httpcore or httpcore2: their own connections, each found and given back in one step.

Their own pool looks at its connections and its requests whenever one of them changes, and asks several times a request which library
runs. Here an origin's idle connections lie on a pile, who finds none waits in line, and what a connection is, does and raises is still
theirs.

Law of this file: a connection in `_connections` takes up one of `max_connections` places, and is idle, held by one task, or being closed
by one. Who holds it gives it back on every way out. A place is free when its connection is closed; only the task that closes it may
have made the next one for that place already, which connects afterwards.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import anyio

from ._http import leave

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from types import TracebackType

    Origin = tuple[bytes, bytes, int | None]  # scheme, host, port
    Connection = Any  # httpcore's AsyncConnectionInterface

__all__ = ["TaskPool"]

_SCHEMES = frozenset({b"http", b"https", b"ws", b"wss"})  # what they open connections for


class TaskPool:
    """Stands before a pool of httpcore's for asyncio and trio, and takes its requests.

    Args:
        beneath: the pool that makes the connections; what is not found here is read from it, and set there.
        max_connections: how many may be open at a time, for all origins together.
        max_idle: how many of them may be idle.
        late: makes the exception of a request that has waited too long: httpcore's own `PoolTimeout`.

    Keeps what httpcore promises: `max_connections`, the line in order of arrival, `PoolTimeout`, `keepalive_expiry`, and no use of a
    connection that the server has closed. Of an origin's idle connections it takes the one used last, and it closes idle ones
    only where more than `max_idle` are idle. Where somebody has replaced the way of the pool beneath, as
    recorders and mocks do, that way is gone. For HTTP/1.1: of HTTP/2's streams it knows nothing.
    """

    __slots__ = (
        "_beneath",
        "_connections",
        "_idle",
        "_late",
        "_line",
        "_max_connections",
        "_max_idle",
        "_piles",
        "_way",
    )

    _beneath: Any
    _connections: dict[Connection, None]
    _late: Callable[[], Exception]
    _idle: OrderedDict[Connection, Origin]  # the one used last at the end
    _line: OrderedDict[_Turn, None]
    _max_connections: int
    _max_idle: int
    _piles: dict[Origin, dict[Connection, None]]  # the one used last on top
    _way: Any

    def __init__(
        self, beneath: Any, max_connections: int, max_idle: int, late: Callable[[], Exception]
    ) -> None:
        self._beneath = beneath
        self._connections = {}
        self._idle = OrderedDict()
        self._line = OrderedDict()
        self._max_connections = max_connections
        self._max_idle = max_idle
        self._piles = {}
        way = type(beneath).handle_async_request
        module = getattr(way, "__globals__", {}).get("__name__", "")
        self._way = way if module.startswith(("httpcore.", "httpcore2.")) else None
        self._late = late

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request on a connection that nobody else uses; it is given back when the response is closed.

        Raises:
            PoolTimeout: no connection within the seconds of `extensions["timeout"]["pool"]`; the place in line is given up.
            Exception: what httpcore's connection raises.
        """
        url = request.url
        way = getattr(self._beneath.handle_async_request, "__func__", None)
        if way is not self._way or url.scheme not in _SCHEMES:
            return await self._beneath.handle_async_request(request)
        origin = (url.scheme, url.host, url.port)
        connection, spent = self._take(origin, url)
        if connection is None:
            connection = await self._wait_in_line(origin, request)
            if connection.has_expired():
                spent.append(connection)
                connection = self._open(url)
        try:
            if spent:
                await self._close(spent)
            response = await connection.handle_async_request(request)
        except BaseException:
            await self._give_back(connection, origin)
            raise
        response.stream = _Body(response.stream, self, connection, origin)
        return response

    def _take(self, origin: Origin, url: Any) -> tuple[Connection | None, list[Connection]]:
        """Find or make a connection, without waiting. Beside it stand those that are to be closed before it is used."""
        taken: Connection | None = None
        spent: list[Connection] = []
        while origin in self._piles:
            newest = next(reversed(self._piles[origin]))
            self._unpile(newest)
            if not newest.has_expired():
                taken = newest
                break
            spent.append(newest)
        self._expire(spent)
        if taken is None:
            if not spent and self._idle and len(self._connections) >= self._max_connections:
                spent.append(self._oldest())
            if spent or len(self._connections) < self._max_connections:
                taken = self._open(url)  # in the place of one that is spent, where there is one
        return taken, spent

    def _open(self, url: Any) -> Connection:
        """Make a connection; it connects when it is first used."""
        opened = self._beneath.create_connection(url.origin)
        self._connections[opened] = None
        return opened

    async def _wait_in_line(self, origin: Origin, request: Any) -> Connection:
        turn = _Turn(origin, request.url)
        self._line[turn] = None
        try:
            with anyio.move_on_after(request.extensions.get("timeout", {}).get("pool")):
                await turn.called.wait()
        except BaseException:
            if turn.connection is None:
                del self._line[turn]
            else:
                await self._give_back(turn.connection, origin)
            raise
        if turn.connection is None:
            del self._line[turn]
            raise self._late()
        return turn.connection

    async def _give_back(self, connection: Connection, origin: Origin) -> None:
        """Let the first in line have it, or keep it for later; close it if it cannot be used again."""
        spent: list[Connection] = []
        self._expire(spent)
        if connection.is_closed():
            self._free(connection)
        elif connection not in self._connections or not connection.is_idle():
            spent.append(connection)  # the pool was closed meanwhile, or a request was left in the middle
        elif not self._line:
            self._idle[connection] = origin
            self._piles.setdefault(origin, {})[connection] = None
            while len(self._idle) > self._max_idle:
                spent.append(self._oldest())
        elif next(iter(self._line)).origin == origin:
            first, _ = self._line.popitem(last=False)
            first.call(connection)
        else:
            spent.append(connection)  # the first in line wants another origin: closing it frees a place
        if spent:
            await self._close(spent)

    async def _close(self, spent: Iterable[Connection]) -> None:
        """Close connections that nobody can use any more, and free their places, even when the task is cancelled meanwhile."""
        interruption: BaseException | None = None
        with anyio.CancelScope(shield=True):
            for connection in spent:
                try:
                    with suppress(Exception):  # nobody asked for this connection: its errors are nobody's
                        await connection.aclose()
                except BaseException as error:  # noqa: BLE001 - raised again once all are closed
                    interruption = error
                self._free(connection)
        if interruption is not None:
            raise interruption

    def _free(self, connection: Connection) -> None:
        """Take a closed connection from its place, and let the first in line have the place."""
        self._connections.pop(connection, None)
        while self._line and len(self._connections) < self._max_connections:
            first, _ = self._line.popitem(last=False)
            first.call(self._open(first.url))

    def _expire(self, spent: list[Connection]) -> None:
        """Take the idle connections whose time is over, the oldest first, and stop at the first that can be used."""
        while self._idle and next(iter(self._idle)).has_expired():
            spent.append(self._oldest())

    def _oldest(self) -> Connection:
        oldest = next(iter(self._idle))
        self._unpile(oldest)
        return oldest

    def _unpile(self, connection: Connection) -> None:
        origin = self._idle.pop(connection)
        pile = self._piles[origin]
        del pile[connection]
        if not pile:
            del self._piles[origin]

    @property
    def connections(self) -> list[Connection]:
        """The connections that are open or being opened, as httpcore's pool tells them."""
        return [*self._connections, *self._beneath.connections]

    async def aclose(self) -> None:
        """Close all connections, those in use too."""
        while self._idle:
            self._oldest()
        await self._close(list(self._connections))
        await self._beneath.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._beneath, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__slots__:
            object.__setattr__(self, name, value)
        else:
            setattr(self._beneath, name, value)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} [{len(self._connections)} connections, {len(self._idle)} of them idle; "
            f"{len(self._line)} requests in line]>"
        )


class _Turn:
    """A place in line."""

    __slots__ = ("called", "connection", "origin", "url")

    def __init__(self, origin: Origin, url: Any) -> None:
        self.origin = origin
        self.url = url
        self.called = anyio.Event()
        self.connection: Connection | None = None

    def call(self, connection: Connection) -> None:
        self.connection = connection
        self.called.set()


class _Body:
    """A response's body; closing it gives the connection back."""

    __slots__ = ("_connection", "_origin", "_owner", "_stream")

    def __init__(self, stream: Any, pool: TaskPool, connection: Connection, origin: Origin) -> None:
        self._stream: Any = stream
        self._owner = pool
        self._connection: Connection | None = connection
        self._origin = origin

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts: AsyncIterator[bytes] = aiter(self._stream)
        try:
            async for part in parts:
                yield part
        except BaseException:
            try:
                await leave(parts)
            finally:
                await self.aclose()
            raise

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
        finally:
            await self._owner._give_back(connection, self._origin)  # noqa: SLF001 - its own
