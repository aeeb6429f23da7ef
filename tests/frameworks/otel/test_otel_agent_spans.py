"""What an agent's process reports, as spans of the SDK that the host has configured."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import rsi


@pytest.fixture
def spans(monkeypatch):
    """A provider of the host's; the process can have but one, so that it is put in by hand."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


def test_guards_and_steps_are_spans_inside_the_hosts_own(spans, world):
    @rsi.guard("search", client=world.client)
    def search() -> None:
        raise TimeoutError("sk-secret-token timed out")

    with trace.get_tracer("host").start_as_current_span("request"):
        with rsi.step("plan", client=world.client, session="s1"):
            pass
        with pytest.raises(TimeoutError):
            search()
    plan, failed, request = spans.get_finished_spans()
    assert (plan.name, plan.attributes["rsi.task"], plan.instrumentation_scope.name) == ("task plan", "plan", "rsi")
    assert "rsi.session" not in plan.attributes  # it may hold anything, and nobody has looked for secrets yet
    assert {span.parent.span_id for span in (plan, failed)} == {request.context.span_id}
    assert (failed.status.status_code.name, failed.attributes["error.type"]) == ("ERROR", "TimeoutError")
    assert "sk-secret" not in failed.to_json()
    assert failed.start_time <= failed.end_time
    sent = {item["id"]: item["task"] for item in world.sent()}
    assert sent == {span.attributes["rsi.id"]: span.attributes["rsi.task"] for span in (plan, failed)}


def test_a_broken_sdk_costs_the_host_nothing(monkeypatch, request):
    class Broken(TracerProvider):
        def get_tracer(self, *args, **more):
            raise RuntimeError("no tracer today")

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", Broken())
    world = request.getfixturevalue("world")
    with rsi.step("plan", client=world.client):
        pass
    assert [item["task"] for item in world.sent()] == ["plan"]
    assert world.client.status()["span_errors"] == 1


def test_an_sdk_that_comes_later_is_noticed_and_none_is_never_loaded(daemon, tmp_path):
    program = """
import sys, rsi
client = rsi.configure(url=sys.argv[1], source="late", enabled=True)
with rsi.step("one"): pass
assert rsi.flush(10)
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
assert client.put == client._sender.put
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
told, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(told))
trace.set_tracer_provider(provider)
with rsi.step("two"): pass
assert rsi.flush(10)
with rsi.step("three"): pass
print([span.name for span in told.get_finished_spans()][-1:])
"""
    command = [sys.executable, "-W", "ignore", "-c", program, daemon.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("['task three']\n", 0), done.stderr


def test_what_comes_back_over_otlp_is_not_counted_again(traced, monkeypatch):
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", traced.provider)
    client = rsi.configure(url=traced.collector.url, source=f"{traced.source}-own", enabled=True)
    with rsi.step("plan", model="m"):
        pass
    assert client.flush(30)
    rsi.configure(enabled=False)
    assert traced.outcomes() == []
    assert [found["task"] for found in traced.collector.outcomes(f"{traced.source}-own")] == ["plan"]
