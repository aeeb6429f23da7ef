"""Health says how sure it is, forgets, and alarms early but rarely."""

from __future__ import annotations

import random
import statistics

import msgspec
import pytest
from analyze_world import DAY, HOUR, World

from rsi.analyze import health
from rsi.analyze.health import FinalTask, advance, counts, failure_of
from rsi.config import Config, SourceConfig
from rsi.model import Outcome
from rsi.stats import beta_interval
from rsi.store.health import HealthRow, Scope

EIGHT_A_DAY = DAY / 8


class Life:
    """One source, outcome after outcome."""

    def __init__(self, slo: float = 0.9, every: float = EIGHT_A_DAY) -> None:
        self.config = Config(sources={"app": SourceConfig(slo=slo)})
        self.rows: dict[Scope, HealthRow] = {}
        self.every = every
        self.at = 0.0
        self.entered = 0

    def live(self, failure: float) -> str:
        self.at += self.every
        step = advance(self.rows, [FinalTask("app", "t", self.at, failure, None)], self.config)
        self.rows = {(row.source, row.task): row for row in step.rows}
        self.entered += sum(alarm.entered for alarm in step.alarms if not alarm.task)
        return self.rows["app", ""].state


def outcome(**fields: object) -> Outcome:
    return Outcome(id="x", ts=0.0, source="app", task="t", kind="task", **{"status": "ok"} | fields)  # type: ignore[arg-type]


def test_no_data_is_unknown_not_healthy(world: World):
    found = world.health()
    assert (found.health_score, found.lo, found.hi, found.n, found.state) == (None, 0.0, 1.0, 0.0, "unknown")
    assert world.health("never seen").state == "unknown"


def test_few_outcomes_stay_unknown():
    life = Life()
    assert [life.live(0.0) for _ in range(2)] == ["unknown", "unknown"]
    assert life.live(1.0) == "unknown"


def test_many_successes_are_healthy_and_some_failures_degraded(world: World):
    world.succeed(40)
    assert world.health().state == "healthy"
    world.fail(times=3)
    assert world.health().state == "degraded"


def test_a_source_falls_silent_into_unknown(world: World):
    world.succeed(40)
    world.at += DAY
    assert world.health("app").n == pytest.approx(34.6, abs=0.1)  # 40 outcomes, the older ones half forgotten
    assert world.health("app").state == "healthy"
    world.at += 9 * DAY
    found = world.health("app")
    assert found.state == "unknown"
    assert found.hi - found.lo > 0.5


def test_sources_and_tasks_are_told_apart(world: World):
    world.succeed(20, source="good", task="a")
    world.fail(source="bad", task="b", times=20)
    found = world.health()
    assert found.sources["good"]["state"] == "healthy"
    assert found.sources["bad"]["tasks"]["b"]["state"] == "unhealthy"
    assert set(found.sources["good"]["tasks"]) == {"a"}
    assert 0.4 < found.health_score < 0.6
    assert found.n == pytest.approx(found.sources["good"]["n"] + found.sources["bad"]["n"])
    assert world.health("good").health_score > 0.9
    assert set(world.health("good").sources) == {"good"}


def test_health_is_valid_json_without_nan(world: World):
    world.fail(times=3)
    assert b"NaN" not in msgspec.json.encode(world.health())


def test_a_source_of_old_logs_is_known_and_unknown(world: World):
    world.add_all([{"ts": world.at - 3 * DAY, "backfill": True}] * 30)
    world.cycle()
    found = world.health()
    assert found.sources["app"]["state"] == found.sources["app"]["tasks"]["search"]["state"] == "unknown"
    assert (found.n, found.state) == (0.0, "unknown")
    world.succeed(20)
    world.add(ts=world.at - 3 * DAY, backfill=True, error="429 Too Many Requests")
    world.cycle()
    assert world.health("app").health_score > 0.9


def test_steps_never_count(world: World):
    world.add(kind="tool", error="429 Too Many Requests")
    world.cycle()
    assert world.health().n == 0


@pytest.mark.parametrize(("grade", "failure"), [(5, 0.0), (4, 0.0), (3, 1 / 3), (2, 2 / 3), (1, 1.0), (None, 0.0)])
def test_grades_take_away_their_share(grade: float | None, failure: float):
    assert failure_of(outcome(quality=grade), None) == pytest.approx(failure)


def test_a_good_grade_does_not_excuse_a_failure():
    assert failure_of(outcome(status="failed", quality=5), "high") == 1.0
    assert failure_of(outcome(status="failed"), "low") == 0.5


def test_five_failures_in_a_row_are_an_alarm_at_once_from_health():
    life = Life()
    for _ in range(200):
        life.live(0.0)
    states = [life.live(1.0) for _ in range(5)]
    assert states[-1] == "unhealthy"


def test_the_run_that_alarms_grows_where_failures_are_expected():
    assert health.run_needed(0.9) == 5
    assert health.run_needed(0.99) == 5
    assert health.run_needed(0.5) == 17


def test_an_alarm_enters_once_and_leaves_when_the_mean_is_back(world: World):
    alarms = [*world.succeed(30).alarms, *world.fail(times=12).alarms, *world.fail().alarms]
    assert [(one.task, one.entered) for one in alarms] == [("search", True), ("", True)]
    for _ in range(120):
        left = world.succeed().alarms
        if left:
            break
    assert [(one.entered, one.state) for one in left] == [(False, "healthy"), (False, "healthy")]
    assert left[0].health_score >= left[0].slo


def test_the_slo_of_a_source_is_what_it_is_judged_by():
    strict, easy = Life(slo=0.99), Life(slo=0.5)
    for n in range(60):
        state = [life.live(float(n % 5 == 0)) for life in (strict, easy)]
    assert state == ["unhealthy", "healthy"]


def test_late_outcomes_do_not_turn_time_back():
    life = Life()
    life.live(0.0)
    newest = life.at
    life.at -= 5 * HOUR + life.every
    life.live(0.0)
    assert life.rows["app", ""].at == newest


def test_false_alarms_are_rare_and_detection_is_early():
    days, runs = 30, 60
    false, half, dead = 0, [], []
    for seed in range(runs):
        draw = random.Random(seed)
        life = Life()
        for _ in range(days * 8):
            life.live(float(draw.random() < 0.05))
        false += life.entered
        if life.rows["app", ""].state == "unhealthy":
            continue
        kept = dict(life.rows), life.at
        for rate, found in ((0.5, half), (1.0, dead)):
            life.rows, life.at = dict(kept[0]), kept[1]
            found.append(next(n for n in range(1, 200) if life.live(float(draw.random() < rate)) == "unhealthy"))
    assert false / runs <= 0.05
    assert statistics.median(half) <= 12
    assert max(dead) <= 5


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
def test_intervals_cover_what_they_promise(rate: float):
    draw = random.Random(11)
    covered = []
    for _ in range(400):
        tasks = [
            FinalTask("app", "t", 0.0, float(draw.random() < rate), None) for _ in range(draw.choice((60, 90, 120)))
        ]
        found = counts(advance({}, tasks, Config()).rows[0], 0.0)
        lo, hi = beta_interval(found.failures, found.successes)
        covered.append(lo <= 1 - rate <= hi)
    assert 0.92 <= statistics.mean(covered) <= 0.98
