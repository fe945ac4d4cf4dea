"""What several commands need: a policy by its name or path, a console, and ways to print on it.

The exit statuses of all commands: 0, all is well; 1, the thing that was asked about is not; 2, it could not be asked (bad flags,
a file that cannot be read).

Law of this file: nothing that is printed is wider than the console, but for addresses, which are kept whole.
"""

from __future__ import annotations

import io
import json
import math
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console, RenderableType

    from resilient_client import Policy

__all__ = [
    "WIDEST",
    "Speed",
    "UnusableError",
    "console",
    "forgive",
    "json_option",
    "loaded",
    "print_json",
    "print_table",
    "renewed",
    "tell",
]

WIDEST = 100  # columns; longer lines are hard to read
_LABEL = 9  # columns for what a paragraph is about
_NEW = {"nonce": "a new nonce", "refresh": "a new token", "override": "the override in the body"}


class UnusableError(click.ClickException):
    """What was given cannot be used: one line, exit status 2."""

    exit_code = 2


class Speed(click.FloatRange):
    """How many times faster time runs: a range that "nan", which no comparison refuses, is not in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it. Raises click.BadParameter."""
        if math.isnan(speed := super().convert(value, param, ctx)):
            self.fail(f"{value} is not a number.", param, ctx)
        return speed


def loaded(name: str) -> Policy:
    """Load the policy that the command line names. Raises UnusableError."""
    from resilient_client import PolicyError, load_policy  # noqa: PLC0415 - pydantic comes with it

    try:
        return load_policy(name)
    except PolicyError as error:
        raise UnusableError(str(error)) from None


def forgive() -> None:
    """Let what the terminal's encoding does not have be replaced, and not be an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def console() -> Console:
    """Make the console that a command prints on: no wider than can be read, without markup."""
    from rich.console import Console  # noqa: PLC0415 - not for --help

    forgive()
    wide = Console(highlight=False, markup=False, emoji=False)
    return Console(highlight=False, markup=False, emoji=False, width=min(wide.width, WIDEST))


def tell(paper: Console, what: str, words: str, *, style: str = "") -> None:
    """Print a paragraph beside what it is about; nothing where there are no words. An address stays on one line."""
    from rich.text import Text  # noqa: PLC0415 - not for --help

    if not words:
        return
    width = paper.width - _LABEL - 3
    lines = [words] if " " not in words else [str(line) for line in Text(words).wrap(paper, width)]
    for number, line in enumerate(lines):
        head = what if number == 0 else ""
        paper.print(f"  {head:<{_LABEL}} {line.rstrip()}", style=style, soft_wrap=True)


def print_table(paper: Console, headings: Sequence[str], rows: Iterable[Sequence[RenderableType]]) -> None:
    """Print a table without lines; a heading that begins with ">" stands above numbers."""
    from rich.table import Table  # noqa: PLC0415 - not for --help

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(
            heading.lstrip(">"), justify="right" if heading.startswith(">") else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    with paper.capture() as captured:
        paper.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def renewed(change: Sequence[str]) -> str:
    """Say what is new about an attempt, as the end of a sentence; nothing where nothing is."""
    said = [_NEW[kind] for kind in change]
    return f", with {' and '.join(said)}" if said else ""


def print_json(document: Any) -> None:
    """Print one JSON document, in ASCII: it is as good on any terminal and in any file."""
    click.echo(json.dumps(document, indent=2))


def json_option(command: Any) -> Any:
    """Add the option that all commands have."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else.")(
        command
    )
