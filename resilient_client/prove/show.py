"""Putting it on paper: what is done, how far it is, and the books; or one JSON document. No I/O but the console's.

In a terminal a progress bar runs; elsewhere a plain line is written after each tenth. However narrow it is, a number stays on the line
of what it counts.
"""

from __future__ import annotations

import re
import textwrap
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from .books import FAILURES
from .run import TASKS, THREADS
from .wire import WRONGS

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from rich.console import Console

    from .books import Books
    from .run import Run

__all__ = ["Paper", "Report", "document"]

WIDEST = 80  # columns; longer lines are hard to read
LABEL = 50  # columns for the name of a row, where there is room
COUNT = 8  # columns for its number
NARROWEST = 20  # columns for the name of a row, where there is none
BAR = 30  # columns for the progress bar, where there is room
BESIDE = 44  # columns for what stands beside it
GLUE = "\N{NO-BREAK SPACE}"  # holds two words on one line; it goes out as a blank

ROWS = {
    "asked": "asked",
    "confirmed": "told made, and made once",
    "failed": "told not made, and not made",
    "unsent": "told not made, and never sent",
    "unknown_made": "told that it may have been made, and made",
    "unknown_not_made": "told that it may have been made, and not made",
    "cautious": "too cautious: told maybe, and all replies clear",
    **FAILURES,
    "unasked": "held by the server, and asked for by nobody",
    **WRONGS,
}
MUST_BE_NONE = {*FAILURES, "unasked", *WRONGS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of one run."""

    name: str  # of the subject
    books: Books
    requests: int  # that reached the server
    faults: Counter[str]  # injected, by kind
    seconds: float  # real ones

    @property
    def pace(self) -> float:
        """Tell how many creates were made in a second."""
        return self.books.asked / self.seconds


class Paper:
    """A console, and what is written on it while a run goes on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = min(console.width, WIDEST)
        self._progress: Progress | None = None

    def begin(self, run: Run) -> AbstractContextManager[object]:
        """Write the heading; the context that is given shows progress, where somebody is looking."""
        creates = len(run.asked)
        self._print(f"{run.subject.name}: {creates} creates by {run.caller.title}", "bold")
        self._print(
            f"{-(-creates // 2)} from {THREADS} threads and {creates // 2} from {TASKS} tasks, to a sandbox on a socket of "
            f"this machine. {100 * run.rate:g} % of the requests meet one of {run.kinds} faults (seed{GLUE}{run.seed}); "
            f"{run.subject.setting}."
        )
        if not self._console.is_terminal:
            return nullcontext()
        self._progress = Progress(
            BarColumn(max(1, min(BAR, self._width - BESIDE))),
            MofNCompleteColumn(),
            TextColumn("told, {task.fields[requests]} requests"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._progress.add_task("creates", total=creates, requests=0)
        return self._progress

    def note(self, run: Run, told: int) -> None:
        """Tell that so many callers have been told what became of their creates."""
        if self._progress is not None:
            self._progress.update(
                self._progress.task_ids[0], completed=told, requests=run.requests(), refresh=False
            )
        elif told * 10 // len(run.asked) > (told - 1) * 10 // len(run.asked):
            self._console.print(Text(f"  {told} told, {run.requests()} requests", "dim"), soft_wrap=True)

    def end(self, report: Report) -> None:
        """Write the books."""
        self._progress = None
        self._console.print()
        for name, label in ROWS.items():
            count = getattr(report.books, name)
            style = "" if name not in MUST_BE_NONE else "bold red" if count else "green"
            self._row(label, count, "yellow" if count and name == "cautious" else style)
        self._console.print()
        self._print(
            f"{report.requests} requests in {report.seconds:.1f} s, {report.pace:.0f} creates a second."
        )
        self._print(f"{report.faults.total()} faults: {_listed(report.faults)}.")
        for problem in report.books.problems:
            self._print(f"problem:{GLUE}{problem}", "red")
        self._print(verdict(report), "bold green" if report.books.ok else "bold red")
        self._console.print()

    def _row(self, label: str, count: int, style: str) -> None:
        room = max(NARROWEST, min(LABEL, self._width - COUNT - 2))
        *lines, last = textwrap.wrap(label, room, subsequent_indent="  ")
        for line in (*lines, f"{last:<{room}}{count:>{COUNT}}"):
            self._console.print(Text(f"  {line}", style), soft_wrap=True)

    def _print(self, paragraph: str, style: str = "") -> None:
        glued = re.sub(r"(?<=\d) (?=\S)", GLUE, paragraph)  # a number and what follows it
        for line in textwrap.wrap(glued, self._width, break_long_words=False, break_on_hyphens=False):
            self._console.print(Text(line.replace(GLUE, " "), style), soft_wrap=True)


def verdict(report: Report) -> str:
    """Say in one line what the books say."""
    books = report.books
    return (
        f"{report.name}: {'proved' if books.ok else 'NOT proved'}; {books.confirmed} confirmed, "
        f"{books.duplicated} duplicated, {books.lost + books.denied} lost"
    )


def _listed(faults: Counter[str]) -> str:
    counts = (f"{kind} {count}".replace(" ", GLUE) for kind, count in sorted(faults.items(), key=_most_first))
    return ", ".join(counts) or "none"


def _most_first(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]


def document(
    reports: Sequence[Report], *, caller: str, creates: int, rate: float, seed: int
) -> dict[str, Any]:
    """Give all of it as one JSON-ready document."""
    return {
        "client": caller,
        "creates": creates,
        "faults": rate,
        "seed": seed,
        "ok": all(report.books.ok for report in reports),
        "apis": [_entry(report) for report in reports],
    }


def _entry(report: Report) -> dict[str, Any]:
    books = asdict(report.books)
    problems = books.pop("problems")
    return {
        "api": report.name,
        "ok": report.books.ok,
        **books,
        "requests": report.requests,
        "faults": dict(sorted(report.faults.items(), key=_most_first)),
        "seconds": round(report.seconds, 3),
        "creates_per_second": round(report.pace, 1),
        "problems": list(problems),
    }
