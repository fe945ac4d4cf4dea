"""`resilient-client simulate`: its options. The work is in `resilient_client.simulate`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._shared import UnusableError, console, json_option, loaded, print_json

if TYPE_CHECKING:
    from resilient_client import Policy
    from resilient_client._guard.settings import Protections
    from resilient_client.simulate import Arrivals, Route

__all__ = ["simulate"]

_AFTER = 60.0  # seconds that are simulated after an outage
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


class Duration(click.FloatRange):
    """A length of time above 0: "30s", "1m", "500ms", or seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it, as seconds. Raises click.BadParameter."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", str(value).strip(), re.ASCII)
        if found is None:
            self.fail(f'{value!r} is no length of time; write "30s", "1m" or "500ms".', param, ctx)
        return super().convert(float(found[1]) * _UNITS[found[2]], param, ctx)


DURATION = Duration(min=0, min_open=True)
_share = click.FloatRange(min=0, max=1)
_many = click.IntRange(min=1)
_rate = click.FloatRange(min=0, min_open=True)


@click.command()
@click.argument("policy", metavar="NAME")
@click.option("--clients", type=_many, default=100, show_default=True, help="How many callers there are.")
@click.option(
    "--rate",
    type=_rate,
    help="The calls a second, of all callers together.  [default: 100, or four fifths of a published budget]",
)
@click.option("--poisson", is_flag=True, help="Let the calls come at random, and not evenly.")
@click.option(
    "--workers",
    type=_many,
    help="Instead: so many callers, each of which calls again when its call has ended.",
)
@click.option("--crowd", type=_many, help="Instead: so many calls at the very same moment.")
@click.option(
    "--for", "duration", type=DURATION, help="How long calls begin.  [default: 1m, and 1m after the outage]"
)
@click.option("--outage", type=DURATION, help="Let the server be down for so long.")
@click.option(
    "--outage-kind",
    metavar="KIND",
    default="503",
    show_default=True,
    help='How it is down: "503", "refused", "hang", or the name of one of the policy\'s errors.',
)
@click.option(
    "--before", type=DURATION, default="1m", show_default=True, help="How long all is well before the outage."
)
@click.option("--latency", type=DURATION, default="50ms", show_default=True, help="How long an answer takes.")
@click.option(
    "--spread",
    type=click.FloatRange(min=0, max=3),
    default=0.0,
    help="Spread the latency around that: the sigma of a log-normal distribution.  [default: 0]",
)
@click.option("--faults", type=_share, default=0.0, help="The share of requests that are answered by a 503.")
@click.option("--stalls", type=_share, default=0.0, help="The share of requests whose answer is late.")
@click.option("--stall", type=DURATION, default="1s", show_default=True, help="How late.")
@click.option("--capacity", type=_many, help="Answer 503 to more than so many requests at a time.")
@click.option(
    "--limit/--no-limit", default=True, help="Enforce the budgets that the policy publishes, or not."
)
@click.option(
    "--others",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Let somebody else spend so many units of it a second.",
)
@click.option(
    "--route",
    "routes",
    metavar="ROUTE",
    multiple=True,
    help='What is called: "GET /", or with a weight, "POST /v1/create=3"; may be given several times.',
)
@click.option("--deadline", type=DURATION, help="The deadline of each call.")
@click.option(
    "--timeout", type=DURATION, default="5s", show_default=True, help="How long an attempt may take."
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    help="At most so many for each rule.  [default: as the policy says]",
)
@click.option("--budget/--no-budget", default=None, help="The retry budget.  [default: on]")
@click.option("--breaker/--no-breaker", default=None, help="A circuit breaker.")
@click.option("--park", is_flag=True, help="A circuit breaker behind which calls wait; they need a deadline.")
@click.option("--pace/--no-pace", default=None, help="Keep to the budgets that the policy publishes.")
@click.option(
    "--hedge", type=click.FloatRange(min=0, max=0.5), help="Hedge, with so much extra load at the most: 0.05."
)
@click.option("--bulkhead", metavar="LIMIT", help='So many calls at a time, or "adaptive".')
@click.option(
    "--processes", type=_many, default=1, show_default=True, help="Split the callers over so many processes."
)
@click.option("--seed", type=int, default=0, show_default=True, help="What all chance follows from.")
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also draw load and success over time, as FILE.svg.",
)
@json_option
def simulate(*, policy: str, picture: Path | None, as_json: bool, **given: Any) -> None:
    """Show on virtual time what a crowd of callers does to a server that fails, and the server to them.

    NAME is a policy. The callers are the library's own flow, with its retry budget, breaker, pacing, hedging and bulkhead; only
    time and the server are made up. The same options print the same, to the last digit. The exit status is 0.
    """
    from resilient_client.simulate import Latency, Outage, Scenario, at_most  # noqa: PLC0415 - not for --help
    from resilient_client.simulate import simulate as play  # noqa: PLC0415 - as above
    from resilient_client.simulate.picture import svg  # noqa: PLC0415 - as above
    from resilient_client.simulate.show import document, print_books  # noqa: PLC0415 - as above

    if picture is not None and picture.suffix.lower() != ".svg":
        raise UnusableError(f"a picture is an .svg file (got {str(picture)!r})")
    rules = loaded(policy)
    if given["retries"] is not None:
        rules = at_most(rules, given["retries"])
    outage = given["outage"]
    try:
        routes = _routes(given["routes"])
        books = play(
            Scenario(
                policy=rules,
                arrivals=_arrivals(rules, routes, given),
                duration=given["duration"] or (60.0 if outage is None else given["before"] + outage + _AFTER),
                routes=routes,
                clients=given["clients"],
                processes=given["processes"],
                deadline=given["deadline"],
                timeout=given["timeout"],
                protections=_protections(rules, given),
                outage=None if outage is None else Outage(given["before"], outage, given["outage_kind"]),
                latency=Latency(given["latency"], given["spread"]),
                faults=given["faults"],
                stalls=given["stalls"],
                stall=given["stall"],
                capacity=given["capacity"],
                limited=given["limit"],
                others=given["others"],
                seed=given["seed"],
            )
        )
    except (TypeError, ValueError) as error:  # a PolicyError is a ValueError
        raise UnusableError(str(error)) from None
    if picture is not None:
        try:
            picture.write_text(svg(books), encoding="utf-8")
        except OSError as error:
            raise UnusableError(f"cannot write {str(picture)!r}: {error.strerror}") from None
    if as_json:
        print_json(document(books))
    else:
        print_books(console(), books)


def _routes(given: tuple[str, ...]) -> tuple[Route, ...]:
    from resilient_client.simulate import Route  # noqa: PLC0415 - not for --help

    return tuple(map(Route.read, given)) or (Route("GET", "/"),)


def _arrivals(rules: Policy, routes: tuple[Route, ...], given: dict[str, Any]) -> Arrivals:
    from resilient_client.simulate import Crowd, Evenly, Loop, Poisson, usual_rate  # noqa: PLC0415 - as above

    workers, crowd, rate = given["workers"], given["crowd"], given["rate"]
    if sum(each is not None for each in (workers, crowd, rate)) > 1:
        raise ValueError("--rate, --workers and --crowd are three ways to call: choose one")
    if workers is not None:
        return Loop(workers)
    if crowd is not None:
        return Crowd(crowd)
    if rate is None:
        rate = usual_rate(rules.rulebook, routes) if given["limit"] else 100.0
    return Poisson(rate) if given["poisson"] else Evenly(rate)


def _protections(rules: Policy, given: dict[str, Any]) -> Protections:
    from resilient_client.protection import BreakerConfig  # noqa: PLC0415 - as above

    protections: Protections = {}
    if given["budget"] is not None:
        protections["budget"] = given["budget"]
    if given["breaker"] is not None:
        protections["breaker"] = given["breaker"]
    if given["park"]:
        if given["deadline"] is None:
            raise ValueError("--park needs --deadline: a call without one does not wait")
        protections["breaker"] = replace(rules.rulebook.protection.breaker or BreakerConfig(), park=True)
    if given["pace"] is not None:
        protections["pace"] = given["pace"]
    if given["hedge"] is not None:
        protections["hedge"] = given["hedge"] or False
    limit = given["bulkhead"]
    if limit is not None:
        protections["bulkhead"] = int(limit) if limit.isdecimal() else limit
    return protections
