"""What goes over the wire and what comes back is the same over both engines: addresses, headers, bodies, streams.

Law of this file: a test says what holds for every engine; what differs stands in `test_aiohttp.py`.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from both import ENGINES, ONE, Engine, over_both, within
from loopback import Exchange, Loopback, page

from resilient_client import ApiError, HmacAuth, outcome_of
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytest_generate_tests = over_both

SAFE = {"resilience": {"idempotent": True}}
BIG = bytes(range(256)) * 1200  # more than a socket takes at once

# What httpx makes up anew for each client, or each request.
_MADE_UP = ("host", "x-api-sign", "x-api-nonce")


async def generated() -> AsyncIterator[bytes]:
    yield b"some "
    yield b"bytes"


BODIES: dict[str, Callable[[], dict[str, Any]]] = {
    "nothing": dict,
    "empty bytes": lambda: {"content": b""},
    "bytes": lambda: {"content": b"\x00\xff bytes \r\n"},
    "many bytes": lambda: {"content": BIG},
    "text": lambda: {"content": "žluťoučký"},
    "json": lambda: {"json": {"amount": 1.10, "name": "é", "b": [1, None]}},
    "form": lambda: {"data": {"a": "1&2", "b": ["x", "y"]}},
    "multipart": lambda: {"files": {"f": ("name.txt", b"content", "text/plain")}, "data": {"a": "1"}},
    "multipart file": lambda: {"files": {"f": ("n", io.BytesIO(BIG), "text/plain")}},
}
HEADERS = {"Content-Type": "multipart/form-data; boundary=one"}


async def sent(engine: Engine, method: str, *pages: bytes, path: str = "/", **options: Any) -> list[Exchange]:
    """Make a call, and list the requests that arrived for it."""
    with Loopback(*pages) as server:
        async with engine.client(clock=VirtualClock(), limits=ONE) as client:
            response = await client.request(method, server.url + path, extensions=SAFE, **options)
            assert response.status_code == 200
        return server.exchanges


def shown(exchanges: list[Exchange]) -> list[Any]:
    """Give what can be compared of requests."""
    return [
        (
            exchange.method,
            exchange.target,
            {name: value for name, value in exchange.headers.items() if name not in _MADE_UP},
            exchange.body,
        )
        for exchange in exchanges
    ]


# ------------------------------------------------------------------------------------------------ what is sent


@pytest.mark.parametrize("body", BODIES)
def test_the_same_request_arrives_over_both_at_the_first_attempt_and_at_every_other(body: str) -> None:
    """Method, target, headers and bytes; nothing is added, and nothing is in chunks that was not."""
    arrived = []
    for name in ENGINES:
        options = BODIES[body]()
        if "multipart" in body:
            options["headers"] = HEADERS
        requests = asyncio.run(sent(Engine(name), "POST", page(503), page(503), page(200), **options))
        assert len(requests) == 3
        assert shown(requests) == shown(requests)[:1] * 3
        arrived.append(shown(requests)[0])

    assert arrived == arrived[:1] * len(ENGINES)
    assert "transfer-encoding" not in arrived[0][2]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_request_that_has_no_body_has_none_when_it_is_repeated(method: str) -> None:
    """No length, no type and no chunks."""
    theirs, *ours = (
        asyncio.run(sent(Engine(name), method, page(503), page(200), params={"q": "1"})) for name in ENGINES
    )

    assert [shown(requests) for requests in ours] == [shown(theirs)] * len(ours)
    assert [shown([request]) for request in theirs] == [shown(theirs[:1])] * 2
    for request in theirs:
        assert request.headers.keys().isdisjoint({"content-length", "content-type", "transfer-encoding"})


PATHS = [
    "/a%2Fb/%7Ex/%41?x=%2B+%20'&y=a%26b;c",
    "/ž/é?q=ž",
    "//double//slash",
    "/a/./b/../c",
    '/a|b?c=|d"',
    "/%zz?a=%zz",
    "/a?b=c#d",
    "/caf%E9?z=%E9",
    "/a:b@c,d;e=f!$'()*+",
    "/?x=[1]&y={a}^`",
]


@pytest.mark.parametrize("path", PATHS)
def test_the_address_is_asked_for_as_httpx_wrote_it(path: str) -> None:
    """A signature over it stays right."""
    targets = [asyncio.run(sent(Engine(name), "GET", page(200), path=path))[0].target for name in ENGINES]

    assert targets == [httpx.URL(f"http://127.0.0.1{path}").raw_path.decode()] * len(ENGINES)


def test_a_name_and_a_password_in_the_address_become_a_header(engine: Engine) -> None:
    """They are not in the target."""

    async def scenario() -> None:
        with Loopback(page(503), page(200)) as server:
            async with engine.client(clock=VirtualClock()) as client:
                await client.get(server.url.replace("//", "//user:secret-word@") + "/a")
            assert [exchange.headers["authorization"] for exchange in server.exchanges] == [
                "Basic dXNlcjpzZWNyZXQtd29yZA=="
            ] * 2
            assert [exchange.target for exchange in server.exchanges] == ["/a"] * 2
            assert not any("transfer-encoding" in exchange.headers for exchange in server.exchanges)

    asyncio.run(scenario())


def test_headers_that_the_caller_took_off_are_not_put_on_again(engine: Engine) -> None:
    """Neither User-Agent nor what is accepted."""

    async def scenario() -> None:
        with Loopback(page(200)) as server:
            async with engine.client(clock=VirtualClock()) as client:
                for name in ("User-Agent", "Accept", "Accept-Encoding", "Connection"):
                    del client.headers[name]
                await client.get(server.url)
            assert server.exchanges[0].headers.keys() == {"host"}

    asyncio.run(scenario())


def test_a_generator_goes_out_in_chunks_and_is_not_sent_again(engine: Engine) -> None:
    """Its bytes are gone; the caller gets the real answer, and its own request as it was."""

    async def scenario() -> None:
        with Loopback(page(503, b'{"message": "down"}'), page(200)) as server:
            async with engine.client(clock=VirtualClock()) as client:
                response = await client.post(server.url, content=generated(), extensions=SAFE)
                assert response.json() == {"message": "down"}
                assert outcome_of(response).reason == "body_not_replayable"
                assert response.request.headers["transfer-encoding"] == "chunked"
            (exchange,) = server.exchanges
            assert exchange.body == b"some bytes"
            assert exchange.headers["transfer-encoding"] == "chunked"
            assert "content-length" not in exchange.headers

    asyncio.run(scenario())


def test_a_generator_with_a_length_goes_out_with_it(engine: Engine) -> None:
    """Not in chunks."""
    headers = {"Content-Length": "10"}
    (exchange,) = asyncio.run(sent(engine, "PUT", page(200), content=generated(), headers=headers))

    assert exchange.body == b"some bytes"
    assert (exchange.headers["content-length"], exchange.headers.get("transfer-encoding")) == ("10", None)


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_generator_that_was_read_to_be_signed_is_framed_in_one_way(engine: Engine, size: int) -> None:
    """And then it can be sent again, under a new nonce."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * size

    async def scenario() -> None:
        with Loopback(page(503), page(200)) as server:
            auth = HmacAuth("key-name", "secret-word")
            async with engine.client(clock=VirtualClock(), auth=auth) as client:
                assert (await client.put(server.url, content=pieces())).status_code == 200
            first, second = server.exchanges
            assert first.body == second.body == b"x" * size
            for exchange in server.exchanges:
                assert ("content-length" in exchange.headers) + ("transfer-encoding" in exchange.headers) == 1
            assert first.headers["x-api-nonce"] != second.headers["x-api-nonce"]

    within(10, scenario)


def test_what_a_generator_raises_reaches_the_caller_as_it_is(engine: Engine) -> None:
    """It is no failure of the network, and nothing is sent again for it."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise LookupError("no more of it")

    async def scenario() -> None:
        with Loopback(page(200)) as server:
            async with engine.client(clock=VirtualClock()) as client:
                with pytest.raises(LookupError, match="no more of it") as caught:
                    await client.put(server.url, content=broken())
                assert len(outcome_of(caught.value).attempts) == 1

    asyncio.run(scenario())


def test_a_header_that_cannot_be_written_is_the_callers_own_mistake(engine: Engine) -> None:
    """Nothing is sent, and nothing tried again."""

    async def scenario() -> None:
        with Loopback(page(200)) as server:
            async with engine.client(clock=VirtualClock()) as client:
                with pytest.raises(httpx.LocalProtocolError) as caught:
                    await client.get(server.url, headers={"X-Split": "a\r\nX-Injected: b"})
                assert len(outcome_of(caught.value).attempts) == 1
            assert server.exchanges == []

    asyncio.run(scenario())


# --------------------------------------------------------------------------------- redirects, cookies and hooks


@pytest.mark.parametrize(
    ("method", "status", "then"), [("GET", 302, "GET"), ("PUT", 307, "PUT"), ("POST", 303, "GET")]
)
def test_a_redirected_request_is_sent_as_httpx_made_it(method: str, status: int, then: str) -> None:
    """With its body, or without any; not as one of unknown length."""
    options: dict[str, Any] = {"follow_redirects": True} | (
        {} if method == "GET" else {"content": b"some bytes"}
    )
    pages = (page(503), page(status, b"", "Location: /there"), page(503), page(200))
    theirs, *ours = (asyncio.run(sent(Engine(name), method, *pages, **options)) for name in ENGINES)

    assert [shown(requests) for requests in ours] == [shown(theirs)] * len(ours)
    assert [exchange.method for exchange in theirs] == [method, method, then, then]
    assert not any("transfer-encoding" in exchange.headers for exchange in theirs)


def test_cookies_are_httpxs_affair(engine: Engine) -> None:
    """One that was set goes out, one of a discarded attempt too; one that was deleted does not."""

    async def scenario() -> None:
        with Loopback(
            page(503, b"", "Set-Cookie: first=1"), page(200, b"", "Set-Cookie: second=2")
        ) as server:
            here = server.url.replace("127.0.0.1", "localhost")  # aiohttp's own jar keeps none of an address
            async with engine.client(clock=VirtualClock()) as client:
                await client.get(here)
                await client.get(here)
                client.cookies.clear()
                await client.get(here)
            assert [exchange.headers.get("cookie") for exchange in server.exchanges] == [
                None,
                None,
                "first=1; second=2",
                None,
            ]

    asyncio.run(scenario())


def test_hooks_see_the_request_and_the_response_once(engine: Engine) -> None:
    """Attempts are the observers' affair."""
    seen: list[Any] = []

    async def asked(request: httpx.Request) -> None:
        seen.append(request.method)

    async def answered(response: httpx.Response) -> None:
        seen.append((response.status_code, len(outcome_of(response).attempts)))

    async def scenario() -> None:
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [asked], "response": [answered]}
        with Loopback(page(503), page(200)) as server:
            async with engine.client(clock=VirtualClock(), event_hooks=hooks) as client:
                await client.get(server.url)

    asyncio.run(scenario())
    assert seen == ["GET", (200, 2)]


# -------------------------------------------------------------------------------------------- what comes back


def test_the_head_of_a_response_is_the_servers_own(engine: Engine) -> None:
    """Case, order, doubles, bytes that are not ASCII, and a header of 20 KB."""
    lines = (
        "X-One: 1",
        "x-TWO: 2",
        "X-One: 3",
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
        f"X-Long: {'l' * 20_000}",
    )

    async def scenario() -> None:
        head = page(299, b"ok", *lines).replace(b"X-One: 3", b"X-One: caf\xe9")
        with Loopback(page(503), head) as server:
            async with engine.client(clock=VirtualClock()) as client:
                response = await client.get(server.url)
                assert response.reason_phrase == "Said So"
                assert response.headers.raw[:6] == [
                    (b"X-One", b"1"),
                    (b"x-TWO", b"2"),
                    (b"X-One", b"caf\xe9"),
                    (b"Set-Cookie", b"a=1"),
                    (b"Set-Cookie", b"b=2"),
                    (b"X-Long", b"l" * 20_000),
                ]
                assert client.cookies == httpx.Cookies({"a": "1", "b": "2"})

    asyncio.run(scenario())


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "x-unknown": bytes,
}


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_encoded_body_is_decoded_once_and_its_raw_bytes_are_the_servers(
    engine: Engine, encoding: str, status: int
) -> None:
    """By httpx; the header stays."""
    document = json.dumps({"message": "no", "pad": list(range(500))}).encode()
    body = ENCODINGS[encoding](document)

    async def scenario() -> None:
        with Loopback(page(status, body, f"Content-Encoding: {encoding}")) as server:
            async with engine.client(clock=VirtualClock()) as client:
                response = await client.get(server.url)
                assert response.content == document
                assert response.headers["Content-Encoding"] == encoding
                async with client.stream("GET", server.url) as response:
                    assert b"".join([piece async for piece in response.aiter_raw()]) == body
                    assert response.num_bytes_downloaded == len(body)

    asyncio.run(scenario())


REPLIES: dict[str, bytes] = {
    "json": page(503, b'{"message": "no"}'),
    "nothing": page(503),
    "64 KiB to the byte": page(503, b"x" * 65_536),
    "chunked": page(503, b'{"message": "no"}', chunked=True),
    "chunked, 64 KiB": page(503, b"x" * 65_000, chunked=True),
    "gzip that is none": page(503, b"not gzip", "Content-Encoding: gzip"),
    "after a 103": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + page(503, b"no"),
    "with a trailer": b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nX-Trail: 1\r\n\r\n",
}


@pytest.mark.parametrize("error", REPLIES)
def test_a_retry_goes_out_on_the_connection_that_the_failure_came_in_on(engine: Engine, error: str) -> None:
    """Its body has been read to the end."""

    async def scenario() -> None:
        with Loopback(*[REPLIES[error]] * 3, page(200, b"ok")) as server:
            async with engine.client(clock=VirtualClock(), limits=ONE) as client:
                response = await client.get(server.url)
            assert response.content == b"ok"
            assert len(outcome_of(response).attempts) == 4
            assert server.connections == 1

    asyncio.run(scenario())


def test_head_204_and_304_leave_the_connection_usable(engine: Engine) -> None:
    """None of them has a body, whatever length it names."""

    async def scenario() -> None:
        pages = [
            page(503, b"", "Content-Length: 1000000"),
            page(200, b"", "Content-Length: 10"),
            b"HTTP/1.1 204 No Content\r\n\r\n",
            page(304, b"", "Content-Length: 70000"),
            page(200, b"ok"),
        ]
        with Loopback(*pages) as server:
            async with engine.client(clock=VirtualClock(), limits=ONE) as client:
                assert (await client.head(server.url)).headers["content-length"] == "10"
                assert (await client.delete(server.url)).status_code == 204
                assert (await client.get(server.url)).status_code == 304
                assert (await client.get(server.url)).content == b"ok"
            assert server.connections == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [65_537, 1_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_error_is_judged_by_its_status_and_handed_over_whole(
    engine: Engine, size: int, *, chunked: bool
) -> None:
    """And where it is retried, it is closed, and the next attempt takes another connection."""

    async def scenario() -> None:
        with Loopback(page(404, b"x" * size, chunked=chunked)) as server:
            async with engine.client(clock=VirtualClock()) as client:
                response = await client.get(server.url)
            assert response.content == b"x" * size
            assert outcome_of(response).verdict.name == "NOT_FOUND"
        with Loopback(page(503, b"x" * size, chunked=chunked), page(200, b"ok")) as server:
            timeout = httpx.Timeout(5, pool=2)
            async with engine.client(clock=VirtualClock(), limits=ONE, timeout=timeout) as client:
                assert (await client.get(server.url)).content == b"ok"

    asyncio.run(scenario())


# ----------------------------------------------------------------------------------------------------- streams


def held_back(exchange: Exchange) -> None:
    """Say the first line, and the second only when the client has asked for it elsewhere."""
    exchange.say(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: one\n\n"
    )
    while not any(other.target == "/go-on" for other in exchange.server.exchanges):
        exchange.wait(0.005)
    exchange.say(b"data: two\n\n")
    exchange.hang_up()


def test_lines_arrive_while_the_server_holds_the_next_ones_back(engine: Engine) -> None:
    """A success is a stream, after a retry as well."""

    def answer(exchange: Exchange) -> None:
        if exchange.target == "/go-on":
            exchange.say(page(200))
        elif exchange.number == 0:
            exchange.say(page(503))
        else:
            held_back(exchange)

    async def scenario() -> None:
        with Loopback(answer) as server:
            async with (
                engine.client(clock=VirtualClock()) as client,
                client.stream("GET", server.url) as response,
            ):
                assert not response.is_stream_consumed
                lines = response.aiter_lines()
                assert [await anext(lines), await anext(lines)] == ["data: one", ""]
                await client.get(f"{server.url}/go-on")
                assert [line async for line in lines] == ["data: two", ""]

    within(10, scenario)


@pytest.mark.parametrize("kind", ["aiter_raw", "aiter_bytes", "aiter_text"])
@pytest.mark.parametrize("chunked", [False, True])
def test_every_way_of_reading_gives_the_whole(engine: Engine, kind: str, *, chunked: bool) -> None:
    """In pieces of the size that was asked for."""

    async def scenario() -> None:
        with Loopback(page(200, b"x" * 100_000, chunked=chunked)) as server:
            async with (
                engine.client(clock=VirtualClock()) as client,
                client.stream("GET", server.url) as response,
            ):
                pieces = [len(piece) async for piece in getattr(response, kind)(30_000)]
            assert pieces == [30_000, 30_000, 30_000, 10_000]

    asyncio.run(scenario())


@pytest.mark.parametrize("reads", [0, 1])
def test_a_stream_that_is_left_early_gives_its_connection_back(engine: Engine, reads: int) -> None:
    """Unread, or in its middle: a pool of one has room for the next call."""

    async def scenario() -> None:
        with Loopback(page(503), page(200, b"x" * 3_000_000), page(200, b"ok")) as server:
            timeout = httpx.Timeout(5, pool=2)
            async with engine.client(clock=VirtualClock(), limits=ONE, timeout=timeout) as client:
                async with client.stream("GET", server.url) as response:
                    pieces = response.aiter_raw()
                    for _ in range(reads):
                        await anext(pieces)
                assert (await client.get(server.url)).content == b"ok"

    asyncio.run(scenario())


async def collect(response: httpx.Response, parts: list[bytes]) -> None:
    """Keep each piece as it comes."""
    async for part in response.aiter_raw():
        parts.append(part)  # noqa: PERF401 - what came before the break is to be seen


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("status", [200, 404])
def test_a_body_that_breaks_off_raises_an_exception_of_httpxs_with_what_there_was(
    engine: Engine, status: int, *, chunked: bool
) -> None:
    """To whoever reads it; it tells the outcome, and the connection is given back."""
    framing, body = (
        (b"Transfer-Encoding: chunked", b"32\r\n{half") if chunked else (b"Content-Length: 50", b"{half")
    )

    def answer(exchange: Exchange) -> None:
        if exchange.number:
            exchange.say(page(200, b"ok"))
            return
        exchange.say(b"HTTP/1.1 %d Said So\r\n%s\r\n\r\n%s" % (status, framing, body))
        exchange.hang_up()

    async def scenario() -> None:
        with Loopback(answer) as server:
            timeout = httpx.Timeout(5, pool=2)
            async with engine.client(clock=VirtualClock(), limits=ONE, timeout=timeout) as client:
                parts: list[bytes] = []
                async with client.stream("GET", server.url) as response:
                    assert response.status_code == status
                    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)) as caught:
                        await collect(response, parts)
                assert b"".join(parts) == b"{half"
                assert outcome_of(caught.value).verdict.status == status
                assert caught.value.request.url == server.url
                assert (await client.get(server.url)).content == b"ok"

    asyncio.run(scenario())


def test_an_error_becomes_an_api_error_with_its_record(engine: Engine) -> None:
    """From a stream as well: its body has been read."""

    async def scenario() -> None:
        with Loopback(page(409, b'{"code": 1, "msg": "INVALID_REQUEST"}')) as server:
            async with engine.client("zerotrace", clock=VirtualClock(), raise_for_status=True) as client:
                with pytest.raises(ApiError) as caught:
                    async with client.stream("POST", f"{server.url}/v1/create", json={}):
                        pass
            assert (caught.value.name, caught.value.outcome.reason) == ("INVALID_REQUEST", "not_retryable")

    asyncio.run(scenario())
