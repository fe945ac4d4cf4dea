"""Faults as a user writes them: a rate, a line, or a TOML file.

    0.3                                            three requests in ten, by any fault there is
    lose=0.1, reset=0.05                           each with its own rate
    POST /v1/create = lose, RATE_LIMIT:2, -        the first, the second and the third request of a route; - is none
    POST /v1/create = 0.3                          a rate on one route

Clauses are separated by semicolons, and the first that has a fault for a request counts. In a file, each clause is a table:

    [[faults]]
    route = "POST /v1/create"
    script = ["lose", "RATE_LIMIT:2", "-"]

    [[faults]]
    rate = 0.3                                     # with `routes`, `kinds` (names, or names with weights) and `seed`, all optional
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient_client.sandbox.faults import WIRE, InTurn, RandomFaults, every_fault, parse
from resilient_client.sandbox.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from resilient_client.sandbox._api import Faults

_SCRIPT = re.compile(r"(?P<route>[A-Z]+ /\S*)\s*=(?P<plan>.*)")
_RATE = re.compile(r"\d*\.?\d+|\d+\.")
_NONE = "-"


def read_faults(spec: float | str | Path, name: str, *, seed: int = 0) -> Faults:
    """Read faults for the API `name`: a rate from 0 to 1, a line, or a file (a path, or a text that ends with .toml).

    Raises ValueError, in one line, for what cannot be read or does not exist; OSError for a file that cannot be opened.
    """
    if isinstance(spec, bool):
        raise TypeError("faults: a rate, a text or a path (got a bool)")
    if isinstance(spec, int | float):
        return RandomFaults(spec, kinds=every_fault(name), seed=seed)
    if isinstance(spec, Path) or spec.strip().endswith(".toml"):
        return _of_file(Path(spec) if isinstance(spec, Path) else Path(spec.strip()), name, seed)
    clauses = [clause.strip() for clause in spec.split(";") if clause.strip()]
    if not clauses:
        raise ValueError(
            "faults: nothing is there; give a rate as in 0.3, or names with rates as in lose=0.1"
        )
    return _joined(_clause(clause, name, seed) for clause in clauses)


def _joined(deciders: Iterable[Faults]) -> Faults:
    first, *others = deciders
    return InTurn([first, *others]) if others else first


def _clause(clause: str, name: str, seed: int) -> Faults:
    if _RATE.fullmatch(clause):
        return RandomFaults(float(clause), kinds=every_fault(name), seed=seed)
    script = _SCRIPT.fullmatch(clause)
    if script is not None:
        route, plan = script["route"], script["plan"].strip()
        if _RATE.fullmatch(plan):
            return RandomFaults(float(plan), kinds=every_fault(name), seed=seed, routes=[route])
        return _planned(route, [part.strip() for part in plan.split(",")], name)
    rates: dict[str, float] = {}
    for part in clause.split(","):
        kind, equals, rate = (piece.strip() for piece in part.rpartition("="))
        if not equals or not _RATE.fullmatch(rate):
            raise ValueError(
                f"faults: {part.strip()!r} is neither a rate, nor NAME=RATE, nor METHOD /path = NAME, …"
            )
        rates[_known(kind, name)] = float(rate)
    return _by_rates(rates, seed)


def _by_rates(rates: Mapping[str, float], seed: int) -> Faults:
    total = sum(rates.values())
    if total > 1:
        raise ValueError(f"faults: the rates add up to {total:g}, and 1 is all requests")
    positive = {kind: rate for kind, rate in rates.items() if rate > 0}
    return RandomFaults(total, kinds=positive or list(rates), seed=seed)


def _planned(route: str, plan: Iterable[str], name: str) -> Schedule:
    return Schedule().add(route, [None if fault in (_NONE, "") else _known(fault, name) for fault in plan])


def _known(fault: str, name: str) -> str:
    """Check that the API has this fault."""
    from resilient_client.sandbox._documented import documented  # noqa: PLC0415 - it reads policies

    kind = parse(fault).kind
    table = documented(name)
    if kind not in WIRE and kind not in table:
        raise ValueError(
            f"no such fault in the {name} sandbox: {kind!r}; there are {', '.join([*WIRE, *table])}"
        )
    return fault


def _of_file(path: Path, name: str, seed: int) -> Faults:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("faults")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(tables, list) or not tables:
        raise ValueError(f"{path}: no [[faults]] in it")
    try:
        return _joined([_table(table, name, seed) for table in tables])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def _table(table: Any, name: str, seed: int) -> Faults:
    known = {"route", "script", "rate", "routes", "kinds", "seed"}
    if not isinstance(table, dict) or not set(table) <= known:
        strange = sorted(set(table) - known) if isinstance(table, dict) else table
        raise ValueError(f"a table of [[faults]] has {', '.join(sorted(known))} (got {strange})")
    if "script" in table:
        if set(table) != {"route", "script"} or not isinstance(table["script"], list):
            raise ValueError("a script has a route and a list of faults, and nothing else")
        return _planned(str(table["route"]), [str(fault) for fault in table["script"]], name)
    if not isinstance(table.get("rate"), int | float) or "route" in table:
        raise ValueError(
            "each table needs a script (with its route) or a rate (with routes, kinds, seed, if you like)"
        )
    kinds = table.get("kinds") or every_fault(name)
    for kind in kinds:
        _known(kind, name)
    return RandomFaults(
        float(table["rate"]), kinds=kinds, seed=int(table.get("seed", seed)), routes=table.get("routes")
    )
