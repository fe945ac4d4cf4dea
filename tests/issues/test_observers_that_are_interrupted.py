"""Ctrl-C while an observer's `around` was entered or left: those entered before were never left, and the response's connection was lost."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from loopback import Loopback, page

from resilient_client import ResilientClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_client.observers import Observer


class Around:
    """Notes when it is entered and left."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    @contextmanager
    def around(self, event: Any) -> Iterator[None]:
        """Wrap a call."""
        del event
        self._log.append("entered")
        try:
            yield
        finally:
            self._log.append("left")


class Interrupted:
    """Is interrupted while it is entered, or while it is left, once."""

    def __init__(self, *, entering: bool) -> None:
        self._entering = entering
        self._times = 1

    @contextmanager
    def around(self, event: Any) -> Iterator[None]:
        """Wrap a call."""
        del event
        if self._entering:
            self._interrupt()
        try:
            yield
        finally:
            self._interrupt()

    def _interrupt(self) -> None:
        if self._times:
            self._times -= 1
            raise KeyboardInterrupt


def test_those_that_were_entered_are_left_where_another_is_interrupted_on_entering() -> None:
    """No span stays open for the rest of the thread's life."""
    log: list[str] = []
    observers: list[Observer] = [Around(log), Interrupted(entering=True)]
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    with ResilientClient(transport=transport, observers=observers) as client:
        with pytest.raises(KeyboardInterrupt):
            client.get("https://api.test/")
        assert log == ["entered", "left"]


def test_an_interruption_on_leaving_gives_the_connection_back() -> None:
    """A pool of one serves the next call."""
    limits = httpx.Limits(max_connections=1)
    with (
        Loopback(page(200, b"one"), page(200, b"two")) as server,
        ResilientClient(
            limits=limits, timeout=2, trust_env=False, observers=[Interrupted(entering=False)]
        ) as client,
    ):
        with pytest.raises(KeyboardInterrupt):
            client.get(server.url)
        assert client.get(server.url).text == "two"


def test_an_observer_that_must_be_awaited_is_told_of_by_the_log_in_a_sync_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What gives a coroutine although it is no coroutine function is not dropped in silence."""

    class Sender:
        async def _send(self) -> None:
            raise AssertionError("nobody awaits it")

        def on_success(self, event: Any) -> Any:
            """Give what should be awaited."""
            del event
            return self._send()

    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    with ResilientClient(transport=transport, observers=[Sender()]) as client:
        assert client.get("https://api.test/").is_success

    assert "a sync client cannot" in caplog.text
