"""Titles say what an error says first, whatever is wrapped around it."""

from __future__ import annotations

import pytest

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
        ("Error: card 88172 declined", "quality: card <num> declined"),
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


def test_what_does_not_fit_is_counted():
    text = "\n".join(f"check failed: {word * 3}" for word in ("refund_", "booking_", "cancel_", "rename_"))
    assert of(text).endswith("(+2 more)")


def test_an_unknown_category_is_no_news():
    assert of("the cat ate it", "unknown") == "the cat ate it"


def test_a_type_stands_in_for_an_empty_text():
    assert title("auth", "", "AuthenticationError") == "auth: AuthenticationError"
    assert title("auth", "") == "auth: no error text"


def test_titles_are_bounded():
    assert len(of("word " * 4000)) <= WIDTH
    assert len(of("\n".join(["x" * 300] * 4000))) <= WIDTH
