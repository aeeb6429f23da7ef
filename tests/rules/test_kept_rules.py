"""A kept rule set is the one that its files make; what is not private, whole or of these files is not believed."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from rsi import rules
from rsi.rules import Matcher, kept, loader, pattern

RULE = """
id: mine
category: timeout_tool
precedence: 990
confidence: 0.9
date: 2026-11-21
match:
  any:
    - message: ['<gadget> ~ dawdled', 'sat (down|still) for ages']
      error_type: [Slow*]
    - code: [too_late]
  not_message: ['never mind <gadget>']
"""
TEXTS = (
    "SlowError: the gizmos have dawdled",
    "SlowError: never mind gizmo, it dawdled",
    "Error: the gizmos have dawdled",
    "SlowError: sat still for ages",
    "too_late",
    "429 Too Many Requests",
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name, text in (("words", "words: {gadget: [gizmo, 'left handed wrench']}"), ("classify", RULE)):
        (tmp_path / "rules" / name).mkdir(parents=True)
        (tmp_path / "rules" / name / "mine.yaml").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def only_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the built-in rules, which take a second."""
    (tmp_path / "none").mkdir()
    monkeypatch.setattr(loader, "builtin_dir", lambda: tmp_path / "none")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every time that rules were read from their files."""
    found: list[int] = []
    whole = loader._read

    def read(*args: object) -> rules.RuleSet:
        found.append(1)
        return whole(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(loader, "_read", read)
    return found


def load(home: Path) -> rules.RuleSet:
    pattern._phrases.clear()  # as in another process
    pattern._cache.clear()
    return rules.load("classify", [home / "rules"], keep=home / "state")


def file(home: Path) -> Path:
    (found,) = (home / "state").glob("rules-*.bin")
    return found


def decisions(loaded: rules.RuleSet) -> list[str | None]:
    decide = Matcher(loaded.rules).decide
    return [found.id if (found := decide(text)) else None for text in TEXTS]


def test_what_is_kept_is_the_same_rule_set_and_decides_the_same(home: Path, reads: list[int]) -> None:
    first = load(home)
    decided = decisions(first)
    phrases = dict(pattern._phrases)
    again = load(home)
    assert again == first
    assert decisions(again) == decided
    assert decided[0] == decided[4] == "mine"
    assert "mine" not in (decided[1], decided[2], decided[5])
    assert phrases | pattern._phrases == phrases, "what was found out of each phrase is the same"
    assert reads == [1]


@pytest.mark.usefixtures("only_ours")
def test_problems_are_kept_with_it(home: Path, reads: list[int]) -> None:
    (home / "rules" / "classify" / "bad.yaml").write_text("id: 3\n", encoding="utf-8")
    first = load(home)
    assert first.problems
    assert load(home).problems == first.problems
    assert reads == [1]


@pytest.mark.usefixtures("only_ours")
@pytest.mark.parametrize("what", ["words", "classify"])
def test_a_changed_file_is_read_again(
    home: Path, reads: list[int], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    load(home)
    path = home / "rules" / what / "mine.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("gizmo", "wheel").replace("0.9", "0.8"), encoding="utf-8")
    changed = load(home)
    assert decisions(changed)[3] == "mine"
    assert reads == [1, 1]
    assert load(home) == changed
    assert reads == [1, 1]
    assert not caplog.records, "older is no damage"


@pytest.mark.usefixtures("only_ours")
@pytest.mark.parametrize("at", [0, 20, 60, -1])
def test_a_damaged_file_is_said_and_made_anew(
    home: Path, reads: list[int], at: int, caplog: pytest.LogCaptureFixture
) -> None:
    first = load(home)
    raw = bytearray(file(home).read_bytes())
    raw[at] ^= 1
    file(home).write_bytes(raw)
    with caplog.at_level(logging.WARNING):
        assert load(home) == first
    assert "damaged" in caplog.text
    assert load(home) == first
    assert reads == [1, 1]


@pytest.mark.usefixtures("only_ours")
def test_a_file_that_is_whole_and_makes_no_sense_is_made_anew(
    home: Path, reads: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    first = load(home)
    key = file(home).read_bytes()[:16]
    kept.write(file(home), key, b"\x93\x01\x02\x03")
    assert load(home) == first
    assert "cannot be understood" in caplog.text
    assert reads == [1, 1]


@pytest.mark.usefixtures("only_ours")
@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_what_others_may_write_or_a_link_is_not_read(
    home: Path, reads: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    first = load(home)
    file(home).chmod(0o660)
    assert load(home) == first
    assert "not a private file" in caplog.text
    assert file(home).stat().st_mode & 0o777 == 0o600
    elsewhere = file(home).rename(home / "elsewhere")
    (home / "state" / "x").touch()
    link = home / "state" / f"rules-{elsewhere.name}.bin"
    link.symlink_to(elsewhere)
    assert kept.read(link, elsewhere.read_bytes()[:16]) is None
    assert reads == [1, 1]


@pytest.mark.usefixtures("only_ours")
def test_a_place_that_cannot_be_written_costs_time_only(home: Path, reads: list[int]) -> None:
    (home / "state").write_text("a file where the folder should be", encoding="utf-8")
    assert load(home) == load(home)
    assert reads == [1, 1]
