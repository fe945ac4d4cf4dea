"""What tests of integrations need: time that costs nothing, and the replies that the real API would send.

Both work with respx and with `httpx.MockTransport`, in threads, under asyncio and under trio.
"""

from ._clock import VirtualClock
from ._responses import error_response

__all__ = ["VirtualClock", "error_response"]
