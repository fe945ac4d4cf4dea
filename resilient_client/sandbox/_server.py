"""The sandbox on a socket: one listener on 127.0.0.1, one thread, one event loop, h11 for the protocol.

What is said is decided elsewhere (`Desk`); this file only says it, or fails to say it in the way that was asked for.
A process that is forked off keeps nothing open of it: the thread is not there, and a socket that it held would never end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading
import weakref
from typing import TYPE_CHECKING, cast

import h11

from resilient_client.sandbox._api import Request
from resilient_client.sandbox._desk import Line

if TYPE_CHECKING:
    from resilient_client.sandbox._api import Reply
    from resilient_client.sandbox._desk import Desk

BODY_LIMIT = 16 * 1024 * 1024  # bytes; a document of 10 MB in Base64 fits
HEAD_LIMIT = 64 * 1024  # bytes
_CHUNK = 64 * 1024  # bytes
_LINGER = 1.0  # seconds that a closing connection may take
_JOIN = 5.0  # seconds that the thread may take to start or to end


class Server:
    """Serves a desk from a background thread, from the moment that it is made until `close`."""

    def __init__(self, desk: Desk, *, name: str, port: int = 0) -> None:
        """Listen on 127.0.0.1. Raises OSError, with one clear message, where the port cannot be had."""
        self.connections = 0
        self._desk = desk
        self._name = name
        self._listener = _listen(name, port)
        self.port: int = self._listener.getsockname()[1]
        self._talks: set[asyncio.Task[None]] = set()
        self._socks: set[socket.socket] = set()  # one for each talk
        self._loop = asyncio.SelectorEventLoop()  # the one that has add_reader on every platform
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name}-sandbox", daemon=True)
        _SERVERS.add(self)
        self._thread.start()

    def leave(self) -> None:
        """Close this process's copies of the sockets, in a process that was forked off; the server goes on in the other one."""
        # By their own close: what asyncio would do first, to take them off its selector, would reach the other process.
        for sock in (self._listener, *self._socks):
            sock.close()

    def close(self) -> None:
        """Close the listener and every connection, and wait for the thread. May be called twice.

        Raises RuntimeError where the thread does not end in time.
        """
        with contextlib.suppress(RuntimeError):  # the loop has been closed already
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_JOIN)
        if self._thread.is_alive():
            raise RuntimeError(f"the {self._name} sandbox did not stop within {_JOIN:g} seconds")

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        # The listener is read by hand, not by asyncio.start_server: that one drops, with noise, what it is just accepting
        # when it is closed.
        loop = asyncio.get_running_loop()
        loop.add_reader(self._listener, self._accept)
        try:
            await self._stop.wait()
        finally:
            loop.remove_reader(self._listener)
            self._listener.close()
            for talk in self._talks:
                talk.cancel()
            if self._talks:
                await asyncio.wait(self._talks)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # the client has changed its mind, or this process has no descriptor left and looks again
        self.connections += 1
        self._socks.add(sock)
        sock.setblocking(False)  # noqa: FBT003 - the socket module has it so
        with contextlib.suppress(OSError):
            # Without this, a reply in two parts waits for the client's ACK of the first.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        talk = asyncio.get_running_loop().create_task(_talk(sock, self._desk))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)
        talk.add_done_callback(lambda _: self._end(sock))  # also where the talk was over before it began

    def _end(self, sock: socket.socket) -> None:
        self._socks.discard(sock)
        sock.close()


_SERVERS: weakref.WeakSet[Server] = weakref.WeakSet()  # those of this process


def _leave_all() -> None:
    for server in _SERVERS:
        server.leave()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_leave_all)


def _listen(name: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server(("127.0.0.1", port), backlog=socket.SOMAXCONN)
    except OSError as error:
        why = f"the {name} sandbox cannot listen on 127.0.0.1:{port}: {_reason(error)}"
        raise OSError(error.errno, why) from None
    listener.setblocking(False)  # noqa: FBT003 - the socket module has it so
    return listener


def _reason(error: OSError) -> str:
    # asyncio and socket put the address into the text once more.
    return os.strerror(error.errno) if error.errno else str(error)


async def _talk(sock: socket.socket, desk: Desk) -> None:
    reader, writer = await asyncio.open_connection(sock=sock, limit=_CHUNK)
    await _Talk(reader, writer, desk).run()


class _Talk:
    """One connection, from its first request to its end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, desk: Desk) -> None:
        self._reader = reader
        self._writer = writer
        self._desk = desk
        self._line = Line()
        self._wire = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)

    async def run(self) -> None:
        """Answer one request after the other until either side ends the connection."""
        try:
            while await self._exchange():
                self._wire.start_next_cycle()
        except OSError:
            pass  # the client has left; there is nobody to tell
        except h11.RemoteProtocolError as error:
            with contextlib.suppress(OSError):
                await self._turn_away(error.error_status_hint, str(error))
        except asyncio.CancelledError:
            self._writer.transport.abort()  # what a client has not fetched by now is lost
            raise
        except Exception as failure:  # noqa: BLE001 - a reply that HTTP has no form for; close raises it again
            self._desk.own_up(failure)
        finally:
            await self._hang_up()

    async def _exchange(self) -> bool:
        """Take a request and answer it. True if the connection can take another."""
        head = await self._event()
        if not isinstance(head, h11.Request):
            return False
        if self._breaks_off(head):
            if not self._wire.they_are_waiting_for_100_continue:
                await self._event()  # its body has begun, or it has none
            self._reset()
            return False
        reply = self._reply(_request(head, await self._body(head)))
        if reply.delay:
            await self._desk.apause(reply.delay)
        match reply.ending:
            case "reset" | "reset-upload":
                self._reset()
            case "garbage":
                self._writer.write(self._desk.garbage)
            case "close":
                pass  # hanging up is all
            case _:
                await self._send(reply.outgoing(head.method.decode("ascii")))
        return self._wire.our_state is h11.DONE and self._wire.their_state is h11.DONE

    def _breaks_off(self, head: h11.Request) -> bool:
        try:
            return self._desk.early(_request(head, b""), self._line) is not None
        except Exception as failure:  # noqa: BLE001 - close raises it again
            self._desk.own_up(failure)
            return False

    def _reply(self, request: Request) -> Reply:
        """Have it answered; what the stand-in itself does wrong is told, and kept for `close`."""
        try:
            return self._desk.answer(request, self._line)
        except Exception as failure:  # noqa: BLE001 - anything at all is raised again by close
            return self._desk.own_up(failure)

    async def _event(self) -> h11.Event:
        """Wait for the next thing that the client says."""
        while (event := self._wire.next_event()) is h11.NEED_DATA:
            if self._wire.they_are_waiting_for_100_continue:
                self._say(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
            self._wire.receive_data(await self._reader.read(_CHUNK))
        return cast(
            "h11.Event", event
        )  # never PAUSED: the next request is asked for when this one is answered

    async def _body(self, head: h11.Request) -> bytes:
        """Read the whole body, or refuse one that is or turns out too long: before asking for it, where that is known."""
        announced = next((value for name, value in head.headers if name == b"content-length"), b"0")
        if int(announced) > BODY_LIMIT:
            raise _too_long()
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > BODY_LIMIT:
                raise _too_long()
        return bytes(body)

    async def _send(self, reply: Reply) -> None:
        """Send it in full, or up to where it breaks off."""
        said: list[h11.Event] = [
            h11.Response(status_code=reply.status, headers=reply.field_lines, reason=reply.reason)
        ]
        for pause, piece in reply.drops():
            if pause:
                self._say(*said)
                await self._writer.drain()
                await self._desk.apause(pause)
                said.clear()
            said.append(h11.Data(data=piece))
        if reply.ending == "whole":
            said.append(h11.EndOfMessage())
        self._say(*said)
        await self._writer.drain()
        if reply.ending == "reset-body":
            self._reset()

    async def _turn_away(self, status: int, why: str) -> None:
        """Tell the client what is wrong with what it sent, then close.

        What it still sends is read and dropped for a moment: closing a socket that holds unread bytes resets it, and the
        client would lose the reply.
        """
        if self._wire.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        text = f"{why}\n".encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(text))),
            ("Connection", "close"),
        ]
        self._say(h11.Response(status_code=status, headers=headers), h11.Data(data=text), h11.EndOfMessage())
        await self._writer.drain()
        self._writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while await self._reader.read(_CHUNK):
                    pass

    def _say(self, *events: h11.Event) -> None:
        self._writer.write(b"".join(self._wire.send(event) or b"" for event in events))

    def _reset(self) -> None:
        # Lingering for zero seconds makes the kernel send RST instead of FIN.
        self._writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self._writer.transport.abort()

    async def _hang_up(self) -> None:
        self._writer.close()
        try:
            with contextlib.suppress(OSError):  # TimeoutError included: the client does not read, or has gone
                async with asyncio.timeout(_LINGER):
                    await self._writer.wait_closed()
        finally:
            self._writer.transport.abort()  # does nothing to what is closed


def _request(head: h11.Request, body: bytes) -> Request:
    return Request.of(head.method.decode("ascii"), head.target.decode("latin-1"), list(head.headers), body)


def _too_long() -> h11.RemoteProtocolError:
    return h11.RemoteProtocolError(f"the body is longer than {BODY_LIMIT} bytes", error_status_hint=413)
