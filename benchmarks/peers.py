"""Put this library and its peers before the same failing servers, and write down what happens: peers.json and docs/peers.md.

    python benchmarks/peers.py [NAME ...]

measures the libraries that are installed, or those named, and leaves what was measured of the others as it was. All of it stays on
this machine, and every wait is bounded. benchmarks/README.md tells how to set it up.

Law of this file: a scenario records what a library did, and judges nothing.
"""
# ruff: noqa: INP001 - a script

from __future__ import annotations

import json
import logging
import signal
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))  # for the server: loopback.py

from _peers import PEERS
from _peers.page import FACTS, PAGE, read, shown
from _peers.scenarios import SCENARIOS

if TYPE_CHECKING:
    from _peers.clients import Peer
    from _peers.observe import Scenario

PATIENCE = 40.0  # seconds for one scenario


class _TooLongError(BaseException):
    """No library may swallow it."""


def measured(peer: Peer, asked: Scenario) -> str:
    """Put one scenario to one library, within bounds."""

    def stop(*_: object) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        return asked.measure(peer)
    except _TooLongError:
        return f"no end within {PATIENCE:.0f} s"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def row(peer: Peer) -> dict[str, Any]:
    """Put every scenario to one library."""
    facts = {}
    for asked in SCENARIOS:
        facts[asked.key] = measured(peer, asked)
        sys.stdout.write(f"{peer.name:18}{asked.key:18}{facts[asked.key]}\n")
        sys.stdout.flush()
    return {
        "versions": peer.versions(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "date": datetime.now(UTC).date().isoformat(),
        "setup": peer.setup,
        "deadline": peer.deadline,
        "source": peer.source,
        "facts": facts,
    }


def main(wanted: list[str]) -> None:
    """Measure what is installed, or wanted, and write both files."""
    warnings.simplefilter("ignore")  # those of the libraries, and what they log
    logging.disable()
    known = read()["libraries"] if FACTS.exists() else {}
    known |= {peer.name: row(peer) for peer in PEERS if (peer.name in wanted if wanted else peer.installed)}
    facts = {
        "scenarios": [
            {"key": one.key, "group": one.group, "head": one.head, "asked": one.asked} for one in SCENARIOS
        ],
        "libraries": {peer.name: known[peer.name] for peer in PEERS if peer.name in known},
    }
    FACTS.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(shown(PAGE.read_text(encoding="utf-8"), facts), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
