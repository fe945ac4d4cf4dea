"""What several commands need: a policy by its name or path, and a console.

The exit statuses of all commands: 0, all is well; 1, the thing that was asked about is not; 2, it could not be asked (bad flags,
a policy that cannot be read).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from resilient_client import Policy

__all__ = ["WIDEST", "UnusableError", "console", "json_option", "loaded", "print_json"]

WIDEST = 100  # columns; longer lines are hard to read


class UnusableError(click.ClickException):
    """What was given cannot be used: one line, exit status 2."""

    exit_code = 2


def loaded(name: str) -> Policy:
    """Load the policy that the command line names. Raises UnusableError."""
    from resilient_client import PolicyError, load_policy  # noqa: PLC0415 - pydantic comes with it

    try:
        return load_policy(name)
    except PolicyError as error:
        raise UnusableError(str(error)) from None


def console() -> Console:
    """Make the console that a command prints on: no wider than can be read, without markup."""
    from rich.console import Console  # noqa: PLC0415 - not for --help

    wide = Console(highlight=False, markup=False, emoji=False)
    return Console(highlight=False, markup=False, emoji=False, width=min(wide.width, WIDEST))


def print_json(document: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def json_option(command: Any) -> Any:
    """Add the option that all commands have."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else.")(
        command
    )
