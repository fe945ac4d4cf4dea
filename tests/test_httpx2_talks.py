"""What httpx2 can do that httpx cannot: `client.sse()` and `client.websocket()`, which go through the retries and are then left alone."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
import trustme
from httpx2.websockets import (
    ASGIWebSocketTransport,
    WebSocketDisconnect,
    WebSocketNetworkError,
    WebSocketUpgradeError,
)
from loopback import PATIENCE, Exchange, Loopback, page, run
from talks import THREE_WAYS, On, Talk, each, entered, talking

from resilient_client import outcome_of
from resilient_client.httpx2 import ApiError, AsyncResilientClient, BulkheadFull
from resilient_client.protection import BulkheadConfig
from resilient_client.testing import VirtualClock, assert_attempts

if TYPE_CHECKING:
    import ssl

    from resilient_client.observers import CallEvent

ONE = httpx2.Limits(max_connections=1)
ONE_AT_A_TIME = BulkheadConfig(1, queue=0)
FAILURES = pytest.mark.parametrize("failures", [[], [page(503)]], ids=["first", "second"])
STREAM = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def piece(data: str) -> bytes:
    """Write a server-sent event as a chunk of a body."""
    event = f"data: {data}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


class Events:
    """Says an event, and the next one only when the client has been seen to have got it; `silence` seconds before each.

    With `breaks_off` the body has no end.
    """

    def __init__(self, *data: str, breaks_off: bool = False, silence: float = 0.0) -> None:
        self._data = data
        self._breaks_off = breaks_off
        self._silence = silence
        self.arrived = threading.Semaphore(0)

    def __call__(self, exchange: Exchange) -> None:
        exchange.say(STREAM.encode())
        for data in self._data:
            exchange.wait(self._silence)
            exchange.say(piece(data))
            assert self.arrived.acquire(timeout=PATIENCE), "an event was held back on its way"
        if self._breaks_off:
            exchange.hang_up()
        else:
            exchange.say(b"0\r\n\r\n")


class Notes:
    """What an observer is told, by name."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_attempt(self, event: CallEvent) -> None:
        self.told.append("attempt")

    def on_retry(self, event: CallEvent) -> None:
        self.told.append("retry")

    def on_success(self, event: CallEvent) -> None:
        self.told.append("success")

    def on_give_up(self, event: CallEvent) -> None:
        self.told.append("give up")


# ---------------------------------------------------------------------------------------------- `client.sse()`


@THREE_WAYS
@FAILURES
def test_events_arrive_one_by_one(way: str, failures: list[bytes]) -> None:
    """A 503 before the stream is an attempt; nothing of the stream is held back."""

    async def scenario() -> None:
        events = Events("one", "two", "three")
        with Loopback(*failures, events) as server:
            async with On(httpx2, way, clock=VirtualClock(), limits=ONE) as client:
                heard = []
                async with entered(client.real.sse(server.url)) as source:
                    async for event in each(way, source):
                        heard.append(event.data)
                        events.arrived.release()
                assert heard == ["one", "two", "three"]
                assert_attempts(source.response, *[503 for _ in failures], 200)
                assert source.response.elapsed
            assert {exchange.headers["accept"] for exchange in server.exchanges} == {"text/event-stream"}

    run(way, scenario)


@THREE_WAYS
def test_a_stream_that_has_begun_is_not_asked_for_again(way: str) -> None:
    """Where it breaks off, the error is httpx2's, and tells what the call went through."""

    async def scenario() -> None:
        events = Events("one", breaks_off=True)
        with Loopback(page(503), events) as server:
            async with On(httpx2, way, clock=VirtualClock()) as client:
                with pytest.raises(httpx2.RemoteProtocolError) as broken:  # noqa: PT012 - it breaks while it is read
                    async with entered(client.real.sse(server.url)) as source:
                        async for event in each(way, source):
                            assert event.data == "one"
                            events.arrived.release()
                assert_attempts(broken.value, 503, httpx2.RemoteProtocolError)
            assert len(server.exchanges) == 2

    run(way, scenario)


@THREE_WAYS
def test_a_deadline_does_not_cut_a_stream_that_has_begun(way: str) -> None:
    """It is for the call up to there: attempts and waits."""

    async def scenario() -> None:
        events, clock = Events("one", "two", silence=0.03), VirtualClock()
        with Loopback(page(503), events) as server:
            async with On(httpx2, way, clock=clock, deadline=30) as client:
                heard = []
                async with entered(client.real.sse(server.url)) as source:
                    clock.advance(60)
                    async for event in each(way, source):
                        heard.append(event.data)
                        events.arrived.release()
                assert heard == ["one", "two"]

    run(way, scenario)


@THREE_WAYS
def test_an_error_in_the_place_of_a_stream_is_httpx2s_or_an_api_error(way: str) -> None:
    """Without `raise_for_status` it is met when the events are read: what came is no stream."""

    async def scenario() -> None:
        with Loopback(page(404, b'{"error": "no such stream"}', "Content-Type: application/json")) as server:
            async with On(httpx2, way, clock=VirtualClock(), limits=ONE) as client:
                with pytest.raises(httpx2.SSEError):
                    async with entered(client.real.sse(server.url)) as source:
                        _ = [event async for event in each(way, source)]
            async with On(httpx2, way, clock=VirtualClock(), limits=ONE, raise_for_status=True) as client:
                for _ in range(2):  # the pool of one has its connection back
                    with pytest.raises(ApiError, match="NOT_FOUND"):
                        async with entered(client.real.sse(server.url)):
                            pass

    run(way, scenario)


# ---------------------------------------------------------------------------------------- `client.websocket()`


@THREE_WAYS
@FAILURES
def test_messages_go_both_ways(way: str, failures: list[bytes]) -> None:
    """The handshake is a GET: a 503 is followed by another one. Then the messages are httpx2's, small and large, text and bytes."""
    large = bytes(range(256)) * 1200  # more than what is read ahead of the reader

    async def scenario() -> None:
        talk = Talk("hello")
        with Loopback(*failures, talk) as server:
            async with On(httpx2, way, clock=VirtualClock()) as client:
                async with talking(client, server.url, max_message_size_bytes=2 * len(large)) as session:
                    assert await session.hear() == "hello"  # it came with the 101
                    for message in ("ça va?", b"\0\xff", large, large.decode("latin-1")):
                        await session.say(message)
                        assert await session.hear() == message
                    assert_attempts(session.real.response, *[503 for _ in failures], 101)
                    assert outcome_of(session.real.response).reason == "success"
                assert talk.over.wait(PATIENCE)
                assert talk.closed == 1000
                assert session.real.response.elapsed

    run(way, scenario)


@THREE_WAYS
def test_a_session_is_one_call_to_observers(way: str) -> None:
    """It has succeeded with the 101, however long the session is."""

    async def scenario() -> None:
        notes = Notes()
        with Loopback(page(503), Talk("hello")) as server:
            async with On(httpx2, way, clock=VirtualClock(), observers=[notes]) as client:
                async with talking(client, server.url) as session:
                    assert notes.told == ["attempt", "retry", "attempt", "success"]
                    await session.hear()
                assert notes.told[4:] == []

    run(way, scenario)


@THREE_WAYS
def test_a_session_that_ends_gives_its_connection_up(way: str) -> None:
    """A pool of one serves the next call, whoever closed the session."""

    async def scenario() -> None:
        talks = [Talk(), Talk(), Talk()]
        with Loopback(
            talks[0], page(200, b"1"), talks[1], page(200, b"2"), talks[2], page(200, b"3")
        ) as server:
            async with On(httpx2, way, clock=VirtualClock(), limits=ONE, base_url=server.url) as client:
                async with talking(client, "/we-close"):
                    pass
                assert (await client.get("/")).content == b"1"

                async with talking(client, "/they-close") as session:
                    await session.say("close")
                    with pytest.raises(WebSocketDisconnect) as closed:
                        await session.hear()
                assert (closed.value.code, closed.value.reason) == (4001, "enough")
                assert (await client.get("/")).content == b"2"

                async with talking(client, "/they-vanish") as session:
                    await session.say("vanish")
                    with pytest.raises(WebSocketNetworkError):
                        await session.hear()
                assert (await client.get("/")).content == b"3"
            assert talks[0].closed == 1000
            assert [exchange.target for exchange in server.exchanges[::2]] == [
                "/we-close",
                "/they-close",
                "/they-vanish",
            ]

    run(way, scenario)


@pytest.mark.parametrize("way", ["asyncio", "trio"])
def test_a_session_whose_task_is_cancelled_gives_its_connection_up(way: str) -> None:
    """While it waits for a message that does not come."""

    async def scenario() -> None:
        with Loopback(Talk(), page(200, b"free")) as server:
            async with On(httpx2, way, clock=VirtualClock(), limits=ONE) as client:
                with anyio.CancelScope() as scope:
                    async with talking(client, server.url) as session, anyio.create_task_group() as group:
                        group.start_soon(session.hear)
                        await session.say("a message, so that the other task waits by now")
                        scope.cancel()
                assert scope.cancelled_caught
                assert (await client.get(server.url)).content == b"free"

    run(way, scenario)


@THREE_WAYS
def test_a_deadline_and_the_clients_timeouts_end_with_the_handshake(way: str) -> None:
    """A session is silent for as long as it likes; who will not wait says so to `receive`."""

    async def scenario() -> None:
        clock = VirtualClock()
        with Loopback(page(503), Talk()) as server:
            timeout = httpx2.Timeout(PATIENCE, read=0.05, write=0.05)
            async with (
                On(httpx2, way, clock=clock, deadline=30, timeout=timeout) as client,
                talking(client, server.url) as session,
            ):
                clock.advance(60)
                with pytest.raises(TimeoutError):
                    await session.hear(timeout=0.1)
                await session.say("still here")
                assert await session.hear() == "still here"

    run(way, scenario)


@THREE_WAYS
def test_a_handshake_that_is_refused_is_httpx2s_error_with_its_outcome(way: str) -> None:
    """Or an ApiError, under `raise_for_status`; either way the pool of one has its connection back."""

    async def scenario() -> None:
        with Loopback(page(401, b'{"message": "who are you?"}')) as server:
            async with On(httpx2, way, clock=VirtualClock(), limits=ONE) as client:
                for _ in range(2):
                    with pytest.raises(WebSocketUpgradeError) as refused:
                        async with talking(client, server.url):
                            pass
                    assert outcome_of(refused.value).verdict.name == "UNAUTHORIZED"
            async with On(httpx2, way, clock=VirtualClock(), raise_for_status=True) as client:
                with pytest.raises(ApiError, match="UNAUTHORIZED"):
                    async with talking(client, server.url):
                        pass
            assert len(server.exchanges) == 3

    run(way, scenario)


@THREE_WAYS
def test_a_session_has_its_room_in_a_bulkhead(way: str) -> None:
    """As a body that is being read has; it is free again when the session ends."""

    async def scenario() -> None:
        with Loopback(Talk(), page(200)) as server:
            async with On(httpx2, way, clock=VirtualClock(), bulkhead=ONE_AT_A_TIME) as client:
                async with talking(client, server.url):
                    with pytest.raises(BulkheadFull):
                        await client.get(server.url)
                assert (await client.get(server.url)).is_success

    run(way, scenario)


@THREE_WAYS
def test_ws_and_http_are_two_places_to_protections(way: str) -> None:
    """What is shared by scheme, host and port is shared by neither with the other."""

    async def scenario() -> None:
        with Loopback(Talk("hello"), page(200)) as server:
            async with (
                On(httpx2, way, clock=VirtualClock(), bulkhead=ONE_AT_A_TIME) as client,
                talking(client, server.url.replace("http", "ws")) as session,
            ):
                assert await session.hear() == "hello"
                assert (await client.get(server.url)).is_success

    run(way, scenario)


@THREE_WAYS
def test_a_session_over_tls(way: str, certified: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """wss:, over the same connections."""
    trusting, server_side = certified

    async def scenario() -> None:
        with Loopback(page(503), Talk("hello"), tls=server_side) as server:
            async with (
                On(httpx2, way, clock=VirtualClock(), verify=trusting) as client,
                talking(client, server.url.replace("https", "wss")) as session,
            ):
                assert await session.hear() == "hello"
                await session.say(b"x" * 60_000)
                assert await session.hear() == b"x" * 60_000

    run(way, scenario)


@pytest.fixture(scope="module")
def certified() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Give what trusts a certificate for 127.0.0.1, and what shows it."""
    import ssl  # noqa: PLC0415 - above it is for the types

    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return client, server


@pytest.mark.parametrize("way", ["asyncio", "trio"])
@pytest.mark.parametrize("deadline", [None, 30])
def test_a_session_with_an_application_in_this_process(way: str, deadline: float | None) -> None:
    """`ASGIWebSocketTransport` is a transport like another."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"].upper()})

    async def scenario() -> None:
        transport = ASGIWebSocketTransport(application)
        options: dict[str, Any] = {"clock": VirtualClock(), "deadline": deadline}
        async with (
            AsyncResilientClient(transport=transport, **options) as client,
            client.websocket("http://app.test/ws") as session,
        ):
            await session.send_text("hello")
            assert await session.receive_text() == "HELLO"
            assert session.response is not None
            assert_attempts(session.response, 101)

    run(way, scenario)
