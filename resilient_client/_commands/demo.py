"""`resilient-client demo`: its options. The work is in `resilient_client.demo`."""

from __future__ import annotations

import click

__all__ = ["demo"]

# Faster than this, the sandbox's windows (seconds of its own time) would be over before the calls have gone out.
FASTEST = 100.0


@click.command()
@click.option(
    "--speed",
    type=click.FloatRange(min=0.1, max=FASTEST),
    default=1.0,
    show_default=True,
    help="Let time run so many times faster, for client and server alike.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="What the sandbox makes up its ids and credentials from.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else.")
@click.pass_context
def demo(context: click.Context, *, speed: float, seed: int, as_json: bool) -> None:
    """Make about fifty signed calls to an API that fails in every way its documents name.

    The API is a sandbox of the 0trace Partner API in this very process, on a socket of this machine: nothing leaves it. At the
    end, the orders that the caller asked for are compared with those that the server has made. The exit status is 0 when each
    call ended as it should, with no order made twice and none lost, and 1 when not.
    """
    from resilient_client.demo import perform  # noqa: PLC0415 - only this command needs it

    context.exit(perform(speed=speed, seed=seed, as_json=as_json))
