"""Libraries that take turns, in processes of their own, and the figures that come of it: medians, quartiles, and ratios round by round.

Law of this file: in a round each library has one turn, and only one process works at a time, so that a machine that slows down slows all of
them. A ratio is one of two turns of the same round.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .rows import BASE, HOSTS, WITH_SNIFFIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .rows import Timed

__all__ = ["FOLDER", "child", "environment", "figures", "taken"]

FOLDER = Path(__file__).parents[1]
LONGEST = 600.0  # seconds for a process


def environment() -> dict[str, str]:
    """Give what a process is started with.

    No proxy may stand before the server on this machine; and byte code is kept, as that of what pip installs is.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and name != "PYTHONDONTWRITEBYTECODE"
    }


def child(module: str, *arguments: str) -> str:
    """Run a module of this package in a process of its own, and give what it prints."""
    done = subprocess.run(  # noqa: S603 - this package
        [sys.executable, "-m", f"_speed.{module}", *arguments],
        cwd=FOLDER,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=LONGEST,
    )
    return done.stdout


class Worker:
    """A process with the libraries of a row; see `worker.py`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.names: list[str] = self._told()

    def _told(self) -> Any:
        assert self._process.stdout is not None  # noqa: S101 - it is piped
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"{' '.join(map(str, self._process.args))} has ended; what it wrote stands above"
            )  # type: ignore[union-attr]
        return json.loads(line)

    def turn(self, name: str, calls: int) -> float:
        """Give a library its turn, so many calls long: the seconds that each took."""
        assert self._process.stdin is not None  # noqa: S101 - it is piped
        self._process.stdin.write(f"{calls} {name}\n")
        self._process.stdin.flush()
        seconds: float = self._told()
        return seconds


@contextmanager
def working(row: Timed, *options: str) -> Iterator[Worker]:
    """Have a process for a row, for as long as the block lasts, and bounded in time."""
    command = [sys.executable, "-m", "_speed.worker", row.key, *options]
    with subprocess.Popen(  # noqa: S603 - this package
        command, cwd=FOLDER, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        patience = threading.Timer(LONGEST, process.kill)
        patience.start()
        try:
            yield Worker(process)
        finally:
            patience.cancel()


def taken(row: Timed) -> dict[str, list[float]]:
    """Let the libraries of a row take turns, round after round: the seconds of a call in each."""
    with ExitStack() as stack:
        hidden = ["--without-sniffio"] if row.tasks else []
        worker = stack.enter_context(working(row, *hidden, "--only", *row.names))
        turns = [(name, worker, name) for name in worker.names]
        if row.sniffing and find_spec("sniffio"):
            having = stack.enter_context(working(row, "--only", *row.sniffing))
            turns += [(name + WITH_SNIFFIO, having, name) for name in having.names]
        took: dict[str, list[float]] = {label: [] for label, _, _ in turns}
        for number in range(row.rounds):
            first = number % len(turns)  # so that nobody always follows the same one
            for label, worker, name in turns[first:] + turns[:first]:
                took[label].append(worker.turn(name, row.calls))
    return took


def figures(
    took: dict[str, list[float]], *, base: str = BASE, throughput: bool = False
) -> dict[str, dict[str, Any]]:
    """Make figures of what was taken: seconds, and the ratio to the base, each as the median between two quartiles.

    The ratio is that of the times, and where throughput counts that of the throughputs: what is better is above 1 there. `over` is the ratio
    of the times, always, to what a library stands over, where that is not the base.
    """
    compared = took[base]
    found: dict[str, dict[str, Any]] = {}
    for label, times in took.items():
        low, middle, high = statistics.quantiles(times, n=4)
        found[label] = {
            "seconds": middle,
            "low": low,
            "high": high,
            **(_ratios(compared, times) if throughput else _ratios(times, compared)),
            "added": statistics.median(here - there for here, there in zip(times, compared, strict=True)),
        }
        name = label.removesuffix(WITH_SNIFFIO)
        if name in HOSTS:
            found[label]["over"] = _ratios(times, took[HOSTS[name] + label.removeprefix(name)])
    return found


def _ratios(times: list[float], others: list[float]) -> dict[str, float]:
    """Divide times by others, round by round."""
    low, middle, high = statistics.quantiles(
        [one / other for one, other in zip(times, others, strict=True)], n=4
    )
    return {"ratio": middle, "ratio_low": low, "ratio_high": high}
