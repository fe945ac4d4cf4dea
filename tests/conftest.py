"""The fixtures that every test may ask for, and the plugin under test where no installation brings it."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest
from scenario import Run

PLUGIN = "resilient_client.testing.plugin"

# pytest refuses a plugin that it has already, under the name of its entry point.
pytest_plugins = ["pytester"]
if all(point.value != PLUGIN for point in entry_points(group="pytest11")):
    pytest_plugins.append(PLUGIN)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Give a way to make a call: in a thread, in an asyncio task and in a trio task, one after the other."""
    return Run(request.param)
