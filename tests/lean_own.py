"""A user's own code, as it meets a client in the stories of `lean.py`: types of strings and bodies, jars, auths and hooks.

Law of this file: whatever it is called with, it tells the side that it belongs to.
"""

from __future__ import annotations

import http.cookiejar
import inspect
import io
from typing import TYPE_CHECKING, Any

import httpx
from lean import told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

    from lean import Side

__all__ = [
    "AUTHS",
    "HOOKS",
    "AsyncPieces",
    "Liar",
    "OneWay",
    "Pieces",
    "Text",
    "Unhashable",
    "guess",
    "hook",
    "in_parts",
    "old_jar",
    "watched_jar",
]


class Text(str):
    """A string of a user's own type, as Django's SafeString is."""

    __slots__ = ()


class Liar(str):
    """A string that equals every other, and hashes like every other."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


class Unhashable(str):
    """A string that cannot be the key of a dict."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise TypeError("unhashable")


class Pieces:
    """An iterable of bytes that can be had again."""

    def __iter__(self) -> Iterator[bytes]:
        yield from (b"ab", b"c")


class AsyncPieces:
    """The same for tasks."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in (b"ab", b"c"):
            yield piece


async def in_parts() -> AsyncIterator[bytes]:
    for piece in (b"ab", b"c"):
        yield piece


class OneWay(io.BytesIO):
    def __init__(self) -> None:
        super().__init__(b"one way")

    def seekable(self) -> bool:
        return False


class WatchedJar(http.cookiejar.CookieJar):
    """A jar that tells of every response that it is shown."""

    side: Side

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Take a response's cookies."""
        self.side.note("jar is shown", request.full_url)
        super().extract_cookies(response, request)


def watched_jar(side: Side) -> WatchedJar:
    """Make one."""
    jar = WatchedJar()
    jar.side = side
    return jar


def old_jar(_: Side) -> http.cookiejar.CookieJar:
    return http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(rfc2965=True))


class Stamp(httpx.Auth):
    """An auth of one's own, which reads the body and sends twice."""

    requires_request_body = True
    requires_response_body = True

    def __init__(self, side: Side) -> None:
        self._side = side

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign by the body, and once more by the answer."""
        request.headers["X-Stamp"] = str(len(request.content))
        response = yield request
        self._side.note("auth is told", told(self._side, response))
        request.headers["X-Stamp"] = str(len(response.content))
        yield request


class Raising(httpx.Auth):
    """An auth that cannot."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Fail."""
        raise LookupError("no key")
        yield request


class Elsewhere(httpx.Auth):
    """An auth that sends another request first."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Fetch, then send."""
        yield httpx.Request("POST", "https://login.test/token")
        yield request


class Plain(httpx.Auth):
    """An auth that adds nothing."""


def _signs(side: Side) -> Callable[[httpx.Request], httpx.Request]:
    def sign(request: httpx.Request) -> httpx.Request:
        side.note("signs", told(side, request))
        request.headers["X-Signed"] = "yes"
        return request

    return sign


AUTHS: dict[str, Callable[[Side], Any]] = {
    "function": _signs,
    "basic": lambda _: httpx.BasicAuth("user", "pass"),
    "digest": lambda _: httpx.DigestAuth("user", "pass"),
    "stamp": Stamp,
    "raising": lambda _: Raising(),
    "elsewhere": lambda _: Elsewhere(),
    "plain": lambda _: Plain(),
    "bare": lambda _: httpx.Auth(),
}


def hook(side: Side, name: str, work: Callable[[Any], Any] = lambda _: None) -> Callable[[Any], Any]:
    """Make a hook that tells that it is called, and does its work."""

    def hook(what: Any) -> None:
        side.note(f"hook {name}", told(side, what))
        work(what)

    async def later(what: Any) -> None:
        side.note(f"hook {name}", told(side, what))
        result = work(what)
        if inspect.isawaitable(result):
            await result

    return later if side.tasks else hook


def _meddle(request: httpx.Request) -> None:
    request.headers["X-Hook"] = "was here"
    request.headers["User-Agent"] = "hook/1"
    request.extensions["timeout"]["read"] = 0.25
    request.extensions["hooked"] = True


def _move(request: httpx.Request) -> None:
    request.url = request.url.copy_with(path="/moved")
    request.method = "PUT"


_REFUSING: dict[str, str] = {}  # it has nothing, and raises KeyError


def _spoil(response: httpx.Response) -> None:
    response.headers["X-Hook"] = "was here"
    response.status_code = 299
    response.extensions["hooked"] = True


HOOKS: dict[str, Callable[[Side], Any]] = {
    "none": lambda _: None,
    "empty": lambda _: {"request": [], "response": []},
    "one_of_each": lambda side: {"request": [hook(side, "request")], "response": [hook(side, "response")]},
    "in_order": lambda side: {"request": [hook(side, "first"), hook(side, "second")]},
    "meddle": lambda side: {"request": [hook(side, "meddle", _meddle)]},
    "move": lambda side: {"request": [hook(side, "move", _move)]},
    "spoil": lambda side: {"response": [hook(side, "spoil", _spoil)]},
    "raise": lambda side: {"response": [hook(side, "raise", lambda response: response.raise_for_status())]},
    "refuse": lambda side: {"request": [hook(side, "refuse", lambda _: _REFUSING["refused"])]},
    "read": lambda side: {
        "response": [hook(side, "read", lambda one: one.aread() if side.tasks else one.read())]
    },
    "change_client": lambda side: {
        "request": [hook(side, "change", lambda _: side.client.headers.update({"X-Late": "1"}))],
        "response": [hook(side, "keep", lambda _: side.client.cookies.set("late", "1"))],
    },
}


def guess(side: Side, name: str, found: str) -> Callable[[bytes], str]:
    def encoding(content: bytes) -> str:
        side.note("guesses", content)
        return found

    side.names[id(encoding)] = name
    return encoding
