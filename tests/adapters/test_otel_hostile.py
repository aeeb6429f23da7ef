"""A thousand malformed bodies: never a 5xx, nothing blocks, and good spans still go in.

`RSI_HOSTILE=20000` runs the long form.
"""

from __future__ import annotations

import gzip
import json
import os
import random

import pytest
from otel_kit import JSON, PROTOBUF, agent, chain, chat, encoded, serving, span, tool

from rsi.errors import TooLargeError
from rsi_adapters.otel import protobuf, wire
from rsi_adapters.otel.wire import write_bytes

BODIES = int(os.environ.get("RSI_HOSTILE", "1000"))
VALUES = [
    None, True, 0, -1, 1.5, 1e308, 2**63, 2**64, 10**30, "", "x", "1e5", "١٢", "-", "NaN", [], {}, [[]], [None], {"a": 1},
    "0" * 32, "\x00", "\ud7ff", "9" * 5000, {"stringValue": 5}, {"intValue": "x"}, {"doubleValue": "Infinity"},
    {"kvlistValue": {"values": [{"key": "k", "value": {"arrayValue": {}}}]}},
]  # fmt: skip


@pytest.fixture(scope="module")
def otel(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("hostile") / "home") as served:
        yield served


def requests(otel):
    """One of spans and one of log records, both good."""
    root = chain("graph", session__id="s", raised=("ValueError", "boom"))
    grades = [{"gen_ai.evaluation.name": "g", "gen_ai.evaluation.score.value": 0.5}]
    inside = chat(root, grades=grades, gen_ai__usage__input_tokens=5), tool("t", root, error="x"), span("GET", root)
    record = {
        "timeUnixNano": "1",
        "traceId": root["traceId"],
        "spanId": root["spanId"],
        "eventName": "gen_ai.evaluation.result",
    }
    record["attributes"] = span("x", gen_ai__evaluation__score__value=0.5)["attributes"]
    spans = otel.request(*inside, root)
    logs = {
        "resourceLogs": [{"resource": spans["resourceSpans"][0]["resource"], "scopeLogs": [{"logRecords": [record]}]}]
    }
    return ("/v1/traces", spans), ("/v1/logs", logs)


def places(value, found):
    """Every container in a decoded request, with each of its keys."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        found.append((value, key))
        if isinstance(inner, dict | list):
            places(inner, found)
    return found


def spoilt_json(request, chance):
    found = places(request, [])
    for container, key in chance.sample(found, chance.randint(1, 3)):
        container[key] = chance.choice(VALUES)
    return json.dumps(request).encode()


def spoilt_bytes(body, chance):
    torn = bytearray(body)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(torn) or 1)
        way = chance.randint(0, 3)
        if way == 0:
            torn[at : at + 1] = bytes([chance.randrange(256)])
        elif way == 1:
            del torn[at : at + chance.randint(1, 20)]
        elif way == 2:
            torn[at:at] = chance.randbytes(chance.randint(1, 12))
        else:
            torn[at:at] = torn[at : at + chance.randint(1, 60)]
    return bytes(torn)


def test_a_thousand_malformed_bodies(otel):
    chance = random.Random(4)
    codes = {}
    for number in range(BODIES):
        path, request = requests(otel)[number % 2 if number % 10 else 0]
        way = chance.randint(0, 4)
        if way == 0:
            body, headers = spoilt_json(request, chance), JSON
        elif way == 1:
            body, headers = spoilt_bytes(json.dumps(request).encode(), chance), JSON
        elif way in (2, 3):
            body, headers = spoilt_bytes(encoded(request), chance), PROTOBUF
        else:
            body, headers = chance.randbytes(chance.randint(0, 200)), chance.choice([JSON, PROTOBUF])
        if chance.random() < 0.1:
            packed = gzip.compress(body)
            body = packed if chance.random() < 0.5 else spoilt_bytes(packed, chance)
            headers = {**headers, "Content-Encoding": "gzip"}
        answer = otel.http.post(path, content=body, headers=headers)
        codes[answer.status_code] = codes.get(answer.status_code, 0) + 1
        assert answer.status_code in (200, 400, 413), (number, answer.status_code, answer.content, body[:300])
    assert codes[200] > BODIES / 10, codes
    assert codes[400] > BODIES / 10, codes
    assert otel.intake.status()["troubles"] == []
    otel.fresh()
    root = agent()
    assert otel.send(chat(root), root) == {}
    assert otel.brief() == [("llm", "chat gpt-x", "ok"), ("task", "support", "ok")]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"resourceSpans": [' + b"{}," * 200_000 + b"{}]}",
        b'{"resourceSpans": [{"resource": {"attributes": [' + b'{"key": "service.name"},' * 100_000 + b"{}]}}]}",
        b'{"resourceSpans": [null]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{}]}]}]}',
        b'{"resourceSpans": [{"resource": [], "scopeSpans": {}}]}',
        b'\xef\xbb\xbf{"resourceSpans": []}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "\\ud800"}]}]}]}',
        b"\x00",
        b"null",
    ],
)
def test_known_attacks_on_json(otel, body):
    assert otel.http.post("/v1/traces", content=body, headers=JSON).status_code in (200, 400, 413)


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a" * 100_000,
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x0b\x0c" * 1000,
        b"\x00\x00",
        b"\x0a\x00" * 500_000,
        b"\x0f",
        b"\x09\x00",
        b"\xf8\xff\xff\xff\xff\x0f\x00",
    ],
)
def test_known_attacks_on_protobuf(otel, body):
    assert otel.http.post("/v1/traces", content=body, headers=PROTOBUF).status_code in (200, 400, 413)


NOTHING = 3_000_000
PLACES = [(), (1,), (1, 1), (1, 2), (1, 2, 1), (1, 2, 2), (1, 2, 2, 9), (1, 2, 2, 11), (1, 2, 2, 15)]


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize("field", [b"\x0a\x00", b"\x12\x00", b"\x50\x00"])
def test_empty_fields_are_counted_wherever_they_stand(monkeypatch, path, field):
    """Two bytes each, of a kind that somebody reads and of one that nobody does."""
    monkeypatch.setattr(wire, "MOST_FIELDS", 1_000)
    body = field * 2_000
    for number in reversed(path):
        body = write_bytes(number, body)
    with pytest.raises(TooLargeError, match="send less at once"):
        protobuf.traces(body, 500)


def test_millions_of_empty_fields_are_refused(otel):
    answer = otel.http.post("/v1/traces", content=write_bytes(1, b"\x50\x00" * NOTHING), headers=PROTOBUF)
    assert (answer.status_code, b"1200000 fields" in answer.content) == (413, True)


@pytest.mark.parametrize("inside", ["", '{"scopeSpans": [', '{"scopeSpans": [{"spans": [{"events": ['])
def test_millions_of_empty_objects_are_refused(otel, inside):
    body = f'{{"resourceSpans": [{inside}' + "{}," * NOTHING
    answer = otel.http.post("/v1/traces", content=body.encode(), headers=JSON)
    assert (answer.status_code, b"600000 objects" in answer.content) == (413, True)


def test_what_nobody_reads_is_not_decoded(otel):
    """Numbers that take a JSON parser 10 µs each; skipped, they take none."""
    otel.fresh()
    waste = b"1.7e308," * 1_500_000 + b"0"
    good = json.dumps(otel.request(agent())).encode()
    body = good[:-1] + b', "waste": [' + waste + b"]}"
    answer = otel.http.post("/v1/traces", content=body, headers=JSON)
    assert (answer.status_code, otel.brief()) == (200, [("task", "support", "ok")])


def test_hostile_values_in_good_spans(otel):
    """Values that are right for OTLP and wrong for an outcome reach no store, and stop none of the others."""
    otel.fresh()
    odd = [
        agent("big", gen_ai__usage__input_tokens=2**62, gen_ai__usage__output_tokens=-5),
        agent("x" * 100_000, raised=("E" * 5_000, "m" * 3_000_000)),
        agent("\x00\x1b[31m", gen_ai__conversation__id="\x00" * 300, user__id="\u202e"),
        agent("ümläut 日本", error="\u0000"),
        agent("late", start=9e9),
        agent("blank", gen_ai__conversation__id="", session__id=7),
    ]
    assert otel.send(*odd) == {}
    found = otel.outcomes()
    assert len(found) == len(odd)
    assert max(len(outcome.task) for outcome in found) <= 200
    assert otel.http.get("/health").status_code == 200
