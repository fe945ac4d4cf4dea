# Written by tests/twin.py from resilient_client/_httpx.py: what is to be changed here is changed there.
"""All that depends on how httpx2 is built: its private names, its requests, its pools.

Law of this file: a private name of httpx2 stands here or nowhere, and `tests/test_httpx_names.py` pins each of them. The
rest sees httpx2 only through `HOST`.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypedDict

import httpx2

from ._bodies import BYTES, AsyncKept, FromPosition, Kept
from resilient_client._decode import inflate
from resilient_client._raised import refusal

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from httpx2._types import (
        AuthTypes,
        CertTypes,
        CookieTypes,
        HeaderTypes,
        ProxyTypes,
        QueryParamTypes,
        TimeoutTypes,
    )

    from resilient_client._flow.attempt import Call

    Encoding = str | Callable[[bytes], str | None]


class _Options(TypedDict, total=False):
    auth: AuthTypes | None
    params: QueryParamTypes | None
    headers: HeaderTypes | None
    cookies: CookieTypes | None
    verify: ssl.SSLContext | str | bool
    cert: CertTypes | None
    trust_env: bool
    http1: bool
    http2: bool
    proxy: ProxyTypes | None
    timeout: TimeoutTypes
    follow_redirects: bool
    limits: httpx2.Limits
    max_redirects: int
    event_hooks: Mapping[str, list[Callable[..., Any]]] | None
    base_url: httpx2.URL | str
    default_encoding: Encoding


class ClientOptions(_Options, total=False):
    """All that `httpx2.Client` takes; a test compares."""

    mounts: Mapping[str, httpx2.BaseTransport | None] | None
    transport: httpx2.BaseTransport | None


class AsyncClientOptions(_Options, total=False):
    """All that `httpx2.AsyncClient` takes; a test compares."""

    mounts: Mapping[str, httpx2.AsyncBaseTransport | None] | None
    transport: httpx2.AsyncBaseTransport | None


__all__ = [
    "HOST",
    "AsyncClientOptions",
    "ClientOptions",
    "bound_reads",
    "engines_of",
    "quicken",
    "wrap_transports",
]


def _position(file: Any) -> int | None:
    """Tell where a file stands, None for one that cannot be set back there."""
    try:
        if hasattr(file, "seekable") and not file.seekable():
            return None
        position = int(file.tell())
        file.seek(position)
    except Exception:  # noqa: BLE001 - whatever a file-like object raises, it cannot be rewound
        return None
    return position


def _rewinds(file: Any) -> bool:
    return file is None or isinstance(file, str | bytes) or _position(file) is not None


class Httpx2:
    """What the rest needs from httpx2; see `_http.Library`."""

    name = "httpx2"
    Request = httpx2.Request
    Response = httpx2.Response
    TransportError = httpx2.TransportError
    ByteStream = BYTES
    Kept = Kept
    AsyncKept = AsyncKept

    # Gives a URL's parts as it keeps them: scheme, userinfo, host, port, … Its own properties decode the host each time they are asked.
    parts_of = staticmethod(attrgetter("_uri_reference"))

    def origin_of(self, url: httpx2.URL) -> tuple[str, str, int | None]:
        """Give scheme, host and port of an address."""
        scheme, _, host, port, *_ = self.parts_of(url)
        return scheme, host, port

    def replay(self, request: httpx2.Request) -> Any:
        """Give the stream that puts the same body on the wire once more; None where that cannot be had.

        httpx2's own streams for bytes, json and data iterate as often as they are asked; so does a request without a body
        (no Content-Length and no Transfer-Encoding), whatever its stream is. Files can be had again where they can seek.
        """
        stream = request.stream
        if type(stream) is httpx2.ByteStream:
            return stream
        headers = request.headers
        if "content-length" not in headers and "transfer-encoding" not in headers:
            return stream
        fields = getattr(stream, "fields", None)
        if fields is not None and type(stream).__module__.startswith(
            "httpx2."
        ):  # multipart: rewinds its files itself
            return stream if all(_rewinds(getattr(field, "file", None)) for field in fields) else None
        file = getattr(stream, "_stream", None)
        if type(stream).__module__.startswith("httpx2.") and hasattr(file, "read"):
            position = _position(file)
            return None if position is None else FromPosition(file, position)
        return None

    def body_of(self, request: httpx2.Request) -> bytes | None:
        """Give the body where it is bytes in memory, None otherwise."""
        stream = request.stream
        return b"".join(stream) if type(stream) is httpx2.ByteStream else None

    def again(self, request: httpx2.Request, stream: Any, body: bytes | None = None) -> httpx2.Request:
        """Make a new request with this stream, or with these bytes as its body. The first one is left as it was sent."""
        if body is not None:
            stream = httpx2.ByteStream(body)
        again = httpx2.Request(
            request.method, request.url, headers=request.headers, stream=stream, extensions=request.extensions
        )
        if body is not None:
            again.headers.pop("Transfer-Encoding", None)
            again.headers["Content-Length"] = str(len(body))
        if type(again.stream) is httpx2.ByteStream:
            again.read()  # as httpx2's own requests are: a transport may ask for `.content`
        return again

    def decoded(self, response: httpx2.Response, content: bytes, limit: int) -> bytes | None:
        """Undo the Content-Encoding of an error's body; None where it cannot be, or would grow past the limit."""
        if not any(name.lower() == b"content-encoding" for name, _ in response.headers.raw):
            return content
        return inflate(content, response.headers["Content-Encoding"], limit)

    def with_cookies(self, response: httpx2.Response, lines: tuple[bytes, ...]) -> None:
        """Put the Set-Cookie lines of earlier responses before the response's own, so that its own win."""
        own = {value for name, value in response.headers.raw if name.lower() == b"set-cookie"}
        missing = [(b"Set-Cookie", line) for line in dict.fromkeys(lines) if line not in own]
        response.headers = httpx2.Headers([*missing, *response.headers.raw])

    def content_of(self, response: httpx2.Response) -> bytes | None:
        """Give a response's body, decoded; None where it has not been read."""
        try:
            return response.content
        except httpx2.ResponseNotRead:
            return None

    def late(self) -> Exception:
        """Make the error of whoever reads on where the deadline has passed."""
        return httpx2.ReadTimeout("the call's deadline passed while the body of its error was being read")

    def error_of(self, response: httpx2.Response, problem: str = "") -> Exception | None:
        """Make the error that a response means, None where it means none; `problem` replaces its text, and makes one of any."""
        from .errors import api_error  # noqa: PLC0415 - it builds on this file

        return api_error(response, problem=problem)

    def refused(self, call: Call, kind: str, retry_in: float) -> Exception:
        """Make the exception of a call that a protection does not let through."""
        from . import errors  # noqa: PLC0415 - it builds on this file

        refused: Exception = refusal(errors, call, kind, retry_in)
        return refused


HOST = Httpx2()


def quicken(transport: httpx2.AsyncHTTPTransport) -> httpx2.AsyncHTTPTransport:
    """Give a transport of httpx2's, which nobody else has seen, a pool and a network that do not slow down in a crowd.

    A proxy's pool, and one for HTTP/2, are left as they are. httpx2 has no public way to a transport's pool.
    """
    import httpcore2  # noqa: PLC0415 - the transport has loaded it

    from resilient_client._pool import TaskPool  # noqa: PLC0415 - only who opens connections in tasks pays for it
    from ._sockets import LoopNetwork  # noqa: PLC0415 - as above

    pool = transport._pool  # noqa: SLF001
    if type(pool) is httpcore2.AsyncConnectionPool and not pool._http2:  # noqa: SLF001
        pool._network_backend = LoopNetwork(pool._network_backend)  # noqa: SLF001
        most, most_idle = pool._max_connections, pool._max_keepalive_connections  # noqa: SLF001
        transport._pool = TaskPool(pool, most, most_idle, httpcore2.PoolTimeout)  # type: ignore[assignment]  # noqa: SLF001 - it stands in for it
    return transport


def bound_reads(transport: object) -> None:
    """Make the connections that httpx2's own transport opens from now on keep a call's deadline in every read.

    httpx2 has no public way to a transport's pool, nor to its network; another transport is left as it is.
    """
    pool = getattr(transport, "_pool", None)
    network = getattr(pool, "_network_backend", None)
    if network is None:
        return
    from ._network import AsyncBounded, Bounded  # noqa: PLC0415 - httpcore2 is loaded by the pool alone

    if isinstance(network, Bounded | AsyncBounded):
        return
    bounded = AsyncBounded(network) if isinstance(transport, httpx2.AsyncBaseTransport) else Bounded(network)
    pool._network_backend = bounded  # type: ignore[union-attr]  # noqa: SLF001 - it has one


def engines_of(
    transport: httpx2.AsyncBaseTransport,
) -> tuple[httpx2.AsyncBaseTransport, httpx2.AsyncBaseTransport]:
    """Give what sends with a transport as this library promises: calls without a deadline, and calls with one.

    httpx2's own transports do so themselves.
    """
    if isinstance(transport, httpx2.AsyncHTTPTransport | httpx2.MockTransport | httpx2.ASGITransport):
        return transport, transport
    from ._keeping import Keeping  # noqa: PLC0415 - as above

    return transport, Keeping(transport)


def wrap_transports(client: httpx2.Client | httpx2.AsyncClient, wrap: Callable[[Any], Any]) -> None:
    """Make every transport of a client resilient: its own, its proxies', the environment's and its mounts.

    httpx2 has no public way to wrap the transports that it makes itself.
    """
    client._transport = wrap(client._transport)  # noqa: SLF001
    client._mounts = {  # noqa: SLF001
        pattern: None if transport is None else wrap(transport)
        for pattern, transport in client._mounts.items()  # noqa: SLF001
    }
