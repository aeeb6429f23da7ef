"""What a rule allows its fix to cost: read with its bounds, kept on the fix, and what its side effects are held against."""

import msgspec
import pytest
from loop_kit import Loop, hand_clock, rule

from rsi import rules
from rsi.rules import Allowance
from rsi.store import fixes
from rsi.verify import guards, watch

RULE = """
id: my-retry
title: Retry the vendor once
date: 2026-11-21
categories: [overloaded]
change: {{knob: retry, value: {{max_attempts: 2, on: [overloaded]}}}}
allowance: {{{allowance}}}
why: The vendor is busy for a second at a time.
suggest: Retry once after a second.
"""


def checked(path, allowance):
    file = path / "rules" / "fix" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(RULE.format(allowance=allowance))
    file.with_name("mine.test.yaml").write_text("cases: []\n")
    return [str(one) for one in rules.check([file])]


@pytest.mark.parametrize("name", ["calls", "latency", "tokens", "cost", "other"])
def test_each_side_effect_may_be_allowed(tmp_path, name):
    assert checked(tmp_path, f"extra_{name}: 0.4") == []


@pytest.mark.parametrize("value", ["-0.1", "11", ".inf", "-.inf", ".nan", "many", "true", "'0.2'"])
@pytest.mark.parametrize("name", ["extra_calls", "extra_latency"])
def test_what_would_guard_nothing_is_refused_by_line_and_field(tmp_path, name, value):
    (said,) = checked(tmp_path, f"{name}: {value}")
    assert "mine.yaml:7: allowance" in said
    assert name in said


def test_an_allowance_that_nobody_knows_is_refused_by_name(tmp_path):
    (said,) = checked(tmp_path, "extra_luck: 1")
    assert "extra_luck" in said


def test_the_fix_keeps_what_its_rule_allowed_and_is_held_against_it(tmp_path):
    generous = msgspec.structs.replace(rule(), allowance=Allowance(extra_calls=0.5, extra_latency=2.0, extra_cost=0.0))
    with hand_clock():
        loop = Loop(tmp_path, rules=[generous])
        loop.client()
        loop.fail(n=15, ok=35)
        loop.pipeline.cycle()
        assert loop.fix().evidence["allowance"] == {"extra_calls": 0.5, "extra_latency": 2.0, "extra_cost": 0.0}
        with loop.store.read() as conn:
            allowed = watch.load_guards(conn, fixes.get(conn, 1)).allowed
        loop.close()
    own = guards.OF_KNOB["retry"]
    assert (allowed.calls, allowed.tokens, allowed.latency) == (0.5, 0.5, 2.0)
    assert (allowed.cost, allowed.other) == (own.cost, own.other)
