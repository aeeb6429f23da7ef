"""Our own spans and metrics under the real SDK."""

from __future__ import annotations

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rsi import telemetry


def test_cycles_and_verdicts_are_told():
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    telemetry.cycle({"ms": 1.0, "failed": [], "outcomes": 1})  # before anything is configured: to nobody
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    telemetry.cycle({"ms": 250.0, "failed": [], "outcomes": 7, "new_issues": 2, "policy_version": 3})
    telemetry.cycle({"ms": 1.0, "failed": [], "outcomes": 0})
    telemetry.cycle({"ms": 2.0, "failed": ["act"], "outcomes": 0})
    telemetry.event(
        "verdict", {"fix": "f12", "state": "verified", "outcome": "verified", "p_fixed": 0.03, "why": "text"}
    )
    telemetry.event("outcome", {"id": "o"})
    worked, failed, verdict = spans.get_finished_spans()
    assert (worked.name, dict(worked.attributes)) == ("rsi.cycle", {"rsi.cycle.outcomes": 7, "rsi.cycle.new_issues": 2})
    assert (
        worked.end_time - worked.start_time == 250_000_000
        or abs(worked.end_time - worked.start_time - 250_000_000) < 1_000
    )
    assert (failed.status.status_code.name, failed.attributes["rsi.cycle.failed"]) == ("ERROR", ("act",))
    assert verdict.name == "rsi.verdict"
    assert verdict.attributes["rsi.verdict.outcome"] == "verified"
    assert "rsi.verdict.why" not in verdict.attributes
    found = {
        metric.name: metric.data.data_points
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert found["rsi.outcomes"][0].value == 7
    assert found["rsi.cycle.duration"][0].count == 3
    assert dict(found["rsi.verdicts"][0].attributes) == {"rsi.verdict.outcome": "verified"}
