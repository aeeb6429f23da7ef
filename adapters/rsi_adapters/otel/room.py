"""The waiting room: spans come before what decides what they are, and an answered request must survive a kill.

A small SQLite file in `.rsi/`. A span waits until its trace has a root, or nothing more came of the trace for a while;
afterwards it is remembered for a time, so that one that is sent again, or that comes late, meets what it belongs to.
It holds no prompt or answer, no secret, and no more than `MOST` spans.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from rsi.errors import StoreBusyError
from rsi_adapters.otel.fact import Fact

#: Some 400 bytes each. A web server that reports every request fills it in minutes; its traces go first.
MOST: Final = 100_000
#: What is taken out at once when it is full.
_SLICE: Final = 5_000
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS traces (trace TEXT PRIMARY KEY, touched REAL NOT NULL, agent INTEGER NOT NULL,
  rooted INTEGER NOT NULL, waiting INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS traces_touched ON traces (touched);
CREATE TABLE IF NOT EXISTS spans (trace TEXT NOT NULL, span TEXT NOT NULL, told INTEGER NOT NULL DEFAULT 0,
  body BLOB NOT NULL, PRIMARY KEY (trace, span)) WITHOUT ROWID;
"""
_ADD: Final = "INSERT INTO spans (trace, span, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_TOUCH: Final = (
    "INSERT INTO traces VALUES (?, ?, ?, ?, ?) ON CONFLICT (trace) DO UPDATE SET touched = excluded.touched,"
    " agent = agent OR excluded.agent, rooted = rooted OR excluded.rooted, waiting = waiting + excluded.waiting"
)
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Fact).decode


class Kept(msgspec.Struct, frozen=True):
    """A trace as far as it is here: its spans, and which of them were told already."""

    facts: list[Fact]
    told: frozenset[str]


class Room:
    """Safe to use from any thread; one at a time is inside.

    Args:
        path: the file; made with its folder if it is not there.
        most: spans that are kept.

    Raises:
        StoreBusyError: from every method, when the disk is full or the file cannot be used: nothing was taken.
    """

    def __init__(self, path: Path, most: int = MOST) -> None:
        self._path = path
        self._most = most
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._count = 0

    @property
    def is_empty(self) -> bool:
        """Whether nobody has ever been here; asking makes no file."""
        return not self._path.exists()

    def add(self, facts: Iterable[Fact], now: float) -> list[str]:
        """Keep them, durably; the traces that can be told now because something new came and their root is there."""
        with self._turn() as db:
            touched: dict[str, list[Fact]] = {}
            for fact in facts:
                if db.execute(_ADD, (fact.trace, fact.span, _encode(fact))).rowcount:
                    touched.setdefault(fact.trace, []).append(fact)
            self._count += sum(len(new) for new in touched.values())
            for trace, new in touched.items():
                agent = any(fact.role for fact in new)
                rooted = any(not fact.parent and fact.role != "grade" for fact in new)
                db.execute(_TOUCH, (trace, now, agent, rooted, len(new)))
            return [trace for trace in touched if _can_be_told(db, trace)]

    def get(self, trace: str) -> Kept:
        """What is here of a trace."""
        with self._turn() as db:
            rows = db.execute("SELECT span, told, body FROM spans WHERE trace = ?", (trace,)).fetchall()
        return Kept([_decode(body) for _, _, body in rows], frozenset(span for span, told, _ in rows if told))

    def tell(self, done: Iterable[tuple[str, Collection[str]]]) -> None:
        """These spans, by trace, were told: their outcomes are stored."""
        with self._turn() as db:
            for trace, spans in done:
                marked = [(trace, span) for span in spans]
                changed = db.executemany("UPDATE spans SET told = 1 WHERE trace = ? AND span = ? AND NOT told", marked)
                db.execute("UPDATE traces SET waiting = waiting - ? WHERE trace = ?", (changed.rowcount, trace))

    def overdue(self, before: float) -> list[str]:
        """Traces of agents of which nothing came since `before` (epoch seconds), with spans that were not told."""
        with self._turn() as db:
            asked = "SELECT trace FROM traces WHERE touched < ? AND agent AND waiting > 0 ORDER BY touched LIMIT 1000"
            return [trace for (trace,) in db.execute(asked, (before,))]

    def forget(self, before: float) -> None:
        """Drop traces of which nothing came since `before`, unless an agent's spans wait in them."""
        with self._turn() as db:
            asked = "SELECT trace FROM traces WHERE touched < ? AND NOT (agent AND waiting > 0)"
            self._drop(db, [trace for (trace,) in db.execute(asked, (before,))])

    def crowded(self) -> Sequence[str]:
        """Make room where there are too many spans; traces that have to be told at once, for they go next."""
        with self._turn() as db:
            if self._count <= self._most:
                return ()
            oldest = "SELECT trace FROM traces WHERE {} ORDER BY touched LIMIT ?"
            for free in ("NOT agent", "NOT waiting"):
                while self._count > self._most:
                    found = [trace for (trace,) in db.execute(oldest.format(free), (_SLICE,))]
                    if not found:
                        break
                    self._drop(db, found)
            if self._count <= self._most:
                return ()
            return [trace for (trace,) in db.execute(oldest.format("waiting"), (max(1, _SLICE // 100),))]

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._shut()

    def waiting(self) -> int:
        """Spans that are here."""
        with self._turn():
            return self._count

    def _drop(self, db: sqlite3.Connection, traces: Sequence[str]) -> None:
        for trace in traces:
            self._count -= db.execute("DELETE FROM spans WHERE trace = ?", (trace,)).rowcount
            db.execute("DELETE FROM traces WHERE trace = ?", (trace,))

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            found = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
            found.execute("PRAGMA journal_mode = WAL")
            found.execute("PRAGMA synchronous = FULL")
            found.execute("PRAGMA secure_delete = ON")
            found.executescript(_TABLES)
            self._count = found.execute("SELECT count(*) FROM spans").fetchone()[0]
            self._connection = found
        return self._connection

    @contextlib.contextmanager
    def _turn(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed, or nothing of it happened."""
        with self._lock:
            try:
                db = self._open()
                before = self._count
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                    db.execute("COMMIT")
                except BaseException:
                    self._count = before
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
            except (sqlite3.Error, OSError) as error:
                self._shut()  # the next one begins with a fresh connection
                raise StoreBusyError(f"{self._path}: {error}; nothing was taken, send it again") from error

    def _shut(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _can_be_told(db: sqlite3.Connection, trace: str) -> bool:
    return bool(db.execute("SELECT agent AND rooted FROM traces WHERE trace = ?", (trace,)).fetchone()[0])
