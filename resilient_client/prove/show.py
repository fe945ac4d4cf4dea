"""Putting it on paper: what is done, how far it is, and the books; or one JSON document. No I/O but the console's.

In a terminal a progress bar runs; elsewhere a plain line is written after each tenth.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from .books import FAILURES
from .run import TASKS, THREADS

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from .books import Books
    from .run import Run

__all__ = ["Paper", "Report", "document"]

WIDEST = 80  # columns; longer lines are hard to read
LABEL = 50  # columns for the name of a row

ROWS = {
    "asked": "asked",
    "confirmed": "told made, and made once",
    "failed": "told not made, and not made",
    "unknown_made": "told that it may have been made, and made",
    "unknown_not_made": "told that it may have been made, and not made",
    **FAILURES,
    "unasked": "held by the server, and asked for by nobody",
}


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
        self._print(
            Text.assemble(
                (f"{run.subject.name}: {creates} creates by {run.caller.title}", "bold"),
                f", {-(-creates // 2)} from {THREADS} threads and {creates // 2} from {TASKS} tasks, to a sandbox on a socket of "
                f"this machine. {100 * run.rate:g} % of the requests meet one of {run.kinds} faults (seed {run.seed}); "
                f"{run.subject.setting}.",
            )
        )
        if not self._console.is_terminal:
            return nullcontext()
        self._progress = Progress(
            BarColumn(30),
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
            self._print(Text(f"  {told} told, {run.requests()} requests", "dim"))

    def end(self, report: Report) -> None:
        """Write the books."""
        self._progress = None
        self._print(Text(), *self._rows(report.books), Text())
        self._print(
            Text(
                f"{report.requests} requests in {report.seconds:.1f} s, {report.pace:.0f} creates a second."
            ),
            Text(f"{report.faults.total()} faults: {_listed(report.faults)}."),
            *(Text.assemble(("problem: ", "bold red"), problem) for problem in report.books.problems),
            Text(verdict(report), "bold green" if report.books.ok else "bold red"),
            Text(),
        )

    def _rows(self, books: Books) -> Iterator[Text]:
        must_be_none = {*FAILURES, "unasked"}
        for name, label in ROWS.items():
            count = getattr(books, name)
            style = "" if name not in must_be_none else "bold red" if count else "green"
            yield Text(f"  {label:<{LABEL}}{count:>8}", style)

    def _print(self, *paragraphs: Text) -> None:
        for paragraph in paragraphs:
            for line in paragraph.wrap(self._console, self._width):
                line.rstrip()
                self._console.print(line, soft_wrap=True)


def verdict(report: Report) -> str:
    """Say in one line what the books say."""
    books = report.books
    return (
        f"{report.name}: {'proved' if books.ok else 'NOT proved'}; {books.confirmed} confirmed, "
        f"{books.duplicated} duplicated, {books.lost + books.denied} lost"
    )


def _listed(faults: Counter[str]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(faults.items(), key=_most_first)) or "none"


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
