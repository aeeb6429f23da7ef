"""The table `rejects`: what was refused at a door, with the reason. The newest thousand are kept."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, delete, insert, select

from rsi import clock
from rsi.store.engine import project
from rsi.store.schema import rejects

#: Rows kept: enough to see a pattern, at most some 5 MB.
KEPT: Final = 1_000
#: Bytes (UTF-8) of the refused text, and of its name and reason.
TEXT_BYTES: Final = 4_096
LABEL_BYTES: Final = 1_024


class Reject(msgspec.Struct, frozen=True, kw_only=True):
    """One refusal. `at` is epoch seconds, `door` where it came in, `name` the file or address."""

    seq: int
    at: float
    door: str
    name: str
    reason: str
    text: str


def add(conn: Connection, door: str, name: str, reason: str, text: str) -> None:
    """Keep a refused item, already redacted; the oldest beyond `KEPT` go."""
    row = {"door": door, "name": _cut(name, LABEL_BYTES), "reason": _cut(reason, LABEL_BYTES)}
    conn.execute(insert(rejects).values(project=project(conn), at=clock.now(), text=_cut(text, TEXT_BYTES), **row))
    beyond = _newest(conn).with_only_columns(rejects.c.seq).offset(KEPT).limit(1).scalar_subquery()
    conn.execute(delete(rejects).where(rejects.c.project == project(conn), rejects.c.seq <= beyond))


def tail(conn: Connection, limit: int) -> list[Reject]:
    """The newest `limit`, oldest of them first."""
    rows = conn.execute(_newest(conn).limit(limit)).all()
    return [
        Reject(seq=row.seq, at=row.at, door=row.door, name=row.name, reason=row.reason, text=row.text)
        for row in reversed(rows)
    ]


def _newest(conn: Connection) -> Select[Any]:
    return select(rejects).where(rejects.c.project == project(conn)).order_by(rejects.c.seq.desc())


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, never half a character; a lone surrogate becomes `?`."""
    return text[:limit].encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")
