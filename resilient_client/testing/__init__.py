"""What tests of integrations need: time that costs nothing, the replies that the real API sends, words to judge by.

All of it works with threads, asyncio and trio. Under pytest the fixtures `virtual_clock` and `api_mock` are there by
themselves; each
is a context manager for everybody else: `use_clock(VirtualClock())` and `ApiMock()`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resilient_client.clock import use_clock

    from ._assertions import assert_attempts, assert_fresh_nonces, assert_same_key, assert_waits
    from ._bypass import refuse_bypass
    from ._clock import VirtualClock
    from ._faults import Fault, FaultSequence, fault_sequences
    from ._mock import ApiMock, MockedApi, MockedRoute
    from ._responses import error_response

__all__ = [
    "ApiMock",
    "Fault",
    "FaultSequence",
    "MockedApi",
    "MockedRoute",
    "VirtualClock",
    "assert_attempts",
    "assert_fresh_nonces",
    "assert_same_key",
    "assert_waits",
    "error_response",
    "fault_sequences",
    "refuse_bypass",
    "use_clock",
]

# Where each public name lives. It is loaded when it is first asked for: pytest imports this package in every run, for
# its plugin.
_HOMES = {
    "ApiMock": "._mock",
    "Fault": "._faults",
    "FaultSequence": "._faults",
    "MockedApi": "._mock",
    "MockedRoute": "._mock",
    "VirtualClock": "._clock",
    "assert_attempts": "._assertions",
    "assert_fresh_nonces": "._assertions",
    "assert_same_key": "._assertions",
    "assert_waits": "._assertions",
    "error_response": "._responses",
    "fault_sequences": "._faults",
    "refuse_bypass": "._bypass",
    "use_clock": "resilient_client.clock",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
