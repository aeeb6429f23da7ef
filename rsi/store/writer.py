"""The one thread that writes: it takes what waits, runs it in one transaction, commits once, then answers.

While one commit waits for the disk the next group gathers; that is all of the group commit, there is no delay.
First come, first served: a job of the analysis and a batch of ingest wait for what is before them and no longer. A
long job holds everybody up, so who has much to do submits it in slices.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine

from rsi import clock
from rsi.errors import StoreBusyError, StoreError
from rsi.store import outcomes, trouble
from rsi.store.engine import BUSY_TIMEOUT_MS, WAL_SIZE_LIMIT_BYTES, raw

T = TypeVar("T")

#: A group is closed when it has this many rows, or has run this long, so that the first in it is not kept waiting.
GROUP_ROWS: Final = 4_096
GROUP_SECONDS: Final = 0.05
#: Rows that may wait (some 100 MB of text); beyond it the caller is told to come again.
QUEUED_ROWS: Final = 200_000
#: Groups between two looks at the WAL's length: a look gives the interpreter away, which a busy one returns late.
WAL_LOOK_EVERY: Final = 32
#: Quiet for this long: empty the WAL into the file, and the page cache.
IDLE_SECONDS: Final = 5.0

_log: Final = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Entry:
    """Something that waits. After its turn it holds a result or an error, told once the group is durable."""

    future: Future[Any]
    job: Callable[[Connection], Any] | None = None
    rows: outcomes.RowBatch | None = None
    outside: Callable[[sqlite3.Connection], Any] | None = None
    then: Callable[[list[bool]], Any] | None = None
    result: Any = None
    error: BaseException | None = None

    @property
    def size(self) -> int:
        """Rows in it."""
        return len(self.rows.rows) if self.rows is not None else 0

    def answer(self) -> None:
        if self.error is None and self.then is not None:
            try:
                self.result = self.then(self.result)
            except Exception as error:  # noqa: BLE001 - the border to the caller; its future carries what it raised
                self.error = error
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _GroupLostError(Exception):
    """The transaction is gone: nothing of this group was written."""


class Writer:
    """Owns the writing connection and its thread. Futures resolve after the fsync, and in this thread.

    `trouble` says why the last group could not be written, None when it could.
    """

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._wal = path.with_name(path.name + "-wal")
        self._wal_limit = WAL_SIZE_LIMIT_BYTES
        self._groups = 0
        self.trouble: str | None = None
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._held: list[_Entry | None] = []
        self._gate = threading.Lock()
        self._waiting_rows = 0
        self._closed = False
        self._connection: Connection | None = engine.connect()
        self._thread = threading.Thread(target=self._run, name="rsi-store-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[Connection], T]) -> Future[T]:
        """Run `job` in its own savepoint; the future holds its result, or the error that it raised."""
        return self._put(_Entry(Future(), job=job))

    def add(self, rows: outcomes.RowBatch, then: Callable[[list[bool]], Any] | None = None) -> Future[Any]:
        """Insert rows; the future holds which were new, or what `then` makes of that.

        Fails with `StoreBusyError` where too much waits already.
        """
        return self._put(_Entry(Future(), rows=rows, then=then))

    def outside(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run `work` between two transactions (a checkpoint cannot be inside one)."""
        return self._put(_Entry(Future(), outside=work))

    def close(self) -> None:
        """Finish what waits, commit, empty the WAL into the file, and end the thread."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    @property
    def is_current(self) -> bool:
        """Whether the caller is this writer's own thread, where waiting for a future would be for ever."""
        return threading.current_thread() is self._thread

    def _put(self, entry: _Entry) -> Future[Any]:
        entry.future.set_running_or_notify_cancel()  # what is handed in is written; it cannot be taken back
        with self._gate:
            if self._closed:
                raise StoreError(f"{self._path}: this store is closed; open it again")
            if entry.size and self._waiting_rows and self._waiting_rows + entry.size > QUEUED_ROWS:
                waiting = f"{self._path}: {self._waiting_rows} outcomes wait for the disk; try again later"
                entry.future.set_exception(StoreBusyError(waiting))
                return entry.future
            self._waiting_rows += entry.size
            self._queue.put(entry)
        return entry.future

    def _run(self) -> None:
        patience: float | None = IDLE_SECONDS
        while True:
            try:
                entry = self._take(patience)
            except queue.Empty:
                self._rest()
                patience = None
                continue
            if entry is None:
                break
            patience = IDLE_SECONDS
            if entry.outside is not None:
                self._run_outside(entry, entry.outside)
            else:
                self._run_group(entry)
        self._rest()
        self._disconnect()

    def _take(self, patience: float | None) -> _Entry | None:
        """The next entry, None at the end. Raises `queue.Empty` when nothing came for `patience` seconds."""
        if self._held:
            return self._held.pop()
        return self._queue.get(timeout=patience) if patience != 0 else self._queue.get_nowait()

    def _more(self) -> _Entry | None:
        """The next entry that may join the group; what may not is held for the next turn."""
        try:
            entry = self._take(0)
        except queue.Empty:
            return None
        if entry is None or entry.outside is not None:
            self._held.append(entry)
            return None
        return entry

    def _run_group(self, first: _Entry) -> None:
        group: list[_Entry] = []
        try:
            self._check_file()
            if first.rows is None or not self._fill_with_rows(first, group):
                self._fill(first, group)
        except Exception as error:  # noqa: BLE001 - the border of the writer: every future of the group is told
            group = group or [first]
            self._abandon(group, error)
        with self._gate:
            self._waiting_rows -= sum(entry.size for entry in group)
        for entry in group:
            entry.answer()
        self._groups += 1
        if self._groups % WAL_LOOK_EVERY == 0:
            self._shorten_wal()

    def _check_file(self) -> None:
        """Else it would be written, and acknowledged, into a file without a name."""
        if not self._path.exists():
            raise FileNotFoundError("the database file is gone; restart rsi, what was in it is lost")

    def _fill_with_rows(self, first: _Entry, group: list[_Entry]) -> bool:
        """The hot path: rows alone, in as few calls as can be, for each gives the interpreter away and waits for it.

        False: one of them is bad. Nothing was written then, and all of them wait for the careful way.
        """
        group += self._gather(first)
        driver = raw(self._connect())
        driver.execute("BEGIN IMMEDIATE")
        try:
            found = outcomes.insert(driver, [entry.rows for entry in group if entry.rows is not None])
        except Exception:  # noqa: BLE001 - the careful way meets it again, and tells whose it is
            if driver.in_transaction:
                driver.execute("ROLLBACK")
            self._held += reversed(group[1:])
            group.clear()
            return False
        driver.execute("COMMIT")
        for entry, new in zip(group, found, strict=True):
            entry.result = new
        self._works_again()
        return True

    def _fill(self, first: _Entry, group: list[_Entry]) -> None:
        """Run `first` and what waits behind it in one transaction, and commit it. `group` grows with what was run."""
        conn = self._connect()
        until = clock.monotonic() + GROUP_SECONDS
        rows = 0
        entry: _Entry | None = first
        with conn.begin():
            while entry is not None:
                batch = [entry] if entry.rows is None else self._gather(entry)
                group += batch
                self._run_batch(conn, batch)
                rows += sum(each.size for each in batch)
                over = rows >= GROUP_ROWS or clock.monotonic() >= until
                entry = None if over else self._more()
        self._works_again()

    def _works_again(self) -> None:
        if self.trouble is not None:
            _log.warning("%s: writing works again", self._path)
            self.trouble = None

    def _gather(self, first: _Entry) -> list[_Entry]:
        """`first` and the batches of rows right behind it: they go in as one."""
        batch, size = [first], first.size
        while size < GROUP_ROWS:
            entry = self._more()
            if entry is None:
                break
            if entry.rows is None:
                self._held.append(entry)
                break
            batch.append(entry)
            size += entry.size
        return batch

    def _run_batch(self, conn: Connection, batch: list[_Entry]) -> None:
        """Each in a savepoint; batches of rows share one as long as all of them are good."""
        try:
            if batch[0].job is not None:
                with conn.begin_nested():
                    batch[0].result = batch[0].job(conn)
            else:
                self._insert(conn, batch)
        except BaseException as error:  # noqa: BLE001 - a job runner; its future carries whatever it raised
            self._check_alive(conn, error)
            if len(batch) > 1:
                for entry in batch:
                    self._run_batch(conn, [entry])
            else:
                batch[0].error = error
        else:
            self._check_alive(conn, None)

    def _insert(self, conn: Connection, batch: list[_Entry]) -> None:
        driver = raw(conn)
        driver.execute("SAVEPOINT rows")
        try:
            found = outcomes.insert(driver, [entry.rows for entry in batch if entry.rows is not None])
        except BaseException:
            if driver.in_transaction:
                driver.execute("ROLLBACK TO rows")
                driver.execute("RELEASE rows")
            raise
        driver.execute("RELEASE rows")
        for entry, new in zip(batch, found, strict=True):
            entry.result = new

    @staticmethod
    def _check_alive(conn: Connection, error: BaseException | None) -> None:
        """SQLite itself rolls back on some errors: then nothing that follows may run, it would be outside."""
        if not raw(conn).in_transaction or (error is not None and trouble.code(error) is not None):
            raise _GroupLostError("the transaction was lost") from error

    def _abandon(self, group: list[_Entry], error: Exception) -> None:
        """Nothing of the group was written: say so to all of it, and begin anew with a new connection."""
        told = trouble.explain(self._path, error)
        if self.trouble is None:  # a full disk fails every group until there is room: one line is enough
            _log.error("writing failed: %s", told)
        self.trouble = str(told)
        told.__cause__ = error
        for entry in group:
            entry.error = entry.error or told
        self._disconnect()

    def _run_outside(self, entry: _Entry, work: Callable[[sqlite3.Connection], Any]) -> None:
        try:
            entry.result = work(raw(self._connect()))
        except Exception as error:  # noqa: BLE001 - a job runner; its future carries whatever it raised
            entry.error = trouble.explain(self._path, error) if trouble.code(error) is not None else error
        entry.answer()

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.invalidate()
            connection.close()

    def _rest(self) -> None:
        """Nothing to do: empty the WAL into the file and give the cache's memory back."""
        try:
            driver = raw(self._connect())
            checkpoint(driver)
            driver.execute("PRAGMA shrink_memory")
        except Exception:  # noqa: BLE001 - housekeeping; the next commit reports a disk that is in trouble
            _log.warning("%s: could not empty the WAL", self._path, exc_info=True)
            self._disconnect()

    def _shorten_wal(self) -> None:
        """A reader with an old snapshot lets the WAL grow; once it has gone the WAL is emptied."""
        try:
            size = self._wal.stat().st_size
        except FileNotFoundError:
            return
        if size > self._wal_limit:
            self._rest()
            self._wal_limit = size + WAL_SIZE_LIMIT_BYTES
        elif size < WAL_SIZE_LIMIT_BYTES:
            self._wal_limit = WAL_SIZE_LIMIT_BYTES


def checkpoint(driver: sqlite3.Connection) -> bool:
    """Move the WAL into the file and cut it to nothing; False if a reader was in the way (nothing is lost then)."""
    driver.execute("PRAGMA busy_timeout=0")
    try:
        busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    return not busy
