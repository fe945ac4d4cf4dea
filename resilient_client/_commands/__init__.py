"""The commands, and the group that they hang in. A command is one file here, and one line at the end of this one.

Law of this folder: a command reads its options and prints; the work is done elsewhere, and imported when the command runs, so
that `--help` answers at once.
"""

from __future__ import annotations

import click

from resilient_client import __version__

from .check import check
from .compile import compile_
from .demo import demo
from .explain import explain
from .new import new
from .plan import plan
from .policies import policies
from .prove import prove
from .sandbox import sandbox
from .schema import schema
from .show import show
from .simulate import simulate

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="resilient-client")
def main() -> None:
    """See how a client behaves that knows how each API fails."""


for _command in (
    check,
    compile_,
    demo,
    explain,
    new,
    plan,
    policies,
    prove,
    sandbox,
    schema,
    show,
    simulate,
):
    main.add_command(_command)
