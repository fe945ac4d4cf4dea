"""`resilient-client compile`: policy files that a client reads at once. The work is in `resilient_client._ready`."""

from __future__ import annotations

from pathlib import Path

import click

from ._shared import UnusableError, forgive

__all__ = ["compile_"]


@click.command("compile")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--check", is_flag=True, help="Write nothing; tell whether the compiled forms are up to date.")
@click.pass_context
def compile_(context: click.Context, *, files: tuple[str, ...], check: bool) -> None:
    """Compile policy files of your own, so that a client that is made with them need not load pydantic.

    Beside acme.toml it writes acme.compiled.json, which is used as long as acme.toml, and each file that it extends, is as it was.
    The shipped policies are compiled already.

    The exit status is 0; with --check, 1 when a compiled form is missing or out of date; and 2 when a file cannot be read, cannot be
    written or says what a policy cannot say.
    """
    from resilient_client import PolicyError  # noqa: PLC0415 - not for --help
    from resilient_client._ready import beside, form_of  # noqa: PLC0415 - nor this

    forgive()
    late = False
    for file in files:
        path = Path(file).resolve()
        try:
            form = form_of(path)
        except PolicyError as error:
            raise UnusableError(str(error)) from None
        place = beside(path)
        if not check:
            _write(place, form)
            click.echo(f"{file}: {place.name} is written")
        elif _is(place, form):
            click.echo(f"{file}: {place.name} is up to date")
        else:
            late = True
            said = "out of date" if place.exists() else "missing"
            click.echo(f"{file}: {place.name} is {said}; resilient-client compile {file} writes it")
    context.exit(1 if late else 0)


def _is(place: Path, form: str) -> bool:
    try:
        return place.read_bytes() == form.encode()
    except OSError:
        return False


def _write(place: Path, form: str) -> None:
    try:
        place.write_text(form, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UnusableError(f"{place}: cannot be written: {error.strerror or error}") from None
