"""What a protection costs a call that succeeds at once, in calls of functions: they are the same on every machine."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import httpx
import pytest

from resilient_client import ResilientTransport

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "protections.py"
REQUEST = httpx.Request("GET", "https://api.example/things", extensions={"timeout": {}})

# Function calls beside those of a transport with all protections off, which are none but the shortest: what was measured, and a
# quarter more.
MOST = {"budget (the default)": 2, "breaker": 29, "bulkhead": 27, "pace": 60, "these four": 77}


@pytest.fixture(scope="module")
def benchmark() -> Any:
    """Load the script; it is not shipped."""
    if not SCRIPT.is_file():
        pytest.skip("the benchmarks are in the checkout alone")
    spec = importlib.util.spec_from_file_location("protections", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def counted(benchmark: Any, name: str) -> int:
    """Count the calls of one request through a transport that is set up so."""
    transport = ResilientTransport(benchmark.POLICY, benchmark.Constant(), **benchmark.SETUPS[name])
    count: int = benchmark.function_calls(transport, REQUEST)
    return count


@pytest.mark.parametrize("name", MOST)
def test_a_protection_costs_little(benchmark: Any, name: str) -> None:
    """Nobody pays for a flow, or for a second look at the clock, where everything is granted at once."""
    assert 0 < counted(benchmark, name) - counted(benchmark, "all off") <= MOST[name]


def test_what_is_off_costs_next_to_nothing(benchmark: Any) -> None:
    """The whole transport, with all protections off, is ten calls of functions at the most."""
    assert counted(benchmark, "all off") <= 10
