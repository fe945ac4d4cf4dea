"""Engines that are not httpx's own: what they need so that what this library promises holds over them.

A deadline that an engine does not know of is kept from outside. httpx-aiohttp 0.2, and aiohttp beneath it, moreover send some requests
twice by themselves, keep cookies of their own, rewrite addresses, know no write timeout, call most errors a ConnectTimeout and let
some through that are none of httpx's. Over a session that is made here they do not.

Law of this file: it uses public names only, and imports aiohttp when a session is made, not before.
"""

from __future__ import annotations

import base64
import math
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from ._deadline import Shrinking, time_left
from ._keeping import Keeping

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession

__all__ = ["aiohttp_session"]

_HEAD_LIMIT = 100 * 1024  # bytes of one header; httpx takes as many for all of them
_PIECE = 64 * 1024  # bytes; a body that is no longer is taken over by the kernel at once
_MARGIN = 0.1  # seconds before a deadline at which connecting ends, so that it is known that nothing was sent
_ROUNDED = 5.0  # seconds; aiohttp rounds what is longer up to a whole second

# The path and the query that httpx asks for, as it wrote them.
_TARGET: ContextVar[str | None] = ContextVar("target", default=None)


def aiohttp_session(**options: Any) -> ClientSession:
    """Make an `aiohttp.ClientSession` for an `httpx_aiohttp.AiohttpTransport` that is to have one with options of its own.

    It sends a request once, to the address that httpx wrote, leaves cookies to httpx, adds no headers, takes headers of up to 100 KiB
    and raises httpx's exceptions. `options` are those of `aiohttp.ClientSession`, and go before all of that. To be called in a loop:

        AiohttpTransport(client=lambda: aiohttp_session(connector=aiohttp.TCPConnector(limit=0)))

    A resilient transport around an `AiohttpTransport` without a `client` sees to it by itself.
    """
    from aiohttp import ClientSession, DummyCookieJar  # noqa: PLC0415 - they come with the extra `aiohttp`

    ours: dict[str, Any] = {
        "cookie_jar": DummyCookieJar(),
        "skip_auto_headers": ("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        "max_field_size": _HEAD_LIMIT,
    }
    middlewares = (_once, *options.pop("middlewares", ()))
    return ClientSession(**(ours | options), middlewares=middlewares)


def over_aiohttp(transport: Any) -> httpx.AsyncBaseTransport:
    """Give what sends with an `AiohttpTransport` as this library promises."""
    if transport.client is None:
        transport.client = partial(_session_of, transport)
    return _Aiohttp(transport)


# ---------------------------------------------------------------------------------------------------- aiohttp


class _Aiohttp(Keeping):
    """An `AiohttpTransport`, given requests in the form that it sends as they are."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        if inner.proxy is not None:
            inner.proxy = _all_in_headers(inner.proxy)
        self._to_proxy = httpx.Headers() if inner.proxy is None else inner.proxy.headers

    async def _send(self, request: httpx.Request) -> httpx.Response:
        fitted = _fitted(request, self._to_proxy)
        token = _TARGET.set(fitted.url.raw_path.decode("ascii"))
        try:
            if not isinstance(fitted.stream, _Upload):
                return await self._inner.handle_async_request(fitted)
            with fitted.stream.scope:
                return await self._inner.handle_async_request(fitted)
            raise httpx.WriteTimeout("the server did not take the request's body in time")
        finally:
            _TARGET.reset(token)


def _all_in_headers(proxy: httpx.Proxy | httpx.URL | str) -> httpx.Proxy:
    """Tell a proxy's name and password as aiohttp 4 will want to be told; an address alone will do, as it does for httpx."""
    if not isinstance(proxy, httpx.Proxy):
        proxy = httpx.Proxy(proxy)
    if proxy.auth is None:
        return proxy
    secret = base64.b64encode(":".join(proxy.auth).encode()).decode()
    headers = {**proxy.headers, "Proxy-Authorization": f"Basic {secret}"}
    return httpx.Proxy(proxy.url, headers=headers, ssl_context=proxy.ssl_context)


def _fitted(request: httpx.Request, to_proxy: httpx.Headers) -> httpx.Request:
    """Make of a request one that httpx-aiohttp 0.2 sends as httpx would.

    It takes the body of a redirected request for one of unknown length, even where there is none; sends a body that says both its length
    and that it comes in chunks as both; refuses an address with a name and a password in it, which httpx has made a header of by then;
    reads the timeouts once, so that those of a call under a deadline would bound the body of its success, too; and tells a proxy's headers
    (`to_proxy`) to no proxy but that of a tunnel.
    """
    headers, stream = request.headers, request.stream
    is_chunked = "transfer-encoding" in headers
    if isinstance(stream, httpx.ByteStream):
        content = request.read()
        if len(content) > _PIECE:
            stream = _Upload(_cut(content), request)
    elif is_chunked or "content-length" in headers:
        stream = _Upload(stream, request)  # type: ignore[arg-type]  # async, or httpx had refused it
    else:
        stream = httpx.ByteStream(b"")  # RFC 9112 6.3: neither header, no body
    extensions, url = request.extensions, request.url
    timeouts = extensions.get("timeout")
    is_told = bool(to_proxy) and url.scheme == "http"
    if isinstance(timeouts, Shrinking):
        extensions = {**extensions, "timeout": _of_a_deadline(timeouts)}
    elif stream is request.stream and not is_chunked and not url.userinfo and not is_told:
        return request
    if is_told:
        headers = httpx.Headers(to_proxy)
        headers.update(request.headers)
    if url.userinfo:
        url = url.copy_with(userinfo=b"")
    fitted = httpx.Request(request.method, url, headers=headers, stream=stream, extensions=extensions)
    if isinstance(stream, httpx.ByteStream):
        fitted.read()
        fitted.headers.pop("transfer-encoding", None)
    return fitted


def _of_a_deadline(timeouts: Shrinking) -> dict[str, float | None]:
    """Give the timeouts that aiohttp is to keep where the deadline is kept from outside: connecting ends a moment before it does."""
    given, left = dict(timeouts.given), time_left()
    if left is not None:
        left -= min(_MARGIN if left <= _ROUNDED else _MARGIN + 1, left / 5)
        for name in ("connect", "pool"):
            own = given.get(name)
            given[name] = left if own is None else min(own, left)
    return given


async def _cut(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _PIECE):
        yield content[start : start + _PIECE]


class _Upload(httpx.AsyncByteStream):
    """A body each piece of which the server has to take within the write timeout; whoever makes the pieces may take longer."""

    def __init__(self, pieces: AsyncIterable[bytes], request: httpx.Request) -> None:
        self._pieces = pieces
        self._timeouts = request.extensions.get("timeout", {})
        self.scope = anyio.CancelScope()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            most = self._timeouts.get("write")
            if most is not None:
                self.scope.deadline = anyio.current_time() + most
            yield piece
            self.scope.deadline = math.inf


def _session_of(transport: Any) -> ClientSession:
    """Make the session that an `AiohttpTransport` without one would make, but one of ours."""
    transport.client = None
    theirs = transport.get_client()
    connector = theirs.connector
    theirs.detach()
    return aiohttp_session(connector=connector)


async def _once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Send what httpx asked for, and raise what httpx would: aiohttp does not send again for an exception that it does not know."""
    target = _TARGET.get()
    if target is not None and request.url.raw_path_qs != target:
        request.url = type(request.url)(f"{request.url.origin()}{target}", encoded=True)
    try:
        return await handler(request)
    except Exception as error:
        failure = _in_httpx_terms(error)
        if failure is None:
            raise
    raise failure


def _in_httpx_terms(error: Exception) -> Exception | None:
    """Name an error as httpx would; None where there is nothing to name.

    The text is aiohttp's where that does not hold the address: its query can hold secrets.
    """
    import aiohttp  # noqa: PLC0415 - as above

    cause = error.__cause__
    match error:
        case aiohttp.ConnectionTimeoutError():
            failure: Exception = httpx.ConnectTimeout("no connection was made, or was free, in time")
        case TimeoutError():
            failure = httpx.ReadTimeout(str(error))
        case aiohttp.ClientConnectorError() | aiohttp.ServerFingerprintMismatch():
            failure = httpx.ConnectError(str(error))
        case aiohttp.ServerDisconnectedError():
            failure = httpx.RemoteProtocolError("the server disconnected before its answer was there")
        case aiohttp.ClientHttpProxyError():
            failure = httpx.ProxyError(f"{error.status} {error.message}")
        case aiohttp.ClientResponseError():
            failure = httpx.RemoteProtocolError(error.message)
        case aiohttp.ClientConnectionError() if isinstance(cause, Exception) and not isinstance(
            cause, OSError | aiohttp.ClientError
        ):
            return cause  # raised by what makes the request's body
        case aiohttp.ClientConnectionError() | OSError():
            failure = httpx.ReadError(str(error))
        case ValueError():
            failure = httpx.LocalProtocolError(str(error))  # a header that cannot be written
        case _:
            return None
    failure.__cause__ = cause
    return failure
