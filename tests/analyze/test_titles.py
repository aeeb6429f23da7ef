"""Titles say what an error says first, whatever is wrapped around it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsi.analyze import titles
from rsi.analyze.template import fingerprint
from rsi.model import Category
from rsi.store.titles import WIDTH, title


def of(text: str, category: str = "quality", error_type: str | None = None) -> str:
    return titles.of(Category(category, 1.0, "rule:x"), fingerprint(text, error_type), text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("429 Too Many Requests", "quality: 429 Too Many Requests"),
        ("Error: card 88172 declined", "quality: card … declined"),
        ("reward=0; database end state differs", "quality: database end state differs"),
        ("termination=user_stop\nDB end state mismatch", "quality: DB end state mismatch"),
        ("termination=max_steps", "quality: termination=max_steps"),
        ("check failed: refund\ncheck failed: refund", "quality: check failed: refund"),
        ("no seats left\nend state differs", "quality: no seats left · end state differs"),
        (
            "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    g()\nKeyError: 'x'",
            "quality: KeyError: 'x'",
        ),
    ],
)
def test_a_title_is_the_informative_part(text: str, wanted: str):
    assert of(text) == wanted


RATE = "Rate limit reached for gpt-4o in organization org-8aKq2LmN0p on tokens per min"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            f"Error code: 429 - {{'error': {{'message': '{RATE}', 'type': 'tokens', 'param': None}}}}",
            "429 Rate limit reached for gpt-4o in organization … on tokens per min",
        ),
        (
            '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded, try later"}}',
            "Overloaded, try later",
        ),
        (
            (
                "An error occurred (ThrottlingException) when calling the InvokeModel operation (reached max retries: 4):"
                " Too many requests"
            ),
            "ThrottlingException (InvokeModel): Too many requests",
        ),
        (
            (
                "HTTPSConnectionPool(host='api.example.com', port=443): Max retries exceeded with url: /v1/x (Caused by"
                " NewConnectionError('<urllib3.connection.HTTPSConnection object at 0x7f3b1c0d5e10>: Failed to establish"
                " a new connection'))"
            ),
            "NewConnectionError: Failed to establish a new connection",
        ),
        ("failed after 3 attempts: openai.APITimeoutError: Request timed out.", "APITimeoutError: Request timed out."),
        ("2024-05-13 10:22:11,123 ERROR connection reset by peer", "connection reset by peer"),
        (
            (
                "java.lang.RuntimeException: wrapped\n\tat com.acme.App.main(App.java:12)\n"
                "Caused by: java.io.IOException: disk full\n\t... 3 more"
            ),
            "IOException: disk full",
        ),
        (
            "TypeError: x is undefined here\n    at async main (/app/dist/index.js:40:3)",
            "TypeError: x is undefined here",
        ),
        ("I cannot help with that request.", "I cannot help with that request."),
        ("Expecting value here: line 1 column 1 (char 0)", "Expecting value here"),
        (
            (
                "Recursion limit of 25 reached without hitting a stop condition. You can increase the limit by setting the"
                " `recursion_limit` config key.\nFor troubleshooting, visit: https://example.com/errors"
            ),
            "Recursion limit of … reached without hitting a stop condition",
        ),
        ("请求超时，请稍后再试", "请求超时，请稍后再试"),
    ],
)
def test_wrappers_and_placeholders_are_not_what_a_person_reads(text: str, wanted: str):
    assert of(text, "unknown") == wanted


def test_untrusted_text_stays_plain():
    found = of("evil\x1b[31mred\x07\u202etxt\r\nand\x00 more \u200bof it\x9b2J", "unknown")
    assert found.isprintable()
    assert "red" in found


@given(st.text(max_size=400))
def test_a_title_is_one_bounded_line_whatever_the_text(text: str):
    found = of(text)
    assert found.isprintable()
    assert found.startswith("quality: ")
    assert len(found) <= WIDTH


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "part",
    [
        "in ",
        "failed after ",
        ", and ",
        "(",
        "<ts> ",
        "a.",
        "a=1, ",
        '{"message":',
        "(caused by x(",
        "\\a",
        "on: ",
        " …",
    ],
)
def test_hostile_texts_take_no_longer_than_others(part: str):
    for text in (part * 700 + "x", "{'message': '" + part * 700, "(caused by a(" + part * 700 + "!"):
        assert len(title("unknown", text[:2000], "X")) <= WIDTH
        assert of(text * 50)


def test_a_long_title_ends_at_a_word():
    found = of("the quick brown fox jumps over the lazy dog and then it " + "stumbles again " * 20)
    assert found.endswith(("stumbles…", "again…"))


def test_a_class_without_words_is_named_shortly():
    assert of("", "timeout_model", "httpx.ReadTimeout").startswith("timeout_model: ReadTimeout")
    assert title("code_bug", "'x'", "builtins.KeyError") == "code_bug: KeyError: 'x'"


def test_what_does_not_fit_is_counted():
    text = "\n".join(f"check failed: {word * 3}" for word in ("refund_", "booking_", "cancel_", "rename_"))
    assert of(text).endswith("(+3 more)")


def test_an_unknown_category_is_no_news():
    assert of("the cat ate it", "unknown") == "the cat ate it"


def test_a_type_stands_in_for_an_empty_text():
    assert title("auth", "", "AuthenticationError") == "auth: AuthenticationError"
    assert title("auth", "") == "auth: no error text"


def test_titles_are_bounded():
    assert len(of("word " * 4000)) <= WIDTH
    assert len(of("\n".join(["x" * 300] * 4000))) <= WIDTH
