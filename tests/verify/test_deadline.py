"""What becomes of a canary whose time is up: what was seen to speak against it is not kept, whatever the setting."""

import pytest
from loop_kit import Loop, config, hand_clock

from rsi.fix.states import after_verdict
from rsi.model import Verdict
from rsi.verify import decide


def undecided(why):
    return Verdict(outcome="undecided", method="m", cannot_exclude="c", why=why)


LEAN = "evidence for better 3 (28 verifies), for worse 0.2 (25 rolls back)"
TABLE = {
    "nothing yet": (LEAN, True),
    "too few units": (f"4 units in the smaller arm, 10 are needed; {LEAN}", True),
    "not known whether arms interact": (f"arms interact: not known yet, 12 of 60 settled control units; {LEAN}", True),
    "the control arm got worse": (f"arms interact: the control arm fails 0.404 of its tasks, …; {LEAN}", False),
    "more calls than the budget": (f"arms interact: 400 extra calls over 120 tasks, …; {LEAN}", False),
    "a side effect": (f"a side effect: cost per task: 3 with the fix, 1 without, …; {LEAN}", False),
}


@pytest.mark.parametrize("name", list(TABLE))
def test_keep_is_for_what_nobody_knows_anything_against(name):
    """The state table, with the deadline passed: `fix.undecided: keep` keeps some, `remove` none."""
    why, kept = TABLE[name]
    said = decide.at_deadline(undecided(why), "keep")
    assert after_verdict("undecided", deadline_passed=True, undecided=said) == (
        "kept_unverified" if kept else "removed"
    )
    said = decide.at_deadline(undecided(why), "remove")
    assert after_verdict("undecided", deadline_passed=True, undecided=said) == "removed"
    assert after_verdict("undecided", deadline_passed=False, undecided=said) is None


@pytest.mark.parametrize(("p_control", "kept"), [(0.3, True), (0.9, False)], ids=["as before", "worse than before"])
def test_the_verdicts_themselves_fall_on_either_side_of_that_table(tmp_path, p_control, kept):
    """A real canary of a rate limit, with 30 % failing before it: what its verdict says is what the table reads."""
    with hand_clock() as time:
        loop = Loop(tmp_path, conf=config(verify={"max_days": 1}))
        loop.client()
        loop.fail(n=15, ok=35)
        loop.pipeline.cycle()

        def outcome(_scope, arms):
            p = 0.03 if "fixed" in arms.values() else p_control
            return loop.random.random() < p, 1

        until = (lambda fix: fix.state != "canary") if not kept else (
            lambda fix: fix.verdict and fix.verdict.why.startswith(decide.INTERACT)
        )  # fmt: skip
        fix = loop.until(until, outcome, most=10 if kept else 9, step=10 if kept else 20, clock_=time)
        loop.close()
    assert (fix.state, fix.verdict.outcome) == ("canary", "undecided")
    assert fix.verdict.why.startswith(decide.INTERACT)
    assert decide.at_deadline(fix.verdict, "keep") == ("keep" if kept else "remove")
