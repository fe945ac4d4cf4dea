"""What the demonstration plays: each call, what goes wrong with it, how it has to end. Data, one file per API.

Most failures are real ones: the sandbox refuses because the call deserves it. What cannot be brought about from
outside (a failing supplier, a line that breaks) is planned, with the words of `resilient_client.sandbox.Schedule`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import customer_verification, dual, integration, openpoly, zerotrace

if TYPE_CHECKING:
    from resilient_client.demo.script import Scene

__all__ = ["SCENES"]

SCENES: tuple[Scene, ...] = (
    *zerotrace.SCENES,
    *customer_verification.SCENES,
    *dual.SCENES,
    *openpoly.SCENES,
    *integration.SCENES,
)
