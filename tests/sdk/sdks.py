"""The openai and the anthropic SDK with one face, each over a resilient client, and the answers that their APIs give.

Law of this file: it makes clients as a user would, and judges nothing.
"""

from __future__ import annotations

import inspect
import json
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anthropic
import openai

from resilient_client import httpx2 as resilient
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import ModuleType

__all__ = ["ANTHROPIC", "HOWS", "OPENAI", "SDKS", "STORY", "Sdk", "Talker", "with_sdks"]

STORY = ("Once ", "upon ", "a ", "time.")
HOWS = ("answer", "stream", "helper")  # the three ways of asking: create(), create(stream=True) and stream()

# Nothing here is encrypted, and reading the system's certificates for each client would take longer than a test.
_TRUSTING_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@dataclass(frozen=True, eq=False)
class Sdk:
    """An SDK, where it finds what it is told, and what its API says."""

    name: str
    module: ModuleType
    route: str  # of its API, from the host on
    base: str  # what the SDK's base URL has before its own paths
    sync: Callable[..., Any]
    tasks: Callable[..., Any]
    endpoint: Callable[[Any], Any]  # of a client: what has create() and stream()
    question: Mapping[str, Any]
    text: Callable[[Any], str]  # of a reply
    piece: Callable[[Any], str | None]  # of an event of create(stream=True)
    told: Callable[[Any], str | None]  # of an event of stream()
    whole: Mapping[str, Any]  # the reply, as JSON
    events: tuple[bytes, ...]  # the same reply as server-sent events
    before: int  # how many of them come before the first word
    spoiled: bytes  # an error, as an event
    final: str  # the rule of the 429 that no waiting mends

    @property
    def policy(self) -> Path:
        """The policy that the examples come with."""
        return _EXAMPLES / f"{self.name}.toml"

    def __str__(self) -> str:
        return self.name


def _sse(data: Any, event: str | None = None) -> bytes:
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def _chunk(delta: Mapping[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "a-model"}
    return _sse({**head, "choices": [choice]})


def _typed(kind: str, **fields: Any) -> bytes:
    return _sse({"type": kind, **fields}, kind)


_QUESTION = {"model": "a-model", "messages": [{"role": "user", "content": "Tell me a story."}]}
_MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "a-model"}
_USAGE = {"input_tokens": 5, "output_tokens": 4}

OPENAI = Sdk(
    name="openai",
    module=openai,
    route="/v1/chat/completions",
    base="/v1",
    sync=openai.OpenAI,
    tasks=openai.AsyncOpenAI,
    endpoint=lambda client: client.chat.completions,
    question=_QUESTION,
    text=lambda reply: reply.choices[0].message.content,
    piece=lambda event: event.choices[0].delta.content,
    told=lambda event: event.delta if event.type == "content.delta" else None,
    whole={
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "a-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "".join(STORY)},
                "finish_reason": "stop",
            }
        ],
    },
    events=(*(_chunk({"content": word}) for word in STORY), _chunk({}, "stop"), _sse("[DONE]")),
    before=0,
    spoiled=_sse({"error": {"type": "server_error", "code": "server_error", "message": "It broke."}}),
    final="QUOTA_EXHAUSTED",
)

ANTHROPIC = Sdk(
    name="anthropic",
    module=anthropic,
    route="/v1/messages",
    base="",
    sync=anthropic.Anthropic,
    tasks=anthropic.AsyncAnthropic,
    endpoint=lambda client: client.messages,
    question={**_QUESTION, "max_tokens": 64},
    text=lambda reply: reply.content[0].text,
    piece=lambda event: event.delta.text if event.type == "content_block_delta" else None,
    told=lambda event: event.text if event.type == "text" else None,
    whole={
        **_MESSAGE,
        "content": [{"type": "text", "text": "".join(STORY)}],
        "stop_reason": "end_turn",
        "usage": _USAGE,
    },
    events=(
        _typed("message_start", message={**_MESSAGE, "content": [], "stop_reason": None, "usage": _USAGE}),
        _typed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(
            _typed("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
            for word in STORY
        ),
        _typed("content_block_stop", index=0),
        _typed("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 4}),
        _typed("message_stop"),
    ),
    before=2,
    spoiled=_typed("error", error={"type": "overloaded_error", "message": "Overloaded"}),
    final="SPEND_LIMIT_REACHED",
)

SDKS = (OPENAI, ANTHROPIC)


def with_sdks(metafunc: Any) -> None:
    """Run each test that asks for an `sdk` with both of them: `pytest_generate_tests = with_sdks`."""
    if "sdk" in metafunc.fixturenames:
        metafunc.parametrize("sdk", SDKS, ids=str)


class Talker:
    """An SDK's client over a resilient one, sync or async by `way`, with one face: every method is awaited.

    `http` are the options of the resilient client, and `options` those of the SDK's, whose own retries are off.
    """

    def __init__(
        self, sdk: Sdk, way: str, url: str, http: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        self.sdk = sdk
        self.clock = VirtualClock()
        kinds: tuple[Any, Any] = (
            (resilient.ResilientClient, sdk.sync)
            if way == "threads"
            else (resilient.AsyncResilientClient, sdk.tasks)
        )
        settings = {"api_key": "a-key", "base_url": url + sdk.base, "max_retries": 0, **options}
        if "http_client" not in settings:
            ours = {"policy": sdk.policy, "clock": self.clock, "verify": _TRUSTING_NOBODY, **(http or {})}
            settings["http_client"] = kinds[0](**ours)
        self.client = kinds[1](**settings)
        self.endpoint = sdk.endpoint(self.client)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await _now(self.client.close())

    async def ask(self, how: str, heard: Callable[[str], object] = lambda _: None) -> str:
        """Ask for the story in one of the ways of `HOWS`; each piece that arrives is told to `heard`."""
        if how == "answer":
            return self.sdk.text(await _now(self.endpoint.create(**self.sdk.question)))
        told, pieces = self.sdk.piece if how == "stream" else self.sdk.told, []
        async with self.stream(how) as stream:
            async for event in each(stream):
                if piece := told(event):
                    pieces.append(piece)
                    heard(piece)
        return "".join(pieces)

    @asynccontextmanager
    async def stream(self, how: str = "stream") -> AsyncIterator[Any]:
        """Open a stream, and let go of it at the end."""
        if how == "stream":
            manager = await _now(self.endpoint.create(stream=True, **self.sdk.question))
        else:
            manager = self.endpoint.stream(**self.sdk.question)
        if hasattr(manager, "__aenter__"):
            async with manager as stream:
                yield stream
        else:
            with manager as stream:
                yield stream

    async def raw(self) -> Any:
        """Ask, and give httpx2's own response."""
        return (await _now(self.endpoint.with_raw_response.create(**self.sdk.question))).http_response


async def each(events: Any) -> AsyncIterator[Any]:
    """Go through what comes, in a thread or in a task."""
    if hasattr(events, "__aiter__"):
        async for event in events:
            yield event
    else:
        for event in events:
            yield event


async def _now(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
