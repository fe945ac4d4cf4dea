"""An `httpx.Client` that knows how each API fails.

    request --> attempt --> classify --> decide --+--> response
                   ^                              |
                   +------ amend <---- wait <-----+

One policy file per API says how its error envelope looks, what each error means and what to do about it; the transport
reads the file and does it. `ResilientClient(policy="zerotrace")` stands where `httpx.Client()` stood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .auth import HmacAuth, TokenAuth
from .client import AsyncResilientClient, ResilientClient
from .errors import ApiError, PolicyError, raise_for_status
from .loading import load_policy, policy_names
from .outcome import Attempt, Outcome, Verdict, outcome_of
from .transport import AsyncResilientTransport, ResilientTransport

if TYPE_CHECKING:
    from .policy import Policy

__all__ = [
    "ApiError",
    "AsyncResilientClient",
    "AsyncResilientTransport",
    "Attempt",
    "HmacAuth",
    "Outcome",
    "Policy",
    "PolicyError",
    "ResilientClient",
    "ResilientTransport",
    "TokenAuth",
    "Verdict",
    "load_policy",
    "outcome_of",
    "policy_names",
    "raise_for_status",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load `Policy` when it is first named: pydantic is not needed to import this package."""
    if name == "Policy":
        from .policy import Policy  # noqa: PLC0415 - see above

        return Policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
