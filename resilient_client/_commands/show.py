"""`resilient-client show`: a policy's rules as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ._shared import console, json_option, loaded, print_json, print_table, renewed, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType

    from resilient_client import Policy
    from resilient_client._words import Pace, Retry, Rule

__all__ = ["show"]


@click.command()
@click.argument("policy", metavar="NAME")
@click.option("--rule", "only", metavar="RULE", help="Tell all that the policy says of one rule.")
@json_option
def show(*, policy: str, only: str | None, as_json: bool) -> None:
    """Show the rules of a policy: what each matches, and what is done.

    NAME is a shipped policy's name, or the path of a file. The exit status is 0, and 2 where there is no such policy or rule.
    """
    found = loaded(policy)
    rules = [rule for rule in found.rules if only is None or rule.name == only]
    if not rules and only is not None:
        raise click.BadParameter(
            f"{found.api} has no rule {only!r}; it has {', '.join(rule.name for rule in found.rules)}",
            param_hint="--rule",
        )
    if as_json:
        print_json(
            {
                "api": found.api,
                "title": found.title,
                "source": found.source,
                "settings": dict(_settings(found)),
                "rules": [_document(found, rule) for rule in rules],
            }
        )
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
    from rich.text import Text  # noqa: PLC0415 - not for --help

    paper = console()
    _head(paper, policy)
    rows: list[tuple[RenderableType, ...]] = []
    for rule in rules:
        style = "green" if rule.retry is not None else ""
        rows.append(
            tuple(Text(words, style) for words in (rule.name, _when(policy, rule), _does(rule))),
        )
    print_table(paper, ("rule", "matches", "then"), rows)
    tell(paper, "", "The first rule that matches counts. --rule NAME tells all of one.", style="dim")


def _head(paper: Console, policy: Policy) -> None:
    paper.print(policy.title or policy.api, style="bold", soft_wrap=True)
    tell(paper, "source", policy.source)
    for what, words in _settings(policy):
        tell(paper, what, words)


def _settings(policy: Policy) -> Iterator[tuple[str, str]]:
    """Say what else the policy knows of its API, each thing in one line."""
    keys = policy.idempotency
    if keys != type(keys)():  # it says more than that keys are respected
        place = f"the body's {keys.field}" if keys.field is not None else keys.header
        length = f" of {keys.length[0]} to {keys.length[1]} characters" if keys.length is not None else ""
        made = f"made for {_listed(keys.routes, ', ')}" if keys.routes else "where the caller brings one"
        yield "keys", f"{place}{length}, {made}"
    if policy.signing.nonce is not None:
        yield "signing", f"{policy.signing.nonce} is new on every attempt"
    paces = policy.pace if isinstance(policy.pace, list) else [policy.pace]
    if paces:
        yield "pace", "; ".join(_pace(pace) for pace in paces)
    protect = policy.protect
    if protect != type(protect)():  # it says more than that retries are bounded
        on = [name for name, value in protect if value is not False]
        yield "protection", ", ".join(on) or "none, and no bound on retries"
    network = policy.network
    yield (
        "no answer",
        f"up to {network.retries} times, backoff {network.backoff.first:g} s to {network.backoff.max:g} s, where that is safe",
    )


def _pace(pace: Pace) -> str:
    name = f"{pace.name}: " if pace.name else ""
    burst = f", {pace.burst:g} per second" if pace.burst is not None else ""
    return f"{name}{pace.budget:g} in {pace.per:g} s{burst}"


def _tell(policy: Policy, rule: Rule) -> None:
    paper = console()
    paper.print(f"{rule.name}  ({rule.category})", style="bold", soft_wrap=True)
    for what, words in (
        ("matches", _when(policy, rule)),
        ("then", _does(rule)),
        ("cause", rule.cause),
        ("remedy", rule.remedy),
        ("for users", rule.user_message),
        ("source", rule.source or policy.source),
    ):
        tell(paper, what, words)


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
        parts.append(renewed(retry.change).removeprefix(", "))
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
    told = _listed([_place(hint) for hint in retry.after], ", ")
    if retry.schedule is not None:
        least = f", {told} at the least" if told else ""
        return f"after {_listed([f'{wait:g}' for wait in retry.schedule], ', ')} s{least}"
    return f"after {told}, else {_own(retry)}" if told else _own(retry)


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
