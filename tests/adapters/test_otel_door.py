"""The OpenTelemetry door: encodings, sizes, what is refused, and that an answer means durable."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from otel_kit import JSON, PROTOBUF, agent, attributes, chat, encoded, new_trace, resource_of, serving, tool

from rsi.config import Config, Limits
from rsi_adapters.otel import jsonbody, protobuf

GZIP = {"Content-Encoding": "gzip"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("door") / "home") as served:
        yield served


@pytest.fixture
def otel(shared):
    return shared.fresh()


def post(otel, body, headers, path="/v1/traces"):
    return otel.http.post(path, content=body, headers=headers)


def run():
    root = agent(gen_ai__conversation__id="c", raised=("ValueError", "no"))
    return chat(root, gen_ai__usage__input_tokens=12), tool("t", root, error="x", flag=True, share=0.5), root


def test_protobuf_and_json_are_read_alike():
    from otel_kit import traces

    request = traces(*run(), service="s", scope="lib", service__version="1")
    request["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= {"flags": 0x300, "kind": 3}
    one = protobuf.traces(encoded(request), 100)
    other = jsonbody.traces(json.dumps(request).encode(), 100)
    assert one == other
    assert len(one.spans) == 3
    assert one.spans[0].remote


@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
@pytest.mark.parametrize("kind", [JSON, PROTOBUF, {"Content-Type": "application/json; charset=utf-8"}])
def test_each_encoding_is_answered_in_kind(otel, kind, packed):
    request = otel.request(*run())
    body = encoded(request) if kind is PROTOBUF else json.dumps(request).encode()
    body = {"gzip": gzip.compress, "deflate": zlib.compress}.get(packed, bytes)(body)
    answer = post(otel, body, {**kind, **({"Content-Encoding": packed} if packed else {})})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind["Content-Type"].partition(";")[0]
    assert answer.content == (b"" if kind is PROTOBUF else b'{"partialSuccess":{}}')
    assert otel.brief() == [("llm", "chat gpt-x", "ok"), ("task", "support", "failed"), ("tool", "t", "failed")]


def test_what_is_wrong_with_one_span_does_not_stop_the_others(otel):
    bad = [{**agent(), "traceId": "xyz"}, {**agent(), "spanId": "0" * 16}, {**agent(), "endTimeUnixNano": "0"}, 7]
    bad.append({**agent(), "parentSpanId": 5})
    said = otel.send(*bad, agent())
    assert said["rejectedSpans"] == "5"
    for word in ("item 0: traceId", "item 1: spanId", "item 2: endTimeUnixNano", "item 3:", "item 4: parentSpanId"):
        assert word in said["errorMessage"]
    assert otel.brief() == [("task", "support", "ok")]


def test_protobuf_says_what_it_refused(otel):
    answer = post(otel, encoded(otel.request({**agent(), "traceId": "aa"}, agent())), PROTOBUF)
    assert answer.status_code == 200
    assert answer.content[:1] == b"\x0a", "partial_success"
    assert answer.content[2:4] == b"\x08\x01", "one rejected span"
    assert b"traceId: expected 32 hex digits" in answer.content
    assert otel.brief() == [("task", "support", "ok")]


def test_what_cannot_be_read_is_400_in_kind(otel):
    torn = post(otel, b"\xff\xff", PROTOBUF)
    assert (torn.status_code, torn.headers["content-type"]) == (400, "application/x-protobuf")
    assert torn.content[:2] == b"\x08\x03", "INVALID_ARGUMENT"
    assert b"not OTLP protobuf" in torn.content
    text = post(otel, b'{"resourceSpans": 5}', JSON)
    assert (text.status_code, text.json()["code"]) == (400, 3)
    assert "resourceSpans: expected a list" in text.json()["error"]
    assert post(otel, b"{", JSON).status_code == 400
    assert post(otel, b"[]", JSON).status_code == 400
    assert post(otel, b"no gzip", {**JSON, **GZIP}).status_code == 400
    assert post(otel, gzip.compress(b"{}" * 500)[:-9], {**JSON, **GZIP}).status_code == 400


def test_an_empty_request_is_fine(otel):
    assert post(otel, b"", PROTOBUF).status_code == 200
    assert post(otel, b"{}", JSON).json() == {"partialSuccess": {}}


def test_other_kinds_are_415(otel):
    assert post(otel, b"x", {"Content-Type": "text/plain"}).status_code == 415
    refused = post(otel, b"{}\n", {"Content-Type": "application/x-ndjson"})
    assert (refused.status_code, "application/x-protobuf" in refused.json()["error"]) == (415, True)
    assert post(otel, b"{}", {**JSON, "Content-Encoding": "br"}).status_code == 415


def test_a_bomb_is_cut_off(tmp_path):
    with serving(tmp_path / "home", Config(limits=Limits(request_bytes=100_000))) as small:
        for packed in (gzip.compress(b" " * 80_000_000), zlib.compress(b" " * 80_000_000)):
            answer = post(small, packed, {**JSON, "Content-Encoding": "gzip"})
            assert (answer.status_code, "limits.request_bytes" in answer.json()["error"]) == (413, True)
        many = gzip.compress(b" " * 60_000) * 3
        assert post(small, many, {**JSON, **GZIP}).status_code == 413
        assert post(small, b" " * 100_001, JSON).status_code == 413
        assert small.send(agent()) == {}
        assert small.brief() == [("task", "support", "ok")]


def test_too_many_spans_are_413(otel):
    one = json.dumps(agent()).encode()
    text = b'{"resourceSpans": [{"scopeSpans": [{"spans": [' + b",".join([one] * 20_001) + b"]}]}]}"
    inside = encoded({"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "x"}] * 20_001}]}]})
    for body, kind in ((inside, PROTOBUF), (text, JSON)):
        answer = post(otel, body, kind)
        assert (answer.status_code, b"20000" in answer.content) == (413, True)
    assert otel.outcomes() == []


def test_answered_means_stored(otel):
    otel.send(agent())
    with otel.store.read() as conn:  # no waiting for anything
        assert [o.outcome.task for o in otel.store.outcomes_since(conn, 0, 10_000) if o.outcome.source == otel.service]


def test_a_closed_store_is_503_and_the_spans_come_again(tmp_path):
    with serving(tmp_path / "home") as served:
        served.store.close()
        refused = served.http.post("/v1/traces", json=served.request(agent()))
        assert (refused.status_code, refused.headers["retry-after"], refused.json()["code"]) == (503, "5", 14)


def graded(ident, value, label=None, trace="", name="helpfulness"):
    said = {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": value}
    said |= {"gen_ai.evaluation.score.label": label} if label else {}
    about = {"traceId": trace, "spanId": ident} if trace else {}
    return {"timeUnixNano": "1", "eventName": "gen_ai.evaluation.result", "attributes": attributes(said), **about}


def test_a_grade_in_a_log_reaches_the_span_that_comes_after_it(otel):
    root = agent()
    call = chat(root)
    assert otel.log(graded(call["spanId"], 0.5, trace=root["traceId"])).json() == {"partialSuccess": {}}
    otel.send(call, root)
    assert {task: outcome.quality for task, outcome in otel.told().items()} == {"support": 3.0, "chat gpt-x": 3.0}


def test_a_grade_that_comes_late_is_a_step_of_its_span(otel):
    root = agent()
    otel.send(root)
    for _ in range(2):
        otel.log(graded(root["spanId"], 0.25, trace=root["traceId"]))
    late = otel.told()["helpfulness"]
    assert (late.kind, late.status, late.quality, late.parent) == ("step", "ok", 2.0, otel.told()["support"].id)


def test_the_older_form_of_an_event_and_protobuf_are_read_too(otel):
    root = agent()
    old = graded(root["spanId"], 1, trace=root["traceId"])
    del old["eventName"]
    old["attributes"] += attributes({"event.name": "gen_ai.evaluation.result"})
    request = {"resourceLogs": [{"resource": resource_of(otel.service), "scopeLogs": [{"logRecords": [old]}]}]}
    answer = post(otel, encoded(request), PROTOBUF, "/v1/logs")
    assert (answer.status_code, answer.content) == (200, b"")
    otel.send(root)
    assert otel.told()["support"].quality == 5.0


def test_other_records_are_left_aside(otel):
    otel.log({"timeUnixNano": "1", "body": {"stringValue": "hello"}, "severityNumber": 17}, {"eventName": "exception"})
    assert otel.outcomes() == []


@pytest.mark.parametrize(
    ("score", "label", "quality"),
    [
        (0.0, None, 1),
        (1.0, None, 5),
        (0.5, "pass", 3),
        (0.9, "fail", 1.4),
        (0.1, "pass", 4.6),
        (4.0, None, 4),
        (4.0, "fail", 2),
        (99.0, None, None),
        (99.0, "fail", 1),
    ],
)
def test_scores_are_read_from_their_scale(otel, score, label, quality):
    grade = {
        "gen_ai.evaluation.name": "g",
        "gen_ai.evaluation.score.value": score,
        **({"gen_ai.evaluation.score.label": label} if label else {}),
    }
    otel.send(agent(grades=[grade]))
    assert otel.told()["support"].quality == (None if quality is None else pytest.approx(quality))


def test_status_counts(otel):
    trace = new_trace()
    otel.send(agent(trace=trace))
    status = otel.intake.status()
    assert status["spans"] >= 1
    assert status["outcomes"] >= 1
    assert status["requests"]["200"] >= 1
    assert status["troubles"] == []
