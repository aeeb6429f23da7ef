"""The table `rollups`: final task outcomes per source, task, category and hour. Health and trends read these, not rows.

Category '' counts all of them and is written by `outcomes.insert`; the others count failures, and follow from the
analysis.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.dialects.sqlite import insert

from rsi.store.engine import project
from rsi.store.schema import rollups

#: The category that counts everything.
ALL: Final = ""


class RollupDelta(NamedTuple):
    """What to add to one counter. `hour` is the epoch hour of the outcome's `ts`."""

    source: str
    task: str
    category: str
    hour: int
    n: int = 0
    failed: int = 0
    steps: int = 0


class Totals(NamedTuple):
    """Final task outcomes, and how many of them failed."""

    n: int
    failed: int


class CategoryTotals(NamedTuple):
    """Of one category: failed final tasks (`n` and `failed`, as they were added) and failed steps."""

    n: int
    failed: int
    steps: int


class ScopeTotals(NamedTuple):
    """Final task outcomes of one task of one source."""

    source: str
    task: str
    n: int
    failed: int


def add(conn: Connection, deltas: Iterable[RollupDelta]) -> None:
    """Add to the counters; those that do not exist begin at zero."""
    rows = [{"project": project(conn), **delta._asdict()} for delta in deltas]
    if rows:
        conn.execute(_ADD, rows)


def totals(conn: Connection, source: str, task: str | None, since_hour: int) -> Totals:
    """Over the hours from `since_hour` on; over all tasks if `task` is None."""
    asked = select(_sum("n"), _sum("failed")).where(*_from(conn, since_hour), rollups.c.category == ALL)
    asked = asked.where(rollups.c.source == source, *_of_task(task))
    return Totals(*conn.execute(asked).one())


def by_category(conn: Connection, source: str, task: str | None, since_hour: int) -> dict[str, CategoryTotals]:
    """Category → totals from `since_hour` on, without '' (that is `totals`)."""
    asked = select(rollups.c.category, _sum("n"), _sum("failed"), _sum("steps")).where(*_from(conn, since_hour))
    asked = asked.where(rollups.c.source == source, rollups.c.category != ALL, *_of_task(task))
    rows = conn.execute(asked.group_by(rollups.c.category))
    return {category: CategoryTotals(*counts) for category, *counts in rows}


def scopes(conn: Connection, since_hour: int) -> list[ScopeTotals]:
    """Every (source, task) that was seen from `since_hour` on, ordered."""
    asked = select(rollups.c.source, rollups.c.task, _sum("n"), _sum("failed"))
    asked = asked.where(*_from(conn, since_hour), rollups.c.category == ALL)
    asked = asked.group_by(rollups.c.source, rollups.c.task).order_by(rollups.c.source, rollups.c.task)
    return [ScopeTotals(*row) for row in conn.execute(asked)]


def _sum(column: str) -> ColumnElement[int]:
    return func.coalesce(func.sum(rollups.c[column]), 0)


def _from(conn: Connection, since_hour: int) -> tuple[ColumnElement[bool], ...]:
    return (rollups.c.project == project(conn), rollups.c.hour >= since_hour)


def _of_task(task: str | None) -> tuple[ColumnElement[bool], ...]:
    return () if task is None else (rollups.c.task == task,)


_INSERT: Final = insert(rollups)
_ADD: Final = _INSERT.on_conflict_do_update(
    index_elements=["project", "source", "task", "category", "hour"],
    set_={name: rollups.c[name] + _INSERT.excluded[name] for name in ("n", "failed", "steps")},
)
