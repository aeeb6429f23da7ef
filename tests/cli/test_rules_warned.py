"""`rsi rules check` says which rule for fixes can do nothing, and is content with it otherwise."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from rsi.cli import cli

RULE = """\
rules:
  - id: mine
    title: Mine
    categories: [{categories}]
    why: It passes.
    suggest: Wait.
    date: 2026-11-01
    change: {{knob: {knob}, value: {value}}}
"""
CASES = """\
cases:
  - facts: {{category: {category}, failures: 1000, tasks: 1000, rate: 1.0, idempotent: true}}
    expect: {{rule: mine}}
"""
RETRY = "{max_attempts: 3, on: [rate_limit]}"


def checked(tmp_path, *options, categories="rate_limit", knob="retry", value=RETRY):
    folder = tmp_path / "rules" / "fix"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(RULE.format(categories=categories, knob=knob, value=value))
    (folder / "mine.test.yaml").write_text(CASES.format(category=categories.split(",")[0]))
    return CliRunner().invoke(cli, ["--home", str(tmp_path), "rules", "check", *options])


@pytest.mark.parametrize(
    ("knob", "value", "categories", "named"),
    [
        ("retry", RETRY, "rate_limit, quota_exhausted, auth", "quota_exhausted, auth"),
        ("retry", "{max_attempts: 3, on: [rate_limit, refusal]}", "rate_limit", "refusal"),
        ("reask", "{max: 1}", "quality", "quality"),
    ],
)
def test_a_rule_whose_categories_never_get_its_knob_is_a_warning(tmp_path, knob, value, categories, named):
    found = checked(tmp_path, knob=knob, value=value, categories=categories)
    assert found.exit_code == 0, found.output
    (warning,) = [line for line in found.output.splitlines() if line.startswith("warning: ")]
    assert "mine.yaml:2: categories: mine: " in warning
    assert f"no fix ever gives {knob} for {named}, whatever" in warning


def test_a_warning_stands_in_the_json(tmp_path):
    found = json.loads(checked(tmp_path, "--json", categories="auth").output)
    assert found["problems"] == []
    assert len(found["warnings"]) == 1


@pytest.mark.parametrize(("knob", "value"), [("retry", RETRY), ("timeout_s", "20")])
def test_a_rule_that_can_do_something_is_none(tmp_path, knob, value):
    assert "warning" not in checked(tmp_path, knob=knob, value=value).output
