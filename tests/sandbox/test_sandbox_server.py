"""The sandbox's server, byte by byte: connections, framing, limits, and a shutdown that leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from plain import CREATE, WAYS, Stand, Tiny, ask, order

from resilient_client.sandbox import Reply, Sandbox, Schedule
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from resilient_client.sandbox import Request, Zerotrace

UNSIGNED = b"GET /api/v1/codes HTTP/1.1\r\nHost: sandbox\r\n"  # needs a blank line, or more headers
MEBIBYTE = 1024 * 1024
AT_ONCE = 0.9  # seconds: less than the server would give a client to leave, enough for a machine that has much to do
DESCRIPTORS = Path("/dev/fd")  # of this process, where the system tells them


@pytest.fixture
def api() -> Iterator[Sandbox[Zerotrace]]:
    with Sandbox("zerotrace") as api:
        yield api


class Asked(threading.Event):
    """Faults that are one and the same, and that tell when they are asked for."""

    def __init__(self, fault: str | None) -> None:
        super().__init__()
        self.fault = fault

    def __call__(self, _route: str, _request: Request, /) -> str | None:
        self.set()
        return self.fault


def port_of(api: Sandbox[Any] | Stand) -> int:
    port = httpx.URL(api.base_url).port
    assert port is not None
    return port


def dial(api: Sandbox[Any] | Stand) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(api)), timeout=5)


def say(api: Sandbox[Any] | Stand, text: bytes) -> bytes:
    """Send `text` on a new connection and read until the server closes it."""
    with dial(api) as sock:
        sock.sendall(text)
        return read_all(sock)


def read_all(sock: socket.socket) -> bytes:
    received = bytearray()
    while part := sock.recv(65536):
        received += part
    return bytes(received)


def read_until(sock: socket.socket, ending: bytes) -> bytes:
    received = bytearray()
    while not received.endswith(ending):
        part = sock.recv(1)
        assert part, received
        received += part
    return bytes(received)


def status_of(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


# --- connections


def test_one_connection_carries_many_requests(api: Sandbox[Zerotrace]) -> None:
    """A client that keeps its connection is counted once."""
    with httpx.Client(base_url=api.base_url) as client:
        for _ in range(3):
            assert client.post("/v1/create", content=b"{}").status_code == 401

    assert api.connections == 1
    assert len(api.state.requests) == 3


def test_each_new_connection_is_counted(api: Sandbox[Zerotrace]) -> None:
    """A client that connects anew each time is counted each time."""
    for _ in range(3):
        httpx.get(f"{api.base_url}/v1/codes")

    assert api.connections == 3


def test_connection_is_closed_on_request(api: Sandbox[Zerotrace]) -> None:
    """Connection: close is honoured, and so is HTTP/1.0."""
    assert status_of(say(api, UNSIGNED + b"Connection: close\r\n\r\n")) == 401
    assert status_of(say(api, b"GET /api/v1/codes HTTP/1.0\r\n\r\n")) == 401


def test_pipelined_requests_are_answered_in_order(api: Sandbox[Zerotrace]) -> None:
    """Two requests in one packet get two replies."""
    reply = say(
        api, UNSIGNED + b"\r\n" + b"GET /api/nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )

    assert [part[:3] for part in reply.split(b"HTTP/1.1 ")[1:]] == [b"401", b"404"]


def test_pipelined_request_finds_a_stale_connection_closed() -> None:
    """What was sent ahead of the first reply is not answered, and nothing is done for it."""
    one = b"GET /things/1 HTTP/1.1\r\nHost: a\r\n\r\n"
    with Stand(Tiny(Reply(200, (), b"one"), lambda _route, _request: "stale"), "socket") as stand:
        reply = say(stand, one * 3)

    assert reply.count(b"HTTP/1.1 200 OK") == 1
    assert [(seen.route, seen.worked) for seen in stand.state.requests] == [
        ("GET /things/{id}", True),
        ("GET /things/{id}", False),
    ]


def test_head_is_answered_without_a_body(api: Sandbox[Zerotrace]) -> None:
    """HEAD is no route of the API, and its 404 has a length and no body; the connection stays in step."""
    with httpx.Client(base_url=api.base_url) as client:
        response = client.head("/v1/codes")
        assert (response.status_code, response.content) == (404, b"")
        assert client.get("/v1/codes").json() == {"code": 2, "msg": "AUTH_REQUIRED"}

    assert api.connections == 1


def test_a_thousand_requests_go_over_one_connection(api: Sandbox[Zerotrace]) -> None:
    """A connection does not wear out, and nothing adds up in it."""
    one = b"GET /api/v1/codes HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /api/nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with dial(api) as sock, ThreadPoolExecutor(1) as pool:
        received = pool.submit(read_all, sock)  # what is not read would stop the server from answering
        sock.sendall(one * 999 + last)
        replies = received.result().split(b"HTTP/1.1 ")[1:]

    assert [status[:3] for status in replies] == [b"401"] * 999 + [b"404"]
    assert api.connections == 1


def test_two_hundred_connections_are_served_at_once() -> None:
    """All of them are open, and in the middle of a request, before the first is answered."""
    with Sandbox("zerotrace") as api, contextlib.ExitStack() as stack:
        socks = [stack.enter_context(dial(api)) for _ in range(200)]
        for sock in socks:
            sock.sendall(UNSIGNED)
        for sock in socks:
            sock.sendall(b"Connection: close\r\n\r\n")
        statuses = [status_of(read_all(sock)) for sock in socks]

    assert statuses == [401] * 200
    assert api.connections == 200


def test_many_clients_at_once_are_all_answered(api: Sandbox[Zerotrace]) -> None:
    """Concurrent requests are answered and noted, none lost."""
    with httpx.Client(base_url=api.base_url) as client, ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: client.get("/v1/codes").status_code, range(80)))

    assert statuses == [401] * 80
    assert len(api.state.requests) == 80


# --- framing


def test_body_is_asked_for_when_the_client_waits_to_be_asked(api: Sandbox[Zerotrace]) -> None:
    """Expect: 100-continue gets its 100 before the body is sent, and the reply after it."""
    with dial(api) as sock:
        sock.sendall(
            b"POST /api/v1/qr HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert status_of(read_until(sock, b"\r\n\r\n")) == 100
        sock.sendall(b"{}")
        assert status_of(read_all(sock)) == 401

    assert api.state.requests[0].body == b"{}"


def test_too_long_a_body_is_not_even_asked_for(api: Sandbox[Zerotrace]) -> None:
    """A client that waits to be asked is told 413 in place of 100."""
    announced = f"Content-Length: {16 * MEBIBYTE + 1}\r\n".encode()
    reply = say(api, b"POST /api/v1/qr HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + announced + b"\r\n")

    assert status_of(reply) == 413
    assert api.state.requests == []


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_end_at_16_mebibytes(api: Sandbox[Zerotrace], *, chunked: bool) -> None:
    """A body of exactly the limit is read; one byte more is 413, announced or found out."""

    def post(size: int) -> int:
        body = bytes(size)
        content = (body[at : at + MEBIBYTE] for at in range(0, size, MEBIBYTE)) if chunked else body
        with httpx.Client(base_url=api.base_url) as client:
            return client.post("/v1/qr", content=content).status_code

    assert [post(16 * MEBIBYTE), post(16 * MEBIBYTE + 1)] == [401, 413]


@pytest.mark.parametrize("size", [65_536, 65_537, 3 * MEBIBYTE])
def test_long_body_is_kept_in_part(api: Sandbox[Zerotrace], size: int) -> None:
    """However much is sent, 64 KiB of a body are kept of it, with the length and the digest of the whole."""
    body = b"b" * (size - 1) + b"e"
    with httpx.Client(base_url=api.base_url) as client:
        client.post("/v1/qr", content=body)

    (seen,) = api.state.requests
    assert (seen.body, seen.size) == (body[:65_536], size)
    assert seen.digest == hashlib.sha256(body).hexdigest()


def test_chunked_body_is_put_together(api: Sandbox[Zerotrace]) -> None:
    """A body in chunks, of any size and with trailers, is what its chunks make together."""
    reply = say(
        api,
        b"POST /api/v1/qr HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b'1\r\n{\r\n3;note=x\r\n"a"\r\n3\r\n:1}\r\n0\r\nX-Trailer: t\r\n\r\n',
    )

    assert status_of(reply) == 401
    assert api.state.requests[0].body == b'{"a":1}'


@pytest.mark.parametrize("way", WAYS)
def test_body_of_a_generator_arrives_whole(api: Sandbox[Zerotrace], way: str) -> None:
    """What a client sends in chunks, under every loop, is signed and taken like any other body."""

    async def pieces() -> AsyncIterator[bytes]:
        for letter in content:
            yield bytes([letter])

    request = order(api)
    content: bytes = request["content"]
    request["content"] = (bytes([letter]) for letter in content) if way == "sync" else pieces()

    assert ask(api, way, request)[0].status == 200
    assert api.state.requests[0].body == content


@pytest.mark.parametrize(
    "text",
    [
        b"hello\r\n\r\n",
        b"GET /api/v1/codes HTTP/1.1\r\n\r\n",
        UNSIGNED + b"Content-Length: -1\r\n\r\n",
        UNSIGNED + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /api/v1/qr HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    ],
    ids=["no-http", "no-host", "negative-length", "two-lengths", "bad-chunk", "tls"],
)
def test_malformed_request_is_400_and_the_end(api: Sandbox[Zerotrace], text: bytes) -> None:
    """What is not HTTP gets a 400 and a closed connection, and is no request."""
    assert status_of(say(api, text)) == 400
    assert api.state.requests == []


def test_endless_head_is_cut_off(api: Sandbox[Zerotrace]) -> None:
    """A head that does not end is refused at 64 KiB."""
    assert status_of(say(api, UNSIGNED + b"X-Filler: " + b"x" * 70_000)) == 431


def test_client_that_leaves_in_the_middle_harms_nobody(api: Sandbox[Zerotrace]) -> None:
    """Half a request is no request, and the next client is served."""
    with dial(api) as sock:
        sock.sendall(b"POST /api/v1/qr HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{")

    assert httpx.get(f"{api.base_url}/v1/codes").status_code == 401
    assert len(api.state.requests) == 1


def test_client_that_vanishes_in_its_upload_harms_nobody(api: Sandbox[Zerotrace]) -> None:
    """A reset in the middle of a large body is no request and no failure, and the next client is served."""
    for _ in range(5):
        with dial(api) as sock:
            sock.sendall(
                b"POST /api/v1/qr HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + bytes(100_000)
            )
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert ask(api, "sync", order(api))[0].status == 200
    assert len(api.state.requests) == 1


def test_client_that_vanishes_before_its_reply_harms_nobody() -> None:
    """The work was done; there is nobody to tell, and that is no failure of the sandbox."""
    with Stand(Tiny(Reply(200, (), bytes(5 * MEBIBYTE)), asked := Asked("latency:0.01")), "socket") as stand:
        with dial(stand) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert asked.wait(5)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        asked.fault = None
        assert ask(stand, "sync", {"method": "GET", "url": "/"})[0].status == 200

    assert [seen.worked for seen in stand.state.requests] == [True, True]


def test_client_that_dawdles_over_its_head_keeps_nobody_waiting(api: Sandbox[Zerotrace]) -> None:
    """While some send a byte now and again, others are served; in the end the slow are served as well."""
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(dial(api)) for _ in range(20)]
        for letter in UNSIGNED:
            for sock in slow:
                sock.sendall(bytes([letter]))
        assert ask(api, "sync", order(api))[0].status == 200
        for sock in slow:
            sock.sendall(b"Connection: close\r\n\r\n")
        assert [status_of(read_all(sock)) for sock in slow] == [401] * 20


# --- time


@pytest.mark.parametrize("way", WAYS)
def test_delays_pass_on_a_virtual_clock(way: str) -> None:
    """Over a socket too, latency and drips move a clock that can be moved, and nobody sleeps; no timeout is met."""
    clock = VirtualClock()
    with Sandbox("zerotrace", clock=clock, faults=Schedule().add(CREATE, ["latency:60", "drip:300"])) as api:
        began = time.monotonic()
        statuses = [met.status for met in ask(api, way, order(api), order(api), timeout=5.0)]

    assert statuses == [200, 200]
    assert clock.monotonic() == pytest.approx(360)
    assert clock.sleeps == []
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_client_is_served(api: Sandbox[Zerotrace], way: str) -> None:
    """Threads, asyncio and trio: the server has a loop of its own, and does not mind whose."""
    mets = ask(api, way, order(api), {"method": "GET", "url": "/v1/codes"}, order(api))

    assert [met.status for met in mets] == [200, 401, 200]
    assert api.connections == 1


# --- starting and stopping


def test_only_the_loopback_address_listens(api: Sandbox[Zerotrace]) -> None:
    """The sandbox is not reachable from anywhere else."""
    assert api.base_url == f"http://127.0.0.1:{port_of(api)}/api"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port_of(api)), timeout=5)


AUDITED = """
import sys
bound = []
sys.addaudithook(lambda event, args: bound.append(args[1][0]) if event == "socket.bind" else None)
from resilient_client.sandbox import Sandbox
with Sandbox("zerotrace") as api, api.client() as client:
    assert client.get("/v1/codes").status_code == 200
print(bound)
"""


def test_nothing_but_the_loopback_address_is_ever_bound() -> None:
    """A whole life of a sandbox, watched by the interpreter: one socket is bound, to 127.0.0.1."""
    watched = subprocess.run(
        [sys.executable, "-c", AUDITED], capture_output=True, text=True, timeout=30, check=True
    )

    assert watched.stdout == "['127.0.0.1']\n"


def test_busy_port_is_one_clear_os_error(api: Sandbox[Zerotrace]) -> None:
    """A port that another one holds is an OSError that names it, and nothing is left open."""
    port = port_of(api)
    threads = threading.active_count()

    with pytest.raises(
        OSError, match=rf"the zerotrace sandbox cannot listen on 127\.0\.0\.1:{port}: .*in use"
    ):
        Sandbox("zerotrace", port=port).start()

    assert threading.active_count() == threads


def test_closing_ends_idle_connections_and_the_thread() -> None:
    """After close no thread is left, open connections have ended, and the port can be had again."""
    before = set(threading.enumerate())
    api = Sandbox("zerotrace").start()
    port = port_of(api)
    with dial(api) as idle, dial(api) as half:
        half.sendall(b"POST /api/v1/qr HTTP/1.1\r\n")
        idle.sendall(UNSIGNED + b"\r\n")
        assert status_of(read_until(idle, b"}")) == 401
        api.close()
        api.close()
        assert idle.recv(1) == b""

    assert set(threading.enumerate()) == before
    with Sandbox("zerotrace", port=port) as again:
        assert httpx.get(f"{again.base_url}/v1/codes").status_code == 401
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{again.base_url}/v1/codes")


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Check that no thread, no descriptor and no unclosed socket is left of what was opened in here."""
    gc.collect()
    threads, descriptors = set(threading.enumerate()), count_descriptors()
    yield
    gc.collect()  # an unclosed socket warns, and a warning is an error
    assert set(threading.enumerate()) == threads
    assert count_descriptors() == descriptors


def count_descriptors() -> int:
    return len(list(DESCRIPTORS.iterdir())) if DESCRIPTORS.is_dir() else 0


@pytest.mark.parametrize("fault", ["latency:600", "drip:600", "reset", "truncate", "stale", None])
def test_closing_leaves_nothing_behind(fault: str | None) -> None:
    """Whatever a connection was about when the sandbox closed, its thread, sockets and loop are gone at once."""
    with nothing_left():
        asked = Asked(fault)
        api = Sandbox("zerotrace", faults=asked).start()
        with ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(ask, api, "sync", order(api)) for _ in range(3)]
            assert asked.wait(5)
            if fault in {"latency:600", "drip:600"}:
                while len(api.state.requests) < 3:  # all of them are being kept waiting
                    time.sleep(0.001)
            else:
                for call in calls:
                    call.result()
            began = time.monotonic()
            api.close()
            took = time.monotonic() - began
            mets = [call.result()[0] for call in calls]

        assert took < AT_ONCE
        if fault in {"latency:600", "drip:600"}:
            assert [met.raised for met in mets] == [httpx.RemoteProtocolError] * 3


def test_closing_does_not_wait_for_a_client_that_does_not_read() -> None:
    """A reply that nobody fetches is given up."""
    with (
        nothing_left(),
        Stand(Tiny(Reply(200, (), bytes(16 * MEBIBYTE))), "socket") as stand,
        dial(stand) as sock,
    ):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert status_of(sock.recv(20)) == 200
        began = time.monotonic()
        stand.close()

        assert time.monotonic() - began < AT_ONCE


def test_closing_does_not_wait_for_a_client_that_was_turned_away() -> None:
    """Nor for one that goes on sending what was refused."""
    with nothing_left(), Sandbox("zerotrace") as api, dial(api) as sock:
        sock.sendall(b"POST /api/v1/qr HTTP/1.1\r\nHost: a\r\nContent-Length: 90000000\r\n\r\n")
        assert status_of(read_until(sock, b"bytes\n")) == 413
        began = time.monotonic()
        api.close()

        assert time.monotonic() - began < AT_ONCE


@pytest.mark.parametrize("port", [-1, 65_536])
def test_port_that_there_cannot_be_is_a_value_error(port: int) -> None:
    """It is told before anything is opened."""
    with pytest.raises(
        ValueError, match=rf"a port is from 0, which is any free one, to 65535 \(got {port}\)"
    ):
        Sandbox("zerotrace", port=port)


def test_sandbox_starts_once() -> None:
    """A second start is a mistake that is told."""
    with Sandbox("zerotrace") as api, pytest.raises(RuntimeError, match="started already"):
        api.start()


def test_handler_serves_async_clients_too() -> None:
    """In memory one handler is enough for sync and async; its URL is made up."""
    api = Sandbox("zerotrace")

    async def ask() -> httpx.Response:
        transport = httpx.MockTransport(api.handler)
        async with httpx.AsyncClient(base_url=api.base_url, transport=transport) as client:
            return await client.post("/v1/qr", json={})

    response = asyncio.run(ask())

    assert str(response.url) == "http://zerotrace.sandbox/api/v1/qr"
    assert response.json() == {"code": 2, "msg": "AUTH_REQUIRED"}
    assert api.connections == 0


@contextlib.contextmanager
def forked() -> Iterator[None]:
    """Have a child process, a copy of this one, for as long as the block takes."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go[1])
        os.write(ready[1], b".")
        os.read(go[0], 1)  # ends when the other process closes its side
        os._exit(0)
    try:
        assert os.read(ready[0], 1) == b"."
        yield
    finally:
        for end in (*ready, *go):
            os.close(end)
        os.waitpid(child, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_process_that_is_forked_off_holds_no_connection() -> None:
    """While it lives, a connection that is closed here ends for the client, and so does the listener."""
    with Sandbox("zerotrace", faults=Schedule().add(CREATE, [None, "close"])) as api:
        port = port_of(api)
        with httpx.Client(base_url=api.base_url, timeout=5) as client:
            assert client.request(**order(api)).status_code == 200
            with forked():
                with pytest.raises(httpx.RemoteProtocolError):
                    client.request(**order(api))
                assert client.request(**order(api)).status_code == 200
                api.close()
                with pytest.raises(httpx.ConnectError):
                    client.request(**order(api))
                Sandbox("zerotrace", port=port).start().close()


def test_unclosed_sandbox_does_not_keep_a_program_alive() -> None:
    """A script that forgets to close its sandbox ends all the same, and quietly."""
    script = "from resilient_client.sandbox import Sandbox; api = Sandbox('zerotrace').start()"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=30, check=False)

    assert (ended.returncode, ended.stderr) == (0, b"")
