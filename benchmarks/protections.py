"""What each protection adds to a call that succeeds at its first attempt: microseconds, and Python-level function calls.

    python benchmarks/protections.py

The transport under test stands before one that answers at once with the same response, so that nothing else is measured. The
medians of interleaved rounds are printed; on a busy machine they drift, and the counts do not.
"""
# ruff: noqa: INP001, T201 - a script, which prints

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import httpx

from resilient_client import Policy, ResilientTransport

ROUNDS, CALLS = 25, 1000
POLICY = Policy.model_validate({"api": "measured", "pace": {"budget": 1e12, "per": 60}})
SETUPS: dict[str, dict[str, Any]] = {
    "all off": {"budget": False},
    "budget (the default)": {},
    "breaker": {"budget": False, "breaker": True},
    "bulkhead": {"budget": False, "bulkhead": 20},
    "pace": {"budget": False, "pace": True},
    "these four": {"breaker": True, "bulkhead": 20, "pace": True},
}


class Constant(httpx.BaseTransport):
    """Answers at once."""

    def __init__(self) -> None:
        self._response = httpx.Response(200, content=b"{}")

    def handle_request(self, request: httpx.Request) -> httpx.Response:  # noqa: ARG002 - its shape
        """Give the same response as ever."""
        self._response.extensions = {}
        return self._response


def microseconds(transport: httpx.BaseTransport, request: httpx.Request) -> float:
    """Measure one round: the average of its calls."""
    handle = transport.handle_request
    began = time.perf_counter()
    for _ in range(CALLS):
        handle(request)
    return (time.perf_counter() - began) / CALLS * 1e6


def function_calls(transport: httpx.BaseTransport, request: httpx.Request) -> int:
    """Count the calls of functions, Python's and C's, that one request makes."""
    transport.handle_request(request)
    count = 0

    def counted(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(counted)
    try:
        transport.handle_request(request)
    finally:
        sys.setprofile(None)
    return count - 1  # the one that ends the counting


def main() -> None:
    """Print the table."""
    transports = {name: ResilientTransport(POLICY, Constant(), **setup) for name, setup in SETUPS.items()}
    request = httpx.Request("GET", "https://api.example/things", extensions={"timeout": {}})
    rounds: dict[str, list[float]] = {name: [] for name in transports}
    for _ in range(ROUNDS):
        for name, transport in transports.items():
            rounds[name].append(microseconds(transport, request))
    off = statistics.median(rounds["all off"])
    print(f"{'':22}  us/call   added   function calls")
    for name, transport in transports.items():
        median = statistics.median(rounds[name])
        print(f"{name:22}  {median:7.2f}  {median - off:+6.2f}   {function_calls(transport, request)}")


if __name__ == "__main__":
    main()
