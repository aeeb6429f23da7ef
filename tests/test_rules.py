"""Rule files: every built-in one does what its examples say, a broken one is named and skipped, a user's one wins."""

import re
import textwrap
from pathlib import Path

import pytest

from rsi import rules
from rsi.model import CATEGORIES
from rsi.rules import FixFacts, load, match_fix, matching_fixes
from rsi.rules.pattern import PhraseError, compile_phrase
from rsi.rules.source import MAX_BYTES

GOOD = """\
id: mine
category: rate_limit
precedence: 990
confidence: 0.9
date: 2026-11-21
match:
  any:
    - message: ['the hamster is tired']
"""
TRANSIENT = ("rate_limit", "overloaded", "provider_5xx", "connection", "timeout_model", "timeout_tool", "mcp_transport")
NEVER_RETRIED = ("quota_exhausted", "auth", "permission", "refusal", "invalid_request", "not_a_failure")


def home_rules(tmp_path: Path, text: str, kind: str = "classify", name: str = "mine.yaml") -> Path:
    folder = tmp_path / "rules" / kind
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return tmp_path / "rules"


def only_problem(folder: Path, kind: rules.Kind = "classify") -> rules.Problem:
    loaded = load(kind, [folder])
    assert len(loaded.problems) == 1, [str(problem) for problem in loaded.problems]
    return loaded.problems[0]


@pytest.mark.parametrize("kind", ["classify", "fix"])
def test_every_builtin_rule_does_what_its_examples_say(kind):
    results = rules.test(kind)
    assert [str(failure) for result in results for failure in result.failures] == []
    assert results
    assert all(result.total > 0 for result in results)


def test_builtin_rules_are_well_formed_and_have_examples_beside_them():
    assert [str(problem) for problem in rules.check([rules.builtin_dir()])] == []


def test_every_category_but_unknown_has_a_rule_that_can_say_it():
    assert {rule.category for rule in load("classify").rules} == set(CATEGORIES) - {"unknown"}


def test_rules_come_highest_precedence_first():
    precedences = [rule.precedence for rule in load("classify").rules]
    assert precedences == sorted(precedences, reverse=True)


def test_a_users_rule_is_added_and_marked_as_the_users(tmp_path):
    loaded = load("classify", [home_rules(tmp_path, GOOD)])
    found = next(rule for rule in loaded.rules if rule.id == "mine")
    assert (found.origin, found.line, loaded.problems) == ("user", 1, ())


def test_a_users_rule_replaces_the_builtin_one_of_the_same_id(tmp_path):
    loaded = load("classify", [home_rules(tmp_path, GOOD.replace("id: mine", "id: rate-limit-class"))])
    found = [rule for rule in loaded.rules if rule.id == "rate-limit-class"]
    assert [rule.origin for rule in found] == ["user"]


def test_a_second_rule_of_the_same_id_in_one_home_is_named_and_skipped(tmp_path):
    home_rules(tmp_path, GOOD)
    problem = only_problem(home_rules(tmp_path, GOOD, name="zz.yaml"))
    assert problem.field == "id"
    assert "mine.yaml:1" in problem.message


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        ("category: rate_limit", "category: rate_limits", 2, "category"),
        ("precedence: 990", "precedence: 99000", 3, "precedence"),
        ("confidence: 0.9", "confidence: high", 4, "confidence"),
        ("date: 2026-11-21", "date: yesterday", 5, "date"),
        ("date: 2026-11-21", "date: 2026-11-21\norigin: builtin", 6, "origin"),
        ("    - message: ['the hamster is tired']", "    - mesage: ['the hamster']", 8, "match.any[0].mesage"),
        ("['the hamster is tired']", "['(hamster']", 8, "match.any[0].message[0]"),
        ("['the hamster is tired']", "['fine hamster', 'hamster.*']", 8, "match.any[0].message[1]"),
        ("message: ['the hamster is tired']", "status: [4yy]", 8, "match.any[0].status[0]"),
        ("message: ['the hamster is tired']", "error_type: ['Ham ster']", 8, "match.any[0].error_type[0]"),
        ("message: ['the hamster is tired']", "not_message: ['hamster']", 8, "match.any[0]"),
        ("id: mine", "id: !!python/object:os.system x", 1, "id"),
        ("id: mine", "id: mine\nid: yours", 2, "file"),
    ],
)
def test_a_broken_rule_names_file_line_and_field_and_stops_no_other(tmp_path, old, new, line, field):
    folder = home_rules(tmp_path, GOOD.replace(old, new))
    home_rules(tmp_path, GOOD.replace("id: mine", "id: other"), name="other.yaml")
    problem = only_problem(folder)
    assert (problem.line, problem.field) == (line, field)
    assert str(problem).startswith(f"{folder}/classify/mine.yaml:{line}: {field}: ")
    assert "other" in {rule.id for rule in load("classify", [folder]).rules}


def test_one_broken_rule_of_a_file_leaves_its_neighbours(tmp_path):
    rule = "\n    ".join(GOOD.splitlines())
    text = f"rules:\n  - {rule}\n  - {rule.replace('id: mine', 'id: worse').replace('0.9', '9')}\n"
    loaded = load("classify", [home_rules(tmp_path, text)])
    assert "mine" in {rule.id for rule in loaded.rules}
    assert [problem.field for problem in loaded.problems] == ["rules[1].confidence"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x [1]\nb: *x\n", "aliases"),
        ("[" * 40 + "]" * 40, "nested deeper"),
        ("id: [", "not YAML"),
        ("x" * (MAX_BYTES + 1), "over the limit"),
        ("just words", "expected a rule"),
        ("rules: 3", "expected a list"),
        ("", "expected a rule"),
    ],
)
def test_a_hostile_or_senseless_file_is_one_problem(tmp_path, text, says):
    assert says in only_problem(home_rules(tmp_path, text)).message


def test_a_file_that_is_not_text_is_one_problem(tmp_path):
    folder = home_rules(tmp_path, GOOD)
    (folder / "classify" / "mine.yaml").write_bytes(b"id: \xff\xfe")
    assert "not UTF-8" in only_problem(folder).message


@pytest.mark.parametrize(
    "phrase",
    ["ham.*", "ham+", "(?=ham)ster", r"(ham)\1", "((ham){0,4}){0,9}ster", "ham{0,900}", "a|b", "ham ~ a ~ b ~ c", "(ham", "ham)",
     "[ham", "ham{2", "h" * 30_000, "ham[z-a]", "ham??", r"ham\n"],
)  # fmt: skip
def test_a_phrase_that_could_take_long_is_refused(phrase):
    with pytest.raises(PhraseError):
        compile_phrase(phrase)


@pytest.mark.parametrize(
    ("phrase", "text", "matches"),
    [
        ("rate limit", "your rate_limit is", True),
        ("rate limit", "your rate  limit is", True),
        ("rate limit", "corporate limit", False),
        ("tool ~ timed out", "tools have timed out", True),
        ("tool ~ timed out", "tool timed out", True),
        ("tool ~ timed out", "tool " + "x " * 60 + "timed out", False),
        ("isn't here", "isnt here", True),
        ("isn't here", "isn\u2019t here", True),
        (r"code \d{3}\b", "code 404", True),
        ("请求(过于)?频繁", "请求过于频繁", True),
    ],
)
def test_what_a_phrase_matches(phrase, text, matches):
    assert compile_phrase(phrase).found(text) is matches


def test_the_rules_of_the_reference_pass_the_examples_of_the_reference(tmp_path):
    text = (rules.builtin_dir().parent / "docs" / "reference" / "rules.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?m)(?:^    .*\n)+(?:\n?(?:^    .*\n)+)*", text)
    rule, examples, fix, cases = (textwrap.dedent(block) for block in blocks[1:5])
    folder = home_rules(tmp_path, rule)
    home_rules(tmp_path, examples, name="mine.test.yaml")
    home_rules(tmp_path, fix, kind="fix")
    home_rules(tmp_path, cases, kind="fix", name="mine.test.yaml")
    assert rules.check([folder]) == []
    assert [
        result.failures for kind in ("classify", "fix") for result in rules.test(kind, [folder]) if not result.ok
    ] == []


def test_check_says_that_examples_are_missing(tmp_path):
    folder = home_rules(tmp_path, GOOD)
    assert ["mine.test.yaml" in problem.message for problem in rules.check([folder])] == [True]


def test_a_wrong_example_fails_its_file_with_the_line(tmp_path):
    folder = home_rules(tmp_path, GOOD)
    home_rules(tmp_path, "must:\n  - the hamster is tired\n  - a cat\nmust_not:\n  - x\n", name="mine.test.yaml")
    result = next(result for result in rules.test("classify", [folder]) if "mine" in result.rules)
    assert (result.passed, result.total, result.ok) == (2, 3, False)
    assert [(failure.line, failure.field) for failure in result.failures] == [(3, "must[1]")]


def test_a_rule_that_does_not_load_fails_the_test_run(tmp_path):
    folder = home_rules(tmp_path, GOOD.replace("rate_limit", "nonsense"))
    assert [result.ok for result in rules.test("classify", [folder])].count(False) == 1


def fixes(category: str, *, failures: int = 50, idempotent: bool = True, fallbacks: tuple[str, ...] = ()):
    facts = FixFacts(
        category=category, failures=failures, tasks=100, rate=failures / 100, idempotent=idempotent, fallbacks=fallbacks
    )
    return matching_fixes(load("fix").rules, facts)


@pytest.mark.parametrize("category", sorted(set(CATEGORIES) - {"unknown", "not_a_failure"}))
def test_every_failure_category_has_something_to_say_to_a_person(category):
    assert fixes(category, idempotent=False)


@pytest.mark.parametrize("category", TRANSIENT)
def test_a_retry_is_the_first_choice_for_what_passes_by_itself(category):
    first = fixes(category)[0]
    assert (first.id, first.may_apply) == ("retry-transient", True)
    assert category in first.change.value["on"]


@pytest.mark.parametrize("category", TRANSIENT)
def test_nothing_is_retried_that_was_not_declared_repeatable(category):
    assert "retry" not in {rule.change.knob for rule in fixes(category, idempotent=False) if rule.change}


@pytest.mark.parametrize("category", NEVER_RETRIED)
def test_no_builtin_rule_applies_anything_by_itself_where_only_a_person_can_help(category):
    found = fixes(category, fallbacks=("small",))
    assert not [rule.id for rule in found if rule.may_apply]
    assert "retry" not in {rule.change.knob for rule in found if rule.change}


def test_no_retry_rule_lists_a_category_that_is_never_retried():
    for rule in load("fix").rules:
        if rule.change and rule.change.knob == "retry":
            assert not set(rule.categories) & set(NEVER_RETRIED)
            assert not set(rule.change.value["on"]) & set(NEVER_RETRIED)


def test_a_users_fix_rule_goes_before_the_builtin_one_on_the_same_knob_and_only_proposes(tmp_path):
    text = """\
id: my-retry
title: Once more
date: 2026-11-21
categories: [connection]
change: {knob: retry, value: {max_attempts: 2, on: [connection]}}
safe: true
why: It helps here.
suggest: Retry once.
"""
    loaded = load("fix", [home_rules(tmp_path, text, kind="fix")])
    facts = FixFacts(category="connection", failures=9, tasks=90, rate=0.1, idempotent=True)
    retry = [rule for rule in matching_fixes(loaded.rules, facts) if rule.change and rule.change.knob == "retry"]
    assert [(rule.id, rule.may_apply) for rule in retry] == [("my-retry", False)]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("{knob: retries, value: {}}", "change.knob"),
        ("{knob: retry, value: {max_attempts: 0}}", "change.value.max_attempts"),
        ("{knob: retry, value: {attempts: 3}}", "change.value.attempts"),
        ("{knob: retry, value: {on: [weather]}}", "change.value.on[0]"),
        ("{knob: timeout_s, value: {scale: 1.5, of: moon, default: 3}}", "change.value.of"),
        ("{knob: timeout_s, value: fast}", "change.value"),
        ("{knob: reask, value: {max: 9}}", "change.value.max"),
    ],
)
def test_a_fix_whose_value_does_not_fit_its_knob_is_refused(tmp_path, change, field):
    text = f"id: bad\ntitle: t\ndate: 2026-11-21\ncategories: [connection]\nchange: {change}\nwhy: w\nsuggest: s\n"
    assert only_problem(home_rules(tmp_path, text, kind="fix"), "fix").field == field


def test_a_match_says_which_condition_was_missing():
    rule = next(rule for rule in load("fix").rules if rule.id == "retry-transient")
    found = match_fix(rule, FixFacts(category="connection", failures=2))
    assert not found
    assert found.why == "2 failures in 24h, the rule needs 3"
