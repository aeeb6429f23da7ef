"""How far the analysis has come: the newest row that has been taken into account."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from rsi.store import meta
from rsi.store.engine import project
from rsi.store.schema import outcomes


def get(conn: Connection) -> int:
    """The row number; 0 before the first."""
    return int(meta.get(conn, meta.WATERMARK, 0))


def put(conn: Connection, seq: int) -> None:
    """Move it, in the transaction that writes what follows from the rows up to there."""
    meta.put(conn, meta.WATERMARK, seq)


def next_row(conn: Connection, seq: int) -> int | None:
    """The first row number above `seq`, without reading the row."""
    return conn.execute(
        select(func.min(outcomes.c.seq)).where(outcomes.c.project == project(conn), outcomes.c.seq > seq)
    ).scalar()


def raw_row(conn: Connection, seq: int) -> str:
    """What a row holds, as text, for a person to look at when it cannot be read."""
    row = conn.execute(
        select(outcomes.c.source, outcomes.c.id, outcomes.c.task, outcomes.c.body).where(outcomes.c.seq == seq)
    ).one_or_none()
    if row is None:
        return ""
    return f"source={row.source} id={row.id} task={row.task} {bytes(row.body).decode('utf-8', 'replace')}"
