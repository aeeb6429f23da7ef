"""A failed step is recovered or not by how its parent ends, whenever that is known."""

from __future__ import annotations

import pytest
from analyze_world import DAY, HOUR, World

from rsi.store import issues as stored

ERROR = "Connection refused"


def counts(world: World) -> tuple[int, int, int]:
    """frequency, unrecovered, tasks_failed of the only issue."""
    with world.store.read() as conn:
        row = stored.get_row(conn, world.only().id)
    return row.frequency, row.unrecovered, row.tasks_failed


def waiting(world: World) -> int:
    with world.store.read() as conn:
        return int(conn.exec_driver_sql("SELECT count(*) FROM pending_steps").scalar_one())


@pytest.mark.parametrize("order", ["step first", "parent first", "together"])
@pytest.mark.parametrize(("status", "unrecovered"), [("ok", 0), ("failed", 1), ("paused", 0), ("cancelled", 0)])
def test_the_parents_end_decides_in_any_order(world: World, order: str, status: str, unrecovered: int) -> None:
    def step() -> None:
        world.add(kind="tool", parent="run", error=ERROR, task="fetch")

    def parent() -> None:
        world.add(id="run", status=status, error="KeyError: 'x'" if status == "failed" else None)

    for act in (parent, step) if order == "parent first" else (step, parent):
        act()
        if order != "together":
            world.cycle()
    world.cycle()
    (found,) = [one for one in world.issues() if one.category == "connection"]
    assert (found.frequency, found.unrecovered) == (1, unrecovered)
    assert waiting(world) == 0


def test_a_guarded_call_that_failed_twice_and_then_worked_is_recovered(world: World) -> None:
    world.add(kind="step", parent="call", error=ERROR)
    world.add(kind="step", parent="call", error=ERROR)
    world.add(id="call", attempt=3)
    world.cycle()
    assert counts(world) == (2, 0, 0)
    assert world.health().health_score == pytest.approx(1.7 / 2.4)  # one success and the prior


def test_a_failed_task_counts_itself_and_its_steps(world: World) -> None:
    world.add(kind="step", parent="call", error=ERROR)
    world.add(id="call", error=ERROR)
    world.cycle()
    assert counts(world) == (2, 2, 1)


@pytest.mark.parametrize("root", ["ok", "failed"])
@pytest.mark.parametrize("batched", [True, False])
def test_steps_in_steps_follow_the_chain_up_to_the_task(world: World, root: str, batched: bool) -> None:
    def settle() -> None:
        if not batched:
            world.cycle()

    world.add(kind="llm", parent="inner", error=ERROR)
    settle()
    world.add(id="inner", kind="tool", parent="outer", error=ERROR)
    settle()
    world.add(id="outer", kind="step", parent="run", error=ERROR)
    settle()
    world.add(id="run", status=root, error="KeyError: 'x'" if root == "failed" else None)
    world.cycle()
    (found,) = [one for one in world.issues() if one.category == "connection"]
    assert (found.frequency, found.unrecovered) == (3, 3 if root == "failed" else 0)
    assert waiting(world) == 0


def test_a_step_whose_failed_parent_ended_ok_further_up_is_recovered(world: World) -> None:
    world.add(id="inner", kind="tool", parent="outer", error=ERROR)
    world.cycle()
    world.add(id="outer", kind="step", parent="run")
    world.cycle()
    assert counts(world) == (1, 0, 0)


def test_a_step_without_a_parent_is_its_own_root(world: World) -> None:
    world.fail(ERROR, kind="tool")
    assert counts(world) == (1, 1, 0)


def test_a_parent_that_only_started_has_not_ended(world: World) -> None:
    world.add(id="run", status="started")
    world.add(kind="tool", parent="run", error=ERROR)
    world.cycle()
    assert waiting(world) == 1


def test_a_parent_that_never_ends_is_given_up(world: World) -> None:
    world.fail(ERROR, kind="tool", parent="lost")
    world.at += world.config.verify.silent_after - 1
    world.cycle()
    assert counts(world) == (1, 0, 0)
    world.at += 2
    world.cycle()
    assert counts(world) == (1, 1, 0)
    assert waiting(world) == 0


def test_a_parent_that_failed_in_no_failure_leaves_its_steps_recovered(world: World) -> None:
    world.add(id="run", error="GraphInterrupt()", error_type="GraphInterrupt")
    world.cycle()
    world.fail(ERROR, kind="tool", parent="run")
    assert counts(world) == (1, 0, 0)


def test_steps_in_a_circle_end(world: World) -> None:
    world.add(id="a", kind="step", parent="b", error=ERROR)
    world.add(id="b", kind="step", parent="a", error=ERROR)
    world.cycle()
    assert counts(world) == (2, 2, 0)


def test_the_same_id_of_another_source_is_another_parent(world: World) -> None:
    world.add(id="run", source="other")
    world.add(kind="tool", parent="run", error=ERROR)
    world.cycle()
    assert waiting(world) == 1


def test_a_step_keeps_its_own_hour_and_backfill_is_never_live(world: World) -> None:
    world.add(kind="tool", parent="run", error=ERROR, ts=world.at - 3 * DAY, backfill=True)
    world.cycle()
    world.at += HOUR
    world.add(id="run", error="KeyError: 'x'", ts=world.at - 3 * DAY, backfill=True)
    world.cycle()
    (found,) = [one for one in world.issues() if one.category == "connection"]
    with world.store.read() as conn:
        assert stored.get_row(conn, found.id).live == 0
        scopes = stored.scopes(conn, 1, int((world.at - 4 * DAY) // HOUR))
    assert [(one.n, one.unrecovered) for one in scopes] == [(1, 1)]
