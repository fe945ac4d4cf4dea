"""The openai SDK, given a resilient client: a bad minute, a stream, a quota that is used up, and retries twice over.

The API is a function in memory, and time is virtual. docs/sdks.md tells the rest. Run it: python examples/openai_sdk.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
from openai import OpenAI, RateLimitError

from resilient_client.httpx2 import ResilientClient, outcome_of
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY = Path(__file__).with_name("openai.toml")
ASKED: Any = {"model": "a-model", "messages": [{"role": "user", "content": "Count to three."}]}


class Api:
    """A small API: it answers with what it was told to, the last reply for ever."""

    def __init__(self, *replies: httpx2.Response) -> None:
        self.replies = list(replies)
        self.requests = 0

    def __call__(self, _: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        self.requests += 1
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return httpx2.Response(reply.status_code, headers=reply.headers, stream=reply.stream)


def error(status: int, code: str, **headers: str) -> httpx2.Response:
    """Make an error as this API does."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, headers=named, json={"error": {"code": code, "message": "Not now."}})


def answer() -> httpx2.Response:
    """Make a whole answer."""
    return httpx2.Response(200, json={"choices": [{"message": {"content": "One, two, three."}}]})


def stream() -> httpx2.Response:
    """Make an answer that comes in pieces."""

    def events() -> Iterator[bytes]:
        for word in ("One, ", "two, ", "three."):
            yield f"data: {json.dumps({'choices': [{'delta': {'content': word}}]})}\n\n".encode()
        yield b"data: [DONE]\n\n"

    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=events())


def sdk(api: Api, clock: VirtualClock, **options: Any) -> OpenAI:
    """Make the SDK's client. In a program, leave `transport` and `clock` out."""
    http_client = ResilientClient(
        POLICY, transport=httpx2.MockTransport(api), clock=clock, follow_redirects=True
    )
    return OpenAI(api_key="a-key", http_client=http_client, **options)


def main() -> None:
    """Ask four times."""
    clock = VirtualClock()
    busy = error(429, "rate_limit_exceeded", retry_after_ms="1500")
    overloaded = error(503, "server_is_overloaded")

    with sdk(Api(busy, overloaded, answer()), clock, max_retries=0) as client:
        reply = client.chat.completions.with_raw_response.create(**ASKED)
        names = [attempt.verdict.name for attempt in outcome_of(reply.http_response).attempts]
        print(f"{reply.parse().choices[0].message.content} {' -> '.join(names)}")
        print(f"waited as long as the API asked for: {clock.sleeps[0] >= 1.5}")

    with (
        sdk(Api(overloaded, stream()), clock, max_retries=0) as client,
        client.chat.completions.create(stream=True, **ASKED) as chunks,
    ):
        words = [chunk.choices[0].delta.content for chunk in chunks]
        print(f"{words} after {len(outcome_of(chunks.response).attempts)} attempts")

    for options in ({"max_retries": 0}, {}):
        for code in ("insufficient_quota", "rate_limit_exceeded"):
            api = Api(error(429, code, retry_after_ms="1"))
            with sdk(api, clock, **options) as client:
                try:
                    client.chat.completions.create(**ASKED)
                except RateLimitError as caught:
                    told = f"{type(caught).__name__}, {outcome_of(caught).reason}"
            left = "the SDK's retries off" if options else "the SDK's retries left on"
            print(f"{left}, {code}: {told}, requests: {api.requests}")


if __name__ == "__main__":
    main()
