"""A classify rule that comes, changes or goes while the daemon runs decides from the next cycle on."""

from __future__ import annotations

import pytest
from loop_kit import Loop, hand_clock

from rsi.store import issues

TEXT = "the purple hamster badge of drawer {} blinked"


@pytest.fixture
def loop(tmp_path):
    with hand_clock():
        made = Loop(tmp_path)
        yield made
        made.close()


def say(loop: Loop, number: int) -> None:
    loop.send(loop.item(error={"message": TEXT.format(number)}, success=False))
    loop.pipeline.cycle()


def write(loop: Loop, category: str, phrase: str = "hamster") -> None:
    folder = loop.home.rules / "classify"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_text(
        f"{{id: mine, category: {category}, precedence: 990, confidence: 0.99, date: '2026-11-21',"
        f" match: {{any: [{{message: ['{phrase}']}}]}}}}\n",
        encoding="utf-8",
    )


def newest(loop: Loop) -> str:
    with loop.store.read() as conn:
        return max(issues.list_issues(conn)[0], key=lambda one: one.last_seen).category


def test_classify_rules_are_loaded_without_a_restart(loop):
    say(loop, 1)
    assert newest(loop) == "unknown"
    write(loop, "state_conflict")
    say(loop, 2)
    assert newest(loop) == "state_conflict"
    write(loop, "permission")
    say(loop, 3)
    assert newest(loop) == "permission"
    (loop.home.rules / "classify" / "mine.yaml").unlink()
    say(loop, 4)
    assert newest(loop) == "unknown"


def test_word_lists_are_loaded_without_a_restart(loop):
    folder = loop.home.rules / "words"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("words: {beast: [ferret]}\n", encoding="utf-8")
    write(loop, "state_conflict", "purple <beast>")
    say(loop, 1)
    assert newest(loop) == "unknown"
    (folder / "mine.yaml").write_text("words: {beast: [ferret, hamster]}\n", encoding="utf-8")
    say(loop, 2)
    assert newest(loop) == "state_conflict"


def test_a_rule_that_is_broken_while_the_daemon_runs_is_named_until_it_is_mended(loop):
    write(loop, "no_such_category")
    loop.pipeline.cycle()
    assert any("mine.yaml" in trouble for trouble in loop.pipeline.status()["troubles"])
    write(loop, "permission")
    loop.pipeline.cycle()
    assert not any("mine.yaml" in trouble for trouble in loop.pipeline.status()["troubles"])


def test_nothing_is_loaded_again_while_no_file_changes(loop):
    write(loop, "permission")
    loop.pipeline.cycle()
    taking = loop.pipeline._taking
    say(loop, 1)
    assert loop.pipeline._taking is taking
