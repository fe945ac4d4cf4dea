"""One trace of one call: its span, the spans of its attempts, its waits, and the counters beside it.

The API is a stand-in on a port of this machine that fails as it is told; time is virtual. It needs the extra `otel`,
and `opentelemetry-sdk` and `opentelemetry-instrumentation-httpx` to have something to show. Run it: python
examples/observability.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resilient_client.sandbox import Sandbox, Schedule
from resilient_client.telemetry import OpenTelemetryObserver, resend_count_hook
from resilient_client.testing import VirtualClock

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from resilient_client.observers import GiveUpEvent, RetryEvent

FAULTS = ["RATE_LIMIT:7", "reset", None]


class OnCall:
    """An observer of one's own: what somebody who is woken up at night wants to read."""

    def on_retry(self, event: RetryEvent) -> None:
        """Say that it is being dealt with."""
        print(f"{event.method} {event.path}: {event.rule}; again in {event.wait:.1f} s")

    def on_give_up(self, event: GiveUpEvent) -> None:
        """Say what to do about it."""
        print(f"{event.method} {event.path}: {event.rule}; {event.outcome.verdict.remedy}")


def show(span: ReadableSpan, indent: str = "") -> None:
    """Print a span, and its waits."""
    attributes = dict(span.attributes or {})
    shown = (
        "http.status_code",
        "http.request.resend_count",
        "resilient_client.attempts",
        "resilient_client.reason",
    )
    print(
        f"{indent}{span.kind.name} {span.name}",
        {name: attributes[name] for name in shown if name in attributes},
    )
    for event in span.events:
        if event.name == "resilient_client.retry" and event.attributes is not None:
            print(f"{indent}  waits, for", event.attributes["resilient_client.rule"])


def main() -> None:
    """Make a call that fails twice, and one that fails for good."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    HTTPXClientInstrumentor().instrument(
        tracer_provider=tracers, meter_provider=meters, request_hook=resend_count_hook
    )
    telemetry = OpenTelemetryObserver(tracer_provider=tracers, meter_provider=meters)

    with (
        Sandbox("zerotrace", faults=Schedule().add("GET /v1/codes", FAULTS)) as api,
        api.client(observers=[telemetry, OnCall()], clock=VirtualClock()) as client,
    ):
        client.get("/v1/codes")
        client.get("/v1/order/there-is-none")

    print("\nThe spans:")
    spans = sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
    for span in spans:
        show(span, "  " if span.parent is not None else "")

    print("\nThe counters:")
    data = reader.get_metrics_data()
    for scope in data.resource_metrics[0].scope_metrics if data is not None else ():
        for metric in scope.metrics:
            for point in metric.data.data_points:
                if isinstance(point, NumberDataPoint):
                    print(metric.name, point.value, dict(point.attributes or {}))


if __name__ == "__main__":
    main()
