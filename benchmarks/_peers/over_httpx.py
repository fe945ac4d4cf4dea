"""The library itself, httpx alone, and the libraries that work over httpx, each set up as its own documentation recommends."""
# ruff: noqa: PLC0415 - a library is imported where it is measured: no environment must hold all of them

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from .clients import ATTEMPTS, RETRIES, HttpxPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clients import Session, Wishes

__all__ = ["OVER_HTTPX"]


class ResilientClient(HttpxPeer):
    """The library that is compared with its peers."""

    name = "resilient-client"
    setup = "ResilientClient()"
    deadline = "ResilientClient(deadline=…)"
    source = "README.md"

    def client(self, make: type[Any], wishes: Wishes) -> Any:
        """Make a client, for the policy that a scenario names."""
        import resilient_client

        ours: Any = (
            resilient_client.ResilientClient
            if make is httpx.Client
            else resilient_client.AsyncResilientClient
        )
        return ours(wishes.policy, deadline=wishes.deadline, **self.plain(wishes))

    def history(self, _session: Session, response: Any) -> str:
        """Ask the outcome."""
        from resilient_client import outcome_of

        return f"{len(outcome_of(response).attempts)} attempts: status, error, meaning, wait and time of each"


class Httpx(HttpxPeer):
    """No library at all."""

    name = "httpx"
    setup = "httpx.Client()"
    deadline = "Client(timeout=…)"
    source = "https://www.python-httpx.org/"


class HttpxRetries(HttpxPeer):
    """A transport, for sync and async alike."""

    name = "httpx-retries"
    setup = "httpx.Client(transport=RetryTransport(retry=Retry(total=4, backoff_factor=0.5)))"
    deadline = "Retry(total_timeout=…), Client(timeout=…)"
    source = "https://will-ockmore.github.io/httpx-retries/"

    def client(self, make: type[Any], wishes: Wishes) -> Any:
        """Put its transport into httpx's client; limits are the inner transport's, says its FAQ."""
        from httpx_retries import Retry, RetryTransport

        options = self.plain(wishes)
        inner = options.pop("transport", None)
        if "limits" in options:
            transport = httpx.HTTPTransport if make is httpx.Client else httpx.AsyncHTTPTransport
            inner = transport(limits=options.pop("limits"))
        retry = Retry(total=RETRIES, backoff_factor=0.5, total_timeout=wishes.deadline)
        return make(transport=RetryTransport(transport=inner, retry=retry), **options)

    def history(self, _session: Session, response: Any) -> str:
        """Ask the response's extension."""
        return f"{response.extensions['retry'].attempts_made + 1} attempts: their number"


class HttpxTenacity(HttpxPeer):
    """Two transports, around tenacity."""

    name = "httpx-tenacity"
    beside = ("tenacity",)
    setup = "httpx.Client(transport=TenaciousTransport.create(max_attempts=5))"
    deadline = "Client(timeout=…)"
    source = "https://midnighter.github.io/httpx-tenacity/"

    def client(self, make: type[Any], wishes: Wishes) -> Any:
        """Put its transport into httpx's client; limits are its own argument, says its tutorial."""
        from httpx_tenacity import AsyncTenaciousTransport, TenaciousTransport

        options = self.plain(wishes)
        inner = {name: options.pop(name) for name in ("transport", "limits") if name in options}
        kind: Any = TenaciousTransport if make is httpx.Client else AsyncTenaciousTransport
        return make(transport=kind.create(max_attempts=ATTEMPTS, **inner), **options)


class Clientwright(HttpxPeer):
    """A builder of httpx's own clients."""

    name = "clientwright"
    setup = 'build_sync("httpx", ClientConfig(service_name="peer", retry=RetryConfig(max_attempts=5)))'
    deadline = "TimeoutConfig(total=…)"
    source = "https://bedrock-python.github.io/clientwright/"

    def client(self, make: type[Any], wishes: Wishes) -> Any:
        """Build a client from a configuration."""
        import clientwright

        config = clientwright.ClientConfig(
            service_name="peer",
            retry=clientwright.RetryConfig(max_attempts=ATTEMPTS),
            timeout=clientwright.TimeoutConfig(total=wishes.deadline or 30.0, pool_acquire=1.0),
            pool=clientwright.PoolConfig(max_connections=1 if wishes.one_connection else 100),
            proxy=clientwright.ProxyConfig(url=wishes.proxy) if wishes.proxy else None,
        )
        build = clientwright.build_sync if make is httpx.Client else clientwright.build
        client = build("httpx", config)
        if wishes.transport is not None:  # it takes none, so its own is exchanged
            client._transport._inner = wishes.transport  # noqa: SLF001 - as said
        return client


class Tenacity(HttpxPeer):
    """A decorator; its own documentation leaves what to retry to its user."""

    name = "tenacity"
    setup = (
        "@retry(stop=stop_after_attempt(5), wait=wait_random_exponential(multiplier=1, max=60), "
        "retry=retry_if_exception_type(httpx.HTTPError))"
    )
    deadline = "stop_after_delay(…), Client(timeout=…)"
    source = "https://tenacity.readthedocs.io/"
    raises = True

    def around(self, call: Callable[..., Any], wishes: Wishes) -> Callable[..., Any]:
        """Decorate the call."""
        import tenacity

        return tenacity.retry(
            stop=self.stop(wishes),
            wait=tenacity.wait_random_exponential(multiplier=1, max=60),
            retry=tenacity.retry_if_exception_type(httpx.HTTPError),
        )(call)

    @staticmethod
    def stop(wishes: Wishes) -> Any:
        """Say when to stop."""
        import tenacity

        stop = tenacity.stop_after_attempt(ATTEMPTS)
        if wishes.deadline is None:
            return stop
        return tenacity.stop_any(stop, tenacity.stop_after_delay(wishes.deadline))

    def history(self, session: Session, _response: Any) -> str:
        """Ask the decorated function."""
        counted = session.call.statistics["attempt_number"]  # type: ignore[attr-defined]  # of what it decorates
        return f"{counted} attempts: their number, and the time waited, of the function's last call"


class Retryhttp(Tenacity):
    """The same with HTTP's errors known."""

    name = "retryhttp"
    beside = ("tenacity",)
    setup = "@retryhttp.retry(max_attempt_number=5)"
    deadline = "retry(stop=stop_after_delay(…)), Client(timeout=…)"
    source = "https://retryhttp.readthedocs.io/"

    def around(self, call: Callable[..., Any], wishes: Wishes) -> Callable[..., Any]:
        """Decorate the call."""
        import retryhttp

        return retryhttp.retry(stop=self.stop(wishes))(call)


class Stamina(HttpxPeer):
    """A decorator with good habits."""

    name = "stamina"
    beside = ("tenacity",)
    setup = "@stamina.retry(on=httpx.HTTPError, attempts=5)"
    deadline = "stamina.retry(timeout=…), Client(timeout=…)"
    source = "https://stamina.hynek.me/"
    raises = True

    def around(self, call: Callable[..., Any], wishes: Wishes) -> Callable[..., Any]:
        """Decorate the call."""
        import stamina

        limit = {} if wishes.deadline is None else {"timeout": wishes.deadline}
        return stamina.retry(on=httpx.HTTPError, attempts=ATTEMPTS, **limit)(call)


class Hyx(HttpxPeer):
    """Decorators, for asyncio; its `attempts` are the retries."""

    name = "hyx"
    kinds = ("asyncio", "trio")
    setup = "@hyx.retry.retry(on=httpx.HTTPError, attempts=4, backoff=expo())"
    deadline = "@hyx.timeout.timeout(…)"
    source = "https://hyx.readthedocs.io/"
    raises = True

    def around(self, call: Callable[..., Any], wishes: Wishes) -> Callable[..., Any]:
        """Decorate the call."""
        from hyx.retry import retry
        from hyx.retry.backoffs import expo
        from hyx.timeout import timeout

        retrying = retry(on=httpx.HTTPError, attempts=RETRIES, backoff=expo())(call)
        return retrying if wishes.deadline is None else timeout(wishes.deadline)(retrying)


OVER_HTTPX = (
    ResilientClient(),
    Httpx(),
    Clientwright(),
    HttpxRetries(),
    HttpxTenacity(),
    Hyx(),
    Retryhttp(),
    Stamina(),
    Tenacity(),
)
