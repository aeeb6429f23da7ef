"""Which outcomes enter a trial, in which arm, and what is dropped where everybody can see it."""

import random

import pytest
from loop_kit import Loop, config, hand_clock

from rsi import clock
from rsi.policy import arm
from rsi.store import trials


@pytest.fixture
def time():
    with hand_clock() as made:
        yield made


@pytest.fixture
def loop(tmp_path, time):
    made = Loop(tmp_path)
    made.client()
    made.fail(n=15, ok=35)
    made.pipeline.cycle()
    yield made
    made.close()


def ref(loop, unit, **changes):
    stage = loop.trial().counts.stages[-1]
    found = {
        "id": "f1", "arm": arm(stage.salt, unit, stage.fraction), "f": stage.fraction, "stage": stage.stage,
        "enforced": True,
    }  # fmt: skip
    return found | changes


def report(loop, unit, failed=False, status=None, refs=None, **fields):
    item = loop.item(category="rate_limit" if failed else None, run=unit, fixes=refs or [ref(loop, unit)], **fields)
    if status:
        item["status"] = status
        item["success"] = False
        if status == "started":
            del item["success"]
    loop.send(item)


def counts(loop):
    loop.pipeline.cycle()
    return loop.trial().counts


def unit_in(loop, wanted, start=0):
    stage = loop.trial().counts.stages[-1]
    return next(f"u{n}" for n in range(start, 1000) if arm(stage.salt, f"u{n}", stage.fraction) == wanted)


def settled(found):
    return found.fixed.units + found.control.units


def test_an_outcome_settles_its_unit_in_the_arm_that_salt_and_unit_say(loop):
    fixed, control = unit_in(loop, "fixed"), unit_in(loop, "control")
    report(loop, fixed, attempt=3)
    report(loop, control, failed=True)
    found = counts(loop)
    assert (found.fixed.units, found.fixed.failed, found.fixed.calls) == (1, 0, 3)
    assert (found.control.units, found.control.failed, found.control.calls) == (1, 1, 1)
    assert found.labels == "1"
    assert loop.trial().live_at is not None


@pytest.mark.parametrize("wrong", [{"arm": "other"}, {"f": 0.4}, {"stage": 7}], ids=["arm", "fraction", "stage"])
def test_what_differs_from_what_we_drew_is_dropped_and_counted(loop, wrong):
    unit = unit_in(loop, "fixed")
    report(loop, unit, refs=[ref(loop, unit, **({"arm": "control"} if "arm" in wrong else wrong))])
    found = counts(loop)
    assert (settled(found), found.mismatched) == (0, 1)


def test_a_client_that_could_not_act_does_not_count_in_either_arm(loop):
    for wanted in ("fixed", "control"):
        unit = unit_in(loop, wanted)
        report(loop, unit, refs=[ref(loop, unit, enforced=False)])
    found = counts(loop)
    assert (settled(found), found.not_enforced) == (0, 2)


def test_steps_backfill_other_scopes_and_unknown_fixes_never_enter(loop, time):
    unit = unit_in(loop, "fixed")
    report(loop, unit, kind="step", parent="p")
    report(loop, unit, ts=time.now() - 3 * 86_400)
    report(loop, unit, task="other")
    for odd in ("f99", "x", "f", "f-1", "f" + "9" * 30):
        report(loop, unit, refs=[ref(loop, unit, id=odd)])
    found = counts(loop)
    assert (settled(found), found.out_of_scope, found.mismatched) == (0, 1, 0)


def test_a_unit_that_started_and_fell_silent_has_failed_in_both_arms(loop, time):
    for wanted in ("fixed", "control"):
        report(loop, unit_in(loop, wanted), status="started")
    assert settled(counts(loop)) == 0
    time.forward(1700)
    assert settled(counts(loop)) == 0
    time.forward(200)
    found = counts(loop)
    assert (found.fixed.failed, found.control.failed, found.fixed.silent, found.control.silent) == (1, 1, 1, 1)
    assert settled(counts(loop)) == 2


def test_units_are_told_in_the_order_in_which_they_began_whatever_ends_first(loop):
    """A fix that makes failures late must not look good until they are in."""
    for unit in ("u1", "u2", "u3"):
        report(loop, unit, status="started")
    report(loop, "u3")
    report(loop, "u2", failed=True)
    assert settled(counts(loop)) == 0
    report(loop, "u1", failed=True)
    found = counts(loop)
    assert settled(found) == 3
    assert found.fixed.failed + found.control.failed == 2


def test_late_failures_of_one_arm_do_not_verify_a_useless_fix(loop):
    """Every unit fails or not whatever its arm; only the fixed arm's failures end 25 units later."""
    draw = random.Random(4)
    late = []
    for n in range(240):
        unit = f"n{n}"
        report(loop, unit, status="started")
        failed = draw.random() < 0.3
        if failed and ref(loop, unit)["arm"] == "fixed":
            late.append((n + 25, unit))
        else:
            report(loop, unit, failed=failed)
        for _, ended in [one for one in late if one[0] <= n]:
            report(loop, ended, failed=True)
        late = [one for one in late if one[0] > n]
        if n % 4 == 0:
            loop.pipeline.cycle()
        assert loop.fix().state == "canary"


def test_an_open_unit_of_an_earlier_experiment_holds_nobody_up(loop):
    report(loop, "old", status="started")
    assert settled(counts(loop)) == 0
    loop.store.write(lambda conn: trials.begin(conn, 1, "canary", 0.5, clock.now()))
    report(loop, "young")
    assert settled(counts(loop)) == 1


def test_a_unit_that_started_and_ended_is_not_silent(loop, time):
    unit = unit_in(loop, "fixed")
    report(loop, unit, status="started")
    report(loop, unit)
    counts(loop)
    time.forward(4000)
    found = counts(loop)
    assert (found.fixed.units, found.fixed.failed, found.fixed.silent) == (1, 0, 0)


@pytest.mark.parametrize("status", ["paused", "cancelled"])
def test_paused_and_cancelled_units_are_no_failures(loop, time, status):
    unit = unit_in(loop, "fixed")
    report(loop, unit, status="started")
    report(loop, unit, status=status)
    counts(loop)
    time.forward(4000)
    found = counts(loop)
    assert (settled(found), found.withdrawn) == (0, 1)
    report(loop, unit, failed=True)
    assert counts(loop).fixed.failed == 1


def test_a_session_is_one_unit_however_many_outcomes_it_has(loop):
    unit = unit_in(loop, "control")
    for failed in (False, True, False):
        loop.send(loop.item(category="rate_limit" if failed else None, session=unit, fixes=[ref(loop, unit)]))
    found = counts(loop)
    assert (found.control.units, found.control.outcomes, found.control.failed) == (1, 3, 1)


def test_a_unit_seen_in_two_stages_is_crossed_excluded_and_shown(loop):
    unit = unit_in(loop, "fixed")
    report(loop, unit)
    counts(loop)
    loop.store.write(lambda conn: trials.begin(conn, 1, "canary", 0.5, loop.trial().started, anew=False))
    report(loop, unit, failed=True, refs=[ref(loop, unit)])
    report(loop, unit, failed=True, refs=[ref(loop, unit)])
    found = counts(loop)
    assert (found.fixed.outcomes, found.fixed.failed, found.crossed) == (1, 0, 1)


def test_a_unit_that_began_in_an_earlier_stage_counts_with_that_stages_fraction(loop):
    unit = unit_in(loop, "fixed")
    earlier = ref(loop, unit)
    loop.store.write(lambda conn: trials.begin(conn, 1, "canary", 0.9, loop.trial().started, anew=False))
    report(loop, unit, refs=[earlier])
    found = counts(loop)
    assert (found.fixed.units, found.mismatched, found.stage_units) == (1, 0, 0)


def test_what_belongs_to_an_experiment_that_is_over_is_late(loop):
    unit = unit_in(loop, "fixed")
    earlier = ref(loop, unit)
    loop.store.write(lambda conn: trials.begin(conn, 1, "holdout", 0.95, loop.trial().started))
    report(loop, unit, refs=[earlier])
    found = counts(loop)
    assert (settled(found), found.late) == (0, 1)


def test_a_test_state_of_another_version_begins_a_new_stage_instead_of_betting_twice(loop):
    report(loop, unit_in(loop, "fixed"))
    counts(loop)
    loop.store.write(lambda conn: trials.put(conn, trials.get(conn, 1), {"kind": "concurrent", "version": 99}))
    late = unit_in(loop, "control")
    report(loop, late)
    found = counts(loop)
    assert found.repairs == 1
    assert (loop.trial().stage, settled(found), found.late) == (2, 0, 1)
    report(loop, unit_in(loop, "fixed", 500))
    assert counts(loop).fixed.units == 1


def test_the_wealth_is_what_the_same_bets_in_one_process_are_worth(loop):
    from rsi.stats import ConcurrentTrial
    from rsi.verify import watch

    plain = ConcurrentTrial(fraction=0.5)
    for n in range(40):
        unit, failed = f"u{n}", n % 3 == 0
        report(loop, unit, failed=failed)
        plain.add(ref(loop, unit)["arm"], unit, failed, 0.5, final=True)
        if n % 7 == 0:
            loop.pipeline.cycle()
    loop.pipeline.cycle()
    with loop.store.read() as conn:
        kept = watch.load(conn, loop.trial())
    assert kept.wealth == plain.wealth


def test_a_holdout_that_turns_worse_is_rolled_back(tmp_path, time):
    loop = Loop(tmp_path, conf=config(verify={"holdout": 0.4}))
    loop.client()
    loop.fail(n=15, ok=35)
    loop.pipeline.cycle()

    def outcome(good):
        def one(_scope, arms):
            p = (0.02 if good else 0.8) if "fixed" in arms.values() else 0.3
            return loop.random.random() < p, 1

        return one

    assert loop.until(lambda fix: fix.state != "canary", outcome(True), clock_=time).state == "verified"
    assert loop.trial().kind == "holdout"
    fix = loop.until(lambda fix: fix.state != "verified", outcome(False), clock_=time)
    assert (fix.state, fix.verdict.outcome) == ("rolled_back", "worse")
    assert loop.pipeline.policy().experiments == []
    loop.close()
