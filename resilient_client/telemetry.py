"""OpenTelemetry: one span for each call, around the spans of its attempts, and four metrics. It needs the extra `otel`.

The spans of the attempts are those of `opentelemetry-instrumentation-httpx`, which also hands the trace on to the API;
a hook numbers them.

Law of this file: what HTTP has a name for goes by the semantic conventions
(https://opentelemetry.io/docs/specs/semconv/http/), and all else begins with `resilient_client.`; no query is in an
attribute, and no URL, path or id in a metric's.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

try:
    from opentelemetry import context, metrics, trace
except ImportError as missing:
    raise ModuleNotFoundError(
        "resilient_client.telemetry needs OpenTelemetry: pip install 'resilient-client[otel]'",
        name=missing.name,
    ) from missing

from . import __version__
from ._libraries import library_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .client import AsyncResilientClient, ResilientClient
    from .observers import AttemptEvent, CallEvent, GiveUpEvent, RetryEvent, SuccessEvent
    from .outcome import Attempt, Outcome

__all__ = ["OpenTelemetryObserver", "async_resend_count_hook", "instrument_client", "resend_count_hook"]

_NAME = "resilient_client"
_SCHEMA = "https://opentelemetry.io/schemas/1.23.1"  # the first in which those of HTTP are stable
_KNOWN_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_WAITS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)  # seconds: bounds of the histogram's buckets
_SENT = "resilience.sent"  # the request extension in which the hook counts


class OpenTelemetryObserver:
    """Tell OpenTelemetry of every call: `ResilientClient(observers=[OpenTelemetryObserver()])`.

    A call is a span of kind INTERNAL, named like "POST zerotrace", which is current while its attempts run. Its
    attributes: `http.request.method`, `server.address`, `server.port`, `url.full` (without user and query),
    `http.response.status_code`, `error.type`, and `resilient_client.policy`, `.attempts`, `.maybe_applied`, `.reason`,
    `.rule` (where the call gave up), `.queued` (seconds) and `.hedges` (where there were any). Each wait is an event `resilient_client.retry` on it. The span ends when
    the response's head is there; the reading of a stream is not in it.

    Metrics: the counters `resilient_client.attempts`, `resilient_client.retries` (by rule) and
    `resilient_client.give_ups` (by reason and rule), and the histogram `resilient_client.wait.duration` in seconds. All
    have `resilient_client.policy` and `http.request.method`; attempts have `http.response.status_code` and, where they
    failed, `error.type`.

    Args:
        tracer_provider: whose spans these are; the global provider's when left out.
        meter_provider: whose metrics these are; the global provider's when left out.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_NAME, __version__, tracer_provider, _SCHEMA)
        meter = metrics.get_meter(_NAME, __version__, meter_provider, _SCHEMA)
        self._attempts = meter.create_counter(
            "resilient_client.attempts",
            "{attempt}",
            "Requests that were sent, the first of each call included.",
        )
        self._retries = meter.create_counter(
            "resilient_client.retries",
            "{retry}",
            "Attempts that are followed by another one, by the rule that asks for it.",
        )
        self._give_ups = meter.create_counter(
            "resilient_client.give_ups", "{call}", "Calls that ended with an error, by the reason."
        )
        self._waits = meter.create_histogram(
            "resilient_client.wait.duration",
            "s",
            "How long a call waits before a retry.",
            explicit_bucket_boundaries_advisory=_WAITS,
        )

        self._key = context.create_key("resilient_client.call")  # of its own: another one may observe as well

    @contextmanager
    def around(self, event: CallEvent, /) -> Iterator[None]:
        """Make the call's span, and make it current."""
        method = _method(event)
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "server.address": event.host,
            "url.full": event.url,
            "resilient_client.policy": event.api,
        }
        if method == "_OTHER":
            attributes["http.request.method_original"] = event.method
        if event.port is not None:
            attributes["server.port"] = event.port
        name = f"{'HTTP' if method == '_OTHER' else method} {event.api}"
        span = self._tracer.start_span(name, attributes=attributes)
        here = _Here(span)
        token = context.attach(context.set_value(self._key, here, trace.set_span_in_context(span)))
        try:
            yield
        except BaseException as error:  # a cancellation, too, ends a call
            if not here.concluded:
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(trace.StatusCode.ERROR)
            raise
        finally:
            context.detach(token)
            span.end()

    def on_attempt(self, event: AttemptEvent, /) -> None:
        """Count the attempt."""
        attributes = _dimensions(event)
        if event.attempt.status is not None:
            attributes["http.response.status_code"] = event.attempt.status
        if event.attempt.verdict.category != "success":
            attributes["error.type"] = _error_type(event.attempt)
        self._attempts.add(1, attributes)

    def on_retry(self, event: RetryEvent, /) -> None:
        """Count the retry and its wait, and note it on the span."""
        attributes = {**_dimensions(event), "resilient_client.rule": event.rule}
        self._retries.add(1, attributes)
        self._waits.record(event.wait, attributes)
        self._here().span.add_event(
            "resilient_client.retry",
            {
                "resilient_client.rule": event.rule,
                "resilient_client.attempt": event.attempt.number,
                "resilient_client.wait": event.wait,
                "resilient_client.change": event.change,
                "error.type": _error_type(event.attempt),
            },
        )

    def on_success(self, event: SuccessEvent, /) -> None:
        """Say on the span what the call came to."""
        self._conclude(event.outcome)

    def on_give_up(self, event: GiveUpEvent, /) -> None:
        """Count the call, and say on the span what it came to."""
        why = {"resilient_client.reason": event.reason, "resilient_client.rule": event.rule}
        self._give_ups.add(1, {**_dimensions(event), **why})
        span = self._conclude(event.outcome)
        span.set_attribute("resilient_client.rule", event.rule)
        if event.error is not None:
            span.set_attribute("error.type", type(event.error).__qualname__)
        else:
            span.set_attribute("error.type", _error_type(event.outcome.attempts[-1]))
        span.set_status(trace.StatusCode.ERROR, f"{event.rule}: {event.reason}")

    def _here(self) -> _Here:
        # Not the current span, for another observer may have put its own inside.
        here = context.get_value(self._key)
        return here if isinstance(here, _Here) else _Here(trace.INVALID_SPAN)

    def _conclude(self, outcome: Outcome) -> trace.Span:
        here = self._here()
        span, here.concluded = here.span, True
        if outcome.verdict.status is not None:
            span.set_attribute("http.response.status_code", outcome.verdict.status)
        span.set_attribute("resilient_client.attempts", len(outcome.attempts))
        span.set_attribute("resilient_client.maybe_applied", outcome.maybe_applied)
        span.set_attribute("resilient_client.reason", outcome.reason)
        if outcome.queued:
            span.set_attribute("resilient_client.queued", outcome.queued)
        if outcome.hedges:
            span.set_attribute("resilient_client.hedges", outcome.hedges)
        return span


class _Here:
    """The span of the call that is under way here, in this thread or task."""

    def __init__(self, span: trace.Span) -> None:
        self.span = span
        self.concluded = False  # it says what the call came to


def _method(event: CallEvent) -> str:
    # Any text may be a method, and metrics must not grow with what callers write.
    return event.method if event.method in _KNOWN_METHODS else "_OTHER"


def _dimensions(event: CallEvent) -> dict[str, str | int]:
    return {"resilient_client.policy": event.api, "http.request.method": _method(event)}


def _error_type(attempt: Attempt) -> str:
    """Name an error as the instrumentation of httpx does, by exception or status; by its rule in a reply below 400."""
    if attempt.error is not None:
        return type(attempt.error).__qualname__
    is_told = attempt.status is not None and attempt.status >= 400
    return str(attempt.status) if is_told else attempt.verdict.name


def resend_count_hook(span: trace.Span, request: Any) -> None:
    """Set `http.request.resend_count` on the span of an attempt, but for the first.

    A `request_hook` for `HTTPXClientInstrumentor().instrument` and for `SyncOpenTelemetryTransport`. It counts as the
    conventions say: every sending of the same request but the first, whether a retry, a redirect or an `httpx.Auth`
    caused it; under clients of httpx's own, too.
    """
    # httpx copies the extensions to the request that follows a redirect, and a retry has those of the attempt before
    # it; the counter in them is the same one.
    sent = next(request.extensions.setdefault(_SENT, itertools.count()))
    if sent:
        span.set_attribute("http.request.resend_count", sent)


async def async_resend_count_hook(span: trace.Span, request: Any) -> None:
    """Do the same as an `async_request_hook`. See `resend_count_hook`."""
    resend_count_hook(span, request)


def instrument_client(client: ResilientClient | AsyncResilientClient, **options: Any) -> None:
    """Give every attempt of this one client a span of `opentelemetry-instrumentation-httpx`, with its resend count.

    `HTTPXClientInstrumentor.instrument_client(client)` itself instruments the outermost transport: one span of kind
    CLIENT around all attempts, and none for each. After `HTTPXClientInstrumentor().instrument(…)`, which covers all
    clients, this is not needed.

    Args:
        client: the client, once.
        options: what `HTTPXClientInstrumentor.instrument_client` takes, providers and hooks; a `request_hook` of your
            own takes the place of `resend_count_hook`, and may call it.

    Raises:
        ModuleNotFoundError: opentelemetry-instrumentation-httpx is not installed.
        TypeError: the client is one of httpx2's, whose requests the instrumentation does not understand.
    """
    library = library_of(client)
    if library.__name__ != "httpx":
        raise TypeError(
            f"opentelemetry-instrumentation-httpx understands httpx's requests alone, and this client sends {library.__name__}'s; "
            "an OpenTelemetryObserver gives each call its span, and tells of each retry on it, over either"
        )
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor  # noqa: PLC0415 - the rest does without

    is_async = isinstance(client, library.AsyncClient)
    options.setdefault("request_hook", async_resend_count_hook if is_async else resend_count_hook)
    first, *others = {id(transport): transport for transport in client._beneath}.values()  # noqa: SLF001 - our own
    # The instrumentation takes whatever has a client's transports.
    beneath: Any = SimpleNamespace(_transport=first, _mounts=dict(enumerate(others)))
    HTTPXClientInstrumentor.instrument_client(beneath, **options)
