"""The SDKs over a resilient client: what a call outlasts, what the server sees of it, and how it ends where it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from loopback import WAYS, run
from model_apis import ModelApis, drop, refuse, serving
from sdks import HOWS, STORY, Sdk, Talker, with_sdks

from resilient_client import outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import httpx2

pytest_generate_tests = with_sdks

# openai leaves its own async generators open, which trio warns of, over any client.
WAYS_AND_HOWS = [(way, how) for way in WAYS for how in HOWS if way != "trio" or how == "answer"]

WHOLE = "".join(STORY)


@pytest.fixture(scope="module")
def apis() -> Iterator[ModelApis]:
    """Serve both APIs to this module."""
    with serving() as apis:
        yield apis


def repeating(way: str) -> dict[str, Any]:
    """Give the options of a client whose every request may be sent twice: an event hook says so."""

    def allow(request: httpx2.Request) -> None:
        request.extensions["resilience"] = {"idempotent": True}

    async def allow_it(request: httpx2.Request) -> None:
        allow(request)

    return {"event_hooks": {"request": [allow if way == "threads" else allow_it]}}


@pytest.mark.parametrize(("way", "how"), WAYS_AND_HOWS)
def test_a_call_outlasts_every_failure_that_the_api_documents(
    sdk: Sdk, way: str, how: str, apis: ModelApis
) -> None:
    """Three errors in a row, and then the answer: four requests with the same body, and the SDK knows of none."""

    async def scenario() -> None:
        apis.will(refuse("RATE_LIMIT"), refuse("OVERLOADED"), refuse("ANSWER_FAILED"))
        async with Talker(sdk, way, apis.url) as talker:
            assert await talker.ask(how) == WHOLE

    run(way, scenario)
    assert len(apis.requests) == 4
    assert len({exchange.body for exchange in apis.requests}) == 1
    assert set(apis.sent("x-stainless-retry-count")) == {"0"}


@pytest.mark.parametrize(("way", "how"), WAYS_AND_HOWS)
def test_all_calls_of_many_succeed(sdk: Sdk, way: str, how: str, apis: ModelApis) -> None:
    """Every other request fails, each time in another way, lost answers included: no call fails, none is sent too often."""
    failures = [refuse("RATE_LIMIT"), drop, refuse("OVERLOADED"), refuse(502), refuse("ANSWER_FAILED"), drop]

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url, repeating(way)) as talker:
            for failure in failures * 2:
                apis.will(failure)
                assert await talker.ask(how) == WHOLE
                assert len(apis.requests) == 2

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
    ],
)
def test_the_servers_wait_is_kept(
    sdk: Sdk, way: str, headers: Mapping[str, str], seconds: float, apis: ModelApis
) -> None:
    """What the API asks for is a lower bound, and milliseconds are closer than seconds."""
    apis.will(refuse("RATE_LIMIT", headers=headers))

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url) as talker:
            await talker.ask("answer")
            (slept,) = talker.clock.sleeps
            assert seconds <= slept <= seconds * 1.2 + 0.25

    run(way, scenario)


@pytest.mark.parametrize(("said", "requests"), [("true", 2), ("false", 1)])
def test_the_apis_own_word_goes_before_all_rules(sdk: Sdk, said: str, requests: int, apis: ModelApis) -> None:
    """A 400 with x-should-retry: true is sent again, and a rate limit with false is not."""
    error = 400 if said == "true" else "RATE_LIMIT"
    apis.will(refuse(error, headers={"x-should-retry": said}))

    async def scenario() -> None:
        async with Talker(sdk, "threads", apis.url) as talker:
            if said == "true":
                assert await talker.ask("answer") == WHOLE
            else:
                with pytest.raises(sdk.module.RateLimitError):
                    await talker.ask("answer")

    run("threads", scenario)
    assert len(apis.requests) == requests


@pytest.mark.parametrize("way", WAYS)
def test_the_response_tells_what_the_call_went_through(sdk: Sdk, way: str, apis: ModelApis) -> None:
    """The SDK's raw response has httpx2's, and that has the outcome."""
    apis.will(refuse("OVERLOADED"))

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url) as talker:
            outcome = outcome_of(await talker.raw())
            assert [attempt.verdict.name for attempt in outcome.attempts] == ["OVERLOADED", "OK"]
            assert (outcome.api, outcome.reason) == (sdk.name, "success")

    run(way, scenario)


@pytest.mark.parametrize(("way", "how"), WAYS_AND_HOWS)
def test_a_lost_answer_is_not_asked_for_again_by_itself(
    sdk: Sdk, way: str, how: str, apis: ModelApis
) -> None:
    """Neither API documents a key that would make it safe, so the caller is told, and told that it may have been done."""
    apis.will(drop)

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url) as talker:
            with pytest.raises(sdk.module.APIConnectionError) as caught:
                await talker.ask(how)
        outcome = outcome_of(caught.value)
        assert (outcome.reason, outcome.maybe_applied) == ("not_retryable", True)

    run(way, scenario)
    assert len(apis.requests) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_lost_answer_is_asked_for_again_where_the_caller_allows_it(
    sdk: Sdk, way: str, apis: ModelApis
) -> None:
    """An event hook that says `idempotent` is enough, and the outcome still says that it may have been done twice."""
    apis.will(drop, refuse(502))

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url, repeating(way)) as talker:
            outcome = outcome_of(await talker.raw())
            assert [attempt.status for attempt in outcome.attempts] == [None, 502, 200]
            assert outcome.maybe_applied

    run(way, scenario)


def test_a_key_of_the_callers_allows_it_for_one_call(sdk: Sdk, apis: ModelApis) -> None:
    """The SDKs send no key of their own; one in `extra_headers` goes with every attempt."""
    apis.will(drop)

    async def scenario() -> None:
        async with Talker(sdk, "threads", apis.url) as talker:
            key = {"Idempotency-Key": "story-1"}
            reply = talker.endpoint.create(extra_headers=key, **sdk.question)
            assert sdk.text(reply) == WHOLE
            assert apis.sent("idempotency-key") == ["story-1"] * 2
            await talker.ask("answer")
            assert apis.sent("idempotency-key")[2:] == [""]

    run("threads", scenario)


def test_a_gateways_error_is_no_word_of_the_apis(sdk: Sdk, apis: ModelApis) -> None:
    """A 502 may hide an answer that was made and paid for: it is final, unless the caller allows more."""
    apis.will(refuse(502))

    async def scenario() -> None:
        async with Talker(sdk, "threads", apis.url) as talker:
            with pytest.raises(sdk.module.InternalServerError) as caught:
                await talker.ask("answer")
        assert outcome_of(caught.value).reason == "not_retryable"

    run("threads", scenario)
    assert len(apis.requests) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_was_never_sent_is_sent_again(sdk: Sdk, way: str) -> None:
    """A refused connection is tried five times, whatever the method; then the SDK's own error says so."""
    with serving() as gone:
        pass

    async def scenario() -> None:
        async with Talker(sdk, way, gone.url) as talker:
            with pytest.raises(sdk.module.APIConnectionError) as caught:
                await talker.ask("answer")
        outcome = outcome_of(caught.value)
        assert (len(outcome.attempts), outcome.reason) == (5, "attempts_exhausted")
        assert not outcome.maybe_applied

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_the_clients_deadline_bounds_the_call(sdk: Sdk, way: str, apis: ModelApis) -> None:
    """A wait that does not fit is not begun: the caller gets the API's error instead."""
    apis.will(refuse("RATE_LIMIT", headers={"retry-after-ms": "20000"}))

    async def scenario() -> None:
        async with Talker(sdk, way, apis.url, {"deadline": 10}) as talker:
            with pytest.raises(sdk.module.RateLimitError) as caught:
                await talker.ask("answer")
            assert outcome_of(caught.value).reason == "deadline"
            assert talker.clock.sleeps == []

    run(way, scenario)


@pytest.mark.parametrize(("options", "seconds"), [({}, "600"), ({"timeout": 30}, "30")])
def test_the_sdk_sets_the_timeouts_of_each_request(
    sdk: Sdk, options: Mapping[str, Any], seconds: str, apis: ModelApis
) -> None:
    """Ten minutes for a read, unless the client was made with a timeout that is not httpx2's default."""
    apis.will()

    async def scenario() -> None:
        async with Talker(sdk, "threads", apis.url, options) as talker:
            response = await talker.raw()
            assert response.request.extensions["timeout"]["read"] == float(seconds)

    run("threads", scenario)
    assert apis.sent("x-stainless-read-timeout") == [seconds]
