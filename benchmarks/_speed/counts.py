"""What is counted, and is the same on every machine: calls of functions, and instructions of the processor.

Instructions are valgrind's: of a process that makes so many calls, and of one that makes twice as many. What is between the two is the
calls alone, without the start of Python.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from .turns import FOLDER, environment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["VALGRIND", "afunction_calls", "function_calls", "instructions"]

VALGRIND = shutil.which("valgrind")
CALLS = 400
LONGEST = 300.0  # seconds for one process


class _Counter:
    """Counts the calls of functions, Python's and C's."""

    def __init__(self) -> None:
        self.count = -1  # the one that ends the counting

    def __call__(self, _frame: Any, event: str, _arg: Any) -> None:
        self.count += event in {"call", "c_call"}


def function_calls(call: Callable[[], Any]) -> int:
    """Count the calls of functions that a call makes, itself included. It is made once before: what is done once is not counted."""
    call()
    counter = _Counter()
    sys.setprofile(counter)
    try:
        call()
    finally:
        sys.setprofile(None)
    return counter.count


async def afunction_calls(call: Callable[[], Awaitable[Any]]) -> int:
    """Count the same of a call that is awaited, and that never waits: a task beside it would be counted with it."""
    await call()
    counter = _Counter()
    sys.setprofile(counter)
    try:
        await call()
    finally:
        sys.setprofile(None)
    return counter.count


def instructions(row: str, name: str) -> float:
    """Count the instructions of one call of a row. Needs valgrind."""
    _run([], row, name, 1)  # what is written once, byte code, is written
    once, twice = (_collected(row, name, calls) for calls in (CALLS, 2 * CALLS))
    return (twice - once) / CALLS


def _collected(row: str, name: str, calls: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        told = _run(
            [str(VALGRIND), "--tool=callgrind", f"--callgrind-out-file={folder}/out"], row, name, calls
        )
    collected = re.search(r"Collected : (\d+)", told)
    assert collected is not None, told  # noqa: S101 - valgrind always says so
    return int(collected[1])


def _run(under: list[str], row: str, name: str, calls: int) -> str:
    done = subprocess.run(  # noqa: S603 - this package, and valgrind
        [*under, sys.executable, "-m", "_speed.worker", row, "--calls", name, str(calls)],
        cwd=FOLDER,
        env={**environment(), "PYTHONHASHSEED": "0"},
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        timeout=LONGEST,
    )
    return done.stderr
