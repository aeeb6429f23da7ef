"""A text of brackets or digits is a text: its issue does not say that there was none."""

from __future__ import annotations

import pytest
from analyze_world import World


@pytest.mark.parametrize("text", ["(" * 1_000_000, "9" * 1_000_000, "!!!", "((( ("])
def test_a_text_without_words_is_titled_as_one(world: World, text: str) -> None:
    world.fail(text)
    assert world.only().title == "text without words"


def test_a_class_still_stands_for_a_text_without_words(world: World) -> None:
    world.fail("???", error_type="TeapotError")
    assert "TeapotError" in world.only().title


def test_a_failure_without_a_text_still_says_so(world: World) -> None:
    world.add(status="failed", task="plan")
    world.cycle()
    assert world.only().title.startswith("no error text")
