"""Numbers that tell errors apart stay, numbers that count or name things go, and a known shape changes neither."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsi.analyze.template import _slowly, fingerprint, mask
from rsi.rules.statuses import STATUSES


@pytest.mark.parametrize(
    "sentence",
    [
        "Order {} not found", "user {} not authorized", "item {} not in stock", "batch {} internal check failed",
        "error {} items skipped", "task {} not found in queue", "request {} gone from cache", "got {} items",
        "row {} conflict with row 7", "took {} too long", "worker ({}) is busy", "ticket {} unavailable today",
    ],
)  # fmt: skip
def test_an_id_of_three_digits_is_one_template_whatever_it_is(sentence: str):
    assert len({fingerprint(sentence.format(n)).hash for n in range(100, 1000)}) == 1


@pytest.mark.parametrize(
    "sentence",
    [
        "got HTTP response {} from gateway", "request failed ({})", "call failed [{}]", "[{}] call failed", "Response [{}]",
        "<Response [{}]>", "RuntimeError: {}", "status was {}", "got {} from server", "API returned a {} status",
        "HTTP/2 {} badly", "HTTP/3 {}", "upstream returned {}", '{}: {{"error": 1}}', "状态码 {} 请求失败", "HTTP状态码：{}",
        "http_status={}", "error: {}", "error {} while calling the model", "received {} from provider", "code {}",
    ],
)  # fmt: skip
def test_a_status_where_statuses_stand_tells_errors_apart(sentence: str):
    statuses = (401, 404, 429, 500, 502, 503, 529)
    assert len({fingerprint(sentence.format(status)).hash for status in statuses}) == len(statuses)


@pytest.mark.parametrize("sentence", ["got {} from the cache", "failed: {}", "request failed ({})", "error {}"])
def test_a_number_that_is_no_status_is_none_wherever_it_stands(sentence: str):
    others = [n for n in range(100, 1000) if n not in STATUSES]
    assert {mask(sentence.format(n)) for n in others} == {sentence.format("<num>")}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ERROR 1045", "ERROR 1146"),
        ("error 1045 (28000): access denied", "error 1146 (42S02): access denied"),
        ("SQLSTATE[23505]: something", "SQLSTATE[40001]: something"),
        ("[WinError 10054] socket", "[WinError 10061] socket"),
        ("MongoServerError: E11000 duplicate key", "MongoServerError: E11001 duplicate key"),
        ("error E4001 in billing", "error E4002 in billing"),
        ("payment gateway replied: error 40001", "payment gateway replied: error 40002"),
        ("errorcode=40001", "errorcode=40002"),
        ("MCP error -32601: x y z", "MCP error -32602: x y z"),
        ("code: -32601 from server", "code: -32602 from server"),
        ("Process exited with 1", "Process exited with 137"),
        ("exited (1)", "exited (137)"),
        ("tool exited, rc=1", "tool exited, rc=2"),
        ("404 Not Found", "410 Gone"),
        ("the page: 404 Not Found", "the page: 403 Forbidden"),
    ],
)
def test_codes_that_identify_tell_errors_apart(one: str, other: str):
    assert fingerprint(one).hash != fingerprint(other).hash


def test_where_a_service_listens_tells_nothing_apart():
    assert mask("connection refused: localhost:5432") == mask("connection refused: localhost:6379")
    assert mask("cannot connect to db.example.com:5432") == mask("cannot connect to cache.example.com:6379")


def test_another_protocol_version_of_the_same_shape_is_masked_as_if_it_came_first():
    assert mask("upstream said HTTP/3 502 badly") == "upstream said HTTP/3 502 badly"
    assert mask("upstream said HTTP/2 502 badly") == "upstream said HTTP/2 502 badly"


PIECES = [
    "order 123", "status 404", "code: 17", "id=ab12cd34ef", "503 Service", "at 10:11:12", "gpt-4o", "o1-mini", "req_1a2B3c4D",
    "'v1.2'", "input='12'", "0x7f3a9b", "1.5s", "12 KB", "2026-01-02T03:04:05Z", "E501:", "HTTP/1.1 500", "HTTP/2 502", "utf-8",
    "/a/b1/c2.txt", "10.0.0.1:80", "x12y34z56", "[502]", "(404)", "retry 3 of 5", "errno 111", "1,234", "user42", "a1b2c3d4",
    "404 not found", "error 429", "error 40001", "failed:", "response", "got 503 from", "exited with 137", "SQLSTATE[23505]",
    "429 Too Many Requests", "LLM output: 3 more words", "(502), 503 404: 401", "http 404", "with", "a", "<num>", "failed",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map(" ".join), st.randoms(use_true_random=False))
@settings(max_examples=600, deadline=None)
def test_a_text_of_a_known_shape_is_masked_as_if_it_were_the_first(text: str, rng: random.Random):
    mask(text)
    for _ in range(3):
        other = re.sub("[0-9]", lambda found: rng.choice("0123459") if rng.random() < 0.6 else found[0], text)
        once = mask(other)
        assert once == _slowly(other)
        assert mask(once) == once


@pytest.mark.parametrize(
    "text", ["\x1b[31;" * 3000, "\x1b", "\x1b\x1b[0m[0m", "\x1b[\x1b[31m0m x", "\x1b[1mred\x1b[0m"]
)
def test_what_is_left_of_broken_colours_is_no_part_of_a_template(text: str):
    once = mask(text)
    assert "\x1b" not in once
    assert mask(once) == once
    assert fingerprint(once) == fingerprint(fingerprint(text).template)
