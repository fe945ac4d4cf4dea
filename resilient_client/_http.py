"""The HTTP library beneath, httpx or httpx2: what this library asks of its objects, which look alike in both.

Law of this file: it imports neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, overload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["URL", "Headers", "Host", "Library", "Request", "Response", "leave"]


class Headers(Protocol):
    """The headers of a request or of a response; a name is found in any case."""

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """Names and values in order, as they are on the wire."""

    @overload
    def get(self, key: str, /) -> Any: ...
    @overload
    def get(self, key: str, default: Any, /) -> Any: ...
    def get(self, key: str, default: Any = None, /) -> Any:
        """Give a header's value, or the default; commas are between the values of one that comes several times."""

    def multi_items(self) -> list[tuple[str, str]]:
        """Give names and values in order, a header that comes several times as often."""

    def get_list(self, key: str, /) -> list[str]:
        """Give the values of a header that may come several times."""

    def pop(self, key: str, default: Any, /) -> Any:
        """Take a header away."""

    def __getitem__(self, key: str, /) -> str: ...

    def __setitem__(self, key: str, value: str, /) -> None: ...

    def __contains__(self, key: Any, /) -> bool: ...

    def __iter__(self) -> Iterator[Any]: ...


class URL(Protocol):
    """An address."""

    @property
    def scheme(self) -> str:
        """The scheme, in lower case."""

    @property
    def host(self) -> str:
        """The host, decoded."""

    @property
    def port(self) -> int | None:
        """The port; None for the scheme's own."""

    @property
    def path(self) -> str:
        """The path, decoded."""

    @property
    def userinfo(self) -> bytes:
        """The name and the password in it, as they are on the wire."""

    @property
    def username(self) -> str:
        """The name in it, decoded."""

    @property
    def password(self) -> str:
        """The password in it, decoded."""

    @property
    def params(self) -> Any:
        """The parameters of its query."""

    @property
    def query(self) -> bytes:
        """The query, as it is on the wire."""

    @property
    def raw_path(self) -> bytes:
        """The path and the query, as they are on the wire."""

    @property
    def netloc(self) -> bytes:
        """The host and the port, as they are on the wire."""


class Request(Protocol):
    """A request."""

    method: str
    stream: Any
    extensions: Any

    @property
    def url(self) -> URL:
        """Where it goes."""

    @property
    def headers(self) -> Headers:
        """Its headers."""

    @property
    def content(self) -> bytes:
        """Its body, once it has been read."""

    def read(self) -> bytes:
        """Read its body, and give it."""


class Response(Protocol):
    """A response."""

    status_code: int
    stream: Any
    extensions: Any
    request: Any

    @property
    def headers(self) -> Headers:
        """Its headers."""

    @property
    def content(self) -> bytes:
        """Its body, decoded, once it has been read."""

    @property
    def has_redirect_location(self) -> bool:
        """Whether it is a redirect that says where to."""

    def json(self) -> Any:
        """Give its body as JSON."""

    def close(self) -> None:
        """Let go of its connection."""

    async def aclose(self) -> None:
        """Let go of it in a task."""


class Host(Protocol):
    """What a flow needs from the library, so that it need not know which one it is."""

    def replay(self, request: Any) -> Any:
        """Give the stream that puts the same body on the wire once more; None where that cannot be had."""

    def body_of(self, request: Any) -> bytes | None:
        """Give the body where it is bytes in memory, None otherwise."""

    def again(self, request: Any, stream: Any, body: bytes | None = None) -> Any:
        """Make a new request with this stream, or with these bytes as its body."""

    def decoded(self, response: Any, content: bytes, limit: int) -> bytes | None:
        """Undo the Content-Encoding of an error's body; None where it cannot be, or would grow past the limit."""

    def with_cookies(self, response: Any, lines: tuple[bytes, ...]) -> None:
        """Put the Set-Cookie lines of earlier responses before the response's own."""

    def refused(self, call: Any, kind: str, retry_in: float) -> Exception:
        """Make the exception of a call that a protection does not let through, `retry_in` seconds being infinite or not."""


class Library(Host, Protocol):
    """What the drivers, the auths and the errors need besides."""

    name: str
    Request: Any
    Response: Any
    TransportError: Any
    ByteStream: Any  # a body that is in memory: it cannot break off
    Kept: Any
    AsyncKept: Any

    def parts_of(self, url: Any) -> tuple[Any, ...]:
        """Give an address in the parts that the library keeps it in: scheme, userinfo, host, port and more."""

    def origin_of(self, url: Any) -> tuple[str, str, int | None]:
        """Give scheme, host and port of an address."""

    def late(self) -> Exception:
        """Make the error of whoever reads on where the deadline has passed."""

    def error_of(self, response: Any, problem: str = "") -> Exception | None:
        """Make the error that a response means, None where it means none; `problem` replaces its text, and makes one of any."""

    def content_of(self, response: Any) -> bytes | None:
        """Give a response's body, decoded; None where it has not been read."""


async def leave(pieces: AsyncIterator[bytes]) -> None:
    """End a body's generator that is left before its end, now and not when it is collected."""
    if hasattr(pieces, "aclose"):
        await pieces.aclose()
