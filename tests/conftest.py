"""The fixtures that every test may ask for."""

from __future__ import annotations

import pytest
from scenario import Run


@pytest.fixture(params=["sync", "asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Give a way to make a call: in a thread, in an asyncio task and in a trio task, one after the other."""
    return Run(request.param)
