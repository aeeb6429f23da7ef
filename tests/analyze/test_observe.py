"""New rows become failures of templates, hours, counters and health; only what failed counts."""

from __future__ import annotations

import pytest
from analyze_world import DAY, HOUR, World, rules

from rsi.analyze.observe import Observer, write
from rsi.model import FixRef
from rsi.store import issues as stored
from rsi.store import outcomes, rollups


def totals(world: World, source: str = "app", task: str = "search") -> tuple[int, int]:
    with world.store.read() as conn:
        found = rollups.totals(conn, source, task, 0)
    return found.n, found.failed


def by_category(world: World, task: str | None = "search") -> dict[str, rollups.CategoryTotals]:
    with world.store.read() as conn:
        return rollups.by_category(conn, "app", task, 0)


def test_the_first_failure_of_a_template_makes_an_issue(world: World) -> None:
    delta = world.fail("429 Too Many Requests: slow down, request 8271 refused")
    found = world.only()
    assert delta.created == [1]
    assert (found.id, found.category, found.state, found.frequency, found.unrecovered) == (
        "i1",
        "rate_limit",
        "new",
        1,
        1,
    )
    assert found.title.startswith("rate_limit: 429 Too Many Requests")
    assert (found.sources, found.task_type, found.why) == (["app"], "search", "same template")


def test_the_same_template_with_other_ids_is_the_same_issue(world: World) -> None:
    world.fail("ValueError: could not load order 8817261 for user 993")
    world.fail("ValueError: could not load order 1172 for user 17")
    assert [(one.id, one.frequency) for one in world.issues()] == [("i1", 2)]


def test_one_batch_and_many_batches_give_the_same_issues(world: World) -> None:
    texts = ["429 Too Many Requests", "Connection refused", "429 Too Many Requests", "KeyError: 'name'"]
    for text in texts:
        world.add(error=text, source="one")
    world.cycle()
    for text in texts:
        world.fail(text, source="two")
    for one in world.issues():
        assert one.frequency % 2 == 0
        assert sorted(one.sources) == ["one", "two"]


@pytest.mark.parametrize("status", ["started", "paused", "cancelled"])
def test_what_did_not_fail_is_no_failure_even_with_an_error_text(world: World, status: str) -> None:
    world.add(status=status, error="429 Too Many Requests")
    world.cycle()
    assert world.issues() == []
    assert world.health().n == 0


def test_a_failure_that_is_none_counts_nowhere(world: World) -> None:
    world.add(error="GraphInterrupt: waiting for approval", error_type="langgraph.errors.GraphInterrupt")
    assert totals(world) == (1, 1)  # by its status, at ingest
    delta = world.cycle()
    assert sum(delta.excused.values()) == 1
    assert totals(world) == (0, 0)
    assert world.issues() == []
    assert by_category(world) == {}
    assert world.health().state == "unknown"


def test_a_failure_without_a_text_is_grouped_by_task_and_claim(world: World) -> None:
    world.add(status="failed", task="plan")
    world.add(status="failed", task="plan")
    world.add(status="failed", task="act")
    world.add(status="failed", task="act", claimed=("tool_execution",))
    world.cycle()
    found = {(one.task_type, one.category): one.frequency for one in world.issues()}
    assert found == {("plan", "unknown"): 2, ("act", "unknown"): 1, ("act", "tool_execution"): 1}
    assert all("no error text" in one.title for one in world.issues())


def test_counters_by_category_hold_tasks_and_steps_apart(world: World) -> None:
    world.fail("429 Too Many Requests", times=2)
    world.fail("429 Too Many Requests", kind="tool", parent="later", task="fetch")
    assert by_category(world, None)["rate_limit"] == (2, 2, 1)


def test_samples_are_few_distinct_and_cut(world: World) -> None:
    for n in range(6):
        world.fail(f"429 Too Many Requests, try {n}000 " + "x" * 900)
    found = world.only().sample_errors
    assert len(found) == len(set(found)) == 3
    assert all(len(one) == 500 for one in found)


def test_first_and_last_seen_follow_the_time_of_the_outcomes(world: World) -> None:
    world.fail(ts=world.at - 5 * HOUR)
    world.fail(ts=world.at - 9 * HOUR)
    found = world.only()
    assert found.first_seen < found.last_seen
    assert found.frequency == 2


def test_backfill_makes_an_issue_but_no_health_and_no_live_count(world: World) -> None:
    world.fail(times=6, ts=world.at - 3 * DAY, backfill=True)
    assert world.only().unrecovered == 6
    with world.store.read() as conn:
        assert stored.get_row(conn, "i1").live == 0
    assert world.health().state == "unknown"


def test_old_logs_alone_are_judged_by_their_own_time(world: World) -> None:
    for n in range(8):
        world.add(error="429 Too Many Requests" if n % 2 else None, status="failed" if n % 2 else "ok",
                  ts=world.at - 60 * DAY, backfill=True)  # fmt: skip
    world.cycle()
    found = world.only()
    assert found.failure_rate == pytest.approx(0.5)
    assert found.recurring


def test_every_failure_is_marked_with_its_template(world: World) -> None:
    world.fail()
    with world.store.read() as conn:
        assert [row.outcome.id for row in outcomes.samples(conn, [1], 5)] == ["o1"]


def test_trial_events_are_tasks_in_experiments(world: World) -> None:
    ref = FixRef("f1", "fixed", 0.5)
    world.add(fixes=(ref,))
    world.add(fixes=(ref,), status="started")
    world.add(fixes=(ref,), kind="tool")
    world.add(fixes=(ref,), backfill=True, ts=world.at - 2 * DAY)
    world.add(fixes=(ref,), error="GraphInterrupt()", error_type="GraphInterrupt")
    delta = world.cycle()
    assert [row.outcome.status for row, _ in delta.trial_events] == ["ok", "started", "cancelled"]
    assert len(delta.trial_outcomes) == 3


def test_a_delta_that_was_rolled_back_can_be_made_again(world: World) -> None:
    world.add(error="429 Too Many Requests")
    with world.store.read() as conn:
        rows = outcomes.since(conn, 0, 10)
        delta = world.observer.observe(conn, rows, world.at, world.config)

    def crash(conn: object) -> None:
        write(conn, delta)  # type: ignore[arg-type]
        raise RuntimeError("killed before the commit")

    with pytest.raises(RuntimeError):
        world.store.write(crash)
    assert world.issues() == []
    world.cycle()
    assert world.only().frequency == 1


def test_an_observer_that_restarts_knows_its_templates_again(world: World) -> None:
    world.fail("ValueError: could not load order 8817261")
    world.observer = Observer(rules())
    world.fail("ValueError: could not load order 42")
    assert world.only().frequency == 2
