"""The anthropic SDK, given a resilient client: an overloaded API, a lost answer, and a stream that fails in its middle.

The API is a function in memory, and time is virtual. docs/sdks.md tells the rest. Run it: python examples/anthropic_sdk.py
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
from anthropic import APIConnectionError, APIStatusError, AsyncAnthropic

from resilient_client.httpx2 import AsyncResilientClient, outcome_of
from resilient_client.testing import VirtualClock

POLICY = Path(__file__).with_name("anthropic.toml")
ASKED: Any = {
    "model": "a-model",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Count to three."}],
}

LOST = httpx2.ReadError("the connection was closed")
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "a-model", "content": []}
USAGE = {"input_tokens": 5, "output_tokens": 4}


class Api:
    """A small API: it answers with what it was told to, in order."""

    def __init__(self, *replies: httpx2.Response | Exception) -> None:
        self.replies = list(replies)
        self.requests = 0

    def __call__(self, _: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        self.requests += 1
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


def answer() -> httpx2.Response:
    """Make a whole answer."""
    content = [{"type": "text", "text": "One, two, three."}]
    return httpx2.Response(200, json={**MESSAGE, "content": content, "usage": USAGE})


def stream(*, whole: bool) -> httpx2.Response:
    """Make an answer that comes in pieces; the last of them is an error, unless it is to be whole."""
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**MESSAGE, "usage": USAGE}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    for word in ("One, ", "two, ", "three.") if whole else ("One, ",):
        delta = {"type": "text_delta", "text": word}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events.append({"type": "message_stop"} if whole else OVERLOADED)
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=body)


async def may_be_repeated(request: httpx2.Request) -> None:
    """Say that a question may be sent twice: rather pay for two answers than have none. Not where it has tools that act."""
    if request.url.path.endswith("/v1/messages"):
        request.extensions["resilience"] = {"idempotent": True}


def sdk(api: Api, **options: Any) -> AsyncAnthropic:
    """Make the SDK's client. In a program, leave `transport` and `clock` out."""
    http_client = AsyncResilientClient(
        POLICY, transport=httpx2.MockTransport(api), clock=VirtualClock(), follow_redirects=True, **options
    )
    return AsyncAnthropic(api_key="a-key", http_client=http_client, max_retries=0)


async def main() -> None:
    """Ask four times."""
    overloaded = httpx2.Response(529, json=OVERLOADED)

    async with sdk(Api(overloaded, stream(whole=True))) as client:
        async with client.messages.stream(**ASKED) as events:
            words = [text async for text in events.text_stream]
            names = [attempt.verdict.name for attempt in outcome_of(events.response).attempts]
        print(f"{''.join(words)} {' -> '.join(names)}")

    api = Api(LOST, answer())
    async with sdk(api) as client:
        try:
            await client.messages.create(**ASKED)
        except APIConnectionError as error:
            outcome = outcome_of(error)
            print(f"lost after {api.requests} request, {outcome.reason}: it {perhaps(outcome.maybe_applied)}")

    async with sdk(Api(LOST, answer()), event_hooks={"request": [may_be_repeated]}) as client:
        reply = await client.messages.with_raw_response.create(**ASKED)
        outcome = outcome_of(reply.http_response)
        print(f"{len(outcome.attempts)} attempts, and the first {perhaps(outcome.maybe_applied)}")

    api = Api(stream(whole=False))
    async with sdk(api) as client:
        try:
            async with client.messages.stream(**ASKED) as events:
                async for text in events.text_stream:
                    print(f"{text}... ", end="")
        except APIStatusError as error:
            print(f"{error.type} within a {error.status_code}, requests: {api.requests}")


def perhaps(maybe_applied: bool) -> str:  # noqa: FBT001 - one value to be put in words
    """Put in words what an outcome says of a lost attempt."""
    return "may have been answered, and paid for" if maybe_applied else "was not done"


if __name__ == "__main__":
    asyncio.run(main())
