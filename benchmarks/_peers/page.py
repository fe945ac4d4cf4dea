"""What was measured, as the tables of docs/peers.md. Pure but for `read`: facts in, text out.

Law of this file: it adds nothing. Every cell of the page is one of peers.json.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

__all__ = ["BEGIN", "END", "FACTS", "PAGE", "read", "shown", "tables"]

FACTS = Path(__file__).parents[1] / "peers.json"
PAGE = Path(__file__).parents[2] / "docs" / "peers.md"

BEGIN = "<!-- measured: python benchmarks/peers.py -->"
END = "<!-- /measured -->"


def read() -> dict[str, Any]:
    """Read what was measured."""
    facts: dict[str, Any] = json.loads(FACTS.read_text(encoding="utf-8"))
    return facts


def tables(facts: dict[str, Any]) -> str:
    """Write the tables: one for each group of scenarios, then how each library was set up."""
    parts = [
        _group(group, list(found), facts["libraries"])
        for group, found in groupby(facts["scenarios"], key=lambda one: one["group"])
    ]
    return "\n".join([*parts, _setups(facts["libraries"])])


def _group(group: str, scenarios: list[dict[str, str]], libraries: dict[str, Any]) -> str:
    rows = [["", *(one["head"] for one in scenarios)], ["---"] * (len(scenarios) + 1)]
    rows += [
        [f"**{name}**", *(library["facts"][one["key"]] for one in scenarios)]
        for name, library in libraries.items()
    ]
    told = [f"- **{one['head']}**: {one['asked']}" for one in scenarios]
    return "\n".join([f"### {group}", "", *told, "", *_drawn(rows), ""])


def _setups(libraries: dict[str, Any]) -> str:
    rows = [["library", "set up with", "a time limit with", "after", "measured"], ["---"] * 5]
    rows += [
        [
            _versions(one["versions"]),
            f"`{one['setup']}`",
            f"`{one['deadline']}`",
            one["source"],
            f"{one['date']}, Python {one['python']}",
        ]
        for one in libraries.values()
    ]
    return "\n".join(["### How each was set up", "", *_drawn(rows), ""])


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _drawn(rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def shown(page: str, facts: dict[str, Any]) -> str:
    """Put the tables into the page, between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(facts)}\n{END}{after}"
