"""`resilient-client prove`: its options. The work is in `resilient_client.prove`."""

from __future__ import annotations

import click

__all__ = ["prove"]

# The third is the second with idempotency keys that the server ignores.
APIS = ("zerotrace", "customer_verification", "customer_verification_keyless", "integration")


@click.command()
@click.option(
    "--creates",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="How many creates are asked for at each API.",
)
@click.option(
    "--faults",
    type=float,
    default=0.3,
    show_default=True,
    help="The share of requests that meet a fault, from 0 to 1.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="What the faults of each create follow from."
)
@click.option(
    "--api",
    type=click.Choice([*APIS, "all"]),
    default=APIS[0],
    show_default=True,
    help="Where to create: at one API, or at all of them, one after the other. The keyless one ignores idempotency keys.",
)
@click.option(
    "--naive",
    is_flag=True,
    help="Put plain httpx in a retry loop to the same proof: it fails, which proves the proof.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and nothing else.")
@click.pass_context
def prove(  # noqa: PLR0913 - one for each option
    context: click.Context,
    *,
    creates: int,
    faults: float,
    seed: int,
    api: str,
    naive: bool,
    as_json: bool,
) -> None:
    """Make thousands of creates under every fault at once, and check the server's ledger against what the callers were told.

    Half come from threads and half from tasks, through one client each, over sockets of this machine: nothing leaves it. Every fault
    of the wire and every error that the API documents strikes. The exit status is 0 when most were sent and some confirmed; none was
    made twice or lost; no caller was told "not made" of one that was, or "may be" of one that was never sent; all requests of each
    carried one key and one body; and the books add up. It is 1 when not.
    """
    from resilient_client.prove import Naive, Resilient, perform  # noqa: PLC0415 - only this command needs it

    if not 0 <= faults <= 1:
        raise click.BadParameter(f"a share is from 0 to 1, and not {faults:g}", param_hint="--faults")
    context.exit(
        perform(
            APIS if api == "all" else (api,),
            creates=creates,
            rate=faults,
            seed=seed,
            caller=Naive() if naive else Resilient(),
            as_json=as_json,
        )
    )
