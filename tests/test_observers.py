"""Observers: what each one is told, in what order, and that none of them can break a call."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from scenario import BASE, Chunks, Run, answer, error_response, fail, in_turn, spread

from resilient_client import (
    ApiError,
    AsyncResilientClient,
    AsyncResilientTransport,
    HmacAuth,
    ResilientClient,
    ResilientTransport,
    TokenAuth,
    _core,
    outcome_of,
)
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_client.observers import AttemptEvent, CallEvent, GiveUpEvent, RetryEvent, SuccessEvent

PACKAGE = Path(_core.__file__).parent


class Notes:
    """An observer that hears everything and notes it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    @property
    def moments(self) -> list[str]:
        """Give what was told, in order, without the events."""
        return [moment for moment, _ in self.told]

    def of(self, moment: str) -> list[Any]:
        """Give the events of one kind."""
        return [event for told, event in self.told if told == moment]

    @contextmanager
    def around(self, event: CallEvent) -> Iterator[None]:
        self.told.append(("begin", event))
        try:
            yield
        except BaseException as error:
            self.told.append(("raised", error))
            raise
        finally:
            self.told.append(("end", event))

    def on_attempt(self, event: AttemptEvent) -> None:
        self.told.append(("attempt", event))

    def on_retry(self, event: RetryEvent) -> None:
        self.told.append(("retry", event))

    def on_success(self, event: SuccessEvent) -> None:
        self.told.append(("success", event))

    def on_give_up(self, event: GiveUpEvent) -> None:
        self.told.append(("give_up", event))


def busy_then_fine() -> Callable[[httpx.Request], httpx.Response]:
    """Answer 503, then 200."""
    return in_turn(answer(503), answer(200))


# ------------------------------------------------------------------------------------------ what is told, and when


def test_a_call_is_told_from_its_beginning_to_its_end(run: Run) -> None:
    """Each attempt once it is judged, each retry after its attempt, the end once."""
    notes = Notes()
    run(None, in_turn(answer(503), answer(503), answer(200)), client={"observers": [notes]})

    assert notes.moments == [
        "begin", "attempt", "retry", "attempt", "retry", "attempt", "success", "end",
    ]  # fmt: skip


def test_a_first_success_is_one_attempt_and_a_success(run: Run) -> None:
    """What needs no flow without observers is told of all the same."""
    notes = Notes()
    ended = run(None, answer(200), client={"observers": [notes]})

    assert notes.moments == ["begin", "attempt", "success", "end"]
    assert notes.of("success")[0].outcome == ended.outcome
    assert notes.of("attempt")[0].attempt == ended.outcome.attempts[0]


def test_attempts_are_those_of_the_outcome(run: Run) -> None:
    """An event's attempt is the one that `outcome_of` tells, the wait and the change after it included."""
    notes = Notes()
    ended = run(
        "zerotrace",
        in_turn(lambda _: error_response("zerotrace", "AUTH_INVALID"), answer(503), answer(200)),
        client={"observers": [notes], "auth": HmacAuth("key", "a-secret")},
    )

    assert tuple(event.attempt for event in notes.of("attempt")) == ended.outcome.attempts
    assert [(event.rule, event.change) for event in notes.of("retry")] == [
        ("AUTH_INVALID", ("nonce",)),
        ("SERVER_ERROR", ("nonce",)),
    ]


def test_a_retry_is_told_before_its_wait(run: Run) -> None:
    """Its event has the seconds, and they have not been slept yet."""
    clock, slept = VirtualClock(), []

    class Waits:
        def on_retry(self, event: RetryEvent) -> None:
            slept.append((event.wait, list(clock.sleeps)))

    run(
        "zerotrace",
        in_turn(lambda _: error_response("zerotrace", "RATE_LIMIT", retry_after=7), answer(200)),
        client={"observers": [Waits()]},
        clock=clock,
    )

    assert slept == [(clock.sleeps[0], [])]
    assert clock.sleeps == spread(7)


def test_a_retry_is_told_when_the_failed_response_is_let_go(run: Run) -> None:
    """Its connection is free: what an observer sends itself does not have to wait for it."""
    body, closed = Chunks(b"busy"), []

    class Looks:
        def on_attempt(self, _event: AttemptEvent) -> None:
            closed.append(body.closed)

    def busy(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(503, stream=body, headers={"Content-Length": "9999999"})

    run(None, in_turn(busy, answer(200)), client={"observers": [Looks()]})

    assert closed == [True, True]


GIVE_UPS: dict[str, tuple[Callable[[httpx.Request], httpx.Response], dict[str, Any]]] = {
    "not_retryable": (answer(404), {}),
    "attempts_exhausted": (answer(503), {}),
    "deadline": (answer(503, headers={"Retry-After": "20"}), {"ask": {"deadline": 10}}),
    "wait_too_long": (answer(503, headers={"Retry-After": "9000"}), {}),
    "cannot_change": (answer(401, {"code": 3}), {"policy": "zerotrace"}),
    "retry_disabled": (answer(503), {"ask": {"retry": False}}),
}


@pytest.mark.parametrize("reason", GIVE_UPS)
def test_every_reason_to_give_up_is_told_once(run: Run, reason: str) -> None:
    """The event has the outcome of the response that the caller gets, and no error."""
    server, how = GIVE_UPS[reason]
    notes = Notes()
    ended = run(how.get("policy"), server, ask=how.get("ask"), client={"observers": [notes]})
    (event,) = notes.of("give_up")

    assert (event.reason, event.error, event.outcome) == (reason, None, ended.outcome)
    assert notes.moments[-3:] == ["attempt", "give_up", "end"]
    assert "success" not in notes.moments


def test_a_body_that_cannot_be_sent_again_is_a_reason_too(run: Run) -> None:
    """`body_not_replayable` is told as any other."""
    notes = Notes()
    run(None, answer(503), "PUT", content=run.one_shot(b"once"), client={"observers": [notes]})

    assert [event.reason for event in notes.of("give_up")] == ["body_not_replayable"]


def test_a_lost_reply_is_told_with_the_error_that_is_raised(run: Run) -> None:
    """`error` is the very exception; `around` sees it pass, and so do the attempts."""
    notes = Notes()
    ended = run(None, fail(httpx.ReadError), "POST", client={"observers": [notes]})
    (event,) = notes.of("give_up")

    assert event.error is ended.error
    assert event.outcome.maybe_applied
    assert notes.of("raised") == [ended.error]
    assert notes.of("attempt")[0].attempt.error is ended.error


def test_a_refused_sign_in_ends_the_call_without_a_further_attempt(run: Run) -> None:
    """The attempt before it is told once, and the reason is that nothing could be changed."""
    notes = Notes()
    served = {"login": 0}

    def api(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/login":
            return error_response("customer_verification", "TOKEN_EXPIRED")
        served["login"] += 1
        return (
            httpx.Response(200, json={"token": "t-1-long"}) if served["login"] == 1 else httpx.Response(403)
        )

    auth = TokenAuth(lambda: httpx.Request("POST", BASE + "/login"))
    ended = run("customer_verification", api, path="/x", client={"observers": [notes], "auth": auth})
    of_the_call = [(moment, event) for moment, event in notes.told if getattr(event, "path", "") == "/x"]

    assert [moment for moment, _ in of_the_call] == ["begin", "attempt", "retry", "give_up", "end"]
    assert (of_the_call[3][1].reason, of_the_call[3][1].error) == ("cannot_change", ended.error)
    assert isinstance(ended.error, ApiError)


# ------------------------------------------------------------------------------------------------------ what a call is


def test_an_event_says_which_call_it_is() -> None:
    """Method, policy, host, port and path, as they are sent; no user, no password, no query, no fragment."""
    notes = Notes()
    with ResilientClient(
        "dual", transport=httpx.MockTransport(answer(200)), observers=[notes], clock=VirtualClock()
    ) as client:
        client.put("http://me:my-password@[::1]:8080/a%0Ab/c?api_key=abcdef#top")
    (event,) = notes.of("begin")

    assert dataclasses.asdict(event) | {"call": 1} == {
        "call": 1,
        "api": "dual",
        "method": "PUT",
        "url": "http://[::1]:8080/a%0Ab/c",
        "host": "::1",
        "port": 8080,
        "path": "/a%0Ab/c",
    }


@pytest.mark.parametrize(("url", "port"), [("https://h/", 443), ("http://h/", 80), ("https://h:8443/", 8443)])
def test_an_event_knows_the_port_that_the_scheme_means(url: str, port: int) -> None:
    """443 for https and 80 for http, where the URL names none."""
    notes = Notes()
    with ResilientClient(transport=httpx.MockTransport(answer(200)), observers=[notes]) as client:
        client.get(url)

    assert notes.of("begin")[0].port == port


def test_all_events_of_a_call_have_its_number_and_another_call_has_another(run: Run) -> None:
    """Calls that are under way at the same time can be told apart."""
    notes = Notes()
    run.crowd(None, busy_then_fine(), 8, observers=[notes])
    calls: dict[int, list[str]] = {}
    for moment, event in notes.told:
        calls.setdefault(event.call, []).append(moment)

    assert len(calls) == 8
    assert {tuple(moments[:2] + moments[-2:]) for moments in calls.values()} == {
        ("begin", "attempt", "success", "end")
    }


def test_events_cannot_be_changed() -> None:
    """What one observer is told, the next is told too."""
    notes = Notes()
    with ResilientClient(transport=httpx.MockTransport(answer(404)), observers=[notes]) as client:
        client.get(BASE)

    for _, event in notes.told:
        with pytest.raises(dataclasses.FrozenInstanceError):
            event.api = "another"


def test_a_redirect_is_a_call_of_its_own(run: Run) -> None:
    """The redirect ends one call with success, and begins another."""
    notes = Notes()
    run(
        None,
        in_turn(answer(503), answer(302, headers={"Location": "/there"}), answer(200)),
        client={"observers": [notes], "follow_redirects": True},
    )

    assert notes.moments == [
        "begin", "attempt", "retry", "attempt", "success", "end", "begin", "attempt", "success", "end",
    ]  # fmt: skip
    assert [event.path for event in notes.of("begin")] == ["/", "/there"]
    assert [event.attempt.status for event in notes.of("attempt")] == [503, 302, 200]


def test_a_sign_in_is_a_call_of_its_own(run: Run) -> None:
    """One that a retry needs happens inside the call that needs it, and each is told once."""
    notes = Notes()

    def api(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/login":
            return httpx.Response(200, json={"token": f"token-{len(notes.of('begin'))}"})
        if request.headers["Authorization"] == "Bearer token-1":
            return error_response("customer_verification", "TOKEN_EXPIRED")
        return httpx.Response(200)

    auth = TokenAuth(lambda: httpx.Request("POST", BASE + "/login"))
    run("customer_verification", api, path="/x", client={"observers": [notes], "auth": auth})

    assert [(moment, event.path) for moment, event in notes.told if moment != "attempt"] == [
        ("begin", "/login"), ("success", "/login"), ("end", "/login"),
        ("begin", "/x"), ("retry", "/x"),
        ("begin", "/login"), ("success", "/login"), ("end", "/login"),
        ("success", "/x"), ("end", "/x"),
    ]  # fmt: skip
    assert len(notes.of("attempt")) == 4


def test_an_auth_of_httpx_that_sends_twice_makes_two_calls(run: Run) -> None:
    """It works above the transport: each of its requests is one call."""

    class Twice(httpx.Auth):
        def auth_flow(self, request: httpx.Request) -> Any:
            yield request
            request.headers["Authorization"] = "now I know how"
            yield request

    notes = Notes()
    run(None, in_turn(answer(401), answer(200)), client={"observers": [notes], "auth": Twice()})

    assert [moment for moment in notes.moments if moment in {"success", "give_up"}] == ["give_up", "success"]


def test_an_event_names_the_policy_that_the_request_asks_for(run: Run) -> None:
    """`api` is that of the policy in force."""
    notes = Notes()
    run("zerotrace", answer(200), ask={"policy": "dual"}, client={"observers": [notes]})

    assert notes.of("begin")[0].api == "dual"


def test_a_stream_is_a_success_once_its_head_is_there(run: Run) -> None:
    """Nothing of the body has been read by then."""
    body, read = Chunks(b"one", b"two"), []

    class Reads:
        def on_success(self, _event: SuccessEvent) -> None:
            read.append(body.read)

    ended = run(
        None, lambda _: httpx.Response(200, stream=body), stream=True, client={"observers": [Reads()]}
    )

    assert (read, ended.body) == ([0], b"onetwo")


def test_a_request_that_cannot_be_sent_has_a_beginning_and_an_end_and_nothing_in_between(run: Run) -> None:
    """A key that the policy forbids is a mistake of the caller's, and no attempt."""
    notes = Notes()
    ended = run("zerotrace", answer(200), ask={"idempotency_key": "short"}, client={"observers": [notes]})

    assert notes.moments == ["begin", "raised", "end"]
    assert isinstance(ended.error, ValueError)


def test_secrets_are_in_no_event(run: Run) -> None:
    """Neither from the request, nor where the server or an exception's text echoes them."""
    notes = Notes()
    secret = "s3cr3t-t0k3n"

    def leak(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"cannot send {request.headers['authorization']} to {request.url}")

    run(
        None,
        in_turn(leak, answer(503, {"error": {"message": f"what is {secret}?"}}), answer(404, text=secret)),
        path=f"/x?token={secret}",
        headers={"Authorization": f"Bearer {secret}"},
        client={"observers": [notes]},
    )

    assert notes.moments.count("attempt") == 3
    assert secret not in repr(notes.told)


def test_an_auth_that_fails_on_a_retry_tells_no_secret(run: Run) -> None:
    """What its exception says of the request is masked before anybody hears of it."""

    class Fails(httpx.Auth):
        headers = ("Authorization",)
        renews = frozenset({"nonce"})

        def auth_flow(self, request: httpx.Request) -> Any:
            if "resilience.auth" in request.extensions:
                raise RuntimeError("cannot sign with s3cr3t-t0k3n")
            request.extensions["resilience.auth"] = self
            request.headers["Authorization"] = "Bearer s3cr3t-t0k3n"
            yield request

    notes = Notes()
    ended = run(None, answer(503), client={"observers": [notes], "auth": Fails()})

    assert str(notes.of("give_up")[0].error) == "cannot sign with ***"
    assert notes.of("give_up")[0].error is ended.error
    assert "s3cr3t" not in repr(notes.told)


# -------------------------------------------------------------------------------------------- what an observer may do


def test_an_observer_needs_no_more_than_one_method(run: Run) -> None:
    """What it does not have, it is not told."""
    reasons = []

    class GiveUps:
        def on_give_up(self, event: GiveUpEvent) -> None:
            reasons.append(event.reason)

    run(None, in_turn(answer(503), answer(404)), client={"observers": [GiveUps()]})

    assert reasons == ["not_retryable"]


def test_observers_are_told_in_their_order(run: Run) -> None:
    """The first in the list is told first, and is around the others."""
    heard: list[str] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        @contextmanager
        def around(self, _event: CallEvent) -> Iterator[None]:
            heard.append(f"{self.name} in")
            yield
            heard.append(f"{self.name} out")

        def on_success(self, _event: SuccessEvent) -> None:
            heard.append(self.name)

    run(None, answer(200), client={"observers": [Named("a"), Named("b")]})

    assert heard == ["a in", "b in", "a", "b", "b out", "a out"]


METHODS = ["around", "on_attempt", "on_retry", "on_success", "on_give_up"]


class Broken(Notes):
    """An observer of which one method raises."""

    def __init__(self, method: str) -> None:
        super().__init__()

        def raises(_event: object) -> Any:
            self.told.append(("broken", None))
            raise RuntimeError("no\nsuch\nthing")

        setattr(self, method, raises)


@pytest.mark.parametrize("method", METHODS)
def test_a_failing_observer_breaks_no_call_and_is_logged_once(
    run: Run, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The call ends as it would have, the other observers hear all, and one line says what failed and where."""
    broken, notes = Broken(method), Notes()
    ended = run(
        None,
        in_turn(answer(503), answer(503), answer(404 if method == "on_give_up" else 200)),
        client={"observers": [broken, notes]},
    )
    warnings = [record for record in caplog.records if record.getMessage().startswith("observer ")]

    assert ended.attempts == 3
    assert len(notes.moments) == 8
    assert ("broken", None) in broken.told
    assert [(record.levelname, record.getMessage().count("\n")) for record in warnings] == [("WARNING", 0)]
    assert (
        f"observer Broken.{method} failed with RuntimeError: no such thing at {__file__}:"
        in warnings[0].message
    )
    assert vars(warnings[0])["observer"] == f"Broken.{method}"


def test_each_method_of_an_observer_is_logged_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    """Once each, over all calls of the client, whichever of its transports they go through."""
    broken = Broken("on_attempt")
    broken.on_success = broken.on_attempt  # type: ignore[assignment, method-assign]  # a broken one
    transport = httpx.MockTransport(answer(200))
    with ResilientClient(
        transport=transport, mounts={"https://other": transport}, observers=[broken], clock=VirtualClock()
    ) as client:
        for url in (BASE, BASE, "https://other/"):
            client.get(url)

    assert [vars(record)["observer"] for record in caplog.records] == [
        "Broken.on_attempt",
        "Broken.on_success",
    ]


def test_an_observer_cannot_swallow_a_calls_error(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A context manager that says it has dealt with the error has dealt with nothing."""

    class Swallows(AbstractContextManager[None]):
        def __exit__(self, *_: object) -> bool:
            return True

        def around(self, _event: CallEvent) -> Swallows:
            return self

    notes = Notes()
    ended = run(None, fail(httpx.ConnectError), client={"observers": [notes, Swallows()]})

    assert isinstance(ended.error, httpx.ConnectError)
    assert notes.of("raised") == [ended.error]
    assert not [record for record in caplog.records if record.getMessage().startswith("observer ")]


def test_a_context_manager_that_fails_on_leaving_hides_no_error(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller is given the call's own error, and the log tells of the other."""

    class Fails:
        @contextmanager
        def around(self, _event: CallEvent) -> Iterator[None]:
            try:
                yield
            finally:
                raise LookupError("my own")

    ended = run(None, fail(httpx.ConnectError), client={"observers": [Fails()]})

    assert isinstance(ended.error, httpx.ConnectError)
    assert "observer Fails.around failed with LookupError" in caplog.text


def test_what_is_no_context_manager_is_told_of(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """An `around` that gives something else fails as any method does."""

    class Odd:
        def around(self, _event: CallEvent) -> Any:
            return 7

    ended = run(None, answer(200), client={"observers": [Odd()]})

    assert ended.response.status_code == 200
    assert "observer Odd.around failed with TypeError" in caplog.text


def test_the_time_of_an_observer_is_no_failed_attempts(run: Run, tmp_path: Path) -> None:
    """It is not counted into the attempt that follows, where no wait lies in between."""
    path = tmp_path / "acme.toml"
    path.write_text(
        'api = "acme"\n[[rules]]\nname = "AGAIN"\nwhen = { status = 409 }\ncategory = "conflict"\n'
        'cause = "Somebody else was there."\nretry = { wait = 0 }\n',
        encoding="utf-8",
    )
    clock = VirtualClock()

    class Slow:
        def on_retry(self, _event: RetryEvent) -> None:
            clock.advance(3)

    ended = run(path, answer(409), client={"observers": [Slow()]}, clock=clock)

    assert [attempt.elapsed for attempt in ended.outcome.attempts] == [0] * 5
    assert ended.waits == [3] * 4


def test_the_time_of_an_observer_is_the_calls(run: Run) -> None:
    """A slow observer makes the call longer, and its wait is slept in full after it."""
    clock = VirtualClock()

    class Slow:
        def on_attempt(self, _event: AttemptEvent) -> None:
            clock.advance(3)

    ended = run(
        None, in_turn(fail(httpx.ConnectError), answer(200)), client={"observers": [Slow()]}, clock=clock
    )

    assert ended.outcome.elapsed == pytest.approx(3 + ended.outcome.slept)
    assert ended.waits == [pytest.approx(3 + ended.outcome.slept)]
    assert clock.monotonic() == pytest.approx(6 + ended.outcome.slept)


def test_the_warning_of_a_call_that_gave_up_is_logged_inside(run: Run) -> None:
    """So a log line has what `around` has bound: a span, a request id."""
    inside: list[bool] = []
    state = {"inside": False}

    class Binds:
        @contextmanager
        def around(self, _event: CallEvent) -> Iterator[None]:
            state["inside"] = True
            yield
            state["inside"] = False

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            inside.append(state["inside"])

    logger, handler = logging.getLogger("resilient_client"), Handler()
    logger.addHandler(handler)
    try:
        run(None, answer(404), client={"observers": [Binds()]})
    finally:
        logger.removeHandler(handler)

    assert inside == [True]


# ------------------------------------------------------------------------------------------------- async observers

BACKENDS = ["asyncio", "trio"]


class AsyncNotes(Notes):
    """An observer that gives way to other tasks before it notes."""

    async def on_attempt(self, event: AttemptEvent) -> None:  # type: ignore[override]  # async, as an observer may be
        await anyio.lowlevel.checkpoint()
        super().on_attempt(event)

    async def on_retry(self, event: RetryEvent) -> None:  # type: ignore[override]  # as above
        await anyio.lowlevel.checkpoint()
        super().on_retry(event)

    async def on_success(self, event: SuccessEvent) -> None:  # type: ignore[override]  # as above
        await anyio.lowlevel.checkpoint()
        super().on_success(event)

    async def on_give_up(self, event: GiveUpEvent) -> None:  # type: ignore[override]  # as above
        await anyio.lowlevel.checkpoint()
        super().on_give_up(event)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("status", "end"), [(200, "success"), (404, "give_up")])
def test_an_async_observer_is_awaited(backend: Any, status: int, end: str) -> None:
    """Before the call goes on, and in the same order."""
    notes = AsyncNotes()
    Run(backend)(None, in_turn(answer(503), answer(status)), client={"observers": [notes]})

    assert notes.moments == ["begin", "attempt", "retry", "attempt", end, "end"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_async_observer_that_fails_breaks_no_call(backend: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What it raises is logged."""

    class Fails:
        async def on_attempt(self, _event: AttemptEvent) -> None:
            await anyio.lowlevel.checkpoint()
            raise LookupError("my own")

    ended = Run(backend)(None, busy_then_fine(), client={"observers": [Fails()]})

    assert ended.response.status_code == 200
    assert caplog.text.count("observer Fails.on_attempt failed with LookupError") == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_plain_method_that_gives_an_awaitable_is_awaited(backend: Any) -> None:
    """A lambda, or a function with a decorator, hides that it is async."""
    notes = AsyncNotes()

    class Hides:
        def on_attempt(self, event: AttemptEvent) -> Any:
            return notes.on_attempt(event)

    Run(backend)(None, answer(200), client={"observers": [Hides()]})

    assert notes.moments == ["attempt"]


@pytest.mark.parametrize("method", ["on_attempt", "on_retry", "on_success", "on_give_up"])
def test_a_cancellation_in_an_observer_is_not_swallowed(method: str) -> None:
    """It cancels the call, and the response that is held is closed."""
    body = Chunks(b"answer")

    class Cancels:
        pass

    async def cancel(_event: object) -> None:
        raise asyncio.CancelledError

    observer: Any = Cancels()
    setattr(observer, method, cancel)
    last = 404 if method == "on_give_up" else 200

    def long(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(last, stream=body, headers={"Content-Length": "9999999"})

    async def call() -> None:
        transport = httpx.MockTransport(in_turn(answer(503), long))
        async with AsyncResilientClient(
            transport=transport, observers=[observer], clock=VirtualClock()
        ) as client:
            await client.get(BASE)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(call())
    assert body.closed is (method in {"on_success", "on_give_up"})


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_call_can_be_cancelled_while_an_observer_waits(backend: Any) -> None:
    """The timeout of the caller holds in there too, and `around` is left."""
    notes = Notes()

    class Hangs:
        async def on_retry(self, _event: RetryEvent) -> None:
            await anyio.sleep_forever()

    async def call() -> bool:
        transport = httpx.MockTransport(answer(503))
        async with AsyncResilientClient(
            transport=transport, observers=[notes, Hangs()], clock=VirtualClock()
        ) as client:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(_cancel_when, scope, lambda: "retry" in notes.moments)
                    await client.get(BASE)
        return scope.cancelled_caught

    assert anyio.run(call, backend=backend)
    assert notes.moments == ["begin", "attempt", "retry", "raised", "end"]


async def _cancel_when(scope: anyio.CancelScope, happened: Callable[[], bool]) -> None:
    while not happened():
        await anyio.lowlevel.checkpoint()
    scope.cancel()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_call_that_is_cancelled_has_neither_succeeded_nor_given_up(backend: Any) -> None:
    """Only `around` sees how it ended."""
    notes = Notes()

    async def serve(_request: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    async def call() -> None:
        async with AsyncResilientClient(transport=httpx.MockTransport(serve), observers=[notes]) as client:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(_cancel_when, scope, lambda: "begin" in notes.moments)
                    await client.get(BASE)

    anyio.run(call, backend=backend)

    assert notes.moments == ["begin", "raised", "end"]
    assert isinstance(notes.of("raised")[0], BaseException)
    assert not isinstance(notes.of("raised")[0], Exception)


# ------------------------------------------------------------------------------------------ when a client is made


class Async:
    """An observer for async clients."""

    async def on_retry(self, event: RetryEvent) -> None:
        """Hear of retries."""


class AsyncAround:
    """An observer that misunderstands `around`."""

    async def around(self, _event: CallEvent) -> AbstractContextManager[None]:
        """Give a context manager too late."""
        return nullcontext()


class AsyncObject:
    """An observer whose method is an object that has to be awaited."""

    class _Method:
        async def __call__(self, event: AttemptEvent) -> None:
            """Hear of attempts."""

    on_attempt = _Method()


class Slip:
    """An observer with a slip of the pen."""

    def on_attempt(self, event: AttemptEvent) -> None:
        """Hear of attempts."""

    def on_giveup(self, event: GiveUpEvent) -> None:
        """Hear of nothing."""


class Deaf:
    """An observer of nothing."""


@pytest.mark.parametrize(
    ("observers", "says"),
    [
        ([Async()], "Async.on_retry is async, and a sync client cannot await it"),
        ([AsyncObject()], "AsyncObject.on_attempt is async"),
        ([AsyncAround()], "AsyncAround.around is async: it must give a context manager at once"),
        ([Slip()], 'Slip has a method "on_giveup", which nobody calls; did you mean "on_give_up"?'),
        ([Deaf()], "Deaf is no observer: it has none of the methods around, on_attempt, on_retry"),
        ([Notes], r"Notes is a class: observers=\[Notes\(…\)\]"),
        (Notes(), r"observers takes a list: observers=\[Notes\]"),
    ],
)
def test_an_observer_that_cannot_work_is_refused_at_once(observers: Any, says: str) -> None:
    """By clients and transports alike, with the mend."""
    for kind in (ResilientClient, ResilientTransport):
        with pytest.raises(TypeError, match=says):
            kind(observers=observers)


@pytest.mark.parametrize("observers", [[AsyncAround()], [Slip()], [Deaf()], Notes()])
def test_an_async_client_refuses_what_cannot_work_there(observers: Any) -> None:
    """An async method is fine, an async `around` is not."""
    for kind in (AsyncResilientClient, AsyncResilientTransport):
        with pytest.raises(TypeError):
            kind(observers=observers)
        kind(observers=[Async(), AsyncObject()])


def test_a_method_of_another_name_is_nobodys_business() -> None:
    """An observer may be more than an observer."""

    class Plugin(Notes):
        def on_shutdown(self) -> None:
            """Do something else."""

    ResilientTransport(observers=[Plugin()])


def test_a_bare_transport_takes_observers() -> None:
    """`ResilientTransport(observers=…)`, under a client of httpx's own."""
    notes = Notes()
    transport = ResilientTransport(
        transport=httpx.MockTransport(busy_then_fine()), observers=[notes], clock=VirtualClock()
    )
    with httpx.Client(transport=transport) as client:
        client.get(BASE)

    assert notes.moments == ["begin", "attempt", "retry", "attempt", "success", "end"]


def test_a_transport_that_is_resilient_already_keeps_its_own_observers() -> None:
    """As it keeps its own policy; what the client wraps has the client's."""
    own, clients = Notes(), Notes()
    mock = httpx.MockTransport(answer(200))
    with ResilientClient(
        transport=mock,
        mounts={"https://own": ResilientTransport(transport=mock, observers=[own]), "https://mounted": mock},
        observers=[clients],
    ) as client:
        for host in ("own", "mounted", "elsewhere"):
            client.get(f"https://{host}/")

    assert [event.host for event in own.of("begin")] == ["own"]
    assert [event.host for event in clients.of("begin")] == ["mounted", "elsewhere"]


# ------------------------------------------------------------------------------------------------ no observers


def _called(act: Callable[[], object]) -> set[tuple[str, str]]:
    """List the functions of this package that are called, by file and name."""
    seen: set[tuple[str, str]] = set()

    def profile(frame: Any, event: str, _argument: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            seen.add((path.relative_to(PACKAGE).as_posix(), frame.f_code.co_name))

    sys.setprofile(profile)
    try:
        act()
    finally:
        sys.setprofile(None)
    return seen


@pytest.mark.parametrize("observers", [[], (), None])
def test_without_observers_nothing_is_called_for_them(observers: Any) -> None:
    """A first success goes round the flow, as ever, and a retry tells nobody."""
    replies = in_turn(answer(200), answer(503), answer(200))
    with ResilientClient(
        transport=httpx.MockTransport(replies), observers=observers, clock=VirtualClock()
    ) as client:
        first = _called(partial(client.get, BASE))
        second = _called(partial(client.get, BASE))

    assert ("_core.py", "lane") in first
    assert not [name for file, name in first if file.startswith("_flow/__init__")]
    assert not [file for file, _ in first | second if file in {"_report.py", "observers.py"}]
    assert ("_drive.py", "drive") in second


def test_an_outcome_is_the_same_with_and_without_observers(run: Run) -> None:
    """To be observed changes nothing."""
    outcomes = []
    for observers in ([], [Notes()]):
        ended = run(
            "zerotrace",
            in_turn(lambda _: error_response("zerotrace", "AUTH_INVALID"), answer(404)),
            client={"observers": observers, "auth": HmacAuth("key", "a-secret")},
        )
        outcomes.append(outcome_of(ended.response))

    assert outcomes[0] == outcomes[1]
