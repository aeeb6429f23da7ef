"""Every row of the taxonomy has its rule, of the class that the row allows, with an example beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rsi import rules
from rsi.change import NEVER_RETRIED
from rsi.model import CATEGORIES
from rsi.rules import FixFacts, matching_fixes

#: Category → knobs that a rule marked safe may turn for it, and knobs that are proposed; none at all: a person is told.
ROWS = {
    "rate_limit": ({"retry", "max_concurrency"}, set()),
    "quota_exhausted": (set(), {"breaker", "stop"}),
    "overloaded": ({"retry", "fallbacks"}, {"breaker"}),
    "provider_5xx": ({"retry", "fallbacks"}, {"breaker"}),
    "timeout_model": ({"retry", "timeout_s", "fallbacks"}, set()),
    "timeout_tool": ({"retry", "timeout_s"}, set()),
    "connection": ({"retry"}, {"breaker"}),
    "auth": (set(), set()),
    "permission": (set(), set()),
    "model_not_found": (set(), {"fallbacks"}),
    "context_overflow": (set(), {"lessons"}),
    "output_truncated": ({"max_output_tokens"}, set()),
    "empty_response": ({"reask"}, set()),
    "refusal": (set(), set()),
    "invalid_request": (set(), set()),
    "output_parse": ({"reask"}, {"lessons"}),
    "schema_validation": ({"reask"}, {"lessons"}),
    "tool_args": (set(), {"lessons"}),
    "tool_unknown": (set(), {"lessons"}),
    "tool_execution": (set(), {"breaker"}),
    "no_progress": (set(), {"stop", "lessons"}),
    "budget_exceeded": (set(), {"stop"}),
    "chat_history_invalid": (set(), set()),
    "context_lost": (set(), set()),
    "state_conflict": ({"retry"}, set()),
    "missing_resource": (set(), {"lessons"}),
    "code_bug": (set(), set()),
    "resource_exhausted": ({"max_concurrency"}, set()),
    "mcp_transport": ({"retry"}, {"breaker"}),
    "quality": (set(), set()),
}
NEVER = {"auth", "permission", "refusal", "quality"}
RAISES = {"retry", "timeout_s", "max_output_tokens", "max_concurrency", "reask"}
FOLDER = rules.builtin_dir() / "fix"


@pytest.fixture(scope="module")
def loaded():
    found = rules.load("fix", [])
    assert not found.problems
    return found.rules


def test_the_table_has_every_category_that_is_a_failure():
    assert set(ROWS) == set(CATEGORIES) - {"not_a_failure", "unknown"}


@pytest.mark.parametrize("category", ROWS)
def test_a_row_is_answered_as_its_class_allows(loaded, category):
    about = [rule for rule in loaded if category in rule.categories]
    safe = {rule.change.knob for rule in about if rule.change and rule.safe}
    proposed = {rule.change.knob for rule in about if rule.change and not rule.safe}
    assert (safe, proposed) == ROWS[category]
    facts = FixFacts(category=category, failures=60, tasks=100, rate=0.6, idempotent=False)
    assert matching_fixes(loaded, facts), "somebody is told, whatever was declared"


@pytest.mark.parametrize("category", sorted(NEVER))
def test_what_is_never_touched_has_advice_only(loaded, category):
    assert all(rule.change is None for rule in loaded if category in rule.categories)


def test_no_rule_raises_a_limit_over_a_loop(loaded):
    for rule in loaded:
        if not {"no_progress", "budget_exceeded"}.isdisjoint(rule.categories) and rule.change:
            assert rule.change.knob not in RAISES, rule.id


def test_no_rule_repeats_what_is_never_repeated(loaded):
    for rule in loaded:
        if rule.change and rule.change.knob in {"retry", "reask"}:
            assert NEVER_RETRIED.isdisjoint([*rule.categories, *rule.change.value["on"]]), rule.id
            assert rule.change.knob == "reask" or rule.when.idempotent == "required", rule.id


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_file_has_an_example_for_each_of_its_rules_and_one_where_it_keeps_silent(path: Path):
    if path.name.endswith(".test.yaml"):
        assert path.with_name(path.name.replace(".test.", ".")).exists()
        return
    found = yaml.safe_load(path.read_text())
    ids = {rule["id"] for rule in found.get("rules", [found])}
    cases = yaml.safe_load(path.with_suffix("").with_suffix(".test.yaml").read_text())["cases"]
    named = {case["expect"].get("rule") for case in cases if case["expect"] != "silence"}
    assert ids <= named, ids - named
    assert any(case["expect"] == "silence" for case in cases)
