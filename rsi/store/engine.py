"""Connections to the SQLite file: where it lies, its pragmas, and how a transaction begins.

Python's `sqlite3` is put into autocommit and SQLAlchemy's `begin` event says BEGIN itself, so that DDL is transactional
and a writer takes its lock at once (`BEGIN IMMEDIATE`) instead of failing half way.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from rsi.config import STATE_DIR
from rsi.errors import InvalidInputError, StoreError
from rsi.model import DEFAULT_PROJECT

#: How long a connection waits for another process's lock.
BUSY_TIMEOUT_MS: Final = 5_000
#: Page caches, in KiB. The writer's holds the upper part of the id index; a reader's is SQLite's own default.
WRITER_CACHE_KIB: Final = 8_192
READER_CACHE_KIB: Final = 2_048
#: Pages in the WAL before a commit also moves them into the file (4,000 of 4 KiB: 16 MB): fewer than SQLite's 1,000
#: would cost one more fsync every few batches.
WAL_AUTOCHECKPOINT_PAGES: Final = 4_000
#: A reset WAL is cut to this; it may be longer while a reader holds an old snapshot.
WAL_SIZE_LIMIT_BYTES: Final = 64 * 1024 * 1024
#: Read connections kept open, and how many more may be made at a rush.
READERS_KEPT: Final = 2
READERS_EXTRA: Final = 30

#: What SQLite answers where it may not make the files that readers of a WAL database share; an extended code keeps its
#: primary one in the low byte (https://www.sqlite.org/rescode.html).
_NO_WRITING: Final = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
_PRIMARY: Final = 0xFF

_PROJECT_OPTION: Final = "rsi_project"

_COMMON: Final = (
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA foreign_keys=OFF",  # the schema declares none: retention removes outcomes that others only mention
    "PRAGMA trusted_schema=OFF",
    "PRAGMA mmap_size=0",
    "PRAGMA temp_store=MEMORY",
)
_WRITER: Final = (
    *_COMMON,
    "PRAGMA auto_vacuum=INCREMENTAL",  # counts only before the first table, and before WAL writes page one
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # in WAL: one fsync in every commit, before it returns
    "PRAGMA secure_delete=ON",  # what is deleted is gone from the file, on every build of SQLite
    f"PRAGMA cache_size=-{WRITER_CACHE_KIB}",
    f"PRAGMA wal_autocheckpoint={WAL_AUTOCHECKPOINT_PAGES}",
    f"PRAGMA journal_size_limit={WAL_SIZE_LIMIT_BYTES}",
)
_READER: Final = (*_COMMON, "PRAGMA query_only=ON", f"PRAGMA cache_size=-{READER_CACHE_KIB}")


def path_of(url_or_path: str | os.PathLike[str]) -> Path:
    """`sqlite:///relative`, `sqlite:////absolute` or a path → the path of the database file.

    Raises:
        InvalidInputError: another kind of database, or no file.
    """
    if not isinstance(url_or_path, str) or "://" not in url_or_path:
        return Path(url_or_path)
    try:
        url = make_url(url_or_path)
    except ArgumentError as error:
        raise InvalidInputError(f"store.url: not a database URL: {error}", field="store.url") from error
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        shown = url.render_as_string(hide_password=True)
        raise InvalidInputError(f"store.url: expected sqlite:///FILE, got {shown}", field="store.url")
    return Path(url.database)


def make_file(path: Path) -> None:
    """Create the database's folder (0700) and empty file (0600), durably; narrow what exists already.

    Raises:
        StoreError: the folder cannot be made or written.
    """
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, parents=True)
            _sync_folder(path.parent.parent)
        elif path.parent.name == STATE_DIR:
            path.parent.chmod(0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"{path}: cannot be created or written: {error.strerror}; check owner and mode") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def writer_engine(path: Path, project: str = DEFAULT_PROJECT) -> Engine:
    """For the one connection that writes: durable commits, `BEGIN IMMEDIATE`."""
    return _engine(path, project, _WRITER, "BEGIN IMMEDIATE", kept=1, extra=0)


def reader_engine(path: Path, project: str = DEFAULT_PROJECT, *, read_only: bool = False) -> Engine:
    """For read snapshots, from any thread. With `read_only` the file itself is opened that way."""
    return _engine(path, project, _READER, "BEGIN", kept=READERS_KEPT, extra=READERS_EXTRA, read_only=read_only)


def project(conn: Connection) -> str:
    """The project that this connection works for: what goes into, and is asked of, every table's `project`."""
    return cast("str", conn.get_execution_options().get(_PROJECT_OPTION, DEFAULT_PROJECT))


def raw(conn: Connection) -> sqlite3.Connection:
    """The driver's connection below, for the hot insert and for pragmas."""
    return cast("sqlite3.Connection", conn.connection.driver_connection)


def _engine(
    path: Path, project: str, pragmas: tuple[str, ...], begin: str, *, kept: int, extra: int, read_only: bool = False
) -> Engine:
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        creator=_connector(path, read_only=read_only),
        poolclass=QueuePool,
        pool_size=kept,
        max_overflow=extra,
        execution_options={_PROJECT_OPTION: project},
    )

    def on_connect(driver: sqlite3.Connection, _record: Any) -> None:
        for pragma in pragmas:
            driver.execute(pragma)

    def on_begin(conn: Connection) -> None:
        conn.exec_driver_sql(begin)

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


def _connector(path: Path, *, read_only: bool) -> Callable[[], sqlite3.Connection]:
    if read_only:
        return lambda: _reading(path)
    return lambda: _connect(path, "mode=rw")


def _connect(path: Path, how: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{how}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000)


def _reading(path: Path) -> sqlite3.Connection:
    """Readers of a WAL database make files beside it; where they may not, the file alone is read, if it is whole.

    Raises:
        StoreError: nothing may be written there, and the newest rows are in the WAL.
    """
    found = _connect(path, "mode=ro")
    try:
        found.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        found.close()
        if error.sqlite_errorcode & _PRIMARY not in _NO_WRITING or not path.exists():
            raise
        wal = path.with_name(path.name + "-wal")
        if wal.exists() and wal.stat().st_size:
            raise StoreError(
                f"{path}: its folder cannot be written, and the newest rows are in {wal.name}: stop rsi there cleanly, "
                "or read as somebody who may write to the folder"
            ) from error
        return _connect(path, "mode=ro&immutable=1")
    return found
