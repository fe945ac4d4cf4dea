"""`resilient-client new`: a policy to begin with. The work is in `resilient_client._draft`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._shared import UnusableError, forgive, json_option, print_json

if TYPE_CHECKING:
    from resilient_client._draft import Draft

__all__ = ["new"]

STDOUT = "-"
NOTHING = "none"  # what a policy extends that stands alone


@click.command()
@click.argument("name", metavar="NAME")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Where to write it; - prints it.  [default: NAME.toml, in this folder]",
)
@click.option(
    "--extends",
    default="default",
    metavar="POLICY",
    show_default=True,
    help="What the new policy starts from: a shipped one's name, a path beside the new file, or none.",
)
@click.option(
    "--openapi",
    type=click.File("rb"),
    metavar="FILE",
    help="Draft it from an OpenAPI document, JSON or YAML; - reads stdin.",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@json_option
def new(  # noqa: PLR0913 - one for each option
    *, name: str, output: str | None, extends: str, openapi: Any, force: bool, as_json: bool
) -> None:
    """Write a policy to begin with: a starter that says what goes where, or a draft of what an OpenAPI document tells of errors.

    Either can be used as it is and passes `check`. What a document does not tell is listed at the top of the draft.

    The exit status is 0, and 2 when the file is there already, or there is nothing to draft it from.
    """
    from resilient_client import PolicyError, policy_names  # noqa: PLC0415 - not for --help

    if not re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", name):
        raise click.BadParameter(
            f"{name!r} is no name: letters, digits, - and _, a letter first", param_hint="NAME"
        )
    if name in policy_names():
        raise click.BadParameter(
            f"{name} is a shipped policy's name: take another, and --extends {name} to start from it",
            param_hint="NAME",
        )
    path = Path(f"{name}.toml" if output is None else output)
    if output != STDOUT and path.exists() and not force:
        raise UnusableError(f"{path} is there already; --force writes over it")
    folder = Path() if output == STDOUT else path.parent
    try:
        drafted = _drafted(name, None if extends in {"", NOTHING} else extends, openapi, folder)
    except PolicyError as error:
        raise UnusableError(str(error)) from None
    if output != STDOUT:
        _write(path, drafted.text)
    if as_json:
        file = {"policy": drafted.text} if output == STDOUT else {"file": str(path)}
        print_json(file | {"rules": drafted.rules, "look_up": drafted.look_up})
    elif output == STDOUT:
        click.echo(drafted.text.encode(), nl=False)  # TOML is UTF-8, whatever the terminal's encoding is
    else:
        forgive()
        click.echo(f"{path}: {_count(drafted.rules, 'rule')}.")
        if drafted.look_up:
            click.echo(
                f"{_count(len(drafted.look_up), 'thing')} to look up by hand: see the top of the file."
            )
        click.echo(f"What is wrong with it: resilient-client check {path}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _drafted(name: str, extends: str | None, openapi: Any, folder: Path) -> Draft:
    from resilient_client import _draft  # noqa: PLC0415 - not for --help

    if extends is not None:
        _draft.base_of(extends, folder)  # there must be one
    if openapi is None:
        text = _draft.starter(name, extends)
        return _draft.Draft(text, text.count("\n[[rules]]\n"), ())
    file = getattr(openapi, "name", "<stdin>")
    try:
        raw = openapi.read().decode("utf-8-sig")
        return _draft.draft(raw, name=name, extends=extends, folder=folder)
    except UnicodeDecodeError:
        raise UnusableError(f"{file}: is not UTF-8") from None
    except ValueError as error:
        raise UnusableError(f"{file}: {error}") from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UnusableError(f"{path}: cannot be written: {error.strerror or error}") from None
