"""What stands beneath the client when it is aiohttp: what is done to it, what is left as it is, and each thing that differs from httpx's own pool.

Law of this file: each difference that `docs/engines.md` lists is pinned here; what is the same stands in the `test_engine_*` files.
"""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import httpx
import pytest
import respx
from both import ONE, Engine, within
from httpx_aiohttp import AiohttpTransport
from loopback import Exchange, Loopback, page

from resilient_client import AsyncResilientClient, AsyncResilientTransport, outcome_of
from resilient_client.engines import aiohttp_session
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

AIOHTTP = Engine("aiohttp")


def hang_up(exchange: Exchange) -> None:
    """Close the connection where an answer was due."""
    exchange.hang_up()


# ----------------------------------------------------------------------------------------------- nothing unless used


@pytest.mark.parametrize("hidden", [True, False], ids=["without the extra", "with it"])
def test_nobody_who_does_not_use_aiohttp_loads_it(*, hidden: bool) -> None:
    """Neither by the import nor by a client and its calls; where the extra is missing, nothing is missed."""
    program = f"""
import asyncio, sys
if {hidden}:
    sys.modules["aiohttp"] = sys.modules["httpx_aiohttp"] = None
import httpx, resilient_client, resilient_client.engines

class Mine(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request):
        return httpx.Response(200)

async def main():
    for transport in (None, httpx.MockTransport(lambda _: httpx.Response(200)), Mine()):
        async with resilient_client.AsyncResilientClient("zerotrace", transport=transport, deadline=5) as client:
            if transport is not None:
                await client.get("https://api.example/")

asyncio.run(main())
print([name for name in sys.modules if "aiohttp" in name and sys.modules[name] is not None])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("[]\n", "")


# --------------------------------------------------------------------------------------------------- what is done to it


def test_one_line_is_all_that_a_user_writes() -> None:
    """The policy retries, the outcome tells, and the transport that was given can be found."""

    async def scenario() -> None:
        transport = AiohttpTransport()
        with Loopback(page(503, b'{"code": 11, "msg": "UPSTREAM_ERROR"}'), page(200, b"{}")) as server:
            async with AsyncResilientClient("zerotrace", transport=transport, clock=VirtualClock()) as client:
                response = await client.get(f"{server.url}/api/v1/codes")
                assert [attempt.verdict.name for attempt in outcome_of(response).attempts] == [
                    "UPSTREAM_ERROR",
                    "OK",
                ]
                assert client._transport == transport
            assert isinstance(transport.client, aiohttp.ClientSession)
            assert transport.client.closed

    within(5, scenario)


def _as_a_transport(beneath: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=AsyncResilientTransport(transport=beneath, clock=VirtualClock()))


def _as_a_mount(beneath: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    return AsyncResilientClient(mounts={"all://": beneath}, clock=VirtualClock(), trust_env=False)


@pytest.mark.parametrize("used", [_as_a_transport, _as_a_mount])
def test_it_may_stand_wherever_a_transport_may(
    used: Callable[[httpx.AsyncBaseTransport], httpx.AsyncClient],
) -> None:
    """Alone in a client of httpx's, or in mounts; a request is sent once, and again by the library alone."""

    async def scenario() -> None:
        with Loopback(hang_up, page(200, b"ok")) as server:
            async with used(AiohttpTransport()) as client:
                response = await client.get(server.url)
            assert [type(attempt.error) for attempt in outcome_of(response).attempts] == [
                httpx.RemoteProtocolError,
                type(None),
            ]
            assert len(server.exchanges) == 2

    within(5, scenario)


def test_two_clients_may_share_a_transport() -> None:
    """It is made ready once."""

    async def scenario() -> None:
        transport = AiohttpTransport()
        with Loopback(hang_up, page(200, b"ok")) as server:
            first, second = (
                AsyncResilientClient(transport=transport, clock=VirtualClock()) for _ in range(2)
            )
            async with first, second:
                assert (await first.get(server.url)).content == b"ok"
                assert (await second.get(server.url)).content == b"ok"
            assert server.connections == 2

    within(5, scenario)


def test_its_own_options_are_kept() -> None:
    """Limits, and what the connection is made with."""

    async def scenario() -> None:
        limits = httpx.Limits(max_connections=7, keepalive_expiry=3)
        transport = AiohttpTransport(limits=limits, local_address="127.0.0.1")
        with Loopback(page(200)) as server:
            async with AsyncResilientClient(transport=transport) as client:
                await client.get(server.url)
                session: Any = transport.client
                assert session.connector.limit == 7
                assert session.connector._keepalive_timeout == 3
                assert session.connector._local_addr_infos is not None

    within(5, scenario)


def test_an_exceptions_text_keeps_the_query_to_itself() -> None:
    """Where what came back is no HTTP, aiohttp's own holds the whole address."""

    async def scenario() -> None:
        with Loopback(lambda exchange: exchange.say(b"220 mail ready\r\n\r\n")) as server:
            async with AIOHTTP.client(clock=VirtualClock()) as client:
                with pytest.raises(httpx.RemoteProtocolError) as caught:
                    await client.get(server.url, params={"q": "a-name-of-somebody"})
        shown: BaseException | None = caught.value
        while shown is not None:
            assert "somebody" not in str(shown)
            shown = shown.__cause__ if shown.__suppress_context__ or shown.__cause__ else shown.__context__

    within(5, scenario)


# --------------------------------------------------------------------------------------------- sessions of one's own


def test_a_session_of_ones_own_is_made_by_aiohttp_session() -> None:
    """With a connector and a middleware of the caller's; it sends once, and raises httpx's exceptions."""
    seen: list[str] = []

    async def watch(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        seen.append(request.method)
        return await handler(request)

    def session() -> aiohttp.ClientSession:
        return aiohttp_session(connector=aiohttp.TCPConnector(limit=0), middlewares=(watch,))

    async def scenario() -> None:
        with Loopback(hang_up, page(200, b"ok")) as server:
            async with AIOHTTP.client(client=session, clock=VirtualClock()) as client:
                response = await client.get(server.url)
                assert isinstance(outcome_of(response).attempts[0].error, httpx.RemoteProtocolError)
            assert seen == ["GET", "GET"]
            assert len(server.exchanges) == 2

    within(5, scenario)


def test_such_a_session_serves_others_too() -> None:
    """A client of httpx's own, and aiohttp's own calls, which go where they say, also after a call of ours."""

    async def scenario() -> None:
        with Loopback(page(200, b"ok")) as server:
            transport = AiohttpTransport(client=aiohttp_session())
            async with httpx.AsyncClient(transport=transport) as plain:
                assert (await plain.get(f"{server.url}/a")).content == b"ok"
                await AsyncResilientClient(transport=transport).get(f"{server.url}/b")
                assert isinstance(transport.client, aiohttp.ClientSession)
                async with transport.client.get(f"{server.url}/c") as response:
                    assert await response.read() == b"ok"
            assert [exchange.target for exchange in server.exchanges] == ["/a", "/b", "/c"]

    within(5, scenario)


def test_what_a_middleware_raises_is_not_renamed() -> None:
    """It is its author's."""

    async def refuse(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        raise LookupError(request.url.path)

    async def scenario() -> None:
        async with AIOHTTP.client(client=lambda: aiohttp_session(middlewares=(refuse,))) as client:
            with pytest.raises(LookupError, match="/a"):
                await client.get("http://127.0.0.1:9/a")

    within(5, scenario)


def test_a_session_of_aiohttps_own_making_is_left_as_it_is() -> None:
    """It repeats a GET by itself, and keeps cookies of its own; a POST is sent once all the same."""

    async def scenario() -> None:
        pages = (page(200, b"", "Set-Cookie: a=1"), hang_up, page(200, b"ok"), hang_up)
        with Loopback(*pages) as server:
            here = server.url.replace("127.0.0.1", "localhost")
            transport = AiohttpTransport(client=aiohttp.ClientSession)
            async with AsyncResilientClient(transport=transport, clock=VirtualClock()) as client:
                await client.get(here)
                client.cookies.clear()
                response = await client.get(here)
                assert len(outcome_of(response).attempts) == 1
                with pytest.raises(httpx.ConnectTimeout) as caught:
                    await client.post(here)
                assert outcome_of(caught.value).maybe_applied
            assert [exchange.headers.get("cookie") for exchange in server.exchanges] == [None, *["a=1"] * 3]

    within(5, scenario)


def test_a_transport_that_makes_its_session_in_a_way_of_its_own_is_left_to_it() -> None:
    """A subclass knows better."""
    made: list[aiohttp.ClientSession] = []

    class Mine(AiohttpTransport):
        def get_client(self) -> aiohttp.ClientSession:
            made.append(aiohttp.ClientSession())
            return made[-1]

    async def scenario() -> None:
        transport = Mine()
        with Loopback(page(200)) as server:
            async with AsyncResilientClient(transport=transport) as client:
                await client.get(server.url)
                await client.get(server.url)
        assert made == [transport.client]

    within(5, scenario)


# ---------------------------------------------------------------------------------------------------- what differs


def test_what_is_given_to_the_client_for_its_own_transport_is_not_aiohttps() -> None:
    """Beside `transport=` it is left aside, and a proxy leads round aiohttp; it is the transport that has to be given it."""

    async def scenario() -> None:
        with Loopback(page(200, b"by proxy")) as proxy, Loopback(page(200, b"directly")) as server:
            transport = AiohttpTransport()
            limits = httpx.Limits(max_connections=3)
            async with AsyncResilientClient(transport=transport, proxy=proxy.url, limits=limits) as client:
                assert (await client.get(server.url)).content == b"by proxy"
                assert not isinstance(transport.client, aiohttp.ClientSession)
            async with AsyncResilientClient(transport=transport, limits=limits) as client:
                assert (await client.get(server.url)).content == b"directly"
                session: Any = transport.client
                assert session.connector.limit == 100

    within(5, scenario)


def test_a_proxy_may_be_given_as_an_address() -> None:
    """httpx-aiohttp alone wants an `httpx.Proxy`."""

    async def scenario() -> None:
        with Loopback(page(200, b"by proxy")) as proxy:
            address: Any = proxy.url.replace("//", "//user:secret-word@")
            async with AIOHTTP.client(proxy=address) as client:
                assert (await client.get("http://far.test/")).content == b"by proxy"
            assert proxy.exchanges[0].headers["proxy-authorization"].startswith("Basic ")

    within(5, scenario)


@pytest.mark.parametrize(("asked", "given"), [(None, 100), (0, 0), (5, 5)])
def test_no_limit_is_a_hundred_connections_and_0_is_no_limit(asked: int | None, given: int) -> None:
    """In httpx, None is no limit."""

    async def scenario() -> None:
        transport = AiohttpTransport(limits=httpx.Limits(max_connections=asked))
        with Loopback(page(200)) as server:
            async with AsyncResilientClient(transport=transport) as client:
                await client.get(server.url)
                session: Any = transport.client
                assert session.connector.limit == given

    within(5, scenario)


def test_three_options_of_a_transport_of_httpxs_do_nothing() -> None:
    """They are taken; connections are kept all the same, and nothing reads the other two."""

    async def scenario() -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        with Loopback(page(200)) as server:
            async with AIOHTTP.client(limits=limits) as client:
                await client.get(server.url)
                await client.get(server.url)
            assert server.connections == 1

    within(5, scenario)
    source = inspect.getsource(AiohttpTransport)
    assert [source.count(f"self.{name}") for name in ("retries", "socket_options")] == [1, 1]


def test_a_mock_that_replaces_httpxs_way_of_sending_is_not_met() -> None:
    """It is the transport that a test has to replace."""

    async def scenario() -> None:
        with Loopback(page(200, b"the server")) as server, respx.mock(assert_all_called=False) as mock:
            mock.get(server.url).respond(200, content=b"the mock")
            async with AIOHTTP.client() as client:
                assert (await client.get(server.url)).content == b"the server"

    within(5, scenario)


def test_it_needs_asyncio() -> None:
    """Under trio a call says so at once."""

    async def scenario() -> None:
        async with AIOHTTP.client() as client:
            with pytest.raises(RuntimeError, match="no running event loop"):
                await client.get("http://127.0.0.1:9/")

    anyio.run(scenario, backend="trio")


def arrived(engine: Engine, method: str, path: str, **options: Any) -> tuple[bytes, httpx.Response]:
    """Send a request, and give its head as it arrived."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async def ask() -> httpx.Response:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"
            async with engine.client() as client:
                return await client.request(method, url, **options)

    response = asyncio.run(ask())
    return heads[0], response


def test_the_names_of_headers_are_in_small_letters_and_doubles_are_joined() -> None:
    """RFC 9110 5.1 and 5.3: it means the same; values that are not ASCII go out in UTF-8."""
    headers = [("X-One", "1"), ("X-One", "2"), ("X-Bytes", "café".encode("latin-1"))]
    ours, theirs = (arrived(Engine(name), "GET", "/", headers=headers)[0] for name in ("aiohttp", "httpx"))

    assert b"X-One: 1\r\nX-One: 2\r\nX-Bytes: caf\xe9\r\n" in theirs
    assert b"x-one: 1, 2\r\nx-bytes: caf\xc3\xa9\r\n" in ours


def test_a_delete_without_a_body_says_so() -> None:
    """RFC 9110 8.6 allows it; httpx says nothing."""
    ours, theirs = (arrived(Engine(name), "DELETE", "/")[0] for name in ("aiohttp", "httpx"))

    assert b"Content-Length: 0\r\n" in ours
    assert b"ength" not in theirs


def test_a_query_that_is_empty_is_not_asked_for() -> None:
    """The question mark alone is lost."""
    ours, theirs = (arrived(Engine(name), "GET", "/a?")[0] for name in ("aiohttp", "httpx"))

    assert ours.startswith(b"GET /a HTTP/1.1\r\n")
    assert theirs.startswith(b"GET /a? HTTP/1.1\r\n")


def test_of_a_requests_extensions_it_knows_the_timeouts_and_the_servers_name() -> None:
    """`target` and `trace` it does not."""
    told: list[str] = []

    async def trace(name: str, _: object) -> None:
        told.append(name)

    extensions = {"target": b"/other", "trace": trace}
    head, _ = arrived(AIOHTTP, "GET", "/asked", extensions=extensions)

    assert head.startswith(b"GET /asked ")
    assert told == []


def test_a_response_tells_no_other_version_than_1_1_and_has_no_network_stream() -> None:
    """Not even that of a server of HTTP/1.0."""
    ours, theirs = (arrived(Engine(name), "GET", "/")[1] for name in ("aiohttp", "httpx"))

    assert (ours.http_version, theirs.http_version) == ("HTTP/1.1", "HTTP/1.0")
    assert theirs.extensions.keys() - ours.extensions.keys() == {"network_stream"}


def test_a_pool_without_room_is_called_a_connect_timeout() -> None:
    """Both mean that nothing was sent; a circuit breaker counts this one, though, as if the host had failed."""

    async def scenario() -> None:
        with Loopback(page(200, b"x" * 5_000_000)) as server:
            timeout = httpx.Timeout(5, pool=0.05)
            async with (
                AIOHTTP.client(limits=ONE, timeout=timeout, clock=VirtualClock()) as client,
                client.stream("GET", server.url),
            ):
                with pytest.raises(httpx.ConnectTimeout, match="or was free"):
                    await client.post(server.url, extensions={"resilience": {"retry": False}})

    within(5, scenario)


def test_timeouts_above_five_seconds_end_on_a_whole_second() -> None:
    """It wakes for many at once; a deadline is exact."""
    assert aiohttp.ClientTimeout().ceil_threshold == 5


def test_a_length_that_is_not_kept_is_found_out_late() -> None:
    """Over httpx's own, h11 finds it; here the server waits for the rest, and the caller for its answer."""

    async def short() -> AsyncIterator[bytes]:
        yield b"abc"

    async def scenario() -> None:
        with Loopback(page(200)) as server:
            async with AIOHTTP.client(clock=VirtualClock()) as client:
                with pytest.raises(httpx.ReadTimeout):
                    await client.put(
                        server.url, content=short(), headers={"Content-Length": "10"}, timeout=0.1
                    )
            assert server.exchanges == []

    within(5, scenario)
