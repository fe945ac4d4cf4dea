"""The deadline passed while an error's body was being read, the caller read on and closed nothing: the connection was not given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from resilient_client._bodies import AsyncKept, Kept

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LATE = httpx.ReadTimeout("the deadline passed")


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body of which there is more to come, and which knows whether it is closed."""

    closed = False

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def test_a_thread_that_reads_on_gives_the_connection_back() -> None:
    """What was read is given again, then the error; nobody has to close."""
    body = Body()
    kept = Kept([b"{"], iter([b"}"]), body, LATE)

    rest = iter(kept)
    assert next(rest) == b"{"
    assert not body.closed
    with pytest.raises(httpx.ReadTimeout):
        next(rest)
    assert body.closed


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_task_that_reads_on_gives_the_connection_back(backend: str) -> None:
    """The same."""

    async def scenario() -> None:
        async def more() -> AsyncIterator[bytes]:
            yield b"}"

        body, following = Body(), more()
        kept = AsyncKept([b"{"], following, body, LATE)
        rest = aiter(kept)
        assert await anext(rest) == b"{"
        assert not body.closed
        with pytest.raises(httpx.ReadTimeout):
            await anext(rest)
        assert body.closed

    anyio.run(scenario, backend=backend)
