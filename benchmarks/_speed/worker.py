"""A process in which the libraries of a row take turns. The run asks for one turn after the other, and is told how long it took.

    python -m _speed.worker ROW                       a turn for each line that comes in: how many calls, and a name
    python -m _speed.worker ROW --without-sniffio     the same as where that package is not installed
    python -m _speed.worker ROW --only NAME ...       the same of these libraries
    python -m _speed.worker ROW --calls NAME COUNT    so many calls, and nothing else: for callgrind

It begins with a line of JSON: the names of the libraries that are ready.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import logging
import sys
import time
import warnings
from contextlib import AsyncExitStack, ExitStack
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

from .libraries import LIBRARIES, Transport, Wishes
from .rows import ADDRESS, TIMED
from .server import served
from .wires import OK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from .libraries import Library
    from .rows import Timed

__all__ = ["Turns", "hide_sniffio"]

WARM = 5  # calls before a library's first turn


class _Hidden(PathFinder):
    """The finder of what is installed, to which sniffio is not.

    It looks for a name of the same length that nobody has, in all the places and as often as the finder does for a package that is absent:
    a search that fails costs as much as it would there, and is not remembered, as it is not there.
    """

    @classmethod
    def find_spec(
        cls,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Find a module, but for the one that is hidden."""
        return PathFinder.find_spec("sniffi0" if fullname == "sniffio" else fullname, path, target)


def hide_sniffio() -> None:
    """Let this process be as one where sniffio is not installed."""
    sys.meta_path[sys.meta_path.index(PathFinder)] = _Hidden
    sys.modules.pop("sniffio", None)


class Turns:
    """The libraries of a row, each with its client open. An event loop belongs to it where they are for tasks."""

    def __init__(self, row: Timed, names: Sequence[str], address: str) -> None:
        self._row = row
        self._address = address
        self._numbers = itertools.count()
        # In memory nothing is waited for: the processor's time leaves out what else the machine does.
        self._now = time.perf_counter if row.wire is None else time.process_time
        self._loop = asyncio.Runner() if row.tasks else None
        self._clients: Any = AsyncExitStack() if row.tasks else ExitStack()
        self.gets: dict[str, Callable[[str], Any]] = {}
        for name in names:
            self.gets[name] = self._run(self._aopened(name)) if row.tasks else self._opened(name)
            self.turn(name, max(WARM, row.at_once))
            if LIBRARIES[name].retries:
                self._see(name)

    def _run(self, made: Any) -> Any:
        assert self._loop is not None  # noqa: S101 - it is asked for where there is one
        return self._loop.run(made)

    def _of(self, name: str) -> tuple[Library, Wishes]:
        library = LIBRARIES[name]
        wishes = Wishes(tasks=self._row.tasks, wire=self._row.wire, wait=self._row.wait)
        return library, wishes

    def _opened(self, name: str) -> Callable[[str], Any]:
        library, wishes = self._of(name)
        if self._row.handed and isinstance(library, Transport):
            return _handed(library, wishes)
        return library.get(self._clients.enter_context(library.client(wishes)), wishes)

    async def _aopened(self, name: str) -> Callable[[str], Any]:
        library, wishes = self._of(name)
        if self._row.handed and isinstance(library, Transport):
            return _handed(library, wishes)
        return library.get(await self._clients.enter_async_context(library.client(wishes)), wishes)

    def _see(self, name: str) -> None:
        """See that a library does what it is timed at: each call ends with 200, however it began."""
        made = self.gets[name](self._address)
        response = self._run(made) if self._row.tasks else made
        status = getattr(response, "status_code", None) or response.status
        if status != OK:
            raise RuntimeError(f"{name} has ended a call with {status}")

    def turn(self, name: str, calls: int) -> float:
        """Make so many calls, and tell how many seconds each took of the whole."""
        get = self.gets[name]
        gets = calls if LIBRARIES[name].retries else calls * self._row.by_hand
        gc.collect()
        took = self._run(self._atimed(get, gets)) if self._row.tasks else self._timed(get, gets)
        return took / calls

    def _addresses(self, gets: int) -> list[str]:
        if not self._row.new_addresses:
            return [self._address] * gets
        return [f"{self._address}/{next(self._numbers)}" for _ in range(gets)]

    def _timed(self, get: Callable[[str], Any], gets: int) -> float:
        addresses = self._addresses(gets)
        begun = self._now()
        for address in addresses:
            get(address)
        return self._now() - begun

    async def _atimed(self, get: Callable[[str], Any], gets: int) -> float:
        async def one_after_the_other(addresses: Iterable[str]) -> None:
            for address in addresses:
                await get(address)

        async def together(gets: int) -> float:
            shares = [self._addresses(gets // self._row.at_once) for _ in range(self._row.at_once)]
            begun = self._now()
            await asyncio.gather(*(one_after_the_other(share) for share in shares))
            return self._now() - begun

        if self._row.at_once == 1:
            addresses = self._addresses(gets)
            begun = self._now()
            await one_after_the_other(addresses)
            return self._now() - begun
        await together(self._row.at_once)  # connections that were idle for the others' turns may have expired
        return await together(gets)

    def close(self) -> None:
        """Close the clients."""
        if self._loop is None:
            self._clients.close()
        else:
            self._loop.run(self._clients.aclose())
            self._loop.close()


def _handed(library: Transport, wishes: Wishes) -> Callable[[str], Any]:
    """Give what hands the same request to a transport, whatever the address."""
    import httpx  # noqa: PLC0415 - a process that measures something else need not have it

    request = httpx.Request("GET", ADDRESS, extensions={"timeout": httpx.Timeout(5).as_dict()})
    handle = wishes.handler(library.transport(wishes))
    return lambda _address: handle(request)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("row", choices=TIMED)
    parser.add_argument("--without-sniffio", action="store_true")
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--calls", nargs=2)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # those of the libraries
    logging.getLogger().addHandler(logging.NullHandler())  # what they log is made, and not shown
    row = TIMED[asked.row]
    if asked.without_sniffio:
        hide_sniffio()
    if row.wait == 0:
        time.sleep = lambda _seconds: None
    names = [name for name in asked.only or row.names if LIBRARIES[name].installed]
    with ExitStack() as stack:
        address = ADDRESS if row.wire is not None else f"{stack.enter_context(served())}/ok"
        if asked.calls:
            name, calls = asked.calls
            turns = Turns(row, [name], address)
            gc.collect()
            gc.freeze()
            turns.turn(name, int(calls))
            return
        turns = Turns(row, names, address)
        stack.callback(turns.close)
        _say(names)
        for line in sys.stdin:
            calls, _, name = line.strip().partition(" ")
            _say(turns.turn(name, int(calls)))


def _say(what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main()
