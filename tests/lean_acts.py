"""What is done in the stories of `lean.py`: how a call is made, what becomes of its response, what changes between two calls."""

from __future__ import annotations

import inspect
import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
from lean import Wire, told, told_value, tried
from lean_menu import METHODS, OPTIONS, URLS, word
from lean_own import HOOKS, hook, watched_jar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lean import Call, Side

    How = Callable[[Side, Call], Awaitable[Any]]
    Then = Callable[[Side, httpx.Response], Awaitable[Any]]

__all__ = ["CHANGES", "HOW", "THEN", "taken_by"]

VERBS = ("get", "options", "head", "post", "put", "patch", "delete")


# ------------------------------------------------------------------------------------------------- how a call is made


def taken_by(how: str) -> set[str]:
    """Tell which options a call that is made so takes."""
    if how in VERBS:
        return set(inspect.signature(getattr(httpx.Client, how)).parameters) & set(OPTIONS)
    if how.startswith("by hand"):
        return (set(OPTIONS) & set(inspect.signature(httpx.Request).parameters)) | {
            "auth",
            "follow_redirects",
        }
    return set(OPTIONS)


def _options(side: Side, call: Call, *names: str, but: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        name: word(side, OPTIONS[name], choice, name)
        for name, choice in call.options.items()
        if (not names or name in names) and name not in but
    }


_SENDING = ("auth", "follow_redirects")


def _verb(name: str) -> How:
    async def act(side: Side, call: Call) -> Any:
        url = word(side, URLS, call.url, "url")
        return await side.finish(getattr(side.client, name)(url, **_options(side, call)))

    return act


async def _request(side: Side, call: Call) -> Any:
    url, method = word(side, URLS, call.url, "url"), word(side, METHODS, call.method)
    return await side.finish(side.client.request(method, url, **_options(side, call)))


async def _by_names(side: Side, call: Call) -> Any:
    url, method = word(side, URLS, call.url, "url"), word(side, METHODS, call.method)
    return await side.finish(side.client.request(**_options(side, call), url=url, method=method))


async def _stream(side: Side, call: Call) -> Any:
    url, method = word(side, URLS, call.url, "url"), word(side, METHODS, call.method)
    manager = side.client.stream(method, url, **_options(side, call))
    if side.tasks:
        async with manager as response:
            side.note("in the stream", told(side, response))
            await THEN[call.then](side, response)
    else:
        with manager as response:
            side.note("in the stream", told(side, response))
            await THEN[call.then](side, response)
    return response


def _built(side: Side, call: Call) -> httpx.Request:
    url, method = word(side, URLS, call.url, "url"), word(side, METHODS, call.method)
    request: httpx.Request = side.client.build_request(method, url, **_options(side, call, but=_SENDING))
    side.note("built", told(side, request))
    return request


async def _build(side: Side, call: Call) -> Any:
    return _built(side, call)


def _sent(*, stream: bool = False, twice: bool = False, pickled: bool = False) -> How:
    async def act(side: Side, call: Call) -> Any:
        request = _built(side, call)
        if pickled:
            request = pickle.loads(pickle.dumps(request))  # noqa: S301 - our own bytes
        options = _options(side, call, *_SENDING)
        options |= {"stream": True} if stream else {}
        response = await side.finish(side.client.send(request, **options))
        side.note("is what was sent", response.request is request)
        if twice:
            side.note("first", told(side, response))
            response = await side.finish(side.client.send(request, **options))
        side.note("request afterwards", told(side, request))
        return response

    return act


class Own(httpx.Request):
    """A request of a user's own type."""


def _by_hand(kind: type[httpx.Request], *, stream: bool = False) -> How:
    async def act(side: Side, call: Call) -> Any:
        url, method = word(side, URLS, call.url, "url"), word(side, METHODS, call.method)
        request = kind(method, url, **_options(side, call, but=(*_SENDING, "timeout")))
        response = await side.finish(
            side.client.send(request, stream=stream, **_options(side, call, *_SENDING))
        )
        side.note("is what was sent", response.request is request)
        side.note("request afterwards", told(side, request))
        return response

    return act


async def _bare(side: Side, call: Call) -> Any:
    """Send a request of which only the stream is given, as a proxy or a cache does."""
    url, method = word(side, URLS, call.url, "url"), word(side, METHODS, call.method)
    request = httpx.Request(method, url, headers={"X-Own": "1"}, stream=httpx.ByteStream(b"own"))
    return await side.finish(side.client.send(request, **_options(side, call, *_SENDING)))


async def _written(side: Side, call: Call) -> Any:
    """Write into a request before it is sent, as far as its headers take it."""
    request = _built(side, call)
    for name, value in {"X-Written": "é", "User-Agent": "written/1", "Accept": "☃"}.items():
        side.note("writes", tried(partial(request.headers.update, {name: value})))
        side.note("sets", tried(partial(request.headers.__setitem__, name, value)))
    request.extensions["written"] = 1
    response = await side.finish(side.client.send(request, **_options(side, call, *_SENDING)))
    response.request.headers["X-Afterwards"] = "1"
    return response


async def _nonsense(side: Side, call: Call) -> Any:
    return await side.finish(getattr(side.client, call.method.lower())(nonsense=call.url))


HOW: dict[str, How] = {
    **{name: _verb(name) for name in VERBS},
    "request": _request,
    "by names": _by_names,
    "stream": _stream,
    "build": _build,
    "send": _sent(),
    "send stream": _sent(stream=True),
    "send twice": _sent(twice=True),
    "send pickled": _sent(pickled=True),
    "by hand": _by_hand(httpx.Request),
    "by hand stream": _by_hand(httpx.Request, stream=True),
    "by hand own": _by_hand(Own),
    "bare": _bare,
    "written": _written,
    "nonsense": _nonsense,
}


# ------------------------------------------------------------------------------------------- what becomes of the response


def _all(name: str, **options: Any) -> Then:
    async def act(side: Side, response: httpx.Response) -> None:
        if side.tasks:
            pieces = [piece async for piece in getattr(response, f"a{name}")(**options)]
        else:
            pieces = list(getattr(response, name)(**options))
        if response.is_error:  # it may have been read ahead, for classifying: the same, in one piece
            pieces = [type(pieces[0])().join(pieces)] if pieces else []
        side.note(name, pieces)

    return act


async def _nothing(side: Side, response: httpx.Response) -> None:
    """Leave it."""


async def _read(side: Side, response: httpx.Response) -> None:
    side.note("read", await side.finish(response.aread() if side.tasks else response.read()))


async def _close(side: Side, response: httpx.Response) -> None:
    await side.close(response)


async def _half(side: Side, response: httpx.Response) -> None:
    if response.is_error:  # as above
        await side.close(response)
    elif side.tasks:
        async for piece in response.aiter_raw():
            side.note("half", piece)
            break
    else:
        for piece in response.iter_raw():
            side.note("half", piece)
            break
    await side.close(response)


async def _twice(side: Side, response: httpx.Response) -> None:
    await _read(side, response)
    await _all("iter_bytes", chunk_size=2)(side, response)
    await _all("iter_raw")(side, response)


async def _encode(side: Side, response: httpx.Response) -> None:
    response.encoding = "iso-8859-1"
    await _read(side, response)
    side.note("text", response.text)


async def _json(side: Side, response: httpx.Response) -> None:
    await _read(side, response)
    side.note("json", response.json())


async def _raise(side: Side, response: httpx.Response) -> None:
    response.raise_for_status()


async def _next(side: Side, response: httpx.Response) -> None:
    if response.next_request is not None:
        await side.close(response)
        followed = await side.finish(side.client.send(response.next_request))
        side.note("followed", told(side, followed))


async def _again(side: Side, response: httpx.Response) -> None:
    await side.close(response)
    side.note("again", told(side, await side.finish(side.client.send(response.request))))


async def _pickle(side: Side, response: httpx.Response) -> None:
    for what in (response, response.request):
        twin = pickle.loads(pickle.dumps(what))  # noqa: S301 - our own bytes
        side.note("pickled", [told(side, twin), sorted(what.__getstate__())])


THEN: dict[str, Then] = {
    "look": _nothing,
    "read": _read,
    "bytes": _all("iter_bytes"),
    "small": _all("iter_bytes", chunk_size=3),
    "raw": _all("iter_raw"),
    "text": _all("iter_text"),
    "lines": _all("iter_lines"),
    "close": _close,
    "half": _half,
    "twice": _twice,
    "encode": _encode,
    "json": _json,
    "raise": _raise,
    "next": _next,
    "again": _again,
    "pickle": _pickle,
}


# --------------------------------------------------------------------------------------------- what changes in between


def _do(work: Callable[[Side], Any]) -> Callable[[Side], Any]:
    """Do something of which nothing comes."""

    def act(side: Side) -> None:
        work(side)

    return act


def _set(**values: Any) -> Callable[[Side], Any]:
    def act(side: Side) -> None:
        for name, value in values.items():
            setattr(side.client, name, value)

    return act


def _enter(side: Side) -> Any:
    return side.client.__aenter__() if side.tasks else side.client.__enter__()


def _exit(side: Side) -> Any:
    return side.client.__aexit__() if side.tasks else side.client.__exit__()


def _close_client(side: Side) -> Any:
    return side.client.aclose() if side.tasks else side.client.close()


def _spoil_request(side: Side) -> None:
    request = side.sent[-1]
    request.headers["X-Leak"] = "1"
    request.headers["User-Agent"] = "leak/1"
    request.extensions["timeout"].clear()
    request.extensions["leak"] = 1
    request.url = httpx.URL("https://leak.test/")
    request.method = "LEAK"


def _spoil_response(side: Side) -> None:
    side.last.headers["X-Leak"] = "1"
    side.last.extensions.clear()
    side.last.history.append(None)
    side.last.default_encoding = "no-such"


def _spoil_given(side: Side) -> None:
    """Go on with what was passed in, as a caller does who fills one dict of headers for each call."""
    for (name, _), value in side.kept.items():
        if name == "headers" and isinstance(value, dict | httpx.Headers):
            value["X-Grown"] = "1"
        elif name in {"params", "cookies", "json", "data"} and isinstance(value, dict | httpx.Cookies):
            value["grown"] = "1"
        elif name == "extensions" and isinstance(value, dict):
            value["grown"] = 1
            if isinstance(value.get("timeout"), dict):
                value["timeout"]["read"] = 0.5


def _spoil_timeout(side: Side) -> None:
    side.client.timeout.read = 0.75


class NoCookies(httpx.Cookies):
    """The well-known way to have no cookies at all."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Take none."""

    def set_cookie_header(self, request: httpx.Request) -> None:
        """Give none."""


def _own_cookies(side: Side) -> None:
    class OwnCookies(httpx.Cookies):
        """A user's own kind of cookies, which tells of every response that it is shown."""

        def extract_cookies(self, response: httpx.Response) -> None:
            side.note("own cookies are shown", told(side, response.request))
            super().extract_cookies(response)

    side.client._cookies = OwnCookies()


def _watch_cookies(side: Side) -> None:
    cookies = side.client.cookies
    extract = cookies.extract_cookies

    def watch(response: httpx.Response) -> None:
        side.note("cookies are shown", told(side, response.request))
        extract(response)

    cookies.extract_cookies = watch


CHANGES: dict[str, Callable[[Side], Any]] = {
    "headers set": _do(lambda side: side.client.headers.__setitem__("X-Set", "1")),
    "headers set again": _do(lambda side: side.client.headers.__setitem__("x-SET", "2")),
    "headers set latin": _do(lambda side: side.client.headers.__setitem__("X-Set", "é")),
    "headers delete": _do(lambda side: side.client.headers.__delitem__("Accept")),
    "headers update": _do(lambda side: side.client.headers.update([("X-Up", "1"), ("X-Up", "2")])),
    "headers pop": _do(lambda side: side.client.headers.pop("User-Agent", None)),
    "headers clear": _do(lambda side: side.client.headers.clear()),
    "headers assign": _set(headers={"X-Assigned": "1"}),
    "headers assign own": _set(headers=httpx.Headers({"User-Agent": "own/1"})),
    "headers assign none": _set(headers=None),
    "headers host": _do(lambda side: side.client.headers.__setitem__("Host", "host.test")),
    "headers cookie": _do(lambda side: side.client.headers.__setitem__("Cookie", "h=1")),
    "headers kind": _do(lambda side: side.client.headers.__setitem__("Content-Type", "text/x")),
    "headers length": _do(lambda side: side.client.headers.__setitem__("Content-Length", "2")),
    "headers encoding": _do(lambda side: setattr(side.client.headers, "encoding", "iso-8859-1")),
    "base_url": _set(base_url="https://changed.test/v2"),
    "base_url object": _set(base_url=httpx.URL("http://changed.test:81/v3?k=1")),
    "base_url user": _set(base_url="https://u:p@changed.test/"),
    "base_url none": _set(base_url=""),
    "base_url bad": _set(base_url="https://["),
    "params": _set(params={"p": "1"}),
    "params pairs": _set(params=[("p", "1"), ("p", "2")]),
    "params none": _set(params=None),
    "cookies set": _do(lambda side: side.client.cookies.set("set", "1")),
    "cookies set for another": _do(lambda side: side.client.cookies.set("set", "1", domain="other.test")),
    "cookies set for path": _do(
        lambda side: side.client.cookies.set("set", "1", domain="api.test", path="/x")
    ),
    "cookies delete": _do(lambda side: side.client.cookies.delete("a")),
    "cookies clear": _do(lambda side: side.client.cookies.clear()),
    "cookies jar": _do(
        lambda side: side.client.cookies.jar.set_cookie(next(iter(httpx.Cookies({"j": "1"}).jar)))
    ),
    "cookies jar replaced": _do(
        lambda side: setattr(side.client.cookies, "jar", httpx.Cookies({"r": "1"}).jar)
    ),
    "cookies assign": _set(cookies={"as": "1"}),
    "cookies assign none": _set(cookies=None),
    "cookies watched": _do(lambda side: setattr(side.client, "cookies", watched_jar(side))),
    "cookies watched below": _do(lambda side: setattr(side.client.cookies, "jar", watched_jar(side))),
    "cookies shown": _do(_watch_cookies),
    "cookies of an own kind": _own_cookies,
    "cookies none at all": _do(lambda side: setattr(side.client, "_cookies", NoCookies())),
    "timeout": _set(timeout=7),
    "timeout real": _set(timeout=7.0),
    "timeout none": _set(timeout=None),
    "timeout own": _set(timeout=httpx.Timeout(1.0, pool=None)),
    "timeout written": _do(_spoil_timeout),
    "auth": _set(auth=("who", "secret")),
    "auth none": _set(auth=None),
    "auth wrong": _set(auth=5),
    "auth function": _do(lambda side: setattr(side.client, "auth", _bearer)),
    "follow": _set(follow_redirects=True),
    "follow not": _set(follow_redirects=False),
    "follow none": _set(follow_redirects=None),
    "redirects": _set(max_redirects=0),
    "redirects below none": _set(max_redirects=-1),
    "hook request": _do(lambda side: side.client.event_hooks["request"].append(hook(side, "added"))),
    "hook response": _do(lambda side: side.client.event_hooks["response"].append(hook(side, "added"))),
    "hooks assign": _do(lambda side: setattr(side.client, "event_hooks", HOOKS["one_of_each"](side))),
    "hooks clear": _set(event_hooks={}),
    "hooks emptied": _do(lambda side: [hooks.clear() for hooks in side.client.event_hooks.values()]),
    "encoding": _set(_default_encoding="iso-8859-1"),
    "transport": _do(lambda side: setattr(side.client, "_transport", Wire(side, "put in later"))),
    "mounts": _do(
        lambda side: setattr(side.client, "_mounts", {_pattern("https://"): Wire(side, "mounted later")})
    ),
    "mount added": _do(
        lambda side: side.client._mounts.__setitem__(_pattern("all://api.test"), Wire(side, "added"))
    ),
    "enter": _enter,
    "exit": _exit,
    "close": _close_client,
    "spoil request": _do(_spoil_request),
    "spoil response": _do(_spoil_response),
    "spoil given": _do(_spoil_given),
    "state": lambda side: side.note("state", told_value(side.client.is_closed)),
}


def _bearer(request: httpx.Request) -> httpx.Request:
    request.headers["Authorization"] = "Bearer later"
    return request


def _pattern(text: str) -> Any:
    return httpx._utils.URLPattern(text)  # no public name
