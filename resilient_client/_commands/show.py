"""`resilient-client show`: a policy's rules as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ._shared import console, json_option, loaded, print_json

if TYPE_CHECKING:
    from resilient_client import Policy
    from resilient_client._words import Retry, Rule

__all__ = ["show"]


@click.command()
@click.argument("policy", metavar="NAME")
@click.option("--rule", "only", metavar="RULE", help="Tell all that the policy says of one rule.")
@json_option
def show(*, policy: str, only: str | None, as_json: bool) -> None:
    """Show the rules of a policy: what each matches, and what is done.

    NAME is a shipped policy's name, or the path of a file.
    """
    found = loaded(policy)
    rules = [rule for rule in found.rules if only is None or rule.name == only]
    if not rules and only is not None:
        raise click.BadParameter(
            f"{found.api} has no rule {only!r}; it has {', '.join(rule.name for rule in found.rules)}",
            param_hint="--rule",
        )
    if as_json:
        print_json([_document(found, rule) for rule in rules])
    elif only is not None:
        _tell(found, rules[0])
    else:
        _table(found, rules)


def _document(policy: Policy, rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "category": rule.category,
        "when": _when(policy, rule),
        "does": _does(rule),
        "cause": rule.cause,
        "remedy": rule.remedy,
        "user_message": rule.user_message,
        "source": rule.source or policy.source,
        "examples": len(rule.examples),
    }


def _table(policy: Policy, rules: list[Rule]) -> None:
    from rich.table import Table  # noqa: PLC0415 - not for --help

    paper = console()
    paper.print(f"{policy.title or policy.api}  {policy.source}", style="bold")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("rule", no_wrap=True)
    table.add_column("matches")
    table.add_column("then")
    for rule in rules:
        style = "green" if rule.retry is not None else ""
        table.add_row(rule.name, _when(policy, rule), _does(rule), style=style)
    paper.print(table)
    paper.print("The first rule that matches counts. `--rule NAME` tells all of one.", style="dim")


def _tell(policy: Policy, rule: Rule) -> None:
    from rich.text import Text  # noqa: PLC0415 - not for --help

    paper = console()
    paper.print(f"{rule.name}  ({rule.category})", style="bold")
    for what, words in (
        ("matches", _when(policy, rule)),
        ("then", _does(rule)),
        ("cause", rule.cause),
        ("remedy", rule.remedy),
        ("for users", rule.user_message),
        ("source", rule.source or policy.source),
    ):
        for number, line in enumerate(Text(words).wrap(paper, paper.width - 12) if words else ()):
            paper.print(f"  {what if number == 0 else '':<9} {line}")


def _when(policy: Policy, rule: Rule) -> str:
    tables = rule.when if isinstance(rule.when, list) else [rule.when]
    return "; or ".join(_one(when, policy.codes.get(rule.name, when.code)) for when in tables)


def _one(when: Any, codes: Any) -> str:
    parts = []
    if when.status is not None:
        parts.append(f"status {_listed(when.status)}")
    if codes is not None:
        parts.append(f"code {_listed(codes)}" if codes != [] else "a code that is not given yet")
    for name, value in when.headers.items():
        parts.append(
            f"{name}: {value}" if isinstance(value, str) else f"{'with' if value else 'without'} {name}"
        )
    parts.extend(f"{pointer} = {value!r}" for pointer, value in when.body.items())
    if when.route is not None:
        parts.append(_listed(when.route))
    return ", ".join(parts) or "anything"


def _does(rule: Rule) -> str:
    """Say in one line what is done about an error."""
    retry = rule.retry
    if retry is None:
        return "fail"
    parts = [_times(retry), _waits(retry)]
    if retry.change:
        parts.append(f"new {_listed(retry.change, ', ')}")
    if retry.only_if is not None:
        parts.append(f"only if {retry.only_if.replace('_', ' ')}")
    parts.append("any method" if retry.unsafe else "where that is safe")
    return ", ".join(part for part in parts if part)


def _times(retry: Retry) -> str:
    from resilient_client._compile import RETRIES  # noqa: PLC0415 - not for --help

    if retry.stop is not None:
        return "until tenacity's stop"
    bounds = []
    if retry.retries is not None or (retry.duration is None and retry.schedule is None):
        count = RETRIES if retry.retries is None else retry.retries
        bounds.append("once" if count == 1 else f"up to {count} times")
    if retry.duration is not None:
        bounds.append(f"for {retry.duration:g} s")
    return " and ".join(bounds)


def _waits(retry: Retry) -> str:
    if retry.schedule is not None:
        return f"after {_listed([f'{wait:g}' for wait in retry.schedule], ', ')} s"
    own = _own(retry)
    return f"after {_listed([_place(hint) for hint in retry.after], ', ')}, else {own}" if retry.after else own


def _own(retry: Retry) -> str:
    from resilient_client._words import Backoff  # noqa: PLC0415 - not for --help

    if callable(retry.wait):
        return "as tenacity's wait says"
    if retry.wait is not None:
        return "at once" if retry.wait == 0 else f"{retry.wait:g} s"
    backoff = retry.backoff or Backoff()
    return f"backoff {backoff.first:g} s to {backoff.max:g} s"


def _place(hint: Any) -> str:
    """Name where the server says how long."""
    if isinstance(hint, str):
        return hint
    return str(getattr(hint, "header", None) or getattr(hint, "body", None) or "its bucket")


def _listed(values: Any, between: str = " or ") -> str:
    several = values if isinstance(values, list | tuple) else [values]
    return between.join(str(value) for value in several)
