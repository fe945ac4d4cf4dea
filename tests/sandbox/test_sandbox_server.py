"""The sandbox's server, byte by byte: connections, framing, limits, and a shutdown that leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from resilient_client.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_client.sandbox import Zerotrace

UNSIGNED = b"GET /api/v1/codes HTTP/1.1\r\nHost: sandbox\r\n"  # needs a blank line, or more headers
MEBIBYTE = 1024 * 1024


@pytest.fixture
def api() -> Iterator[Sandbox[Zerotrace]]:
    with Sandbox("zerotrace") as api:
        yield api


def port_of(api: Sandbox[Zerotrace]) -> int:
    port = httpx.URL(api.base_url).port
    assert port is not None
    return port


def dial(api: Sandbox[Zerotrace]) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(api)), timeout=5)


def say(api: Sandbox[Zerotrace], text: bytes) -> bytes:
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


def test_head_is_answered_without_a_body(api: Sandbox[Zerotrace]) -> None:
    """HEAD is no route of the API, and its 404 has a length and no body; the connection stays in step."""
    with httpx.Client(base_url=api.base_url) as client:
        response = client.head("/v1/codes")
        assert (response.status_code, response.content) == (404, b"")
        assert client.get("/v1/codes").json() == {"code": 2, "msg": "AUTH_REQUIRED"}

    assert api.connections == 1


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
    announced = f"Content-Length: {12 * MEBIBYTE + 1}\r\n".encode()
    reply = say(api, b"POST /api/v1/qr HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + announced + b"\r\n")

    assert status_of(reply) == 413
    assert api.state.requests == []


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_end_at_12_mebibytes(api: Sandbox[Zerotrace], *, chunked: bool) -> None:
    """A body of exactly the limit is read; one byte more is 413, announced or found out."""

    def post(size: int) -> int:
        body = bytes(size)
        content = (body[at : at + MEBIBYTE] for at in range(0, size, MEBIBYTE)) if chunked else body
        with httpx.Client(base_url=api.base_url) as client:
            return client.post("/v1/qr", content=content).status_code

    assert [post(12 * MEBIBYTE), post(12 * MEBIBYTE + 1)] == [401, 413]


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


# --- starting and stopping


def test_only_the_loopback_address_listens(api: Sandbox[Zerotrace]) -> None:
    """The sandbox is not reachable from anywhere else."""
    assert api.base_url == f"http://127.0.0.1:{port_of(api)}/api"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port_of(api)), timeout=5)


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
        assert status_of(idle.recv(65536)) == 401
        api.close()
        api.close()
        assert idle.recv(1) == b""

    assert set(threading.enumerate()) == before
    with Sandbox("zerotrace", port=port) as again:
        assert httpx.get(f"{again.base_url}/v1/codes").status_code == 401
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{again.base_url}/v1/codes")


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


def test_unclosed_sandbox_does_not_keep_a_program_alive() -> None:
    """A script that forgets to close its sandbox ends all the same."""
    script = "from resilient_client.sandbox import Sandbox; Sandbox('zerotrace').start()"
    ended = subprocess.run([sys.executable, "-c", script], timeout=30, check=False)

    assert ended.returncode == 0
