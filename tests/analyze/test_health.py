"""Health says how sure it is, forgets, and alarms early but rarely."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from analyze_world import DAY, HOUR, World

from benchmarks import health as bench
from rsi.analyze import health, memory
from rsi.analyze.health import FinalTask, advance, counts, failure_of
from rsi.config import Config, SourceConfig
from rsi.model import Outcome
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
    world.succeed(30)
    assert world.health().state == "healthy"
    world.fail(times=4)
    assert world.health().state == "degraded"


def test_a_source_falls_silent_into_unknown(world: World):
    world.succeed(40)
    world.at += DAY
    assert world.health("app").n == pytest.approx(40)  # a day of silence costs nothing
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


def live_many(life: Life, failures: Iterable[float]) -> list[str]:
    return [life.live(failure) for failure in failures]


def steady(life: Life, outcomes: int) -> None:
    """One failure in twenty."""
    live_many(life, (float(n % 20 == 10) for n in range(outcomes)))


@pytest.mark.parametrize("per_day", [8, 50, 1_000, 20_000])
def test_all_failing_is_an_alarm_at_once_and_the_score_says_so(per_day: int):
    life = Life(every=DAY / per_day)
    steady(life, min(per_day * 3, 6_000))
    needed = 5 if per_day <= 1_000 else 6
    assert live_many(life, [1.0] * needed)[-1] == "unhealthy"
    row = life.rows["app", ""]
    assert counts(row, life.at).mean < 0.9


def test_at_more_traffic_more_outcomes_are_remembered():
    slow, busy = Life(), Life(every=DAY / 5_000)
    steady(slow, 400)
    steady(busy, 20_000)
    assert counts(slow.rows["app", ""], slow.at).n == pytest.approx(57.7, abs=0.5)
    assert counts(busy.rows["app", ""], busy.at).n > 10_000


def test_outcomes_of_one_night_are_forgotten_by_count_not_by_the_hours_between():
    """Eight outcomes within a minute, once a day: 20 outcomes are two and a half days, as if they came evenly."""
    life = Life()
    for _ in range(60):
        life.every = 1.0
        live_many(life, [0.0] * 7)
        life.every = DAY - 7.0
        life.live(0.0)
    assert counts(life.rows["app", ""], life.at).n == pytest.approx(57.7, rel=0.15)


def test_what_is_of_another_time_is_forgotten_at_once():
    life = Life(every=DAY / 5_000)
    steady(life, 10_000)
    live_many(life, [float(n % 2) for n in range(60)])
    worse = counts(life.rows["app", ""], life.at)
    assert worse.n < 150
    assert 0.4 < worse.mean < 0.7
    states = live_many(life, [0.0] * 130)
    assert states[-1] == "healthy"
    assert counts(life.rows["app", ""], life.at).mean > 0.9


def test_bursts_are_learned_and_an_outage_is_none():
    alone = memory.bursts(72.0, 1443.0, 3.6, 0)
    threes = memory.bursts(72.0, 1443.0, 48.0, 0)
    assert alone.effect == pytest.approx(1.0, abs=0.05)
    assert threes.again == pytest.approx(0.59, abs=0.02)
    assert 2.5 < threes.effect < 4
    during = memory.bursts(72.0 + 20, 1443.0 + 20, 48.0 + 19, 20)
    assert during.effect == pytest.approx(threes.effect, rel=0.02)
    assert memory.bursts(14.0, 29.0, 8.5, 0).effect == 1.0  # as much as chance does in 29 outcomes
    assert memory.bursts(5.0, 5.0, 4.0, 5) == memory.bursts(0.0, 9.0, 0.0, 0) == (0.0, 1.0)
    assert health.run_needed(0.9, 1443.0, alone.again) == 5
    assert health.run_needed(0.9, 1443.0, threes.again) > 12


def test_intervals_of_a_busy_source_know_its_bursts():
    covered, n = bench.coverage(64, 1_000, 0.05, bench.bursts(3))
    assert covered > 0.8  # .55 if its failures were taken for independent
    assert n < 900


def test_a_change_is_followed_also_where_the_slo_does_not_care():
    life = Life(slo=0.5, every=DAY / 5_000)
    steady(life, 10_000)
    live_many(life, (float(n % 3 == 0) for n in range(60)))
    found = counts(life.rows["app", ""], life.at)
    assert life.rows["app", ""].state == "healthy"
    assert 0.6 < found.mean < 0.8


def test_a_busy_source_falls_silent_into_unknown_as_soon_as_a_slow_one():
    slow, busy = Life(), Life(every=DAY / 5_000)
    steady(slow, 400)
    steady(busy, 20_000)
    after = [counts(life.rows["app", ""], life.at + 3 * DAY).n for life in (slow, busy)]
    assert after == pytest.approx([57.7 / 4, 57.7 / 3], rel=0.05)
    assert counts(busy.rows["app", ""], busy.at + 1e9).n == pytest.approx(0.0, abs=1e-9)


def test_an_outcome_after_a_long_silence_begins_anew():
    life = Life(every=DAY / 5_000)
    steady(life, 10_000)
    life.every = 40 * DAY
    assert life.live(1.0) == "unknown"
    assert counts(life.rows["app", ""], life.at).n == pytest.approx(1.0, abs=0.01)


def test_a_slower_decline_is_found_by_the_whole_memory():
    life = Life(every=DAY / 1_000)
    steady(life, 3_000)
    states = live_many(life, (float(n % 7 == 3) for n in range(3_000)))  # 14 %: no 60 of them are surely below .9
    assert "unhealthy" in states


RUNS = 80


def test_false_alarms_are_rare_and_detection_is_early():
    """The short form of `benchmarks/health.py`."""
    found = bench.alarms(RUNS)["rsi"]
    assert found["false_alarms_30d"] <= 0.07
    assert 6 <= found["half_median"] <= 12
    assert found["half_p90"] <= 24
    assert found["all_max"] <= 5


@pytest.mark.parametrize(("traffic", "rate"), [(8, 0.05), (8, 0.5), (100, 0.1), (100, 0.9)])
def test_intervals_cover_what_they_promise(traffic: int, rate: float):
    covered, n = bench.coverage(240, traffic, rate)
    assert 0.91 <= covered <= 0.99
    assert n == pytest.approx({8: 57, 100: 195}[traffic], rel=0.1)


def test_busy_sources_alarm_no_more_often():
    (row,) = bench.by_traffic(10, traffic=(100,))
    assert row["false_alarms_30d"] <= 0.2
    assert row["found_0.5"] <= 22
    assert row["found_1.0"] <= 6


def test_what_is_forgotten_takes_its_share_of_the_bursts_along():
    """`joined` counts failures that followed a failure: it can never be more than the failures that are remembered."""
    life = Life(every=HOUR / 6)
    forgot = False
    for n in range(900):
        held = life.rows["app", ""].failures if life.rows else 0.0
        life.live(float(n > 600 or n % 20 < 10))
        row = life.rows["app", ""]
        forgot |= row.failures < held / 2
        assert row.joined <= row.failures
    assert forgot


def test_silence_takes_its_share_of_the_bursts_along():
    life = Life(every=HOUR)
    for n in range(40):
        life.live(float(n % 8 < 4))
    held = life.rows["app", ""]
    life.at += 6 * DAY
    life.live(0.0)
    left = life.rows["app", ""]
    assert left.failures < held.failures / 2
    assert left.joined / left.failures == pytest.approx(held.joined / held.failures)
