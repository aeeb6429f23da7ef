"""Word lists of the phrase language."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsi import rules
from rsi.rules.pattern import MAX_LENGTH, PhraseError, compile_phrase
from rsi.rules.words import MAX_ENTRIES, expand, load_words

RULE = """
id: my-tool-late
category: timeout_tool
precedence: 990
confidence: 0.9
date: 2026-11-21
match:
  any:
    - message: ['<gadget> ~ dawdled']
"""


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder.parent


def test_a_list_stands_for_each_of_its_entries(tmp_path):
    home = write(tmp_path / "words", "mine.yaml", "words: {gadget: [gizmo, 'left handed wrench', 扳手]}")
    write(tmp_path / "classify", "mine.yaml", RULE)
    loaded = rules.load("classify", [home])
    assert loaded.problems == ()
    decide = rules.Matcher(loaded.rules)
    for text in ("the gizmos have dawdled", "left-handed wrench just dawdled", "扳手 dawdled"):
        found = decide.decide(text)
        assert found is not None
        assert found.id == "my-tool-late"
    found = decide.decide("the hamster dawdled")
    assert found is None


def test_a_home_adds_to_a_built_in_list(tmp_path):
    home = write(tmp_path / "words", "mine.yaml", "words: {tool: [hamsterwheel]}")
    lists, problems = load_words([rules.builtin_dir(), home])
    assert problems == []
    assert {"hamsterwheel", "tool"} <= {*lists["tool"]}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("tool: [x]", 1, "expected `words:`"),
        ("words:\n  tool: 3", 2, "expected a list of phrases"),
        ("words:\n  tool: [yes]", 2, "quote"),
        ("words:\n  TOOL: [x]", 2, "lower-case"),
        ("words:\n  tool:\n    - fine\n    - 'ham*'", 4, "ham*"),
        ("words: {tool: &a [x], gadget: *a}", 1, "aliases"),
    ],
)
def test_a_broken_list_is_named_by_line_and_skipped(tmp_path, text, line, says):
    home = write(tmp_path / "words", "mine.yaml", text)
    _, problems = load_words([home])
    assert [(one.line, says in str(one)) for one in problems] == [(line, True)]
    assert any(str(home) in str(one) for one in rules.check([home]))


def test_a_list_that_is_too_long_is_refused(tmp_path):
    entries = ", ".join(f"w{n}" for n in range(MAX_ENTRIES + 1))
    _, problems = load_words([write(tmp_path / "words", "mine.yaml", f"words: {{tool: [{entries}]}}")])
    assert "limit" in problems[0].message


def test_a_rule_that_names_no_list_is_skipped_and_says_which_there_are(tmp_path):
    home = write(tmp_path / "classify", "mine.yaml", RULE)
    (problem,) = rules.load("classify", [home]).problems
    assert "no word list 'gadget'" in problem.message
    assert "tool" in problem.message


def test_a_phrase_is_limited_as_written_and_as_written_out():
    with pytest.raises(PhraseError, match=str(MAX_LENGTH)):
        expand("h" * (MAX_LENGTH + 1), {})
    with pytest.raises(PhraseError, match="written out"):
        expand("<long>", {"long": ("h" * 400,) * 100})


def test_alternatives_that_cannot_match_at_one_place_are_not_counted_as_ways():
    many = "|".join(f"t{n}word" for n in range(300))
    assert compile_phrase(f"({many}) ~ ({many}) ~ gone").found("t7word of t8word is gone")
    nested = "|".join("t" * n for n in range(3, 60))
    with pytest.raises(PhraseError, match="ways"):
        compile_phrase(f"({nested}) ~ ({nested}) ~ ({nested}) gone")


SHORT = "words:\n  timed-out:\n    - dozed off\n    - zz\n    - gave up the ghost\n"


def test_an_entry_that_a_built_in_phrase_cannot_bear_is_left_out_and_its_own_file_blamed(tmp_path):
    home = write(tmp_path / "words", "mine.yaml", SHORT)
    before, loaded = rules.load("classify"), rules.load("classify", [home])
    assert [rule.id for rule in loaded.rules] == [rule.id for rule in before.rules]
    (problem,) = loaded.problems
    assert (problem.file, problem.line, problem.field) == (str(home / "words" / "mine.yaml"), 4, "words.timed-out[1]")
    assert "'zz' is left out" in problem.message
    assert rules.check([home]) == [problem]
    decide = rules.Matcher(loaded.rules).decide
    assert decide("the tool dozed off").category == "timeout_tool"
    assert decide("the tool timed out after 30 s").category == "timeout_tool"


def test_a_list_that_makes_built_in_phrases_too_long_loses_only_what_is_too_much(tmp_path):
    many = "\n".join(f"    - {'dawdled ' * 30}{n:03}" for n in range(300))
    home = write(tmp_path / "words", "mine.yaml", f"words:\n  timed-out:\n{many}\n")
    loaded = rules.load("classify", [home])
    assert len(loaded.rules) == len(rules.load("classify").rules)
    assert loaded.problems
    assert {problem.file for problem in loaded.problems} == {str(home / "words" / "mine.yaml")}
    assert len(loaded.problems) < 300
    assert rules.Matcher(loaded.rules).decide(f"the tool {'dawdled ' * 30}000").category == "timeout_tool"


def test_a_list_of_ones_own_is_nobody_elses_business(tmp_path):
    home = write(tmp_path / "words", "mine.yaml", "words: {gadget: [zz]}")
    assert rules.load("classify", [home]).problems == ()
    assert rules.check([home]) == []
