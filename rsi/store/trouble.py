"""What a driver's error means: the disk's or the lock's trouble, or the statement's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rsi.errors import StoreBusyError, StoreError

#: SQLite's primary result codes that say nothing about the statement, with the way out.
#: https://www.sqlite.org/rescode.html
_WAY_OUT: Final = {
    sqlite3.SQLITE_FULL: "make room on the disk (`rsi prune` shrinks the database), then try again",
    sqlite3.SQLITE_IOERR: "check the disk and its quota, then try again",
    sqlite3.SQLITE_READONLY: "check owner and mode of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "check that the folder exists and can be written",
    sqlite3.SQLITE_BUSY: "another process holds the write lock; try again, or stop it",
    sqlite3.SQLITE_LOCKED: "another connection holds the lock; try again",
    sqlite3.SQLITE_PROTOCOL: "another process holds the lock; try again",
    sqlite3.SQLITE_NOMEM: "the machine is out of memory; try again",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore a copy, or move it away to begin anew",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database; move it away to begin anew",
}
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
#: An extended code keeps its primary one in the low byte.
_PRIMARY: Final = 0xFF


def code(error: BaseException) -> int | None:
    """The primary code of the trouble behind `error` (itself, what it wraps or followed), None if there is none."""
    for each in _behind(error):
        if isinstance(each, sqlite3.Error):
            primary = getattr(each, "sqlite_errorcode", 0) & _PRIMARY
            if primary in _WAY_OUT:
                return primary
    return None


def explain(path: Path, error: BaseException) -> StoreError:
    """The error for the caller: `StoreBusyError` if it may work later, plain `StoreError` if the file is damaged."""
    primary = code(error)
    cause = next((each for each in _behind(error) if isinstance(each, sqlite3.Error)), error)
    if primary in _DAMAGED:
        return StoreError(f"{path}: {cause}: {_WAY_OUT[primary]}")
    way_out = _WAY_OUT[primary] if primary is not None else "nothing of this group was written; try again"
    return StoreBusyError(f"{path}: {cause}: {way_out}")


def _behind(error: BaseException) -> Iterator[BaseException]:
    """`error`, the driver's error that SQLAlchemy wrapped, and what either came from; each once."""
    stack: list[BaseException | None] = [error]
    seen: set[int] = set()
    while stack:
        each = stack.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        stack += [each.__context__, each.__cause__, getattr(each, "orig", None)]
