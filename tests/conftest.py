"""The fixtures that every test may ask for, the twins on httpx2, and the plugin under test where no installation brings it."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import hosts
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from scenario import Run

PLUGIN = "resilient_client.testing.plugin"

# pytest refuses a plugin that it has already, under the name of its entry point.
pytest_plugins = ["pytester"]
if all(point.value != PLUGIN for point in entry_points(group="pytest11")):
    pytest_plugins.append(PLUGIN)


def pytest_configure(config: pytest.Config) -> None:
    """Let the twins be imported."""
    hosts.begin(config)


@pytest.hookimpl(trylast=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.File | None:
    """Collect a module's twin after the module."""
    return hosts.twin(file_path, parent)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Give a way to make a call: in a thread, in an asyncio task and in a trio task, one after the other."""
    made: Run = hosts.beside(request.module, "scenario").Run(request.param)
    return made
