"""What is seen while it goes on, in a terminal: a bar for every API, and counters below them.

Law of this file: no line is wider than the terminal, and nothing but ASCII is drawn where the console takes nothing
else.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions, RenderableType

    from .play import Played, Stage
    from .script import Vendor

__all__ = ["Board", "live"]

WIDEST_BAR = 40  # columns


class Board:
    """How far it is: drawn from what the stage and the servers know at that moment."""

    def __init__(self, stage: Stage, *, plain: bool) -> None:
        self._stage = stage
        self._calls: Counter[Vendor] = Counter()
        for scene in stage.scenes:
            self._calls[scene.site.vendor] += sum(1 for _ in scene.calls())
        self._ended: Counter[Vendor] = Counter()
        self._frames = "|/-\\" if plain else "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

    def note(self, played: Played) -> None:
        """Count a call that has ended."""
        self._ended[played.scene.site.vendor] += 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        del options  # a table minds the width that there is
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True, overflow="crop")
        table.add_column()
        table.add_column(no_wrap=True, justify="right")
        for vendor, calls in self._calls.items():
            ended = self._ended[vendor]
            table.add_row(vendor.short, ProgressBar(calls, ended, width=WIDEST_BAR), f"{ended}/{calls}")
        met = self._stage.met()
        counters = (
            f" {met.attempts} attempts, {self._stage.clock.sleeping} waiting now, {met.faults} faults met, "
            f"{met.retries} retries"
        )
        frame = self._frames[int(console.get_time() * 10) % len(self._frames)]
        yield table
        yield Text(f"{frame}{counters}")


def live(board: Board, console: Console) -> Live:
    """Draw a board below what is printed, until the context ends; then it is gone."""
    return Live(board, console=console, transient=True, refresh_per_second=10)
