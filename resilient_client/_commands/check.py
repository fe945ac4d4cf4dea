"""`resilient-client check`: what is wrong with policies. The work is in `Policy.lint`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from ._shared import UnusableError, console, json_option, loaded, print_json, tell

if TYPE_CHECKING:
    from rich.console import Console

    from resilient_client._lint import Finding

__all__ = ["check"]

STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


@click.command()
@click.argument("policies", metavar="NAME...", nargs=-1, required=True)
@click.option("--strict", is_flag=True, help="Let warnings count as errors.")
@click.option(
    "--deadline",
    type=click.FloatRange(min=0, min_open=True),
    help="What callers give a call, in seconds: schedules that do not fit are told.",
)
@json_option
@click.pass_context
def check(
    context: click.Context, *, policies: tuple[str, ...], strict: bool, deadline: float | None, as_json: bool
) -> None:
    """Look for what is wrong with policies, and play their examples to see whether they do what they say.

    Each NAME is the path of a file, or a shipped policy's name. An error cannot be meant, a warning hardly is, a note may be.

    The exit status is 0 when there is no error, 1 when there is one (with --strict, or a warning), and 2 when a file cannot be read
    or says what a policy cannot say.
    """
    checked = [_checked(name, deadline) for name in dict.fromkeys(policies)]
    failing = {"error", "warning"} if strict else {"error"}
    bad = [any(one.severity in failing for one in findings) for _, _, findings in checked]
    unusable = [error is not None for _, error, _ in checked]
    if as_json:
        print_json(
            [
                {
                    "policy": name,
                    "ok": not wrong and error is None,
                    "error": error,
                    "findings": [dataclasses.asdict(one) for one in findings],
                }
                for (name, error, findings), wrong in zip(checked, bad, strict=True)
            ]
        )
    else:
        paper = console()
        for name, error, findings in checked:
            _tell(paper, name, error, findings)
    context.exit(2 if any(unusable) else 1 if any(bad) else 0)


_Checked = tuple[str, str | None, "tuple[Finding, ...]"]  # a policy, why it cannot be used, what was found


def _checked(name: str, deadline: float | None) -> _Checked:
    try:
        return name, None, loaded(name).lint(deadline=deadline)
    except UnusableError as error:
        return name, error.message, ()


def _tell(paper: Console, name: str, error: str | None, findings: tuple[Finding, ...]) -> None:
    if error is not None:
        # To where errors go, as every command says that a policy cannot be used.
        click.echo(f"Error: {error}", err=True)
        return
    paper.print(f"{name}: {_count(findings)}", style="bold", soft_wrap=True)
    for one in findings:
        tell(paper, one.severity, _sentence(one), style=STYLES[one.severity])
        tell(paper, "", f"-> {one.remedy}")


def _sentence(one: Finding) -> str:
    about = f'rule "{one.rule}" ' if one.rule is not None else ""
    return f"{about}{one.message}  [{one.code}]"


def _count(findings: tuple[Any, ...]) -> str:
    counts = {severity: sum(one.severity == severity for one in findings) for severity in STYLES}
    said = [f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in counts.items() if count]
    return ", ".join(said) or "nothing found"
