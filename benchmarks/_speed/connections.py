"""How many connections a call has used that was answered 503 three times and then 200, over connections that are kept.

python -m _speed.connections
"""

from __future__ import annotations

import json
import logging
import sys
import urllib.request
import warnings
from dataclasses import replace

from .libraries import LIBRARIES
from .rows import TIMED
from .server import served
from .worker import Turns

__all__ = ["used"]


def used(name: str, *, tasks: bool) -> int:
    """Make one such call, and ask the server."""
    row = replace(TIMED["failing"], names=(name,), wire=None, tasks=tasks)
    with served() as server:
        turns = Turns(row, [name], f"{server}/down")
        try:
            _asked(server)  # what was used until now
            turns.turn(name, 1)
            return _asked(server)
        finally:
            turns.close()


def _asked(server: str) -> int:
    with urllib.request.urlopen(f"{server}/count", timeout=5) as answer:  # noqa: S310 - our own
        return int(answer.read())


def _main() -> None:
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    retrying = [each for each in LIBRARIES.values() if each.retries and each.installed]
    found = {
        "sync": {each.name: used(each.name, tasks=False) for each in retrying if each.threads},
        "async": {each.name: used(each.name, tasks=True) for each in retrying if each.tasks},
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    _main()
