"""How many issues and fixes are in each state: for metrics, not for decisions."""

from __future__ import annotations

from sqlalchemy import Connection, Table, func, select

from rsi.store.engine import project
from rsi.store.schema import fixes, issues


def issues_by_state(conn: Connection) -> dict[str, int]:
    """State → issues that were not merged into another."""
    return _by_state(conn, issues, merged=False)


def fixes_by_state(conn: Connection) -> dict[str, int]:
    """State → fixes."""
    return _by_state(conn, fixes, merged=True)


def _by_state(conn: Connection, table: Table, *, merged: bool) -> dict[str, int]:
    query = select(table.c.state, func.count()).where(table.c.project == project(conn)).group_by(table.c.state)
    if not merged:
        query = query.where(table.c.merged_into.is_(None))
    return {str(row[0]): int(row[1]) for row in conn.execute(query)}
