"""The command `resilient-client`: its entry point, and what it says where the extra `cli` is not installed.

The commands are in `_commands`, one file each. Law of this file: it can be imported without click and without rich.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click

__all__ = ["main"]


def _refuse(*_args: object, **_options: object) -> int:
    """Say what is missing; the number is the exit status."""
    sys.stderr.write("resilient-client needs click and rich: pip install 'resilient-client[cli]'\n")
    return 2


def _command() -> Any:
    try:
        import click  # noqa: F401, PLC0415 - is it there?
        import rich  # noqa: F401, PLC0415 - and this one?
    except ImportError:
        return _refuse
    from ._commands import main  # noqa: PLC0415 - it needs both

    return main


main: click.Group = _command()
