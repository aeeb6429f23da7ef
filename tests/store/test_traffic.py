"""When the newest tasks of a scope came, without reading all that its source ever told."""

import pytest
from loop_kit import Loop, hand_clock
from sqlalchemy import text

from rsi.store import traffic


@pytest.fixture
def loop(tmp_path):
    with hand_clock():
        made = Loop(tmp_path)
        yield made
        made.close()


def test_only_final_tasks_of_the_scope_are_told_in_order(loop):
    loop.send(
        loop.item(),
        loop.item(category="rate_limit"),
        loop.item(source="other"),
        loop.item(task="other"),
        loop.item(kind="step", parent="c1"),
        {**loop.item(), "status": "cancelled", "success": False},
    )
    loop.pipeline.cycle()
    with loop.store.read() as conn:
        found = traffic.arrivals(conn, "app", "search", 0)
        assert [failed for _, failed in found] == [False, True]
        assert traffic.arrivals(conn, "app", "search", 10**6) == []  # since an hour that has not come


def test_the_newest_rows_are_found_by_their_number(loop):
    """By the index on ids it would read everything that the source ever told, inside a writing transaction."""
    with loop.store.read() as conn:
        plan = conn.execute(text(f"EXPLAIN QUERY PLAN {traffic._NEWEST}"), {"after": 0})
        (how,) = [row.detail for row in plan]
    assert "INTEGER PRIMARY KEY" in how
