"""The libraries that work over requests, niquests and aiohttp, each set up as its own documentation recommends."""
# ruff: noqa: PLC0415 - a library is imported where it is measured: no environment must hold all of them

from __future__ import annotations

import importlib.metadata
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from .clients import ATTEMPTS, RETRIES, Peer, Session, on_a_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from .clients import Wishes

__all__ = ["OVER_OTHERS"]

STATUSES = [500, 502, 503, 504]


def signed(auth: httpx.Auth, method: str, url: str, body: bytes) -> dict[str, str]:
    """Sign as an httpx auth does, for a library that takes headers."""
    request = httpx.Request(method, url, content=body)
    before = set(request.headers)
    next(auth.sync_auth_flow(request))
    return {name: value for name, value in request.headers.items() if name not in before}


class Urllib3(Peer):
    """urllib3's `Retry`, in an adapter of requests."""

    name = "urllib3"
    over = "requests"
    beside = ("requests",)
    setup = (
        "HTTPAdapter(max_retries=Retry(total=4, backoff_factor=0.5, status_forcelist=[500, 502, 503, 504]))"
    )
    deadline = "Session.request(timeout=…)"
    source = "https://urllib3.readthedocs.io/, https://requests.readthedocs.io/"
    error = ("requests", "RequestException")

    @property
    def installed(self) -> bool:
        """Tell whether urllib3 is urllib3: urllib3-future, which niquests brings, takes its place."""
        names = {one.metadata["Name"] for one in importlib.metadata.distributions()}
        return {"urllib3", "requests"} <= names and "urllib3-future" not in names

    def session(self, wishes: Wishes) -> Any:
        """Make a session that retries."""
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        retry = Retry(total=RETRIES, backoff_factor=0.5, status_forcelist=STATUSES)
        pool: dict[str, Any] = {"pool_maxsize": 1, "pool_block": True} if wishes.one_connection else {}
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry, **pool))
        return session

    @contextmanager
    def open(self, wishes: Wishes) -> Iterator[Session]:
        """Open a session for as long as the block lasts."""
        with self.session(wishes) as session:
            if wishes.proxy:
                session.proxies = {"http": wishes.proxy}

            def call(method: str, url: str, **options: Any) -> Any:
                if "auth" in options:
                    options["auth"] = self._signing(options["auth"])
                return session.request(method, url, timeout=wishes.deadline or 5, **options)

            yield Session(call)

    @staticmethod
    def _signing(auth: httpx.Auth) -> Callable[[Any], Any]:
        def sign(request: Any) -> Any:
            request.headers.update(signed(auth, request.method, request.url, request.body or b""))
            return request

        return sign

    def history(self, _session: Session, response: Any) -> str:
        """Ask the response below."""
        return f"{len(response.raw.retries.history)} retries: method, URL, status and error of each"

    def payload(self, content: Any) -> dict[str, Any]:
        """Name a body."""
        return {"data": content}


class Niquests(Urllib3):
    """The same in niquests, which has an async session too."""

    name = "niquests"
    over = "niquests"
    beside = ("urllib3-future",)
    setup = (
        "niquests.Session(retries="
        "RetryConfiguration(total=4, backoff_factor=0.5, status_forcelist=[500, 502, 503, 504]))"
    )
    source = "https://niquests.readthedocs.io/"
    error = ("niquests", "RequestException")
    kinds = ("sync", "asyncio")

    @property
    def installed(self) -> bool:
        """Tell whether this environment has niquests."""
        return any(one.metadata["Name"] == "niquests" for one in importlib.metadata.distributions())

    def session(self, wishes: Wishes) -> Any:
        """Make a session that retries."""
        import niquests

        pool = {"pool_maxsize": 1, "pool_connections": 1} if wishes.one_connection else {}
        return niquests.Session(retries=self._retry(), **pool)

    @asynccontextmanager
    async def aopen(self, _wishes: Wishes) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
        """Open an async session for as long as the block lasts."""
        import niquests

        async with niquests.AsyncSession(retries=self._retry()) as session:
            yield session.request

    @staticmethod
    def _retry() -> Any:
        import niquests

        return niquests.RetryConfiguration(total=RETRIES, backoff_factor=0.5, status_forcelist=STATUSES)


class AiohttpRetry(Peer):
    """A client around aiohttp's."""

    name = "aiohttp-retry"
    over = "aiohttp"
    beside = ("aiohttp",)
    kinds = ("asyncio",)
    setup = "RetryClient(retry_options=ExponentialRetry(attempts=5))"
    deadline = "ClientTimeout(total=…)"
    source = "https://github.com/inyutin/aiohttp_retry"
    error = ("aiohttp", "ClientError")

    def open(self, wishes: Wishes) -> AbstractContextManager[Session]:
        """Open a client for as long as the block lasts."""
        return on_a_loop(self, wishes)

    @asynccontextmanager
    async def aopen(self, wishes: Wishes) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
        """Open a client for as long as the block lasts."""
        import aiohttp
        from aiohttp_retry import ExponentialRetry, RetryClient

        timeout = aiohttp.ClientTimeout(total=wishes.deadline or 5)
        connector = aiohttp.TCPConnector(limit=1 if wishes.one_connection else 100)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector, proxy=wishes.proxy) as session,
            RetryClient(client_session=session, retry_options=ExponentialRetry(attempts=ATTEMPTS)) as client,
        ):

            async def call(method: str, url: str, **options: Any) -> Any:
                auth = options.pop("auth", None)
                if auth is not None:
                    options["headers"] = signed(auth, method, url, b"")
                async with client.request(method, url, **options) as response:
                    await response.read()
                    return response

            yield call

    def payload(self, content: Any) -> dict[str, Any]:
        """Name a body."""
        return {"data": content}


OVER_OTHERS = (AiohttpRetry(), Niquests(), Urllib3())
