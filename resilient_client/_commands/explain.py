"""`resilient-client explain`: a reply, and what the client does about it. The work is in `resilient_client.explanation`."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import click

from ._shared import UnusableError, console, json_option, loaded, print_json, renewed, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from resilient_client import Policy
    from resilient_client._captured import Captured
    from resilient_client.explanation import Explanation, Step

__all__ = ["explain"]

NEAR = 4  # rules that nearly fit, at most
STEPS = 12  # attempts that are told one by one, at most


@click.command()
@click.argument("policy", metavar="NAME")
@click.option("--status", type=click.IntRange(100, 599), help="The reply's status.")
@click.option("--body", help="The reply's body; @FILE reads it from a file.")
@click.option(
    "--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header of the reply; may be repeated."
)
@click.option("--method", default="GET", show_default=True, help="The request's method.")
@click.option("--path", default="/", show_default=True, help="The request's path, or its URL.")
@click.option("--key", help="The idempotency key that the request carries.")
@click.option("--signer", is_flag=True, help="The client holds a signer that makes new nonces (HmacAuth).")
@click.option(
    "--token",
    type=click.Choice(["live", "expired"]),
    help="The client holds a token source (TokenAuth), and its token is live or past its life.",
)
@click.option("--override-conflict", is_flag=True, help="The caller asked to override a conflict.")
@click.option(
    "--deadline", type=click.FloatRange(min=0, min_open=True), help="The call's deadline, in seconds."
)
@click.option(
    "--har",
    type=click.File("rb"),
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

    The reply is given by its parts, by a HAR file, or as curl -i prints it; on stdin, whichever of the two it is:

    \b
        resilient-client explain zerotrace --status 401 --body '{"code": 3}' --signer
        curl -si https://api.example/v1/things | resilient-client explain acme.toml

    Of a HAR file, successes that no rule speaks of are passed over. No secret of the traffic is printed.

    The exit status is 0 when each reply is a success or a rule of the policy speaks of it, 1 when one is an error that no rule speaks
    of, and 2 when there is nothing to explain.
    """  # noqa: D301 - click reads the control character
    found = loaded(policy)
    if sum(given is not None for given in (status, har, raw)) > 1:
        raise click.UsageError("--status, --har and --raw exclude each other: the reply is given in one way")
    if status is None and (body is not None or headers):
        raise click.UsageError("--body and --header go with --status")
    try:
        if status is not None:
            replies = [_by_parts(status, headers, body, method=method, path=path)]
        else:
            replies = _from_file(har, raw, method=method, path=path)
        held = {"signer": signer, "token": token, "override_conflict": override_conflict}
        told = [_explained(found, reply, held, key=key, deadline=deadline) for reply in replies]
    except ValueError as error:
        raise UnusableError(_one_line(error)) from None
    if len(told) > 1 or har is not None:
        told = [each for each in told if each.reason != "success"]
    if not told:
        raise UnusableError("there is no error in this file, and no reply that a rule speaks of")
    if as_json:
        documents = [{"retried": each.retried, **dataclasses.asdict(each)} for each in told]
        print_json(documents[0] if har is None and len(replies) == 1 else documents)
    else:
        paper = console()
        for number, each in enumerate(told):
            if number:
                paper.print()
            _tell(paper, each)
    context.exit(0 if all(each.rule is not None or each.reason == "success" for each in told) else 1)


def _by_parts(status: int, headers: Sequence[str], body: str | None, *, method: str, path: str) -> Captured:
    from resilient_client._captured import Captured, headers_of, worded  # noqa: PLC0415 - not for --help

    given: dict[str, Any] = {"status": status, "method": method, "path": path}
    given["headers"] = headers_of(_pair(line) for line in headers)
    return Captured(given | worded(_text(body)), None)


def _from_file(har: Any, raw: Any, *, method: str, path: str) -> list[Captured]:
    from resilient_client import _captured  # noqa: PLC0415 - not for --help

    if har is not None:
        return list(_captured.of_har(har.read()))
    if raw is not None:
        return [_captured.of_raw(raw.read(), method=method, path=path)]
    given = b"" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read()
    if not given.strip():
        raise click.UsageError(
            "there is nothing to explain: give a reply by --status (with --body and --header), by --har, by --raw, or on stdin"
        )
    return _captured.of_text(given, method=method, path=path)


def _explained(
    policy: Policy, reply: Captured, held: dict[str, Any], *, key: str | None, deadline: float | None
) -> Explanation:
    from resilient_client._flow.rulebook import Pointer  # noqa: PLC0415 - not for --help
    from resilient_client.explanation import explain as explained  # noqa: PLC0415 - likewise

    given, idempotency = reply.given | held, policy.idempotency
    if key is None and idempotency.field is not None:
        # What was captured may carry its key in the body; to the client it is the same thing in the header.
        sent = next(Pointer(idempotency.field).find(reply.request_body), None)
        key = sent if isinstance(sent, str) else None
    if key is not None:
        given["request_headers"] = {**given.get("request_headers", {}), idempotency.header: key}
    return explained(policy, given, deadline=deadline)


def _pair(line: str) -> tuple[str, str]:
    name, sign, value = line.partition("=" if "=" in line.partition(":")[0] else ":")
    if not sign or not name.strip():
        raise click.BadParameter(f"{line!r} is not NAME=VALUE", param_hint="--header")
    return name, value


def _text(body: str | None) -> str | None:
    if body is None or not body.startswith("@"):
        return body
    try:
        with open(body[1:], encoding="utf-8") as file:  # noqa: PTH123 - a name from the command line
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f"--body {body}: {getattr(error, 'strerror', None) or error}") from None


def _one_line(error: ValueError) -> str:
    details = getattr(error, "errors", None)
    if details is None:
        return str(error)
    first = details()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _tell(paper: Console, said: Explanation) -> None:
    from resilient_client.masking import one_line  # noqa: PLC0415 - not for --help

    verdict = said.verdict
    code = "" if verdict.code is None else f", code {one_line(str(verdict.code), 80)}"
    asked = one_line(f"{said.method} {said.path}")
    paper.print(f"{said.api}: {asked} was answered {verdict.status}{code}", style="dim")
    paper.print(f"{verdict.name}  ({verdict.category})", style="bold")
    if said.reason == "success":
        tell(
            paper, "then", "the reply goes to the caller as it is: it is a success, and no rule speaks of it"
        )
        return
    matched = "; ".join(each.asks for each in said.matched) or "anything"
    tell(paper, "matched", matched if said.rule is not None else "no rule: the status alone says what it is")
    tell(paper, "says", one_line(verdict.message or ""))
    tell(paper, "field", one_line(verdict.field or ""))
    tell(paper, "then", _then(said))
    for step in said.steps[:STEPS]:
        tell(paper, "", _step(step))
    if len(said.steps) > STEPS:
        tell(paper, "", f"… and {len(said.steps) - STEPS} more")
    tell(paper, "ends with", _end(said))
    tell(paper, "because", said.because)
    tell(paper, "cause", verdict.cause)
    tell(paper, "remedy", verdict.remedy)
    tell(paper, "for users", verdict.user_message)
    tell(paper, "source", verdict.source)
    for miss in said.near[:NEAR]:
        lacks = miss.lacks
        tell(
            paper,
            "not" if miss is said.near[0] else "",
            f"{miss.rule}: {lacks.asks}, and it is {lacks.finds}",
        )


def _then(said: Explanation) -> str:
    if not said.steps and said.retried:
        more = "again" if said.sends is None else f"up to {said.sends - 1} times"
        return f"the reply goes to the caller; sent {more} where the waits are drawn short"
    if not said.steps:
        return "the reply goes to the caller"
    retries = len(said.steps)
    times = "once" if retries == 1 else f"{retries} times"
    if said.sends is None or said.sends > retries + 1:
        more = "more often" if said.sends is None else f"up to {said.sends - 1} times"
        times += f", or {more} where the waits are drawn shorter"
    return f"sent again {times}, as long as the API answers so:"


def _step(step: Step) -> str:
    if step.most == 0:
        when = "at once"
    elif step.most - step.least < 1e-9:
        when = f"after {step.most:.4g} s"
    else:
        when = f"after {step.least:.4g} to {step.most:.4g} s"
    return f"attempt {step.attempt}: {when}{renewed(step.change)}"


def _end(said: Explanation) -> str:
    applied = "; the request may have been applied" if said.maybe_applied else ""
    return f"{said.reason}{applied}"
