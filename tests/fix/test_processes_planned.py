"""What a whole process shares is planned in processes: how many live, how many come anew, and how many a verdict needs."""

import pytest
from loop_kit import Loop, hand_clock, rule

DAY = 86_400.0


@pytest.fixture
def time():
    with hand_clock() as made:
        yield made


def loop_with(path, time, live, ended=0):
    loop = Loop(path, rules=[rule("concurrency-lower", knob="max_concurrency", value=4)])
    for n in range(ended):
        loop.client(enforces=["max_concurrency"], client=f"gone{n}")
    time.forward(3_600.0)
    for n in range(live):
        loop.client(enforces=["max_concurrency"], client=f"c{n}")
    loop.fail(n=15, ok=35)
    loop.pipeline.cycle()
    return loop


def test_with_enough_live_processes_the_canary_begins(tmp_path, time):
    loop = loop_with(tmp_path, time, live=60)
    fix = loop.fix()
    assert fix.state == "canary"
    assert fix.evidence["processes"] == {"live": 60, "new_a_day": 0}
    assert fix.evidence["units_expected"] < 60
    assert fix.evidence["days_expected"] == 0.0
    loop.close()


def test_three_processes_that_run_for_ever_are_a_proposal_that_says_why(tmp_path, time):
    loop = loop_with(tmp_path, time, live=3)
    fix = loop.fix()
    assert (fix.state, fix.refused_by) == ("proposed", ["processes"])
    assert "client processes; 3 are live and none comes anew" in fix.rails[0]
    loop.pipeline.approve("f1", "person:test")
    assert loop.fix().state == "canary"
    loop.close()


def test_processes_that_come_anew_are_counted_by_the_day(tmp_path, time):
    loop = loop_with(tmp_path, time, live=3, ended=1)
    fix = loop.fix()
    missing = fix.evidence["units_expected"] - 3
    assert (fix.evidence["processes"], fix.evidence["days_expected"]) == ({"live": 3, "new_a_day": 1}, missing)
    assert (fix.state, fix.refused_by) == ("proposed", ["days"])
    assert f"about {missing + 3} client processes, {missing} days" in fix.rails[0]
    loop.close()


def test_what_is_split_by_task_counts_no_processes(tmp_path, time):
    loop = Loop(tmp_path)
    loop.client()
    loop.fail(n=15, ok=35)
    loop.pipeline.cycle()
    assert "processes" not in loop.fix().evidence
    loop.close()
