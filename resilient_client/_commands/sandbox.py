"""`resilient-client sandbox`: its options, and what it prints. The work is in `resilient_client.sandbox`."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from resilient_client._commands._shared import Speed, UnusableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resilient_client.sandbox import Sandbox, Seen

__all__ = ["sandbox"]

LAST_PORT = 65_535
LOOK = 0.1  # seconds between two looks at what has come in


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--port",
    type=click.IntRange(min=0, max=LAST_PORT),
    default=0,
    show_default=True,
    help="The first API's port; each further one takes the next. 0 takes any that are free.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="What credentials, ids and faults are made up from.",
)
@click.option(
    "--faults",
    metavar="SPEC",
    help="What goes wrong: a rate (0.3), names with rates (lose=0.1, reset=0.05), a plan (POST /v1/create = lose, RATE_LIMIT:2, -), "
    "or a TOML file. A clause for one API alone begins with its name (zerotrace: lose=0.1). Nothing, unless given.",
)
@click.option(
    "--speed",
    type=Speed(min=0.1, max=1000.0),
    default=1.0,
    show_default=True,
    help="Let the sandbox's time run so many times faster: its windows, token lives and delays. "
    "Its dates run ahead as well (Date, the ends of tokens and of windows), so a client that goes by dates must live on the same clock.",
)
@click.option("--verbose", "-v", is_flag=True, help="Print each request as it is answered.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print URLs and credentials as one JSON document, and nothing else.",
)
def sandbox(  # noqa: PLR0913 - one for each option
    *,
    names: tuple[str, ...],
    port: int,
    seed: int,
    faults: str | None,
    speed: float,
    verbose: bool,
    as_json: bool,
) -> None:
    """Serve stand-ins for the APIs on this machine, until Ctrl-C.

    Each NAME (zerotrace, customer_verification, dual, openpoly, integration; all of them, where none is given) is served on a port of
    127.0.0.1, with credentials that are made up and printed. It refuses what the vendor would refuse, and keeps in memory what it
    is given. GET /_sandbox on each tells what has been seen so far, and what was made to go wrong.
    """
    from resilient_client.sandbox import Sandbox, sandbox_names  # noqa: PLC0415 - only this command needs it
    from resilient_client.sandbox.clock import ScaledClock  # noqa: PLC0415 - likewise

    chosen = tuple(dict.fromkeys(names)) or sandbox_names()
    if port + len(chosen) - 1 > LAST_PORT:
        raise click.BadParameter(f"{len(chosen)} APIs do not fit above it", param_hint="--port")
    clock = ScaledClock(speed)
    with ExitStack() as serving, _stop_on_signals() as stopped:
        served: list[Sandbox[Any]] = []
        for number, name in enumerate(chosen):
            try:
                api: Sandbox[Any] = Sandbox(
                    name, seed=seed, clock=clock, port=port + number if port else 0, faults=faults
                )
                served.append(serving.enter_context(api))
            except OSError as error:
                raise UnusableError(_told(error)) from None
            except ValueError as error:
                raise UnusableError(str(error)) from None
        _introduce(chosen, served, as_json=as_json)
        told = [0] * len(served)
        while not stopped.wait(LOOK):
            for number, (name, api) in enumerate(zip(chosen, served, strict=True)):
                seen = api.state.requests[told[number] :]
                told[number] += len(seen)
                for each in seen if verbose and not as_json else ():
                    click.echo(_line(name, each))
    if not as_json:
        for name, api in zip(chosen, served, strict=True):
            click.echo(_summary(name, api))


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Set an event on Ctrl-C or SIGTERM, instead of being torn out of what is going on."""
    stopped = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _introduce(names: Sequence[str], served: Sequence[Sandbox[Any]], *, as_json: bool) -> None:
    if as_json:
        document = {
            name: {"base_url": api.base_url, "credentials": api.credentials}
            for name, api in zip(names, served, strict=True)
        }
        click.echo(json.dumps(document, indent=2))
        return
    for name, api in zip(names, served, strict=True):
        click.echo(f"{name}\n  {'base_url':<15} {api.base_url}")
        for what, value in api.credentials.items():
            click.echo(f"  {what:<15} {value}")
    click.echo("Nothing leaves this machine. What has happened: GET /_sandbox. Stop with Ctrl-C.")


def _told(error: OSError) -> str:
    """Put it without its number."""
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)


def _line(name: str, seen: Seen) -> str:
    status = "no reply" if seen.status is None else str(seen.status)
    code = "" if seen.code is None or seen.code == seen.status else f" {seen.code}"
    fault = f"  ({seen.fault})" if seen.fault is not None else ""
    return f"{seen.time:10.3f}  {name}  {seen.method} {seen.path}  {status}{code}{fault}"


def _summary(name: str, api: Sandbox[Any]) -> str:
    faults = ", ".join(f"{fault} {count}" for fault, count in api.state.tally().most_common())
    return f"{name}: {len(api.state.requests)} requests; injected: {faults or 'nothing'}"
