"""What was measured, as the tables of docs/speed.md and docs/engines.md. Pure but for `read`: facts in, text out.

Law of this file: it adds nothing. Every figure of the pages is one of speed.json, or follows from two of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bars import ALONE, BARS, ENGINE, OURS, OVER
from .libraries import LIBRARIES
from .rows import BASE, HOSTS, TIMED, WITH_SNIFFIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .rows import Timed

__all__ = ["CHART", "FACTS", "MEASURED", "PAGE", "kept", "read", "shown", "tables", "written"]

ROOT = Path(__file__).parents[2]
FACTS = ROOT / "benchmarks" / "speed.json"
PAGE = ROOT / "docs" / "speed.md"
ENGINES = ROOT / "docs" / "engines.md"
CHART = ROOT / "docs" / "speed.svg"

MEASURED = ("<!-- measured: python benchmarks/speed.py -->", "<!-- /measured -->")
ON_AIOHTTP = ("<!-- speed:engines -->", "<!-- /speed:engines -->")
ON_HTTPX2 = ("<!-- speed:httpx2 -->", "<!-- /speed:httpx2 -->")
ON_ENGINES = ("aloopback", "crowd")  # the rows that an engine makes a difference to
OVER_TOLD = (
    "The rows above that it is in, once more: its time in ratio to that of httpx2 alone, in the same rounds."
)


def read() -> dict[str, Any]:
    """Read what was measured; nothing where nothing was."""
    facts: dict[str, Any] = json.loads(FACTS.read_text(encoding="utf-8")) if FACTS.exists() else {}
    return facts


def shown(page: str, text: str, marks: tuple[str, str]) -> str:
    """Put a text between the marks of a page. A page without the first of them is left as it is; the second is added."""
    begin, end = marks
    before, found, rest = page.partition(begin)
    if not found:
        return page
    _, closed, after = rest.partition(end)
    return f"{before}{begin}\n\n{text}\n{end}{after if closed else rest}"


def written(facts: dict[str, Any]) -> Iterator[tuple[Path, tuple[str, str], str]]:
    """Give each page, the marks between which it is written, and the text that belongs there."""
    yield PAGE, MEASURED, tables(facts)
    yield ENGINES, ON_AIOHTTP, _engines(facts)
    yield ENGINES, ON_HTTPX2, "\n".join([*_over(facts, ON_ENGINES), ""])


def tables(facts: dict[str, Any]) -> str:
    """Write all tables of the page, as far as they were measured."""
    parts = [_section("Bars", *_bars(facts)), _section("Where a peer is faster", *_faster(facts))]
    parts += [
        _section(row.title, row.told, "", *_timed(row, facts))
        for row in TIMED.values()
        if row.key in facts["timed"]
    ]
    parts += [_section("over httpx2", OVER_TOLD, "", *_over(facts, TIMED))]
    parts += [_section(title, *write(facts)) for key, (title, write) in _OTHER.items() if key in facts]
    return "\n".join(line for part in parts for line in part)


def _engines(facts: dict[str, Any]) -> str:
    """Write the tables of what an engine makes a difference to, for the library, its engines and httpx."""
    parts = []
    for key in ON_ENGINES:
        if key in facts["timed"]:
            found = {
                label: one
                for label, one in facts["timed"][key].items()
                if label.removesuffix(WITH_SNIFFIO) in {BASE, OURS, ENGINE, "httpx-aiohttp", "aiohttp"}
            }
            parts += [
                _sentence(TIMED[key].title) + ":",
                "",
                *_timed(TIMED[key], {**facts, "timed": {key: found}}),
                "",
            ]
    return "\n".join(parts)


def kept(facts: dict[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    """Tell of each bar that can be told: what it is, its limit, what was found, and whether that keeps to it."""
    for bar in BARS:
        try:
            value = bar.found(facts)
        except KeyError:
            continue
        limit = f"{'at least' if bar.at_least else 'at most'} {bar.shown.format(bar.limit)}"
        yield bar.told, limit, bar.shown.format(value), bar.kept(value)


def _section(title: str, *lines: str) -> list[str]:
    return [f"### {_sentence(title)}", "", *lines, ""]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _bars(facts: dict[str, Any]) -> list[str]:
    rows = [["what", "bar", "measured", "kept"], ["---"] * 4]
    rows += [[told, limit, value, "yes" if good else "**no**"] for told, limit, value, good in kept(facts)]
    return _drawn(rows)


def _faster(facts: dict[str, Any]) -> Iterator[str]:
    """Name the peers that beat this library, as it is without being told anything, at what it is to be measured by."""
    for row in TIMED.values():
        found = facts["timed"].get(row.key, {})
        own = ALONE if row.handed else OURS
        if own in found:
            better = [
                f"`{name}`"
                for name, one in found.items()
                if name not in {row.base, *_OWN} and one["seconds"] < found[own]["seconds"]
            ]
            if better:
                yield f"- **{_sentence(row.title)}**: {', '.join(better)}"


def _timed(row: Timed, facts: dict[str, Any]) -> list[str]:
    counted = facts.get("instructions", {}).get(row.key, {})
    heads = ["", "requests/s" if row.throughput else "µs a call"]
    heads += [] if row.handed else [f"ratio to {row.base}", "its quartiles"]
    heads += [] if row.throughput else ["µs added"]
    heads += ["instructions", "added"] if counted else []
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for label, one in facts["timed"][row.key].items():
        cells = [_name(label)]
        cells += [f"{1 / one['seconds']:,.0f}" if row.throughput else f"{one['seconds'] * 1e6:.1f}"]
        cells += [] if row.handed else _ratio(one)
        cells += [] if row.throughput else [f"{one['added'] * 1e6:+.1f}"]
        cells += _instructions(counted, label, row.base) if counted else []
        rows.append(cells)
    return _drawn(rows)


def _over(facts: dict[str, Any], keys: Iterable[str]) -> list[str]:
    """Put the library over httpx2 beside httpx2 alone, in each of these rows that has both."""
    rows = [["", "µs a call", f"{HOSTS[OVER]} alone", f"ratio to {HOSTS[OVER]}", "its quartiles"]]
    rows += [["---", *["---:"] * 4]]
    for key in keys:
        found = facts["timed"].get(key, {})
        for suffix in ("", WITH_SNIFFIO):
            if OVER + suffix in found:
                ours, alone = (found[name + suffix] for name in (OVER, HOSTS[OVER]))
                took = [f"{one['seconds'] * 1e6:,.1f}" for one in (ours, alone)]
                rows.append([_sentence(TIMED[key].title) + suffix, *took, *_ratio(ours["over"])])
    return _drawn(rows)


def _ratio(one: dict[str, float]) -> list[str]:
    return [f"{one['ratio']:.2f}", f"{one['ratio_low']:.2f} to {one['ratio_high']:.2f}"]


def _instructions(counted: dict[str, float], label: str, base: str) -> list[str]:
    if label not in counted:
        return ["", ""]
    return [f"{counted[label]:,.0f}", f"{counted[label] - counted[base]:+,.0f}"]


def _connections(facts: dict[str, Any]) -> list[str]:
    used = facts["connections"]
    rows = [["", "sync", "async"], ["---", "---:", "---:"]]
    rows += [
        [_name(name), *(str(used[kind].get(name, "")) for kind in ("sync", "async"))]
        for name in LIBRARIES
        if name in used["sync"] or name in used["async"]
    ]
    return _drawn(rows)


def _asleep(facts: dict[str, Any]) -> list[str]:
    rows = [["", "bytes a call, resident", "as Python counts"], ["---", "---:", "---:"]]
    rows += [
        [_name(name), f"{one['resident']:,.0f}", f"{one['traced']:,.0f}"]
        for name, one in facts["asleep"].items()
    ]
    return _drawn(rows)


def _imports(facts: dict[str, Any]) -> list[str]:
    return _starts("imported after httpx, or after httpx2", facts["imports"])


def _clients(facts: dict[str, Any]) -> list[str]:
    return _starts("made after it was imported", facts["clients"])


def _starts(head: str, took: dict[str, float]) -> list[str]:
    rows = [[head, "ms"], ["---", "---:"]]
    return _drawn([*rows, *([name, f"{seconds * 1000:.1f}"] for name, seconds in took.items())])


def _rules(facts: dict[str, Any]) -> list[str]:
    rules = facts["rules"]
    rows = [["rules", "function calls", "µs"], ["---:", "---:", "---:"]]
    rows += [
        [f"{count:,}", str(calls), f"{seconds * 1e6:.1f}"]
        for count, calls, seconds in zip(rules["rules"], rules["calls"], rules["took"], strict=True)
    ]
    return _drawn(rows)


def _setups(facts: dict[str, Any]) -> list[str]:
    measured = facts["measured"]
    versions = measured["versions"]
    rows = [["", "set up with", "versions"], ["---"] * 3]
    rows += [
        [_name(one.name), f"`{one.setup}`", ", ".join(f"{name} {versions[name]}" for name in one.needs)]
        for one in LIBRARIES.values()
        if all(name in versions for name in one.needs)
    ]
    told = (
        f"Measured on {measured['date']}, Python {measured['python']}, {measured['processors']} processors."
    )
    return [told, "", *_drawn(rows)]


def _name(label: str) -> str:
    return f"**{label}**" if label in _OWN else label


_OWN = {name + suffix for name in (OURS, ALONE, ENGINE, OVER) for suffix in ("", WITH_SNIFFIO)}


def _drawn(rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


_OTHER: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]]]] = {
    "connections": ("connections of a call that is answered 503 three times, then 200", _connections),
    "asleep": ("asleep before a retry, 10,000 at once", _asleep),
    "imports": ("imports", _imports),
    "clients": ("the first client", _clients),
    "rules": ("rules", _rules),
    "measured": ("how each was set up", _setups),
}
