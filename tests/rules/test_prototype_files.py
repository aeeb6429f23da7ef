"""Prototype files: the built-in ones are well-formed, a broken line is named and skipped, a user's are added and win."""

import json
from pathlib import Path

import pytest

from rsi import rules
from rsi.model import CATEGORIES
from rsi.rules import load_prototypes
from rsi.rules.prototypes import MOST


def write(tmp_path: Path, text: str, name: str = "mine.yaml") -> Path:
    folder = tmp_path / "rules" / "prototypes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return tmp_path / "rules"


def test_every_category_but_unknown_has_at_least_fifteen_builtin_prototypes():
    found = load_prototypes()
    assert found.problems == ()
    counted = {name: sum(one.category == name for one in found.prototypes) for name in CATEGORIES}
    assert counted.pop("unknown") == 0
    assert min(counted.values()) >= 15
    assert all(one.origin == "builtin" and one.line > 1 for one in found.prototypes)


def test_a_user_adds_prototypes_and_the_key_changes_with_any_of_them(tmp_path):
    folder = write(tmp_path, "category: auth\nprototypes:\n  - the badge reader blinked red\n")
    mine = load_prototypes([folder])
    (own,) = [one for one in mine.prototypes if one.origin == "user"]
    assert (own.category, own.text, own.line) == ("auth", "the badge reader blinked red", 3)
    assert mine.key != load_prototypes().key == load_prototypes([tmp_path / "nowhere"]).key


def test_the_same_text_under_another_category_replaces_the_builtin_one(tmp_path):
    taken = next(one for one in load_prototypes().prototypes if one.category == "auth")
    folder = write(tmp_path, f"category: permission\nprototypes:\n  - {json.dumps(taken.text.upper())}\n")
    found = [one for one in load_prototypes([folder]).prototypes if one.text.lower() == taken.text.lower()]
    assert [one.category for one in found] == ["permission"]
    assert rules.check([folder]) == []


@pytest.mark.parametrize(
    ("text", "line", "field", "said"),
    [
        ("- auth", 1, "file", "expected `category`"),
        ("category: nonsense\nprototypes: [the badge is red]", 1, "category", "not a category"),
        ("category: unknown\nprototypes: [who knows what it is]", 1, "category", "not a category"),
        ("category: auth\nprototype: [the badge is red]", 2, "prototype", "not a field"),
        ("category: auth\nprototypes: []", 2, "prototypes", "list of one-line texts"),
        ("category: auth\nprototypes:\n  - the badge is red\n  - 12", 4, "prototypes[1]", "put it in quotes"),
        ("category: auth\nprototypes:\n  - short", 3, "prototypes[0]", "5 characters"),
        ('category: auth\nprototypes:\n  - "two lines\\nof text"', 3, "prototypes[0]", "one line"),
        ("category: auth\nprototypes:\n  - the badge is red\n  - The badge is RED", 4, "prototypes", "already"),
        ("category: auth\nprototypes:\n" + "".join(f"  - badge number {n}\n" for n in range(MOST + 1)), 2, "prototypes", "at most"),
        ("category: auth\nprototypes: [", 3, "file", "not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_file_line_and_field_and_the_rest_loads(tmp_path, text, line, field, said):
    write(tmp_path, "category: auth\nprototypes: [a good one of mine]", "good.yaml")
    folder = write(tmp_path, text + "\n", "bad.yaml")
    found = load_prototypes([folder])
    (problem,) = found.problems
    assert Path(problem.file).name == "bad.yaml"
    assert (min(problem.line, line), problem.field) == (line, field)
    assert said in problem.message
    assert any(one.text == "a good one of mine" for one in found.prototypes)
    assert [str(one) for one in rules.check([folder])] == [str(problem)]
