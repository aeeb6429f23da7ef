"""What a whole process shares is tried by process: the arm is drawn for the client's id, and one process is one bet."""

import pytest
from loop_kit import Loop, hand_clock, rule

from rsi.fix import apply
from rsi.model import Outcome
from rsi.policy import arm
from rsi.store import fixes
from rsi.store.trials import Before
from rsi.verify import decide, units, watch


@pytest.fixture
def loop(tmp_path):
    with hand_clock() as time:
        made = Loop(tmp_path, rules=[rule("concurrency-lower", knob="max_concurrency", value=4)])
        made.time = time
        made.client(enforces=["max_concurrency"])
        made.fail(n=15, ok=35)
        made.pipeline.cycle()
        if made.fix().state != "canary":  # until the gate knows that a process can be a unit
            made.store.write(
                lambda conn: apply.start(conn, fixes.get(conn, 1), made.config, Before(50, 15, 1), time.now())
            )
        yield made
        made.close()


def report(loop, name, n=1, failed=False, wrong=None, top=None, metadata=None):
    stage = loop.trial().counts.stages[-1]
    ref = {"id": "f1", "arm": arm(stage.salt, name, stage.fraction), "f": stage.fraction, "stage": stage.stage}
    more = {"metadata": {"client": name} if metadata is None else metadata} | ({"client": top} if top else {})
    category = "rate_limit" if failed else None
    loop.send(*(loop.item(category=category, fixes=[ref | (wrong or {})], **more) for _ in range(n)))


def counts(loop):
    loop.pipeline.cycle()
    return loop.trial().counts


def test_many_tasks_of_one_process_are_one_unit(loop):
    report(loop, "p1", n=25)
    report(loop, "p2", n=25, failed=True)
    found = counts(loop)
    assert (found.fixed.units + found.control.units, found.fixed.outcomes + found.control.outcomes) == (2, 50)
    assert found.mismatched == 0
    with loop.store.read() as conn:
        test = watch.load(conn, loop.trial())
    assert test.n_fixed + test.n_control == 2


def test_the_client_may_stand_at_the_top_of_an_outcome(loop):
    report(loop, "p1", metadata={}, top="p1")
    assert counts(loop).mismatched == 0


@pytest.mark.parametrize(
    "metadata", [{}, {"client": 7}, {"client": ""}, {"client": "x" * 200}], ids=["none", "number", "empty", "long"]
)
def test_an_outcome_that_does_not_say_its_process_is_dropped_and_shown(loop, metadata):
    report(loop, "p1", metadata=metadata)
    found = counts(loop)
    assert (found.fixed.units + found.control.units, found.mismatched) == (0, 1)


def test_an_arm_drawn_for_the_task_instead_of_the_process_is_a_mismatch(loop):
    stage = loop.trial().counts.stages[-1]
    name = next(f"p{n}" for n in range(99) if arm(stage.salt, f"p{n}", stage.fraction) == "control")
    report(loop, name, wrong={"arm": "fixed"})
    assert counts(loop).mismatched == 1


def test_three_processes_never_decide_and_the_text_names_the_unit(loop):
    for name in ("p1", "p2", "p3"):
        stage = loop.trial().counts.stages[-1]
        report(loop, name, n=60, failed=arm(stage.salt, name, stage.fraction) == "control")
    counts(loop)
    with loop.store.read() as conn:
        said = decide.decide(conn, loop.trial(), ["rate_limit"], clients=3, now=loop.time.now())
    assert said.outcome == "undecided"
    assert "the unit is a client process" in said.method


def test_a_knob_that_is_split_by_task_does_not_look_at_the_process():
    outcome = Outcome(
        id="o1", ts=0.0, source="a", task="t", kind="task", status="ok", run="r1", metadata={"client": "p1"}
    )
    assert (units.name(outcome, "retry"), units.name(outcome, "max_concurrency")) == ("r1", "p1")
