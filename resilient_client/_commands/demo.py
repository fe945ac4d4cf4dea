"""`resilient-client demo`: its options. The work is in `resilient_client.demo`."""

from __future__ import annotations

from pathlib import Path

import click

from resilient_client._commands._shared import Speed, UnusableError

__all__ = ["demo"]

# Faster than this, the sandbox's windows (seconds of its own time) would be over before the calls have gone out.
FASTEST = 100.0
APIS = ("zerotrace", "customer_verification", "dual", "openpoly", "integration")


@click.command()
@click.option(
    "--api",
    "apis",
    type=click.Choice(APIS),
    multiple=True,
    help="Play only this one; may be given several times.  [default: all five]",
)
@click.option(
    "--speed",
    type=Speed(min=0.1, max=FASTEST),
    default=1.0,
    show_default=True,
    help="Let time run so many times faster, for client and server alike.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="What the sandboxes make up their ids and credentials from.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else.")
@click.option(
    "--timeline",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also draw every call's attempts, waits and faults, as FILE.svg or FILE.html.",
)
@click.pass_context
def demo(  # noqa: PLR0913 - its options
    context: click.Context,
    *,
    apis: tuple[str, ...],
    speed: float,
    seed: int,
    as_json: bool,
    timeline: Path | None,
) -> None:
    """Make about a hundred calls to five APIs that fail as their documents say, and as lines do.

    The APIs are sandboxes in this very process, on sockets of this machine: nothing leaves it. At the end, what the
    callers wanted created is compared with what the servers have. The exit status is 0 when each call ended as it
    should, with nothing created twice and nothing lost, and 1 when not.
    """
    from resilient_client.demo import TimelineError, perform  # noqa: PLC0415 - only this command needs it

    try:
        status = perform(apis=apis, speed=speed, seed=seed, as_json=as_json, timeline=timeline)
    except TimelineError as error:
        raise UnusableError(str(error)) from None
    context.exit(status)
