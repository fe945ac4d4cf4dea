"""What keeps retries from doing harm, and callers from waiting in vain: the settings of the protections.

Each is a keyword of `ResilientClient`, `AsyncResilientClient`, `ResilientTransport` and `AsyncResilientTransport`, and a line
of a policy's `[protect]`; a keyword outweighs the line.

| keyword | takes | what it does |
|---|---|---|
| `budget` | True, False, a `BudgetConfig` | bounds the retries of all calls to a host; on unless it is switched off |
| `pace` | True, False, (requests, seconds) | keeps to the budgets that the policy's `[pace]` publishes, or to this one, before the API says 429 |
| `breaker` | True, False, a `BreakerConfig` | stops asking a host that fails; calls with a deadline may wait for it (park) |
| `hedge` | a share, True, False, a `HedgeConfig` | sends a request once more where its answer is late |
| `bulkhead` | a number, "adaptive", an `Adaptive`, a `BulkheadConfig` | bounds the calls under way at a time to a host |
| `shared` | a `RedisStore` | shares budget, pacing and breaker with other processes |
| `scope` | a text | keeps what protects one account from what protects another |

All calls of a process to one host under one policy share what protects them, where they are set up alike: those of other
threads, tasks, clients and event loops too. `docs/protection.md` tells more.
"""

from __future__ import annotations

from ._guard.breaker import BreakerConfig
from ._guard.budget import BudgetConfig
from ._guard.bulkhead import Adaptive, BulkheadConfig
from ._guard.guards import forget_all as forget
from ._guard.hedge import HedgeConfig
from ._guard.settings import Protections

__all__ = [
    "Adaptive",
    "BreakerConfig",
    "BudgetConfig",
    "BulkheadConfig",
    "HedgeConfig",
    "Protections",
    "forget",
]
