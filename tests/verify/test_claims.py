"""Agents that say that they are in arms which nobody gave them: it is seen, and nothing is verified meanwhile."""

import json

import pytest
from click.testing import CliRunner
from loop_kit import Loop, hand_clock

from rsi import clock
from rsi.cli import cli
from rsi.policy import effective
from rsi.store.arms import ArmCounts
from rsi.store.trials import Counts
from rsi.verify import decide


@pytest.fixture
def time():
    with hand_clock() as made:
        yield made


@pytest.fixture
def loop(tmp_path, time):
    made = Loop(tmp_path)
    made.client()
    made.fail(n=15, ok=35, category="provider_5xx")
    made.pipeline.cycle()
    yield made
    made.close()


def drive(loop, time, every, steps=20):
    """A fix that helps; each `every`th unit, whatever arm is its own, says the other one."""
    other = {"fixed": "control", "control": "fixed"}
    for _ in range(steps):
        policy = loop.pipeline.policy()
        items = []
        for _ in range(20):
            refs = effective(policy, "app", "search", f"c{loop.calls + 1}", ("retry",), clock.now()).fixes
            lies = loop.calls % every == 0
            failed = loop.random.random() < (0.05 if any(ref.arm == "fixed" for ref in refs) else 0.6)
            told = [
                {"id": r.id, "arm": other[r.arm] if lies else r.arm, "f": r.f, "stage": r.stage, "enforced": True}
                for r in refs
            ]
            items.append(loop.item(category="provider_5xx" if failed else None, fixes=told))
        loop.send(*items)
        time.forward(60.0)
        loop.pipeline.cycle()
        if loop.fix().state != "canary":
            break
    return loop.fix()


def shown(loop, *more):
    return CliRunner().invoke(cli, ["--home", str(loop.home.path), "fix", "f1", *more]).output


def test_while_half_of_the_reports_claim_another_arm_nothing_is_verified_and_the_text_says_why(loop, time):
    fix = drive(loop, time, every=2)
    assert (fix.state, fix.verdict.outcome) == ("canary", "undecided")
    claimed = loop.trial().counts
    assert fix.verdict.why.startswith(f"{claimed.claimed:.0%} of the reports claimed an arm that was not drawn")
    assert f"left out: mismatched {claimed.mismatched}" in fix.verdict.why


def test_a_few_claims_hold_nothing_up_and_stay_visible(loop, time):
    fix = drive(loop, time, every=37)
    assert fix.verdict.outcome == "verified"
    assert loop.trial().counts.mismatched > 0
    assert "not drawn" not in fix.verdict.why
    assert json.loads(shown(loop, "--json"))["left_out"]["mismatched"] == loop.trial().counts.mismatched


def test_what_was_left_out_is_shown_by_its_counter_and_what_was_not_is_not(loop, time):
    assert "left out" not in shown(loop)
    assert json.loads(shown(loop, "--json"))["left_out"] == {}
    drive(loop, time, every=2, steps=2)
    n = loop.trial().counts.mismatched
    (line,) = [line for line in shown(loop).splitlines() if line.startswith("  left out")]
    assert line.split() == ["left", "out", "mismatched", str(n), "(units", "that", "entered:", f"{40 - n})"]
    assert json.loads(shown(loop, "--json"))["left_out"] == {"mismatched": n}


def test_the_share_is_of_units_or_of_tasks_where_a_unit_has_many():
    assert Counts().claimed == 0.0
    assert Counts(mismatched=654, entered=696).claimed == pytest.approx(0.484, abs=0.001)
    process = Counts(mismatched=5, entered=2, fixed=ArmCounts(outcomes=100), control=ArmCounts(outcomes=95))
    assert process.claimed == pytest.approx(0.025)
    assert process.claimed < decide.MAX_CLAIMED
