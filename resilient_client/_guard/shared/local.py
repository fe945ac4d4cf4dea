"""What one process may send of a shared budget while it is on its own.

The law: when all processes have lost the server they send no more than the budget together, in any window, though none
knows what the others do. Two rules see to that. (A process that is cut off by itself, while others reach the server, is
what they cannot help: its share comes on top of theirs until it is back.)

- What the server granted before may count against the budget until it has run out everywhere: `due` and a window after
  the loss. Until then a process keeps to the units that it held when it lost the server, and sends as they run out.
- It never sends more than its share; the shares, which the server told, are never more than the whole.

Before that time all of them hold what the server granted, which was within the budget; after it, their shares.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from resilient_client._guard.pace import Pacer, Slot, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Alone", "Ledger"]

_GRAINS = 2048  # entries of a ledger: what was answered within a window's 2048th is one


class Ledger:
    """The units that this process spent lately, by when they were answered: in seconds, for as long as any counts."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._entries: deque[tuple[float, float]] = deque()  # when, units
        self._merge_until = float("-inf")

    def add(self, units: float, at: float) -> None:
        """Note units that were answered then."""
        if self._entries and at <= self._merge_until:
            last, before = self._entries.pop()
            self._entries.append((max(at, last), before + units))
            return
        self._entries.append((at, units))
        self._merge_until = at + self._longest / _GRAINS
        while self._entries[0][0] + self._longest < at:
            self._entries.popleft()

    def lately(self, now: float) -> list[tuple[float, float]]:
        """List what still counts, in order: when it was answered, and how many units."""
        return sorted(entry for entry in self._entries if entry[0] + self._longest > now)

    def clear(self) -> None:
        """Forget it all: it was told."""
        self._entries.clear()
        self._merge_until = float("-inf")


class Alone(Pacer):
    """The pacer of a process that has lost the server: its share, and for a time only what it held."""

    def __init__(  # noqa: PLR0913 - what a process knows when it is alone
        self,
        windows: Sequence[Window],
        share: float,
        *,
        margin: float,
        due: float,
        now: float,
        begins: float,
        spent: Iterable[tuple[float, float]],
        sent: Sequence[tuple[float, float]],
    ) -> None:
        """Take over what the process holds: `spent` is (when answered, units), `sent` (when sent, units), in order.

        It grants nothing before `begins`.
        """
        super().__init__(
            *(Window(window.budget * share, window.per) for window in windows), margin=margin, due=due
        )
        self._share = share
        self._held = begins
        for at, units in spent:
            for window in self._windows:
                window.spend(units, at)
        self.taken = [self._taken(units, since) for since, units in sent]
        held = [window.used(now) + self._sent_units for window in self._windows]
        self._bounds = [
            (window.budget - min(units, window.budget), now + due + window.per + margin)
            for window, units in zip(self._windows, held, strict=True)
        ]
        self._keep_bounds(now)

    def begin_later(self, at: float) -> None:
        """Grant nothing before this: it is not certain yet that the server is gone."""
        self._held = max(self._held, at)

    def learn(
        self,
        now: float,
        *,
        remaining: float | None = None,
        limit: float | None = None,
        reset_in: float | None = None,
    ) -> None:
        """Take in what an answer says of the whole budget: this process's share of it."""
        super().learn(
            now,
            remaining=None if remaining is None else remaining * self._share,
            limit=None if limit is None else limit * self._share,
            reset_in=reset_in,
        )
        self._keep_bounds(now)

    def _taken(self, units: float, since: float) -> Slot:
        self._number += 1
        self._sent[self._number] = units, since + self._due
        self._sent_units += units
        return Slot(self._number, units, since)

    def _keep_bounds(self, now: float) -> None:
        for window, (withheld, until) in zip(self._windows, self._bounds, strict=True):
            if now < until:
                window.withheld, window.until = max(window.withheld, withheld), until
