"""An `httpx.Client` that knows how each API fails.

    request --> admit --> attempt --> classify --> decide --+--> response
                  ^                                         |
                  +----------- amend <---- wait <-----------+

One policy file per API says how its error envelope looks, what each error means and what to do about it; the transport
reads the file and does it. `ResilientClient(policy="zerotrace")` stands where `httpx.Client()` stood.
"""

from __future__ import annotations

import sys  # only httpx
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .auth import HmacAuth, TokenAuth
    from .client import AsyncResilientClient, ResilientClient
    from .errors import (
        ApiError,
        BulkheadFull,
        CircuitOpen,
        PaceExceeded,
        PolicyError,
        StoreAway,
        raise_for_status,
    )
    from .loading import load_policy, policy_names
    from .outcome import Attempt, Outcome, Verdict, outcome_of
    from .policy import Policy
    from .transport import AsyncResilientTransport, ResilientTransport

__all__ = [
    "ApiError",
    "AsyncResilientClient",
    "AsyncResilientTransport",
    "Attempt",
    "BulkheadFull",
    "CircuitOpen",
    "HmacAuth",
    "Outcome",
    "PaceExceeded",
    "Policy",
    "PolicyError",
    "ResilientClient",
    "ResilientTransport",
    "StoreAway",
    "TokenAuth",
    "Verdict",
    "load_policy",
    "outcome_of",
    "policy_names",
    "raise_for_status",
]

__version__ = "0.1.0"

# Where each public name lives. It is loaded when it is first asked for, so that this package, its command and its pytest plugin are
# imported without httpx and pydantic.
_HOMES = {
    "ApiError": ".errors",
    "AsyncResilientClient": ".client",
    "AsyncResilientTransport": ".transport",
    "Attempt": ".outcome",
    "BulkheadFull": ".errors",
    "CircuitOpen": ".errors",
    "HmacAuth": ".auth",
    "Outcome": ".outcome",
    "PaceExceeded": ".errors",
    "Policy": ".policy",
    "PolicyError": ".loading",
    "ResilientClient": ".client",
    "ResilientTransport": ".transport",
    "StoreAway": ".errors",
    "TokenAuth": ".auth",
    "Verdict": ".outcome",
    "load_policy": ".loading",
    "outcome_of": ".outcome",
    "policy_names": ".loading",
    "raise_for_status": ".errors",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if getattr(sys.modules.get("httpx"), "__name__", "") == "httpx2":  # only httpx
        return getattr(
            import_module(".httpx2", __name__), name
        )  # after httpx2's alias for httpx there is one library
    try:
        value = getattr(import_module(_HOMES[name], __name__), name)
    except ModuleNotFoundError as missing:
        if missing.name != "httpx":
            raise
        raise ModuleNotFoundError(
            f"{__name__} needs httpx: pip install httpx",  # httpx2: f"{__name__} needs httpx2: pip install 'resilient-client[httpx2]'",
            name=missing.name,
        ) from missing
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
