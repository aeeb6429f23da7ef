"""The guard on failures of other categories goes by this home's rules, as everything else does."""

import pytest
from loop_kit import Loop, hand_clock, rule

from rsi.policy import arm
from rsi.store import fixes
from rsi.verify import watch

OURS = """
rules:
  - id: conveyor-jam
    category: provider_5xx
    match: {any: [{message: ['the conveyor jammed']}]}
    precedence: 950
    confidence: 0.95
    date: 2026-11-01
"""
EXAMPLES = "must: [the conveyor jammed again]\nmust_not: [the conveyor runs]\n"


@pytest.fixture
def loop(tmp_path):
    folder = tmp_path / "rules" / "classify"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(OURS)
    (folder / "mine.test.yaml").write_text(EXAMPLES)
    with hand_clock():
        made = Loop(tmp_path, rules=[rule(categories=("provider_5xx",))])
        made.client()
        made.fail(n=15, ok=35, category="provider_5xx")
        made.pipeline.cycle()
        assert made.fix().state == "canary"
        yield made
        made.close()


def jam(loop, n, text):
    """`n` failed units of either arm, whose error is `text`."""
    stage, items = loop.trial().counts.stages[-1], []
    for _ in range(n):
        item = loop.item()
        drawn = arm(stage.salt, item["id"], stage.fraction)
        ref = {"id": "f1", "arm": drawn, "f": stage.fraction, "stage": stage.stage, "enforced": True}
        items.append({**item, "success": False, "error": text, "fixes": [ref]})
    loop.send(*items)
    loop.pipeline.cycle()


def other(loop):
    """Failures of other categories per task, by arm."""
    with loop.store.read() as conn:
        return watch.load_guards(conn, fixes.get(conn, 1))._bets["other"].means


def test_what_a_rule_of_ones_own_calls_by_the_fixs_category_is_no_other_failure(loop):
    jam(loop, 12, "the conveyor jammed again")
    counts = loop.trial().counts
    assert (counts.fixed.failed + counts.control.failed, other(loop)) == (12, (0.0, 0.0))
    jam(loop, 12, "something else altogether broke")
    assert all(other(loop))
