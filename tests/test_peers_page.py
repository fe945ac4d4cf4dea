"""The comparison with peers says what was measured, and what was measured of this library still holds.

What the peers do was written down by benchmarks/peers.py, where they are installed; here none of them is.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import resilient_client

ROOT = Path(__file__).parent.parent
MEND = "python benchmarks/peers.py resilient-client"

pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks").is_dir(), reason="needs a checkout: the benchmarks are not shipped"
)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the module that writes the tables."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("_peers.page")


@pytest.fixture
def facts(page: Any) -> Any:
    """Give what was measured."""
    return page.read()


@pytest.fixture
def prose(page: Any) -> str:
    """Give the page without its tables."""
    text: str = page.PAGE.read_text(encoding="utf-8")
    begin, end = str(page.BEGIN), str(page.END)
    before, _, rest = text.partition(begin)
    return before + rest.partition(end)[2]


def test_the_tables_are_what_was_measured(page: Any, facts: Any) -> None:
    """The page holds the tables that follow from peers.json, to the letter."""
    text = page.PAGE.read_text(encoding="utf-8")

    assert page.shown(text, facts) == text


def test_every_library_has_every_fact(facts: Any) -> None:
    """What was put to one library was put to all of them, and nothing else was."""
    asked = {one["key"] for one in facts["scenarios"]}

    assert [name for name, one in facts["libraries"].items() if set(one["facts"]) != asked] == []


def test_the_prose_has_no_figures(prose: str) -> None:
    """A duration, a share or a size stands in the tables, where it was measured, or nowhere."""
    told = re.sub(r"\*\*.+?\*\*", "", prose)  # a column's name may hold one

    assert re.findall(r"\d+(?:\.\d+)? ?(?:s|ms|µs|%|times|lines)\b", told) == []


def test_where_a_peer_is_better_it_does_otherwise(prose: str, facts: Any) -> None:
    """Each scenario that the page concedes is one of the tables, and each peer that it names there differs from this library."""
    ours = facts["libraries"]["resilient-client"]["facts"]
    heads = {one["head"]: one["key"] for one in facts["scenarios"]}
    section = prose.partition("## Where a peer is better")[2].partition("\n## ")[0]
    conceded = re.findall(r"^- \*\*(.+?)\*\*: (.+?)(?=^- |\Z|^$)", section, re.MULTILINE | re.DOTALL)

    assert conceded
    for head, told in conceded:
        named = [name for name in re.findall(r"`([\w-]+)`", told) if name in facts["libraries"]]
        assert named, head
        for name in named:
            assert facts["libraries"][name]["facts"][heads[head]] != ours[heads[head]], (head, name)


def test_the_version_is_this_one(facts: Any) -> None:
    """The page speaks of the version that it comes with."""
    measured = facts["libraries"]["resilient-client"]["versions"]["resilient-client"]

    assert measured == resilient_client.__version__, MEND


def test_the_page_asks_what_the_benchmark_asks(facts: Any) -> None:
    """Each column says of itself what its scenario says today, in the same order."""
    scenarios = importlib.import_module("_peers.scenarios").SCENARIOS

    assert [(one.key, one.group, one.head, one.asked) for one in scenarios] == [
        (one["key"], one["group"], one["head"], one["asked"]) for one in facts["scenarios"]
    ]
    assert facts["libraries"].keys() == {one.name for one in importlib.import_module("_peers").PEERS}


def test_what_was_measured_of_this_library_still_holds(facts: Any) -> None:
    """All that is left neither to chance nor to the machine is measured again."""
    scenarios = importlib.import_module("_peers.scenarios").SCENARIOS
    library = importlib.import_module("_peers").PEERS[0]
    steady = {one.key: one.measure for one in scenarios if one.steady}
    before = facts["libraries"]["resilient-client"]["facts"]

    assert {key: measure(library) for key, measure in steady.items()} == {
        key: before[key] for key in steady
    }, MEND
