"""The demonstration: clients among failures, on real sockets, with the books checked at the end.

    scenes --> play --> audit --> show, document, timeline

`scenes` says, in the words of `script`, what is called, what fails and how it has to end; `play` does it; `audit`
compares the servers' ledgers with what was asked for; `show` prints it (`live`, while it goes on), `document` makes
JSON of it, `timeline` a picture. Nothing that is printed is known beforehand.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console

from resilient_client.sandbox.clock import ScaledClock

from .audit import audit
from .document import document
from .picture import TimelineError, chart, check, write
from .play import Stage, open_client
from .scenes import SCENES
from .show import Paper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .play import OpenClient, Played

__all__ = ["TimelineError", "open_client", "perform"]

INTERRUPTED = 130  # the exit status of a program that Ctrl-C ended


def perform(  # noqa: PLR0913 - the command's options, by keyword
    *,
    apis: Sequence[str] = (),
    speed: float = 1.0,
    seed: int = 0,
    as_json: bool = False,
    timeline: Path | None = None,
    open_client: OpenClient = open_client,
) -> int:
    """Play all scenes, print them to stdout, and give the exit status: 0 if all is as it has to be, else 1.

    `apis` names those to play; none named means all. `timeline` is the .svg or .html file to draw it all into.
    `open_client` opens the client that is put to the test, for a sandbox.

    Raises:
        TimelineError: the timeline cannot be written; nothing was played.
    """
    if timeline is not None:
        check(timeline)
    scenes = [scene for scene in SCENES if not apis or scene.site.vendor.name in apis]
    console = Console(highlight=False, quiet=as_json)
    paper = Paper(console)
    played: list[Played] = []
    began = time.monotonic()
    try:
        with Stage(scenes, clock=ScaledClock(speed), seed=seed, open_client=open_client) as stage:
            with paper.begin(stage):
                for each in stage.play():
                    played.append(each)
                    paper.note(each)
            seconds = time.monotonic() - began
            script = [call.name for scene in scenes for call in scene.calls()]
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
    if timeline is not None:
        try:
            write(chart(stage, played, books), timeline)
        except TimelineError as error:  # what could be written when it was checked, and cannot any more
            sys.stderr.write(f"{error}\n")
            return 1
    return 0 if books.ok else 1
