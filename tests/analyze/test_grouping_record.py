"""What a logger put around an error is not part of it; what an API answered is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsi.analyze.record import unwrap
from rsi.analyze.template import fingerprint


@pytest.mark.parametrize(
    "record",
    [
        "ERROR:agent.runner:disk is full",
        "2026-12-18 04:25:40Z WARNING agent.runner run=bfb7d715 disk is full",
        "agent.runner[31276]: ERROR disk is full",
        "2026-08-26 11:24:17,962 CRITICAL [celery] disk is full",
        "[2026-05-26 13:20:49] ERROR/app: disk is full",
        '{"ts": "2026-01-20T04:16:07Z", "level": "ERROR", "msg": "task failed", "error": "disk is full"}',
        '{"time": 1, "logger": "x", "error": {"message": "disk is full", "code": 5}}',
        '{"level": "ERROR", "msg": "disk is full"}',
        '{"ts": "2026-01-20T04:16:07Z", "level": "ERROR", "error": "disk is full',
    ],
)
def test_a_log_record_says_what_its_error_says(record: str):
    assert unwrap(record)[0] == "disk is full"
    assert fingerprint(record).hash == fingerprint("disk is full").hash


@pytest.mark.parametrize(
    "text",
    [
        '{"error": {"message": "busy", "type": "overloaded_error"}}',
        "ERROR: disk is full",
        "error: Bind to port 80 failed",
        "{not json at all",
        "[1, 2]",
        "2026-12-18 is a date",
        "ciod: Error loading x",
    ],
)
def test_other_texts_stay_as_they_are(text: str):
    assert unwrap(text) == (text, None)


def test_a_record_names_the_class_and_an_argument_wins():
    record = json.dumps({"level": "ERROR", "error": "locked", "error_type": "psycopg.errors.LockNotAvailable"})
    assert fingerprint(record).error_type == "LockNotAvailable"
    assert fingerprint(record, "KeyError").error_type == "KeyError"


@given(st.recursive(st.none() | st.text(max_size=5) | st.integers(), lambda inner: st.dictionaries(st.sampled_from(["ts", "error", "message", "stack", "type"]), inner, max_size=4) | st.lists(inner, max_size=3)))  # fmt: skip
def test_no_json_raises(value: object):
    fingerprint(json.dumps(value))
    fingerprint(json.dumps(value)[:-1])
