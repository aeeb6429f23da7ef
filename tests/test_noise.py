r"""What a text carries beside its message: log prefixes, ids in JSON, `\u` escapes."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsi.classify import classify
from rsi.rules.noise import bare, decoded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2025-05-01 04:12:08,666 [WARN] qa-runner.loop:128 - disk full", "disk full"),
        ("2025-05-02T08:07:35Z app-08ccf5d4d-dqrfh WARNING | Agent failed: empty", "Agent failed: empty"),
        ("ERROR:app.pipeline:KeyError: 'x'", "KeyError: 'x'"),
        ("[docwriter] ERROR: no such engine run=032301d3", "no such engine"),
        ("2025-07-22 04:34:23,021 - agents.loop - CRITICAL - boom", "boom"),
        ("panic: boom -- context: run=14faeab5 worker=2 env=prod", "panic: boom"),
        ("rate limit reached: try again at 12:30:00", "rate limit reached: try again at 12:30:00"),
        ("ValueError: a - b", "ValueError: a - b"),
    ],
)
def test_a_log_line_without_where_and_when(text, message):
    assert bare(text) == message


def test_pairs_that_name_a_place_go_and_those_that_say_what_stay():
    body = {
        "run_id": "timeout-7",
        "level": "error",
        "logger": "rate.limit",
        "error": {"message": "disk full", "code": 28},
    }
    left = bare(json.dumps(body))
    assert "disk full" in left
    assert '"code": 28' in left
    for gone in ("timeout-7", "rate.limit", "level"):
        assert gone not in left
    assert "disk full" in bare(str(body))


@given(st.text(max_size=60))
def test_escapes_of_json_are_undone(text):
    written = json.dumps(text)[1:-1]
    plain = decoded(written)
    assert all(char in plain for char in text if ord(char) > 0x7F)


@given(st.text(max_size=300))
def test_no_text_raises(text):
    assert isinstance(bare(decoded(text)), str)


def test_the_name_of_an_agent_does_not_decide():
    assert (
        classify('{"logger": "rate limit exceeded", "error": "No module named \'pandas\'"}').name == "missing_resource"
    )


def test_an_escaped_language_is_read():
    assert classify(json.dumps({"error": "请求过于频繁，请稍后再试"})).name == "rate_limit"


@pytest.mark.parametrize(
    "unit",
    ["00:00:00 a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a\n", "12:00 ERROR - - - - -", '"id": "', " -- context: a",
     "[a] ERROR [a] ERROR ", "a.a.a.a=a.a ", "\\u", '\\"run_id\\": '],
)  # fmt: skip
def test_hostile_texts_cost_in_proportion_to_their_length(unit):
    def cost(times: int) -> float:
        text = (unit * (8192 // len(unit)))[: 1024 * times]
        began = time.process_time()
        for _ in range(5):
            bare(decoded(text))
        return time.process_time() - began

    cost(1)
    assert cost(8) < 40 * max(cost(1), 1e-3)


def test_which_quota_is_no_noise():
    body = '{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "quotaId": "GenerateRequestsPer%sPerProject"}}'
    assert "quotaId" in bare(body)
    assert (classify(body % "Day").name, classify(body % "Minute").name) == ("quota_exhausted", "rate_limit")
