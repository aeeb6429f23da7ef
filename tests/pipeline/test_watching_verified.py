"""A verified fix whose scope fails again is looked at every hour, shown, told once, and told again when it is over."""

import json

import pytest
from loop_kit import Loop, config, hand_clock, rule
from test_told import Told

from rsi.cli import main

HOUR = 3600.0


@pytest.fixture
def time():
    with hand_clock() as made:
        yield made


def fails(loop, fixed, control):
    return lambda _scope, arms: (loop.random.random() < (control if "control" in arms.values() else fixed), 1)


def verified(path, time, holdout, on=("alarm",)):
    told = Told(path, list(on), verify={"holdout": holdout})
    loop = told.loop
    loop.use([rule(categories=("provider_5xx",))])
    loop.client()
    loop.fail(n=15, ok=35, category="provider_5xx")
    loop.pipeline.cycle()
    helped = loop.until(lambda fix: fix.state != "canary", fails(loop, 0.02, 0.4), clock_=time)
    assert helped.state == "verified"
    time.forward(2 * HOUR)
    return told


def hour(loop, time, rate, n=60):
    """An hour of traffic, and the look at its end."""
    loop.act(n, fails(loop, rate, rate))
    time.forward(HOUR)
    loop.pipeline.cycle()


def steps(loop):
    return [entry["what"] for entry in loop.fix().journal if entry["what"].startswith("fix.regression")]


def about_fixes(told):
    return [(kind, data) for kind, data in told.all() if data.get("of") == "regression"]


def test_a_suspicion_is_shown_and_told_once_and_so_is_its_end(tmp_path, time):
    told = verified(tmp_path, time, 0.0)
    loop = told.loop
    assert loop.fix().regression is None
    for _ in range(3):
        hour(loop, time, 0.7)
    found = loop.fix().regression
    assert (found.kind, loop.fix().state) == ("suspected", "verified")
    assert "nobody is without the fix any more" in found.why
    for _ in range(30):
        hour(loop, time, 0.0, n=90)
    assert loop.fix().regression is None
    assert steps(loop) == ["fix.regression", "fix.regression_over"]
    (begun, data), (over, end) = about_fixes(told)
    assert (begun, data["kind"], data["id"], over, end["id"]) == ("alarm", "suspected", "f1", "resolved", "f1")
    assert set(end) == {"of", "id", "source", "task", "state", "at"}


def test_what_is_rolled_back_is_suspected_no_more(tmp_path, time):
    told = verified(tmp_path, time, 0.0)
    hour(told.loop, time, 0.7)
    hour(told.loop, time, 0.7)
    assert told.loop.fix().regression.kind == "suspected"
    told.loop.pipeline.rollback("f1", "person:test")
    told.loop.pipeline.cycle()  # within the hour
    assert told.loop.fix().regression is None
    assert [(kind, data["state"]) for kind, data in about_fixes(told)] == [
        ("alarm", "verified"),
        ("resolved", "rolled_back"),
    ]


def test_while_the_holdout_stands_an_outage_for_all_is_shown_and_nobody_is_woken(tmp_path, time):
    told = verified(tmp_path, time, 0.3)
    hour(told.loop, time, 0.7, n=100)
    assert (told.loop.fix().state, told.loop.fix().regression.kind) == ("verified", "not_the_fix")
    assert about_fixes(told) == []


def test_a_restart_neither_forgets_nor_tells_again(tmp_path, time):
    told = verified(tmp_path, time, 0.0)
    loop = told.loop
    hour(loop, time, 0.7)
    hour(loop, time, 0.7)
    since = loop.fix().regression.since
    loop.restart()
    hour(loop, time, 0.7)
    assert loop.fix().regression.since == since
    assert steps(loop) == ["fix.regression"]
    assert len(about_fixes(told)) == 1


def test_rsi_fix_shows_it(tmp_path, time, capsys):
    told = verified(tmp_path, time, 0.0)
    hour(told.loop, time, 0.7)
    hour(told.loop, time, 0.7)
    told.loop.close()

    def rsi(*words):
        with pytest.raises(SystemExit, match="0"):
            main(["--home", str(told.loop.home.path), *words])
        return capsys.readouterr().out

    assert "regression suspected, since" in rsi("fix", "f1")
    assert json.loads(rsi("fix", "f1", "--json"))["regression"]["kind"] == "suspected"
    assert json.loads(rsi("fixes", "--json"))["fixes"][0]["regression"]["kind"] == "suspected"


def test_a_home_with_nothing_verified_says_nothing(tmp_path, time):
    loop = Loop(tmp_path, conf=config(verify={"holdout": 0}))
    loop.client()
    loop.fail(n=15, ok=35)
    loop.pipeline.cycle()
    time.forward(2 * HOUR)
    loop.pipeline.cycle()
    assert loop.fix().regression is None
    loop.close()
