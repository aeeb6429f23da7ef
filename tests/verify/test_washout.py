"""Where arms may act on one another a canary stops for a washout: what is verified after it, and what never is."""

import random
from types import SimpleNamespace

import msgspec
import pytest
from loop_kit import Loop, hand_clock

from rsi.fix import facts
from rsi.stats import in_phases
from rsi.store import trials
from rsi.store.trials import Before, Counts, Stage, StageCounts, Unit
from rsi.verify import decide, washout, watch


@pytest.fixture
def time():
    with hand_clock() as made:
        yield made


@pytest.fixture
def loop(tmp_path, time):
    """An incident that has just begun: the canary starts at its first failures, out of a healthy past."""
    made = Loop(tmp_path)
    made.client()
    made.fail(n=0, ok=150)
    made.pipeline.cycle()
    made.fail(n=4, ok=12)
    made.pipeline.cycle()
    assert made.trial().counts.before.tasks < washout.MIN_BEFORE or made.trial().counts.before.failed < 8
    yield made
    made.close()


def world(loop, fixed, control, without):
    """What each arm fails while a part has the fix, and everybody while nobody has it."""

    def outcome(_scope, arms):
        part = loop.trial().fraction > 0
        p = (fixed if "fixed" in arms.values() else control) if part else without
        return loop.random.random() < p, 1

    return outcome


def to_washout(loop, time, outcome):
    loop.until(lambda _: loop.trial().fraction == 0, outcome, step=20, clock_=time)
    assert loop.trial().fraction == 0


def decided(fix):
    return fix.state != "canary"


def test_an_incident_that_began_with_the_canary_is_verified_after_a_washout(loop, time):
    outcome = world(loop, 0.03, 0.3, 0.3)
    to_washout(loop, time, outcome)
    assert loop.fix().verdict.why.startswith(decide.INTERACT)
    (experiment,) = loop.pipeline.policy().experiments
    assert (experiment.state, experiment.fraction) == ("canary", 0.0)
    assert loop.pipeline.policy().scopes == []  # nobody has it
    fix = loop.until(decided, outcome, step=20, clock_=time)
    assert (fix.state, fix.verdict.outcome) == ("verified", "verified")
    assert [stage.fraction for stage in loop.trial().counts.stages] == [0.5, 0.0, 0.5, 0.95]
    assert "fraction 0.5" in fix.verdict.method
    stages = [line["detail"]["fraction"] for line in fix.journal if line["what"] == "fix.stage"]
    assert stages == [0.0, 0.5]


def test_failures_that_only_move_are_never_verified_and_the_verdict_says_so(loop, time):
    """Capacity is short: the control arm pays for the fixed one, and without the fix .23 fail, as all together do."""
    fix = loop.until(decided, world(loop, 0.03, 0.43, 0.23), step=60, most=30, clock_=time)
    assert (fix.state, fix.verdict.outcome) == ("canary", "undecided")
    assert "control arm fails" in fix.verdict.why
    assert "while nobody had the fix" in fix.verdict.why
    assert decide.at_deadline(fix.verdict, "keep") == "remove"
    assert loop.trial().counts.fixed.failed / loop.trial().counts.fixed.outcomes < 0.1  # the arms differ as ever


def test_an_incident_that_ends_with_the_canary_verifies_nothing(loop, time):
    """In the washout nothing fails any more: whether that is the world's doing or the canary's, nobody can tell."""
    to_washout(loop, time, world(loop, 0.03, 0.3, 0.3))
    fix = loop.until(decided, world(loop, 0.0, 0.0, 0.0), step=60, most=10, clock_=time)
    assert (fix.state, fix.verdict.outcome) == ("canary", "undecided")


def test_a_shortage_that_gets_worse_with_the_washout_verifies_nothing(loop, time):
    """One change of the world makes one side of the washout look good, and the other not."""
    to_washout(loop, time, world(loop, 0.03, 0.43, 0.23))
    fix = loop.until(decided, world(loop, 0.2, 0.6, 0.4), step=60, most=10, clock_=time)
    assert (fix.state, fix.verdict.outcome) == ("canary", "undecided")


def test_a_washout_moves_neither_arms_nor_bets_and_its_first_tasks_are_not_counted(loop, time):
    outcome = world(loop, 0.03, 0.3, 0.3)
    to_washout(loop, time, outcome)
    before = loop.trial().counts
    with loop.store.read() as conn:
        state = trials.state(conn, 1)
    for seconds, tasks in ((0.0, 10), (washout.LEAST_SETTLE_S - 0.1, 4), (0.1, 10), (1.0, 5)):
        time.forward(seconds)
        loop.act(tasks, outcome, duration_ms=100)
        loop.pipeline.cycle()
    after = loop.trial().counts
    assert (after.fixed, after.control) == (before.fixed, before.control)
    assert after.labels.startswith(before.labels)
    assert len(after.labels) == len(before.labels) + 29  # failures in phases show beside the canary's
    told = after.told[-1]
    assert (told.settling, told.fixed, told.control) == (20, 0, 9)  # not in the first seconds, and not the first 20
    with loop.store.read() as conn:
        assert trials.state(conn, 1) == state


def test_a_restart_in_the_middle_of_a_washout_changes_nothing(loop, time):
    outcome = world(loop, 0.03, 0.3, 0.3)
    to_washout(loop, time, outcome)
    loop.act(40, outcome)
    loop.pipeline.cycle()
    trial, policy = loop.trial(), loop.pipeline.policy()
    loop.restart()
    loop.pipeline.cycle()
    assert loop.trial() == trial
    assert loop.pipeline.policy().experiments == policy.experiments
    assert loop.until(decided, outcome, step=20, clock_=time).state == "verified"


def test_a_washout_whose_test_cannot_be_read_any_more_begins_a_new_canary(loop, time):
    outcome = world(loop, 0.03, 0.3, 0.3)
    to_washout(loop, time, outcome)
    loop.store.write(lambda conn: trials.put(conn, trials.get(conn, 1), {"version": 99}))
    loop.act(20, outcome)
    loop.pipeline.cycle()
    found = loop.trial()
    assert (found.fraction, found.counts.repairs, found.counts.told) == (0.5, 1, ())


def test_a_session_that_began_with_a_part_and_goes_on_in_the_washout_is_left_out(loop, time):
    outcome = world(loop, 0.03, 0.3, 0.3)
    first = loop.pipeline.policy().experiments[0]
    to_washout(loop, time, outcome)
    before = loop.trial().counts.crossed
    for experiment in (first, loop.pipeline.policy().experiments[0]):
        arm = decide_arm(experiment, "long")
        ref = {"id": "f1", "arm": arm, "f": experiment.fraction, "stage": experiment.stage, "enforced": True}
        loop.send(loop.item(session="long", fixes=[ref]))
    loop.pipeline.cycle()
    assert loop.trial().counts.crossed == before + 1


def decide_arm(experiment, unit):
    from rsi.policy import arm

    return arm(experiment.salt, unit, experiment.fraction)


NOTHING = Before()


def counts(*told, before=NOTHING, washed=None, seconds=washout.SPAN_S):
    """Canary and washout in turn: (fixed, failed, control, failed) of each, counted for `seconds`."""
    stages = tuple(Stage(n, "canary", "", 0.0 if n % 2 == 0 else 0.5, 0.0) for n in range(1, (washed or len(told)) + 1))
    parts = tuple(
        StageCounts(n, fixed=a, fixed_failed=b, control=c, control_failed=d, began=n * 1e3, seconds=seconds)
        for n, (a, b, c, d) in enumerate(told, 1)
    )
    return Counts(stages=stages, told=parts, before=before)


HALF = (80, 2, 80, 24)


LONG = washout.SPAN_S


def test_the_rate_before_speaks_only_where_it_was_counted_over_enough():
    assert washout.by_before(counts(HALF, before=Before(200, 60, seconds=LONG)))
    assert not washout.by_before(counts(HALF, before=Before(200, 60, seconds=LONG - 0.1)))
    assert not washout.by_before(counts(HALF, before=Before(200, 60)))  # nobody can tell for how long
    assert not washout.by_before(counts(HALF, before=Before(washout.MIN_BEFORE - 1, 12, seconds=LONG)))
    assert not washout.by_before(counts(HALF, before=Before(200, 24, seconds=LONG)))  # all together fail as before
    told = counts(HALF, (0, 0, 160, 48), before=Before(200, 60, seconds=LONG))
    assert not washout.by_before(told)  # a washout knows better


@pytest.mark.parametrize(
    ("first", "without", "second", "clear"),
    [
        (HALF, (0, 0, 160, 48), HALF, True),
        (HALF, (0, 0, 160, 24), HALF, False),  # failures moved
        (HALF, (0, 0, 160, 0), (80, 0, 80, 0), False),  # it ended
        (HALF, (0, 0, 160, 70), (80, 35, 80, 70), False),  # it got worse
        (HALF, (0, 0, 160, 48), (60, 1, 60, 18), False),  # not as many on the other side yet
    ],
    ids=["fell", "moved", "ended", "worse", "short"],
)
def test_a_washout_is_compared_with_what_lies_on_both_sides(first, without, second, clear):
    assert washout.by_washout(counts(first, without, second)) is clear


def test_each_washout_is_a_quarter_longer_than_the_last_and_there_are_only_so_many():
    assert washout.fraction(counts(HALF), 0.5) == 0.0
    assert washout.fraction(counts(HALF, (0, 0, 159, 24)), 0.5) is None
    assert washout.fraction(counts(HALF, (0, 0, 160, 24)), 0.5) == 0.5
    done = [HALF, (0, 0, 160, 24), HALF]
    assert washout.fraction(counts(*done[:2], (79, 2, 80, 24)), 0.5) is None
    assert washout.fraction(counts(*done), 0.5) == 0.0
    assert washout.fraction(counts(*done, (0, 0, 199, 48)), 0.5) is None
    assert washout.fraction(counts(*done, (0, 0, 200, 48)), 0.5) == 0.5
    assert washout.fraction(counts(*done[:2] * washout.MOST, HALF), 0.5) is None


def test_a_canary_that_has_just_gone_on_does_not_stop_again():
    told = counts(HALF, (0, 0, 160, 24), washed=3)
    assert washout.fraction(told, 0.5) is None
    assert "compared with as many" in washout.says(told)


PHASES = ("0" * 28 + "1" * 12) * 10


def test_bursts_make_the_comparison_more_careful():
    fell = counts(HALF, (0, 0, 160, 42), (80, 2, 80, 22), seconds=washout.PHASES_SPAN_S)
    assert washout.by_washout(fell)
    assert not washout.by_washout(msgspec.structs.replace(fell, labels=PHASES))


@pytest.mark.parametrize(("phases", "span"), [("", washout.SPAN_S), (PHASES, washout.PHASES_SPAN_S)])
def test_what_was_counted_for_a_moment_only_decides_nothing(phases, span):
    """A provider that counts calls by the second or the minute still has what was asked of it before."""
    for seconds, asked in ((span - 0.1, False), (span, True)):
        before = Before(2000, 600, seconds=span)
        one, two, three = (
            msgspec.structs.replace(counts(*told, before=before, seconds=seconds), sampled=phases)
            for told in ([LARGE], [LARGE, NOBODY], [LARGE, NOBODY, LARGE])
        )
        assert washout.by_before(one) is asked
        assert (washout.fraction(one, 0.5) == 0.0) is asked
        assert (washout.fraction(two, 0.5) == 0.5) is asked
        assert washout.by_washout(three) is asked


@pytest.mark.parametrize("short", [0, 1, 2])
def test_each_part_of_what_is_compared_saw_the_phases(short):
    """That they are phases is often known only after the washout: what was short before is not compared any more."""
    told = counts(LARGE, NOBODY, LARGE, seconds=washout.PHASES_SPAN_S)
    assert washout.by_washout(msgspec.structs.replace(told, sampled=PHASES))
    parts = list(told.told)
    parts[short] = msgspec.structs.replace(parts[short], seconds=washout.PHASES_SPAN_S - 1.0)
    cut = msgspec.structs.replace(told, told=tuple(parts), sampled=PHASES)
    assert not washout.by_washout(cut)
    assert ("another one follows" in washout.says(cut)) is (short == 1)
    assert washout.by_washout(msgspec.structs.replace(cut, sampled=""))


def test_phases_before_the_canary_make_what_is_compared_as_long():
    """A canary of some seconds at a provider that counts by the minute may lie in one of its phases."""
    phases = Before(2000, 600, seconds=1000.0, phases=True)
    assert not washout.by_before(counts(LARGE, before=phases, seconds=washout.PHASES_SPAN_S - 0.1))
    assert washout.by_before(counts(LARGE, before=phases, seconds=washout.PHASES_SPAN_S))
    assert washout.by_before(counts(LARGE, before=Before(2000, 600, seconds=1000.0)))


def by_the_minute(loop, clock_, seconds):
    """Forty tasks a second at a provider that refuses everything in the last quarter of each minute."""

    def outcome(_scope, arms):
        return clock_.now() % 60 >= 45 and loop.random.random() < (0.4 if "fixed" in arms.values() else 1.0), 1

    for _ in range(seconds):
        clock_.forward(1.0)
        loop.act(40, outcome, duration_ms=100.0)
        loop.pipeline.cycle()


def test_phases_are_seen_at_any_traffic(loop, time):
    by_the_minute(loop, time, 100)
    found = loop.trial().counts
    assert in_phases(found.sampled)
    assert not in_phases(found.labels[-200:])  # the newest few hundred lie in one
    assert 90 < len(found.sampled) <= 100  # the tasks of a second come at once here
    loop.act(3000, lambda *_: (False, 1), duration_ms=100.0)
    loop.pipeline.cycle()
    assert in_phases(loop.trial().counts.sampled)


def test_the_rate_before_tells_phases(tmp_path, time):
    made = Loop(tmp_path)  # without a client: nothing starts
    for second in range(130):
        time.forward(1.0)
        made.fail(n=3 * (second % 60 >= 45), ok=3 * (second % 60 < 45))
        made.fail(source="other", n=0, ok=1)
    made.pipeline.cycle()
    with made.store.read() as conn:
        found = {
            knob: facts.before(conn, SimpleNamespace(source="app", task="search", knob=knob), time.now())
            for knob in ("retry", "max_concurrency")
        }
    made.close()
    assert found["retry"].phases
    assert found["retry"].seconds == pytest.approx(129.0, abs=2.0)
    assert found["max_concurrency"].seconds > washout.PHASES_SPAN_S  # processes have no washout: the hours must do


def told(tally, at, *, stage=1, outcomes=1, failures=0, arm="control"):
    unit = Unit(unit="u", stage=stage, arm=arm, f=0.5, started=at, outcomes=outcomes, failures=failures)
    tally.tell(unit, at)
    return tally.total()


def test_a_clock_that_is_set_neither_stops_a_stage_nor_makes_it_long():
    tally = watch._Tally(Counts())
    for second in (0, 3, 6, 7):
        found = told(tally, 1e9 + second)
    assert (found.told[0].settling, found.told[0].tasks, found.told[0].seconds) == (2, 2, 1.0)
    assert told(tally, 1e9 + 10_000).told[0].seconds == 1.0 + washout.MOST_GAP_S
    for second in (0, 6, 8):  # an hour back: it settles anew and goes on
        found = told(tally, 1e9 - 3600 + second)
    assert (found.told[0].settling, found.told[0].tasks) == (3, 5)


def test_the_failures_of_a_session_are_no_phase():
    """In which order a session's outcomes came nobody kept; in a row they would look like a burst in each."""
    tally, rng = watch._Tally(Counts()), random.Random(1)
    for n in range(40):
        found = told(tally, 1e9 + n, outcomes=10, failures=sum(rng.random() < 0.3 for _ in range(10)))
    assert len(found.labels) == 400
    assert not in_phases(found.labels)
    assert told(watch._Tally(Counts()), 1e9, outcomes=6, failures=2).labels == "001001"


def test_what_comes_late_does_not_make_a_stage_longer_that_is_over(loop, time):
    outcome = world(loop, 0.03, 0.3, 0.3)
    late = next(f"s{n}" for n in range(100) if decide_arm(loop.pipeline.policy().experiments[0], f"s{n}") == "control")
    stage = loop.trial().counts.stages[-1]
    ref = {"id": "f1", "arm": "control", "f": stage.fraction, "stage": stage.stage, "enforced": True}
    loop.send(loop.item(session=late, fixes=[ref]))
    loop.pipeline.cycle()
    to_washout(loop, time, outcome)
    first = loop.trial().counts.told[0]
    for _ in range(3):
        time.forward(100.0)
        loop.send(loop.item(session=late, fixes=[ref]))
        loop.pipeline.cycle()
    after = loop.trial().counts.told[0]
    assert after.control == first.control + 3
    assert after.seconds <= first.seconds + washout.MOST_GAP_S  # up to the washout's beginning


LARGE, NOBODY = (800, 20, 800, 240), (0, 0, 1600, 480)


@pytest.mark.parametrize("longest_ms", [100.0, 20_000.0, 1e12])
def test_a_stage_settles_for_as_long_as_the_longest_task_with_the_fix_took(loop, time, longest_ms):
    """What was asked in one stage may be asked again in the next."""
    settle = min(washout.MOST_SETTLE_S, max(washout.LEAST_SETTLE_S, longest_ms / 1e3))
    outcome = world(loop, 0.03, 0.3, 0.3)
    loop.act(40, outcome, duration_ms=longest_ms)
    loop.pipeline.cycle()
    assert loop.trial().counts.longest == min(washout.MOST_SETTLE_S, longest_ms / 1e3)
    for seconds, more in ((settle - 0.1, 0), (0.1, 7)):
        time.forward(seconds)
        loop.act(7, outcome, duration_ms=100.0)
        loop.pipeline.cycle()
        (told,) = loop.trial().counts.told
        assert told.tasks == more


def test_the_rate_before_knows_for_how_long_it_was_counted(tmp_path, time):
    made = Loop(tmp_path)
    made.client()
    made.fail(n=2, ok=40)
    made.pipeline.cycle()
    time.forward(30.0)
    made.fail(n=2, ok=40)
    made.pipeline.cycle()
    before = made.trial().counts.before
    made.close()
    assert (before.tasks, before.failed) == (84, 4)
    assert before.seconds == pytest.approx(30.0, abs=0.5)


@pytest.mark.parametrize(("earlier", "begun"), [((25, 75), False), ((2, 98), True)])
def test_a_burst_is_no_incident_that_has_just_begun(tmp_path, time, earlier, begun):
    """Where many fail anyway a few more in a row are a burst; after health they are all that is known of the incident."""
    made = Loop(tmp_path)  # without a client: nothing starts
    for n in range(300):
        time.forward(0.1)
        failed = n % 100 < earlier[0]
        made.fail(n=int(failed), ok=int(not failed))
    for n in range(28):
        made.fail(n=int(n % 5 < 2), ok=int(n % 5 >= 2))
    made.pipeline.cycle()
    with made.store.read() as conn:
        found = facts.before(conn, SimpleNamespace(source="app", task="search", knob="retry"), time.now())
    made.close()
    assert (found.tasks < 40) is begun
    assert (found.seconds == 0.0) is begun
