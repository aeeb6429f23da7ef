"""The append-only record of everything that changed anything, each entry chained to the one before by its hash.

`hash` = sha256 over the JSON list [prev, project, at, who, what, ref, detail], in hex; `prev` of the first is ''.
The database refuses updates and deletes (`triggers.py`); the chain shows what somebody did to the file by other means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, Select, Text, cast, insert, select, text

from rsi import clock
from rsi.store.engine import project
from rsi.store.schema import fixes, journal

_FIRST: Final = ""
#: Entries fetched at a time while the chain is walked.
_STRIDE: Final = 1_000


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `at` is epoch seconds; `who` is `rule:<id>`, `person:<how>`, `verdict` or `daemon`."""

    seq: int
    at: float
    who: str
    what: str
    ref: str
    detail: dict[str, Any]
    hash: str


def append(conn: Connection, who: str, what: str, ref: str, detail: dict[str, Any]) -> str:
    """Add an entry; returns its hash.

    Args:
        conn: in a writing transaction: entry and change become durable together.
        who: `rule:<id>`, `person:<how>`, `verdict` or `daemon`.
        what: the verb (`fix.approved`).
        ref: what it is about: `f12`, `i7`, `policy`.
        detail: ids, hashes and declared keys, never the text of an event.
    """
    written = msgspec.json.encode(detail, order="sorted")
    at, prev = clock.now(), _last_hash(conn)
    hashed = _hash(prev, project(conn), at, who, what, ref, written)
    conn.execute(
        insert(journal).values(
            project=project(conn), at=at, who=who, what=what, ref=ref, detail=written, prev=prev, hash=hashed
        )
    )
    return hashed


def verify(conn: Connection) -> int | None:
    """Walk the whole chain: the `seq` of the first entry that is not what was written, None if all are.

    A missing end is the `seq` after the last one: SQLite remembers the highest it ever gave out.
    """
    prev, last = _FIRST, 0
    for row in conn.execute(_ours(conn).order_by(journal.c.seq).execution_options(yield_per=_STRIDE)):
        hashed = _hash(prev, row.project, row.at, row.who, row.what, row.ref, row.detail)
        if row.prev != prev or row.hash != hashed:
            return int(row.seq)
        prev, last = hashed, row.seq
    given = conn.execute(_GIVEN).scalar_one()
    kept = conn.execute(select(journal.c.seq).order_by(journal.c.seq.desc()).limit(1)).scalar_one_or_none() or 0
    return last + 1 if kept < given else None


def unwritten(conn: Connection) -> list[str]:
    """The fixes whose state no entry tells of: who emptied the journal, and let it count anew, left them behind."""
    told = select(journal.c.seq).where(
        journal.c.project == fixes.c.project,
        journal.c.ref == "f" + cast(fixes.c.id, Text),
        journal.c.what == "fix." + fixes.c.state,
    )
    found = select(fixes.c.id).where(fixes.c.project == project(conn), ~told.exists()).order_by(fixes.c.id)
    return [f"f{fix}" for fix in conn.execute(found).scalars()]


def for_ref(conn: Connection, ref: str) -> list[Entry]:
    """What happened to one fix, issue, …, oldest first."""
    return _entries(conn, _ours(conn).where(journal.c.ref == ref).order_by(journal.c.seq))


def tail(conn: Connection, limit: int) -> list[Entry]:
    """The newest `limit` entries, oldest of them first."""
    return _entries(conn, _ours(conn).order_by(journal.c.seq.desc()).limit(limit))[::-1]


_GIVEN: Final = text("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'journal'")


def _ours(conn: Connection) -> Select[Any]:
    return select(journal).where(journal.c.project == project(conn))


def _last_hash(conn: Connection) -> str:
    newest = select(journal.c.hash).where(journal.c.project == project(conn)).order_by(journal.c.seq.desc()).limit(1)
    return conn.execute(newest).scalar_one_or_none() or _FIRST


def _hash(*fields: str | float | bytes) -> str:
    raw = [msgspec.Raw(field) if isinstance(field, bytes) else field for field in fields]
    return hashlib.sha256(msgspec.json.encode(raw)).hexdigest()


def _entries(conn: Connection, asked: Select[Any]) -> list[Entry]:
    return [_entry(row) for row in conn.execute(asked)]


def _entry(row: Row[Any]) -> Entry:
    detail: Sequence[Any] | dict[str, Any] = msgspec.json.decode(row.detail)
    return Entry(seq=row.seq, at=row.at, who=row.who, what=row.what, ref=row.ref, detail=dict(detail), hash=row.hash)
