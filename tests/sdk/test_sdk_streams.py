"""Streams of the SDKs over a resilient client: they arrive as they are sent, and what has begun is never begun again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest
from loopback import run
from model_apis import Gate, ModelApis, break_off, refuse, serving, spoil
from sdks import ANTHROPIC, HOWS, OPENAI, STORY, Sdk, Talker, each, with_sdks

from resilient_client import outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_generate_tests = with_sdks

# openai leaves its own async generators open, which trio warns of, over any client.
WAYS = ("threads", "asyncio")
STREAMS = HOWS[1:]

# What is raised where a stream breaks off.
LOST: dict[Sdk, type[Exception]] = {
    OPENAI: openai.APIConnectionError,
    ANTHROPIC: httpx2.RemoteProtocolError,
}


@pytest.fixture(scope="module")
def apis() -> Iterator[ModelApis]:
    """Serve both APIs to this module."""
    with serving() as apis:
        yield apis


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", STREAMS)
def test_a_stream_arrives_as_it_is_sent(sdk: Sdk, way: str, how: str, apis: ModelApis) -> None:
    """The API sends each word when the one before has been heard; after a failed attempt, too."""
    gate, heard = Gate(), []
    apis.will(refuse("OVERLOADED"), gate)

    def hear(word: str) -> None:
        heard.append(word)
        gate.passed(word)

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url) as talker:
            await talker.ask(how, hear)

    run(way, scenario)
    assert tuple(heard) == STORY
    assert len(apis.requests) == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_raw_stream_arrives_as_it_is_sent(sdk: Sdk, way: str, apis: ModelApis) -> None:
    """So does what `with_streaming_response` gives, line by line."""
    gate = Gate()
    apis.will(refuse("OVERLOADED"), gate)

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url) as talker:
            create = talker.endpoint.with_streaming_response.create
            lines = 0
            manager: Any = create(stream=True, **sdk.question)
            if way == "threads":
                with manager as response:
                    for line in response.iter_lines():
                        lines += 1
                        gate.passed(line)
            else:
                async with manager as response:
                    async for line in response.iter_lines():
                        lines += 1
                        gate.passed(line)
            assert lines > 4

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_tells_what_came_before_it(sdk: Sdk, way: str, apis: ModelApis) -> None:
    """Its `response` has the outcome, from the first event on."""
    apis.will(refuse("RATE_LIMIT"), refuse("OVERLOADED"))

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url) as talker, talker.stream() as stream:
            assert [attempt.verdict.name for attempt in outcome_of(stream.response).attempts] == [
                "RATE_LIMIT",
                "OVERLOADED",
                "OK",
            ]

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", STREAMS)
def test_a_stream_that_breaks_off_is_not_asked_for_again(
    sdk: Sdk, way: str, how: str, apis: ModelApis
) -> None:
    """The caller has had a part of it. openai raises its APIConnectionError, anthropic leaves httpx2's error as it is."""
    heard: list[str] = []
    apis.will(break_off)

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url) as talker:
            with pytest.raises(LOST[sdk]) as caught:
                await talker.ask(how, heard.append)
        lost = caught.value.__cause__ if sdk is OPENAI else caught.value
        assert isinstance(lost, httpx2.RemoteProtocolError)
        assert outcome_of(lost).maybe_applied

    run(way, scenario)
    assert tuple(heard) == STORY[:2]
    assert len(apis.requests) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_that_breaks_off_may_have_been_done(sdk: Sdk, way: str, apis: ModelApis) -> None:
    """Its outcome says so, once the caller has met the end."""
    apis.will(break_off)

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url) as talker, talker.stream() as stream:
            with pytest.raises(LOST[sdk]):
                _ = [event async for event in each(stream)]
            assert outcome_of(stream.response).maybe_applied

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", STREAMS)
def test_an_error_within_a_stream_is_the_callers(sdk: Sdk, way: str, how: str, apis: ModelApis) -> None:
    """It comes after a 200, so no policy sees it: the SDK raises its own error, and nothing is sent again."""
    heard: list[str] = []
    apis.will(spoil)

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url) as talker:
            with pytest.raises(sdk.module.APIError) as caught:
                await talker.ask(how, heard.append)
        if sdk is ANTHROPIC:
            assert caught.value.type == "overloaded_error"
            assert caught.value.status_code == 200
            assert outcome_of(caught.value).reason == "success"
        else:
            assert caught.value.code == "server_error"

    run(way, scenario)
    assert tuple(heard) == STORY[:2]
    assert len(apis.requests) == 1


@pytest.mark.parametrize("way", WAYS)
def test_no_stream_keeps_the_only_connection(sdk: Sdk, way: str, apis: ModelApis) -> None:
    """A pool of one serves on, whatever became of a stream: broken, spoiled, or left in its middle."""
    one = {"limits": httpx2.Limits(max_connections=1), "timeout": httpx2.Timeout(60, pool=0.1)}

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url, one) as talker:
            for plan, error in ((break_off, LOST[sdk]), (spoil, sdk.module.APIError)):
                apis.will(plan)
                with pytest.raises(error):
                    await talker.ask("stream")
            gate = Gate()
            apis.will(refuse("OVERLOADED"), gate)
            async with talker.stream() as stream:
                async for _ in each(stream):
                    break
            assert await talker.ask("stream") == "".join(STORY)
            for word in STORY:  # so that the server does not wait in vain
                gate.passed(word)

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_connections_are_used_as_with_a_plain_client(sdk: Sdk, way: str, apis: ModelApis) -> None:
    """Where the SDK over httpx2's own client goes on with a connection, it does so over this one."""

    async def connections(talker: Talker) -> list[int]:
        apis.will()
        async with talker:
            for how in HOWS * 2:
                await talker.ask(how)
        first = apis.requests[0].connection
        return [exchange.connection - first for exchange in apis.requests]

    async def scenario() -> None:
        kind: Any = httpx2.Client if way == "threads" else httpx2.AsyncClient
        plain = Talker(sdk, way, apis.url, http_client=kind())
        assert await connections(Talker(sdk, way, apis.url)) == await connections(plain)

    run(way, scenario)
