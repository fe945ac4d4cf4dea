"""Measure what this library costs and saves, beside its peers: speed.json, docs/speed.md, docs/speed.svg.

    python benchmarks/speed.py               all that is installed; some ten minutes
    python benchmarks/speed.py ROW ...       these rows anew; what was measured of the others stays
    python benchmarks/speed.py --quick       the gate: counts and ratios alone, in seconds; status 1 names what does not hold

All of it stays on this machine, and every step is bounded in time. benchmarks/README.md tells how to set it up.

Law of this file: it asks, writes down, and judges nothing.
"""
# ruff: noqa: INP001, T201 - a script, which prints

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from _speed import asleep, counts, page, rules, starting
from _speed.chart import svg
from _speed.gates import GATES
from _speed.libraries import LIBRARIES
from _speed.rows import TIMED
from _speed.turns import child, figures, taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _speed.gates import Gate

STARTS = 15  # processes of each kind


def timed(key: str) -> dict[str, Any]:
    """Time one row."""
    row = TIMED[key]
    return figures(taken(row), base=row.base, throughput=row.throughput)


def instructions() -> dict[str, dict[str, float]]:
    """Count what can be counted, where valgrind is. Two at a time: what is counted is the same beside anything."""
    if counts.VALGRIND is None:
        return {}
    asked = [(row.key, name) for row in TIMED.values() for name in row.counted if LIBRARIES[name].installed]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda one: counts.instructions(*one), asked))
    return {
        key: {name: count for (row, name), count in zip(asked, found, strict=True) if row == key}
        for key in dict.fromkeys(row for row, _ in asked)
    }


def sleeping() -> dict[str, dict[str, float]]:
    """Weigh calls that are asleep."""
    found: dict[str, dict[str, float]] = {}
    for name in asleep.NAMES:
        for how in ("resident", "traced"):
            told = child("asleep", name, str(asleep.CALLS), how)
            if told:
                found.setdefault(name, {})[how] = float(told)
    return found


def starts(kinds: tuple[starting.Start, ...]) -> dict[str, float]:
    """Start processes in turns: the median seconds of each kind."""
    ready = [kind for kind in kinds if kind.installed]
    took: dict[str, list[float]] = {kind.name: [] for kind in ready}
    for kind in ready:
        starting.started(kind)
    for _ in range(STARTS):
        for kind in ready:
            took[kind.name].append(starting.started(kind))
    return {name: statistics.median(times) for name, times in took.items()}


def measured() -> dict[str, Any]:
    """Say where and with what it is measured."""
    needed = dict.fromkeys(name for one in LIBRARIES.values() if one.installed for name in one.needs)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "processors": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in needed},
    }


OTHER: dict[str, Callable[[], Any]] = {
    "instructions": instructions,
    "connections": lambda: json.loads(child("connections")),
    "asleep": sleeping,
    "imports": lambda: starts(starting.IMPORTS),
    "clients": lambda: starts(starting.CLIENTS),
    "rules": lambda: {"rules": [rules.FEW, rules.MANY], **json.loads(child("rules"))},
}


def rounded(what: Any) -> Any:
    """Write no more digits than there is sense in."""
    if isinstance(what, float):
        return float(f"{what:.4g}") if abs(what) < 1000 else round(what)
    if isinstance(what, dict):
        return {key: rounded(value) for key, value in what.items()}
    return [rounded(value) for value in what] if isinstance(what, list) else what


def write(facts: dict[str, Any]) -> None:
    """Write the tables and the chart."""
    for path, marks, text in page.written(facts):
        if path.exists():
            before = path.read_text(encoding="utf-8")
            path.write_text(page.shown(before, text, marks), encoding="utf-8")
    page.CHART.write_text(svg(facts), encoding="utf-8")


def run(wanted: list[str]) -> None:
    """Measure all, or the rows wanted, and write it down: the facts as they come, so that a run that is broken off is not lost."""
    facts = {"timed": {}, **page.read(), "measured": measured()}
    for key in wanted or [*TIMED, *OTHER]:
        print(f"--- {key}", file=sys.stderr, flush=True)
        if key in TIMED:
            facts["timed"][key] = rounded(timed(key))
        else:
            facts[key] = rounded(OTHER[key]())
        facts["timed"] = {row: facts["timed"][row] for row in TIMED if row in facts["timed"]}
        page.FACTS.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(page.tables(facts))
    write(facts)


def gate(gates: Iterable[Gate]) -> bool:
    """Try every gate, and tell whether all hold."""
    refused = []
    for each in gates:
        value = each.measure()
        holds = value is None or each.holds(value)
        print(each.line(value))
        if not holds:
            refused.append(each.key)
    if refused:
        print(f"does not hold: {', '.join(refused)}", file=sys.stderr)
    return not refused


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure speed; see benchmarks/README.md.")
    parser.add_argument("rows", nargs="*", choices=[[], *TIMED, *OTHER], metavar="ROW")
    parser.add_argument("--quick", action="store_true", help="the gate: counts and ratios alone")
    asked = parser.parse_args()
    if asked.quick:
        sys.exit(not gate(GATES))
    run(asked.rows)
