"""The two engines with one face: httpx's own pool, and aiohttp's by way of httpx-aiohttp.

Law of this file: it makes transports and clients as a user would, and judges nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from httpx_aiohttp import AiohttpTransport

from resilient_client import AsyncResilientClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

_KINDS = {"httpx": httpx.AsyncHTTPTransport, "aiohttp": AiohttpTransport}
ENGINES = tuple(name for name, kind in _KINDS.items() if issubclass(kind, httpx.AsyncBaseTransport))
ONE = httpx.Limits(max_connections=1)

_OF_THE_TRANSPORT = ("limits", "verify", "cert", "proxy", "uds", "local_address", "http2", "client")


@dataclass(frozen=True)
class Engine:
    """An engine, by its name."""

    name: str

    def transport(self, **options: Any) -> httpx.AsyncBaseTransport:
        """Make a transport, with the options of a transport."""
        kind: Any = _KINDS[self.name]
        transport: httpx.AsyncBaseTransport = kind(trust_env=False, **options)
        return transport

    def client(self, policy: Any = None, **options: Any) -> AsyncResilientClient:
        """Make a client over it, with the options of both: what is the transport's goes there."""
        beneath = {name: options.pop(name) for name in _OF_THE_TRANSPORT if name in options}
        return AsyncResilientClient(policy, transport=self.transport(**beneath), **options)


def over_both(metafunc: pytest.Metafunc) -> None:
    """Run each test of a module that asks for an `engine` over both of them: `pytest_generate_tests = over_both`."""
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", [Engine(name) for name in ENGINES], ids=ENGINES)


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop run until something is so; a test that waits for too long fails."""
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110 - what is waited for happens in a server's thread, which has no event for it
            await asyncio.sleep(0.001)


def within(seconds: float, scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario under asyncio, and fail if it takes longer."""

    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await scenario()

    asyncio.run(bounded())
