"""A request, a response or an exception of httpx's, as httpx2 has it, and the other way.

Law of this file: it imports a library only to make something of it, and leaves what it is given as it was.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

from resilient_client._libraries import LibraryName, imported, library_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx
    import httpx2

__all__ = ["errors_as", "stream_as", "to_httpx", "to_httpx2"]


# What an exception's class is looked for in, by the module that it is of. httpcore's exceptions become httpx's in httpx's hands.
_HOMES: dict[LibraryName, dict[str, str]] = {
    "httpx": {"httpx2": "httpx", "httpcore2": "httpcore"},
    "httpx2": {"httpx": "httpx2", "httpcore": "httpcore2"},
}


@overload
def to_httpx(thing: httpx.Request | httpx2.Request) -> httpx.Request: ...
@overload
def to_httpx(thing: httpx.Response | httpx2.Response) -> httpx.Response: ...
@overload
def to_httpx(thing: Exception) -> Exception: ...
def to_httpx(thing: Any) -> Any:
    """Give a request, a response or an exception as httpx has it; see `to_httpx2`, which is the other way."""
    return _converted(thing, "httpx")


@overload
def to_httpx2(thing: httpx.Request | httpx2.Request) -> httpx2.Request: ...
@overload
def to_httpx2(thing: httpx.Response | httpx2.Response) -> httpx2.Response: ...
@overload
def to_httpx2(thing: Exception) -> Exception: ...
def to_httpx2(thing: Any) -> Any:
    """Give a request, a response or an exception as httpx2 has it.

    What is httpx2's already is given back as it is, and so is an exception that is neither library's. A request keeps its
    method, its URL, its headers as they are on the wire, its body and its extensions; a response its status, its headers,
    its body, its extensions, its request, its history, and how long it took. A body that has not been read is read from
    where it came, and what it raises is converted as well. An exception is of the class with the same name, or of the nearest
    base that has one, with the same arguments, cause, notes and traceback.

    Raises:
        TypeError: it is none of these.
        ModuleNotFoundError: httpx2 is not installed.
    """
    return _converted(thing, "httpx2")


@contextmanager
def errors_as(library: LibraryName) -> Iterator[None]:
    """Let what the block raises be of this library, where it is of the other."""
    try:
        yield
    except Exception as error:
        converted = _exception(error, library)
        if converted is error:
            raise
        try:
            raise converted
        finally:
            converted.__context__ = error.__context__  # as if it had been this one from the first


def stream_as(library: LibraryName, stream: Any) -> Any:
    """Give a body's stream as one of this library: bytes that are at hand as such, all else as it comes."""
    home, other = imported(library), _other(library)
    if isinstance(stream, home.SyncByteStream | home.AsyncByteStream):
        return stream
    if isinstance(stream, other.ByteStream):
        return home.ByteStream(b"".join(stream))
    kind = _stream_class(home, in_threads=hasattr(stream, "__iter__"), in_tasks=hasattr(stream, "__aiter__"))
    return kind(library, stream)


def _other(library: LibraryName) -> Any:
    return imported("httpx2" if library == "httpx" else "httpx")


def _converted(thing: Any, library: LibraryName) -> Any:
    if isinstance(thing, Exception):
        return _exception(thing, library)
    source = library_of(thing)
    if isinstance(thing, source.Request):
        return thing if source.__name__ == library else _request(thing, library)
    if isinstance(thing, source.Response):
        return thing if source.__name__ == library else _response(thing, library)
    raise TypeError(f"to_{library} takes a request, a response or an exception (got {thing!r})")


def _exception(error: Exception, library: LibraryName) -> Exception:
    homes = _HOMES[library]
    kinds = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__]
    if any(root in homes.values() for root, _ in kinds):
        return error
    names = ((homes[root], name) for root, name in kinds if root in homes)
    imported(library)
    found = (getattr(import_module(home), name, None) for home, name in names)
    kind = next((kind for kind in found if kind is not None), None)
    if kind is None:
        return error
    # Not by calling it: what its __init__ takes differs from class to class, and a subclass's may take anything.
    converted: Exception = kind.__new__(kind, *error.args)
    vars(converted).update({name: _part(value, library) for name, value in vars(error).items()})
    converted.__cause__, converted.__context__ = error.__cause__, error.__context__
    converted.__suppress_context__ = error.__suppress_context__
    return converted.with_traceback(error.__traceback__)


def _part(value: Any, library: LibraryName) -> Any:
    """Convert what an exception holds: its request, its response; its notes are a list of its own."""
    source = _other(library)
    if isinstance(value, source.Request | source.Response):
        return _converted(value, library)
    return copy.copy(value) if isinstance(value, list) else value


def _request(request: Any, library: LibraryName) -> Any:
    home = imported(library)
    converted = home.Request(
        request.method,
        str(request.url),
        headers=request.headers.raw,
        stream=stream_as(library, request.stream),
        extensions=request.extensions,
    )
    if isinstance(converted.stream, home.ByteStream):
        converted.read()
    return converted


def _response(response: Any, library: LibraryName) -> Any:
    home = imported(library)
    content, stream = _content(response), stream_as(library, response.stream)
    converted = home.Response(
        response.status_code,
        **({"stream": stream} if content is None else {"content": content}),
        extensions=response.extensions,
        history=[_converted(earlier, library) for earlier in response.history],
        default_encoding=response.default_encoding,
    )
    # Not before: what was read has been decoded, and is not to be decoded again.
    converted.headers, converted.stream = home.Headers(response.headers.raw), stream
    if content is not None:
        converted.encoding = response.encoding
    with suppress(RuntimeError):  # it has none
        converted.request = _converted(response.request, library)
    with suppress(RuntimeError):  # it has not been closed
        converted.elapsed = response.elapsed
    if response.next_request is not None:
        converted.next_request = _converted(response.next_request, library)
    return converted


def _content(response: Any) -> bytes | None:
    """Give the body, decoded, if it has been read."""
    try:
        content: bytes = response.content
    except library_of(response).ResponseNotRead:
        return None
    return content


class _Stream:
    """A stream of the other library's."""

    def __init__(self, library: LibraryName, stream: Any) -> None:
        self._library = library
        self._stream = stream


class _ThreadStream(_Stream):
    """One that threads read."""

    def __iter__(self) -> Iterator[bytes]:
        with errors_as(self._library):
            yield from self._stream

    def close(self) -> None:
        if hasattr(self._stream, "close"):
            with errors_as(self._library):
                self._stream.close()


class _TaskStream(_Stream):
    """One that tasks read."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = aiter(self._stream)
        try:
            with errors_as(self._library):
                async for part in parts:
                    yield part
        finally:
            if isinstance(parts, AsyncGenerator):  # one that is left to the garbage collector is warned of
                await parts.aclose()

    async def aclose(self) -> None:
        if hasattr(self._stream, "aclose"):
            with errors_as(self._library):
                await self._stream.aclose()


@cache
def _stream_class(home: Any, *, in_threads: bool, in_tasks: bool) -> Any:
    """Make the class of a stream that threads read, or tasks, or both, as its original: each library tells them by their bases."""
    threads = (_ThreadStream, home.SyncByteStream) if in_threads else ()
    tasks = (_TaskStream, home.AsyncByteStream) if in_tasks else ()
    return type("ConvertedStream", (*threads, *tasks), {})
