"""The fleet in its short form: it heals, it harms nobody, and its judge finds what goes wrong."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def fleet():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    made = importlib.import_module("fleet")
    world = importlib.import_module("fleet_world")
    kept = world.WARM_S, world.CLIENTS
    world.WARM_S, world.CLIENTS = 20.0, 2
    yield made
    world.WARM_S, world.CLIENTS = kept
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(autouse=True)
def own_spool(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def incident(fleet, name):
    return next(each for each in fleet.INCIDENTS if each.name == name)


def test_a_fix_for_malformed_answers_heals_them_and_is_explained(fleet):
    found = fleet.play(incident(fleet, "malformed output"), 3, 150.0)
    assert found.word == "verified"
    assert found.healed >= fleet.HEALED
    assert fleet.judge([found]) == []
    assert found.calls > found.calls_off  # it asked again


def test_a_bad_key_is_never_tried_again(fleet):
    found = fleet.play(incident(fleet, "bad key"), 3, 60.0)
    assert found.failed_off > 0
    assert (found.extra, found.word) == (0, "proposed")
    assert fleet.judge([found]) == []


def test_while_paused_nothing_is_started(fleet):
    found = fleet.play(incident(fleet, "paused"), 3, 150.0)
    assert (found.started, found.extra) == (False, 0)
    assert found.failed == found.failed_off > 0  # the twins are twins
    assert fleet.judge([found]) == []


@pytest.fixture
def good(fleet):
    return fleet.Row(
        incident="dying connections", seed=1, units=1000, failed=40, failed_off=160, calls=1200, calls_off=1000,
        fix="retry", word="verified", decided_s=100.0, healed=0.8, harm=(), extra=200, explained=True, started=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"harm": ("3 more failures",)}, "harm: 3 more failures"),
        ({"explained": False}, "not explained"),
        ({"healed": 0.6}, "0 of 1 transient incidents healed"),
        ({"healed": None, "word": "canary"}, "0 of 1 transient incidents healed"),
        ({"incident": "bad key", "extra": 1, "word": "proposed"}, "1 calls repeated"),
        ({"incident": "bad key", "extra": 0}, "was verified"),
        ({"incident": "fixed capacity"}, "was verified"),
        ({"incident": "stuck 503"}, "was verified"),
        ({"incident": "paused"}, "a fix was started"),
        ({"incident": "one source of one down", "word": "-", "started": False}, "no fix was started"),
    ],
)
def test_the_judge_finds_what_was_missed(fleet, good, change, says):
    assert fleet.judge([good]) == []
    (missed,) = fleet.judge([replace(good, **change)])
    assert says in missed


def test_more_failures_or_calls_than_without_are_harm(fleet):
    unit = importlib.import_module("fleet_world").Unit
    told = importlib.import_module("fleet_world").Told

    def run(failed, calls):
        units = [unit("shop", float(n), n < failed, calls // 100) for n in range(100)]
        return told(units=units, calls=calls)

    its = incident(fleet, "dying connections")
    assert fleet.row(its, 1, run(10, 100), run(10, 100), 10.0).harm == ()
    assert "2 more failures" in fleet.row(its, 1, run(12, 100), run(10, 100), 10.0).harm[0]
    assert "calls a unit" in fleet.row(its, 1, run(10, 400), run(10, 100), 10.0).harm[0]


@pytest.fixture(scope="module")
def washouts(fleet):
    return importlib.import_module("verdict_washout")


@pytest.mark.parametrize(
    ("name", "says", "first"),
    [("moves: 4/5 of the demand", 0, 3), ("helps: .3 all the time", 4, 3)],
    ids=["failures that only move", "failures that fall"],
)
def test_a_washout_tells_failures_that_move_from_failures_that_fall(washouts, name, says, first):
    """What it replaces, a control arm that is not above a few tasks before it, verifies both."""
    world = washouts.WORLDS[name]

    def verified(*, first_form):
        ends = [washouts.Run(world, seed, 600.0, first_form=first_form).play() for seed in range(4)]
        return sum(end.word == "verified" for end in ends)

    assert verified(first_form=False) == says
    assert verified(first_form=True) >= first


def test_a_world_in_which_too_much_is_verified_misses_its_goal(washouts):
    verified, other = washouts.End("verified", 60.0, 1), washouts.End("undecided", 1800.0, 6)
    world = washouts.WORLDS["moves: 4/5 of the demand"]
    assert washouts.line("x", world, [verified] + [other] * 99, [other])[1]
    assert not washouts.line("x", world, [verified] * 12 + [other] * 88, [other])[1]
    assert not washouts.line("x", washouts.WORLDS["helps: .3 all the time"], [other] * 9 + [verified], [other])[1]
