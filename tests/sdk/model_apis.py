"""A server on 127.0.0.1 that speaks the OpenAI and the Claude API, in JSON and in server-sent events, and fails as it is told.

What an error looks like is taken from the examples of the policies. Law of this file: nothing waits for time, only for
the client.
"""

from __future__ import annotations

import itertools
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from loopback import PATIENCE, Exchange, Loopback, page
from sdks import SDKS, Sdk

from resilient_client.testing import error_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Plan = Callable[[Sdk, Exchange], None]  # what is done with one request

__all__ = ["Gate", "ModelApis", "break_off", "drop", "refuse", "serving", "spoil", "tell"]

_SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class ModelApis:
    """Both APIs at one address. What is done with the requests to come is said by `will`; afterwards all is well."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Exchange] = []
        self._plans: Iterator[Plan] = iter(())

    def will(self, *plans: Plan, always: bool = False) -> None:
        """Say what is done with the requests to come, in order, or over and over again; forget those before."""
        self.requests = []
        self._plans = itertools.cycle(plans) if always else iter(plans)

    def sent(self, header: str) -> list[str]:
        """List what a header said on each request."""
        return [exchange.headers.get(header, "") for exchange in self.requests]

    def __call__(self, exchange: Exchange) -> None:
        self.requests.append(exchange)
        sdk = next(sdk for sdk in SDKS if sdk.route == exchange.target)
        next(self._plans, tell)(sdk, exchange)


@contextmanager
def serving() -> Iterator[ModelApis]:
    """Serve both APIs."""
    apis = ModelApis()
    with Loopback(apis) as server:
        apis.url = server.url
        yield apis


# ------------------------------------------------------------------------------------------------------- the plans


def tell(sdk: Sdk, exchange: Exchange) -> None:
    """Tell the story, as a stream if that was asked for."""
    if json.loads(exchange.body).get("stream"):
        exchange.say(_SSE + b"".join(map(_chunked, sdk.events)) + _chunked(b""))
    else:
        exchange.say(page(200, json.dumps(sdk.whole).encode(), "Content-Type: application/json"))


def refuse(error: str | int, **words: Any) -> Plan:
    """Answer with an error of the policy's examples, by the rule's name or the status; see `error_response`."""

    def plan(sdk: Sdk, exchange: Exchange) -> None:
        reply = error_response(sdk.policy, error, **words)
        lines = [
            f"{name}: {value}" for name, value in reply.headers.multi_items() if name != "content-length"
        ]
        exchange.say(page(reply.status_code, reply.content, *lines))

    return plan


def drop(_: Sdk, exchange: Exchange) -> None:
    """Hang up instead of answering: whoever asked cannot know whether it was done."""
    exchange.hang_up()


def break_off(sdk: Sdk, exchange: Exchange) -> None:
    """Hang up after the second word of the stream."""
    exchange.say(_SSE + b"".join(map(_chunked, sdk.events[: sdk.before + 2])))
    exchange.hang_up()


def spoil(sdk: Sdk, exchange: Exchange) -> None:
    """Send an error after the second word of the stream, and end it."""
    exchange.say(_SSE + b"".join(map(_chunked, (*sdk.events[: sdk.before + 2], sdk.spoiled, b""))))


class Gate:
    """Sends each word of the stream only when the client has had the one before; a client that does not gets no more."""

    def __init__(self) -> None:
        self._had = threading.Semaphore()

    def passed(self, _: object) -> None:
        """Say that a word has arrived."""
        self._had.release()

    def __call__(self, sdk: Sdk, exchange: Exchange) -> None:
        words = range(sdk.before, sdk.before + 4)
        exchange.say(_SSE)
        for number, event in enumerate(sdk.events):
            if number in words and not self._had.acquire(timeout=PATIENCE):
                exchange.hang_up()
                return
            exchange.say(_chunked(event))
        exchange.say(_chunked(b""))


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
