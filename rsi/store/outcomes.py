"""The table `outcomes`: what agents tried, one row each, and the hot path that writes it.

A row's `body` is the JSON of an `Outcome` without the six required fields, which are columns. msgspec writes fields in
their declared order and the required ones come first, so the body is the tail of the whole; reading puts them together.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy import Connection, bindparam, func, select, update

from rsi.errors import InvalidInputError
from rsi.model import Outcome, StoredOutcome
from rsi.store.engine import project
from rsi.store.schema import outcomes

#: project, source, id, ts, arrived, task, kind, status, backfill, body
OutcomeRow: TypeAlias = tuple[str, str, str, float, float, str, str, str, bool, bytes]

_COLUMNS: Final = "(project, source, id, ts, arrived, task, kind, status, backfill, body)"
#: Rows in one statement: inside it SQLite runs without the interpreter's lock, which `executemany` would take and give
#: back at every row; beside a busy event loop each time costs a switch of threads. Powers of two, so that any number of
#: rows takes few statements. Measured: 64 is 1.2 times as fast as 1 where nobody else runs, and 128 is no better.
_STRIDES: Final = (64, 32, 16, 8, 4, 2, 1)
_INSERT: Final = {
    stride: f"INSERT INTO outcomes {_COLUMNS} VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'] * stride)}"  # noqa: S608 - constants
    " ON CONFLICT (project, source, id) DO NOTHING"
    for stride in _STRIDES
}
_ONE_COUNT: Final = "(?, ?, ?, '', ?, ?, ?, 0)"
_COUNT: Final = {
    stride: "INSERT INTO rollups (project, source, task, category, hour, n, failed, steps)"  # noqa: S608 - constants
    f" VALUES {', '.join([_ONE_COUNT] * stride)}"
    " ON CONFLICT (project, source, task, category, hour)"
    " DO UPDATE SET n = n + excluded.n, failed = failed + excluded.failed"
    for stride in _STRIDES
}
_HOUR_S: Final = 3_600


class _Head(msgspec.Struct, frozen=True):
    """The required fields of an `Outcome`, in its order."""

    id: str
    ts: float
    source: str
    task: str
    kind: str
    status: str


#: (project, source, task, hour) → final tasks, and how many of them failed.
Counts: TypeAlias = dict[tuple[str, str, str, int], tuple[int, int]]

_STATUS: Final = b',"status":"'
_COMMA: Final = ord(",")

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Outcome).decode


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Outcomes ready for `insert`, and what they add to `rollups` if all of them are new."""

    rows: list[OutcomeRow]
    counts: Counts


def batch_of(found: Sequence[Outcome], project: str, arrived: float) -> RowBatch:
    """Outcomes → rows, encoded and counted in the caller's thread so that the writer's stays inside SQLite.

    Raises:
        InvalidInputError: names the one that is not JSON (a lone surrogate, a foreign object in `metadata`).
    """
    rows: list[OutcomeRow] = []
    try:
        for o in found:
            status, body = o.status, _encode(o)
            # no string can hold this mark, its quotes would be escaped; what follows the status is the body
            rest = body.index(_STATUS) + len(_STATUS) + len(status) + 1
            rows.append((project, o.source, o.id, o.ts, arrived, o.task, o.kind, status, o.backfill,
                         b"{" + body[rest + 1 :] if body[rest] == _COMMA else b"{}"))  # fmt: skip
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"outcome[{len(rows)}]: cannot be written as JSON: {error}") from error
    return RowBatch(rows, _counted(rows))


def _counted(rows: Iterable[OutcomeRow]) -> Counts:
    """Final tasks only."""
    counts: Counts = {}
    for project_, source, _, ts, _, task, kind, status, _, _ in rows:
        if kind == "task" and status in _FINAL:
            key = (project_, source, task, int(ts // _HOUR_S))
            n, failed = counts.get(key, (0, 0))
            counts[key] = (n + 1, failed + (status == "failed"))
    return counts


_FINAL: Final = frozenset({"ok", "failed"})


def insert(driver: sqlite3.Connection, batches: Sequence[RowBatch]) -> list[list[bool]]:
    """Insert batches inside the open transaction; for each row whether it was new.

    An id that was there, or that came before in these batches, is False. Counts the new final tasks into `rollups`.
    """
    # asked before: a row that was there uses up a number too, so that none can be told from the last
    before = driver.execute("SELECT coalesce(max(seq), 0) FROM outcomes").fetchone()[0]
    changes = driver.total_changes
    _execute(driver, _INSERT, list(chain.from_iterable(batch.rows for batch in batches)))
    written = driver.total_changes - changes
    if not written:
        return [[False] * len(batch.rows) for batch in batches]
    if written == sum(len(batch.rows) for batch in batches):
        _add_counts(driver, [batch.counts for batch in batches])
        return [[True] * len(batch.rows) for batch in batches]
    fresh = set(driver.execute("SELECT project, source, id FROM outcomes WHERE seq > ?", (before,)))
    new = [[_claim(fresh, row) for row in batch.rows] for batch in batches]
    _add_counts(driver, [_counted(compress(batch.rows, flags)) for batch, flags in zip(batches, new, strict=True)])
    return new


def _execute(driver: sqlite3.Connection, statements: Mapping[int, str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Few statements of many rows each."""
    at = 0
    for stride, statement in statements.items():
        while len(rows) - at >= stride:
            driver.execute(statement, tuple(chain.from_iterable(rows[at : at + stride])))
            at += stride


def _add_counts(driver: sqlite3.Connection, counts: Sequence[Counts]) -> None:
    total = counts[0]
    if len(counts) > 1:
        total = {}
        for each in counts:
            for key, (n, failed) in each.items():
                n_before, failed_before = total.get(key, (0, 0))
                total[key] = (n_before + n, failed_before + failed)
    _execute(driver, _COUNT, [(*key, *totals) for key, totals in total.items()])


def _claim(fresh: set[tuple[str, str, str]], row: OutcomeRow) -> bool:
    key = row[:3]
    if key in fresh:
        fresh.remove(key)
        return True
    return False


def since(conn: Connection, seq: int, limit: int) -> list[StoredOutcome]:
    """Up to `limit` outcomes above row number `seq`, oldest first."""
    rows = conn.execute(_SINCE, {"project": project(conn), "seq": seq, "limit": limit})
    return [_stored(row) for row in rows]


def get(conn: Connection, source: str, id: str) -> StoredOutcome | None:  # noqa: A002 - the contract's own word
    """The outcome that `source` sent under `id`, while it is kept."""
    row = conn.execute(_GET, {"project": project(conn), "source": source, "id": id}).first()
    return _stored(row) if row else None


def samples(conn: Connection, fingerprints: Iterable[int], limit: int) -> list[StoredOutcome]:
    """The newest `limit` outcomes that have one of these fingerprints, newest first."""
    found = (
        _stored(row)
        for fingerprint in set(fingerprints)
        for row in conn.execute(_SAMPLES, {"fingerprint": fingerprint, "limit": limit})
    )
    return heapq.nlargest(limit, found, key=lambda stored: stored.seq)


def set_fingerprints(conn: Connection, found: Sequence[tuple[int, int]]) -> None:
    """Write `(seq, fingerprint id)` pairs."""
    if found:
        conn.execute(_SET_FINGERPRINT, [{"row": seq, "found": fingerprint} for seq, fingerprint in found])


def count(conn: Connection) -> int:
    """How many outcomes are kept (walks an index: for people, not for every request)."""
    return conn.execute(select(func.count()).where(outcomes.c.project == project(conn))).scalar_one()


def last_seq(conn: Connection) -> int:
    """The newest row number, 0 if there is none: how far the watermark can go."""
    return conn.execute(select(func.max(outcomes.c.seq))).scalar_one() or 0


_SELECT: Final = select(
    outcomes.c.seq,
    outcomes.c.arrived,
    outcomes.c.id,
    outcomes.c.ts,
    outcomes.c.source,
    outcomes.c.task,
    outcomes.c.kind,
    outcomes.c.status,
    outcomes.c.body,
)
#: `project || ''` keeps SQLite from the unique index, which begins with `project` and would be walked as a whole:
#: the rows above a watermark are the end of the table, and cost what is new.
_SINCE: Final = (
    _SELECT.where(outcomes.c.project.concat("") == bindparam("project"), outcomes.c.seq > bindparam("seq"))
    .order_by(outcomes.c.seq)
    .limit(bindparam("limit"))
)
_GET: Final = _SELECT.where(
    outcomes.c.project == bindparam("project"),
    outcomes.c.source == bindparam("source"),
    outcomes.c.id == bindparam("id"),
)
_SAMPLES: Final = (
    _SELECT.where(outcomes.c.fingerprint == bindparam("fingerprint"))
    .order_by(outcomes.c.seq.desc())
    .limit(bindparam("limit"))
)
_SET_FINGERPRINT: Final = (
    update(outcomes).where(outcomes.c.seq == bindparam("row")).values(fingerprint=bindparam("found"))
)


def _stored(row: Sequence[Any]) -> StoredOutcome:
    seq, arrived, id_, ts, source, task, kind, status, body = row
    start = _encode(_Head(id_, ts, source, task, kind, status))[:-1]
    return StoredOutcome(seq, arrived, _decode(start + (b"," + body[1:] if len(body) > len(b"{}") else b"}")))
