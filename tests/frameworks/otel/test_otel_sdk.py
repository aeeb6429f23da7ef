"""The real SDK and its real OTLP exporters, with spans as OpenTelemetry's GenAI conventions say."""

from __future__ import annotations

import contextlib
import random

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import Compression
from opentelemetry.trace import Status, StatusCode

from rsi.errors import RSIError
from rsi_adapters.otel import protobuf


@pytest.mark.parametrize("compression", list(Compression), ids=lambda kind: kind.value)
def test_an_agent_with_a_model_call_and_a_failed_tool(sdk, compression):
    traced = sdk(compression=compression)
    tracer = traced.provider.get_tracer("tests")
    about = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "support",
        "gen_ai.conversation.id": "conv-1",
    }
    with tracer.start_as_current_span("invoke_agent support", attributes=about):
        call = {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-x",
            "gen_ai.response.model": "gpt-x-2026", "gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 4,
            "gen_ai.response.finish_reasons": ["stop"], "gen_ai.input.messages": "hidden",
        }  # fmt: skip
        with tracer.start_as_current_span("chat gpt-x", attributes=call) as span:
            grade = {"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": 0.25}
            span.add_event("gen_ai.evaluation.result", {**grade, "gen_ai.evaluation.score.label": "fail"})
        used = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
        with contextlib.suppress(TimeoutError), tracer.start_as_current_span("execute_tool search", attributes=used):
            raise TimeoutError("no answer in 5 s")
    assert traced.brief() == [("llm", "chat gpt-x", "ok"), ("task", "support", "ok"), ("tool", "search", "failed")]
    model, tool, task = traced.one("chat gpt-x"), traced.one("search"), traced.one("support")
    assert (model["model"], model["provider"], model["tokens_in"], model["quality"]) == ("gpt-x-2026", "openai", 12, 2)
    assert (tool["error"], tool["error_type"], tool["parent"]) == ("no answer in 5 s", "TimeoutError", task["id"])
    assert "no answer in 5 s" in tool["stack"]
    assert (task["session"], task["release"], task["tokens_in"], task["quality"]) == ("conv-1", "2.1", 12, 2)


def test_a_request_with_an_agent_in_it_and_http_calls_around(traced):
    web = traced.provider.get_tracer("web")
    with contextlib.suppress(RuntimeError), web.start_as_current_span("POST /chat"):
        with web.start_as_current_span("GET /models") as http:
            http.set_status(Status(StatusCode.ERROR, "404"))
        with web.start_as_current_span(
            "invoke_agent bot", attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "bot"}
        ):
            raise RuntimeError("out of ideas")
    assert traced.brief() == [("step", "bot", "failed"), ("task", "POST /chat", "failed")]


def test_two_services_in_one_trace(sdk):
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    caller, called = sdk(), sdk()
    carrier: dict[str, str] = {}
    about = {"gen_ai.operation.name": "invoke_agent"}
    with caller.provider.get_tracer("t").start_as_current_span("invoke_agent boss", attributes=about):
        TraceContextTextMapPropagator().inject(carrier)
        around = TraceContextTextMapPropagator().extract(carrier)
        with called.provider.get_tracer("t").start_as_current_span("invoke_agent worker", around, attributes=about):
            pass
        called.provider.force_flush()
    assert caller.brief() == [("task", "boss", "ok")]
    assert called.brief() == [("step", "worker", "ok")]
    assert called.one("worker")["parent"] == caller.one("boss")["id"]


def test_traces_of_a_web_server_have_no_outcomes(traced):
    tracer = traced.provider.get_tracer("web")
    with contextlib.suppress(ValueError), tracer.start_as_current_span("GET /"), tracer.start_as_current_span("SELECT"):
        raise ValueError("x")
    assert traced.brief() == []


def test_a_grade_by_the_real_log_exporter(traced):
    logs = pytest.importorskip("opentelemetry.sdk._logs")
    from opentelemetry._logs import LogRecord
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    tracer = traced.provider.get_tracer("t")
    with tracer.start_as_current_span("invoke_agent a", attributes={"gen_ai.operation.name": "invoke_agent"}) as span:
        context = span.get_span_context()
    assert traced.brief() == [("task", "a", "ok")]
    provider = logs.LoggerProvider(resource=traced.provider.resource)
    provider.add_log_record_processor(
        BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{traced.collector.url}/v1/logs"))
    )
    attributes = {"gen_ai.evaluation.name": "helpfulness", "gen_ai.evaluation.score.value": 0.75}
    where = {"trace_id": context.trace_id, "span_id": context.span_id, "trace_flags": context.trace_flags}
    record = LogRecord(timestamp=1, event_name="gen_ai.evaluation.result", attributes=attributes, body=None, **where)
    provider.get_logger("judge").emit(record)
    provider.force_flush()
    provider.shutdown()
    found = traced.one("helpfulness")
    assert (found["kind"], found["quality"], found["parent"]) == ("step", 4.0, traced.one("a")["id"])


SCALARS = ("string_value", "bool_value", "int_value", "double_value")


def _message(chance):
    """A random request in the SDK's own protobuf classes."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    for _ in range(chance.randint(0, 2)):
        group = request.resource_spans.add(schema_url="s")
        group.resource.attributes.add(key="service.name").value.string_value = chance.choice(["", "agent", "ü"])
        scope = group.scope_spans.add()
        scope.scope.name = "lib"
        for _ in range(chance.randint(0, 3)):
            span = scope.spans.add(
                trace_id=chance.randbytes(16), span_id=chance.randbytes(8), parent_span_id=chance.choice([b"", chance.randbytes(8)]),
                name="n" * chance.randint(0, 200), kind=3, start_time_unix_nano=chance.randrange(1, 2**63), end_time_unix_nano=2**63,
                trace_state="a=b", dropped_attributes_count=3, flags=chance.choice([0, 1, 0x100, 0x300, 0x301]),
            )  # fmt: skip
            span.status.code = chance.randint(0, 2)
            span.status.message = chance.choice(["", "no"])
            attributes = span.attributes
            attributes.add(key="gen_ai.usage.input_tokens").value.int_value = chance.choice([0, -1, 2**62])
            attributes.add(key="llm.cost.total").value.double_value = chance.choice([0.0, 0.5, -1e300])
            attributes.add(key="gen_ai.tool.name").value.bool_value = chance.choice([True, False])
            attributes.add(key="gen_ai.agent.name").value.array_value.values.add().string_value = "x"
            attributes.add(key="gen_ai.system").value.kvlist_value.values.add(key="k").value.bytes_value = b"x"
            attributes.add(key="other").value.string_value = "x" * 500
            event = span.events.add(name="exception", time_unix_nano=5)
            event.attributes.add(key="exception.type").value.string_value = "E"
            span.links.add(trace_id=b"x" * 16)
    return request


def test_our_reader_agrees_with_the_real_protobuf():
    """On messages as they are, and on broken ones: what the library takes, we take with the same values."""
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    chance = random.Random(7)
    taken = refused = 0
    for number in range(4_000):
        body = _message(chance).SerializeToString()
        if number % 4:
            torn = bytearray(body)
            for _ in range(chance.randint(1, 3)):
                if torn:
                    at = chance.randrange(len(torn))
                    torn[at : at + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 2))
            body = bytes(torn)
        theirs = ExportTraceServiceRequest()
        try:
            theirs.ParseFromString(body)
        except DecodeError:
            refused += 1
            with contextlib.suppress(RSIError):
                protobuf.traces(body, 1_000)
            continue
        ours = _ours(body)
        if ours is None:
            continue
        taken += 1
        spans = [span for group in theirs.resource_spans for scope in group.scope_spans for span in scope.spans]
        assert len(spans) == len(ours.spans) + len(ours.refused)
        good = [span for span in spans if _fit(span)]
        assert [(s.trace_id.hex(), s.span_id.hex(), s.name, s.status.code, s.status.message) for s in good] == [
            (s.trace, s.span, s.name, s.code, s.message) for s in ours.spans
        ]
        for span, read in zip(good, ours.spans, strict=True):
            for key, value in read.attrs.items():
                last = [pair.value for pair in span.attributes if pair.key == key][-1]
                kind = last.WhichOneof("value")
                assert repr(value) == repr(getattr(last, kind) if kind in SCALARS else None), key
    assert taken > 1_500, (taken, refused)
    assert refused > 300, (taken, refused)


def _ours(body):
    """`None` for groups: abolished, skipped by the library, refused by us."""
    try:
        return protobuf.traces(body, 1_000)
    except RSIError as error:
        if "wire type 3" in str(error) or "wire type 4" in str(error):
            return None
        raise


def _fit(span):
    ids = len(span.trace_id) == 16 and any(span.trace_id) and len(span.span_id) == 8 and any(span.span_id)
    return ids and len(span.parent_span_id) in (0, 8) and span.end_time_unix_nano > 0
