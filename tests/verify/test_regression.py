"""A verified fix whose scope fails again: the world where both arms do, suspected where nobody is without it."""

import pytest
from loop_kit import Loop, config, hand_clock, rule

from rsi.store import fixes
from rsi.verify import regression

HOUR = 3600.0


@pytest.fixture
def time():
    with hand_clock() as made:
        yield made


def verified(path, time, holdout):
    loop = Loop(path, rules=[rule(categories=("provider_5xx",))], conf=config(verify={"holdout": holdout}))
    loop.client()
    loop.fail(n=15, ok=35, category="provider_5xx")
    loop.pipeline.cycle()
    helped = loop.until(lambda fix: fix.state != "canary", fails(loop, 0.02, 0.4), clock_=time)
    assert helped.state == "verified"
    time.forward(2 * HOUR)
    return loop


def fails(loop, fixed, control):
    return lambda _scope, arms: (loop.random.random() < (control if "control" in arms.values() else fixed), 1)


def look(loop, time):
    with loop.store.read() as conn:
        return regression.look(conn, fixes.get(conn, 1), loop.trial(), time.now())


def more(loop, time, rates, n=60):
    loop.act(n, fails(loop, *rates))
    loop.pipeline.cycle()
    time.forward(60)


def test_where_it_goes_on_well_nothing_is_said(tmp_path, time):
    loop = verified(tmp_path, time, 0.3)
    assert look(loop, time) is None
    more(loop, time, (0.03, 0.4), n=100)
    assert look(loop, time) is None
    loop.close()


def test_while_the_holdout_stands_an_outage_for_all_is_not_the_fix(tmp_path, time):
    loop = verified(tmp_path, time, 0.3)
    more(loop, time, (0.7, 0.7), n=100)
    found = look(loop, time)
    assert loop.fix().state == "verified"
    assert found.kind == "not_the_fix"
    assert "struck both" in found.why
    loop.close()


def test_few_without_the_fix_leave_the_question_to_the_holdout(tmp_path, time):
    loop = verified(tmp_path, time, 0.02)
    more(loop, time, (0.7, 0.7), n=100)
    assert look(loop, time).kind == "asked"
    loop.close()


def test_without_a_holdout_a_regression_is_only_suspected(tmp_path, time):
    loop = verified(tmp_path, time, 0.0)
    more(loop, time, (0.7, 0.7), n=100)
    found = look(loop, time)
    assert found.kind == "suspected"
    assert "nobody is without the fix any more" in found.why
    loop.close()


def test_a_few_tasks_raise_no_suspicion(tmp_path, time):
    loop = verified(tmp_path, time, 0.0)
    more(loop, time, (1.0, 1.0), n=20)
    assert look(loop, time) is None
    loop.close()
