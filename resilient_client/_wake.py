"""Waking a task from wherever one is: another task, another event loop, a plain thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["from_any_thread"]


def from_any_thread(landed: Any) -> Callable[[], object]:
    """Make a waker for this task that a thread, or another event loop, may call."""
    import asyncio  # noqa: PLC0415 - as above

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio  # noqa: PLC0415 - the task runs under it

        token = trio.lowlevel.current_trio_token()
        return lambda: _if_it_runs(token.run_sync_soon, landed.set)
    return lambda: _if_it_runs(loop.call_soon_threadsafe, landed.set)


def _if_it_runs(call: Callable[[Callable[[], object]], object], wake: Callable[[], object]) -> None:
    try:
        call(wake)
    except RuntimeError:  # its loop has ended, and the task with it (trio's RunFinishedError is one too)
        return
