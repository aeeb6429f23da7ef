"""`Store`: opens the database, writes through one thread, reads in snapshots."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar, overload

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from rsi import clock
from rsi.errors import StoreError
from rsi.model import DEFAULT_PROJECT, Outcome, StoredOutcome
from rsi.store import engine as engines
from rsi.store import migrate, outcomes, trouble
from rsi.store.writer import Writer, checkpoint

T = TypeVar("T")


class Store:
    """One database of one home. Safe to use from any thread; `close` it, or use it as a context manager."""

    def __init__(self, path: Path, project: str, readers: Engine, writer: Writer | None) -> None:
        self.path = path
        self.project = project
        self._readers = readers
        self._writer = writer

    @classmethod
    def open(
        cls, url_or_path: str | os.PathLike[str], project: str = DEFAULT_PROJECT, *, read_only: bool = False
    ) -> Self:
        """Open, and bring the schema up to date; creates the file (0600) if there is none.

        Args:
            url_or_path: `sqlite:///FILE` or the file's path.
            project: what the rows carry and are asked for.
            read_only: never writes, creates or migrates.

        Raises:
            StoreMissingError: `read_only`, and there is nothing yet.
            StoreTooNewError: a newer rsi wrote it.
            StoreBusyError: locked, or the disk is full.
            StoreError: not ours, damaged, or (`read_only`) older than this rsi.
        """
        path = engines.path_of(url_or_path)
        try:
            return cls._open_read_only(path, project) if read_only else cls._open(path, project)
        except (DBAPIError, sqlite3.Error) as error:
            raise trouble.explain(path, error) from error

    @classmethod
    def _open(cls, path: Path, project: str) -> Self:
        engines.make_file(path)
        engine = engines.writer_engine(path, project)
        try:
            migrate.ensure(engine, path)
            return cls(path, project, engines.reader_engine(path, project), Writer(engine, path))
        except BaseException:
            engine.dispose()
            raise

    @classmethod
    def _open_read_only(cls, path: Path, project: str) -> Self:
        engine = engines.reader_engine(path, project, read_only=True)
        try:
            migrate.require(engine, path)
        except BaseException:
            engine.dispose()
            raise
        return cls(path, project, engine, None)

    def submit(self, job: Callable[[Connection], T]) -> Future[T]:
        """Run `job` in the writer's thread, in a savepoint of its own.

        The future resolves once it is durable, with what `job` returned or raised; `StoreBusyError` if the group could
        not be committed. Its callbacks run in the writer's thread: keep them short. Keep jobs short too (some 50 ms);
        slice what is longer, everybody else waits.

        Raises:
            StoreError: read-only, or closed.
        """
        return self._writing().submit(job)

    def write(self, job: Callable[[Connection], T]) -> T:
        """`submit`, and wait for it.

        Raises:
            StoreBusyError: nothing was written.
            StoreError: called from inside a job, where waiting would be for ever.
        """
        return self._waited().submit(job).result()

    @overload
    def add_outcomes(self, rows: Sequence[Outcome], arrived: float | None = None) -> Future[list[bool]]: ...

    @overload
    def add_outcomes(
        self, rows: Sequence[Outcome], arrived: float | None = None, *, then: Callable[[list[bool]], T]
    ) -> Future[T]: ...

    def add_outcomes(
        self,
        rows: Sequence[Outcome],
        arrived: float | None = None,
        *,
        then: Callable[[list[bool]], Any] | None = None,
    ) -> Future[Any]:
        """Store outcomes and count the final tasks among them; the hot path.

        Args:
            rows: one batch.
            arrived: when they came in, epoch seconds; now if omitted.
            then: makes the future's result of the flags, in the writer's thread: one future instead of two.

        Returns:
            per row, once durable: True = new, False = the same id of that source was there, or stood earlier.

        Raises:
            InvalidInputError: one cannot be written as JSON; names it. Nothing was stored.
        """
        when = clock.now() if arrived is None else arrived
        return self._writing().add(outcomes.batch_of(rows, self.project, when), then)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read snapshot for this thread: what others commit meanwhile is not seen. Keep it short.

        Raises:
            StoreError: the file cannot be read, is damaged, or (here) was to be written.
        """
        try:
            with self._readers.connect() as conn, conn.begin():
                yield conn
        except DBAPIError as error:
            if trouble.code(error) is None:
                raise
            raise trouble.explain(self.path, error) from error

    @staticmethod
    def outcomes_since(conn: Connection, seq: int, limit: int) -> list[StoredOutcome]:
        """Up to `limit` outcomes above row number `seq`, oldest first."""
        return outcomes.since(conn, seq, limit)

    def between(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the writing connection between two transactions, for what cannot be inside one; wait for it."""
        return self._waited().outside(work).result()

    def checkpoint(self) -> bool:
        """Move the WAL into the file and cut it; False if a reader was in the way."""
        return self.between(checkpoint)

    def size_bytes(self) -> int:
        """What the database takes on disk now: the file and its WAL."""
        return sum(each.stat().st_size for each in (self.path, _wal(self.path)) if each.exists())

    @property
    def trouble(self) -> str | None:
        """Why the last writes failed, with the way out; None once a group has been written again."""
        return None if self._writer is None else self._writer.trouble

    def close(self) -> None:
        """Finish what was submitted, empty the WAL into the file, close every connection. Twice is once."""
        self._readers.dispose()  # the writer goes last: who closes last empties and removes the WAL
        if self._writer is not None:
            self._writer.close()
            self._readers.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _writing(self) -> Writer:
        if self._writer is None:
            raise StoreError(f"{self.path}: opened read-only; writing needs Store.open(..., read_only=False)")
        return self._writer

    def _waited(self) -> Writer:
        writer = self._writing()
        if writer.is_current:
            raise StoreError("waiting for the writer inside a job would be for ever: use the job's own connection")
        return writer


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
