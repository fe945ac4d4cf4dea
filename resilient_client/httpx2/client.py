# Written by tests/twin.py from resilient_client/client.py: what is to be changed here is changed there.
"""ResilientClient and AsyncResilientClient: httpx2's own clients, whose every transport is resilient."""

from __future__ import annotations

import inspect
import weakref
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

import httpx2

from resilient_client._core import observed_by
from resilient_client._flow.attempt import deadline_seconds
from resilient_client._guard.settings import UNPROTECTED, Protections
from ._httpx2 import HOST, AsyncClientOptions, ClientOptions, quicken, wrap_transports
from ._lean import UNSET, AsyncBound, AuthTypes, Bound, Lean, UseClientDefault
from resilient_client._libraries import refuse_other
from .errors import api_error
from resilient_client.loading import rulebook
from resilient_client.outcome import record_of
from .transport import AsyncResilientTransport, ResilientTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import Unpack

    from resilient_client.clock import Clock
    from resilient_client.observers import Observer
    from resilient_client.policy import Policy

__all__ = ["AsyncResilientClient", "ResilientClient"]


class ResilientOptions(ClientOptions, Protections, total=False):
    """What `ResilientClient` takes beside its own: all of `httpx2.Client`, and the protections."""


class AsyncResilientOptions(AsyncClientOptions, Protections, total=False):
    """The same for tasks."""


def _sorted_out(options: Any) -> tuple[Protections, Any]:
    """Tell the protections from what httpx2 takes. Raises TypeError or ValueError for one that cannot be."""
    names = Protections.__annotations__
    if "park" in options:
        raise TypeError(
            'park is said of a call: extensions={"resilience": {"park": True}}; or of all of them: breaker=BreakerConfig(park=True)'
        )
    protections = Protections(**{name: value for name, value in options.items() if name in names})  # type: ignore[typeddict-item] # by their names
    UNPROTECTED.with_(protections)
    return protections, {name: value for name, value in options.items() if name not in names}


class _ResilientHTTPTransport(ResilientTransport, httpx2.HTTPTransport):
    """What httpx2 makes itself, made resilient: still an `httpx2.HTTPTransport`, for code that asks."""


class _AsyncResilientHTTPTransport(AsyncResilientTransport, httpx2.AsyncHTTPTransport):
    """The same for tasks."""


@contextmanager
def _clear_about_proxies() -> Iterator[None]:
    """Say what to do about a proxy's address that httpx2 cannot use."""
    try:
        yield
    except (ValueError, httpx2.InvalidURL) as error:
        if "proxy" not in str(error).casefold():
            raise
        raise ValueError(
            f"{error}. Nothing was sent. A proxy is given as http://host:port, https://host:port or socks5://host:port, in proxy= "
            "or in the variables HTTP_PROXY, HTTPS_PROXY and ALL_PROXY; trust_env=False ignores the variables."
        ) from error


def _in_memory(response: httpx2.Response) -> bool:
    """Tell whether reading the response's body needs no network."""
    record = record_of(response)
    return record is not None and record.read_whole


def _jar_of(client: httpx2.Client | httpx2.AsyncClient) -> Callable[[httpx2.Request, httpx2.Response], None]:
    # A weak reference: a client that is dropped without being closed must not be kept alive by its own transports.
    reference = weakref.ref(client)

    def keep(request: httpx2.Request, response: httpx2.Response) -> None:
        owner = reference()
        if owner is not None:
            response.request = request
            owner.cookies.extract_cookies(response)

    return keep


class ResilientClient(Lean, httpx2.Client):
    """An `httpx2.Client` that treats every failure as the API's policy says.

    Args:
        policy: a shipped policy's name, a path to a policy file, a `Policy`, or None for the default policy.
        clock: what tells the time and waits; a `VirtualClock` in tests.
        deadline: seconds that one call may take: attempts, waits and the reading of an error's body together.
        raise_for_status: raise an `ApiError` for every response that is an error.
        debug: write every request and response to stderr, secrets hidden.
        observers: who is told of attempts, retries and ends of calls; see `resilient_client.observers`. A transport of
            your own that is resilient already keeps its own observers.
        protections: `budget`, `pace`, `breaker`, `hedge`, `bulkhead`, `shared` and `scope`; see `resilient_client.protection`.
        options: all that `httpx2.Client` takes. Proxies, mounts and a `transport` of your own are made resilient too, and a
            `ResilientTransport` among them keeps its own policy.

    Raises:
        PolicyError: the policy cannot be used; the message says what to do.
        ValueError: the deadline is no number above 0, a protection's number is out of its range or has nothing to keep to, or
            httpx2 cannot use a proxy's address.
        TypeError: an observer has nothing to be told by, or is async; a protection cannot be set to what was given; or a
            transport is one of another library.
    """

    _resilient_over = httpx2.Client

    def __init__(  # noqa: PLR0913 - what a client is made with
        self,
        policy: str | Path | Policy | None = None,
        *,
        clock: Clock | None = None,
        deadline: float | None = None,
        raise_for_status: bool = False,
        debug: bool = False,
        observers: Iterable[Observer] = (),
        **options: Unpack[ResilientOptions],
    ) -> None:
        def wrap(transport: httpx2.BaseTransport) -> httpx2.BaseTransport:
            if isinstance(transport, ResilientTransport):
                self._beneath.append(transport._inner)  # noqa: SLF001 - our own
                return transport
            self._beneath.append(transport)
            kind = (
                _ResilientHTTPTransport if isinstance(transport, httpx2.HTTPTransport) else ResilientTransport
            )
            resilient = kind(rules, transport, clock=clock, deadline=deadline, **protections)
            resilient.core.tell(heard, debug=debug, keep_cookies=jar)
            return resilient

        # First, so that nothing is opened for a policy or a deadline that cannot be used.
        rules: Any = rulebook(policy)  # a transport takes it for the policy that it is
        deadline = deadline_seconds(deadline)
        protections, theirs = _sorted_out(options)
        heard = observed_by(observers, tasks=False)
        self._raise_for_status = raise_for_status
        self._known, self._bare = {}, {}
        self._beneath: list[httpx2.BaseTransport] = []  # what the attempts are sent with
        refuse_other(theirs.get("auth"), HOST.name, "an auth")
        with _clear_about_proxies():
            super().__init__(**theirs)
        jar = _jar_of(self)
        wrap_transports(self, wrap)

    def send(  # noqa: C901 - httpx2's own way, and the short one
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: AuthTypes | UseClientDefault | None = UNSET,
        follow_redirects: bool | UseClientDefault = UNSET,
    ) -> httpx2.Response:
        """Send a request, as `httpx2.Client.send` does.

        Raises:
            ApiError: the client was made with `raise_for_status=True`, and the response is an error.
        """
        if isinstance(request.stream, httpx2.SyncByteStream) and self._goes_straight(request, auth):
            transport = self._transport_for_url(request.url)
            started = perf_counter()
            try:
                response = transport.handle_request(request)
            except httpx2.RequestError as failure:
                failure.request = request
                raise
            stream_of = response.stream
            if not isinstance(stream_of, httpx2.SyncByteStream):
                raise AssertionError  # as httpx2 does
            response.stream = Bound(
                stream_of,
                start=started,
            )
            self._arrived(request, response)
            try:
                if response.has_redirect_location:
                    following = self._redirected(request, response, follow_redirects)
                    if following is not None:
                        response.read()
                        response = self._send_handling_redirects(
                            following, follow_redirects=True, history=[response]
                        )
                if not stream:
                    response.read()
            except BaseException:
                response.close()
                raise
        else:
            response = super().send(request, stream=stream, auth=auth, follow_redirects=follow_redirects)
        if not self._raise_for_status:
            return response
        error = api_error(response)
        if error is None:
            return response
        try:
            if stream and _in_memory(response):
                response.read()
        finally:
            response.close()
        raise error


class AsyncResilientClient(Lean, httpx2.AsyncClient):
    """An `httpx2.AsyncClient`, for asyncio and trio, that treats every failure as the API's policy says.

    See `ResilientClient` for what it takes and raises.
    """

    _resilient_over = httpx2.AsyncClient

    def __init__(  # noqa: PLR0913 - what a client is made with
        self,
        policy: str | Path | Policy | None = None,
        *,
        clock: Clock | None = None,
        deadline: float | None = None,
        raise_for_status: bool = False,
        debug: bool = False,
        observers: Iterable[Observer] = (),
        **options: Unpack[AsyncResilientOptions],
    ) -> None:
        def wrap(transport: httpx2.AsyncBaseTransport) -> httpx2.AsyncBaseTransport:
            if isinstance(transport, AsyncResilientTransport):
                self._beneath.append(transport._inner)  # noqa: SLF001 - our own
                return transport
            self._beneath.append(transport)
            kind = AsyncResilientTransport
            if isinstance(transport, httpx2.AsyncHTTPTransport):
                kind = _AsyncResilientHTTPTransport
                if not any(transport is one for one in given):
                    quicken(transport)
            resilient = kind(rules, transport, clock=clock, deadline=deadline, **protections)
            resilient.core.tell(heard, debug=debug, keep_cookies=jar)
            return resilient

        rules: Any = rulebook(policy)
        deadline = deadline_seconds(deadline)
        protections, theirs = _sorted_out(options)
        given = [theirs.get("transport"), *(theirs.get("mounts") or {}).values()]
        heard = observed_by(observers, tasks=True)
        self._raise_for_status = raise_for_status
        self._known, self._bare = {}, {}
        self._beneath: list[httpx2.AsyncBaseTransport] = []  # what the attempts are sent with
        refuse_other(theirs.get("auth"), HOST.name, "an auth")
        with _clear_about_proxies():
            super().__init__(**theirs)
        jar = _jar_of(self)
        wrap_transports(self, wrap)

    async def send(  # noqa: C901 - as above
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: AuthTypes | UseClientDefault | None = UNSET,
        follow_redirects: bool | UseClientDefault = UNSET,
    ) -> httpx2.Response:
        """Send a request, as `httpx2.AsyncClient.send` does. See `ResilientClient.send`."""
        if isinstance(request.stream, httpx2.AsyncByteStream) and self._goes_straight(request, auth):
            transport = self._transport_for_url(request.url)
            started = perf_counter()
            try:
                response = await transport.handle_async_request(request)
            except httpx2.RequestError as failure:
                failure.request = request
                raise
            stream_of = response.stream
            if not isinstance(stream_of, httpx2.AsyncByteStream):
                raise AssertionError  # as httpx2 does
            response.stream = AsyncBound(
                stream_of,
                start=started,
            )
            self._arrived(request, response)
            try:
                if response.has_redirect_location:
                    following = self._redirected(request, response, follow_redirects)
                    if following is not None:
                        await response.aread()
                        response = await self._send_handling_redirects(
                            following, follow_redirects=True, history=[response]
                        )
                if not stream:
                    await response.aread()
            except BaseException:
                await response.aclose()
                raise
        else:
            response = await super().send(
                request, stream=stream, auth=auth, follow_redirects=follow_redirects
            )
        if not self._raise_for_status:
            return response
        error = api_error(response)
        if error is None:
            return response
        try:
            if stream and _in_memory(response):
                await response.aread()
        finally:
            await response.aclose()
        raise error


class _PolicysOwn:
    """What a protection is set to where no keyword names it."""

    def __repr__(self) -> str:
        return "<as the policy says>"


def _show(ours: Any, theirs: Any) -> None:
    """Let help(), and editors that look at run time, see the protections and httpx2's parameters after ours."""
    own = list(inspect.signature(ours).parameters.values())[:-1]
    protections = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_PolicysOwn(), annotation=kind)
        for name, kind in Protections.__annotations__.items()
    ]
    httpx_own = list(inspect.signature(theirs).parameters.values())[1:]
    ours.__signature__ = inspect.Signature([*own, *protections, *httpx_own])


_show(ResilientClient.__init__, httpx2.Client.__init__)
_show(AsyncResilientClient.__init__, httpx2.AsyncClient.__init__)
