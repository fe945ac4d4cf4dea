"""What goes over the wire on a retry: the same bytes, or nothing at all."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from loopback import WAYS, Caller, Loopback, page, run

from resilient_client import ApiError, HmacAuth, ResilientClient, ResilientTransport, outcome_of
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

SAFE = {"resilience": {"idempotent": True}}


class Pipe(io.RawIOBase):
    """A file that cannot seek, as a pipe or a socket is."""

    def __init__(self, content: bytes) -> None:
        self._rest = content

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: Any) -> int:
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


class ReaderOnly:
    """Something file-like with nothing but read()."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._file


class OneShot:
    """An iterable of a user's own that gives its bytes once."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = iter(chunks)

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks


class Sneaky:
    """An iterable that is a new iterator each time, and says nothing about it."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"some "
        yield b"bytes"


class LyingFile(io.BytesIO):
    """A file that says it can seek, and then cannot."""

    def seek(self, *_: object) -> int:
        raise OSError("no, it cannot")


async def agenerator() -> AsyncIterator[bytes]:
    yield b"some "
    yield b"bytes"


def generator() -> Iterator[bytes]:
    yield b"some "
    yield b"bytes"


REPLAYABLE: dict[str, Callable[[], dict[str, Any]]] = {
    "bytes": lambda: {"content": b"\x00\xff bytes \r\n"},
    "text": lambda: {"content": "žluťoučký"},
    "json": lambda: {"json": {"amount": 1.10, "name": "é", "b": [1, None]}},
    "form": lambda: {"data": {"a": "1&2", "b": ["x", "y"]}},
    "multipart bytes": lambda: {"files": {"f": ("name.txt", b"content", "text/plain")}, "data": {"a": "1"}},
    "multipart file": lambda: {"files": {"f": io.BytesIO(b"content" * 30_000)}},
    "multipart file read to its end": lambda: {"files": {"f": _at_end(b"content")}},
    "file": lambda: {"content": io.BytesIO(b"content" * 30_000)},
    "empty file": lambda: {"content": io.BytesIO(b"")},
    "nothing": dict,
    "empty bytes": lambda: {"content": b""},
    "empty json": lambda: {"json": {}},
}


def _at_end(content: bytes) -> io.BytesIO:
    file = io.BytesIO(content)
    file.read()
    return file


ONE_SHOT: dict[str, Callable[[], dict[str, Any]]] = {
    "generator": lambda: {"content": generator()},
    "custom iterable": lambda: {"content": OneShot(b"some ", b"bytes")},
    "custom iterable that could be had again": lambda: {"content": Sneaky()},
    "list": lambda: {"content": [b"some ", b"bytes"]},
    "tuple": lambda: {"content": (b"some ", b"bytes")},
    "map": lambda: {"content": (part.encode() for part in ("some ", "bytes"))},
    "unseekable file": lambda: {"content": Pipe(b"some bytes")},
    "lying file": lambda: {"content": LyingFile(b"some bytes")},
    "generator with a length": lambda: {"content": generator(), "headers": {"Content-Length": "10"}},
    "multipart with an unseekable file": lambda: {"files": {"f": ReaderOnly(b"some bytes")}},
}


@pytest.mark.parametrize("body", REPLAYABLE)
def test_the_same_bytes_go_out_on_every_attempt(body: str) -> None:
    with (
        Loopback(page(503), page(503, b"x" * 900), page(429), page(200)) as server,
        ResilientClient(clock=VirtualClock()) as client,
    ):
        response = client.post(server.url, extensions=SAFE, **REPLAYABLE[body]())
        assert response.status_code == 200
        bodies = [exchange.body for exchange in server.exchanges]
        headers = [exchange.headers for exchange in server.exchanges]
        assert len(bodies) == 4
        assert bodies == bodies[:1] * 4
        assert headers == headers[:1] * 4
        if body not in {"nothing", "empty bytes", "empty file"}:
            assert bodies[0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("body", ["bytes", "json", "form", "multipart bytes", "multipart file"])
def test_sync_and_async_repeat_the_same_bytes_after_a_lost_connection(way: str, body: str) -> None:
    async def scenario() -> None:
        with Loopback(lambda exchange: exchange.hang_up(), page(503), page(200)) as server:
            async with Caller(way, clock=VirtualClock()) as client:
                response = await client.post(server.url, extensions=SAFE, **REPLAYABLE[body]())
                assert response.status_code == 200
            bodies = [exchange.body for exchange in server.exchanges]
            assert bodies == bodies[:1] * 3
            assert bodies[0]

    run(way, scenario)


def test_a_file_on_disk_is_sent_from_where_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "upload.bin"
    path.write_bytes(bytes(range(256)) * 1024)
    with (
        path.open("rb") as file,
        Loopback(page(503), page(503), page(200)) as server,
        ResilientClient(clock=VirtualClock()) as client,
    ):
        assert client.put(server.url, content=file).status_code == 200
        assert [exchange.body for exchange in server.exchanges] == [path.read_bytes()] * 3


def test_a_file_in_the_middle_is_sent_again_from_its_middle() -> None:
    file = io.BytesIO(b"header|payload")
    file.seek(7)
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.read())
        return httpx.Response(503 if len(seen) < 3 else 200)

    with ResilientClient(clock=VirtualClock(), transport=httpx.MockTransport(answer)) as client:
        assert client.put("https://api.test/", content=file).status_code == 200
    assert seen == [b"payload"] * 3


def test_a_signed_file_is_sent_again_whole_under_a_fitting_signature() -> None:
    with (
        Loopback(page(503), page(200)) as server,
        ResilientClient(clock=VirtualClock(), auth=HmacAuth("key-name", "secret-word")) as client,
    ):
        client.put(server.url, content=io.BytesIO(b"payload" * 20_000))
        first, second = server.exchanges
        assert first.body == second.body == b"payload" * 20_000
        assert first.headers["x-api-sign"] == second.headers["x-api-sign"]
        assert first.headers["x-api-nonce"] != second.headers["x-api-nonce"]


def test_a_signed_generator_is_read_once_and_may_then_be_sent_again() -> None:
    with (
        Loopback(page(503), page(200)) as server,
        ResilientClient(clock=VirtualClock(), auth=HmacAuth("key-name", "secret-word")) as client,
    ):
        assert client.put(server.url, content=generator()).status_code == 200
        assert [exchange.body for exchange in server.exchanges] == [b"some bytes"] * 2


@pytest.mark.parametrize("body", ONE_SHOT)
def test_a_one_shot_body_is_never_sent_again(body: str) -> None:
    with (
        Loopback(page(503, b'{"message": "down"}'), page(200)) as server,
        ResilientClient(clock=VirtualClock()) as client,
    ):
        response = client.post(server.url, extensions=SAFE, **ONE_SHOT[body]())
        assert response.status_code == 503
        assert response.json() == {"message": "down"}
        assert outcome_of(response).reason == "body_not_replayable"
        assert len(server.exchanges) == 1
        assert b"some bytes" in server.exchanges[0].body


@pytest.mark.parametrize("body", ["generator", "list", "unseekable file", "custom iterable"])
def test_a_one_shot_body_that_met_a_lost_connection_leaves_the_callers_own_error(body: str) -> None:
    with (
        Loopback(lambda exchange: exchange.hang_up(), page(200)) as server,
        ResilientClient(clock=VirtualClock()) as client,
    ):
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            client.post(server.url, extensions=SAFE, **ONE_SHOT[body]())
        assert outcome_of(caught.value).reason == "body_not_replayable"
        assert len(server.exchanges) == 1


@pytest.mark.parametrize("way", ["asyncio", "trio"])
def test_an_async_generator_is_never_sent_again(way: str) -> None:
    async def scenario() -> None:
        with Loopback(page(429, b'{"message": "slow down"}'), page(200)) as server:
            async with Caller(way, clock=VirtualClock()) as client:
                response = await client.post(server.url, content=agenerator())
                assert response.json() == {"message": "slow down"}
                assert outcome_of(response).reason == "body_not_replayable"
            assert [exchange.body for exchange in server.exchanges] == [b"some bytes"]

    run(way, scenario)


@pytest.mark.parametrize("body", ["generator", "unseekable file"])
def test_a_one_shot_body_raises_an_api_error_and_no_stream_error(body: str) -> None:
    with (
        Loopback(page(503), page(200)) as server,
        ResilientClient(clock=VirtualClock(), raise_for_status=True) as client,
    ):
        with pytest.raises(ApiError) as caught:
            client.put(server.url, **ONE_SHOT[body]())
        assert caught.value.outcome.reason == "body_not_replayable"


def test_no_length_and_no_transfer_encoding_means_no_body_whatever_the_stream_is() -> None:
    class Odd(httpx.SyncByteStream):
        """A stream of no known type."""

        def __iter__(self) -> Iterator[bytes]:
            return iter(())

    with (
        Loopback(page(503), page(200)) as server,
        ResilientClient(clock=VirtualClock()) as client,
    ):
        response = client.send(httpx.Request("GET", server.url, headers={"Host": "127.0.0.1"}, stream=Odd()))
        assert response.status_code == 200
        assert [exchange.body for exchange in server.exchanges] == [b"", b""]


def test_a_post_whose_connection_is_lost_is_not_sent_twice_without_a_key() -> None:
    with (
        Loopback(lambda exchange: exchange.hang_up(), page(200)) as server,
        ResilientClient(clock=VirtualClock()) as client,
    ):
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            client.post(server.url, json={"amount": 1})
        assert outcome_of(caught.value).maybe_applied
        assert len(server.exchanges) == 1


def test_a_post_that_was_never_sent_is_sent_again() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) == 1:
            raise httpx.ConnectError("refused")
        return httpx.Response(200)

    with ResilientClient(clock=VirtualClock(), transport=httpx.MockTransport(answer)) as client:
        response = client.post("https://api.test/", json={"amount": 1})
    assert response.status_code == 200
    assert not outcome_of(response).maybe_applied


def test_a_recorder_sees_distinct_requests_with_distinct_headers() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(503 if len(seen) < 4 else 200)

    transport = ResilientTransport(transport=httpx.MockTransport(answer), clock=VirtualClock())
    with httpx.Client(transport=transport, auth=HmacAuth("key-name", "secret-word")) as client:
        client.get("https://api.test/")
    assert len({id(request) for request in seen}) == 4
    assert len({id(request.headers) for request in seen}) == 4
    assert len({id(request.extensions) for request in seen}) == 4
    assert len({request.headers["x-api-nonce"] for request in seen}) == 4
    seen[-1].headers["X-Mine"] = "1"
    assert all("x-mine" not in request.headers for request in seen[:-1])


def test_every_header_line_is_repeated_as_it_was_doubles_and_order_and_case_included() -> None:
    seen: list[list[tuple[bytes, bytes]]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.raw)
        return httpx.Response(503 if len(seen) < 3 else 200)

    lines = [
        (b"X-One", b"1"),
        (b"x-TWO", b"2"),
        (b"X-One", b"3"),
        (b"X-Bytes", "caf\u00e9".encode("latin-1")),
    ]
    with ResilientClient(clock=VirtualClock(), transport=httpx.MockTransport(answer)) as client:
        client.get("https://api.test/", headers=lines)
    assert seen[1:] == seen[:1] * 2
    assert [line for line in seen[0] if line[0].lower().startswith(b"x-")] == lines


def test_the_same_key_goes_out_on_every_attempt_and_another_on_the_next_call() -> None:
    with (
        Loopback(page(503), page(503), page(200)) as server,
        ResilientClient(
            "zerotrace", clock=VirtualClock(), auth=HmacAuth("key-name", "secret-word")
        ) as client,
    ):
        client.post(f"{server.url}/api/v1/create", json={"amount": 1})
        client.post(f"{server.url}/api/v1/create", json={"amount": 1})
        keys = [exchange.headers["idempotency-key"] for exchange in server.exchanges]
        assert len(keys) == 4
        assert len(set(keys[:3])) == 1
        assert keys[3] != keys[0]


def test_a_key_that_the_policy_forbids_is_refused_before_anything_is_sent() -> None:
    with Loopback(page(200)) as server, ResilientClient("zerotrace", clock=VirtualClock()) as client:
        with pytest.raises(ValueError, match="8 to 128"):
            client.post(f"{server.url}/v1/create", extensions={"resilience": {"idempotency_key": "short"}})
        assert server.exchanges == []


def test_an_expect_error_body_that_a_gateway_truncates_does_not_change_what_is_sent() -> None:
    with (
        Loopback(page(503, b"abc", "Content-Length: 50", close=True), page(200)) as server,
        ResilientClient(clock=VirtualClock()) as client,
    ):
        assert client.put(server.url, json={"a": 1}).status_code == 200
        assert [json.loads(exchange.body) for exchange in server.exchanges] == [{"a": 1}] * 2
