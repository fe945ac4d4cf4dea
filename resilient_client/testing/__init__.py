"""What tests of integrations need: time that costs nothing, the replies that the real API sends, words to judge by.

All of it works with threads, asyncio and trio, for clients of httpx's and of httpx2's. Under pytest the fixtures
`virtual_clock`, `api_mock` and `respx_bridge` are there by themselves; each is a context manager for everybody else:
`use_clock(VirtualClock())`, `ApiMock()` and `bridge_respx()`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resilient_client.clock import use_clock

    from ._assertions import assert_attempts, assert_fresh_nonces, assert_same_key, assert_waits
    from ._bridge import bridge_respx
    from ._bypass import refuse_bypass
    from ._clock import VirtualClock
    from ._convert import to_httpx, to_httpx2
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
    "bridge_respx",
    "error_response",
    "fault_sequences",
    "refuse_bypass",
    "to_httpx",
    "to_httpx2",
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
    "bridge_respx": "._bridge",
    "error_response": "._responses",
    "fault_sequences": "._faults",
    "refuse_bypass": "._bypass",
    "to_httpx": "._convert",
    "to_httpx2": "._convert",
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
