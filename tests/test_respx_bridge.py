"""The bridge between httpx and httpx2: respx's routes answer clients of both, and what goes between them is converted.

Most of what is asserted here is that a plain client of httpx2's meets what a plain client of httpx's meets.
"""

from __future__ import annotations

import gzip
import inspect
import socket
import ssl
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

import anyio
import httpcore
import httpcore2
import httpx
import httpx2
import pytest
import respx
from loopback import Loopback, page
from respx.mocks import HTTPCoreMocker, Mocker
from respx.models import AllMockedAssertionError, SideEffectError

from resilient_client.clock import use_clock
from resilient_client.testing import (
    VirtualClock,
    assert_attempts,
    bridge_respx,
    error_response,
    to_httpx,
    to_httpx2,
)
from resilient_client.testing._bridge import _HTTPCore2Mocker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

URL = "https://api.example/things"
TLS = ssl.create_default_context()  # made once: each client would make its own
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
WAYS = pytest.mark.parametrize("way", ["threads", "asyncio", "trio"])
OTHER = {httpx: httpx2, httpx2: httpx}

ERRORS = [
    name
    for name in httpx2.__all__
    if inspect.isclass(getattr(httpx2, name))
    and issubclass(getattr(httpx2, name), Exception)
    and hasattr(httpx, name)
]
TRANSPORT_ERRORS = [name for name in ERRORS if issubclass(getattr(httpx, name), httpx.TransportError)]


@pytest.fixture
def bridge() -> Iterator[None]:
    """Let respx's routes answer httpx2's clients."""
    with bridge_respx():
        yield


def call(library: Any, way: str = "threads", method: str = "GET", url: str = URL, **options: Any) -> Any:
    """Send a request with a plain client, and give the response, read."""
    if way == "threads":
        with library.Client(verify=TLS) as client:
            return client.request(method, url, **options)

    async def send() -> Any:
        async with library.AsyncClient(verify=TLS) as client:
            return await client.request(method, url, **options)

    return anyio.run(send, backend=way)


def read(library: Any, way: str) -> tuple[list[bytes], Any]:
    """Stream a response, and give the parts of its body with what ended it."""
    parts: list[bytes] = []

    async def in_a_task() -> None:
        async with library.AsyncClient(verify=TLS) as client, client.stream("GET", URL) as response:
            async for part in response.aiter_raw():
                parts.append(part)  # noqa: PERF401 - what came before an error counts

    try:
        if way == "threads":
            with library.Client(verify=TLS) as client, client.stream("GET", URL) as response:
                parts.extend(response.iter_raw())
        else:
            anyio.run(in_a_task, backend=way)
    except Exception as error:  # noqa: BLE001 - it is what is looked at
        return parts, error
    return parts, None


class Parts(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes in parts, and remembers how far it was asked; an exception among them is raised."""

    def __init__(self, *parts: bytes | Exception) -> None:
        self.parts = parts
        self.asked = 0
        self.is_closed = False

    def _next(self) -> bytes:
        part = self.parts[self.asked]
        self.asked += 1
        if isinstance(part, Exception):
            raise part
        return part

    def __iter__(self) -> Iterator[bytes]:
        while self.asked < len(self.parts):
            yield self._next()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.asked < len(self.parts):
            yield self._next()

    def close(self) -> None:
        self.is_closed = True

    async def aclose(self) -> None:
        self.is_closed = True


def explained(error: Exception) -> Exception:
    """Give an exception with notes."""
    error.add_note("the first note")
    error.add_note("the second note")
    return error


# ------------------------------------------------------------------------------------------------------ who is answered


@WAYS
@pytest.mark.usefixtures("bridge")
def test_one_route_answers_clients_of_both(way: str) -> None:
    """The same route object, in one test; it counts the calls of both."""
    with respx.mock() as router:
        router.get(URL).respond(json={"here": True})
        answers = [call(library, way) for library in (httpx, httpx2, httpx2)]

    assert [type(answer) for answer in answers] == [httpx.Response, httpx2.Response, httpx2.Response]
    assert [answer.json() for answer in answers] == [{"here": True}] * 3
    assert all(answer.elapsed > timedelta(0) for answer in answers)


@WAYS
@pytest.mark.usefixtures("bridge")
def test_calls_of_both_are_counted_and_kept(way: str) -> None:
    """`route.calls` and the router's own have them in order, as httpx's requests and responses."""
    with respx.mock() as router:
        route = router.post(URL).respond(201)
        call(httpx2, way, "POST", json={"number": 1})
        call(httpx, way, "POST", json={"number": 2})
        call(httpx2, way, "POST", json={"number": 3})

        assert route.call_count == router.calls.call_count == 3
        assert [made.request.content for made in route.calls] == [
            b'{"number":1}',
            b'{"number":2}',
            b'{"number":3}',
        ]
        assert {type(made.request) for made in route.calls} == {httpx.Request}
        assert [made.response.status_code for made in router.calls] == [201] * 3
        assert route.calls.last.request.headers["User-Agent"].startswith("python-httpx2/")


@WAYS
@LIBRARIES
@pytest.mark.usefixtures("bridge")
def test_a_request_that_is_not_mocked_fails(library: Any, way: str) -> None:
    """As in respx: an AssertionError, which no client takes for a failure of the network."""
    with respx.mock(assert_all_called=False) as router:
        router.post(URL)
        with pytest.raises(AllMockedAssertionError, match=r"<Request\('GET', '.*/things'\)> not mocked"):
            call(library, way)


@pytest.mark.usefixtures("bridge")
def test_a_route_that_httpx2_has_called_is_called() -> None:
    """`assert_all_called` is content with it, and is not where nobody called."""
    with respx.mock(assert_all_called=True) as router:
        router.get(URL)
        call(httpx2)
    with pytest.raises(AssertionError, match="some routes were not called"), respx.mock() as router:  # noqa: PT012 - the end fails
        router.get(URL)
        router.post(URL)
        call(httpx2)


@pytest.mark.usefixtures("bridge")
@respx.mock
def test_the_global_router_answers() -> None:
    """`@respx.mock` and `respx.get` work as they do for httpx."""
    respx.get(URL).respond(text="global")

    assert call(httpx2).text == "global"


@pytest.mark.usefixtures("bridge")
@pytest.mark.respx(base_url="https://api.example")
def test_the_fixture_of_respx_answers(respx_mock: respx.MockRouter) -> None:
    """`respx_mock`, here with a base URL."""
    respx_mock.get("/things").respond(text="of the fixture")

    assert call(httpx2).text == "of the fixture"


def test_a_router_that_was_started_before_answers() -> None:
    """The bridge and the routers may begin and end in any order."""
    with respx.mock() as router:
        router.get(URL).respond(text="before")
        with bridge_respx():
            assert call(httpx2).text == "before"
    with bridge_respx():
        for text in ("one", "two"):
            with respx.mock() as router:
                router.get(URL).respond(text=text)
                assert call(httpx2).text == text


@LIBRARIES
@pytest.mark.usefixtures("bridge")
def test_routers_nest(library: Any) -> None:
    """Of several, the one that knows the request answers, and the outer ones first: as respx has it."""
    with respx.mock(base_url="https://outer.example", assert_all_called=False) as outer:
        outer.get("/").respond(text="outer")
        with respx.mock(assert_all_called=False) as inner:
            inner.get("https://outer.example/").respond(text="not asked")
            inner.get("https://inner.example/").respond(text="inner")

            assert call(library, url="https://outer.example/").text == "outer"
            assert call(library, url="https://inner.example/").text == "inner"
        with pytest.raises(AllMockedAssertionError):
            call(library, url="https://inner.example/")
        assert call(library, url="https://outer.example/").text == "outer"


@WAYS
@pytest.mark.parametrize(
    "proxy", ["http://proxy.example:8080", "https://proxy.example", "socks5://proxy.example"]
)
@pytest.mark.parametrize("url", [URL, "http://api.example/things"])
@pytest.mark.usefixtures("bridge")
def test_requests_through_a_proxy_are_answered(url: str, proxy: str, way: str) -> None:
    """The proxy is not connected to either."""

    async def in_a_task() -> str:
        async with httpx2.AsyncClient(proxy=proxy, verify=TLS) as client:
            return (await client.get(url)).text

    with respx.mock() as router:
        router.get(url).respond(text="mocked")
        if way == "threads":
            with httpx2.Client(proxy=proxy, verify=TLS) as client:
                text = client.get(url).text
        else:
            text = anyio.run(in_a_task, backend=way)

    assert text == "mocked"


@pytest.mark.usefixtures("bridge")
def test_pools_and_connections_of_httpcore2_are_answered() -> None:
    """Whoever uses them without httpx2 gets httpcore2's responses."""
    origin = httpcore2.Origin(b"https", b"api.example", 443)
    with (
        respx.mock() as router,
        httpcore2.ConnectionPool() as pool,
        httpcore2.HTTPConnection(origin) as connection,
    ):
        router.get(URL).respond(text="mocked")

        for way in (pool, connection):
            response = way.request("GET", URL)
            assert (type(response), response.content) == (httpcore2.Response, b"mocked")


@pytest.mark.usefixtures("bridge")
def test_every_way_of_sending_is_replaced() -> None:
    """What respx does not find it passes over: each of its places in httpcore must be there in httpcore2."""
    assert len(_HTTPCore2Mocker.targets) == len(HTTPCoreMocker.targets) == 6
    for target in _HTTPCore2Mocker.targets:
        module, _, name = target.rpartition(".")
        kind = getattr(import_module(module), name)
        method = "handle_async_request" if name.startswith("Async") else "handle_request"
        assert getattr(kind, method).__module__ == "resilient_client.testing._bridge"


def test_without_the_bridge_httpx2_is_not_answered() -> None:
    """Neither respx by itself nor a bridge that has ended touches it."""
    ways = [
        (httpcore2.ConnectionPool, "handle_request"),
        (httpcore2.HTTPProxy, "handle_request"),
        (httpcore2.HTTPConnection, "handle_request"),
        (httpcore2.AsyncConnectionPool, "handle_async_request"),
        (httpcore2.AsyncHTTPProxy, "handle_async_request"),
        (httpcore2.AsyncHTTPConnection, "handle_async_request"),
    ]

    def present() -> list[Any]:
        return [getattr(kind, name) for kind, name in ways]

    before = present()
    with respx.mock():
        assert present() == before
        with pytest.raises(LookupError), bridge_respx():
            raise LookupError
        assert present() == before
        with bridge_respx():
            assert not set(present()) & set(before)
            with bridge_respx():
                pass
            assert not set(present()) & set(before)
        assert present() == before
    assert "handle_request" not in vars(httpcore2.HTTPProxy)


def test_bridges_may_overlap() -> None:
    """One that began later goes on when the first ends."""
    one, other = bridge_respx(), bridge_respx()
    with respx.mock() as router:
        router.get(URL).respond(text="mocked")
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        assert call(httpx2).text == "mocked"
        other.__exit__(None, None, None)
    assert httpcore2.ConnectionPool.handle_request.__module__.startswith("httpcore2.")


def test_a_bridge_is_no_decorator() -> None:
    """On an async function it would have ended before the first request, which would go to the network."""
    with pytest.raises(TypeError):
        bridge_respx()(test_bridges_may_overlap)  # type: ignore[operator]  # it is what is tested


def test_nothing_of_respx_is_changed() -> None:
    """Its registry has its own two modes, and the routers are its own list."""
    assert set(Mocker.registry) == {"httpx", "httpcore"}
    assert _HTTPCore2Mocker.routers is HTTPCoreMocker.routers
    assert _HTTPCore2Mocker._patches is not HTTPCoreMocker._patches


# --------------------------------------------------------------------------------------------- what is let through


@WAYS
@pytest.mark.usefixtures("bridge")
def test_where_no_router_is_active_httpx2_sends_the_request(way: str) -> None:
    """Over its own connections."""
    with Loopback(page(200, b"real")) as server:
        assert call(httpx2, way, url=server.url).content == b"real"
        assert server.connections == 1


@pytest.mark.usefixtures("bridge")
def test_where_no_router_is_active_a_body_is_not_read_beforehand() -> None:
    """What is uploaded as a stream goes out as one."""
    has_come = threading.Event()

    def parts() -> Iterator[bytes]:
        yield b"first"
        assert has_come.wait(10), "the second part was asked for before the first was sent"
        yield b" second"

    def serve(listener: socket.socket) -> bytes:
        peer, _ = listener.accept()
        with peer, peer.makefile("rb") as sent:
            received = b"".join(iter(sent.readline, b"\r\n")) + sent.readline() + sent.readline()
            has_come.set()
            while not received.endswith(b"0\r\n\r\n"):
                received += sent.readline()
            peer.sendall(page(200, b"thank you", close=True))
        return received

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(10)
        received = pool.submit(serve, listener)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert call(httpx2, method="POST", url=url, content=parts()).content == b"thank you"

    assert b"first" in received.result()


@WAYS
@pytest.mark.usefixtures("bridge")
def test_a_route_may_let_requests_through(way: str) -> None:
    """They arrive with their bodies, and are counted as httpx's are."""
    counts = []
    with Loopback(page(200, b"real")) as server:
        for library in (httpx, httpx2):
            with respx.mock() as router:
                route = router.route(host="127.0.0.1").pass_through()
                router.get(URL).respond(text="mocked")
                answer = call(library, way, "POST", server.url, json={"sample": 1})
                counts.append(route.call_count)
                assert call(library, way).text == "mocked"
            assert (type(answer), answer.content) == (library.Response, b"real")

    assert [exchange.body for exchange in server.exchanges] == [b'{"sample":1}'] * 2
    assert counts[0] == counts[1] > 0


@pytest.mark.usefixtures("bridge")
def test_errors_of_what_is_let_through_are_httpx2s_own() -> None:
    """Nothing stands between the connection and the client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with respx.mock() as router:
        router.get(url).pass_through()
        with pytest.raises(httpx2.ConnectError) as caught:
            call(httpx2, url=url)

    assert isinstance(caught.value.__cause__, httpcore2.ConnectError)


# --------------------------------------------------------------------------------------------- what a router is asked


BODIES: dict[str, dict[str, Any]] = {
    "none": {},
    "empty": {"content": b""},
    "bytes": {"content": b"\x00\xff"},
    "json": {"json": {"ä": [1, None]}},
    "form": {"data": {"a": ["1", "2"], "b": "ü"}},
    "file": {
        "files": {"file": ("name.txt", b"text", "text/plain")},
        "headers": {"Content-Type": "multipart/form-data; boundary=between"},
    },
}


@WAYS
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.usefixtures("bridge")
def test_a_router_is_asked_with_the_same_request(body: str, way: str) -> None:
    """Method, URL, headers as they are on the wire, body and extensions are those that httpx's client brings."""
    headers = [("user-agent", "the same"), ("Accept-Encoding", "gzip"), ("X-Twice", "1"), ("x-twice", "2")]
    options = {**BODIES[body], "headers": [*headers, *BODIES[body].get("headers", {}).items()]}
    options |= {"params": {"q": "a b&c", "ö": "é/?"}, "extensions": {"sni_hostname": "other.example"}}
    with respx.mock() as router:
        route = router.route().respond(200)
        for library in (httpx, httpx2):
            call(library, way, "PATCH", "https://api.example:8443/th%20ings/%2F/ä;x", timeout=7, **options)

    first, second = (made.request for made in route.calls)
    assert (second.method, str(second.url)) == (first.method, str(first.url))
    assert second.url.raw_path == first.url.raw_path
    assert second.headers.raw == first.headers.raw
    assert second.content == first.content
    assert second.extensions == first.extensions
    assert second.extensions["timeout"]["read"] == 7


@WAYS
@pytest.mark.usefixtures("bridge")
def test_a_body_that_is_a_stream_is_at_hand(way: str) -> None:
    """The router, and whatever looks at the calls, finds it read."""

    def parts() -> Iterator[bytes]:
        yield from (b"one ", b"two")

    async def async_parts() -> AsyncIterator[bytes]:
        for part in parts():
            yield part

    with respx.mock() as router:
        route = router.post(URL, content=b"one two").respond(200)
        call(httpx2, way, "POST", content=parts() if way == "threads" else async_parts())

    assert route.calls.last.request.content == b"one two"
    assert route.calls.last.request.headers["Transfer-Encoding"] == "chunked"


@pytest.mark.usefixtures("bridge")
def test_cookies_redirects_and_auth_are_the_clients_own() -> None:
    """What httpx2's client does with a reply, it does with a mocked one."""
    with respx.mock() as router, httpx2.Client(verify=TLS, auth=("ann", "secret")) as client:
        router.get(URL).respond(
            302, headers=[("Location", "/there"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        )
        there = router.get("https://api.example/there").respond(200)
        response = client.get(URL, follow_redirects=True)

    assert [earlier.status_code for earlier in response.history] == [302]
    assert dict(client.cookies) == {"a": "1", "b": "2"}
    assert there.calls.last.request.headers["Cookie"] == "a=1; b=2"
    assert there.calls.last.request.headers["Authorization"].startswith("Basic ")


# ----------------------------------------------------------------------------------------------- what a client is given


@WAYS
@pytest.mark.parametrize(
    "options",
    [
        {"status_code": 204},
        {
            "status_code": 418,
            "extensions": {"reason_phrase": b"Short and Stout", "http_version": b"HTTP/1.0"},
        },
        {"status_code": 200, "http_version": "HTTP/2", "json": {"a": "ä"}},
        {
            "status_code": 200,
            "headers": [(b"X-Twice", b"1"), (b"x-twice", b"2"), (b"X-Raw", b"caf\xe9")],
            "text": "ü",
        },
        {"status_code": 500, "headers": {"Content-Encoding": "gzip"}, "content": gzip.compress(b"packed")},
        {"status_code": 200, "cookies": {"a": "1"}, "html": "<p>"},
    ],
    ids=["empty", "reason", "version", "headers", "gzip", "cookies"],
)
@pytest.mark.usefixtures("bridge")
def test_a_reply_is_the_same_for_both(options: dict[str, Any], way: str) -> None:
    """Status, reason, version, headers as they are on the wire, and body."""
    with respx.mock() as router:
        router.get(URL).respond(**options)
        first, second = (call(library, way) for library in (httpx, httpx2))

    assert type(second) is httpx2.Response
    assert (second.status_code, second.reason_phrase) == (first.status_code, first.reason_phrase)
    assert second.http_version == first.http_version
    assert second.headers.raw == first.headers.raw
    assert (second.content, second.text) == (first.content, first.text)
    assert second.request.url == URL


@WAYS
@LIBRARIES
@pytest.mark.usefixtures("bridge")
def test_a_body_comes_in_parts(library: Any, way: str) -> None:
    """A stream is read as the client reads it, and closed when it has done so."""
    stream = Parts(b"one", b"two", b"three")
    with respx.mock() as router:
        router.get(URL).mock(return_value=httpx.Response(200, stream=stream))

        assert read(library, way) == ([b"one", b"two", b"three"], None)

    assert stream.is_closed


# Not under trio, which warns of the generators that both libraries leave open then.
@pytest.mark.parametrize("way", ["threads", "asyncio"])
@LIBRARIES
@pytest.mark.usefixtures("bridge")
def test_a_body_is_read_no_further_than_asked(library: Any, way: str) -> None:
    """A client that stops in the middle closes it, and asks for no more."""
    stream = Parts(b"one", b"two", b"three")

    def stop_early() -> bytes:
        with library.Client(verify=TLS) as client, client.stream("GET", URL) as response:
            first: bytes = next(response.iter_raw())
        return first

    async def stop_a_task_early() -> bytes:
        async with library.AsyncClient(verify=TLS) as client, client.stream("GET", URL) as response:
            parts = response.aiter_raw()
            first: bytes = await anext(parts)
            await parts.aclose()
        return first

    with respx.mock() as router:
        router.get(URL).mock(return_value=httpx.Response(200, stream=stream))

        assert (stop_early() if way == "threads" else anyio.run(stop_a_task_early, backend=way)) == b"one"

    assert (stream.asked, stream.is_closed) == (1, True)


@WAYS
@LIBRARIES
@pytest.mark.usefixtures("bridge")
def test_an_error_in_the_middle_of_a_body_is_the_clients_own(library: Any, way: str) -> None:
    """What came before it has come; its message, its cause and its notes are kept."""
    cause = OSError("the cable")
    failure = explained(httpx.ReadError("cut off"))
    failure.__cause__ = cause
    with respx.mock() as router:
        router.get(URL).mock(return_value=httpx.Response(200, stream=Parts(b"one", failure)))
        parts, error = read(library, way)

    assert parts == [b"one"]
    assert type(error) is library.ReadError
    assert str(error) == "cut off"
    assert error.__cause__ is cause
    assert error.__notes__ == ["the first note", "the second note"]
    assert error.request.url == URL


@WAYS
@pytest.mark.usefixtures("bridge")
def test_no_second_error_is_shown_for_one_in_the_middle_of_a_body(way: str) -> None:
    """The conversion leaves no context behind."""
    with respx.mock() as router:
        router.get(URL).mock(return_value=httpx.Response(200, stream=Parts(httpx.ReadError("cut off"))))
        _, error = read(httpx2, way)

    assert isinstance(error, httpx2.ReadError)
    assert error.__context__ is None


@WAYS
@pytest.mark.usefixtures("bridge")
def test_another_error_in_the_middle_of_a_body_is_not_touched(way: str) -> None:
    """It is the very exception that was raised."""
    failures = [ValueError("a bug"), httpx2.ReadError("its own")]
    with respx.mock() as router:
        router.get(URL).mock(side_effect=[httpx.Response(200, stream=Parts(failure)) for failure in failures])

        assert [read(httpx2, way)[1] for _ in failures] == failures


@WAYS
@pytest.mark.usefixtures("bridge")
def test_an_error_at_the_end_of_a_body_is_the_clients_own(way: str) -> None:
    """Closing may fail, too."""

    class Stuck(Parts):
        def close(self) -> None:
            raise httpx.CloseError("stuck")

        async def aclose(self) -> None:
            raise httpx.CloseError("stuck")

    with respx.mock() as router:
        router.get(URL).mock(return_value=httpx.Response(200, stream=Stuck(b"one")))
        parts, error = read(httpx2, way)

    assert (parts, repr(error)) == ([b"one"], "CloseError('stuck')")
    assert isinstance(error, httpx2.CloseError)


@pytest.mark.usefixtures("bridge")
def test_a_stream_for_tasks_is_refused_by_threads_as_httpx_does() -> None:
    """The kind of a stream is not lost: an async one in a sync client is a slip of the test's."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"one"

    for library in (httpx, httpx2):
        with respx.mock() as router:
            router.get(URL).mock(return_value=httpx.Response(200, content=parts()))
            with pytest.raises(AssertionError):
                call(library)


@pytest.mark.usefixtures("bridge")
def test_events_are_streamed() -> None:
    """httpx2's reader of server-sent events reads a mocked stream."""
    with respx.mock() as router, httpx2.Client(verify=TLS) as client:
        stream = Parts(b"data: one\n\n", b"data: two\n\n")
        router.get(URL).mock(
            return_value=httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=stream)
        )
        with client.sse(URL) as events:
            assert [event.data for event in events] == ["one", "two"]


# -------------------------------------------------------------------------------------------------------------- errors


@WAYS
@pytest.mark.parametrize("name", TRANSPORT_ERRORS)
@pytest.mark.usefixtures("bridge")
def test_an_error_of_httpxs_reaches_each_client_as_its_own(name: str, way: str) -> None:
    """Planned as a class, as an object, or raised by a function: the class of the same name, with the same message."""

    def fail(_request: httpx.Request) -> httpx.Response:
        raise explained(getattr(httpx, name)("of a function"))

    kind = getattr(httpx, name)
    for library in (httpx, httpx2):
        with respx.mock() as router:
            router.get(URL).mock(side_effect=[kind, explained(kind("an object"))])
            router.post(URL).mock(side_effect=fail)
            caught = []
            for method in ("GET", "GET", "POST"):
                with pytest.raises(getattr(library, name)) as failed:
                    call(library, way, method)
                caught.append(failed.value)

        assert {type(error) for error in caught} == {getattr(library, name)}
        assert [str(error) for error in caught] == ["Mock Error", "an object", "of a function"]
        assert [getattr(error, "__notes__", []) for error in caught[1:]] == [
            ["the first note", "the second note"]
        ] * 2
        assert [type(error.__cause__) for error in caught] == [SideEffectError] * 3  # respx puts it there
        assert {type(error.request) for error in caught} == {library.Request}


@WAYS
@pytest.mark.usefixtures("bridge")
def test_errors_of_httpcores_reach_each_client_as_its_own(way: str) -> None:
    """Each library makes its own of those of the connections beneath it."""
    with respx.mock() as router:
        router.get(URL).mock(side_effect=httpcore.ConnectTimeout("too far"))
        for library in (httpx, httpx2):
            with pytest.raises(library.ConnectTimeout, match=r"^too far$"):
                call(library, way)


@WAYS
@pytest.mark.parametrize(
    "failure", [httpx2.ReadTimeout("its own"), ValueError("a bug"), KeyError("k")], ids=repr
)
@pytest.mark.usefixtures("bridge")
def test_other_errors_are_not_touched(failure: Exception, way: str) -> None:
    """httpx2's own, and those of neither library, are the very objects that were planned."""
    with respx.mock() as router:
        router.get(URL).mock(side_effect=failure)
        with pytest.raises(type(failure)) as caught:
            call(httpx2, way)

    assert caught.value is failure


@pytest.mark.usefixtures("bridge")
def test_an_error_tells_where_it_was_raised_and_of_no_conversion() -> None:
    """Its traceback leads to the side effect, and no second exception is shown for the same failure."""

    def the_side_effect(_request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    with respx.mock() as router:
        router.get(URL).mock(side_effect=the_side_effect)
        with pytest.raises(httpx2.ReadTimeout) as caught:
            call(httpx2)
    shown = "".join(traceback.format_exception(caught.value))

    assert "in the_side_effect" in shown
    assert shown.count("During handling of") == 0
    assert shown.count("\nhttpx2.ReadTimeout: slow") == 1


@WAYS
@pytest.mark.usefixtures("bridge")
def test_an_error_in_a_task_may_come_of_an_async_side_effect(way: str) -> None:
    """What it raises when it is awaited is converted, too."""

    async def fail(_request: httpx.Request) -> httpx.Response:
        await anyio.lowlevel.checkpoint()
        raise httpx.PoolTimeout("full")

    with respx.mock() as router:
        router.get(URL).mock(side_effect=fail if way != "threads" else httpx.PoolTimeout("full"))
        with pytest.raises(httpx2.PoolTimeout, match=r"^full$"):
            call(httpx2, way)


@pytest.mark.usefixtures("bridge")
def test_threads_of_both_share_a_route() -> None:
    """Each of many requests at once has its own reply, in its own library's words."""
    together = threading.Barrier(8)
    with (
        respx.mock() as router,
        httpx.Client(verify=TLS) as one,
        httpx2.Client(verify=TLS) as other,
        ThreadPoolExecutor(8) as pool,
    ):
        route = router.get(url__startswith=URL).mock(
            side_effect=lambda request: httpx.Response(200, text=request.url.params["number"])
        )

        def ask(number: int) -> Any:
            together.wait(timeout=10)
            client: Any = (one, other)[number % 2]
            return client.get(URL, params={"number": number})

        answers = list(pool.map(ask, range(8)))

    assert [answer.text for answer in answers] == [str(number) for number in range(8)]
    assert [type(answer) for answer in answers] == [httpx.Response, httpx2.Response] * 4
    assert len({made.request.url.params["number"] for made in route.calls}) == 8


# --------------------------------------------------------------------------------------------------- a resilient client


def resilient(library: Any, way: str, **options: Any) -> Any:
    """GET the codes of 0trace with a resilient client of one library."""
    home = import_module("resilient_client" if library is httpx else "resilient_client.httpx2")
    options = {"base_url": "https://0trace.io/api", **options}
    if way == "threads":
        with home.ResilientClient("zerotrace", **options) as client:
            return client.get("/v1/codes")

    async def send() -> Any:
        async with home.AsyncResilientClient("zerotrace", **options) as client:
            return await client.get("/v1/codes")

    return anyio.run(send, backend=way)


@WAYS
@LIBRARIES
@pytest.mark.usefixtures("bridge")
def test_a_resilient_client_retries_what_a_route_answers(library: Any, way: str) -> None:
    """The same routes, the same attempts, and the network's errors in its own library's words."""
    with respx.mock() as router, use_clock(VirtualClock()) as clock:
        route = router.get("https://0trace.io/api/v1/codes").mock(
            side_effect=[
                httpx.ReadTimeout("silence"),
                error_response("zerotrace", "UPSTREAM_ERROR"),
                httpx.Response(200, json={"code": 0}),
            ]
        )
        response = resilient(library, way)

    assert isinstance(response, library.Response)
    assert_attempts(response, library.ReadTimeout, "UPSTREAM_ERROR", "OK")
    assert len(clock.sleeps) == 2
    assert {type(made.request) for made in route.calls} == {httpx.Request}


@WAYS
@LIBRARIES
@pytest.mark.usefixtures("bridge")
def test_a_resilient_client_does_not_retry_what_nobody_mocked(library: Any, way: str) -> None:
    """It is no failure of the network."""
    with respx.mock() as router, use_clock(VirtualClock()) as clock, pytest.raises(AllMockedAssertionError):
        resilient(library, way)

    assert clock.sleeps == []
    assert router.calls.call_count == 0


# ------------------------------------------------------------------------------------------------ converting by hand


def to(library: Any) -> Callable[[Any], Any]:
    """Give the function that converts into a library."""
    return to_httpx if library is httpx else to_httpx2


@LIBRARIES
def test_what_is_of_the_library_already_is_given_back(library: Any) -> None:
    """The very object."""
    request = library.Request("GET", URL)
    for thing in (request, library.Response(200), library.ReadTimeout("slow"), ValueError("neither")):
        assert to(library)(thing) is thing


@pytest.mark.parametrize("thing", ["GET", 200, None, httpx.Headers(), httpx2.URL(URL), httpx.Request])
@LIBRARIES
def test_anything_else_is_refused(library: Any, thing: object) -> None:
    """It is a slip."""
    with pytest.raises(TypeError):
        to(library)(thing)


@pytest.mark.parametrize("body", BODIES)
@LIBRARIES
def test_a_request_is_converted(library: Any, body: str) -> None:
    """Method, URL, headers as they are on the wire, body and extensions are kept, and the original is as it was."""
    url = "https://ann:p%40ss@api.example:8443/th%20ings/%2F?q=a%20b&q=%C3%A9#part"
    headers = [("X-Twice", "1"), ("x-twice", "2"), *BODIES[body].get("headers", {}).items()]
    given = OTHER[library].Request(
        "patch", url, **BODIES[body] | {"headers": headers}, extensions={"timeout": {}}
    )
    given.read()
    converted = to(library)(given)

    assert type(converted) is library.Request
    assert (converted.method, str(converted.url)) == ("PATCH", url)
    assert converted.headers.raw == given.headers.raw
    assert converted.content == given.content
    assert converted.extensions == {"timeout": {}}
    assert to(OTHER[library])(converted).headers.raw == given.headers.raw


@LIBRARIES
def test_a_request_with_a_stream_is_converted(library: Any) -> None:
    """It is read from where it comes, of the same kind, and once."""
    given = OTHER[library].Request("POST", URL, content=(part for part in (b"one ", b"two")))
    converted = to(library)(given)

    assert isinstance(converted.stream, library.SyncByteStream)
    assert not isinstance(converted.stream, library.AsyncByteStream)
    assert converted.headers["Transfer-Encoding"] == "chunked"
    assert converted.read() == b"one two"
    with pytest.raises(library.StreamConsumed):
        list(to(library)(given).stream)


@LIBRARIES
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_request_with_an_async_stream_is_converted(library: Any, backend: str) -> None:
    """Tasks read it, and threads cannot."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def convert() -> None:
        converted = to(library)(OTHER[library].Request("POST", URL, content=parts()))

        assert isinstance(converted.stream, library.AsyncByteStream)
        assert not isinstance(converted.stream, library.SyncByteStream)
        assert await converted.aread() == b"one two"
        await converted.stream.aclose()

    anyio.run(convert, backend=backend)


@LIBRARIES
def test_a_response_is_converted(library: Any) -> None:
    """Status, headers as they are on the wire, body, extensions, request, history, the next request, and its time."""
    other = OTHER[library]
    request = other.Request("GET", URL)
    given = other.Response(
        302,
        headers=[("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("Location", "/there")],
        text="gone",
        request=request,
        extensions={"reason_phrase": b"Over There", "http_version": b"HTTP/2"},
        history=[other.Response(301, request=request)],
    )
    given.elapsed = timedelta(seconds=3)
    given.next_request = other.Request("GET", "https://api.example/there")
    converted = to(library)(given)

    assert type(converted) is library.Response
    assert (converted.status_code, converted.reason_phrase, converted.http_version) == (
        302,
        "Over There",
        "HTTP/2",
    )
    assert converted.headers.raw == given.headers.raw
    assert (converted.text, converted.elapsed) == ("gone", timedelta(seconds=3))
    assert (type(converted.request), converted.request.url) == (library.Request, URL)
    assert [(type(earlier), earlier.status_code) for earlier in converted.history] == [
        (library.Response, 301)
    ]
    assert type(converted.next_request) is library.Request


@LIBRARIES
def test_a_response_without_a_request_has_none(library: Any) -> None:
    """Nor a time that it took, until it is closed."""
    converted = to(library)(OTHER[library].Response(200))

    assert converted.next_request is None
    with pytest.raises(RuntimeError):
        converted.request  # noqa: B018 - asking is what is tested
    with pytest.raises(RuntimeError):
        converted.elapsed  # noqa: B018 - as above


@LIBRARIES
def test_a_packed_body_is_unpacked_once(library: Any) -> None:
    """It is what it was: packed on the wire, and plain in the hand; a stream that was read has nothing left on the wire."""
    packed = gzip.compress(b"plain")
    other = OTHER[library]
    at_hand = other.Response(200, headers={"Content-Encoding": "gzip"}, content=packed)
    was_read = other.Response(200, headers={"Content-Encoding": "gzip"}, content=iter([packed]))
    was_read.read()

    for given in (at_hand, was_read):
        converted = to(library)(given)
        assert converted.headers.raw == given.headers.raw
        assert converted.content == b"plain"
    assert b"".join(to(library)(at_hand).stream) == packed
    with pytest.raises(library.StreamConsumed):
        list(to(library)(was_read).iter_raw())


@LIBRARIES
def test_the_encoding_of_a_text_is_kept(library: Any) -> None:
    """One that was set, and one that is to be guessed."""
    other = OTHER[library]
    was_set = other.Response(200, content="ä".encode("cp1252"))
    was_set.encoding = "cp1252"
    guessed = other.Response(
        200, content=iter(["ä".encode("utf-16")]), default_encoding=lambda _content: "utf-16"
    )
    converted = to(library)(guessed)
    converted.read()

    assert (to(library)(was_set).text, converted.text) == ("ä", "ä")


@LIBRARIES
def test_a_response_that_has_not_been_read_is_read_later(library: Any) -> None:
    """Part by part, with its errors converted, and closing it closes the original."""
    other = OTHER[library]
    closed = []

    class Failing(other.SyncByteStream):  # type: ignore[misc,name-defined]  # of either library
        def __iter__(self) -> Iterator[bytes]:
            yield b"one"
            raise other.ReadError("cut off")

        def close(self) -> None:
            closed.append(self)

    converted = to(library)(other.Response(200, stream=Failing()))
    parts = converted.iter_raw()

    assert next(parts) == b"one"
    with pytest.raises(library.ReadError, match=r"^cut off$"):
        next(parts)
    converted.close()
    assert closed


@LIBRARIES
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_body_that_is_left_is_ended(library: Any, backend: str) -> None:
    """What makes it ends with it, in the same task: trio would warn of it otherwise."""
    ended = []
    other = OTHER[library]

    class Unfinished(other.AsyncByteStream):  # type: ignore[misc,name-defined]  # of either library
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                yield b"one"
                yield b"two"
            finally:
                ended.append(anyio.get_current_task().id)

    async def leave() -> int:
        stream = aiter(to(library)(other.Response(200, stream=Unfinished())).stream)
        assert await anext(stream) == b"one"
        await stream.aclose()
        return anyio.get_current_task().id

    assert [anyio.run(leave, backend=backend)] == ended


@LIBRARIES
def test_an_application_written_for_one_answers_the_other(library: Any) -> None:
    """A handler of one library's, in the other's MockTransport."""
    other = OTHER[library]

    def handler(request: Any) -> Any:
        assert type(request) is other.Request
        return other.Response(200, json={"path": request.url.path, "size": len(request.content)})

    transport = library.MockTransport(lambda request: to(library)(handler(to(other)(request))))
    with library.Client(transport=transport) as client:
        assert client.post(URL, content=b"four").json() == {"path": "/things", "size": 4}


@pytest.mark.parametrize("name", ERRORS)
@LIBRARIES
def test_every_error_has_its_counterpart(library: Any, name: str) -> None:
    """The class of the same name, with the same message."""
    kind = getattr(OTHER[library], name)
    words: dict[str, Any] = {}
    if name == "HTTPStatusError":
        words = {"request": OTHER[library].Request("GET", URL), "response": OTHER[library].Response(500)}
    takes_a_message = "message" in inspect.signature(kind).parameters
    given = kind("the message", **words) if takes_a_message else kind()
    converted = to(library)(given)

    assert type(converted) is getattr(library, name)
    assert (str(converted), converted.args) == (str(given), given.args)


@LIBRARIES
def test_an_error_keeps_what_it_has(library: Any) -> None:
    """Its cause, context and traceback, attributes and notes; its request and its response are converted."""
    other = OTHER[library]
    request = other.Request("GET", URL)
    given = other.HTTPStatusError("bad", request=request, response=other.Response(503, request=request))
    given.attempts = 5
    explained(given)
    given.__context__ = OSError("the context")

    def fail() -> None:
        raise given from KeyError("the cause")

    with pytest.raises(other.HTTPStatusError) as caught:
        fail()
    converted = to(library)(caught.value)

    assert (type(converted.request), type(converted.response)) == (library.Request, library.Response)
    assert (converted.response.status_code, converted.attempts) == (503, 5)
    assert converted.__cause__ is given.__cause__
    assert converted.__context__ is given.__context__
    assert converted.__traceback__ is given.__traceback__
    assert converted.__suppress_context__
    converted.add_note("the third note")
    assert given.__notes__ == ["the first note", "the second note"]
    assert type(given.request) is other.Request


@pytest.mark.parametrize("cause", [OSError("the cause"), None], ids=repr)
@LIBRARIES
def test_an_error_shows_as_much_of_its_context_as_before(library: Any, cause: Exception | None) -> None:
    """All of it, unless it was raised `from` something, or from None."""
    plain, raised = OTHER[library].ReadError("plain"), OTHER[library].ReadError("raised")
    plain.__context__ = raised.__context__ = OSError("the context")
    raised.__cause__ = cause

    assert not to(library)(plain).__suppress_context__
    assert to(library)(raised).__suppress_context__


@LIBRARIES
def test_a_subclass_becomes_its_nearest_base(library: Any) -> None:
    """A class of the test's own has no counterpart; its base has."""

    class Slow(OTHER[library].ReadTimeout):  # type: ignore[misc]  # of either library
        def __init__(self, seconds: float) -> None:
            super().__init__(f"nothing for {seconds:g} s")

    converted = to(library)(Slow(3))

    assert repr(converted) == "ReadTimeout('nothing for 3 s')"
    assert type(converted) is library.ReadTimeout


def test_an_error_that_only_httpx2_has_becomes_its_nearest_base() -> None:
    """There are no server-sent events in httpx."""
    converted = to_httpx(httpx2.SSEError("not a stream of events"))

    assert type(converted) is next(
        getattr(httpx, kind.__name__) for kind in httpx2.SSEError.__mro__ if hasattr(httpx, kind.__name__)
    )


def test_an_error_of_both_is_of_each() -> None:
    """A class that is caught as either is left as it is."""

    class Both(httpx.ReadTimeout, httpx2.ReadTimeout):  # type: ignore[misc]  # the one's request is the other's, at run time
        pass

    failure = Both("slow")

    assert to_httpx(failure) is to_httpx2(failure) is failure
