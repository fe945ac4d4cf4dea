"""Streams stay streams: what the transport reads, what it leaves alone, and what the caller is handed afterwards."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from loopback import WAYS, Caller, Exchange, Loopback, page, run

from resilient_client import ApiError, Policy, ResilientClient, ResilientTransport, outcome_of
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CODED = Policy.model_validate(
    {
        "api": "coded",
        "envelope": {"code": "/code", "message": "/message"},
        "rules": [{"name": "BUSY", "when": {"code": "busy"}, "retry": {"retries": 1, "unsafe": True}}],
    }
)


def held_back(status: int, *lines: str) -> Callable[[Exchange], None]:
    """Say the first half of a body, and the second only when the client is seen to have got the first."""

    def answer(exchange: Exchange) -> None:
        exchange.say(page(status, b"", *lines, "Content-Length: 10") + b"first")
        exchange.wait(0.0 if exchange.server.stopping.is_set() else 0.15)
        exchange.say(b"last!")

    return answer


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [200, 206, 299, 300, 302])
def test_a_success_or_redirect_is_handed_over_while_the_server_still_holds_its_rest(
    way: str, status: int
) -> None:
    async def scenario() -> None:
        with Loopback(page(503), held_back(status)) as server:
            async with Caller(way, clock=VirtualClock()) as client:
                response = await client.open("GET", server.url)
                assert not response.is_stream_consumed
                assert response.num_bytes_downloaded == 0
                assert await client.raw(response) == b"firstlast!"
                assert response.num_bytes_downloaded == 10
                await client.close(response)

    run(way, scenario)


def test_the_first_byte_arrives_before_the_server_has_said_the_last() -> None:
    def answer(exchange: Exchange) -> None:
        exchange.say(page(200, b"", "Content-Type: application/json", "Content-Length: 10") + b"first")
        exchange.wait(3)
        exchange.hang_up()

    with Loopback(page(503), answer) as server, ResilientClient(clock=VirtualClock()) as client:
        begun = time.monotonic()
        with client.stream("GET", server.url) as response:
            assert next(response.iter_raw()) == b"first"
        assert time.monotonic() - begun < 2.5


@pytest.mark.parametrize("way", WAYS)
def test_server_sent_events_arrive_one_by_one(way: str) -> None:
    async def scenario() -> None:
        def answer(exchange: Exchange) -> None:
            exchange.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            exchange.say(b"data: one\n\n")
            exchange.wait(3)
            exchange.hang_up()

        with Loopback(page(429, b"", "retry-after-ms: 0"), answer) as server:
            async with Caller(way, clock=VirtualClock(), deadline=60) as client:
                response = await client.open("GET", server.url, headers={"Accept": "text/event-stream"})
                if way == "threads":
                    assert next(response.iter_lines()) == "data: one"
                else:
                    async for line in response.aiter_lines():
                        assert line == "data: one"
                        break
                await client.close(response)

    if way == "trio":
        pytest.skip("httpx's own line iterator, left early, warns under trio")
    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [65_537, 300_000])
def test_a_long_error_is_judged_by_its_status_and_handed_over_whole(
    way: str, size: int, *, chunked: bool
) -> None:
    async def scenario() -> None:
        body = json.dumps({"code": "busy", "pad": "x" * (size - 27)}).encode()
        assert len(body) == size
        with Loopback(page(404, body, chunked=chunked)) as server:
            async with Caller(way, CODED, clock=VirtualClock()) as client:
                response = await client.get(server.url)
                assert response.content == body
                assert response.num_bytes_downloaded == size
                outcome = outcome_of(response)
                assert (outcome.verdict.name, outcome.verdict.code, outcome.reason) == (
                    "NOT_FOUND",
                    None,
                    "not_retryable",
                )

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_an_error_of_64_kib_to_the_byte_is_read_by_its_code(way: str) -> None:
    async def scenario() -> None:
        body = json.dumps({"code": "busy", "pad": "x" * (65_536 - 27)}).encode()
        assert len(body) == 65_536
        with Loopback(page(404, body), page(404, body, chunked=True)) as server:
            async with Caller(way, CODED, clock=VirtualClock()) as client:
                response = await client.get(server.url)
                assert [attempt.verdict.name for attempt in outcome_of(response).attempts] == ["BUSY", "BUSY"]
                assert response.content == body

    run(way, scenario)


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda body: bytes(pytest.importorskip("brotli").compress(body, quality=1)),
    "zstd": lambda body: bytes(pytest.importorskip("zstandard").compress(body)),
    "x-unknown": bytes,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("pad", [10, 60_000])
def test_the_raw_bytes_of_an_encoded_error_are_the_servers_own(way: str, encoding: str, pad: int) -> None:
    async def scenario() -> None:
        document = json.dumps({"message": "no", "pad": [number * number for number in range(pad)]}).encode()
        body = ENCODINGS[encoding](document)
        with Loopback(page(404, body, f"Content-Encoding: {encoding}")) as server:
            async with Caller(way, CODED, clock=VirtualClock()) as client:
                response = await client.open("GET", server.url)
                assert response.headers["Content-Encoding"] == encoding
                assert await client.raw(response) == body
                assert response.num_bytes_downloaded == len(body)
                await client.close(response)
                assert await client.read(await client.open("GET", server.url)) == document

    run(way, scenario)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_code_in_an_encoded_error_is_read(encoding: str) -> None:
    body = ENCODINGS[encoding](b'{"code": "busy"}')
    with (
        Loopback(page(409, body, f"Content-Encoding: {encoding.upper()}"), page(200)) as server,
        ResilientClient(CODED, clock=VirtualClock()) as client,
    ):
        assert client.get(server.url).status_code == 200


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chunked", [False, True])
def test_an_error_that_breaks_off_is_judged_by_its_status_and_read_on_raises_what_broke_it(
    way: str, *, chunked: bool
) -> None:
    async def scenario() -> None:
        lines = ("Transfer-Encoding: chunked",) if chunked else ("Content-Length: 50",)
        whole = (
            b"HTTP/1.1 404 No\r\n"
            + lines[0].encode()
            + b"\r\n\r\n"
            + (b"32\r\n" if chunked else b"")
            + b'{"code": "bu'
        )

        def answer(exchange: Exchange) -> None:
            exchange.say(whole)
            exchange.hang_up()

        with Loopback(answer) as server:
            async with Caller(way, CODED, clock=VirtualClock()) as client:
                response = await client.open("GET", server.url)
                assert response.status_code == 404
                assert outcome_of(response).reason == "not_retryable"
                with pytest.raises(httpx.RemoteProtocolError, match="closed connection"):
                    await client.read(response)
                await client.close(response)

    run(way, scenario)


def test_what_there_is_of_a_broken_error_can_be_read_before_it_breaks() -> None:
    with (
        Loopback(page(404, b"some of it", "Content-Length: 50", close=True)) as server,
        ResilientClient(clock=VirtualClock()) as client,
        client.stream("GET", server.url) as response,
    ):
        parts: list[bytes] = []
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            parts.extend(response.iter_raw())
        assert caught.value.request.url == server.url
        assert response.num_bytes_downloaded == 10


def test_an_error_that_breaks_off_tells_its_outcome_to_who_catches_it() -> None:
    with (
        Loopback(page(404, b"some of it", "Content-Length: 50", close=True)) as server,
        ResilientClient(clock=VirtualClock()) as client,
    ):
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            client.get(server.url)
        assert outcome_of(caught.value).verdict.status == 404


@pytest.mark.parametrize("way", WAYS)
def test_an_error_that_breaks_off_and_is_retried_never_reaches_the_caller(way: str) -> None:
    async def scenario() -> None:
        with Loopback(page(503, b"some", "Content-Length: 50", close=True), page(200, b"ok")) as server:
            async with Caller(way, clock=VirtualClock()) as client:
                response = await client.get(server.url)
                assert response.content == b"ok"
                assert [attempt.status for attempt in outcome_of(response).attempts] == [503, 200]

    run(way, scenario)


# --------------------------------------------------------------------------------------- bodies that inflate


def layers(compress: Callable[[bytes], bytes], depth: int, size: int = 50_000_000) -> bytes:
    """Wrap many zeros in layers of compression."""
    body = bytes(size)
    for _ in range(depth):
        body = compress(body)
    return body


def _brotli_bomb() -> bytes:
    compressor = pytest.importorskip("brotli").Compressor(quality=5, lgwin=24)
    parts = [compressor.process(bytes(16_000_000)) for _ in range(20)]
    return b"".join([*parts, compressor.finish()])


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("gzip", lambda: gzip.compress(bytes(50_000_000))),
    "gzip in gzip": ("gzip, gzip", lambda: layers(gzip.compress, 2, 200_000_000)),
    "gzip in gzip in gzip": ("gzip, gzip, gzip", lambda: layers(gzip.compress, 3, 200_000_000)),
    "deflate in gzip": ("deflate, gzip", lambda: gzip.compress(zlib.compress(bytes(100_000_000), 9))),
    "brotli": ("br", _brotli_bomb),
    "zstd": ("zstd", lambda: ENCODINGS["zstd"](bytes(300_000_000))),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_an_error_that_inflates_without_end_is_judged_by_its_status_in_bounded_memory(bomb: str) -> None:
    encoding, make = BOMBS[bomb]
    body = make()
    assert len(body) < 400_000
    body = body if len(body) <= 65_536 else body[:65_536]
    seen = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal seen
        seen += 1
        if seen == 2:
            return httpx.Response(200)
        return httpx.Response(503, headers={"Content-Encoding": encoding}, stream=httpx.ByteStream(body))

    transport = ResilientTransport(CODED, httpx.MockTransport(answer), clock=VirtualClock())
    transport.handle_request(
        httpx.Request("GET", "https://api.test/")
    )  # so that nothing is imported while we measure
    seen = 0
    tracemalloc.start()
    try:
        response = transport.handle_request(httpx.Request("GET", "https://api.test/"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == 1
    assert response.status_code == 503
    assert b"".join(response.iter_raw()) == body
    assert peak < 8_000_000


def test_a_content_encoding_of_ten_thousand_layers_costs_no_more_than_one() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        lines = {"Content-Encoding": ", ".join(["gzip"] * 10_000)}
        return httpx.Response(404, headers=lines, stream=httpx.ByteStream(b"no"))

    transport = ResilientTransport(transport=httpx.MockTransport(answer), clock=VirtualClock())
    tracemalloc.start()
    try:
        response = transport.handle_request(httpx.Request("GET", "https://api.test/"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert response.status_code == 404
    assert peak < 8_000_000


# ------------------------------------------------------------------------------- what httpx says of a response


@pytest.mark.parametrize("status", [200, 404])
def test_all_that_httpx_tells_of_a_response_is_untouched(status: int) -> None:
    body = gzip.compress(b'{"message": "no"}' * 20)
    said = page(status, body, "Content-Encoding: gzip", "X-Mine: 1", "x-mine: 2")
    with (
        Loopback(said) as server,
        httpx.Client() as plain,
        ResilientClient(clock=VirtualClock()) as resilient,
    ):
        theirs, ours = plain.get(server.url), resilient.get(server.url)
        assert (ours.http_version, ours.reason_phrase) == ("HTTP/1.1", "Said So")
        assert ours.headers.raw == theirs.headers.raw
        assert ours.content == theirs.content
        assert ours.num_bytes_downloaded == theirs.num_bytes_downloaded == len(body)
        assert ours.history == theirs.history == []
        assert ours.encoding == theirs.encoding
        assert ours.elapsed.total_seconds() >= 0
        assert ours.is_closed
        assert ours.is_stream_consumed
        assert ours.request.url == theirs.request.url
        assert "network_stream" in ours.extensions


def test_the_history_of_a_redirected_call_is_httpxs_own() -> None:
    with (
        Loopback(page(503), page(302, b"moved", "Location: /there"), page(503), page(200, b"ok")) as server,
        ResilientClient(clock=VirtualClock(), follow_redirects=True) as client,
    ):
        response = client.get(server.url)
        assert [hop.status_code for hop in response.history] == [302]
        assert response.history[0].content == b"moved"
        assert response.url == f"{server.url}/there"
        assert [len(outcome_of(hop).attempts) for hop in (*response.history, response)] == [2, 2]


def test_a_streamed_error_says_why_when_it_is_raised() -> None:
    with (
        Loopback(page(404, b'{"message": "no such order"}')) as server,
        ResilientClient(clock=VirtualClock(), raise_for_status=True) as client,
    ):
        with pytest.raises(ApiError) as caught, client.stream("GET", server.url):
            pass
        assert caught.value.response.json() == {"message": "no such order"}
        assert caught.value.log_record()["body"] == {"message": "no such order"}


@pytest.mark.parametrize("way", WAYS)
def test_an_error_that_a_rule_finds_in_a_success_is_still_readable_in_every_way(way: str) -> None:
    policy = Policy.model_validate(
        {
            "api": "slack",
            "envelope": {"code": "/error"},
            "rules": [
                {
                    "name": "LIMIT",
                    "when": {"status": 200, "body": {"/ok": False}},
                    "retry": {"retries": 1, "unsafe": True},
                }
            ],
        }
    )

    async def scenario() -> None:
        bad = page(200, b'{"ok": false, "error": "limited"}', "Content-Type: application/json")
        good = page(200, b'{"ok": true, "x": 1}', "Content-Type: application/json")
        with Loopback(bad, bad, good) as server:
            async with Caller(way, policy, clock=VirtualClock()) as client:
                response = await client.open("GET", server.url)
                assert outcome_of(response).reason == "attempts_exhausted"
                assert await client.raw(response) == b'{"ok": false, "error": "limited"}'
                await client.close(response)
                response = await client.open("GET", server.url)
                assert outcome_of(response).reason == "success"
                assert json.loads(await client.read(response)) == {"ok": True, "x": 1}

    run(way, scenario)


def test_a_success_that_a_rule_asks_for_is_not_read_when_it_is_a_stream_or_long() -> None:
    policy = Policy.model_validate(
        {"api": "slack", "rules": [{"name": "LIMIT", "when": {"status": 200, "body": {"/ok": False}}}]}
    )
    touched: list[str] = []

    class Body(httpx.SyncByteStream):
        """A body that notes when it is read."""

        def __iter__(self) -> Iterator[bytes]:
            touched.append("read")
            yield b'{"ok": false}'

    lines: list[dict[str, str]] = [
        {"Content-Type": "text/event-stream"},
        {"Content-Type": "application/octet-stream"},
        {},
        {"Content-Type": "application/json", "Content-Length": "65537"},
    ]
    for headers in lines:
        said: Any = httpx.Response(200, headers=headers, stream=Body())
        transport = ResilientTransport(
            policy, httpx.MockTransport(lambda _, said=said: said), clock=VirtualClock()
        )
        assert (
            outcome_of(transport.handle_request(httpx.Request("GET", "https://api.test/"))).reason
            == "success"
        )
    assert touched == []


def test_a_stream_of_json_lines_with_a_reading_rule_is_not_held_up() -> None:
    policy = Policy.model_validate(
        {"api": "slack", "rules": [{"name": "LIMIT", "when": {"status": 200, "body": {"/ok": False}}}]}
    )

    def answer(exchange: Exchange) -> None:
        exchange.say(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n")
        exchange.say(b'{"a": 1}\n')
        exchange.wait(3)
        exchange.hang_up()

    with Loopback(answer) as server, ResilientClient(policy, clock=VirtualClock()) as client:
        begun = time.monotonic()
        with client.stream("GET", server.url) as response:
            assert next(response.iter_lines()) == '{"a": 1}'
        assert time.monotonic() - begun < 2.5
