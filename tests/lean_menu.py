"""What the stories of `lean.py` are made of: each word, and what it stands for on either side.

Law of this file: a word gives each side an object of its own, equal to the other side's, and nothing in it is left to chance. One that
begins with "bad" is a mistake, of which no request comes.
"""

from __future__ import annotations

import copy
import functools
import http
import io
import ssl
import types
from collections import UserDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from lean import Wire
from lean_own import (
    AUTHS,
    HOOKS,
    AsyncPieces,
    Liar,
    OneWay,
    Pieces,
    Text,
    Unhashable,
    guess,
    in_parts,
    old_jar,
    watched_jar,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lean import Side

    Menu = dict[str, Callable[[Side], Any]]

__all__ = [
    "CLIENT",
    "METHODS",
    "OPTIONS",
    "URLS",
    "Drawn",
    "Made",
    "shared_ssl",
    "word",
]


@dataclass(frozen=True)
class Drawn:
    """A value that was drawn, where there is no word for it."""

    value: Any


@dataclass(frozen=True)
class Made:
    """A value that a test makes for each side, where there is no word for it."""

    make: Callable[[Side], Any]


# Given more than once, these are one object: what a call does to it, the next one would see.
_KEPT = ("headers", "params", "cookies", "extensions", "data", "json", "timeout", "url")


def word(side: Side, menu: Menu, choice: Any, name: str = "") -> Any:
    """Give what a word stands for."""
    if isinstance(choice, Drawn):
        return copy.deepcopy(choice.value)
    if isinstance(choice, Made):
        return choice.make(side)
    if name not in _KEPT:
        return menu[choice](side)
    key = (name, choice)
    if key not in side.kept:
        side.kept[key] = menu[choice](side)
    return side.kept[key]


def just(**values: Any) -> Menu:
    """Make words for plain values."""
    return {name: lambda _, value=value: copy.deepcopy(value) for name, value in values.items()}  # type: ignore[misc]  # a lambda's default


# ------------------------------------------------------------------------------------------------ where, and by which verb


URLS = just(
    plain="https://api.test/things",
    other="https://other.test/things",
    query="https://api.test/q?x=1&y=%20z&y=2",
    query_raw="https://api.test/q?a=b c&d=é",
    fragment="https://api.test/q#part two",
    userinfo="https://user:p%40ss@api.test/",
    username="https://user@api.test/",
    password="https://:word@api.test/",
    relative="things/1",
    rooted="/things",
    rooted_twice="//things/x",
    empty="",
    question="?page=2",
    hash="#top",
    dots="https://api.test/a/../b/./c/..",
    relative_dots="../up/./x",
    idna="https://bücher.example/ä",
    punycode="https://xn--bcher-kva.example/",
    emoji="https://api.test/☃?q=☃",
    spaces="https://api.test/a b/c",
    outer_spaces=" https://api.test/x ",
    ipv4="http://127.0.0.1:8080/x",
    ipv6="http://[::1]:8080/x",
    default_port="https://api.test:443/x",
    http_port="http://api.test:80/x",
    odd_port="https://api.test:8443/x",
    empty_port="https://api.test:/x",
    upper="HTTPS://API.TEST/UPPER?Q=A",
    percent="https://api.test/%7Efoo%2fbar%zz",
    double="https://api.test//x//",
    semicolon="https://api.test/x;v=1",
    colon="a:b",
    no_path="https://api.test",
    no_host="https:///x",
    scheme="https:",
    ftp="ftp://api.test/x",
    own_scheme="api+unix://sock/x",
    plain_http="http://api.test/things",
    mounted="https://mounted.test/x",
    below_mounted="https://sub.mounted.test/x",
    text=Text("https://api.test/text"),
    liar=Liar("https://api.test/liar"),
    unhashable=Unhashable("https://api.test/unhashable"),
    object=httpx.URL("https://api.test/object?a=1"),
    relative_object=httpx.URL("object/1"),
    object_with_user=httpx.URL("https://user:pass@api.test/object"),
    bad_null=None,
    bad_number=5,
    bad_octets=b"https://api.test/",
    bad_host="https://exa mple.test/",
    bad_idna="https://xn--/",
    bad_ipv6="http://[::1/x",
    bad_port="https://api.test:99999/",
    bad_port_of_letters="https://api.test:port/",
    bad_control="https://api.test/a\x00b",
    bad_newline="https://api.test/a\nb",
    bad_too_long="https://api.test/" + "x" * 70_000,
    long="https://api.test/" + "x" * 3_000,
)

METHODS = just(
    GET="GET", POST="POST", PUT="PUT", PATCH="PATCH", DELETE="DELETE", HEAD="HEAD", OPTIONS="OPTIONS",
    get="get", PoSt="PoSt", SEARCH="M-SEARCH", QUERY="QUERY", empty="", sharp="\u017fend", spaced="GET ",
    enum=http.HTTPMethod.PATCH, text=Text("get"), liar=Liar("DELETE"), unhashable=Unhashable("PUT"), bad_list=["GET"], bad_number=5, octets=b"GET", bad_null=None,
)  # fmt: skip

# ------------------------------------------------------------------------------------------------- what a call is given

_HEADERS = just(
    null=None,
    none_at_all={},
    plain={"X-One": "1", "x-two": "2"},
    pairs=[("X-One", "1"), ("X-One", "2"), ("x-one", "3")],
    tuple_of_pairs=(("X-One", "1"), ("X-Two", "2")),
    octets={b"X-One": b"1"},
    pairs_of_octets=[(b"X-One", b"\xff\xfe"), (b"X-Two", b"2")],
    own=httpx.Headers([("X-One", "1"), ("X-ONE", "2")]),
    own_encoded=httpx.Headers({"X-One": "é"}, encoding="utf-8"),
    host={"Host": "elsewhere.test"},
    lower_host={"host": "elsewhere.test"},
    agent={"user-agent": "mine/1"},
    accept={"ACCEPT": "text/plain", "accept-encoding": "identity"},
    no_agent={"User-Agent": ""},
    connection={"Connection": "close"},
    authorization={"Authorization": "Bearer t"},
    cookie={"Cookie": "mine=1"},
    length={"Content-Length": "3"},
    chunked={"Transfer-Encoding": "chunked"},
    kind={"Content-Type": "application/vnd.api+json"},
    bounded={"Content-Type": "multipart/form-data; boundary=seam"},
    bad_latin={"X-One": "é"},
    latin_octets={"X-One": "é".encode("latin-1")},
    spaced={"X-One": "  a  ", " X-Two ": "b"},
    empty_name={"": "x"},
    bad_number={"X-One": 1},
    bad_nothing={"X-One": None},
    bad_text="X-One: 1",
)
_HEADERS["proxy"] = lambda _: types.MappingProxyType({"X-One": "1"})
_HEADERS["once"] = lambda _: iter([("X-One", "1")])

_PARAMS = just(
    null=None, none_at_all={}, plain={"a": "1", "b": "x y"}, many={"a": ["1", "2"], "b": ("3",)}, pairs=[("a", "1"), ("a", "2")],
    true={"a": True}, one={"a": 1}, real={"a": 1.0}, nothing={"a": None}, false={"a": False},
    text="a=1&b=%20", octets=b"a=1", empty_text="", own=httpx.QueryParams({"a": "1"}), empty_own=httpx.QueryParams(),
    unicode={"é": "☃&="}, bad_number=5, pairs_tuple=(("a", "1"),), own_type={"a": Text("1")}, nested={"a": {"b": 1}},
)  # fmt: skip

_COOKIES = just(
    null=None, none_at_all={}, plain={"c": "1", "d": "2"}, pairs=[("c", "1")], bad_number=5,
)  # fmt: skip
_COOKIES["own"] = lambda _: httpx.Cookies({"c": "own"})
_COOKIES["jar"] = lambda _: httpx.Cookies({"c": "jar"}).jar
_COOKIES["for_other_host"] = lambda _: _cookies(("c", "1", "other.test", "/"))
_COOKIES["for_path"] = lambda _: _cookies(("c", "1", "api.test", "/things"), ("c", "2", "api.test", "/"))


def _cookies(*cookies: tuple[str, str, str, str]) -> httpx.Cookies:
    jar = httpx.Cookies()
    for name, value, domain, path in cookies:
        jar.set(name, value, domain=domain, path=path)
    return jar


_TIMEOUT = just(
    null=None, five=5, real=2.5, true=True, own_one=1, zero=0, pair=(1.0, 2.0, 3.0, 4.0), short_pair=(1.0, None),
    own=httpx.Timeout(3.0, connect=1.0), own_none=httpx.Timeout(None), default=httpx.USE_CLIENT_DEFAULT, text="soon",
    another_default=type(httpx.USE_CLIENT_DEFAULT)(), mapping={"read": 1.0}, bad_pair=(),
)  # fmt: skip

_EXTENSIONS = just(
    null=None, none_at_all={}, own={"mine": 1}, timeout={"timeout": {"read": 1.0}}, null_timeout={"timeout": None},
    sni={"sni_hostname": "x.test"}, both={"mine": [1], "timeout": {"connect": 2.0, "pool": None}}, bad_number=5,
    user=UserDict(mine=1), bad_odd_key={1: 2}, real={"mine": 1.0}, true={"mine": True}, bad_pairs=[("mine", 1)],
)  # fmt: skip

_EXTENSIONS["proxy"] = lambda _: types.MappingProxyType({"mine": 1})

_REDIRECTS = just(true=True, false=False, null=None, default=httpx.USE_CLIENT_DEFAULT, one=1,
                  another_default=type(httpx.USE_CLIENT_DEFAULT)())  # fmt: skip

_JSON = just(
    null=None, object={"a": [1, 2.5, None, True, "é"]}, empty={}, list=[], zero=0, false=False, text="", bad_nan=float("nan"),
    bad_set={1}, nested=[[["x"]]], bad_surrogate="\ud800", number_keys={1: 2},
)  # fmt: skip

_DATA = just(
    null=None, form={"a": "1", "b": ["2", "3"], "c": None, "d": True}, empty={}, octets=b"raw", text="raw é", list=[b"a", b"b"],
    bad_pairs=[("a", "1")], bad_number=5,
)  # fmt: skip


_CONTENT = just(
    null=None, text="text é", octets=b"\x00bytes", empty=b"", empty_text="", bad_dict={"a": 1}, bad_number=5, list=[b"a", b"b"],
    bad_array=bytearray(b"abc"), view=b"abc"[0:2],
)  # fmt: skip
_CONTENT["iterator"] = lambda _: iter([b"ab", b"c"])
_CONTENT["generator"] = lambda _: (piece for piece in (b"ab", b"c"))
_CONTENT["pieces"] = lambda _: Pieces()
_CONTENT["async_pieces"] = lambda _: AsyncPieces()
_CONTENT["async_generator"] = lambda _: in_parts()
_CONTENT["file"] = lambda _: io.BytesIO(b"file")
_CONTENT["read_file"] = lambda _: _at(io.BytesIO(b"a file"), 2)
_CONTENT["stream"] = lambda _: httpx.ByteStream(b"stream")
_CONTENT["bad_memory"] = lambda _: memoryview(b"abc")


def _at(file: io.BytesIO, position: int) -> io.BytesIO:
    file.seek(position)
    return file


_FILES = just(null=None, none_at_all={}, octets={"f": b"abc"}, text={"f": "abc"}, bad_number={"f": 5})
_FILES["file"] = lambda _: {"f": io.BytesIO(b"abc")}
_FILES["named"] = lambda _: {"f": ("n.txt", io.BytesIO(b"abc"), "text/plain")}
_FILES["pairs"] = lambda _: [("f", ("é.txt", b"1")), ("f", (None, b"2"))]
_FILES["one_way"] = lambda _: {"f": ("n.txt", OneWay())}


# -------------------------------------------------------------------------------------------------- what a client is made with


@functools.cache
def shared_ssl() -> ssl.SSLContext:
    """Give one context for all clients: making one takes longer than a story."""
    return ssl.create_default_context()


_BASE = just(
    empty="", host="https://api.test", path="https://api.test/v1", slash="https://api.test/v1/", query="https://api.test/v1?key=1",
    user="https://user:pass@api.test/v1", http="http://api.test", object=httpx.URL("https://api.test/obj"), port="https://api.test:8443",
    fragment="https://api.test/v1#f", relative="/v1", idna="https://bücher.example/v1", ipv6="http://[::1]:9/v1", bad="https://[", bad_number=5,
    default_port="https://api.test:443/v1", bad_octets=b"https://api.test",
)  # fmt: skip

_AUTH: Menu = {
    **just(
        null=None,
        pair=("user", "pass"),
        octets=(b"user", b"pass"),
        default=httpx.USE_CLIENT_DEFAULT,
        bad_number=5,
        bad_text="x",
    ),
    **just(bad_short=("user",), another_default=type(httpx.USE_CLIENT_DEFAULT)()),
    **AUTHS,
}

CLIENT: dict[str, Menu] = {
    "base_url": _BASE,
    "headers": _HEADERS,
    "params": _PARAMS,
    "cookies": {**_COOKIES, "watched": watched_jar, "old": old_jar},
    "auth": {name: make for name, make in _AUTH.items() if "default" not in name},
    "timeout": {name: make for name, make in _TIMEOUT.items() if "default" not in name},
    "follow_redirects": just(true=True, false=False),
    "max_redirects": just(none=0, one=1, two=2),
    "event_hooks": HOOKS,
    "default_encoding": {
        **just(latin="iso-8859-1", unknown="no-such-code"),
        "guess": lambda side: guess(side, "guess", "utf-16-le"),
        "bad_guess": lambda side: guess(side, "bad_guess", "no-such-code"),
    },
    "trust_env": just(true=True, false=False),
    "mounts": {
        **just(null=None, none_at_all={}, nothing={"all://mounted.test": None}),
        "host": lambda side: {"all://mounted.test": Wire(side, "mounted")},
        "wild": lambda side: {"all://*.mounted.test": Wire(side, "wild"), "https://": Wire(side, "https")},
        "excepted": lambda side: {"all://": Wire(side, "all"), "https://mounted.test": None},
        "port": lambda side: {"https://api.test:8443": Wire(side, "8443"), "http://": Wire(side, "http")},
    },
}

OPTIONS: dict[str, Menu] = {
    "headers": _HEADERS,
    "params": _PARAMS,
    "cookies": _COOKIES,
    "auth": _AUTH,
    "timeout": _TIMEOUT,
    "follow_redirects": _REDIRECTS,
    "extensions": _EXTENSIONS,
    "content": _CONTENT,
    "data": _DATA,
    "json": _JSON,
    "files": _FILES,
}
