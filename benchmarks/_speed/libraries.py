"""The libraries under comparison: how each makes a client, and how that client gets a URL.

Law of this file: each is set up as its own documentation says, with five attempts. A wish changes what a library has a setting for, and
nothing else. None is imported before it is asked for.
"""
# ruff: noqa: PLC0415 - see above: no environment must hold all of them

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LIBRARIES", "Library", "Transport", "Wishes"]

ATTEMPTS = 5
RETRIES = ATTEMPTS - 1


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a row wants of a client, over what its documentation sets."""

    tasks: bool = False  # an async client
    wire: Callable[[Any, bool], Any] | None = None  # to send through, in memory; None: the network
    wait: float | None = None  # seconds before each retry; None: as documented

    def transport(self, http: Any) -> dict[str, Any]:
        """Say in a library's own words what to send through: httpx's, or httpx2's."""
        return {} if self.wire is None else {"transport": self.wire(http, self.tasks)}

    def handler(self, transport: Any) -> Callable[[Any], Any]:
        """Give what a client sends a request with."""
        handler: Callable[[Any], Any] = (
            transport.handle_async_request if self.tasks else transport.handle_request
        )
        return handler


class Library(ABC):
    """A library under comparison."""

    name: str
    needs: tuple[str, ...]  # distributions
    setup: str  # of the client, as it is written by users
    threads = True
    tasks = True
    memory = True  # it takes a transport, and so can be measured without a network
    retries = True

    @property
    def installed(self) -> bool:
        """Tell whether this environment has it."""
        try:
            self.versions()
        except importlib.metadata.PackageNotFoundError:
            return False
        return True

    def versions(self) -> dict[str, str]:
        """Give the versions of what it needs."""
        return {name: importlib.metadata.version(name) for name in self.needs}

    @abstractmethod
    def client(self, wishes: Wishes) -> Any:
        """Make a client, which is a context manager."""

    def get(self, client: Any, _wishes: Wishes) -> Callable[[str], Any]:
        """Give what gets a URL and reads its body."""
        get: Callable[[str], Any] = client.get
        return get


class Transport(Library):
    """A library that is a transport, in a client of httpx's."""

    @abstractmethod
    def transport(self, wishes: Wishes) -> Any:
        """Make the transport."""

    def client(self, wishes: Wishes) -> Any:
        """Put the transport into httpx's client."""
        return _httpx(wishes, transport=self.transport(wishes))


def _httpx(wishes: Wishes, **options: Any) -> Any:
    import httpx

    return (httpx.AsyncClient if wishes.tasks else httpx.Client)(**options)


class Httpx(Library):
    """No library at all."""

    name = "httpx"
    needs = ("httpx", "httpcore", "anyio")
    setup = "httpx.Client()"
    retries = False

    def client(self, wishes: Wishes) -> Any:
        """Make httpx's own client."""
        import httpx

        return _httpx(wishes, **wishes.transport(httpx))


class Wire(Transport):
    """Nothing but what the others send through, in memory."""

    name = "the transport in memory"
    needs = ("httpx",)
    setup = "httpx.Client(transport=…)"
    retries = False

    def transport(self, wishes: Wishes) -> Any:
        """Make the wire."""
        import httpx

        return wishes.transport(httpx)["transport"]


class Ours(Library):
    """The library that is compared with the others."""

    name = "resilient-client"
    needs = ("resilient-client",)
    setup = "ResilientClient()"

    def client(self, wishes: Wishes) -> Any:
        """Make a client of this library."""
        import httpx

        import resilient_client

        return self.made(resilient_client, httpx, wishes)

    def made(self, package: Any, http: Any, wishes: Wishes) -> Any:
        """Make the client of a package, over the library that it is for."""
        kind = package.AsyncResilientClient if wishes.tasks else package.ResilientClient
        return kind(**self.options(wishes), **wishes.transport(http))

    @staticmethod
    def options(wishes: Wishes) -> dict[str, Any]:
        """Name the policy and the budget: nothing, or the policy `default` with another wait, and a budget that never runs dry."""
        from resilient_client import Policy
        from resilient_client.protection import BudgetConfig

        if wishes.wait is None:
            return {}
        down = {
            "name": "SERVICE_UNAVAILABLE",
            "when": {"status": 503},
            "category": "upstream",
            "cause": "The server cannot handle the request for now.",
            "remedy": "Try again later.",
            "retry": {"schedule": [wishes.wait] * RETRIES},
        }
        policy = Policy.model_validate({"api": "measured", "extends": "default", "rules": [down]})
        # Nothing but failing calls is what a budget is there to end. Here it counts, and grants.
        return {"policy": policy, "budget": BudgetConfig(capacity=10**9, min_blind=10**9)}


class OverHttpx2(Ours):
    """The client of this library that is httpx2's."""

    name = "resilient-client over httpx2"
    needs = ("resilient-client", "httpx2", "httpcore2")
    setup = "resilient_client.httpx2.ResilientClient()"

    def client(self, wishes: Wishes) -> Any:
        """Make a client of the other package."""
        import httpx2

        import resilient_client.httpx2

        return self.made(resilient_client.httpx2, httpx2, wishes)


class OurTransport(Transport):
    """The transport of this library in httpx's own client."""

    name = "ResilientTransport"
    needs = ("resilient-client",)
    setup = "httpx.Client(transport=ResilientTransport())"

    def transport(self, wishes: Wishes) -> Any:
        """Make the transport."""
        import httpx

        from resilient_client import AsyncResilientTransport, ResilientTransport

        kind: Any = AsyncResilientTransport if wishes.tasks else ResilientTransport
        return kind(**Ours.options(wishes), **wishes.transport(httpx))


class OnAiohttp(Ours):
    """The client of this library over aiohttp, through httpx-aiohttp."""

    name = "resilient-client, aiohttp engine"
    needs = ("resilient-client", "httpx-aiohttp", "aiohttp")
    setup = "AsyncResilientClient(transport=AiohttpTransport())"
    threads = False
    memory = False

    def client(self, wishes: Wishes) -> Any:
        """Give the engine to the client."""
        from httpx_aiohttp import AiohttpTransport

        from resilient_client import AsyncResilientClient

        return AsyncResilientClient(transport=AiohttpTransport(), **self.options(wishes))


class HttpxAiohttp(Transport):
    """The engine alone, in httpx's own client."""

    name = "httpx-aiohttp"
    needs = ("httpx-aiohttp", "aiohttp")
    setup = "httpx.AsyncClient(transport=AiohttpTransport())"
    threads = False
    memory = False
    retries = False

    def transport(self, _wishes: Wishes) -> Any:
        """Make the engine."""
        from httpx_aiohttp import AiohttpTransport

        return AiohttpTransport()


class Httpx2(Library):
    """What goes by the name of httpx2."""

    name = "httpx2"
    needs = ("httpx2", "httpcore2")
    setup = "httpx2.Client()"
    retries = False

    def client(self, wishes: Wishes) -> Any:
        """Make its client."""
        import httpx2

        return (httpx2.AsyncClient if wishes.tasks else httpx2.Client)(**wishes.transport(httpx2))


class HttpxRetries(Transport):
    """A transport that retries."""

    name = "httpx-retries"
    needs = ("httpx-retries",)
    setup = "httpx.Client(transport=RetryTransport(retry=Retry(total=4, backoff_factor=0.5)))"

    def transport(self, wishes: Wishes) -> Any:
        """Make its transport."""
        import httpx
        from httpx_retries import Retry, RetryTransport

        factor = 0.5 if wishes.wait is None else wishes.wait
        most = {"max_backoff_wait": wishes.wait, "backoff_jitter": 0} if wishes.wait else {}
        retry = Retry(total=RETRIES, backoff_factor=factor, **most)
        return RetryTransport(retry=retry, **wishes.transport(httpx))


class HttpxTenacity(Transport):
    """Two transports, around tenacity."""

    name = "httpx-tenacity"
    needs = ("httpx-tenacity", "tenacity")
    setup = "httpx.Client(transport=TenaciousTransport.create(max_attempts=5))"

    def transport(self, wishes: Wishes) -> Any:
        """Make its transport."""
        import httpx
        from httpx_tenacity import AsyncTenaciousTransport, TenaciousTransport

        kind: Any = AsyncTenaciousTransport if wishes.tasks else TenaciousTransport
        waits = {}
        if wishes.wait is not None:
            waits = {
                "multiplier": wishes.wait,
                "min_wait_seconds": wishes.wait,
                "max_wait_seconds": wishes.wait,
            }
        return kind.create(max_attempts=ATTEMPTS, **waits, **wishes.transport(httpx))


class Stamina(Httpx):
    """A decorator around the call: an error status has to be raised for it."""

    name = "stamina"
    needs = ("stamina", "tenacity")
    setup = "@stamina.retry(on=httpx.HTTPError, attempts=5)"
    retries = True

    def get(self, client: Any, wishes: Wishes) -> Callable[[str], Any]:
        """Decorate the call."""
        import httpx
        import stamina

        waits: dict[str, Any] = {}
        if wishes.wait is not None:
            waits = {
                "wait_initial": wishes.wait,
                "wait_max": wishes.wait,
                "wait_jitter": 0,
                "wait_exp_base": 1,
                "timeout": None,
            }
        retry = stamina.retry(on=httpx.HTTPError, attempts=ATTEMPTS, **waits)

        def get(url: str) -> Any:
            return client.get(url).raise_for_status()

        async def aget(url: str) -> Any:
            return (await client.get(url)).raise_for_status()

        decorated: Callable[[str], Any] = retry(aget if wishes.tasks else get)
        return decorated


class Urllib3(Library):
    """Its own pool, with its own `Retry`."""

    name = "urllib3"
    needs = ("urllib3",)
    setup = "PoolManager(retries=Retry(total=4, backoff_factor=0.5, status_forcelist=[503]))"
    tasks = False
    memory = False

    def client(self, wishes: Wishes) -> Any:
        """Make a pool."""
        import urllib3

        factor = 0.5 if wishes.wait is None else wishes.wait
        return urllib3.PoolManager(
            retries=urllib3.Retry(total=RETRIES, backoff_factor=factor, status_forcelist=[503])
        )

    def get(self, client: Any, _wishes: Wishes) -> Callable[[str], Any]:
        """Get by name of the method."""
        return partial(client.request, "GET")


class Aiohttp(Library):
    """What is fast."""

    name = "aiohttp"
    needs = ("aiohttp",)
    setup = "aiohttp.ClientSession()"
    threads = False
    memory = False
    retries = False

    def client(self, _wishes: Wishes) -> Any:
        """Make a session."""
        import aiohttp

        return aiohttp.ClientSession()

    def get(self, client: Any, _wishes: Wishes) -> Callable[[str], Any]:
        """Get, and read."""

        async def get(url: str) -> Any:
            async with client.get(url) as response:
                await response.read()
                return response

        return get


class AiohttpRetry(Aiohttp):
    """A client around aiohttp's."""

    name = "aiohttp-retry"
    needs = ("aiohttp-retry", "aiohttp")
    setup = "RetryClient(retry_options=ExponentialRetry(attempts=5))"
    retries = True

    def client(self, wishes: Wishes) -> Any:
        """Make a session that retries."""
        from aiohttp_retry import ExponentialRetry, RetryClient

        waits = {} if wishes.wait is None else {"start_timeout": wishes.wait, "max_timeout": wishes.wait}
        return RetryClient(retry_options=ExponentialRetry(attempts=ATTEMPTS, **waits))


LIBRARIES: dict[str, Library] = {
    each.name: each
    for each in (
        Ours(),
        OurTransport(),
        OnAiohttp(),
        OverHttpx2(),
        Wire(),
        Httpx(),
        Httpx2(),
        HttpxRetries(),
        HttpxTenacity(),
        Stamina(),
        HttpxAiohttp(),
        AiohttpRetry(),
        Aiohttp(),
        Urllib3(),
    )
}
