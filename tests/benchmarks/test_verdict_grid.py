"""The verdict's grid in its short form: every limit holds in it, and a grid that catches nobody is refused."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def grid():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("verdict")
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_short_form_holds_every_limit():
    done = subprocess.run(
        [sys.executable, "benchmarks/verdict.py"], cwd=ROOT, capture_output=True, text=True, timeout=380, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "every limit holds" in done.stdout
    assert "grid hard enough" in done.stdout


def test_a_grid_in_which_peeking_or_the_bayes_factor_do_well_is_too_easy(grid):
    assert grid.too_easy({grid.Z: 0.9, grid.BAYES: 0.9}) is None
    assert "z, peeked errs in 14.0%" in grid.too_easy({grid.Z: 0.14, grid.BAYES: 0.9})
    assert "Bayes factor errs in 20.0%" in grid.too_easy({grid.Z: 0.9, grid.BAYES: 0.2})


def test_an_easy_grid_fails_as_a_whole(grid, monkeypatch, capsys):
    monkeypatch.setattr(grid, "WORLDS", {"independent .02": grid.WORLDS["independent .02"]})
    assert grid.print_false(30, 60, peer=False) is False
    assert "TOO EASY" in capsys.readouterr().out


def test_a_rule_that_errs_is_above_its_limit(grid):
    good = grid.Tally(1000, 35, 40, 20)
    assert not grid.broken(good)
    for name, bad in (("verified", 60), ("worse", 70), ("early", 60)):
        assert grid.broken(grid.Tally(**{"runs": 1000, "verified": 35, "worse": 40, "early": 20, name: bad}))


def test_the_worlds_draw_outcomes_before_any_label_and_repeat(grid):
    import random

    for name, world in grid.WORLDS.items():
        rows = [list(world(random.Random(name), 120)) for _ in range(2)]
        assert rows[0] == rows[1]
        began = {}
        for unit, _, fraction in rows[0]:
            assert 0 < fraction < 1
            assert began.setdefault(unit, fraction) == fraction, f"{name}: a unit's fraction is the one it started with"


def test_every_kind_of_world_that_was_asked_for_is_there(grid):
    wanted = (
        "independent .02", "independent .6", "shared bursts 1.2", "shared bursts 12", "outage ends", "outage begins", "drift",
        "day and night", "sessions of 1 to 50", "heavy tail", "10 % canary", "ramp",
    )  # fmt: skip
    for kind in wanted:
        assert any(kind in name for name in grid.WORLDS), kind


@pytest.mark.parametrize("there", [True, False])
def test_the_other_package_has_a_column_or_the_table_says_that_it_could_not_be_had(grid, monkeypatch, capsys, there):
    words = {"independent .2": ["verified", "worse", "verified", "undecided"]} if there else None
    monkeypatch.setattr(grid, "WORLDS", {"independent .2": grid.WORLDS["independent .2"]})
    monkeypatch.setattr(grid.verdict_peer, "words", lambda names: words)
    grid.print_false(30, 60, peer=True)
    said = capsys.readouterr().out
    assert ("50.0 / 25.0" in said) is there
    assert ("not there" in said) is not there


def test_the_other_packages_driver_reads_streams_and_writes_words(grid, tmp_path):
    """With a stand-in of its API that always takes back: the protocol between the two processes."""
    package = tmp_path / "self_improving_loop"
    package.mkdir()
    (package / "__init__.py").write_text(STAND_IN)
    (package / "core.py").write_text("")
    lines = "\n".join(json.dumps(grid.verdict_peer.streams(name, 2)) for name in ("independent .6", "outage ends"))
    done = subprocess.run(
        [sys.executable, "-c", grid.verdict_peer.DRIVE], input=lines, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert [json.loads(line) for line in done.stdout.splitlines()] == [["worse", "worse"]] * 2


STAND_IN = """
class TelegramNotifier:
    def __init__(self, enabled): pass

class SelfImprovingLoop:
    def __init__(self, data_dir, notifier, improvement_strategy):
        self.rollback = type("R", (), {"VERIFICATION_WINDOW": 10})
    def track(self, agent_id, task, execute_fn):
        try:
            execute_fn()
        except RuntimeError:
            return {"rollback_executed": {"why": "x"}, "improvement_applied": 1}
        return {"rollback_executed": None, "improvement_applied": 0}
"""
