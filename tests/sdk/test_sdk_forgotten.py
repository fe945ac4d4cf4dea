"""What happens where the SDK's own retries are left on: two more calls for each that fails, past all that the client knows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import pytest
from loopback import run
from model_apis import ModelApis, drop, refuse, serving
from sdks import ANTHROPIC, OPENAI, STORY, Sdk, Talker, with_sdks

from resilient_client.httpx2 import ResilientClient, outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytest_generate_tests = with_sdks

WAYS = ("threads", "asyncio")


@pytest.fixture(scope="module")
def apis() -> Iterator[ModelApis]:
    """Serve both APIs to this module."""
    with serving() as apis:
        yield apis


class Forgetful(Talker):
    """A client made as one does who never heard of max_retries. `waits` has what the SDK would have slept, in seconds.

    That is a private method of both SDKs; under another name the waits would be missed in `test_the_waits_add_up`.
    """

    def __init__(
        self, sdk: Sdk, way: str, url: str, http: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        waits: list[float] = []
        self.waits = waits

        def noting(kind: Any) -> Any:
            class Noting(kind):  # type: ignore[misc]  # whichever of the SDK's clients it is
                def _calculate_retry_timeout(self, *args: Any, **options: Any) -> float:
                    waits.append(super()._calculate_retry_timeout(*args, **options))
                    return 0.0

            return Noting

        hasty = replace(sdk, sync=noting(sdk.sync), tasks=noting(sdk.tasks))
        super().__init__(hasty, way, url, http, **{"max_retries": sdk.module.DEFAULT_MAX_RETRIES, **options})


@pytest.mark.parametrize("way", WAYS)
def test_attempts_multiply(sdk: Sdk, way: str, apis: ModelApis) -> None:
    """Three calls of five attempts each; a header says which of the SDK's tries a request belongs to."""
    apis.will(refuse("RATE_LIMIT"), always=True)

    async def scenario() -> None:
        async with Forgetful(sdk, way, apis.url) as talker:
            with pytest.raises(sdk.module.RateLimitError) as caught:
                await talker.ask("answer")
            assert len(talker.clock.sleeps) == 12
        assert len(outcome_of(caught.value).attempts) == 5  # the last call is all that the error tells of

    run(way, scenario)
    assert apis.sent("x-stainless-retry-count") == [*"0" * 5, *"1" * 5, *"2" * 5]


@pytest.mark.parametrize("way", WAYS)
def test_the_log_says_so(sdk: Sdk, way: str, apis: ModelApis, caplog: pytest.LogCaptureFixture) -> None:
    """Not of the first call, which nobody has retried; of the two that the SDK made of it."""
    apis.will(refuse("RATE_LIMIT"), always=True)

    async def scenario() -> None:
        async with Forgetful(sdk, way, apis.url) as talker:
            with pytest.raises(sdk.module.RateLimitError):
                await talker.ask("answer")

    run(way, scenario)
    gave_up = [record.getMessage() for record in caplog.records if record.name == "resilient_client"]
    assert ["the SDK above has retried it" in line for line in gave_up] == [False, True, True]
    assert "(x-stainless-retry-count 2)" in gave_up[-1]
    assert "max_retries=0" in gave_up[-1]


@pytest.mark.parametrize("count", ["0", "0, 0", "a-secret", "1" * 400, ""])
def test_the_log_repeats_nothing_that_is_no_count(count: str, caplog: pytest.LogCaptureFixture) -> None:
    """A header is the caller's, and may hold anything."""
    transport = httpx2.MockTransport(lambda _: httpx2.Response(404))
    with ResilientClient(transport=transport) as client:
        client.get("https://api.test/", headers={"x-stainless-retry-count": count})
    assert caplog.messages == ["default: GET / failed with 404 NOT_FOUND after 1 attempt(s): not_retryable"]


@pytest.mark.parametrize("way", WAYS)
def test_the_waits_add_up(sdk: Sdk, way: str, apis: ModelApis) -> None:
    """After the four waits of a call the SDK waits once more, as long as the API said, on the machine's own clock."""
    apis.will(refuse("RATE_LIMIT", headers={"retry-after-ms": "7000"}), always=True)

    async def scenario() -> None:
        async with Forgetful(sdk, way, apis.url) as talker:
            with pytest.raises(sdk.module.RateLimitError):
                await talker.ask("answer")
            assert min(talker.clock.sleeps) >= 7
            assert talker.waits == [7, 7]

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_wait_that_the_client_refuses_is_slept_by_anthropic(sdk: Sdk, way: str, apis: ModelApis) -> None:
    """A Retry-After of an hour ends the call as `wait_too_long`. openai gives up, too; anthropic sleeps for it, twice."""
    apis.will(refuse("RATE_LIMIT", headers={"retry-after-ms": "3600000"}), always=True)

    async def scenario() -> None:
        async with Forgetful(sdk, way, apis.url) as talker:
            with pytest.raises(sdk.module.RateLimitError) as caught:
                await talker.ask("answer")
            assert outcome_of(caught.value).reason == "wait_too_long"
            assert talker.clock.sleeps == []
            assert talker.waits == ([] if sdk is OPENAI else [3600, 3600])

    run(way, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_what_the_policy_calls_final_is_sent_three_times(sdk: Sdk, way: str, apis: ModelApis) -> None:
    """The SDK goes by the status alone: a quota that is used up is asked for twice more."""
    apis.will(refuse(sdk.final), always=True)

    async def scenario() -> None:
        async with Forgetful(sdk, way, apis.url) as talker:
            with pytest.raises(sdk.module.RateLimitError):
                await talker.ask("answer")

    run(way, scenario)
    assert apis.sent("x-stainless-retry-count") == ["0", "1", "2"]


@pytest.mark.parametrize("way", WAYS)
def test_a_lost_answer_is_asked_for_again(sdk: Sdk, way: str, apis: ModelApis) -> None:
    """The client would not send it twice, the SDK does: what was lost may be made, and paid for, once more."""
    apis.will(drop)

    async def scenario() -> None:
        async with Forgetful(sdk, way, apis.url) as talker:
            assert await talker.ask("answer") == "".join(STORY)

    run(way, scenario)
    assert apis.sent("x-stainless-retry-count") == ["0", "1"]
    assert apis.sent("idempotency-key") == ["", ""]


@pytest.mark.parametrize("way", WAYS)
def test_a_deadline_holds_for_each_of_the_three(sdk: Sdk, way: str) -> None:
    """Each of the SDK's tries is a call of its own to the client, and has all of its time again."""

    def slow(request: httpx2.Request) -> httpx2.Response:
        times.append(talkers[0].clock.monotonic())
        talkers[0].clock.advance(8)
        return httpx2.Response(429, headers={"retry-after": "1"}, json={"error": {}})

    async def scenario() -> None:
        http = {"deadline": 10, "transport": httpx2.MockTransport(slow)}
        talker = Forgetful(sdk, way, "http://127.0.0.1", http)
        talkers.append(talker)
        async with talker:
            with pytest.raises(sdk.module.RateLimitError) as caught:
                await talker.ask("answer")
        assert outcome_of(caught.value).reason == "deadline"
        assert talker.clock.monotonic() > 3 * 10

    talkers: list[Talker] = []
    times: list[float] = []
    run(way, scenario)
    assert len(times) == 6


@pytest.mark.parametrize("way", WAYS)
def test_with_raise_for_status_anthropic_repeats_what_is_final(way: str, apis: ModelApis) -> None:
    """It takes an `ApiError` for a lost connection, and a lost connection for a reason to try again."""
    apis.will(refuse(400), always=True)

    async def scenario() -> None:
        async with Forgetful(ANTHROPIC, way, apis.url, {"raise_for_status": True}) as talker:
            with pytest.raises(ANTHROPIC.module.APIConnectionError):
                await talker.ask("answer")

    run(way, scenario)
    assert len(apis.requests) == 3


@pytest.mark.parametrize("way", WAYS)
def test_a_hook_can_leave_the_sdks_tries_with_one_attempt_each(sdk: Sdk, way: str, apis: ModelApis) -> None:
    """Where the SDK's client is not one's own to make: the header that gives it away switches the client's retries off."""

    def once(request: httpx2.Request) -> None:
        if request.headers.get("x-stainless-retry-count", "0") != "0":
            request.extensions["resilience"] = {"retry": False}

    async def once_each(request: httpx2.Request) -> None:
        once(request)

    apis.will(refuse("RATE_LIMIT"), always=True)

    async def scenario() -> None:
        hooks = {"request": [once if way == "threads" else once_each]}
        async with Forgetful(sdk, way, apis.url, {"event_hooks": hooks}) as talker:
            with pytest.raises(sdk.module.RateLimitError):
                await talker.ask("answer")

    run(way, scenario)
    assert apis.sent("x-stainless-retry-count") == [*"0" * 5, "1", "2"]


def test_retries_come_back_with_options(sdk: Sdk, apis: ModelApis) -> None:
    """`with_options(max_retries=…)` switches them on again for one call."""
    apis.will(refuse(sdk.final), always=True)

    async def scenario() -> None:
        async with Forgetful(sdk, "threads", apis.url, max_retries=0) as talker:
            insistent = sdk.endpoint(talker.client.with_options(max_retries=1))
            with pytest.raises(sdk.module.RateLimitError):
                insistent.create(**sdk.question)

    run("threads", scenario)
    assert len(apis.requests) == 2


@pytest.mark.parametrize(
    ("max_retries", "bearers"), [(0, ["stale", "stale"]), (2, ["stale", "fresh", "fresh"])]
)
def test_anthropic_renews_a_refused_token_by_its_own_retries_only(
    max_retries: int, bearers: list[str], apis: ModelApis
) -> None:
    """What it is told of `credentials=` in docs/sdks.md: without retries a token that was revoked is used to its end."""
    tokens = iter(["stale", "fresh"])

    def credentials(**_: object) -> anthropic.AccessToken:
        return anthropic.AccessToken(next(tokens))

    async def scenario() -> None:
        options: dict[str, Any] = {"api_key": None, "credentials": credentials, "max_retries": max_retries}
        async with Forgetful(ANTHROPIC, "threads", apis.url, **options) as talker:
            apis.will(refuse(401))
            if max_retries == 0:
                with pytest.raises(anthropic.AuthenticationError):
                    await talker.ask("answer")
            else:
                await talker.ask("answer")
            await talker.ask("answer")

    run("threads", scenario)
    assert apis.sent("authorization") == [f"Bearer {token}" for token in bearers]
