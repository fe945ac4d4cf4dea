"""The other side of a connection, for the tests of the network: a thread that says and does to a socket what a test tells it to.

Law of this file: it is bounded. When a test ends, no thread and no socket of it is left.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["closed_port", "head_of", "listening", "rest_of", "serving", "slam", "trusting"]

PATIENCE = 5.0  # seconds that the other side waits for anything


@contextmanager
def listening(*talks: Callable[[socket.socket], None]) -> Iterator[int]:
    """Accept a connection for each of the talks, and close it when the talk is over. Gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)

        def serve() -> None:
            for talk in talks:
                with suppress(OSError), ExitStack() as stack:
                    peer = stack.enter_context(listener.accept()[0])
                    peer.settimeout(PATIENCE)
                    talk(peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the other side still talks"


def closed_port() -> int:
    """Give a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def head_of(peer: socket.socket) -> bytes:
    """Read a request's head, byte by byte: what follows stays unread."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = peer.recv(1)
        if not byte:
            break
        head += byte
    return head


def rest_of(peer: socket.socket) -> int:
    """Read until the client hangs up, and tell how much that was."""
    size = 0
    while data := peer.recv(65_536):
        size += len(data)
    return size


def slam(peer: socket.socket) -> None:
    """Close with a reset instead of an end."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


@cache
def serving(name: str = "127.0.0.1") -> ssl.SSLContext:
    """Make what a server needs for TLS under a name."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _authority().issue_cert(name).configure_cert(context)
    return context


@cache
def trusting() -> ssl.SSLContext:
    """Make what a client needs to believe it."""
    context = ssl.create_default_context()
    _authority().configure_trust(context)
    return context
