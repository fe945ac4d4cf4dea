"""Pacing: so many units within so many seconds, in several windows at once, each caller in their turn.

The laws. What the server may still count, counts: it sees a request at some time between its sending and its answer, so
a unit is held from the sending until `per` seconds after the answer, and no window of the server's overflows, however
late requests arrive and whichever overtakes another. Nobody overtakes here: a small request waits behind a large one.
The server's word only makes it more careful than its own count, and is forgotten in time. No clock: `now` (monotonic
seconds) comes in.

    reserve --+--> Slot, its time is now ------------------+--> send --> finish
              |                                            |
              +--> Slot, its time is to come --> confirm --+
              |                                  |     ^
              |                                  +sleep+
              +--> Refused                                 cancel: any slot that is not sent

A time that is told in advance is a lower bound: whoever has not been answered is taken as answered now, and whoever
waits as answered when their turn comes. `confirm` judges by what has come true. A question costs the logarithm of what
a window holds, but for two that look at the whole line: to confirm long before one's turn, and to reserve behind more
than a budget's worth for the first time after somebody gave up, or the server had its say.

Sources: 0trace's budget, and the steady drain that it asks of bursts, https://0trace.io/api/rate-limits; two windows at
once, https://preview.dual.org/docs/developer-kit/rate-limits; the drip after a refusal is GCRA's virtual schedule
(ITU-T I.371); https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/ for what servers tell.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pacer", "Refused", "Slot", "Window"]

_AN_INSTANT = 1e-6  # seconds: a sleeper wakes at its time to within a float's precision, and may go
_A_CRUMB = 1e-6  # units: costs may be fractions, whose sums are not exact
_GRAINS = 2048  # entries of a window's log: what runs out within per/2048 is one
_CALM = 60.0  # seconds at the most for which calls drip after a hold


@dataclass(frozen=True, slots=True)
class Window:
    """So many units within any so many seconds.

    Raises:
        ValueError: not finite, or not above 0.
    """

    budget: float
    """Units."""
    per: float
    """Seconds."""

    def __post_init__(self) -> None:
        for name, unit in (("budget", "units"), ("per", "seconds")):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be {unit} above 0 (got {getattr(self, name)!r})")


class Slot(NamedTuple):
    """A place in the line."""

    number: int
    cost: float  # units
    at: float  # monotonic seconds: not earlier than this, as things stood when it was reserved


class Refused(NamedTuple):
    """Nothing was reserved."""

    reason: Literal["too_large", "deadline"]
    at: float  # monotonic seconds: the earliest moment at which it would have had room; infinite where it never has


class Pacer:
    """One budget of an API, and those who share it. Threads may.

    Reserve before each attempt. A slot whose `at` has come is granted with it; any other is to be confirmed when its
    time has come, until that says 0. Of each slot that was granted tell `finish` when the answer, or the error, is in.
    `cancel` what will not be sent.

    `margin` seconds are added to every window, for clocks that tick coarsely. A request that is not answered within
    `due` seconds counts as answered then: it has reached the server long ago.

    Raises:
        ValueError: no window, or margin or due out of range.
    """

    shared = False

    def __init__(self, *windows: Window, margin: float = 0.02, due: float = 30.0) -> None:
        if not windows:
            raise ValueError("a Pacer needs at least one Window")
        if not 0 <= margin < math.inf:
            raise ValueError(f"margin must be seconds, 0 or more (got {margin!r})")
        if not 0 < due < math.inf:
            raise ValueError(f"due must be seconds above 0 (got {due!r})")
        self._lock = threading.Lock()
        self._windows = tuple(_Rolling(window, margin) for window in windows)
        self._longest = max(self._windows, key=lambda window: window.per)
        self._largest_cost = min(window.budget for window in windows)  # that can ever fit
        self._due = due
        self._number = 0  # of the newest slot
        self._now = -math.inf  # the latest time that anybody told
        self._sent: dict[int, tuple[float, float]] = {}  # number -> cost, when its answer is due
        self._sent_units = 0.0
        self._line: dict[int, float] = {}  # number -> cost of those who wait, in order
        self._line_units = 0.0
        # When the line's turns come: by `_turns[n]` the first `_marks[n]` units will have gone, and `_gone` of them
        # have. Laid out anew when they are asked for after something has moved them.
        self._marks: list[float] = []
        self._turns: list[float] = []
        self._gone = 0.0
        self._laid_out = True
        self._held = -math.inf  # nobody goes earlier than this
        # After a hold, until `_calm`, the next goes at `_drip` and the others at the budget's own rate behind it.
        self._drip = self._calm = -math.inf
        self._rate = min(window.budget / window.per for window in windows)  # units per second
        self._version = 0

    @property
    def version(self) -> int:
        """A number that changes when those who wait may have their turn sooner than they were told: confirm again."""
        return self._version

    def is_to_look(self, now: float) -> bool:  # noqa: ARG002 - as one that is far away is asked
        """Tell whether somebody who waits should confirm though `version` is as it was: here, never."""
        return False

    def reserve(self, cost: float, now: float, *, until: float | None = None) -> Slot | Refused:
        """Take the next place in the line for a request of this cost (units, above 0).

        A place whose turn comes at `until` (monotonic seconds) or later is refused, and so is what no window is large
        enough for.

        Raises:
            ValueError: cost is not above 0; what costs nothing needs no place.
        """
        if not cost > 0:
            raise ValueError(f"cost must be units above 0 (got {cost!r})")
        if cost > self._largest_cost:
            return Refused("too_large", math.inf)
        with self._lock:
            now = self._catch_up(now)
            at = self._earliest(cost, self._line_units, now)
            if until is not None and at >= until:
                return Refused("deadline", at)
            self._number += 1
            slot = Slot(self._number, cost, at)
            if at - now <= _AN_INSTANT:
                self._go(slot, now)
            else:
                self._queue(slot)
            return slot

    def earliest(self, cost: float, now: float) -> float:
        """Tell when a request of this cost could go that came now: monotonic seconds, at the least; infinite: never."""
        if cost > self._largest_cost:
            return math.inf
        with self._lock:
            return self._earliest(cost, self._line_units, self._catch_up(now))

    def confirm(self, slot: Slot, now: float) -> float:
        """Ask whether the slot's turn has come: 0 grants it, else it is the seconds still to wait, at the least.

        Raises:
            LookupError: it was cancelled, or has finished.
        """
        with self._lock:
            now = self._catch_up(now)
            if slot.number in self._sent:
                return 0.0
            ahead = 0.0
            for number, cost in self._line.items():
                if number == slot.number:
                    break
                ahead += cost
            else:
                raise LookupError(f"slot {slot.number} does not wait: it was cancelled, or has finished")
            wait = self._earliest(slot.cost, ahead, now) - now
            if wait > _AN_INSTANT:
                return wait
            self._leave(slot)
            self._go(slot, now)
            return 0.0

    def cancel(self, slot: Slot) -> None:
        """Give up a slot that waits, or that was granted and has not been sent: its room goes to those behind it.

        What was sent may have been counted: that is for `finish`. A slot that has finished, or is cancelled, stays so.
        """
        with self._lock:
            if slot.number in self._line:
                self._leave(slot)
            elif self._sent.pop(slot.number, None) is not None:
                self._uncount(slot.cost)
            else:
                return
            self._forget_turns()
            self._version += 1

    def finish(self, slot: Slot, now: float) -> None:
        """Note that the answer to a slot that was sent is in, or will never come. From now on its units run out."""
        with self._lock:
            now = self._catch_up(now)
            if self._sent.pop(slot.number, None) is not None:
                self._log(slot.cost, now)

    def hold(self, now: float, seconds: float) -> float:
        """Hold everybody back after a 429 for as long as it asked, then let them drip.

        Tell `finish` of the refused request first. `seconds` may have the jitter in it that keeps processes apart. For
        a minute, or the longest window if that is shorter, callers then go at the budget's own rate, not as a crowd.

        Gives the units, at the least, that others have spent and this pacer did not know of.
        """
        with self._lock:
            now = self._catch_up(now)
            self._held = max(self._held, now + seconds)
            self._drip = max(self._drip, self._held)
            self._calm = self._held + min(self._longest.per, _CALM)
            self._forget_turns()
            return max(
                0.0, min(window.budget - window.used(now) for window in self._windows) - self._sent_units
            )

    def learn(
        self,
        now: float,
        *,
        remaining: float | None = None,
        limit: float | None = None,
        reset_in: float | None = None,
    ) -> None:
        """Take in what an answer says of the budget: units left, units in all, seconds until there are more.

        It is about the window whose budget is `limit`, else about the longest. It holds until the next word, or for
        `reset_in` seconds (else the window's length). Where the server knows of more room than this pacer does, the
        pacer's count stands.
        """
        with self._lock:
            now = self._catch_up(now)
            window = next((each for each in self._windows if each.budget == limit), self._longest)
            withheld = 0.0
            if limit is not None:
                withheld = max(withheld, window.budget - limit)
            if remaining is not None:
                # Some of what is under way the server has counted, some not yet; as if it had all of it, for the next
                # answer tells more.
                withheld = max(withheld, window.budget - remaining - window.used(now) - self._sent_units)
                if remaining <= 0 and reset_in is not None:
                    withheld = math.inf
            until = now + (reset_in if reset_in is not None else window.per) if withheld else -math.inf
            if max(until, window.until) > now:
                self._forget_turns()
                self._version += withheld < window.withheld or until < window.until
            window.withheld, window.until = withheld, until

    def _catch_up(self, now: float) -> float:
        """Give the latest time that anybody told, for threads tell theirs out of order; log what was due by then."""
        now = self._now = max(self._now, now)
        while self._sent:
            number, (cost, due) = next(iter(self._sent.items()))
            if due > now:
                break
            del self._sent[number]
            self._log(cost, due)
        return now

    def _earliest(self, cost: float, ahead: float, now: float) -> float:
        """Find the earliest moment at which `cost` fits behind `ahead` units of the line."""
        at = max(now, self._held)
        for window in self._windows:
            need = self._sent_units + ahead + cost
            at = max(at, window.room_at(need, now, self._sent_units, ahead, self._turn))
        if at < self._calm:
            at = max(at, min(self._drip + ahead / self._rate, self._calm))
        return at

    def _turn(self, units: float, now: float) -> float:
        """Tell when the first `units` of the line will have gone."""
        if not self._laid_out:
            self._lay_out(now)
        # Sums of fractions may differ by a crumb, and so point past the last.
        place = min(bisect_left(self._marks, self._gone + units), len(self._turns) - 1)
        return max(now, self._turns[place])

    def _lay_out(self, now: float) -> None:
        self._gone, self._laid_out = 0.0, True
        ahead = 0.0
        for cost in self._line.values():
            at = self._earliest(cost, ahead, now)  # it asks for the turns of those before it only
            ahead += cost
            self._marks.append(ahead)
            self._turns.append(at)

    def _forget_turns(self) -> None:
        self._marks, self._turns, self._laid_out = [], [], False

    def _queue(self, slot: Slot) -> None:
        self._line[slot.number] = slot.cost
        self._line_units += slot.cost
        if self._laid_out:
            self._marks.append(self._gone + self._line_units)
            self._turns.append(slot.at)

    def _leave(self, slot: Slot) -> None:
        # Out of turn, too: whoever goes before those ahead finds their turns past, and any past turn is now.
        del self._line[slot.number]
        self._line_units = self._line_units - slot.cost if self._line else 0.0
        self._gone += slot.cost
        if len(self._marks) > 2 * len(self._line) + 64:  # most are of those who have left
            self._forget_turns()

    def _go(self, slot: Slot, now: float) -> None:
        self._sent[slot.number] = slot.cost, now + self._due
        self._sent_units += slot.cost
        if now < self._calm:
            self._drip += slot.cost / self._rate

    def _log(self, cost: float, at: float) -> None:
        self._uncount(cost)
        for window in self._windows:
            window.spend(cost, at)

    def _uncount(self, cost: float) -> None:
        self._sent_units = self._sent_units - cost if self._sent else 0.0


class _Rolling:
    """One window: what was spent in it, in the order in which it runs out, and what the server says of it.

    Units are told by where they stand in the order of all that was ever spent: the first `aged` have run out, of
    `total`.
    """

    __slots__ = (
        "_ends",
        "_grain",
        "_head",
        "_kept",
        "_merge_until",
        "_sums",
        "aged",
        "budget",
        "per",
        "total",
        "until",
        "withheld",
    )

    def __init__(self, window: Window, margin: float) -> None:
        self.budget, self.per = window.budget, window.per
        self._kept = window.per + margin  # seconds from the answer until a unit runs out
        self._grain = window.per / _GRAINS
        self._ends: list[float] = []  # when each entry runs out; monotonic seconds, rising
        self._sums: list[float] = []  # all units spent up to and with each entry
        self._head = 0  # the first entry that has not run out
        self._merge_until = -math.inf  # what runs out earlier than this belongs to the newest entry
        self.aged = self.total = 0.0
        self.withheld = 0.0  # units that the server says are not ours,
        self.until = -math.inf  # until then

    def used(self, now: float) -> float:
        """Tell the units that were answered and have not run out."""
        self._age(now)
        return self.total - self.aged

    def spend(self, cost: float, at: float) -> None:
        """Log units whose answer came then. What runs out at nearly the same time is one entry, until the last does."""
        self.total += cost
        end = at + self._kept
        if end < self._merge_until:
            self._ends[-1], self._sums[-1] = end, self.total
        else:
            self._age(at)
            self._ends.append(end)
            self._sums.append(self.total)
            self._merge_until = end + self._grain

    def room_at(
        self, need: float, now: float, sent: float, ahead: float, turn: Callable[[float, float], float]
    ) -> float:
        """Find when `need` units have room: its own, those under way (`sent`) and those before it in line (`ahead`)."""
        mark = self.total + need - self.budget - _A_CRUMB
        if mark <= self.aged and now >= self.until:
            return now
        self._age(now)
        at = self._run_out(mark, now, sent, ahead, turn)
        if at < self.until:
            at = min(self.until, self._run_out(mark + self.withheld, now, sent, ahead, turn))
        return at

    def _run_out(
        self, mark: float, now: float, sent: float, ahead: float, turn: Callable[[float, float], float]
    ) -> float:
        """Find when all up to the mark have run out: first who was answered, then who is under way, then the line."""
        if mark <= self.aged:
            return now
        if mark <= self.total:
            return self._ends[bisect_left(self._sums, mark, self._head)]
        if mark <= self.total + sent:
            return now + self._kept
        if mark <= self.total + sent + ahead:
            return turn(mark - self.total - sent, now) + self._kept
        return math.inf

    def _age(self, now: float) -> None:
        head = bisect_right(self._ends, now, self._head)
        if head > self._head:
            self._head, self.aged = head, self._sums[head - 1]
            if head > _GRAINS:
                del self._ends[:head], self._sums[:head]
                self._head = 0
