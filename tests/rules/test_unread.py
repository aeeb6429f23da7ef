"""Ids and the model's own words decide nothing, and what rules name is read all the same."""

from __future__ import annotations

import pytest

from rsi.classify import Classifier, classify
from rsi.rules import load
from rsi.rules.shape import ClassifyRule, Condition, Match
from rsi.rules.unread import named, unread, without_answers


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("request 8f3a2c1b9d failed", "request xxxxxxxxxx failed"),
        ("id f47ac10b-58cc-4372-a567-0e02b2c3d479.", "id xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx."),
        ("in organization org-WFu2mDal on tokens", "in organization org-xxxxxxxx on tokens"),
        ("request_timeout30 is too short", "request_timeout30 is too short"),
        ("gpt-4o and utf-8 and 0x8007000e and deadbeef", "gpt-4o and utf-8 and 0x8007000e and deadbeef"),
        ("order 42912 failed", "order 42912 failed"),
    ],
)
def test_what_an_id_is_made_of_is_not_read(text: str, left: str):
    assert unread(text) == left
    assert unread(left) == left


ANSWERS = [
    ("Could not parse LLM output: `I could not connect, 429 rate limit`", "Could not parse LLM output: <str>"),
    ("Could not parse LLM output: I was not authorized to do that", "Could not parse LLM output: <str>"),
    ("Invalid json output: Sure! Permission denied\nFor troubleshooting, visit: x", "Invalid json output: <str>\nFor troubleshooting, visit: x"),
    ('Failed to decode the answer "invalid api key, I am afraid" as JSON', "Failed to decode the answer <str> as JSON"),
    ("model output was: {'action': 'timeout'}", "model output was: <str>"),
    ("agent reply: I hit a quota of mine at agent.py:run", "agent reply: <str> at agent.py:run"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "left"), ANSWERS)
def test_what_a_model_answered_is_not_read(text: str, left: str):
    assert without_answers(text) == left
    assert without_answers(left) == left


@pytest.mark.parametrize(
    "text",
    [
        "Failed to parse response: Expecting value: line 1 column 1 (char 0)",
        "Could not parse LLM output: JSONDecodeError: Extra data",
        "model output: empty",
        "Invalid response: 'Rate limit exceeded for this key'",
        "unknown model 'my own model'",
    ],
)
def test_what_a_parser_or_a_server_says_is_read(text: str):
    assert unread(text) == text


@pytest.mark.parametrize(
    "said", ["the connection timed out", "invalid api key", "429 too many requests", "out of memory now"]
)
def test_an_answer_that_sounds_like_an_error_is_still_an_answer(said: str):
    for text in (f"Could not parse LLM output: `{said}`", f"Invalid json output: {said}"):
        assert classify(text).name == "output_parse"


def test_an_id_that_is_a_rules_word_is_read():
    rule = ClassifyRule(
        id="mine", category="auth", match=Match(any=[Condition(message=["account c0ffee01"])]), precedence=990,
        confidence=0.9, date="2026-11-21", origin="user",
    )  # fmt: skip
    assert named([rule]) == {"c0ffee01"}
    decide = Classifier([rule])
    assert decide("account c0ffee01 is closed").name == "auth"
    assert decide("account c0ffee02 is closed").name == "unknown"


def test_the_built_in_rules_name_no_ids():
    for rule in load("classify").rules:
        for one in (*rule.match.any, *rule.match.all):
            for written in (*one.message, *one.not_message, *one.code, *rule.match.not_message):
                assert unread(written) == written


@pytest.mark.parametrize(
    "piece",
    ["a1", "llm output: ", "parse ", "org-a1", "could not parse output `", "'", "model output: {", "deadbeef1 "],
)
def test_a_long_text_is_read_in_bounded_time(piece: str):
    text = piece * (8192 // len(piece))
    assert unread(unread(text)) == unread(text)
