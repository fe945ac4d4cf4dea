"""Faults as a user writes them: a rate, a line, or a TOML file.

    0.3                                            three requests in ten, by any fault there is
    lose=0.1, reset=0.05                           each with its own rate
    POST /v1/create = lose, RATE_LIMIT:2, -        the first, the second and the third request of a route; - is none
    POST /v1/create = 0.3                          a rate on one route
    zerotrace: lose=0.1                            any of these for one API alone; another API skips it

Clauses are separated by semicolons, and the first that has a fault for a request counts. Each clause by chance has draws of its
own: its number, from 0, is part of its seed. In a file, each clause is a table:

    [[faults]]
    route = "POST /v1/create"
    script = ["lose", "RATE_LIMIT:2", "-"]

    [[faults]]
    rate = 0.3                                     # with `routes`, `kinds` (names, or names with weights) and `seed`, all optional
    api = "zerotrace"                              # for this API alone; optional in any table
"""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from resilient_client.sandbox.faults import AbsentError, InTurn, RandomFaults, check_route, every_fault, find
from resilient_client.sandbox.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resilient_client.sandbox._api import Faults

_SCRIPT = re.compile(r"(?P<route>[A-Z]+ /\S*?)\s*=(?P<plan>.*)")
_FOR_ONE = re.compile(r"(?P<api>[a-z_]+):\s+(?P<clause>.*)")  # the blank tells it from latency:2
_RATE = re.compile(r"[0-9]*\.?[0-9]+")
_NONE = "-"


class _Script(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    api: str | None = None
    route: str
    script: list[str]


class _Chance(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    api: str | None = None
    rate: float
    routes: list[str] | None = None
    kinds: list[str] | dict[str, float] | None = None
    seed: int | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    faults: list[dict[str, Any]]


def read_faults(spec: float | str | Path, name: str, *, seed: int = 0) -> Faults:
    """Read faults for the API `name`: a rate from 0 to 1, a line, or a file (a path, or a text that ends with .toml).

    What is there for other APIs is read, and skipped. Raises ValueError, in one line, for what cannot be read or does not exist; OSError for a file that cannot be opened;
    TypeError for a bool.
    """
    if isinstance(spec, bool):
        raise TypeError(f"faults: a rate, a text or a path (got {spec})")
    if isinstance(spec, int | float):
        return RandomFaults(spec, kinds=every_fault(name), seed=seed)
    if isinstance(spec, Path) or spec.strip().endswith(".toml"):
        return _of_file(spec if isinstance(spec, Path) else Path(spec.strip()), name, seed)
    clauses = [clause.strip() for clause in spec.split(";") if clause.strip()]
    if not clauses:
        raise ValueError(
            "faults: nothing is there; give a rate as in 0.3, or names with rates as in lose=0.1"
        )
    return _joined(_addressed(clause, name, _seed_of(n, seed)) for n, clause in enumerate(clauses))


def _joined(read: Iterable[Faults | None]) -> Faults:
    deciders = [each for each in read if each is not None]
    return deciders[0] if len(deciders) == 1 else InTurn(deciders)


def _seed_of(number: int, seed: int) -> int:
    """Mix a clause's number, from 0, into the seed, so that no two share their draws; the first keeps the seed as it is."""
    digest = hashlib.sha256(f"{seed}/clause/{number}".encode()).digest()
    return int.from_bytes(digest[:8]) if number else seed


def _addressed(clause: str, name: str, seed: int) -> Faults | None:
    """Read a clause that may begin with the API that it is for; None where that is another one."""
    one = _FOR_ONE.fullmatch(clause)
    if one is not None:
        faults = _clause(one["clause"], _known(one["api"]), seed)
        return faults if one["api"] == name else None
    try:
        return _clause(clause, name, seed)
    except AbsentError as error:
        raise ValueError(f'{error}; a clause for one API alone begins as in "zerotrace: lose=0.1"') from None


def _clause(clause: str, name: str, seed: int) -> Faults:
    if _RATE.fullmatch(clause):
        return RandomFaults(float(clause), kinds=every_fault(name), seed=seed)
    script = _SCRIPT.fullmatch(clause)
    if script is None:
        return _by_rates(clause, name, seed)
    route, plan = _route(script["route"], name), script["plan"].strip()
    if _RATE.fullmatch(plan):
        return RandomFaults(float(plan), kinds=every_fault(name), seed=seed, routes=[route])
    return _planned(route, [fault.strip() for fault in plan.split(",")], name)


def _by_rates(clause: str, name: str, seed: int) -> Faults:
    rates: dict[str, float] = {}
    for part in clause.split(","):
        kind, equals, rate = (piece.strip() for piece in part.rpartition("="))
        if not equals or not _RATE.fullmatch(rate):
            raise ValueError(
                f"faults: {part.strip()!r} is neither a rate, nor NAME=RATE, nor METHOD /path = NAME, …"
            )
        if kind in rates:
            raise ValueError(f"faults: {kind} has two rates; give it one")
        find(kind, name)
        rates[kind] = float(rate)
    total = math.fsum(rates.values())  # ten tenths are 1
    if total > 1:
        raise ValueError(f"faults: the rates add up to {total:g}, and 1 is all requests")
    positive = {kind: rate for kind, rate in rates.items() if rate > 0}
    return RandomFaults(total, kinds=positive or list(rates), seed=seed)


def _planned(route: str, plan: Iterable[str], name: str) -> Schedule:
    faults = [None if fault == _NONE else fault for fault in plan]
    for fault in faults:
        if fault is not None:
            find(fault, name)
    return Schedule().add(route, faults)


def _known(name: str) -> str:
    """Check that there is this API."""
    from resilient_client.sandbox._sandbox import api_class  # noqa: PLC0415 - it imports this file

    api_class(name)
    return name


def _route(route: str, name: str) -> str:
    """Check that the API has this route. Raises AbsentError."""
    from resilient_client.sandbox._sandbox import api_class  # noqa: PLC0415 - it imports this file

    routes = api_class(name).routes
    if check_route(route) not in routes:
        raise AbsentError(f"no such route in the {name} sandbox: {route!r}; there are {', '.join(routes)}")
    return route


def _of_file(path: Path, name: str, seed: int) -> Faults:
    try:
        tables = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).faults
    except ValidationError as error:
        raise ValueError(f"{path}: {_wrong(error)}; each clause is a table [[faults]]") from None
    except RecursionError:
        raise ValueError(f"{path}: it is nested too deeply to be a file of faults") from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise ValueError(f"{path}: {error}") from None
    if not tables:
        raise ValueError(f"{path}: faults is empty; each clause is a table [[faults]]")
    return _joined(
        _table(table, name, _seed_of(n, seed), f"{path}, faults {n + 1}") for n, table in enumerate(tables)
    )


def _table(table: dict[str, Any], name: str, seed: int, where: str) -> Faults | None:
    """Read a table that may say which API it is for; None where that is another one."""
    try:
        read = (_Script if "script" in table or "route" in table else _Chance).model_validate(table)
        api = name if read.api is None else _known(read.api)
        faults = _scripted(read, api) if isinstance(read, _Script) else _by_chance(read, api, seed)
    except AbsentError as error:
        hint = "" if "api" in table else '; a table for one API alone says so, as in api = "zerotrace"'
        raise ValueError(f"{where}: {error}{hint}") from None
    except ValidationError as error:
        raise ValueError(
            f"{where}: {_wrong(error)}; a table has a route and a script, or a rate (and routes, kinds, seed)"
        ) from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return faults if api == name else None


def _scripted(script: _Script, name: str) -> Schedule:
    return _planned(_route(script.route, name), script.script, name)


def _by_chance(chance: _Chance, name: str, seed: int) -> RandomFaults:
    kinds = every_fault(name) if chance.kinds is None else chance.kinds
    for kind in kinds:
        find(kind, name)
    return RandomFaults(
        chance.rate,
        kinds=kinds,
        seed=seed if chance.seed is None else chance.seed,
        routes=None if chance.routes is None else [_route(route, name) for route in chance.routes],
    )


def _wrong(error: ValidationError) -> str:
    """Put the first thing that is wrong into words."""
    first = error.errors(include_url=False)[0]
    place, message = str(first["loc"][0]), first["msg"]
    got = "" if first["type"] == "missing" else f" (got {first['input']!r})"
    return f"{place}: {message[:1].lower()}{message[1:]}{got}"
