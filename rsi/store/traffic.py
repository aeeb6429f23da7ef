"""How much a scope does and how much of it fails, hour by hour, from `rollups`; and a few of its healthy durations."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, select

from rsi.model import CATEGORIES
from rsi.store import outcomes
from rsi.store.engine import project
from rsi.store.rollups import ALL
from rsi.store.schema import outcomes as outcomes_table
from rsi.store.schema import rollups

LOOK_BACK_ROWS: Final = 1_000
"""Newest outcomes that are looked through for durations: a few ms, whatever is stored."""
LOOK_BACK_SPAN: Final = 10_000
"""The same for when they came: they are not decoded."""
HOUR_S: Final = 3_600


class Hour(NamedTuple):
    """Final tasks of an epoch hour, and failed ones."""

    hour: int
    n: int
    failed: int


class Counted(NamedTuple):
    """Final tasks of one category in an epoch hour, and failed ones; category '' is all of them."""

    category: str
    hour: int
    n: int
    failed: int


#: Every category by name, so that the primary key is sought for each instead of read through for the whole scope.
_SCOPE: Final = (
    select(rollups.c.category, rollups.c.hour, rollups.c.n, rollups.c.failed)
    .where(
        rollups.c.project == bindparam("project"),
        rollups.c.source == bindparam("source"),
        rollups.c.task == bindparam("task"),
        rollups.c.category.in_((ALL, *CATEGORIES)),
        rollups.c.hour >= bindparam("since"),
    )
    .order_by(rollups.c.category, rollups.c.hour)
)


def of_scope(conn: Connection, source: str, task: str, since_hour: int) -> list[Counted]:
    """Everything that is counted of one scope from `since_hour` on, by category and hour."""
    asked = {"project": project(conn), "source": source, "task": task, "since": since_hour}
    return [Counted(*row) for row in conn.execute(_SCOPE, asked)]


def by_hour(conn: Connection, source: str, task: str, since_hour: int) -> list[Hour]:
    """The hours of one scope from `since_hour` on that saw a final task, oldest first."""
    return [Hour(*row[1:]) for row in of_scope(conn, source, task, since_hour) if row.category == ALL]


def arrivals(conn: Connection, source: str, task: str, since_hour: int) -> list[tuple[float, bool]]:
    """Final tasks of a scope since that hour, among the newest outcomes: when each came, and whether it failed."""
    wanted = (project(conn), source, task, "task")
    # By row number alone: with a source in its conditions SQLite reads all of that source by the index on its ids.
    rows = conn.execute(_NEWEST, {"after": outcomes.last_seq(conn) - LOOK_BACK_SPAN})
    return [
        (row.arrived, row.status == "failed")
        for row in rows
        if row[:4] == wanted and row.ts >= since_hour * HOUR_S and row.status in ("ok", "failed")
    ]


def healthy_durations(conn: Connection, source: str, task: str) -> list[float]:
    """Durations (s) of tasks that went well in one scope, among the newest outcomes; ascending."""
    newest = outcomes.since(conn, max(0, outcomes.last_seq(conn) - LOOK_BACK_ROWS), LOOK_BACK_ROWS)
    return sorted(
        stored.outcome.duration_ms / 1000.0
        for stored in newest
        if stored.outcome.source == source
        and stored.outcome.task == task
        and stored.outcome.status == "ok"
        and stored.outcome.duration_ms is not None
    )


_ROW: Final = outcomes_table.c
_NEWEST: Final = (
    select(_ROW.project, _ROW.source, _ROW.task, _ROW.kind, _ROW.arrived, _ROW.ts, _ROW.status)
    .where(_ROW.seq > bindparam("after"))
    .order_by(_ROW.seq)
)
