"""OpenTelemetry, with its real SDK and the real instrumentation of httpx: spans, their numbers, and metrics."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.httpx import (
    AsyncOpenTelemetryTransport,
    HTTPXClientInstrumentor,
    SyncOpenTelemetryTransport,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import SpanKind, StatusCode
from scenario import BASE, Run, answer, fail, in_turn, spread

from resilient_client import (
    AsyncResilientClient,
    AsyncResilientTransport,
    HmacAuth,
    ResilientClient,
    ResilientTransport,
    TokenAuth,
    telemetry,
)
from resilient_client.sandbox import Sandbox, Schedule
from resilient_client.telemetry import (
    OpenTelemetryObserver,
    async_resend_count_hook,
    instrument_client,
    resend_count_hook,
)
from resilient_client.testing import VirtualClock, error_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from resilient_client.observers import CallEvent

RESENT = http_attributes.HTTP_REQUEST_RESEND_COUNT


class Telemetry:
    """A tracer and a meter of the SDK's that keep what they are told."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader])
        self.observer = OpenTelemetryObserver(tracer_provider=self.tracers, meter_provider=self.meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        """List the spans that have ended, in the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    @property
    def calls(self) -> list[ReadableSpan]:
        """List the spans of calls."""
        return [span for span in self.spans if span.kind is SpanKind.INTERNAL]

    def attempts_of(self, call: ReadableSpan) -> list[ReadableSpan]:
        """List the spans of a call's attempts."""
        return [
            span
            for span in self.spans
            if span.kind is SpanKind.CLIENT and span.parent is not None and span.parent.span_id == _id(call)
        ]

    def metrics(self) -> dict[str, list[Any]]:
        """Collect the data points of all metrics, by name."""
        data = self._reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> list[Any]:
        """Collect the data points of one metric."""
        return self.metrics().get(name, [])

    def counted(self, name: str, *attributes: str) -> dict[tuple[object, ...], int]:
        """Give a counter's values by some of its attributes."""
        found: dict[tuple[object, ...], int] = {}
        for point in self.points(name):
            key = tuple(point.attributes.get(attribute) for attribute in attributes)
            found[key] = found.get(key, 0) + point.value
        return found


@pytest.fixture
def told() -> Iterator[Telemetry]:
    """Give telemetry that is this test's own; nothing is left of it in the current context."""
    before = trace.get_current_span()
    made = Telemetry()
    yield made
    assert trace.get_current_span() is before
    made.tracers.shutdown()
    made.meters.shutdown()


def _id(span: ReadableSpan) -> int:
    assert span.context is not None
    span_id: int = span.context.span_id
    return span_id


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def resent(spans: list[ReadableSpan]) -> list[Any]:
    """List the resend counts of spans."""
    return [attributes_of(span).get(RESENT) for span in spans]


@pytest.fixture
def instrumented(told: Telemetry) -> Iterator[Telemetry]:
    """Instrument all of httpx for the time of a test, with our hooks."""
    HTTPXClientInstrumentor().instrument(
        tracer_provider=told.tracers,
        meter_provider=told.meters,
        request_hook=resend_count_hook,
        async_request_hook=async_resend_count_hook,
    )
    yield told
    HTTPXClientInstrumentor().uninstrument()


# ----------------------------------------------------------------------------------------------------- a call's span


def test_a_call_is_one_internal_span(run: Run, told: Telemetry) -> None:
    """It has what HTTP's conventions name, and what the policy made of it; query and user are left out."""
    run(
        "zerotrace",
        in_turn(answer(503), answer(200)),
        path="https://me:my-password@api.example/v1/order?id=7#top",
        client={"observers": [told.observer]},
    )
    (span,) = told.spans

    assert (span.name, span.kind, span.status.status_code) == (
        "GET zerotrace",
        SpanKind.INTERNAL,
        StatusCode.UNSET,
    )
    assert attributes_of(span) == {
        http_attributes.HTTP_REQUEST_METHOD: "GET",
        server_attributes.SERVER_ADDRESS: "api.example",
        server_attributes.SERVER_PORT: 443,
        url_attributes.URL_FULL: "https://api.example/v1/order",
        http_attributes.HTTP_RESPONSE_STATUS_CODE: 200,
        "resilient_client.policy": "zerotrace",
        "resilient_client.attempts": 2,
        "resilient_client.maybe_applied": False,
        "resilient_client.reason": "success",
    }


def test_a_wait_is_an_event_of_the_span(run: Run, told: Telemetry) -> None:
    """It tells which attempt failed, by which rule, and what is renewed for the next."""
    ended = run(
        "zerotrace",
        in_turn(lambda _: error_response("zerotrace", "RATE_LIMIT", retry_after=7), answer(200)),
        client={"observers": [told.observer]},
    )
    (event,) = told.spans[0].events

    assert event.name == "resilient_client.retry"
    assert dict(event.attributes or {}) == {
        error_attributes.ERROR_TYPE: "429",
        "resilient_client.attempt": 1,
        "resilient_client.rule": "RATE_LIMIT",
        "resilient_client.wait": ended.clock.sleeps[0],
        "resilient_client.change": (),
    }
    assert ended.clock.sleeps == spread(7)


@pytest.mark.parametrize(
    ("policy", "server", "error", "rule", "status"),
    [
        ("zerotrace", answer(401, {"code": 3}), "401", "AUTH_INVALID", 401),
        (None, fail(httpx.ReadTimeout), "ReadTimeout", "NETWORK_ERROR", None),
    ],
)
def test_a_call_that_gives_up_is_an_error(  # noqa: PLR0917 - fixtures and a table
    run: Run, told: Telemetry, policy: str | None, server: Any, error: str, rule: str, status: int | None
) -> None:
    """`error.type` is the status or the exception, as on the spans of attempts; rule and reason tell the rest."""
    run(policy, server, "POST", client={"observers": [told.observer]})
    (span,) = told.spans
    attributes = attributes_of(span)
    reason = attributes["resilient_client.reason"]

    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, f"{rule}: {reason}")
    assert attributes[error_attributes.ERROR_TYPE] == error
    assert attributes["resilient_client.rule"] == rule
    assert attributes.get(http_attributes.HTTP_RESPONSE_STATUS_CODE) == status
    assert attributes["resilient_client.maybe_applied"] is (status is None)
    assert not span.events


def test_an_error_in_a_reply_of_200_has_the_rule_for_its_type(tmp_path: Path, told: Telemetry) -> None:
    """Its status says nothing."""
    path = tmp_path / "chat.toml"
    path.write_text(
        'api = "chat"\n[envelope]\ncode = "/error"\n[[rules]]\nname = "CHANNEL_GONE"\n'
        'when = { status = 200, code = "gone" }\ncategory = "not_found"\ncause = "It is gone."\n',
        encoding="utf-8",
    )
    Run("sync")(path, answer(200, {"error": "gone"}), client={"observers": [told.observer]})

    assert attributes_of(told.spans[0])[error_attributes.ERROR_TYPE] == "CHANNEL_GONE"


def test_a_method_that_nobody_knows_does_not_make_names_grow(told: Telemetry) -> None:
    """The conventions call it _OTHER, in the span and in metrics, and the span HTTP."""
    Run("sync")(None, answer(200), "PURGE", client={"observers": [told.observer]})
    (span,) = told.spans

    assert span.name == "HTTP default"
    assert attributes_of(span)[http_attributes.HTTP_REQUEST_METHOD] == "_OTHER"
    assert attributes_of(span)[http_attributes.HTTP_REQUEST_METHOD_ORIGINAL] == "PURGE"
    assert told.counted("resilient_client.attempts", "http.request.method") == {("_OTHER",): 1}


def test_a_request_that_cannot_be_sent_is_an_error_of_its_type(run: Run, told: Telemetry) -> None:
    """Nothing was attempted, and the span tells why."""
    run("zerotrace", answer(200), ask={"idempotency_key": "short"}, client={"observers": [told.observer]})
    (span,) = told.spans

    assert attributes_of(span)[error_attributes.ERROR_TYPE] == "ValueError"
    assert span.status.status_code is StatusCode.ERROR
    assert told.points("resilient_client.attempts") == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_span_of_a_cancelled_call_ends(backend: str, told: Telemetry) -> None:
    """It says what ended it, and is current no longer."""

    async def call() -> None:
        with anyio.CancelScope() as scope:

            async def serve(_request: httpx.Request) -> httpx.Response:
                scope.cancel()
                await anyio.lowlevel.checkpoint()
                raise AssertionError

            transport = httpx.MockTransport(serve)
            async with AsyncResilientClient(transport=transport, observers=[told.observer]) as client:
                await client.get(BASE)
        assert trace.get_current_span() is trace.INVALID_SPAN

    anyio.run(call, backend=backend)
    (span,) = told.spans

    assert span.status.status_code is StatusCode.ERROR
    assert attributes_of(span)[error_attributes.ERROR_TYPE] in {"CancelledError", "Cancelled"}
    assert told.points("resilient_client.give_ups") == []


def test_another_observers_span_inside_is_left_alone(told: Telemetry) -> None:
    """What is known of the call is written on the call's span, whichever is current."""
    tracer = told.tracers.get_tracer("another")

    class Inside:
        @contextmanager
        def around(self, _event: CallEvent) -> Iterator[None]:
            with tracer.start_as_current_span("inside"):
                yield

    Run("sync")(None, in_turn(answer(503), answer(404)), client={"observers": [told.observer, Inside()]})
    call, inside = told.spans

    assert (call.name, inside.name) == ("GET default", "inside")
    assert inside.parent is not None
    assert inside.parent.span_id == _id(call)
    assert len(call.events) == 1
    assert attributes_of(inside) == {}


def test_a_sign_in_that_a_retry_needs_is_a_child_of_the_call(run: Run, told: Telemetry) -> None:
    """A trace shows who needed it."""
    tokens = iter(["token-1", "token-2"])

    def api(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/login":
            return httpx.Response(200, json={"token": next(tokens)})
        if request.headers["Authorization"] == "Bearer token-1":
            return error_response("customer_verification", "TOKEN_EXPIRED")
        return httpx.Response(200)

    auth = TokenAuth(lambda: httpx.Request("POST", BASE + "/login"))
    run("customer_verification", api, path="/x", client={"observers": [told.observer], "auth": auth})
    first, call, second = told.spans

    assert (first.parent, call.parent) == (None, None)
    assert second.parent is not None
    assert second.parent.span_id == _id(call)


# ----------------------------------------------------------------------------------------------------------- metrics


def test_attempts_are_counted_by_what_came_of_them(run: Run, told: Telemetry) -> None:
    """By policy, method, status and error."""
    run(
        None,
        in_turn(fail(httpx.ConnectError), answer(503), answer(200)),
        client={"observers": [told.observer]},
    )

    assert told.counted(
        "resilient_client.attempts",
        "resilient_client.policy",
        "http.request.method",
        "http.response.status_code",
        "error.type",
    ) == {
        ("default", "GET", None, "ConnectError"): 1,
        ("default", "GET", 503, "503"): 1,
        ("default", "GET", 200, None): 1,
    }


def test_retries_are_counted_by_rule(run: Run, told: Telemetry) -> None:
    """And none is counted where none follows."""
    run(
        None,
        in_turn(fail(httpx.ConnectError), answer(503), answer(503), answer(404)),
        client={"observers": [told.observer]},
    )

    assert told.counted("resilient_client.retries", "resilient_client.policy", "resilient_client.rule") == {
        ("default", "NETWORK_ERROR"): 1,
        ("default", "SERVICE_UNAVAILABLE"): 2,
    }


def test_give_ups_are_counted_by_reason(run: Run, told: Telemetry) -> None:
    """Once for each call."""
    for server in (answer(404), answer(503), answer(200)):
        run(None, server, client={"observers": [told.observer]})

    assert told.counted("resilient_client.give_ups", "resilient_client.reason", "resilient_client.rule") == {
        ("not_retryable", "NOT_FOUND"): 1,
        ("attempts_exhausted", "SERVICE_UNAVAILABLE"): 1,
    }


def test_waits_are_measured_in_seconds(run: Run, told: Telemetry) -> None:
    """In buckets that tell a backoff from a rate limit."""
    ended = run(
        "zerotrace",
        in_turn(lambda _: error_response("zerotrace", "RATE_LIMIT", retry_after=7), answer(200)),
        client={"observers": [told.observer]},
    )
    (point,) = told.points("resilient_client.wait.duration")

    assert (point.count, point.sum) == (1, ended.clock.sleeps[0])
    assert point.explicit_bounds == (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
    assert dict(point.attributes) == {
        "resilient_client.policy": "zerotrace",
        "http.request.method": "GET",
        "resilient_client.rule": "RATE_LIMIT",
    }


def test_no_metric_has_an_attribute_that_grows(told: Telemetry) -> None:
    """No host, no URL, no path and no id is a dimension."""
    for number in range(3):
        Run("sync")(
            None, in_turn(answer(503), answer(404)), path=f"/{number}", client={"observers": [told.observer]}
        )

    assert {name: len(points) for name, points in told.metrics().items()} == {
        "resilient_client.attempts": 2,
        "resilient_client.retries": 1,
        "resilient_client.give_ups": 1,
        "resilient_client.wait.duration": 1,
    }


def test_a_metric_is_recorded_in_the_calls_span(told: Telemetry) -> None:
    """So that its exemplar leads to a trace."""
    Run("sync")(None, in_turn(answer(503), answer(404)), client={"observers": [told.observer]})
    (call,) = told.spans

    for points in told.metrics().values():
        for point in points:
            assert [exemplar.span_id for exemplar in point.exemplars] == [_id(call)]


# --------------------------------------------------------------------------------------- the spans of the attempts


def get(backend: str, make: Callable[..., Any], *urls: str, **options: Any) -> None:
    """Make a client of a kind and let it GET, in a thread or in a task."""
    if backend == "sync":
        with make(**options) as client:
            for url in urls:
                client.get(url)
        return

    async def tasks() -> None:
        async with make(**options) as client:
            for url in urls:
                await client.get(url)

    anyio.run(tasks, backend=backend)


BACKENDS = ["sync", "asyncio", "trio"]


def a_client(backend: str, *, instrument: dict[str, Any] | None = None, **options: Any) -> Any:
    """Make a client, instrumented by itself where that is asked for."""
    client = ResilientClient(**options) if backend == "sync" else AsyncResilientClient(**options)
    if instrument is not None:
        instrument_client(client, **instrument)
    return client


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("made", ["before", "after"])
def test_attempts_are_children_of_their_call_and_numbered(told: Telemetry, backend: str, made: str) -> None:
    """Under `instrument()`, on a real socket, whether the client was made before it or after."""
    instrumentor = HTTPXClientInstrumentor()
    with Sandbox("zerotrace", faults=Schedule().add("GET /v1/codes", ["UPSTREAM_ERROR", "reset"])) as api:
        make = partial(
            api.client if backend == "sync" else api.async_client,
            observers=[told.observer],
            clock=VirtualClock(),
        )
        early = make() if made == "before" else None
        instrumentor.instrument(
            tracer_provider=told.tracers,
            meter_provider=told.meters,
            request_hook=resend_count_hook,
            async_request_hook=async_resend_count_hook,
        )
        try:
            get(backend, lambda: make() if early is None else early, "/v1/codes")
        finally:
            instrumentor.uninstrument()
    (call,) = told.calls
    attempts = told.attempts_of(call)

    assert len(told.spans) == 4
    assert resent(attempts) == [None, 1, 2]
    assert [attributes_of(span).get("http.status_code") for span in attempts] == [503, None, 200]
    assert attributes_of(call)["resilient_client.attempts"] == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_client_can_be_instrumented_beneath_its_retries(told: Telemetry, backend: str) -> None:
    """`instrument_client` of ours gives each attempt a span, on every transport of the client, whatever it is, once."""
    shared = httpx.MockTransport(in_turn(answer(503), answer(200), answer(503), answer(200)))
    kind = ResilientTransport if backend == "sync" else AsyncResilientTransport
    own = kind(
        transport=httpx.MockTransport(in_turn(answer(503), answer(503), answer(200))),
        clock=VirtualClock(),
        observers=[told.observer],
    )
    get(
        backend,
        partial(a_client, backend, instrument={"tracer_provider": told.tracers}),
        "https://one/",
        "https://mounted/",
        "https://own/",
        observers=[told.observer],
        transport=shared,
        mounts={"https://mounted": shared, "https://own": own, "https://none": None},
        clock=VirtualClock(),
    )

    assert [resent(told.attempts_of(call)) for call in told.calls] == [[None, 1], [None, 1], [None, 1, 2]]
    assert len(told.spans) == 10


def test_a_hook_of_ones_own_can_call_ours(told: Telemetry) -> None:
    """`request_hook` takes the place of the hook, and `response_hook` is handed on."""

    def mine(span: trace.Span, request: Any) -> None:
        resend_count_hook(span, request)
        span.set_attribute("mine", request.extensions["resilience"]["deadline"])

    def theirs(span: trace.Span, _request: object, response: Any) -> None:
        span.set_attribute("theirs", response.status_code)

    with ResilientClient(
        transport=httpx.MockTransport(in_turn(answer(503), answer(200))), clock=VirtualClock()
    ) as client:
        instrument_client(client, tracer_provider=told.tracers, request_hook=mine, response_hook=theirs)
        client.get(BASE, extensions={"resilience": {"deadline": 9}})

    assert resent(told.spans) == [None, 1]
    assert [attributes_of(span)["mine"] for span in told.spans] == [9, 9]
    assert [attributes_of(span)["theirs"] for span in told.spans] == [503, 200]


def test_the_instrumentations_own_way_with_one_client_sees_no_attempts(told: Telemetry) -> None:
    """What the documentation says of it, and why there is another `instrument_client`."""
    with ResilientClient(
        transport=httpx.MockTransport(in_turn(answer(503), answer(200))),
        observers=[told.observer],
        clock=VirtualClock(),
    ) as client:
        HTTPXClientInstrumentor.instrument_client(client, tracer_provider=told.tracers)
        client.get(BASE)
    outer, call = told.spans

    assert (outer.kind, call.kind) == (SpanKind.CLIENT, SpanKind.INTERNAL)
    assert call.parent is not None
    assert call.parent.span_id == _id(outer)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_transport_of_the_instrumentations_goes_beneath(told: Telemetry, backend: str) -> None:
    """A bare resilient transport around it, under a client of httpx's own."""
    mock = httpx.MockTransport(in_turn(answer(503), answer(200)))
    options: dict[str, Any] = {"clock": VirtualClock(), "observers": [told.observer]}
    make: Callable[..., Any]
    if backend == "sync":
        beneath = SyncOpenTelemetryTransport(mock, told.tracers, request_hook=resend_count_hook)
        make = partial(httpx.Client, transport=ResilientTransport(None, beneath, **options))
    else:
        abeneath = AsyncOpenTelemetryTransport(mock, told.tracers, request_hook=async_resend_count_hook)
        make = partial(httpx.AsyncClient, transport=AsyncResilientTransport(None, abeneath, **options))
    get(backend, make, BASE)
    (call,) = told.calls

    assert resent(told.attempts_of(call)) == [None, 1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_api_is_handed_the_span_of_the_attempt(told: Telemetry, backend: str) -> None:
    """`traceparent` (W3C Trace Context) names the attempt that carries it, on a retry too."""
    seen: list[str] = []

    def api(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["traceparent"])
        return httpx.Response(503 if len(seen) == 1 else 200)

    get(
        backend,
        partial(a_client, backend, instrument={"tracer_provider": told.tracers}),
        BASE,
        observers=[told.observer],
        transport=httpx.MockTransport(api),
        clock=VirtualClock(),
    )
    (call,) = told.calls

    assert [line.split("-")[2] for line in seen] == [f"{_id(span):016x}" for span in told.attempts_of(call)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_redirects_and_auths_are_counted_as_resending(told: Telemetry, backend: str) -> None:
    """As the conventions ask: whatever the cause; a request of its own begins anew."""
    replies = in_turn(
        answer(503), answer(307, headers={"Location": "/there"}), answer(503), answer(200), answer(200)
    )
    get(
        backend,
        partial(a_client, backend, instrument={"tracer_provider": told.tracers}),
        BASE,
        BASE,
        observers=[told.observer],
        transport=httpx.MockTransport(replies),
        follow_redirects=True,
        clock=VirtualClock(),
    )

    assert [resent(told.attempts_of(call)) for call in told.calls] == [[None, 1], [2, 3], [None]]


def test_an_auth_above_the_transport_is_counted_too(told: Telemetry) -> None:
    """`httpx.DigestAuth` sends the request once more when it knows how to sign."""
    challenge = answer(401, headers={"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})
    with ResilientClient(
        transport=httpx.MockTransport(in_turn(challenge, answer(503), answer(200))),
        auth=httpx.DigestAuth("me", "my-password"),
        clock=VirtualClock(),
    ) as client:
        instrument_client(client, tracer_provider=told.tracers)
        client.get(BASE)

    assert resent(told.spans) == [None, 1, 2]


def test_the_hook_numbers_redirects_of_httpx_own_clients(instrumented: Telemetry) -> None:
    """It knows nothing of retries, so it works without them."""
    with (
        Sandbox("zerotrace", faults=Schedule().add("GET /v1/codes", ["UPSTREAM_ERROR"])) as api,
        httpx.Client(base_url=api.base_url, auth=HmacAuth(api.key, api.secret)) as client,
    ):
        request = client.build_request("GET", "/v1/codes")
        client.send(request)
        client.send(request)

    assert resent(instrumented.spans) == [None, 1]


# ------------------------------------------------------------------------------------------- threads and tasks at once


def test_threads_do_not_mix_up_their_spans(told: Telemetry) -> None:
    """Eight calls at once: each attempt is a child of its own call."""
    together = threading.Barrier(8)
    failed: set[str] = set()

    def api(request: httpx.Request) -> httpx.Response:
        if request.url.path not in failed:
            failed.add(request.url.path)
            together.wait(10)
            return httpx.Response(503)
        return httpx.Response(200)

    with (
        ResilientClient(
            transport=httpx.MockTransport(api), observers=[told.observer], clock=VirtualClock()
        ) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        instrument_client(client, tracer_provider=told.tracers)
        list(pool.map(lambda number: client.get(f"{BASE}/{number}"), range(8)))

    _each_attempt_is_its_own_calls(told)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_do_not_mix_up_their_spans(told: Telemetry, backend: str) -> None:
    """The same for tasks, on one thread."""
    failed: set[str] = set()

    async def crowd() -> None:
        all_in = anyio.Event()

        async def api(request: httpx.Request) -> httpx.Response:
            if request.url.path not in failed:
                failed.add(request.url.path)
                if len(failed) == 8:
                    all_in.set()
                with anyio.fail_after(10):
                    await all_in.wait()
                return httpx.Response(503)
            return httpx.Response(200)

        async with (
            AsyncResilientClient(
                transport=httpx.MockTransport(api), observers=[told.observer], clock=VirtualClock()
            ) as client,
            anyio.create_task_group() as group,
        ):
            instrument_client(client, tracer_provider=told.tracers)
            for number in range(8):
                group.start_soon(client.get, f"{BASE}/{number}")

    anyio.run(crowd, backend=backend)
    _each_attempt_is_its_own_calls(told)


def _each_attempt_is_its_own_calls(told: Telemetry) -> None:
    assert len(told.calls) == 8
    for call in told.calls:
        attempts = told.attempts_of(call)
        assert resent(attempts) == [None, 1]
        assert {attributes_of(span)["http.url"] for span in attempts} == {attributes_of(call)["url.full"]}
        assert [event.attributes for event in call.events if event.attributes] != []


# ---------------------------------------------------------------------------------------------------------- the extra


def test_names_are_those_of_the_conventions() -> None:
    """The schema that is claimed is one that there is; the API package has no names of its own."""
    assert Schemas.V1_23_1.value == telemetry._SCHEMA
    known = {name for name in vars(http_attributes.HttpRequestMethodValues) if name.isupper()}
    assert known - {"OTHER", "QUERY"} == telemetry._KNOWN_METHODS


def python(code: str, folder: Path) -> str:
    """Run code elsewhere, with warnings as errors, and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed: str = done.stdout
    return printed


def test_a_client_with_observers_loads_no_telemetry(tmp_path: Path) -> None:
    """OpenTelemetry is loaded with `resilient_client.telemetry`, and what tells observers with the first of them."""
    code = (
        "import sys, resilient_client.client\n"
        "from resilient_client import ResilientTransport\n"
        "ResilientTransport()\n"
        "assert 'resilient_client._report' not in sys.modules\n"
        "class Deaf:\n"
        "    def on_retry(self, event): ...\n"
        "ResilientTransport(observers=[Deaf()])\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )

    assert python(code, tmp_path).strip() == "[]"


def test_without_the_extra_the_import_says_what_to_install(tmp_path: Path) -> None:
    """A ModuleNotFoundError that names the extra."""
    code = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "try:\n"
        "    import resilient_client.telemetry\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error, error.name)\n"
    )

    assert "pip install 'resilient-client[otel]'" in python(code, tmp_path)


def test_without_an_sdk_it_does_nothing(run: Run) -> None:
    """The API package alone keeps nothing: a library may use it, and a program decides."""
    ended = run(None, in_turn(answer(503), answer(404)), client={"observers": [OpenTelemetryObserver()]})

    assert ended.attempts == 2


def test_two_observers_have_a_span_each_that_is_told_the_whole() -> None:
    """Two providers on one client: neither writes on the other's span."""
    both = [Telemetry(), Telemetry()]
    transport = httpx.MockTransport(lambda _: error_response("zerotrace", "NOT_FOUND"))
    observers = [each.observer for each in both]
    with ResilientClient(
        "zerotrace", transport=transport, clock=VirtualClock(), observers=observers
    ) as client:
        client.get(f"{BASE}/v1/order")

    for telemetry_of_one in both:
        (span,) = telemetry_of_one.spans
        assert span.attributes is not None
        assert span.attributes["resilient_client.reason"] == "not_retryable"
        assert span.status.status_code is StatusCode.ERROR
