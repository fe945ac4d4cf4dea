"""What the protections do to a crowd of callers and to their server, on virtual time: an outage of a minute takes a second.

    scenario --> run --> books --> show, picture
                  |
       world, driver, server

`scenario` says who calls and what the server does meanwhile, `run` has them call, `driver` leads each call by the library's own
flow and engines, `server` answers, `world` is the time that passes, `books` adds up. `show` puts that on paper and `picture` draws it.
"""

from __future__ import annotations

from .books import Books, Done, Phase
from .run import simulate
from .scenario import (
    Arrivals,
    Crowd,
    Evenly,
    Latency,
    Loop,
    Outage,
    Poisson,
    Route,
    Scenario,
    at_most,
    usual_rate,
)
from .server import Seen

__all__ = [
    "Arrivals",
    "Books",
    "Crowd",
    "Done",
    "Evenly",
    "Latency",
    "Loop",
    "Outage",
    "Phase",
    "Poisson",
    "Route",
    "Scenario",
    "Seen",
    "at_most",
    "simulate",
    "usual_rate",
]
