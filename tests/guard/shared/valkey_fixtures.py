"""One Valkey for all tests of a pytest process; what a test keeps there has a prefix of its own.

A plugin that the test modules of this folder name: a second `conftest` is one too many for mypy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from shared_engines import Stores
from valkey_server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def valkey() -> Iterator[Server]:
    """Run a server that no test stops."""
    with Server() as running:
        yield running


@pytest.fixture
def stores(valkey: Server) -> Iterator[Stores]:
    """Give a way to make stores, each as another process would, that share one prefix."""
    made = Stores(valkey)
    yield made
    made.close()
