"""Shared engines for tests, on virtual time: what one process has, what several have, and the tests of `tests/guard` again.

A test of the engines in memory says what is right of the shared ones, too. So its module is loaded a second time, and
its engines are made by a store there; whatever is added to it is run against both.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _pytest.fixtures import FixtureFunctionDefinition

from resilient_client.shared import RedisStore
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from valkey_server import Server

__all__ = ["ZERO", "Again", "Stores"]

ZERO = VirtualClock(start=0.0)
"""A clock that never moves, and begins at 0: the times that a test tells are the times that decide."""

_numbers = itertools.count()


class Stores:
    """Makes stores that share a prefix, as the processes of one fleet do."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.prefix = f"test{next(_numbers)}:"
        self._made: list[RedisStore] = []

    def __call__(self, **options: Any) -> RedisStore:
        """Make the store of one process."""
        settings: dict[str, Any] = {"prefix": self.prefix, "timeout": 2.0} | options
        store = RedisStore(self.server.url, **settings)
        self._made.append(store)
        return store

    def close(self) -> None:
        """Close the connections of all that were made."""
        for store in self._made:
            store.close()


class Again:
    """A module of `tests/guard` once more, whose engines a store makes."""

    def __init__(self, name: str) -> None:
        path = Path(__file__).parents[1] / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"shared_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        self.module: ModuleType = importlib.util.module_from_spec(spec)
        sys.modules[self.module.__name__] = self.module  # dataclasses look there
        spec.loader.exec_module(self.module)
        self._stores: Stores | None = None

    def use(self, server: Server) -> None:
        """Begin a test: with stores that know nothing."""
        self._stores = Stores(server)

    def another(self) -> RedisStore:
        """Make the store of another process."""
        assert self._stores is not None
        return self._stores()

    def close(self) -> None:
        """Close the connections."""
        assert self._stores is not None
        self._stores.close()

    def tests(self, *, apart: Mapping[str, str], **engines: object) -> dict[str, Any]:
        """Give its tests and their fixtures, with these engines, less the tests that are apart, each for the reason given."""
        vars(self.module).update(engines)
        every = {
            name: value
            for name, value in vars(self.module).items()
            if name.startswith("test_") or isinstance(value, FixtureFunctionDefinition)
        }
        unknown = set(apart) - set(every)
        assert not unknown, f"{self.module.__name__} has no {unknown}"
        return {name: value for name, value in every.items() if name not in apart}
