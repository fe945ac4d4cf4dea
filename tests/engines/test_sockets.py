"""The network on asyncio's transports: what comes of it is what comes of httpcore's own, and it holds no more than it should."""

from __future__ import annotations

import asyncio
import gc
import select
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import httpcore
import httpx
import pytest
import trio
from loopback import Exchange, Loopback, page
from peers import closed_port, head_of, listening, rest_of, serving, slam, trusting
from wires import Network, quick

from resilient_client._sockets import LoopNetwork, _addresses, _first_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

BIG = bytes(range(256)) * 4096  # 1 MiB, of which no two neighbours are alike


def client_on(own: bool, **options: Any) -> httpx.AsyncClient:  # noqa: FBT001 - which of the two
    """Make a client on the network under test, or on httpcore's."""
    timeout = options.pop("timeout", 5)
    transport = httpx.AsyncHTTPTransport(**options)
    if own:
        transport._pool._network_backend = LoopNetwork(transport._pool._network_backend)
    return httpx.AsyncClient(transport=transport, timeout=timeout)


def alike(
    scenario: Callable[[httpx.AsyncClient], Awaitable[Any]],
    loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
    **options: Any,
) -> Any:
    """Play a scenario on both networks, and give what comes of it, which must be the same."""

    async def play(own: bool) -> Any:  # noqa: FBT001 - which of the two
        async with client_on(own, **options) as client:
            try:
                return await scenario(client)
            except httpx.HTTPError as error:
                return type(error), str(error)

    came = []
    for own in (False, True):
        with asyncio.Runner(loop_factory=loop) as runner:
            came.append(runner.run(play(own=own)))
    assert came[0] == came[1]
    return came[1]


# ------------------------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize("body", [b"", b"ok", BIG], ids=["empty", "small", "large"])
def test_an_answer_comes_as_it_was_sent(body: bytes, *, chunked: bool, tls: bool) -> None:
    """Three requests on one connection."""

    async def scenario(client: httpx.AsyncClient) -> bool:
        return all([(await client.get(server.url)).content == body for _ in range(3)])

    with Loopback(page(200, body, chunked=chunked), tls=serving() if tls else None) as server:
        assert alike(scenario, verify=trusting())
        assert server.connections == 2


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_goes_out_as_it_was_given(*, streamed: bool, tls: bool) -> None:
    """A megabyte, at once or in chunks."""

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(BIG), 100_000):
            yield BIG[start : start + 100_000]

    async def scenario(client: httpx.AsyncClient) -> int:
        return (await client.post(server.url, content=parts() if streamed else BIG)).status_code

    with Loopback(page(200), tls=serving() if tls else None) as server:
        assert alike(scenario, verify=trusting()) == 200
        assert [exchange.body == BIG for exchange in server.exchanges] == [True, True]


def network_stream_of(client: httpx.AsyncClient) -> Any:
    """Give the stream of a client's one connection, while it is in use."""
    connection: Any = client._transport._pool.connections[0]  # type: ignore[attr-defined]  # httpx's transport has one
    return connection._connection._network_stream


def test_a_server_that_ends_its_half_is_still_written_to() -> None:
    """An early answer, and its end, do not cut off what is being sent."""
    received = []

    def talk(peer: socket.socket) -> None:
        head_of(peer)
        peer.sendall(page(413, b"no", close=True))
        peer.shutdown(socket.SHUT_WR)
        received.append(rest_of(peer))

    async def scenario() -> None:
        async def parts() -> AsyncIterator[bytes]:
            yield b"some"
            async with asyncio.timeout(5):
                while not network_stream_of(client)._ended:  # noqa: ASYNC110 - the test looks into the network's hands
                    await asyncio.sleep(0.001)
            yield b"more"

        async with client_on(own=True) as client:
            response = await client.post(
                f"http://127.0.0.1:{port}", content=parts(), headers={"Content-Length": "8"}
            )
            assert response.status_code == 413

    with listening(talk) as port:
        asyncio.run(scenario())
    assert received == [8]


def test_what_was_said_before_a_reset_is_heard() -> None:
    """The answer has been read by the time the connection breaks, though nobody had asked for it yet."""
    said = threading.Event()

    def talk(peer: socket.socket) -> None:
        head_of(peer)
        peer.sendall(page(413, b"no", close=True))
        said.wait(5)
        slam(peer)

    async def scenario() -> None:
        async def parts() -> AsyncIterator[bytes]:
            yield b"some"
            async with asyncio.timeout(5):
                while not network_stream_of(client)._held:  # noqa: ASYNC110 - the test looks into the network's hands
                    await asyncio.sleep(0.001)
                said.set()
                while not network_stream_of(client)._ended:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.001)
            yield b"more"

        async with client_on(own=True) as client:
            response = await client.post(f"http://127.0.0.1:{port}", content=parts())
            assert (response.status_code, response.text) == (413, "no")

    with listening(talk) as port:
        asyncio.run(scenario())


# ----------------------------------------------------------------------------------------------------- failures


def test_a_port_on_which_nobody_listens() -> None:
    """ConnectError."""
    port = closed_port()
    assert alike(lambda client: client.get(f"http://127.0.0.1:{port}")) == (
        httpx.ConnectError,
        "All connection attempts failed",
    )


class Resolving(asyncio.SelectorEventLoop):
    """A loop whose resolver knows what a test tells it, and asks nobody; time runs a hundred times as fast."""

    speed = 100

    def __init__(self, *ports: int) -> None:
        super().__init__()
        self._ports = ports
        self.asked: list[bytes | str | None] = []
        self.silent: set[int] = set()  # ports from which no answer comes
        self.tried: list[int] = []

    def time(self) -> float:
        return super().time() * self.speed

    async def getaddrinfo(self, host: bytes | str | None, *_: Any, **__: Any) -> Any:
        self.asked.append(host)
        if not self._ports:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in self._ports]

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        self.tried.append(address[1])
        if address[1] in self.silent:
            await asyncio.Event().wait()
        await super().sock_connect(sock, address)


def test_a_name_that_has_no_address() -> None:
    """ConnectError, in the resolver's words."""
    assert alike(lambda client: client.get("http://nowhere.test"), loop=Resolving) == (
        httpx.ConnectError,
        f"[Errno {socket.EAI_NONAME}] Name or service not known",
    )


def resolved(
    url: str, *ports: int, silent: int = 0, connect: float | None = None, speed: int = 100
) -> tuple[Resolving, Any]:
    """Get a page of a name that has these addresses, and give the loop and what came of it."""
    loop = Resolving(*ports)
    loop.speed = speed
    loop.silent = {silent}

    async def scenario() -> Any:
        async with client_on(own=True, timeout=httpx.Timeout(None, connect=connect)) as client:
            try:
                return (await client.get(url)).text
            except httpx.HTTPError as error:
                return error

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return loop, runner.run(scenario())


def test_a_name_is_resolved_as_httpx_has_encoded_it() -> None:
    """In bytes, as httpcore's network does: Python would encode a str once more, and refuse some."""
    loop, _ = resolved("http://b\u00fccher.test")
    assert loop.asked == [b"xn--bcher-kva.test"]


def test_no_name_is_resolved_in_the_way_of_the_loop() -> None:
    """Not even one that is known at once: the loop's own resolver is asked, which blocks nobody."""
    with Loopback(page(200, b"ok")) as server:
        loop, said = resolved("http://localhost", server.port)
    assert said == "ok"
    assert loop.asked == [b"localhost"]


def test_an_address_is_not_resolved() -> None:
    """Nobody is asked for what is known."""
    with Loopback(page(200, b"ok")) as server:
        loop, said = resolved(server.url)
    assert said == "ok"
    assert loop.asked == []


def test_an_address_that_refuses_is_followed_by_the_next() -> None:
    """At once: ten of them have no ten head starts."""
    closed = closed_port()
    with Loopback(page(200, b"ok")) as server:
        began = time.monotonic()
        loop, said = resolved("http://api.test", *[closed] * 10, server.port, speed=1)
        took = time.monotonic() - began
    assert said == "ok"
    assert loop.tried == [closed] * 10 + [server.port]
    assert took < 2


def test_an_address_that_says_nothing_has_a_head_start_only() -> None:
    """The next one is tried as well, and the one that answers is used; the other is given up."""
    with Loopback(page(200, b"ok")) as server:
        loop, said = resolved("http://api.test", 1, server.port, silent=1)
    assert said == "ok"
    assert loop.tried == [1, server.port]


def test_addresses_that_all_refuse() -> None:
    """ConnectError, and what each of them said as its cause."""
    first, second = closed_port(), closed_port()
    _, error = resolved("http://api.test", first, second)
    assert (type(error), str(error)) == (httpx.ConnectError, "All connection attempts failed")

    async def scenario() -> None:
        with pytest.raises(OSError, match="All connection attempts failed") as caught:
            await _first_of(loop, [(socket.AF_INET, ("127.0.0.1", port)) for port in (first, second)])
        cause = caught.value.__cause__
        assert isinstance(cause, ExceptionGroup)
        assert [type(refused) for refused in cause.exceptions] == [ConnectionRefusedError] * 2

    loop = Resolving()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(scenario())


def test_addresses_that_all_say_nothing() -> None:
    """ConnectTimeout."""
    _, error = resolved("http://api.test", 1, silent=1, connect=2)
    assert type(error) is httpx.ConnectTimeout


def test_the_families_take_turns() -> None:
    """RFC 8305 4: a network on which one of them leads nowhere costs one head start, and not many."""

    class TwoFamilies(Resolving):
        async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
            six, four = socket.AF_INET6, socket.AF_INET
            return [(family, socket.SOCK_STREAM, 6, "", family) for family in (six, six, six, four, four)]

    async def scenario() -> None:
        found = await _addresses(loop, "api.test", 80)
        assert [family for family, _ in found] == [10, 2, 10, 2, 10]

    loop = TwoFamilies()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(scenario())


def test_a_winner_is_closed_where_the_race_is_called_off() -> None:
    """A task that is cancelled in the moment in which it is connected leaves nothing open."""
    loop = Resolving()

    async def scenario() -> None:
        addresses = [(socket.AF_INET, ("127.0.0.1", port))]
        for turns in range(12):
            racing = asyncio.create_task(_first_of(loop, addresses))
            for _ in range(turns):
                await asyncio.sleep(0)
            racing.cancel()
            with suppress(asyncio.CancelledError):
                await (await racing).aclose()
        gc.collect()

    with Loopback(page(200)) as server, asyncio.Runner(loop_factory=lambda: loop) as runner:
        port = server.port
        runner.run(scenario())


def test_two_that_answer_in_the_same_moment_are_one_too_many() -> None:
    """One is used, the other is closed."""

    class Both(Resolving):
        async def sock_connect(self, sock: socket.socket, address: Any) -> None:
            await super().sock_connect(sock, address)
            if len(self.tried) == 2:
                both.set()
            await both.wait()

    def talk(peer: socket.socket) -> None:
        ended.append(rest_of(peer))

    async def scenario() -> None:
        stream = await _first_of(loop, [(socket.AF_INET, ("127.0.0.1", port)) for port in loop._ports])
        await stream.aclose()

    ended: list[int] = []
    with listening(talk) as one, listening(talk) as two:
        loop = Both(one, two)
        both = asyncio.Event()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(scenario())
    assert ended == [0, 0]


def _hang_up(peer: socket.socket) -> None:
    head_of(peer)


def _half(peer: socket.socket) -> None:
    head_of(peer)
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")


def _stall(peer: socket.socket) -> None:
    head_of(peer)
    rest_of(peer)


def _stall_in_the_body(peer: socket.socket) -> None:
    _half(peer)
    rest_of(peer)


def _garbage(peer: socket.socket) -> None:
    head_of(peer)
    peer.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")


@pytest.mark.parametrize(
    ("talk", "error"),
    [
        (_hang_up, httpx.RemoteProtocolError),
        (_half, httpx.RemoteProtocolError),
        (_stall, httpx.ReadTimeout),
        (_stall_in_the_body, httpx.ReadTimeout),
        (_garbage, httpx.RemoteProtocolError),
    ],
)
def test_a_server_that_does_not_answer_as_it_should(
    talk: Callable[[socket.socket], None], error: type[Exception]
) -> None:
    """The same error with the same words as on httpcore's network."""
    read = 0.05 if error is httpx.ReadTimeout else 5
    with listening(talk, talk) as port:
        said = alike(
            lambda client: client.get(f"http://127.0.0.1:{port}"), timeout=httpx.Timeout(5, read=read)
        )
    assert said[0] is error


def _slam_at_once(peer: socket.socket) -> None:
    head_of(peer)
    slam(peer)


def _slam_in_the_body(peer: socket.socket) -> None:
    _half(peer)
    slam(peer)


@pytest.mark.parametrize("talk", [_slam_at_once, _slam_in_the_body])
def test_a_reset_is_a_read_error_that_says_so(talk: Callable[[socket.socket], None]) -> None:
    """ReadError. httpcore's network says nothing there: here the system's words stand."""

    async def scenario() -> None:
        async with client_on(own=True) as client:
            with pytest.raises(httpx.ReadError, match="reset"):
                await client.get(f"http://127.0.0.1:{port}")

    with listening(talk) as port:
        asyncio.run(scenario())


def test_a_server_that_does_not_read_is_not_written_to_for_ever() -> None:
    """WriteTimeout, once the system takes no more."""
    over = threading.Event()

    def talk(peer: socket.socket) -> None:
        head_of(peer)
        over.wait(5)

    async def scenario(client: httpx.AsyncClient) -> None:
        try:
            await client.post(f"http://127.0.0.1:{port}", content=BIG * 16)
        finally:
            over.set()

    with listening(talk) as port:
        over.clear()

        async def play() -> None:
            async with client_on(own=True, timeout=httpx.Timeout(5, write=0.1)) as client:
                with pytest.raises(httpx.WriteTimeout):
                    await scenario(client)

        asyncio.run(play())


def test_a_write_that_has_to_wait_goes_on_when_the_other_side_reads() -> None:
    """More than the system holds, to a peer that takes its time."""
    received: list[int] = []
    blocked = threading.Event()

    def talk(peer: socket.socket) -> None:
        blocked.wait(5)
        received.append(rest_of(peer))

    async def scenario() -> None:
        stream: Any = await LoopNetwork(httpcore.AnyIOBackend()).connect_tcp("127.0.0.1", port)
        writing = asyncio.create_task(stream.write(BIG * 16, timeout=5))
        await _until(lambda: stream._blocked)
        blocked.set()
        await writing
        assert stream._below.get_write_buffer_size() == 0
        await stream.aclose()

    with listening(talk) as port:
        asyncio.run(scenario())
    assert received == [len(BIG) * 16]


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110 - it comes from outside
            await asyncio.sleep(0.001)


def test_a_write_ends_when_the_system_has_all_of_it() -> None:
    """What the system does not take at once is waited for, however little it is."""
    over = threading.Event()

    def talk(_: socket.socket) -> None:
        over.wait(5)

    async def scenario() -> None:
        stream: Any = await LoopNetwork(httpcore.AnyIOBackend()).connect_tcp("127.0.0.1", port)

        async def fill() -> None:
            while True:
                await stream.write(BIG[:32_768], timeout=0.05)

        with pytest.raises(httpcore.WriteTimeout):
            await fill()
        assert 0 < stream._below.get_write_buffer_size() <= 32_768
        over.set()
        await stream.aclose()

    with listening(talk) as port:
        asyncio.run(scenario())


def test_a_connection_that_breaks_while_it_is_written_to_is_a_write_error() -> None:
    """At once, though the write had all the time in the world; and so is the next one."""
    blocked = threading.Event()

    def talk(peer: socket.socket) -> None:
        blocked.wait(5)
        slam(peer)

    async def scenario() -> None:
        stream: Any = await LoopNetwork(httpcore.AnyIOBackend()).connect_tcp("127.0.0.1", port)
        writing = asyncio.create_task(stream.write(BIG * 16))
        await _until(lambda: stream._blocked)
        blocked.set()
        with pytest.raises(httpcore.WriteError):
            await asyncio.wait_for(writing, 5)
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"more")
        await stream.aclose()

    with listening(talk) as port:
        asyncio.run(scenario())


def test_a_timeout_that_is_not_needed_leaves_no_timer() -> None:
    """A thousand reads a second would leave five thousand of them."""
    timers: list[asyncio.TimerHandle] = []

    class Watching(asyncio.SelectorEventLoop):
        def call_at(self, *when: Any, **more: Any) -> asyncio.TimerHandle:  # type: ignore[override] # passed on as they are
            timers.append(super().call_at(*when, **more))
            return timers[-1]

    async def scenario() -> None:
        stream = await LoopNetwork(httpcore.AnyIOBackend()).connect_tcp("127.0.0.1", port)
        assert await stream.read(10, timeout=5) == b"hello"
        await stream.aclose()

    with (
        listening(lambda peer: peer.sendall(b"hello")) as port,
        asyncio.Runner(loop_factory=Watching) as runner,
    ):
        runner.run(scenario())
    assert timers
    assert all(timer.cancelled() for timer in timers)


def test_what_is_closed_is_not_read_from_nor_written_to() -> None:
    """A read under way ends, and the next ones fail."""

    async def scenario() -> None:
        stream = await LoopNetwork(httpcore.AnyIOBackend()).connect_tcp("127.0.0.1", port)
        reading = asyncio.create_task(stream.read(10))
        await asyncio.sleep(0)
        await stream.aclose()
        with pytest.raises(httpcore.ReadError):
            await reading
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"more")
        await stream.aclose()

    with listening(rest_of_and_nothing) as port:
        asyncio.run(scenario())


def rest_of_and_nothing(peer: socket.socket) -> None:
    rest_of(peer)


# ---------------------------------------------------------------------------------------------------------- TLS


def test_a_certificate_that_nobody_trusts() -> None:
    """ConnectError, in OpenSSL's words."""
    with Loopback(page(200), tls=serving()) as server:
        kind, said = alike(lambda client: client.get(server.url))
    assert kind is httpx.ConnectError
    assert "CERTIFICATE_VERIFY_FAILED" in said


def test_a_certificate_for_another_name() -> None:
    """ConnectError, which tells the name."""
    with Loopback(page(200), tls=serving("other.test")) as server:
        kind, said = alike(lambda client: client.get(server.url), verify=trusting())
    assert kind is httpx.ConnectError
    assert "127.0.0.1" in said


def test_a_server_that_speaks_no_tls() -> None:
    """ConnectError, in OpenSSL's words."""

    def talk(peer: socket.socket) -> None:
        peer.recv(1)
        peer.sendall(page(400))
        rest_of(peer)

    with listening(talk, talk) as port:
        kind, said = alike(lambda client: client.get(f"https://127.0.0.1:{port}"), verify=trusting())
    assert kind is httpx.ConnectError
    assert "SSL" in said


def test_a_server_that_hangs_up_in_the_handshake() -> None:
    """ConnectError."""

    def talk(peer: socket.socket) -> None:
        peer.recv(1)
        slam(peer)

    async def scenario(client: httpx.AsyncClient) -> type[Exception]:
        with pytest.raises(httpx.HTTPError) as caught:
            await client.get(f"https://127.0.0.1:{port}")
        return type(caught.value)

    with listening(talk, talk) as port:
        assert alike(scenario, verify=trusting()) is httpx.ConnectError


def test_a_handshake_that_takes_too_long() -> None:
    """ConnectTimeout, and the connection is closed."""
    with listening(rest_of_and_nothing, rest_of_and_nothing) as port:
        said = alike(
            lambda client: client.get(f"https://127.0.0.1:{port}"),
            verify=trusting(),
            timeout=httpx.Timeout(5, connect=0.1),
        )
    assert said == (httpx.ConnectTimeout, "")


def test_what_a_stream_tells_of_its_connection() -> None:
    """`network_stream` of a response: addresses, socket, TLS, as from httpcore's network."""

    async def scenario(client: httpx.AsyncClient) -> tuple[object, ...]:
        async with client.stream("GET", server.url) as response:
            stream = response.extensions["network_stream"]
            own: socket.socket = stream.get_extra_info("socket")
            tls: ssl.SSLObject = stream.get_extra_info("ssl_object")
            assert stream.get_extra_info("client_addr") == own.getsockname()
            return (
                stream.get_extra_info("server_addr"),
                own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0,
                tls.version(),
                tls.selected_alpn_protocol(),
                stream.get_extra_info("no such thing"),
            )

    with Loopback(page(200), tls=serving()) as server:
        told = alike(scenario, verify=trusting())
        assert told[:2] == (("127.0.0.1", server.port), True)


def test_without_tls_there_is_no_ssl_object() -> None:
    """None, as from httpcore's network."""

    async def scenario(client: httpx.AsyncClient) -> object:
        async with client.stream("GET", server.url) as response:
            return response.extensions["network_stream"].get_extra_info("ssl_object")

    with Loopback(page(200)) as server:
        assert alike(scenario) is None


# ------------------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_what_nobody_reads_is_held_within_bounds(*, tls: bool) -> None:
    """A server that sends 16 MiB to a client that takes its time waits; then all of it comes."""

    async def scenario() -> None:
        async with (
            client_on(own=True, verify=trusting()) as client,
            client.stream("GET", server.url) as response,
        ):
            stream = response.extensions["network_stream"]
            async with asyncio.timeout(5):
                while not stream._holding:  # noqa: ASYNC110 - it fills from outside
                    await asyncio.sleep(0.001)
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(stream._held) < 1024 * 1024
            assert await response.aread() == BIG * 16

    with Loopback(page(200, BIG * 16), tls=serving() if tls else None) as server:
        asyncio.run(scenario())


def test_no_read_gives_more_than_was_asked_for() -> None:
    """The rest stays for the next one, and the end comes after it."""

    def talk(peer: socket.socket) -> None:
        peer.sendall(b"abcdef")

    async def scenario() -> None:
        stream = await LoopNetwork(httpcore.AnyIOBackend()).connect_tcp("127.0.0.1", port)
        assert [await stream.read(4, timeout=5) for _ in range(4)] == [b"abcd", b"ef", b"", b""]
        await stream.aclose()

    with listening(talk) as port:
        asyncio.run(scenario())


# -------------------------------------------------------------------------------------------- idle connections


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_the_end_of_an_idle_connection_is_noticed_before_the_loop_has_turned(*, tls: bool) -> None:
    """A program that computed all the while sends its next request on a new connection."""
    answered = threading.Event()

    def answer(exchange: Exchange) -> None:
        exchange.say(page(200, b"ok"))
        answered.wait(5)
        exchange.hang_up()

    async def scenario() -> None:
        async with client_on(own=True, verify=trusting()) as client:
            async with client.stream("GET", server.url) as response:
                await response.aread()
                own = response.extensions["network_stream"].get_extra_info("socket")
            answered.set()
            select.select([own.fileno()], [], [], 5)  # the program computes, until the end has come
            assert (await client.get(server.url)).text == "ok"

    with Loopback(answer, tls=serving() if tls else None) as server:
        asyncio.run(scenario())
        assert server.connections == 2


def test_what_a_server_says_unasked_ends_an_idle_connection() -> None:
    """It would be taken for the next answer."""
    asked = threading.Event()

    def talk(peer: socket.socket) -> None:
        head_of(peer)
        peer.sendall(page(200, b"ok"))
        asked.wait(5)
        peer.sendall(page(408))
        rest_of(peer)

    async def scenario() -> None:
        async with client_on(own=True) as client:
            async with client.stream("GET", f"http://127.0.0.1:{port}") as response:
                await response.aread()
                stream = response.extensions["network_stream"]
            asked.set()
            async with asyncio.timeout(5):
                while not stream._held:  # noqa: ASYNC110 - it comes from outside
                    await asyncio.sleep(0.001)
            assert (await client.get(f"http://127.0.0.1:{port}")).status_code == 200

    with listening(talk, lambda peer: peer.sendall(page(200, close=True))) as port:
        asyncio.run(scenario())


# ------------------------------------------------------------------------------------------------- cancellation


@pytest.mark.parametrize("where", ["in the handshake", "before the answer", "in the body", "while it sends"])
def test_who_is_cancelled_leaves_no_connection_open(where: str) -> None:
    """The server sees the end of it at once."""
    met, over = threading.Event(), threading.Event()

    def talk(peer: socket.socket) -> None:
        if where == "in the handshake":
            peer.recv(1)
        else:
            head_of(peer)
        if where == "in the body":
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        met.set()
        if where == "while it sends":
            over.wait(5)
        with suppress(ConnectionResetError):
            rest_of(peer)
        over.set()

    async def scenario() -> None:
        scheme = "https" if where == "in the handshake" else "http"
        async with client_on(own=True, verify=trusting(), timeout=None) as client:
            request = client.build_request(
                "POST", f"{scheme}://127.0.0.1:{port}", content=BIG * 16 if where == "while it sends" else b""
            )
            task = asyncio.create_task(client.send(request))
            while not met.is_set():  # noqa: ASYNC110 - a thread tells
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if where == "while it sends":
                over.set()
                return
            async with asyncio.timeout(5):
                while not over.is_set():  # noqa: ASYNC110 - a thread tells
                    await asyncio.sleep(0.001)

    with listening(talk) as port:
        asyncio.run(scenario())


# --------------------------------------------------------------------------------------- where asyncio is not


def test_under_trio_it_is_httpcores_own_network() -> None:
    """It knows nothing of trio, and does not come into its way."""

    async def scenario() -> None:
        async with client_on(own=True) as client, client.stream("GET", server.url) as response:
            assert type(response.extensions["network_stream"]).__module__.startswith("httpcore.")
            assert await response.aread() == b"ok"

    with Loopback(page(200, b"ok")) as server:
        trio.run(scenario)


def test_under_trio_as_a_guest_of_asyncio_it_is_httpcores_own_network_too() -> None:
    """The loop that runs is asyncio's, the task is not."""
    ended: list[Any] = []

    async def guest() -> str:
        async with client_on(own=True) as client:
            return (await client.get(server.url)).text

    async def host() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        soon: Any = loop.call_soon_threadsafe
        trio.lowlevel.start_guest_run(guest, run_sync_soon_threadsafe=soon, done_callback=done.set_result)
        ended.append(await done)

    with Loopback(page(200, b"ok")) as server:
        asyncio.run(host())
    assert ended[0].unwrap() == "ok"


@pytest.mark.parametrize("options", [{"uds": "/a/socket"}, {"local_address": "127.0.0.1"}])
def test_unix_sockets_and_local_addresses_go_beneath(options: dict[str, str]) -> None:
    """To the network that was there before."""

    class Beneath(Network):
        async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
            return await self.connect_tcp("", 0)

    async def scenario() -> None:
        beneath = Beneath()
        async with httpx.AsyncClient(transport=quick(LoopNetwork(beneath), **options)) as client:
            assert (await client.get("http://api.test")).text == "ok"
        assert len(beneath.wires) == 1

    asyncio.run(scenario())


def test_sleeping_is_the_network_beneaths() -> None:
    """It is used between two attempts to connect."""

    async def scenario() -> None:
        await LoopNetwork(httpcore.AsyncMockBackend([])).sleep(1000)

    asyncio.run(scenario())


# -------------------------------------------------------------------------------------------- more than one loop


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # asyncio cannot close a socket whose loop has ended
@pytest.mark.parametrize("second", ["asyncio", "trio"])
def test_a_client_that_outlives_its_loop_can_be_used_in_the_next(second: str) -> None:
    """There httpx's own raises "Event loop is closed"; here the old connection is left, and a new one opened."""

    def outlive(url: str) -> None:
        transport = quick()
        pool: Any = transport._pool
        pool._network_backend = LoopNetwork(pool._network_backend)
        client = httpx.AsyncClient(transport=transport)

        async def begin() -> None:
            assert (await client.get(url)).text == "ok"

        async def go_on() -> None:
            assert (await client.get(url)).text == "ok"
            await client.aclose()

        asyncio.run(begin())
        anyio.run(go_on, backend=second)

    with Loopback(page(200, b"ok")) as server:
        outlive(server.url)
        assert server.connections == 2
    gc.collect()  # the warning belongs to this test


def test_a_connection_of_a_loop_in_another_thread_is_closed_there() -> None:
    """Nobody touches another loop's transports but that loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def connect() -> httpcore.AsyncNetworkStream:
        return await LoopNetwork(httpcore.AnyIOBackend()).connect_tcp("127.0.0.1", port)

    async def scenario() -> None:
        stream = await asyncio.to_thread(asyncio.run_coroutine_threadsafe(connect(), loop).result, 5)
        assert stream.get_extra_info("is_readable")
        await stream.aclose()

    try:
        with listening(rest_of_and_nothing) as port:
            asyncio.run(scenario())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.run_until_complete(asyncio.sleep(0))  # in which asyncio closes the socket
        loop.close()


# ----------------------------------------------------------------------------------------------- socket options


def test_socket_options_are_set() -> None:
    """Those of the transport, on each connection."""

    async def scenario(client: httpx.AsyncClient) -> bool:
        async with client.stream("GET", server.url) as response:
            own: socket.socket = response.extensions["network_stream"].get_extra_info("socket")
            return own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0

    with Loopback(page(200)) as server:
        assert alike(scenario, socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)])
        assert not alike(scenario)


def test_a_socket_option_that_cannot_be_set_is_a_connect_error_and_leaves_nothing_open() -> None:
    """The system's words, and the server sees the end of the connection."""

    async def scenario() -> None:
        async with client_on(own=True, socket_options=[(socket.SOL_SOCKET, 9999, 1)]) as client:
            with pytest.raises(httpx.ConnectError, match="rotocol"):
                await client.get(f"http://127.0.0.1:{port}")

    with listening(rest_of_and_nothing) as port:
        asyncio.run(scenario())
