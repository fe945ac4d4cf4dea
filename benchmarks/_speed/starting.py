"""What a process pays before its first call: to import a library on top of httpx, and to make its first client.

Every figure is from a process of its own, and the libraries take turns. The processor's time is taken, not the clock's, so that what else
the machine does counts for little; a warm-up of one process each has written the byte code.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from dataclasses import dataclass

from .turns import environment

__all__ = ["CLIENTS", "IMPORTS", "Start", "foreign_modules", "started"]

TIMED = """
import sys, time
import httpx
{before}
begun = time.process_time()
{timed}
sys.stdout.write(str(time.process_time() - begun))
"""
FOREIGN = """
import sys
import httpx
httpx.Client()
before = set(sys.modules)
from resilient_client import ResilientClient
ResilientClient("zerotrace")
print(sum(not name.startswith("resilient_client") for name in set(sys.modules) - before))
"""
LONGEST = 60.0  # seconds for one process


@dataclass(frozen=True, slots=True)
class Start:
    """One way to begin: what is imported first, untimed, and what is timed."""

    name: str
    needs: str  # a distribution
    timed: str
    before: str = ""

    @property
    def installed(self) -> bool:
        """Tell whether this environment has it."""
        try:
            importlib.metadata.version(self.needs)
        except importlib.metadata.PackageNotFoundError:
            return False
        return True


IMPORTS = (
    Start("httpx alone", "httpx", "pass"),
    Start("import resilient_client", "resilient-client", "import resilient_client"),
    Start(
        "from resilient_client import ResilientClient",
        "resilient-client",
        "from resilient_client import ResilientClient",
    ),
    Start(
        "from resilient_client.httpx2 import ResilientClient",
        "httpx2",
        "from resilient_client.httpx2 import ResilientClient",
        "import httpx2",
    ),
    Start("httpx-retries", "httpx-retries", "import httpx_retries"),
    Start("httpx-tenacity", "httpx-tenacity", "import httpx_tenacity"),
    Start("stamina", "stamina", "import stamina"),
    Start("retryhttp", "retryhttp", "import retryhttp"),
    Start("pydantic", "pydantic", "import pydantic"),
    Start("pydantic, one model", "pydantic", "import pydantic\nclass M(pydantic.BaseModel): a: int"),
)
_RETRIES = "httpx.Client(transport=httpx_retries.RetryTransport())"
_TENACITY = "httpx.Client(transport=httpx_tenacity.TenaciousTransport.create())"
CLIENTS = (
    Start("httpx", "httpx", "httpx.Client()"),
    Start(
        "resilient-client",
        "resilient-client",
        "ResilientClient()",
        "from resilient_client import ResilientClient",
    ),
    Start(
        "resilient-client, zerotrace",
        "resilient-client",
        "ResilientClient('zerotrace')",
        "from resilient_client import ResilientClient",
    ),
    Start("httpx2", "httpx2", "httpx2.Client()", "import httpx2"),
    Start(
        "resilient-client over httpx2",
        "httpx2",
        "ResilientClient()",
        "import httpx2\nfrom resilient_client.httpx2 import ResilientClient",
    ),
    Start("httpx-retries", "httpx-retries", _RETRIES, "import httpx_retries"),
    Start("httpx-tenacity", "httpx-tenacity", _TENACITY, "import httpx_tenacity"),
)


def started(start: Start) -> float:
    """Begin once, and tell the seconds of processor time."""
    return float(_printed(TIMED.format(before=start.before, timed=start.timed)))


def foreign_modules() -> int:
    """Count the modules that this library's first client brings with it, its own not counted, where httpx's has been made already."""
    return int(_printed(FOREIGN))


def _printed(code: str) -> bytes:
    done = subprocess.run(  # noqa: S603 - the code above
        [sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, check=True, timeout=LONGEST
    )
    return done.stdout
