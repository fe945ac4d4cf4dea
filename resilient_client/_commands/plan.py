"""`resilient-client plan`: when each attempt goes out, if one rule judges them all. The work is in `Policy.plan`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from ._shared import UnusableError, console, json_option, loaded, print_json, print_table, renewed, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_client._bounds import Bound, Plan, Row

__all__ = ["plan"]

ROWS = 24  # attempts that are told one by one, at most

_seconds = click.FloatRange(min=0, min_open=True)


@click.command()
@click.argument("policy", metavar="NAME")
@click.argument("rule", metavar="RULE")
@click.option("--method", default="GET", show_default=True, help="The request's method.")
@click.option("--path", default="/", show_default=True, help="The request's path.")
@click.option(
    "--key/--no-key",
    "keyed",
    default=None,
    help="The request carries an idempotency key, or none.  [default: if the policy makes it one]",
)
@click.option(
    "--asked",
    type=click.FloatRange(min=0),
    help="The wait that the server asks for each time, in seconds.  [default: none]",
)
@click.option("--deadline", type=_seconds, help="The call's deadline, in seconds.")
@click.option(
    "--timeout", type=_seconds, help="How long one attempt may take, in seconds.  [default: no time]"
)
@json_option
def plan(  # noqa: PLR0913 - one for each option
    *,
    policy: str,
    rule: str,
    method: str,
    path: str,
    keyed: bool | None,
    asked: float | None,
    deadline: float | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Lay out when each attempt of a call is sent, if one rule judges the answers to them all, and what that costs at the worst.

    RULE is a rule's name, or NETWORK_ERROR for calls that bring no answer. The exit status is 0, and 2 where there is no such rule.
    """
    import httpx  # noqa: PLC0415 - not for --help

    found = loaded(policy)
    try:
        laid = found.plan(
            rule, method=method, path=path, asked=asked, deadline=deadline, timeout=timeout, keyed=keyed
        )
    except (ValueError, httpx.InvalidURL) as error:  # a PolicyError is a ValueError
        raise UnusableError(str(error)) from None
    if as_json:
        print_json(dataclasses.asdict(laid))
        return
    paper = console()
    paper.print(f"{laid.api}, {laid.rule}: {laid.method} {laid.path}", style="bold", soft_wrap=True)
    shown = laid.rows[:ROWS]
    print_table(paper, (">attempt", ">earliest", ">latest", ">wait", ""), [_row(row) for row in shown])
    if len(laid.rows) > ROWS:
        tell(paper, "", f"… and {len(laid.rows) - ROWS} more, the last after {laid.rows[-1].latest:.4g} s")
    for what, words in _said(laid, asked=asked):
        tell(paper, what, words)


def _row(row: Row) -> tuple[str, str, str, str, str]:
    least, most = row.wait
    wait = f"{most:.4g} s" if most - least < 1e-9 else f"{least:.4g} to {most:.4g} s"
    return (
        str(row.attempt),
        f"{row.earliest:.4g} s",
        f"{row.latest:.4g} s",
        "" if row.attempt == 1 else wait,
        renewed(row.renewed).removeprefix(", "),
    )


def _said(laid: Plan, *, asked: float | None) -> Iterator[tuple[str, str]]:
    yield "ends with", laid.reason if laid.reason is not None else "nothing: it goes on"
    if laid.server_decides and asked is None:
        yield "but", "where the server names a wait, that moves the rows: --asked SECONDS shows how"
    yield "at worst", _worst(laid.worst)


def _worst(worst: Bound) -> str:
    sends = "attempts without end" if worst.sends is None else f"{worst.sends} attempts"
    slept = "waits without end" if worst.slept is None else f"{worst.slept:.4g} s of waiting"
    longest = f"the longest wait {worst.sleep:.4g} s"
    time = "" if worst.time is None else f", {worst.time:.4g} s in all"
    return f"{sends}, {slept}, {longest}{time}, whatever wait the server names"
