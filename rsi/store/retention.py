"""Forgetting: outcomes past their days, or beyond the size, go in slices, and the file really shrinks.

Nothing above the analysis' watermark is touched. A slice is one short job of the writer, so that ingest goes on in
between. Rows lie in the order of their arrival (`seq`), so the oldest are found without an index on `arrived`.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Integer, Table, and_, delete, exists, literal_column, or_, select

from rsi.store import meta
from rsi.store.engine import project, raw
from rsi.store.schema import clients, correlations, fixes, incidents, issue_hours, outcomes, rollups, trial_units
from rsi.store.store import Store

#: Rows deleted, and pages given back, in one job of the writer (some 20 ms each).
SLICE_ROWS: Final = 1_000
SLICE_PAGES: Final = 1_000
#: `arrived` can run backwards when the machine's clock is set; a gap longer than this is found by the next prune.
LOOK_AHEAD_ROWS: Final = 10_000

_DAY_S: Final = 86_400.0
_HOUR_S: Final = 3_600.0
_MB: Final = 1024 * 1024
#: The fix is over in these states: nobody asks for its units again.
_CLOSED: Final = ("rolled_back", "removed", "rejected", "superseded", "failed", "kept_unverified")
#: A verified fix keeps a holdout (14 days by default), which has to know the units of its canary.
_HOLDOUT_S: Final = 60 * _DAY_S


class Pruned(NamedTuple):
    """Outcomes deleted, and the bytes of file and WAL before and after."""

    rows: int
    bytes_before: int
    bytes_after: int


def prune(store: Store, now: float, outcomes_days: float, max_db_mb: float) -> Pruned:
    """Delete what is past `outcomes_days` (from arrival), then the oldest until the database fits into `max_db_mb`.

    Hours of `rollups` and `issue_hours`, incidents, clients not seen, and settled units of closed trials go with the
    same window.
    Blocks until it is done; call it outside of the writer's thread.

    Raises:
        StoreBusyError: the disk is full or locked. What was deleted so far stays deleted.
    """
    before = store.size_bytes()
    cutoff = now - outcomes_days * _DAY_S
    rows = _drop_expired(store, cutoff)
    for table, expired in _expired(now, cutoff):
        _drop_where(store, table, expired)
    rows += _drop_beyond(store, int(max_db_mb * _MB))
    _give_back(store)
    return Pruned(rows, before, store.size_bytes())


def _drop_expired(store: Store, cutoff: float) -> int:
    """Walk up from the oldest row, deleting what arrived before `cutoff`, until a long stretch had none."""
    rows, after, quiet = 0, 0, 0
    while quiet < LOOK_AHEAD_ROWS:
        walked = store.write(partial(_drop_slice, after=after, cutoff=cutoff))
        if not walked.seen:
            break
        rows += walked.deleted
        after = walked.last
        quiet = 0 if walked.deleted else quiet + walked.seen
    return rows


class _Walked(NamedTuple):
    """A slice: its last row number, its rows, and how many of them were deleted."""

    last: int
    seen: int
    deleted: int


def _drop_slice(conn: Connection, after: int, cutoff: float | None) -> _Walked:
    """The oldest rows above `after` and not above the watermark; those before `cutoff` (all if None) are deleted."""
    ours = (outcomes.c.project == project(conn), outcomes.c.seq > after)
    taken = select(outcomes.c.seq).where(*ours, outcomes.c.seq <= meta.get(conn, meta.WATERMARK, 0))
    seqs = conn.execute(taken.order_by(outcomes.c.seq).limit(SLICE_ROWS)).scalars().all()
    if not seqs:
        return _Walked(after, 0, 0)
    drop = delete(outcomes).where(*ours, outcomes.c.seq <= seqs[-1])
    if cutoff is not None:
        drop = drop.where(outcomes.c.arrived < cutoff)
    return _Walked(seqs[-1], len(seqs), conn.execute(drop).rowcount)


def _drop_beyond(store: Store, limit: int) -> int:
    """Delete the oldest outcomes while the pages in use are more than `limit` bytes."""
    rows = 0
    while store.write(_used_bytes) > limit:
        walked = store.write(partial(_drop_slice, after=0, cutoff=None))
        if not walked.deleted:
            break
        rows += walked.deleted
    return rows


def _expired(now: float, cutoff: float) -> list[tuple[Table, ColumnElement[bool]]]:
    """What else leaves with the window, by table."""
    hour = int(cutoff // _HOUR_S)
    closed = select(fixes.c.id).where(fixes.c.state.in_(_CLOSED))
    verified = select(fixes.c.id).where(fixes.c.state == "verified")
    settled = trial_units.c.settled
    return [
        (rollups, rollups.c.hour < hour),
        (issue_hours, and_(issue_hours.c.hour < hour, _has_newer_hour())),
        (clients, clients.c.seen < cutoff),
        (correlations, correlations.c.until < cutoff),
        (incidents, and_(incidents.c.state == "over", incidents.c.last_seen < cutoff)),
        (
            trial_units,
            or_(
                and_(trial_units.c.fix.in_(closed), settled < cutoff),
                and_(trial_units.c.fix.in_(verified), settled < min(cutoff, now - _HOLDOUT_S)),
            ),
        ),
    ]


def _has_newer_hour() -> ColumnElement[bool]:
    """The newest hour of an issue in a scope stays: it says where an old issue struck."""
    newer = issue_hours.alias()
    same = (newer.c[name] == issue_hours.c[name] for name in ("project", "issue", "source", "task"))
    return exists().where(*same, newer.c.hour > issue_hours.c.hour)


def _drop_where(store: Store, table: Table, expired: ColumnElement[bool]) -> None:
    while store.write(partial(_drop_rows, table=table, expired=expired)) == SLICE_ROWS:
        pass


def _drop_rows(conn: Connection, table: Table, expired: ColumnElement[bool]) -> int:
    rowid: ColumnElement[int] = literal_column("rowid", Integer)
    some = select(rowid).select_from(table).where(table.c.project == project(conn), expired).limit(SLICE_ROWS)
    return conn.execute(delete(table).where(rowid.in_(some))).rowcount


def _used_bytes(conn: Connection) -> int:
    pages, free, size = (_pragma(conn, name) for name in ("page_count", "freelist_count", "page_size"))
    return (pages - free) * size


def _give_back(store: Store) -> None:
    """Return free pages to the file system, in slices; the file is cut when the WAL goes into it."""
    while store.between(_vacuum_slice):
        pass
    store.checkpoint()


def _vacuum_slice(driver: sqlite3.Connection) -> int:
    """Free up to `SLICE_PAGES` at the file's end; how many free ones are left."""
    free = _free_pages(driver)
    # SQLite frees one page a step; `execute` would step once, `executescript` goes on to the end
    driver.executescript(f"PRAGMA incremental_vacuum({SLICE_PAGES})")
    left = _free_pages(driver)
    return left if left < free else 0


def _free_pages(driver: sqlite3.Connection) -> int:
    return int(driver.execute("PRAGMA freelist_count").fetchone()[0])


def _pragma(conn: Connection, name: str) -> int:
    return int(raw(conn).execute(f"PRAGMA {name}").fetchone()[0])
