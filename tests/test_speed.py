"""The gates of speed hold, and the page of speed says what was measured.

Counts are the same on every machine; ratios are those of turns that libraries take in processes of their own, and have room to spare. What
the peers take was written down by benchmarks/speed.py, where they are installed; here none of them is needed.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

import resilient_client

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
MEND = "python benchmarks/speed.py"
SVG = "{http://www.w3.org/2000/svg}"

GATES = (
    "get_calls",
    "aget_calls",
    "get_new_calls",
    "kept_bytes",
    "get_time",
    "aget_time",
    "added_calls",
    "aadded_calls",
    "added_time",
    "failing_calls",
    "afailing_calls",
    "failing_connections",
    "afailing_connections",
    "asleep_transport",
    "asleep_client",
    "loopback_time",
    "aloopback_time",
    "crowd_time",
    "engine_time",
    "engine_alone_time",
    "httpx2_calls",
    "ahttpx2_calls",
    "httpx2_crowd_calls",
    "httpx2_crowd_time",
    "start_modules",
    "start_time",
    "rules_calls",
)

pytestmark = pytest.mark.skipif(
    not BENCHMARKS.is_dir(), reason="needs a checkout: the benchmarks are not shipped"
)


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the script, from which the whole of its package can be reached."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("speed")


@pytest.fixture
def facts(speed: Any) -> Any:
    """Give what was measured."""
    return speed.page.read()


# ------------------------------------------------------------------------------------------------------- the gates


@pytest.mark.parametrize("key", GATES)
def test_a_gate_holds(speed: Any, key: str) -> None:
    """What was once made fast stays so."""
    gate = next(each for each in speed.GATES if each.key == key)
    value = gate.measure()
    if value is None:
        pytest.skip("what it needs is not installed")

    assert gate.holds(value), gate.line(value)


def test_every_gate_is_tried(speed: Any) -> None:
    """The list above is that of the gates."""
    assert tuple(each.key for each in speed.GATES) == GATES


def test_a_gate_that_does_not_hold_is_named(speed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """One that does not hold is enough for the gate to be shut, and it is told which."""
    gate = importlib.import_module("_speed.gates").Gate
    low, high = (
        gate("low", "too low", 2, lambda: 1.0, at_least=True),
        gate("high", "high enough", 2, lambda: 1.0),
    )

    assert speed.gate([low, high]) is False
    assert capsys.readouterr().err == "does not hold: low\n"
    assert speed.gate([high]) is True


# -------------------------------------------------------------------------------------------------- how it is measured


def test_a_ratio_is_one_of_the_same_round(speed: Any) -> None:
    """A machine that is ten times slower for a round changes no ratio; a throughput's ratio is the other way round."""
    took = {"httpx": [1.0, 10.0, 1.0, 10.0], "other": [0.5, 5.0, 0.5, 5.0]}

    assert speed.figures(took, throughput=False)["other"]["ratio"] == 0.5
    assert speed.figures(took, throughput=True)["other"]["ratio"] == 2.0


def test_what_stands_over_httpx2_is_compared_with_it_too(speed: Any) -> None:
    """That ratio is one of times, whatever the row shows, and of the same round with sniffio or without."""
    ours, sniffing = "resilient-client over httpx2", ", with sniffio"
    took = {"httpx": [1.0, 10.0], "httpx2": [0.8, 8.0], ours: [0.4, 4.0]}
    took |= {f"httpx2{sniffing}": [0.6, 6.0], f"{ours}{sniffing}": [0.15, 1.5]}

    found = speed.figures(took, throughput=True)

    assert found[ours]["over"]["ratio"] == 0.5
    assert found[ours + sniffing]["over"]["ratio"] == 0.25
    assert "over" not in found["httpx2"]


def test_a_package_that_is_hidden_is_as_one_that_is_absent() -> None:
    """Importing sniffio fails as it would where it is not installed, each time anew, and all else is found as before."""
    code = (
        "import sys; import _speed.worker as worker; worker.hide_sniffio()\n"
        "for _ in range(2):\n"
        "    try: import sniffio\n"
        "    except ModuleNotFoundError as error: print(error)\n"
        "import importlib.metadata, colorsys; print(importlib.metadata.version('httpx'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True, timeout=30, check=True
    )

    *failed, version = done.stdout.splitlines()
    assert failed == ["No module named 'sniffio'"] * 2
    assert version.startswith("0.28")


def test_what_does_not_sleep_is_not_weighed() -> None:
    """A call that has ended when it is weighed would make the others look light: there is no figure then."""
    code = "import _speed.asleep as asleep, asyncio; asleep.WAIT = 0; print(asyncio.run(asleep.held('a task', 3, int)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == 1
    assert "1 of 1 calls did not sleep" in done.stderr


# ---------------------------------------------------------------------------------------------- what was measured


def test_the_tables_are_what_was_measured(speed: Any, facts: Any) -> None:
    """The pages hold the tables that follow from speed.json, to the letter."""
    page = speed.page
    for path, marks, text in page.written(facts):
        if path.exists():
            before = path.read_text(encoding="utf-8")
            assert page.shown(before, text, marks) == before, MEND


def test_the_pages_have_their_tables(speed: Any, facts: Any) -> None:
    """The marks between which they are written are there."""
    missing = [
        mark
        for path, marks, _ in speed.page.written(facts)
        for mark in marks
        if mark not in path.read_text(encoding="utf-8")
    ]

    assert missing == []


def test_the_picture_is_what_was_measured(speed: Any, facts: Any) -> None:
    """The page's picture is the one that follows from speed.json."""
    assert speed.page.CHART.read_text(encoding="utf-8") == speed.svg(facts), MEND


def test_everything_in_the_picture_is_within_it(speed: Any, facts: Any) -> None:
    """It is well-formed, and no bar, line or word begins outside of it."""
    drawn = ET.fromstring(speed.svg(facts))  # noqa: S314 - our own
    width, height = float(drawn.attrib["width"]), float(drawn.attrib["height"])

    for each in drawn.iter():
        if each.tag in {f"{SVG}rect", f"{SVG}text"}:
            x, y = float(each.attrib.get("x", 0)), float(each.attrib.get("y", 0))
            assert 0 <= x <= x + float(each.attrib.get("width", 0)) <= width
            assert 0 <= y <= y + float(each.attrib.get("height", 0)) <= height


def test_every_row_and_bar_was_measured(speed: Any, facts: Any) -> None:
    """speed.json has every row that the benchmark asks for, with all of its libraries, and what every bar looks for."""
    bars = importlib.import_module("_speed.bars").BARS

    assert list(facts["timed"]) == list(speed.TIMED)
    assert set(speed.OTHER) <= set(facts)
    assert [
        key for key, row in speed.TIMED.items() if not {*row.names, row.base} <= set(facts["timed"][key])
    ] == []
    assert len(list(speed.page.kept(facts))) == len(bars)


def test_the_version_is_this_one(facts: Any) -> None:
    """The page speaks of the version that it comes with."""
    assert facts["measured"]["versions"]["resilient-client"] == resilient_client.__version__, MEND


def test_the_prose_has_no_figures(speed: Any) -> None:
    """A duration, a ratio or a size stands in the tables, where it was measured, or nowhere."""
    begin, end = speed.page.MEASURED
    before, _, rest = speed.page.PAGE.read_text(encoding="utf-8").partition(begin)
    prose = before + rest.partition(end)[2]

    assert (
        re.findall(r"\d+(?:\.\d+)? ?(?:s|ms|µs|%|\N{MULTIPLICATION SIGN}|times|bytes|KiB)(?!\w)", prose) == []
    )
