"""Issues move through their states as the table says, and only so."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from analyze_world import DAY, HOUR, World
from sqlalchemy import insert

from rsi.analyze import lifecycle
from rsi.analyze.lifecycle import Facts
from rsi.errors import InvalidInputError, NotFoundError
from rsi.model import IssueState
from rsi.store import issue_rows, journal
from rsi.store import issues as stored
from rsi.store.schema import fixes

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "issues.md"
CALM = Facts(in_state=1.0, age=1.0, unrecovered=1, quiet=0.0, gap=0.0, traffic=True, trend="new", back=False)


def set_state(world: World, ref: str, state: str) -> None:
    world.store.write(lambda conn: stored.set_state(conn, ref, state, "person:test"))


def test_the_documented_table_is_the_codes_table():
    assert lifecycle.as_markdown() in DOCS.read_text(encoding="utf-8")


def test_every_state_can_be_reached_and_left():
    moves = [(before, row.after) for row in lifecycle.TABLE for before in row.before]
    reached = {after for _, after in moves} | {given.after for given in lifecycle.BY_PERSON} | {"new"}
    assert reached == set(get_args(IssueState))
    assert {before for before, _ in moves} == set(get_args(IssueState)) - {"ignored"}
    assert all(before != after for before, after in moves)


def test_nothing_moves_without_a_reason():
    for state in set(get_args(IssueState)) - {"escalating"}:
        assert lifecycle.step(state, CALM) is None
    assert lifecycle.step("escalating", CALM._replace(trend="increasing")) is None


def test_three_failures_are_no_longer_news(world: World):
    world.fail(times=2)
    assert world.only().state == "new"
    world.fail()
    assert world.only().state == "ongoing"
    assert [(one.before, one.after, one.rule) for one in world.changed] == [("new", "ongoing", "no longer news")]


def test_recovered_steps_alone_stay_new(world: World):
    for n in range(5):
        world.add(kind="step", parent=f"run{n}", error="429 Too Many Requests")
        world.add(id=f"run{n}")
    world.cycle()
    assert (world.only().state, world.only().recurring) == ("new", False)


def test_a_day_makes_a_single_failure_ongoing(world: World):
    world.fail(kind="tool", parent="never", task="fetch")
    world.at += 25 * HOUR
    world.cycle()
    assert world.only().state == "ongoing"


def test_quiet_with_traffic_resolves(world: World):
    world.fail(times=4)
    world.at += 23 * HOUR
    world.succeed(5)
    assert world.only().state == "ongoing"
    world.at += 2 * HOUR
    world.cycle()
    assert world.only().state == "resolved"


def test_quiet_without_traffic_does_not_resolve_until_it_is_forgotten(world: World):
    world.fail(times=4)
    world.at += 3 * DAY
    world.succeed(5, task="another", source="elsewhere")
    assert world.only().state == "ongoing"
    world.at += 28 * DAY
    world.cycle()
    assert world.only().state == "resolved"
    assert world.changed[0].rule == "was forgotten"


def test_old_logs_show_what_was_in_them_before_it_is_resolved(world: World):
    world.add_all([{"error": "429 Too Many Requests", "ts": world.at - 60 * DAY, "backfill": True}] * 3)
    world.add(ts=world.at - 50 * DAY, backfill=True)
    world.cycle()
    world.cycle()
    assert world.only().state == "ongoing"
    world.at += 25 * HOUR
    world.cycle()
    assert world.only().state == "resolved"


def test_traffic_elsewhere_in_the_source_says_nothing_about_a_task(world: World):
    world.fail(times=4)
    world.at += 2 * DAY
    world.succeed(5, task="another")
    assert world.only().state == "ongoing"


def test_what_strikes_rarely_has_to_be_quiet_for_longer(world: World):
    for _ in range(4):
        world.fail()
        world.at += 20 * HOUR
    world.at += 10 * HOUR  # 30 h of silence, at a usual gap of 20 h
    world.succeed(5)
    assert world.only().state == "ongoing"
    world.at += 31 * HOUR
    world.cycle()
    assert world.only().state == "resolved"


def test_coming_back_is_a_regression_that_names_release_and_cause(world: World):
    world.fail(times=3)
    set_state(world, "i1", "resolved")
    world.at += HOUR
    world.fail(release="2.4.0")
    found = world.only()
    assert found.state == "regressed"
    assert found.why.startswith("same template; came back")
    assert "in release 2.4.0 after person:test" in found.why
    assert world.changed[0].note in found.why


def test_a_second_regression_replaces_the_note_of_the_first(world: World):
    world.fail(times=3)
    for release in ("2.4.0", "2.5.0"):
        set_state(world, "i1", "resolved")
        world.at += HOUR
        world.fail(release=release)
    assert "2.4.0" not in world.only().why
    assert world.only().why.count("came back") == 1


def test_recovered_failures_and_older_ones_do_not_bring_it_back(world: World):
    world.fail(times=3)
    world.at += 2 * HOUR
    set_state(world, "i1", "resolved")
    world.fail(ts=world.at - HOUR)
    world.at += 60
    world.add(kind="step", parent="run", error="429 Too Many Requests")
    world.add(id="run")
    world.cycle()
    assert world.only().state == "resolved"


def test_a_regression_becomes_ongoing_after_a_day(world: World):
    world.fail(times=3)
    set_state(world, "i1", "resolved")
    world.at += HOUR
    world.fail()
    world.at += 25 * HOUR
    world.fail()
    assert world.only().state == "ongoing"


def traffic(world: World, hours: int, failures: int, tasks: int = 10) -> None:
    for _ in range(hours):
        world.at += HOUR
        world.add_all([{"error": "429 Too Many Requests"}] * failures + [{}] * (tasks - failures))
    world.cycle()


def test_rising_failures_escalate_and_calm_down_again(world: World):
    traffic(world, 48, 1)
    assert world.only().state == "ongoing"
    traffic(world, 18, 5)
    assert (world.only().state, world.only().trend) == ("escalating", "increasing")
    traffic(world, 36, 1)
    assert world.only().state == "ongoing"
    assert world.only().trend != "increasing"


def test_a_burst_is_no_escalation(world: World):
    """Sixteen failures within an hour, where one a day is usual: significant, if they were independent."""
    for _ in range(6):
        traffic(world, 1, 1)
        traffic(world, 23, 0)
    traffic(world, 1, 10, tasks=12)
    assert (world.only().state, world.only().trend) == ("ongoing", "stable")


def test_an_issue_that_is_young_and_steady_does_not_escalate(world: World):
    """The days before it was first seen say nothing of a trend."""
    traffic(world, 6 * 24, 0)
    traffic(world, 40, 1)
    assert (world.only().state, world.only().trend) == ("ongoing", "stable")


def test_what_goes_away_is_decreasing(world: World):
    traffic(world, 72, 3)
    traffic(world, 23, 0)
    traffic(world, 1, 1)
    assert (world.only().state, world.only().trend) == ("ongoing", "decreasing")


def test_an_issue_of_steps_has_a_trend_against_its_sources_tasks(world: World):
    for hour in range(70):
        world.at += HOUR
        step = {"kind": "tool", "task": "fetch", "error": "Connection refused"}
        world.add_all([{}] * 10 + [step] * (4 if hour >= 48 else 1))
    world.cycle()
    found = world.only()
    assert (found.state, found.trend, found.failure_rate) == ("ongoing", "increasing", 0.0)
    world.fail("Connection refused", kind="tool", task="fetch")
    assert world.only().state == "escalating"


def test_old_logs_do_not_bring_a_resolved_issue_back(world: World):
    world.fail(times=3)
    world.at += 2 * DAY
    world.succeed(5)
    assert world.only().state == "resolved"
    old = {"error": "429 Too Many Requests", "ts": world.at - 30 * DAY, "backfill": True}
    world.add_all([old] * 20)
    world.cycle()
    world.cycle()
    assert (world.only().state, world.only().frequency) == ("resolved", 23)


def a_standing_fix(issue: int) -> dict[str, object]:
    plain = dict.fromkeys(("dedupe", "rule", "category", "source", "task", "knob", "title"), "x")
    encoded = {"change": b'{"target":"t","before":{},"after":{}}', "evidence": b"{}", "rails": b"[]"}
    return {
        **plain,
        **encoded,
        "id": 7,
        "issue": issue,
        "safe": True,
        "state": "verified",
        "created": 0.0,
        "updated": 0.0,
    }


def test_a_fix_that_stands_is_named_as_what_it_came_back_after(world: World):
    world.fail(times=3)
    world.store.write(lambda conn: conn.execute(insert(fixes).values(**a_standing_fix(1))))
    world.at += 30 * HOUR
    world.succeed(5)
    assert world.only().state == "resolved"
    world.at += HOUR
    world.fail(release="3.1")
    assert "in release 3.1 after fix f7" in world.only().why


def test_more_traffic_at_the_same_rate_is_not_a_trend(world: World):
    traffic(world, 48, 1, tasks=4)
    traffic(world, 20, 5, tasks=20)
    assert (world.only().state, world.only().trend) == ("ongoing", "stable")


def test_ignored_stays_ignored_and_is_still_counted(world: World):
    world.fail(times=3)
    set_state(world, "i1", "ignored")
    world.at += 2 * DAY
    world.fail(times=5)
    assert (world.only().state, world.only().frequency) == ("ignored", 8)
    set_state(world, "i1", "ongoing")
    assert world.only().state == "ongoing"


def test_a_persons_word_is_in_the_journal(world: World):
    world.fail()
    set_state(world, "i1", "ignored")
    with world.store.read() as conn:
        (entry,) = journal.for_ref(conn, "i1")
    assert (entry.who, entry.what, entry.detail) == (
        "person:test",
        "issue.state",
        {"before": "new", "after": "ignored"},
    )


def test_nobody_can_set_a_state_that_follows_from_facts(world: World):
    world.fail()
    with pytest.raises(InvalidInputError, match="ongoing, resolved, ignored"):
        set_state(world, "i1", "escalating")
    with pytest.raises(NotFoundError, match="i9"):
        set_state(world, "i9", "resolved")


def test_quiet_issues_are_looked_at_in_turn(world: World):
    words = ["alpha", "beta", "gamma", "delta", "omega", "kappa"]
    world.add_all([{"error": f"{a} broke {b}", "task": "solo", "source": "gone"} for a in words for b in words])
    world.cycle()
    for _ in range(2):  # more of them than one pass looks at, none with traffic
        world.at += DAY
        world.cycle()
    world.at += DAY
    world.succeed(task="solo", source="gone")
    for _ in range(5):
        world.cycle()
    assert {one.state for one in world.issues()} == {"resolved"}


def test_a_pass_without_anything_new_writes_nothing(world: World):
    world.fail(times=3)
    world.cycle()
    with world.store.read() as conn:
        before = issue_rows.load(conn, [1])
    world.cycle()
    with world.store.read() as conn:
        assert issue_rows.load(conn, [1]) == before
    assert world.changed == []
