"""One story, lived through by httpx's own client and by ours, with all that anybody can see of it written down to be compared.

Law of this file: it knows httpx and our public names, and nothing of how our client goes about a call. What it compares is
what a transport, a hook, an auth, a log, a warning filter and the caller can see; what it leaves out stands in `_OURS`.
"""

from __future__ import annotations

import inspect
import logging
import re
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Reply = Callable[["Side", httpx.Request], httpx.Response]

__all__ = [
    "Call",
    "Change",
    "Interruption",
    "Side",
    "Story",
    "Wire",
    "told",
    "told_in_full",
    "told_jar",
    "told_url",
    "told_value",
    "tried",
]

_OURS = (
    "resilience"  # how the keys begin that our client may leave in extensions; all else must be httpx's own
)
_RANDOM = re.compile(rb'(?<=boundary=)[0-9a-f]{32}|(?<=cnonce=")[0-9a-f]+|(?<=response=")[0-9a-f]+')
_BOUNDARY = re.compile(rb"--([0-9a-f]{32})\b")
_NAMES = re.compile(r"\b(Async)?Resilient(Client|HTTPTransport|Transport)\b")


class Interruption(BaseException):
    """What ends a call from outside, as a KeyboardInterrupt does."""


# ----------------------------------------------------------------------------------------------------------- stories


@dataclass(frozen=True)
class Call:
    """One call. Words stand for what the menus make of them; see `lean_menu.py`."""

    url: Any = "plain"
    how: str = "get"
    method: str = "GET"
    options: Mapping[str, Any] = field(default_factory=dict)
    then: str = "look"


@dataclass(frozen=True)
class Change:
    """What is done to the client, or to what it gave, between two calls."""

    what: str | Callable[[Side], Any]


@dataclass(frozen=True)
class Story:
    """A client, what happens to it, and what the server says."""

    steps: tuple[Call | Change, ...]
    client: Mapping[str, Any] = field(default_factory=dict)
    replies: tuple[str, ...] = ("ok",)  # in turn, and from the first again
    wire: str = "iterates"  # how the transport takes a request's body, and whether it writes into the request
    logged: bool = True
    kind: Callable[[Side, Any], Any] | None = None  # makes a subclass of the client's class


# --------------------------------------------------------------------------------------------------- what is told of it


def told_value(value: Any) -> Any:
    """Tell a value so that 1, 1.0 and True differ, and an object without a repr of its own is told by its type."""
    match value:
        case dict():
            return {f"{type(key).__name__} {key}": told_value(one) for key, one in value.items()}
        case list() | tuple():
            return [type(value).__name__, *map(told_value, value)]
        case None | bool() | int() | float() | str() | bytes():
            return f"{type(value).__name__} {value!r}"
        case _:
            return type(value).__qualname__


def _stream(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def told_url(url: Any) -> Any:
    """Tell every part of a URL."""
    if not isinstance(url, httpx.URL):
        return told_value(url)
    return [type(url).__qualname__, str(url), tuple(url._uri_reference), sorted(vars(url))]


def _extensions(extensions: Any) -> Any:
    if not isinstance(extensions, dict):
        return told_value(extensions)
    return {
        name: told_value(value) for name, value in extensions.items() if not str(name).startswith(_OURS)
    } | {"in this order": [str(name) for name in extensions if not str(name).startswith(_OURS)]}


def tried(look: Callable[[], Any]) -> Any:
    """Give what is seen, or what is raised instead."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001 - whatever it is, both sides must raise it
        return f"{type(error).__qualname__}: {error}"


def _headers(headers: httpx.Headers) -> list[tuple[bytes, bytes]]:
    return [(name, _RANDOM.sub(b"random", value) if b"=" in value else value) for name, value in headers.raw]


def _body(body: bytes) -> bytes:
    found = _BOUNDARY.match(body)
    return body.replace(found[1], b"random") if found else body


def told(side: Side, what: Any) -> Any:
    """Tell all that can be seen of a request, a response or an error."""
    match what:
        case httpx.Request():
            return {
                "type": type(what).__qualname__,
                "method": told_value(what.method),
                "url": told_url(what.url),
                "headers": _headers(what.headers),
                "extensions": _extensions(what.extensions),
                "stream": _stream(what.stream),
                "content": tried(lambda: _body(what.content)),
                "has": sorted(vars(what)),
                "was sent as number": side.number(what),
            }
        case httpx.Response():
            return _told_response(side, what)
        case httpx.BaseTransport() | httpx.AsyncBaseTransport():
            return "a transport"
        case BaseException():
            return {
                "type": type(what).__qualname__,
                "says": _NAMES.sub(r"\1\2", str(what)),
                "request": side.known(tried(lambda: what.request)),  # type: ignore[attr-defined]  # an AttributeError is told, too
                "response": side.known(getattr(what, "response", None)),
                "cause": type(what.__cause__).__qualname__,
            }
        case _:
            return told_value(what)


def _told_response(side: Side, response: httpx.Response) -> Any:
    return {
        "type": type(response).__qualname__,
        "status": response.status_code,
        "headers": response.headers.raw,
        "version": response.http_version,
        "reason": response.reason_phrase,
        "closed": response.is_closed,
        "consumed": response.is_stream_consumed,
        "downloaded": response.num_bytes_downloaded,
        "elapsed": tried(lambda: type(response.elapsed).__name__),
        "content": tried(lambda: response.content),
        "default encoding": tried(lambda: side.named(response.default_encoding)),
        "url": tried(lambda: told_url(response.url)),
        "request": tried(lambda: told(side, response.request)),
        "history": [side.known(one) for one in response.history],
        "next": None if response.next_request is None else told(side, response.next_request),
        "extensions": _extensions(response.extensions),
        "stream": _stream(response.stream),
        "has": sorted(vars(response)),
        "repr": repr(response),
    }


def told_in_full(side: Side, response: httpx.Response) -> Any:
    """Tell what is worked out when it is asked for, and remembered from then on."""
    return {
        "encoding": tried(lambda: response.encoding),
        "charset": tried(lambda: response.charset_encoding),
        "text": tried(lambda: response.text),
        "links": tried(lambda: response.links),
        "cookies": tried(lambda: told_jar(response.cookies)) if "set-cookie" in response.headers else None,
        "header encoding": response.headers.encoding,
        "redirects": (response.has_redirect_location, response.is_redirect),
        "status": tried(lambda: response.raise_for_status() is response),
        "request header encoding": tried(lambda: response.request.headers.encoding),
    }


def told_jar(cookies: httpx.Cookies) -> Any:
    """Tell what is in a jar."""
    return sorted(
        (cookie.domain, cookie.path, cookie.name, cookie.value or "", cookie.expires is None)
        for cookie in cookies.jar
    )


# -------------------------------------------------------------------------------------------------------- the two sides


class Side:
    """One of the two: its client, its journal, and what its words stand for."""

    def __init__(self, story: Story, replies: Sequence[Reply], *, tasks: bool) -> None:
        self.story = story
        self.replies = replies
        self.tasks = tasks
        self.client: Any = None
        self.journal: list[tuple[str, Any]] = []
        self.sent: list[httpx.Request] = []  # all that reached a transport
        self.kept: dict[tuple[str, str], Any] = {}  # what is given more than once, and must not be changed
        self.answers = 0
        self.open_bodies: set[Any] = (
            set()
        )  # when one is closed is not told: a transport may read an error's body early
        self.last: Any = None  # the newest response
        self.names: dict[int, str] = {}
        self.shared: dict[str, httpx.Response] = {}
        self.undo = ExitStack()  # what has been put in place of something, for as long as the story goes on

    def note(self, what: str, seen: Any = None) -> None:
        """Write into the journal."""
        self.journal.append((what, seen))

    def number(self, request: Any) -> int | None:
        """Tell which of the requests that reached a transport it is."""
        return next((number for number, one in enumerate(self.sent) if one is request), None)

    def known(self, what: Any) -> Any:
        """Tell an object in few words: requests by when they were sent, responses by their request."""
        if isinstance(what, httpx.Response):
            return [
                what.status_code,
                tried(lambda: self.known(what.request)),
                what.is_closed,
                len(what.history),
            ]
        if isinstance(what, httpx.Request):
            number = self.number(what)
            return told(self, what) if number is None else number
        return told_value(what)

    def named(self, what: Any) -> Any:
        """Tell a function that a menu made by its name there."""
        return self.names.get(id(what), None) or told_value(what)

    async def finish(self, result: Any) -> Any:
        """Await what must be awaited."""
        return await result if inspect.isawaitable(result) else result

    async def close(self, response: httpx.Response) -> None:
        """Close a response."""
        if self.tasks:
            await response.aclose()
        else:
            response.close()

    def reply(self, request: httpx.Request) -> httpx.Response:
        """Answer as the story says."""
        self.answers += 1
        return self.replies[(self.answers - 1) % len(self.replies)](self, request)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Write down what is logged and what is warned of."""
        logger = logging.getLogger("httpx")
        ear = _Ear(self)
        before = logger.level
        own = logging.getLogger("resilient_client")  # which httpx has not
        own_before = own.level
        own.setLevel(logging.CRITICAL)
        if self.story.logged:
            logger.addHandler(ear)
            logger.setLevel(logging.INFO)
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                yield
        finally:
            logger.removeHandler(ear)
            logger.setLevel(before)
            own.setLevel(own_before)
        for warning in warned:
            place = "/".join(warning.filename.split("/")[-2:])
            self.note("warned", (warning.category.__name__, str(warning.message), place))


class _Ear(logging.Handler):
    def __init__(self, side: Side) -> None:
        super().__init__()
        self._side = side

    def emit(self, record: logging.LogRecord) -> None:
        values = [told_url(value) for value in record.args or ()]
        self._side.note("logged", (record.name, record.levelname, record.msg, values, record.getMessage()))


class Wire(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """The transport under both: it writes down all that reaches it, and answers as the story says."""

    def __init__(self, side: Side, name: str) -> None:
        self.side = side
        self.name = name

    def __deepcopy__(self, memo: Any) -> Wire:
        return self

    def _sees(self, request: httpx.Request) -> None:
        seen = told(self.side, request)
        self.side.sent.append(request)
        self.side.note(f"sent by {self.name}", seen)

    def _answers(self, request: httpx.Request, body: bytes) -> httpx.Response:
        self.side.note("body", _body(body))
        if self.side.story.wire == "meddles":  # as an instrumentation, or a transport that signs, does
            request.headers["X-Trace"] = f"number-{len(self.side.sent)}"
            request.extensions["seen"] = True
            request.extensions["timeout"]["read"] = 0.125
        return self.side.reply(request)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Take a request from a thread."""
        self._sees(request)
        reads = self.side.story.wire == "reads"
        return self._answers(request, request.read() if reads else b"".join(request.stream))  # type: ignore[arg-type]  # a thread's

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Take one from a task."""
        self._sees(request)
        reads = self.side.story.wire == "reads"
        body = await request.aread() if reads else b"".join([part async for part in request.stream])  # type: ignore[union-attr]  # a task's
        return self._answers(request, body)

    def close(self) -> None:
        """Be closed."""
        self.side.note(f"closed {self.name}")

    async def aclose(self) -> None:
        """Be closed."""
        self.side.note(f"closed {self.name}")
