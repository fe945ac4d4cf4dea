"""`resilient-client explain`: a reply, and what the client does about it. The work is in `resilient_client.explanation`."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from ._shared import UnusableError, console, json_option, loaded, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from resilient_client import Policy
    from resilient_client.explanation import Explanation

__all__ = ["explain"]

NEAR = 4  # rules that nearly fit, at most


@click.command()
@click.argument("policy", metavar="NAME")
@click.option("--status", type=click.IntRange(100, 599), help="The reply's status.")
@click.option("--body", help="The reply's body; @FILE reads it from a file.")
@click.option(
    "--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header of the reply; may be repeated."
)
@click.option("--method", default="GET", show_default=True, help="The request's method.")
@click.option("--path", default="/", show_default=True, help="The request's path.")
@click.option("--key", help="The idempotency key that the request carries, in the policy's header.")
@click.option("--signer", is_flag=True, help="The client holds a signer that makes new nonces (HmacAuth).")
@click.option(
    "--token",
    type=click.Choice(["live", "expired"]),
    help="The client holds a token source (TokenAuth), and its token is live or past its life.",
)
@click.option("--override-conflict", is_flag=True, help="The caller asked to override a conflict.")
@click.option("--deadline", type=click.FloatRange(min=0), help="The call's deadline, in seconds.")
@click.option(
    "--har",
    type=click.File("r", encoding="utf-8"),
    help="Explain each error in a HAR file of captured traffic; - reads stdin.",
)
@click.option(
    "--raw",
    type=click.File("rb"),
    help="Explain a reply as `curl -i` prints it; - reads stdin.",
)
@json_option
@click.pass_context
def explain(  # noqa: PLR0913 - one for each option
    context: click.Context,
    *,
    policy: str,
    status: int | None,
    body: str | None,
    headers: tuple[str, ...],
    method: str,
    path: str,
    key: str | None,
    signer: bool,
    token: str | None,
    override_conflict: bool,
    deadline: float | None,
    har: Any,
    raw: Any,
    as_json: bool,
) -> None:
    """Tell what a reply means to a policy, why, and what the client would do about it and when.

    The reply is given by its parts, by a HAR file, or as curl -i prints it:

    \b
        resilient-client explain zerotrace --status 401 --body '{"code": 3}' --signer
        curl -si https://api.example/v1/things | resilient-client explain acme.toml --raw -

    The exit status is 0 when a rule of the policy speaks of each reply, 1 when none does for one of them, and 2 when there is nothing to
    explain.
    """  # noqa: D301 - click reads the control character
    from resilient_client import _captured  # noqa: PLC0415 - not for --help
    from resilient_client.explanation import explain as explained  # noqa: PLC0415 - likewise

    found = loaded(policy)
    if sum(given is not None for given in (status, har, raw)) != 1:
        raise click.UsageError("give the reply by --status (with --body and --header), by --har, or by --raw")
    held = {"signer": signer, "token": token, "override_conflict": override_conflict}
    try:
        if har is not None:
            replies = list(_captured.of_har(har.read()))
        elif raw is not None:
            replies = [_captured.of_raw(raw.read(), method=method, path=path)]
        else:
            replies = [
                {"status": status, "headers": _headers(headers), "method": method.upper(), "path": path}
                | _captured.worded(_text(body))
            ]
        said = [explained(found, _keyed(found, reply | held, key), deadline=deadline) for reply in replies]
    except ValueError as error:
        raise UnusableError(_one_line(error)) from None
    if not said:
        raise UnusableError("there is no error reply in this file (no status of 400 or more)")
    if as_json:
        documents = [_document(each, reply) for each, reply in zip(said, replies, strict=True)]
        print_json(documents if har is not None else documents[0])
    else:
        paper = console()
        for number, (each, reply) in enumerate(zip(said, replies, strict=True)):
            if number:
                paper.print()
            _tell(paper, each, reply)
    context.exit(0 if all(each.rule is not None for each in said) else 1)


def _headers(given: Iterable[str]) -> dict[str, str]:
    found = {}
    for line in given:
        name, sign, value = line.partition("=" if "=" in line.partition(":")[0] else ":")
        if not sign or not name.strip():
            raise click.BadParameter(f"{line!r} is not NAME=VALUE", param_hint="--header")
        found[name.strip()] = value.strip()
    return found


def _text(body: str | None) -> str | None:
    if body is None or not body.startswith("@"):
        return body
    try:
        with open(body[1:], encoding="utf-8") as file:  # noqa: PTH123 - a name from the command line
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f"--body {body}: {getattr(error, 'strerror', None) or error}") from None


def _keyed(policy: Policy, reply: dict[str, Any], key: str | None) -> dict[str, Any]:
    if key is None:
        return reply
    header = policy.idempotency.header
    return reply | {"request_headers": {**reply.get("request_headers", {}), header: key}}


def _one_line(error: ValueError) -> str:
    details = getattr(error, "errors", None)
    if details is None:
        return str(error)
    first = details()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _tell(paper: Console, said: Explanation, reply: dict[str, Any]) -> None:
    from rich.text import Text  # noqa: PLC0415 - not for --help

    verdict = said.verdict
    code = "" if verdict.code is None else f", code {verdict.code}"
    asked = f"{reply.get('method', 'GET')} {reply.get('path', '/')}"
    paper.print(f"{said.api}: {asked} was answered {verdict.status}{code}", style="dim")
    paper.print(f"{verdict.name}  ({verdict.category})", style="bold")

    def tell(what: str, words: str) -> None:
        for number, line in enumerate(Text(words).wrap(paper, paper.width - 12) if words else ()):
            paper.print(f"  {what if number == 0 else '':<9} {line}")

    if said.rule is not None:
        tell("matched", "; ".join(each.asks for each in said.matched) or "anything")
    else:
        tell("matched", "no rule: the status alone says what it is")
    tell("then", _then(said))
    for step in said.steps:
        paper.print(f"            {_step(step)}")
    tell("ends with", _end(said))
    tell("cause", verdict.cause)
    tell("remedy", verdict.remedy)
    tell("for users", verdict.user_message)
    tell("source", verdict.source)
    for miss in said.near[:NEAR]:
        lacks = miss.lacks[0]
        tell("not" if miss is said.near[0] else "", f"{miss.rule}: {lacks.asks}, and it is {lacks.finds}")


def _then(said: Explanation) -> str:
    if not said.steps:
        return f"the reply goes to the caller ({said.reason})"
    retries = len(said.steps)
    times = "once" if retries == 1 else f"up to {retries} times"
    return f"sent again {times}, as long as the API answers so:"


def _step(step: Any) -> str:
    if step.most == 0:
        when = "at once"
    elif step.most - step.least < 1e-9:
        when = f"after {step.most:g} s"
    else:
        when = f"after {step.least:.4g} to {step.most:.4g} s"
    renewed = f", with a new {' and '.join(step.change)}" if step.change else ""
    return f"attempt {step.attempt}: {when}{renewed}"


def _end(said: Explanation) -> str:
    applied = "; the request may have been applied" if said.maybe_applied else ""
    return f"{said.reason}{applied}"


def _document(said: Explanation, reply: dict[str, Any]) -> dict[str, Any]:
    document = dataclasses.asdict(said)
    return {
        "given": {
            "method": reply.get("method", "GET"),
            "path": reply.get("path", "/"),
            "status": reply["status"],
        },
        "retried": said.retried,
        **json.loads(json.dumps(document, default=str)),
    }
