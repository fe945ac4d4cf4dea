"""The demonstration: a client among failures, on real sockets, with the books checked at the end.

    scenes --> play --> audit --> show

`scenes` says what is called, what fails and how it has to end; `play` does it; `audit` compares the servers' ledgers with what
was asked for; `show` prints it. Nothing that is printed is known beforehand.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console

from ._clock import ScaledClock
from .audit import audit
from .play import Stage, open_client
from .scenes import SCENES
from .show import Paper, document

if TYPE_CHECKING:
    from .play import OpenClient, Played

__all__ = ["ScaledClock", "open_client", "perform"]

INTERRUPTED = 130  # the exit status of a program that Ctrl-C ended


def perform(
    *, speed: float = 1.0, seed: int = 0, as_json: bool = False, open_client: OpenClient = open_client
) -> int:
    """Play all scenes, print them to stdout, and give the exit status: 0 if all is as it has to be, else 1.

    `open_client` opens the client that is put to the test, for a sandbox and the clock that it lives by.
    """
    console = Console(highlight=False, quiet=as_json)
    paper = Paper(console)
    played: list[Played] = []
    began = time.monotonic()
    try:
        with Stage(SCENES, clock=ScaledClock(speed), seed=seed, open_client=open_client) as stage:
            with paper.begin(stage):
                for each in stage.play():
                    played.append(each)
                    paper.note(each)
            seconds = time.monotonic() - began
            script = [call.name for scene in SCENES for call in scene.calls()]
            played.sort(key=lambda each: script.index(each.call.name))
            books = audit(stage, played)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return INTERRUPTED
    if as_json:
        sys.stdout.write(
            json.dumps(document(played, books, speed=speed, seed=seed, seconds=seconds), indent=2) + "\n"
        )
    else:
        paper.end(books, seconds=seconds)
    return 0 if books.ok else 1
