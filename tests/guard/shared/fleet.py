"""A fleet in a simulation: processes of several workers each, an API that counts, and a server that may go away."""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_right
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from shared_engines import ZERO

from resilient_client._guard.pace import Refused, Slot, Window
from resilient_client.shared import StoreAwayError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resilient_client._guard.shared.pace import SharedPacer
    from resilient_client.shared import RedisStore

__all__ = ["Fleet", "most_in_a_window"]


def most_in_a_window(arrivals: Sequence[tuple[float, float]], per: float) -> float:
    """Tell the most units that arrived within any so many seconds, each arrival counting from its own moment on."""
    arrivals = sorted(arrivals)
    times = [at for at, _ in arrivals]
    sums = [0.0, *itertools.accumulate(cost for _, cost in arrivals)]
    return max(
        (sums[number + 1] - sums[bisect_right(times, at - per)] for number, at in enumerate(times)),
        default=0.0,
    )


@dataclass
class Fleet:
    """Processes that send as fast as they may; virtual seconds.

    A request arrives a part of the latency after its sending, and its answer comes another part later.
    """

    stores: Sequence[RedisStore]
    window: Window
    workers: int = 8
    weights: dict[float, float] = field(default_factory=lambda: {1: 0.6, 5: 0.25, 50: 0.15})
    latency: tuple[float, float] = (0.002, 0.05)
    due: float = 5.0
    seed: int = 1
    arrivals: list[tuple[float, float]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    refused: int = 0  # for the server was away

    def __post_init__(self) -> None:
        self._random = Random(self.seed)  # noqa: S311 - for times, not for secrets
        self._order = itertools.count()
        self._events: list[tuple[float, int, str, int, Any]] = []
        self._dead: set[int] = set()
        self.pacers: list[SharedPacer] = [
            store.pacer("fleet", self.window, due=self.due, clock=ZERO) for store in self.stores
        ]
        for process, _ in itertools.product(range(len(self.pacers)), range(self.workers)):
            self._then(self._random.random() / 100, "idle", process, None)

    def _then(self, at: float, what: str, process: int, slot: Any) -> None:
        heapq.heappush(self._events, (at, next(self._order), what, process, slot))

    def at(self, when: float, do: Callable[[], object]) -> None:
        """Do something at that second."""
        self._then(when, "do", -1, do)

    def kill(self, process: int) -> None:
        """End a process: what it has sent arrives, and nobody hears of the answers."""
        self._dead.add(process)

    def run(self, until: float) -> None:
        """Let it all happen up to that second."""
        while self._events[0][0] < until:
            now, _, what, process, slot = heapq.heappop(self._events)
            if what == "do":
                slot()
            elif what == "arrival":
                self.arrivals.append((now, slot.cost))
                self._then(now + self._random.uniform(*self.latency), "answer", process, slot)
            elif process not in self._dead:
                self._step(now, what, process, slot)

    def _step(self, now: float, what: str, process: int, slot: Any) -> None:
        pacer = self.pacers[process]
        try:
            if what == "idle":
                (cost,) = self._random.choices([*self.weights], [*self.weights.values()])
                answer = pacer.reserve(cost, now)
                assert not isinstance(answer, Refused)
                self.waits.append(answer.at - now)
                self._then(answer.at, "send" if answer.at <= now else "turn", process, answer)
            elif what == "turn":
                wait = pacer.confirm(slot, now)
                self._then(now + wait, "turn" if wait else "send", process, slot)
            elif what == "send":
                self._then(now + self._random.uniform(*self.latency), "arrival", process, slot)
            else:
                pacer.finish(slot, now)
                self._then(now, "idle", process, None)
        except StoreAwayError:
            self.refused += 1
            self._then(now + 0.1, what, process, slot)
            if isinstance(slot, Slot) and what == "idle":
                raise

    def used(self, begin: float, end: float) -> float:
        """Tell the share of the budget that arrived between two seconds."""
        spent = sum(cost for at, cost in self.arrivals if begin <= at < end)
        return spent / (self.window.budget * (end - begin) / self.window.per)
