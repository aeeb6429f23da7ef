"""Which schema a database has, and the way to ours.

A blank file gets today's tables at once, stamped as the newest revision (a test proves that this and the chain of
migrations end alike). An older one goes through Alembic in a child process, `python -m rsi.store.migrations FILE`: it
costs 12 MB and a quarter of a second, which the daemon would carry for its whole life.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine

from rsi.errors import StoreError, StoreMissingError, StoreTooNewError
from rsi.store import engine as engines
from rsi.store import triggers
from rsi.store.schema import metadata

MIGRATIONS: Final = Path(__file__).parent / "migrations"
#: Our revisions, oldest first: the names of the files say them.
REVISIONS: Final = tuple(sorted(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py")))
HEAD: Final = REVISIONS[-1]

_BLANK: Final = ""
_STAMP: Final = (
    "CREATE TABLE alembic_version (\n\tversion_num VARCHAR(32) NOT NULL, \n"
    "\tCONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)\n)"
)


def revision(driver: sqlite3.Connection, path: Path) -> str:
    """The revision that a database is at, '' if it is blank.

    Raises:
        StoreError: it has tables, but not ours.
        StoreTooNewError: a newer rsi wrote it.
    """
    tables = {name for (name,) in driver.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return _BLANK
    found = (
        driver.execute("SELECT version_num FROM alembic_version").fetchone() if "alembic_version" in tables else None
    )
    if found is None:
        raise StoreError(f"{path}: this database is not one of rsi's; move it away, or choose another home")
    if found[0] not in REVISIONS:
        raise StoreTooNewError(
            f"{path}: schema revision {found[0]} was written by a newer rsi; this one knows up to {HEAD}. "
            "Upgrade rsi (pip install --upgrade rsi), or choose another home (--home DIR)"
        )
    return str(found[0])


def ensure(engine: Engine, path: Path) -> None:
    """Bring the database to `HEAD`: nothing to do, created, or migrated.

    Raises:
        StoreError: not ours, or the migration failed; it is as it was before then.
        StoreTooNewError: a newer rsi wrote it.
    """
    with engine.connect() as conn:
        driver = engines.raw(conn)
        found = revision(driver, path)
        if found == _BLANK:
            with conn.begin():
                if revision(driver, path) == _BLANK:  # now that we hold the lock
                    _create(conn)
            return
    if found != HEAD:
        _in_child(path)


def require(engine: Engine, path: Path) -> None:
    """For those who only read: the database has to be there, at `HEAD`.

    Raises:
        StoreMissingError: there is none, or it is blank.
        StoreTooNewError: a newer rsi wrote it.
        StoreError: not ours, or older than this rsi.
    """
    missing = f"{path}: nothing has been recorded yet; `rsi up` or `rsi observe` begins"
    if not path.exists():
        raise StoreMissingError(missing)
    with engine.connect() as conn:
        found = revision(engines.raw(conn), path)
    if found == _BLANK:
        raise StoreMissingError(missing)
    if found != HEAD:
        raise StoreError(f"{path}: schema revision {found} is older than this rsi's; run `rsi up` once")


def _create(conn: Connection) -> None:
    metadata.create_all(conn)
    for statement in triggers.CREATE:
        conn.exec_driver_sql(statement)
    conn.exec_driver_sql(_STAMP)
    conn.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (HEAD,))


def _in_child(path: Path) -> None:
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    command = [sys.executable, "-m", "rsi.store.migrations", str(path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        raise StoreError(f"{path}: migration to {HEAD} failed, nothing was changed: {said}")


def upgrade(path: Path, *, versions: Path | None = None, target: str = "head") -> None:
    """Run the migrations that are missing, in this process, each in a transaction. Imports Alembic.

    Args:
        path: the database file.
        versions: one more folder of revisions (for tests of the chain).
        target: the revision to stop at.
    """
    from alembic import command  # noqa: PLC0415 - on first need: 12 MB
    from alembic.config import Config  # noqa: PLC0415

    folders = [MIGRATIONS / "versions", *([versions] if versions else [])]
    config = Config()
    config.set_main_option("script_location", _quoted(MIGRATIONS))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(map(_quoted, folders)))
    engine = engines.writer_engine(path)
    try:
        with engine.connect() as conn:
            config.attributes["connection"] = conn
            command.upgrade(config, target)
    finally:
        engine.dispose()


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%%")
