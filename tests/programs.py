"""The library's command as a program that a test can interrupt."""

from __future__ import annotations

# Where the tests run in the background, SIGINT is ignored, and so it would be by what they start.
INTERRUPTIBLE = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('resilient_client', run_name='__main__', alter_sys=True)"
)
