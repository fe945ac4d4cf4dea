"""How a call of an SDK ends that a resilient client could not save: with the SDK's own error, and nothing of it hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import openai
import pytest
from loopback import run
from model_apis import ModelApis, refuse, serving
from sdks import ANTHROPIC, OPENAI, STORY, Sdk, Talker, with_sdks

from resilient_client import AsyncResilientClient, ResilientClient, outcome_of
from resilient_client import httpx2 as resilient
from resilient_client.protection import BreakerConfig, BulkheadConfig
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_generate_tests = with_sdks

WAYS = ("threads", "asyncio")


@pytest.fixture(scope="module")
def apis() -> Iterator[ModelApis]:
    """Serve both APIs to this module."""
    with serving() as apis:
        yield apis


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", ["RATE_LIMIT", "OVERLOADED", "ANSWER_FAILED"])
def test_a_failure_that_stays_is_the_sdks_own_error(sdk: Sdk, way: str, error: str, apis: ModelApis) -> None:
    """Five requests, then the API's status, words and request id, and from the same error what the call went through."""
    apis.will(refuse(error, headers={"x-request-id": "req_9", "request-id": "req_9"}), always=True)

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url) as talker:
            with pytest.raises(sdk.module.APIStatusError) as caught:
                await talker.ask("answer")
        status = caught.value.status_code
        expected = sdk.module.RateLimitError if status == 429 else sdk.module.InternalServerError
        assert isinstance(caught.value, expected)
        assert caught.value.request_id == "req_9"
        outcome = outcome_of(caught.value)
        assert [attempt.verdict.name for attempt in outcome.attempts] == [error] * 5
        assert outcome.verdict.message is not None
        assert outcome.verdict.message in str(caught.value)
        assert outcome.reason == "attempts_exhausted"
        assert outcome_of(caught.value.response) == outcome

    run(way, scenario)
    assert len(apis.requests) == 5


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["answer", "stream"])
def test_a_quota_that_is_used_up_is_final(sdk: Sdk, way: str, how: str, apis: ModelApis) -> None:
    """A 429 like any other for the SDK, and the policy tells it from them by its code: one request."""
    apis.will(refuse(sdk.final), always=True)

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url) as talker:
            with pytest.raises(sdk.module.RateLimitError) as caught:
                await talker.ask(how)
        outcome = outcome_of(caught.value)
        assert (outcome.verdict.name, outcome.verdict.category, outcome.reason) == (
            sdk.final,
            "quota",
            "not_retryable",
        )
        told = caught.value.code if sdk is OPENAI else caught.value.error_code
        assert told == outcome.verdict.code

    run(way, scenario)
    assert len(apis.requests) == 1


@pytest.mark.parametrize("way", WAYS)
def test_with_raise_for_status_openai_lets_our_error_through(way: str, apis: ModelApis) -> None:
    """It is no error of the SDK's, so what catches `openai.APIError` does not catch it; nothing is sent again."""
    apis.will(refuse("QUOTA_EXHAUSTED"), always=True)

    async def scenario() -> None:
        options = {"raise_for_status": True}
        async with Talker(OPENAI, way, apis.url, options, max_retries=2) as talker:
            with pytest.raises(resilient.ApiError) as caught:
                await talker.ask("answer")
        assert caught.value.name == "QUOTA_EXHAUSTED"
        assert not isinstance(caught.value, openai.OpenAIError)

    run(way, scenario)
    assert len(apis.requests) == 1


@pytest.mark.parametrize("way", WAYS)
def test_with_raise_for_status_anthropic_takes_our_error_for_a_lost_connection(
    way: str, apis: ModelApis
) -> None:
    """The status is gone from what it raises, which has ours as its cause; `RateLimitError` is never raised."""
    apis.will(refuse("SPEND_LIMIT_REACHED"), always=True)

    async def scenario() -> None:
        async with Talker(ANTHROPIC, way, apis.url, {"raise_for_status": True}) as talker:
            with pytest.raises(ANTHROPIC.module.APIConnectionError) as caught:
                await talker.ask("answer")
        assert isinstance(caught.value.__cause__, resilient.ApiError)
        assert caught.value.__cause__.name == "SPEND_LIMIT_REACHED"

    run(way, scenario)
    assert len(apis.requests) == 1


@pytest.mark.parametrize("way", WAYS)
def test_what_a_protection_holds_back_is_a_connection_error(sdk: Sdk, way: str, apis: ModelApis) -> None:
    """An open breaker sends nothing: the SDK's error has `CircuitOpen` as its cause."""
    apis.will(refuse("OVERLOADED"), always=True)

    async def scenario() -> None:
        options = {"breaker": BreakerConfig(in_a_row=5)}
        async with Talker(sdk, way, apis.url, options) as talker:
            with pytest.raises(sdk.module.InternalServerError):
                await talker.ask("answer")
            with pytest.raises(sdk.module.APIConnectionError) as caught:
                await talker.ask("answer")
        assert isinstance(caught.value.__cause__, resilient.CircuitOpen)

    run(way, scenario)
    assert len(apis.requests) == 5


def test_what_finds_no_room_is_a_timeout(sdk: Sdk) -> None:
    """A full bulkhead is a `PoolTimeout` to httpx2, and so the SDK's error is its `APITimeoutError`."""
    refused: list[Exception] = []

    def ask_once_more(_: httpx2.Request) -> httpx2.Response:
        with pytest.raises(sdk.module.APITimeoutError) as caught:
            talkers[0].endpoint.create(**sdk.question)
        refused.append(caught.value)
        return httpx2.Response(200, json=sdk.whole)

    async def scenario() -> None:
        options = {
            "bulkhead": BulkheadConfig(limit=1, queue=0),
            "transport": httpx2.MockTransport(ask_once_more),
        }
        async with Talker(sdk, "threads", "http://127.0.0.1", options) as talker:
            talkers.append(talker)
            await talker.ask("answer")

    talkers: list[Talker] = []
    run("threads", scenario)
    assert isinstance(refused[0].__cause__, resilient.BulkheadFull)


def test_the_sdks_default_client_takes_a_resilient_transport(sdk: Sdk, apis: ModelApis) -> None:
    """What a `ResilientClient` does, a `ResilientTransport` does in the SDK's own kind of client."""
    apis.will(refuse("OVERLOADED"))
    transport = resilient.ResilientTransport(sdk.policy, clock=VirtualClock())
    http_client = sdk.module.DefaultHttpxClient(transport=transport)

    async def scenario() -> None:
        async with Talker(sdk, "threads", apis.url, http_client=http_client) as talker:
            assert len(outcome_of(await talker.raw()).attempts) == 2

    run("threads", scenario)


def test_anthropic_takes_httpx2s_clients_only() -> None:
    """A resilient client of httpx is refused when the SDK's client is made, not when it is used."""
    with (
        ResilientClient(ANTHROPIC.policy) as client,
        pytest.raises(TypeError, match="Invalid `http_client` argument"),
    ):
        ANTHROPIC.sync(api_key="a-key", http_client=client)


@pytest.mark.parametrize("way", WAYS)
def test_openai_takes_httpxs_clients_as_well(way: str, apis: ModelApis) -> None:
    """A resilient client of httpx serves it like one of httpx2, its errors included."""
    clock = VirtualClock()
    apis.will(refuse("OVERLOADED"), refuse("QUOTA_EXHAUSTED"))
    kind: Any = ResilientClient if way == "threads" else AsyncResilientClient

    async def scenario() -> None:
        http_client = kind(OPENAI.policy, clock=clock)
        async with Talker(OPENAI, way, apis.url, http_client=http_client) as talker:
            with pytest.raises(openai.RateLimitError) as caught:
                await talker.ask("answer")
            assert isinstance(caught.value.response, httpx.Response)
            assert [attempt.verdict.name for attempt in outcome_of(caught.value).attempts] == [
                "OVERLOADED",
                "QUOTA_EXHAUSTED",
            ]
            assert await talker.ask("answer") == "".join(STORY)

    run(way, scenario)


def test_the_sdk_closes_the_client_that_it_was_given(sdk: Sdk) -> None:
    """A copy made by `with_options` shares it, and closes it, too."""
    for one in ("itself", "a copy"):
        client = resilient.ResilientClient(
            sdk.policy, transport=httpx2.MockTransport(lambda _: httpx2.Response(200))
        )
        made = sdk.sync(api_key="a-key", http_client=client)
        (made if one == "itself" else made.with_options(max_retries=0)).close()
        assert client.is_closed
