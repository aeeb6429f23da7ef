"""The cautious ramp: stages with salts of their own, crossed units left out and shown, and a restart that changes nothing."""

import pytest
from loop_kit import Loop, config, hand_clock

from rsi.policy import arm
from rsi.store import trials


@pytest.fixture
def time():
    with hand_clock() as made:
        yield made


@pytest.fixture
def loop(tmp_path, time):
    made = Loop(tmp_path, conf=config(verify={"ramp": [0.1, 0.5]}))
    made.client()
    made.fail(n=15, ok=35)
    made.pipeline.cycle()
    yield made
    made.close()


def null(loop):
    return lambda _scope, _arms: (loop.random.random() < 0.3, 1)


def climb(loop, time):
    """To the second stage of the ramp."""
    while loop.trial().stage == 1:
        loop.act(40, null(loop))
        time.forward(60)
        loop.pipeline.cycle()
        assert loop.fix().state == "canary"


def test_the_ramp_starts_at_a_tenth_and_goes_on_to_a_half_under_another_salt(loop, time):
    first = loop.trial()
    assert (first.stage, first.fraction) == (1, 0.1)
    climb(loop, time)
    second = loop.trial()
    assert (second.stage, second.fraction, len(second.counts.stages)) == (2, 0.5, 2)
    assert first.salt != second.salt
    assert second.counts.fixed.units >= 20
    assert loop.pipeline.policy().experiments[0].fraction == 0.5


def entered(loop, unit, stage):
    its = next(one for one in loop.trial().counts.stages if one.stage == stage)
    return {"id": "f1", "arm": arm(its.salt, unit, its.fraction), "f": its.fraction, "stage": stage, "enforced": True}


def test_units_seen_in_both_stages_are_excluded_in_either_arm_and_shown(loop, time):
    names = [f"long{n}" for n in range(12)]
    for name in names:
        loop.send({**loop.item(run=name, fixes=[entered(loop, name, 1)]), "status": "started", "success": None})
    climb_with_open(loop, time)
    before = loop.trial().counts
    for name in names:
        loop.send(loop.item(category="rate_limit", run=name, fixes=[entered(loop, name, 2)]))
    loop.pipeline.cycle()
    found = loop.trial().counts
    assert found.crossed == 12
    assert {entered(loop, name, 1)["arm"] for name in names} | {entered(loop, name, 2)["arm"] for name in names} == {
        "fixed",
        "control",
    }
    assert (found.fixed.failed, found.control.failed) == (before.fixed.failed, before.control.failed)


def climb_with_open(loop, time):
    loop.store.write(lambda conn: trials.begin(conn, 1, "canary", 0.5, time.now(), anew=False))
    loop.pipeline.cycle()


def test_a_restart_in_the_second_stage_keeps_arms_counts_and_every_later_word(tmp_path, time):
    """The same agents with the store closed and opened after every slice, and with it open all the time."""
    ends = []
    for restarts in (False, True):
        trials.new_salt._n = 0
        loop = Loop(tmp_path / str(restarts), conf=config(verify={"ramp": [0.1, 0.5]}), seed=11)
        loop.client()
        loop.fail(n=15, ok=35)
        loop.pipeline.cycle()
        seen = []
        for _ in range(8):
            loop.act(
                40,
                lambda _scope, arms, loop=loop: (loop.random.random() < (0.25 if "fixed" in arms.values() else 0.3), 1),
            )
            loop.pipeline.cycle()
            policy, trial = loop.pipeline.policy(), loop.trial()
            if restarts:
                loop.restart()
                loop.pipeline.cycle()
                assert loop.pipeline.policy().experiments == policy.experiments
                assert loop.trial() == trial
            with loop.store.read() as conn:
                seen.append((policy.experiments, trial.counts.fixed, trial.counts.control, trials.state(conn, 1)))
        assert loop.trial().stage == 2
        ends.append(
            [(a.units, b.units, state["better"], state["worse"], state["guards"]["bets"]) for _, a, b, state in seen]
        )
        loop.close()
    assert ends[0] == ends[1]
