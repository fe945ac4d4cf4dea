"""Pacing for many processes: one budget and one line for all of them, kept by the server (`pace.lua`).

It is asked and told as `Pacer` is, and answers alike. The laws of `_guard/pace.py` hold for all processes together; besides:

- A place in the line is a lease. It ends two seconds after the time that its owner was told, so that a process which was
  killed keeps nobody waiting for longer; an owner who asks later has its place again.
- A grant whose answer is never told counts until it was due, and then for a window.
- Answers are told with the next question, or at once where no other request of this process is under way. The age of
  each is told with it, so that nothing is held for longer because it was told late.
- A process that loses the server goes on alone (`local.py`), or is refused. It begins alone when it has looked for the
  server once more, in vain: as long as others reach it, it may grant them what has run out here.
- When the server is back a process first tells what it sent meanwhile, and all that it holds if the server has lost its
  data. What those may have sent who have not come back is withheld, until it must have run out.
"""

from __future__ import annotations

import math
import os
import threading
import uuid
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from resilient_client._guard.pace import Pacer, Refused, Slot

from .link import Script, StoreAwayError, micro
from .local import Alone, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resilient_client._guard.pace import Window

    from .link import Link, Times

__all__ = ["SharedPacer"]

_LATELY = 60.0  # seconds for which a process may count on the share that it was told
_LOOK = 1.0  # seconds between two looks whether the store is back, or a turn comes sooner
_PROMPT = 0.02  # seconds for which an answer waits for a question that it can be told with
_AN_INSTANT = 1e-6  # seconds
_WHOLE = 1_000_000  # all shares together

_SCRIPT = Script("pace.lua")
_T = TypeVar("_T")


class _Place:
    """A slot of this process that waits, or was granted and is not answered."""

    __slots__ = ("alone", "granted_at", "order", "slot", "told")

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.order = 0  # in the server's line; 0: it does not know of this one
        self.granted_at = -math.inf  # monotonic seconds
        self.told = False  # the server knows of the grant
        self.alone: Slot | None = None  # the same with the pacer of a process that is alone


class SharedPacer:
    """One budget of an API, for all processes that name it alike. Threads may share it; see `Pacer`.

    Its questions block, for the timeout of the store at the most.
    """

    shared = True

    def __init__(  # noqa: PLR0913 - the parts that its store has
        self,
        link: Link,
        keys: str,
        *windows: Window,
        margin: float,
        due: float,
        lease: float,
        times: Times,
        local: bool,
        share: float | None,
    ) -> None:
        Pacer(*windows, margin=margin, due=due)  # the same numbers are right
        self._link, self._times = link, times
        self._windows, self._margin, self._due = windows, margin, due
        self._longest = max(window.per for window in windows) + margin
        self._largest_cost = min(window.budget for window in windows)
        self._goes_on, self._fixed_share = local, share
        self._keys = [
            f"{keys}:{part}" for part in ("state", "sent", "line", "leases", "costs", "seen", "shares")
        ] + [f"{keys}:log{number}" for number in range(len(windows))]
        self._numbers = [
            *(micro(seconds) for seconds in (link.retry_away + 3 * link.timeout, due, lease)),
            len(windows),
            *(micro(n) for each in windows for n in (each.budget, each.per + margin, each.per)),
        ]
        self._number = 0  # of the newest slot
        self._begin()
        _ALIVE.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._owner = uuid.uuid4().hex
        self._now = -math.inf  # the latest time that anybody told
        self._version = 0
        self._looked_at = -math.inf  # when somebody who waits last asked without having been told to
        self._waiting: dict[int, _Place] = {}
        self._granted: dict[int, _Place] = {}  # in the order of their granting
        self._asking: set[int] = set()  # numbers that the server may have granted a moment ago
        self._spent = Ledger(self._longest)  # all that this process sent and had answered
        # What is to be told, and when it was; that goes as an age. None: its time does not matter.
        self._reports: list[tuple[tuple[object, ...], float | None]] = []
        # Of the server: which data it had, the share that it told, and when.
        self._epoch = ""
        self._share = 0
        self._seen_at = -math.inf
        self._held = -math.inf
        # While it is away.
        self._lost_at: float | None = None
        self._alone: Alone | None = None
        self._meanwhile = Ledger(self._longest)  # what it does not know of

    @property
    def version(self) -> int:
        """A number that changes when those who wait may have their turn sooner than they were told: confirm again.

        What happened in another process is known with the next answer of the server.
        """
        return self._version

    def is_to_look(self, now: float) -> bool:
        """Let one of those who wait ask the server, once a second: what it hears, `version` tells the others."""
        with self._lock:
            if now < self._looked_at + _LOOK:
                return False
            self._looked_at = now
            return True

    def reserve(self, cost: float, now: float, *, until: float | None = None) -> Slot | Refused:
        """Take the next place in the line; see `Pacer.reserve`.

        Raises:
            ValueError: cost is not above 0.
            StoreAwayError: the server is away, and this process is not to go on alone, or has no share to go on with.
        """
        if not cost > 0:
            raise ValueError(f"cost must be units above 0 (got {cost!r})")
        if cost > self._largest_cost:
            return Refused("too_large", math.inf)
        with self._lock:
            self._number += 1
            number = self._number
            self._asking.add(number)
        before = "" if until is None else micro(until - now)

        def granted(word: str, at: float, order: int) -> Slot | Refused:
            if word == "deadline":
                return Refused("deadline", at)
            place = _Place(Slot(number, cost, at))
            place.order = order
            if word == "sent":
                self._grant(place, now, told=True)
            else:
                self._waiting[number] = place
            return place.slot

        try:
            return self._decide(
                now,
                ("reserve", self._id(number), micro(cost), before),
                granted,
                lambda alone, away: self._reserve_alone(alone, Slot(number, cost, now), now, until, away),
            )
        finally:
            self._asking.discard(number)

    def earliest(self, cost: float, now: float) -> float:
        """Tell when a request of this cost could go that came now; see `Pacer.earliest`.

        Raises:
            StoreAwayError: as from `reserve`.
        """
        if cost > self._largest_cost:
            return math.inf
        return self._decide(
            now,
            ("earliest", micro(cost)),
            lambda _, at, __: at,
            lambda alone, _: alone.earliest(cost, now),
        )

    def confirm(self, slot: Slot, now: float) -> float:
        """Ask whether the slot's turn has come; see `Pacer.confirm`.

        Raises:
            LookupError: it was cancelled, or has finished.
            StoreAwayError: as from `reserve`. The slot waits on: confirm it later, or cancel it.
        """
        with self._lock:
            now = self._catch_up(now)
            if slot.number in self._granted:
                return 0.0
            place = self._waiting.get(slot.number)
            if place is None:
                raise LookupError(f"slot {slot.number} does not wait: it was cancelled, or has finished")

        def granted(word: str, at: float, order: int) -> float:
            place.order = order
            if word == "wait":
                return at - now
            del self._waiting[slot.number]
            self._grant(place, now, told=True)
            return 0.0

        return self._decide(
            now,
            ("confirm", self._id(slot.number), micro(slot.cost), place.order),
            granted,
            lambda alone, away: self._confirm_alone(alone, place, now, away),
        )

    def cancel(self, slot: Slot) -> None:
        """Give up a slot that waits, or that was granted and has not been sent; see `Pacer.cancel`."""
        with self._lock:
            place = self._waiting.pop(slot.number, None) or self._granted.pop(slot.number, None)
            if place is None:
                return
            if place.alone is not None and self._alone is not None:
                self._alone.cancel(place.alone)
                self._version += 1
            if place.order:
                self._reports.append((("cancel", self._id(slot.number)), None))
        self._tell(self._now)

    def finish(self, slot: Slot, now: float) -> None:
        """Note that the answer to a slot that was sent is in, or will never come; see `Pacer.finish`."""
        with self._lock:
            now = self._catch_up(now)
            place = self._granted.pop(slot.number, None)
            if place is None:
                return
            self._answered(place, now)
            soon = self._told_soon(now)
        if not soon:
            self._tell(now)

    def hold(self, now: float, seconds: float) -> float:
        """Hold everybody back after a 429, in all processes, then let them drip; see `Pacer.hold`.

        While the server is away it is this process that is held. What others have spent is not known then: that is 0.
        """
        with self._lock:
            self._held = max(self._held, now + seconds)
        try:
            return self._ask(now, "hold", micro(seconds))[2] / 1e6
        except StoreAwayError:
            with self._lock:
                if self._alone is not None:
                    self._alone.hold(now, seconds)
            return 0.0

    def learn(
        self,
        now: float,
        *,
        remaining: float | None = None,
        limit: float | None = None,
        reset_in: float | None = None,
    ) -> None:
        """Take in what an answer says of the budget; see `Pacer.learn`."""
        with self._lock:
            if self._alone is not None:
                self._alone.learn(now, remaining=remaining, limit=limit, reset_in=reset_in)
            if self._lost_at is not None:
                return
            words = ("" if word is None else micro(word) for word in (remaining, limit, reset_in))
            self._reports.append((("learn", *words), now))
            soon = not self._waiting and self._told_soon(now)
        if not soon:
            self._tell(now)

    # ------------------------------------------------------------------------------------------- the server

    def _id(self, number: int) -> str:
        return f"{self._owner}:{number}"

    def _decide(
        self,
        now: float,
        question: tuple[object, ...],
        answered: Callable[[str, float, int], _T],
        alone: Callable[[Alone, StoreAwayError], _T],
    ) -> _T:
        """Let the server decide, or this process where it is alone. What comes of it is done under the lock."""
        while True:
            try:
                answer = self._ask(now, *question)
            except StoreAwayError as away:
                with self._lock:
                    if self._lost_at is not None:
                        return alone(self._by_itself(now, away), away)
                # else another thread has found the server again since
            else:
                with self._lock:
                    return answered(*answer)

    def _ask(self, now: float, *question: object) -> tuple[str, float, int]:
        """Tell the reports and ask: a word, a time, and a place in the line (or millionths of units)."""
        if self._lost_at is not None:
            self._link.look()
        with self._lock:
            now = self._catch_up(now)
            if self._lost_at is not None:
                self._come_back(now)
            epoch = self._epoch
            reports, self._reports = self._reports, []
            arguments = self._arguments(now, [_with_age(each, now) for each in reports])
        try:
            answer = self._link.ask(_SCRIPT, self._keys, [*arguments, *question])
        except StoreAwayError:
            with self._lock:
                self._reports[:0] = reports
                # The server had not gone yet when it was asked, perhaps, and let go what ran out in between.
                self._lose(max(now, self._times.monotonic()))
            raise
        with self._lock:
            if answer[0] != b"lost":
                return self._take_in(answer, now)
            if self._epoch == epoch:  # else another thread has told it all
                self._come_back(now, lost=True)
        return self._ask(now, *question)

    def _tell(self, now: float) -> None:
        """Tell the reports; while the server is away they are kept."""
        with suppress(StoreAwayError):
            self._ask(now, "tell")

    def _told_soon(self, now: float) -> bool:
        """Tell whether the reports may wait for the next question, because one will come by itself."""
        if not self._reports:
            return True
        since = self._reports[0][1]
        return bool(self._granted or self._waiting) and since is not None and now - since < _PROMPT

    def _arguments(
        self, now: float, reports: Sequence[Sequence[object]], *, all_told: bool = False
    ) -> list[object]:
        lately = self._lost_at is not None or now < self._seen_at + self._longest + self._due
        away_for = -1
        if self._alone is not None and self._lost_at is not None:
            # What it had been asked for by then it may have answered a timeout later.
            away_for = micro(max(0.0, now - self._lost_at - 2 * self._link.timeout))
        return [
            self._times.stamp(now),
            self._owner,
            self._epoch if lately else "",
            uuid.uuid4().hex,
            int(all_told),
            -1 if self._fixed_share is None else micro(self._fixed_share),
            self._share,
            away_for,
            *self._numbers,
            len(reports),
            *(word for report in reports for word in report),
        ]

    def _take_in(self, answer: Sequence[Any], now: float) -> tuple[str, float, int]:
        word, wait, order, self._version, self._share, epoch = answer
        self._epoch = epoch.decode()
        self._seen_at = max(self._seen_at, now)
        return word.decode(), now + wait / 1e6, order

    # ------------------------------------------------------------------- under the lock: what this process has

    def _catch_up(self, now: float) -> float:
        """Give the latest time that anybody told, for threads tell theirs out of order; take what was due by then as answered."""
        self._now = now = max(self._now, now)
        while self._granted:
            number, place = next(iter(self._granted.items()))
            if place.granted_at + self._due > now:
                break
            del self._granted[number]
            self._note(place, place.granted_at + self._due)
        return now

    def _grant(self, place: _Place, now: float, *, told: bool) -> None:
        place.granted_at, place.told = now, told
        self._granted[place.slot.number] = place

    def _answered(self, place: _Place, now: float) -> None:
        self._note(place, now)
        if place.alone is not None and self._alone is not None:
            self._alone.finish(place.alone, now)
        if place.told:
            self._reports.append((("finish", self._id(place.slot.number)), now))

    def _note(self, place: _Place, at: float) -> None:
        self._spent.add(place.slot.cost, at)
        if not place.told:
            self._meanwhile.add(place.slot.cost, at)

    # ------------------------------------------------------------------------ under the lock: losing the server

    def _lose(self, now: float) -> None:
        if self._lost_at is not None:
            return
        self._lost_at = now
        share = self._fixed_share
        if share is None and now < self._seen_at + _LATELY:
            share = self._share / _WHOLE
        if not self._goes_on or not share:
            return
        granted = sorted(self._granted.values(), key=lambda place: place.granted_at)
        self._alone = Alone(
            self._windows,
            share,
            margin=self._margin,
            due=self._due,
            now=now,
            begins=now + self._link.retry_away + self._link.timeout,
            spent=self._spent.lately(now),
            sent=[(place.granted_at, place.slot.cost) for place in granted],
        )
        for place, slot in zip(granted, self._alone.taken, strict=True):
            place.alone = slot
        if self._held > now:
            self._alone.hold(now, self._held - now)

    def _by_itself(self, now: float, away: StoreAwayError) -> Alone:
        if self._alone is not None:
            if not self._link.is_gone:
                self._alone.begin_later(now + self._link.timeout)
            return self._alone
        if not self._goes_on:
            raise away
        raise StoreAwayError(
            f"{away}; this process has not reached it lately, and knows no share of the budget: give the store share="
        ) from away

    def _reserve_alone(
        self, alone: Alone, slot: Slot, now: float, until: float | None, away: StoreAwayError
    ) -> Slot | Refused:
        answer = alone.reserve(slot.cost, now, until=until)
        if isinstance(answer, Refused):
            if answer.reason == "too_large":
                raise _too_large(slot, away) from away
            return answer
        place = _Place(slot._replace(at=answer.at))
        place.alone = answer
        if answer.at - now > _AN_INSTANT:
            self._waiting[slot.number] = place
        else:
            self._grant(place, now, told=False)
        return place.slot

    def _confirm_alone(self, alone: Alone, place: _Place, now: float, away: StoreAwayError) -> float:
        if place.alone is None:
            answer = alone.reserve(place.slot.cost, now)
            if isinstance(answer, Refused):
                raise _too_large(place.slot, away) from away
            place.alone, wait = answer, answer.at - now
        else:
            wait = alone.confirm(place.alone, now)
        if wait > _AN_INSTANT:
            return wait
        del self._waiting[place.slot.number]
        self._grant(place, now, told=False)
        return 0.0

    def _come_back(self, now: float, *, lost: bool = False) -> None:
        """Tell what happened meanwhile, or, where the server has lost its data, all that is held; it answers already."""
        if lost:
            reports: list[Sequence[object]] = []
            spent, sent = self._spent, list(self._granted.values())
        else:
            reports = [_with_age(each, now) for each in self._reports]
            spent, sent = self._meanwhile, [place for place in self._granted.values() if not place.told]
        reports += [("spent", micro(units), _age(at, now)) for at, units in spent.lately(now)]
        reports += [
            ("sent", self._id(place.slot.number), micro(place.slot.cost), _age(place.granted_at, now))
            for place in sent
        ]
        mine = [*self._granted, *self._waiting, *self._asking]
        # The server may have granted what it was asked for just before it was lost, and nobody knows of that.
        reports.append(("only", len(mine), *map(self._id, mine)))
        if self._held > now:
            reports.append(("hold", micro(self._held - now)))
        arguments = self._arguments(now, reports, all_told=lost)
        answer = self._link.ask(_SCRIPT, self._keys, [*arguments, "tell"])
        if answer[0] == b"lost":
            self._come_back(now, lost=True)
            return
        self._take_in(answer, now)
        self._version += 1
        self._reports.clear()
        self._meanwhile.clear()
        self._lost_at = self._alone = None
        for place in [*self._granted.values(), *self._waiting.values()]:
            place.alone, place.told = None, True


def _age(at: float, now: float) -> int:
    return micro(max(0.0, now - at))


def _with_age(report: tuple[tuple[object, ...], float | None], now: float) -> tuple[object, ...]:
    words, at = report
    return words if at is None else (*words, _age(at, now))


def _too_large(slot: Slot, away: StoreAwayError) -> StoreAwayError:
    return StoreAwayError(f"{away}; {slot.cost:g} units are more than the share of this process")


# A lock that another thread held while the process forked stays locked in the child, and what is granted is the parent's.
_ALIVE: weakref.WeakSet[SharedPacer] = weakref.WeakSet()


def _after_fork() -> None:
    for pacer in list(_ALIVE):
        pacer._begin()  # noqa: SLF001 - this module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
