"""Texts with one key have one category: whatever the digits are, whatever the rules name, in any order."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsi.classify import Classifier
from rsi.rules import load, noise, signals, spelt
from rsi.rules.alike import Alike
from rsi.rules.shape import ClassifyRule, Condition, Match

RULES = Classifier(load("classify").rules)
#: Numbers that some rule reads, and others.
NUMBERS = [
    "0", "1", "2", "9", "12", "24", "60", "137", "139", "143", "200", "255", "401", "402", "403", "404", "407", "408", "413",
    "418", "429", "499", "500", "502", "503", "504", "529", "777", "1006", "4096", "8192", "11434", "23505", "32601", "32602",
    "40001", "99999", "128000",
]  # fmt: skip
TEXTS = [
    "got HTTP response {} from proxy", "call failed [{}]", "request failed ({})", "MCP error -{}: nothing of the kind",
    "<Response [{}]>", "APIError: {}", "failed: {}", "status was {}", "got {} from server", "[{}] call failed",
    "Process exited with {}", "command exited with code {} after {} s", "search gave {} results for {} queries",
    "openai.APIStatusError: Error code: {} - {{'error': {{'message': 'slow', 'code': '{}'}}}}",
    "2026-11-21 04:1{}:11,{} [WARN] app.loop:{} - upstream said HTTP/1.1 {} on try {} of {}",
    "failed after {} attempts: HTTPStatusError: {} for url https://api.example.com/v{}/x?id={}",
    'Traceback (most recent call last):\n  File "/app/a.py", line {}, in f\n    g()\nHTTPError{}: {} Server Error',
    "task call_{}ab{}cd failed: {} of {} rows, {} too many requests", '{{"level": "error", "attempt": {}, "status": {}, "n": {}}}',
    "maximum context length is {} tokens, you asked for {}", "[Errno {}] no", "caf\\u00e{} said {}", "port {} is in use, errno {}",
]  # fmt: skip
FILLED = st.sampled_from(TEXTS).flatmap(
    lambda text: st.lists(st.sampled_from(NUMBERS), min_size=7, max_size=7).map(lambda numbers: text.format(*numbers))
)


@given(st.lists(FILLED, min_size=2, max_size=40), st.sampled_from([None, "APIError", "openai.RateLimitError"]))
@settings(max_examples=25, deadline=None)
def test_a_key_that_was_met_before_stands_for_the_same_category(texts: list[str], kind: str | None):
    fresh = Classifier(RULES._rules)
    known: dict[object, object] = {}
    for text in texts * 2:  # the second time shapes are known
        key, found = fresh.key(text), RULES(text, kind)
        if key is not None:
            assert known.setdefault(key, found) == found, text


def test_texts_that_differ_in_ids_and_counts_only_have_one_key():
    alike = [
        f"RateLimitError: order 55{n}1 of org-Ab{n}dEfGh1{n}Jk failed in request 8f3a{n}c1b: rate limit reached"
        for n in range(9)
    ]
    keys = [RULES.key(text) for text in alike][1:]
    assert None not in keys
    assert len(set(keys)) == 1


def test_a_text_is_not_looked_into_before_its_shape_comes_again():
    fresh = Alike(load("classify").rules)
    assert fresh.key("one 12 two") is None
    assert fresh.key("one 34 two") is not None


def rule(**match: object) -> ClassifyRule:
    return ClassifyRule(
        id="mine", category="auth", match=Match(any=[Condition(**match)]), precedence=900, confidence=0.9, date="2026-11-21",
        origin="user",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        ({"message": ["gadget 7[0-4]"]}, "gadget 73 broke", "gadget 79 broke"),
        ({"message": ["gadget [^1]x"]}, "gadget 2x", "gadget 1x"),
        ({"message": ["gadget ~ 42"]}, "gadget number 8 of 42", "gadget number 8 of 43"),
        ({"message": ["gadget~9"]}, "gadgets are 55 or 59", "gadgets are 55 or 58"),
        ({"message": [r"gadget \d{2,3}5"]}, "gadget 9995", "gadget 9994"),
        ({"message": ["(12|345)gadgets"]}, "345gadgets", "678gadgets"),
        ({"message": ["gadget 1?2 lost"]}, "gadget 12 lost", "gadget 92 lost"),
        ({"message": [r"\b(417|418)\b"]}, "gadgets: 418, not 5", "gadgets: 419, not 5"),
        ({"message": ["417"]}, "gadget 417", "gadget 419"),
        ({"code": ["E77"]}, "code e77 here", "code e78 here"),
        ({"error_type": ["Gadget5*"]}, "Gadget51Error: no", "Gadget61Error: no"),
        ({"status": [418]}, "Error code: 418 - tea", "Error code: 400 - tea"),
    ],
)
def test_whatever_digits_a_rule_reads_are_part_of_the_key(match: dict[str, object], yes: str, no: str):
    alike, decide = Alike([rule(**match)]), Classifier([rule(**match)])
    assert (decide(yes).name, decide(no).name) == ("auth", "unknown")
    keys = [alike.key(text) for text in (yes, no, yes, no)][2:]
    assert keys[0] is None or keys[0] != keys[1]


def test_a_text_with_more_numbers_than_are_read_has_no_key():
    text = "status " + "404 " * 60
    assert RULES.key(text) is None
    assert RULES.key(text) is None


def test_a_megabyte_of_digits_has_a_key_without_much_ado():
    for text in ("9" * 1_000_000, "1 " * 500_000, "404 (502) " * 100_000, "a1" * 500_000):
        RULES.key(text)
        RULES.key(text)


#: `_ESCAPED` reads hexadecimal digits, and the key is that of the decoded text; `_NUMBER` is where statuses begin.
READS_DIGITS = {("noise", "_ESCAPED"), ("signals", "_NUMBER")}
UNREAD = re.compile(r"\\u[0-9a-f]{4}|\{\d*,?\d*\}|\\\d|\[[^\]]*(?:\\\]|\\d|0-9)[^\]]*\]|\(\?P<\w+>")


def test_what_prepares_a_text_for_the_rules_asks_whether_a_digit_stands_somewhere_and_never_which():
    for module in (noise, signals, spelt):
        for name, pattern in vars(module).items():
            place = (module.__name__.rpartition(".")[2], name)
            if isinstance(pattern, re.Pattern) and place not in READS_DIGITS:
                assert not re.search(r"\d", UNREAD.sub("", pattern.pattern)), place
