"""What the server of the stories of `lean.py` says: each word, and the answer, or the failure, that it stands for."""

from __future__ import annotations

import copy
import datetime as dt
import gzip
from typing import TYPE_CHECKING, Any

import httpx
from lean import Interruption
from lean_own import in_parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from lean import Side

    Reply = Callable[[Side, httpx.Request], httpx.Response]

__all__ = ["REPLIES"]


class Parts(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in parts; an exception among them is raised."""

    def __init__(self, side: Side, *parts: bytes | Exception, counted: bool = True) -> None:
        self._side = side
        self._parts = parts
        if counted:
            side.open_bodies.add(self)

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, Exception):
                raise part
            yield part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part

    def close(self) -> None:
        """Be closed."""
        self._side.open_bodies.discard(self)

    async def aclose(self) -> None:
        """Be closed."""
        self._side.open_bodies.discard(self)


class Answer(httpx.Response):
    """A response of a transport's own type."""


_TEXT = "grün, ☃".encode()


def _page(status: int, body: bytes = b"", *headers: tuple[str, str], **extensions: Any) -> Reply:
    return lambda _side, _request: httpx.Response(
        status, headers=headers, content=body, extensions=extensions
    )


def _streamed(status: int, *parts: bytes | Exception, headers: Any = None) -> Reply:
    return lambda side, _request: httpx.Response(
        status, headers=headers, stream=Parts(side, *map(copy.copy, parts), counted=status < 400)
    )


def _to(status: int, place: str | bytes, *cookies: str) -> Reply:
    headers = [(b"Location", place if isinstance(place, bytes) else place.encode())]
    headers += [(b"Set-Cookie", cookie.encode()) for cookie in cookies]
    return lambda side, _request: httpx.Response(status, headers=headers, stream=Parts(side, b"moved"))


def _fails(make: Callable[..., BaseException], *args: Any, **options: Any) -> Reply:
    def fail(_side: Side, _request: Any) -> httpx.Response:
        raise make(*args, **options)

    return fail


def _shared(side: Side, _request: Any) -> httpx.Response:
    return side.shared.setdefault("shared", httpx.Response(200, text="shared", headers={"Set-Cookie": "s=1"}))


def _preset(side: Side, _request: Any) -> httpx.Response:
    response = httpx.Response(
        200,
        stream=Parts(side, "grün".encode("latin-1")),
        request=httpx.Request("GET", "https://preset.test/"),
        history=[httpx.Response(302)],
        default_encoding="latin-1",
    )
    response.next_request = httpx.Request("GET", "https://preset.test/next")
    return response


def _read_before(side: Side, _request: Any) -> httpx.Response:
    response = httpx.Response(200, content=b"read before")
    response.elapsed = dt.timedelta(seconds=1)
    return response


REPLIES: dict[str, Reply] = {
    "ok": _streamed(200, b"o", b"k"),
    "ok_in_memory": _page(200, b"ok"),
    "ok_stream_in_memory": lambda _side, _request: httpx.Response(200, stream=httpx.ByteStream(b"ok")),
    "ok_iterator": lambda side, _request: httpx.Response(
        200, content=in_parts() if side.tasks else iter([b"a", b"b"])
    ),
    "created": lambda _side, _request: httpx.Response(201, json={"id": 1}),
    "no_content": _page(204),
    "empty_stream": _streamed(200),
    "partial": _page(206, b"part", ("Content-Range", "bytes 0-3/9")),
    "switching": _page(101),
    "latin": _streamed(
        200, "grün".encode("latin-1"), headers={"Content-Type": "text/plain; charset=iso-8859-1"}
    ),
    "unknown_charset": _streamed(200, _TEXT, headers={"Content-Type": "text/plain; charset=no-such"}),
    "no_charset": _streamed(200, _TEXT, headers={"Content-Type": "text/plain"}),
    "lines": _streamed(200, b"one\r", b"\ntwo\nthr", b"ee"),
    "zipped": _streamed(
        200,
        gzip.compress(_TEXT * 9, mtime=0)[:20],
        gzip.compress(_TEXT * 9, mtime=0)[20:],
        headers={"Content-Encoding": "gzip"},
    ),
    "badly_zipped": _streamed(200, b"this is no gzip", headers={"Content-Encoding": "gzip"}),
    "zipped_in_memory": lambda _side, _request: httpx.Response(
        200, headers={"Content-Encoding": "gzip"}, content=gzip.compress(b"ok", mtime=0)
    ),
    "links": _page(200, b"", ("Link", '<https://api.test/2>; rel="next"')),
    "odd_headers": lambda side, _request: httpx.Response(
        200, headers=[(b"X-oDD", b"\xff"), (b"x-odd", b"2")], stream=Parts(side)
    ),
    "old_version": lambda side, _request: httpx.Response(
        200,
        stream=Parts(side, b"x"),
        extensions={"http_version": b"HTTP/1.0", "reason_phrase": b"Quite \xff fine"},
    ),
    "extended": lambda side, _request: httpx.Response(
        200,
        stream=Parts(side, b"x"),
        extensions={"http_version": b"HTTP/2", "network_stream": object(), "own": [1]},
    ),
    "own_type": lambda side, _request: Answer(200, stream=Parts(side, b"own")),
    "shared": _shared,
    "preset": _preset,
    "read_before": _read_before,
    "status_299": _streamed(299, b"odd"),
    "status_600": _streamed(600, b"odd"),
    "cookie": _page(200, b"", ("Set-Cookie", "a=1")),
    "cookies": _page(
        200, b"", ("Set-Cookie", "a=2; Path=/things"), ("set-cookie", "b=1; Max-Age=600; Secure; HttpOnly")
    ),
    "cookie_gone": _page(200, b"", ("Set-Cookie", "a=; Max-Age=0; Path=/")),
    "cookie_of_another": _page(200, b"", ("Set-Cookie", "evil=1; Domain=evil.test")),
    "cookie_of_domain": _page(200, b"", ("SET-COOKIE", "wide=1; Domain=.api.test; Path=/")),
    "cookie_broken": _page(200, b"", ("Set-Cookie", ";;=")),
    "cookie_old": _page(200, b"", ("Set-Cookie2", 'old="1"; Version="1"')),
    "cookie_octets": lambda side, _request: httpx.Response(
        200, headers=[(b"Set-Cookie", b"a=\xe9")], stream=Parts(side)
    ),
    "cookie_on_error": _page(404, b"", ("Set-Cookie", "lost=1")),
    "moved": _to(301, "/moved"),
    "moved_relative": _to(302, "next?page=2", "hop=1"),
    "moved_away": _to(302, "https://other.test/things", "hop=2; Path=/"),
    "see_other": _to(303, "/seen"),
    "same_method": _to(307, "/same"),
    "same_method_away": _to(308, "https://other.test/same"),
    "moved_to_https": _to(301, "https://api.test/things"),
    "moved_to_http": _to(301, "http://api.test/things"),
    "moved_to_fragment": _to(302, "/x#there"),
    "moved_nowhere": _to(302, ""),
    "moved_wrongly": _to(302, "https://h:abc/"),
    "moved_hostless": _to(302, "https:///x"),
    "moved_to_ftp": _to(302, "ftp://api.test/x"),
    "moved_octets": _to(302, b"/\xe9"),
    "moved_in_memory": _page(302, b"moved", ("Location", "/memory")),
    "choices": _page(300, b"choose"),
    "choices_located": _to(300, "/one"),
    "not_modified": _page(304, b"", ("Location", "/ignored")),
    "redirect_unlocated": _page(302, b"where?"),
    "ok_located": _page(201, b"", ("Location", "/things/1")),
    "unauthorized": _page(
        401, b"", ("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5')
    ),
    "unauthorized_basic": _page(401, b"who?", ("WWW-Authenticate", "Basic")),
    "not_found": _page(404, b'{"code": "none"}', ("Content-Type", "application/json")),
    "not_found_streamed": _streamed(404, b'{"code":', b' "none"}'),
    "not_found_zipped": _streamed(404, gzip.compress(b"none", mtime=0), headers={"Content-Encoding": "gzip"}),
    "too_many": _page(429, b"", ("Retry-After", "3")),
    "broken": _page(500, b"broken"),
    "unavailable": _streamed(503, b"un", b"available"),
    "long_error": _streamed(400, b"x" * 40_000, b"y" * 40_000, b"z"),
    "breaks": _streamed(200, b"half", httpx.ReadError("gone")),
    "breaks_oddly": _streamed(200, b"half", ValueError("gone")),
    "error_breaks": _streamed(500, b"half", httpx.ReadError("gone")),
    "refused": _fails(httpx.ConnectError, "refused"),
    "timed_out": _fails(httpx.ReadTimeout, "slow", request=httpx.Request("GET", "https://preset.test/")),
    "unsupported": _fails(httpx.UnsupportedProtocol, "no"),
    "invalid_url": _fails(httpx.InvalidURL, "no"),
    "consumed": _fails(httpx.StreamConsumed),
    "decoding": _fails(httpx.DecodingError, "no"),
    "odd_error": _fails(ValueError, "odd"),
    "interrupted": _fails(Interruption),
}
