"""The proof: thousands of creates under every fault at once, and then the books.

    subjects --> run --> wire --> books --> show
                  ^
               callers

`subjects` says what a create is, `callers` who makes it, `run` has it made over real sockets, `wire` looks at what the server has
seen of it, `books` compares what each caller was told with that and with what the server holds, `show` prints it. For the same seed the same create meets the same faults, in the same order: the
n-th time that the API would have accepted it, it meets the n-th. What is not the same in every run: how many of them it gets to
see, for waits have jitter; which request is the one that finds a stale connection closed; a time-out of a busy machine; and the
faults of a sign-in, which belongs to no create.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console

from .books import balance
from .callers import Caller, Naive, Resilient
from .run import PATIENCE, Run
from .show import Paper, Report, document
from .subjects import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SUBJECTS", "Caller", "Naive", "Resilient", "perform"]

INTERRUPTED = 130  # the exit status of a program that Ctrl-C ended


def perform(  # noqa: PLR0913 - one for each option of the command, and one for tests
    apis: Sequence[str],
    *,
    creates: int = 10_000,
    rate: float = 0.3,
    seed: int = 0,
    caller: Caller | None = None,
    patience: float = PATIENCE,
    as_json: bool = False,
) -> int:
    """Make `creates` creates at each API, print the books to stdout, and give the exit status: 0 if they are as they must be, else 1.

    `rate` is the share of requests that meet a fault, `caller` the one who is put to the proof (the resilient client, unless
    given), `patience` the client's timeout in real seconds. Raises KeyError for an API that is not in `SUBJECTS`, ValueError for a
    rate outside of 0 to 1.
    """
    caller = Resilient() if caller is None else caller
    paper = Paper(Console(highlight=False, quiet=as_json))
    reports: list[Report] = []
    try:
        for name in apis:
            run = Run(SUBJECTS[name], caller=caller, creates=creates, rate=rate, seed=seed, patience=patience)
            with run, paper.begin(run):
                began = time.monotonic()
                told = []
                for each in run.play():
                    told.append(each)
                    paper.note(run, len(told))
                seconds = time.monotonic() - began
            report = Report(
                name=name,
                books=balance(run.asked, told, run.held(), run.wire()),
                requests=run.requests(),
                faults=run.faults(),
                seconds=seconds,
            )
            paper.end(report)
            reports.append(report)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return INTERRUPTED
    if as_json:
        sys.stdout.write(
            json.dumps(document(reports, caller=caller.name, creates=creates, rate=rate, seed=seed), indent=2)
            + "\n"
        )
    return 0 if all(report.books.ok for report in reports) else 1
