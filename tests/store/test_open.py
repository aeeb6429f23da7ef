"""Opening: blank, current, older, newer, foreign, damaged, missing; and what a crash leaves."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from rsi.errors import InvalidInputError, NotFoundError, StoreError, StoreMissingError, StoreTooNewError
from rsi.store import Store, engine, meta, migrate, outcomes
from rsi.store.schema import metadata


def shape(path):
    """Every table, index and trigger with its SQL, spaces evened out."""
    with sqlite3.connect(path) as driver:
        rows = driver.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()
    return {(kind, name): _columns(sql) for kind, name, sql in rows}


def _columns(sql):
    lines = [" ".join(line.split()).rstrip(",") for line in (sql or "").splitlines()]
    return sorted(filter(None, lines)) if (sql or "").startswith("CREATE TABLE") else " ".join(lines)


def migrated(path):
    engine.make_file(path)
    migrate.upgrade(path)
    return path


def test_the_migrations_create_exactly_the_schema(tmp_path):
    path = migrated(tmp_path / "rsi.db")
    reading = engine.reader_engine(path)
    with reading.connect() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    reading.dispose()


def test_a_blank_file_and_the_chain_of_migrations_end_alike(tmp_path):
    Store.open(tmp_path / "blank.db").close()
    assert shape(tmp_path / "blank.db") == shape(migrated(tmp_path / "chain.db"))


def test_the_head_is_the_newest_revision_file():
    script = ScriptDirectory(str(migrate.MIGRATIONS))
    assert script.get_current_head() == migrate.HEAD
    assert [each.revision for each in script.walk_revisions()][::-1] == list(migrate.REVISIONS)


def test_opening_again_changes_nothing(path, outcome):
    with Store.open(path) as store:
        store.add_outcomes([outcome(1)]).result()
    before = shape(path)
    with Store.open(f"sqlite:///{path}") as store, store.read() as conn:
        assert outcomes.count(conn) == 1
    assert shape(path) == before


def test_a_current_database_opens_without_alembic(path):
    """Neither the blank nor the current database costs the daemon its memory."""
    script = "import sys; from rsi.store import Store; [Store.open(sys.argv[1]).close() for _ in 'ab']; assert 'alembic' not in sys.modules"
    subprocess.run([sys.executable, "-c", script, path], check=True)


SECOND = """
from alembic import op
import sqlalchemy as sa
revision = "0999"
down_revision = "HEAD"
def upgrade():
    op.add_column("meta", sa.Column("note", sa.Text(), server_default="old"))
    op.create_table("extra", sa.Column("id", sa.Integer(), primary_key=True))
    {then}
""".replace("HEAD", migrate.HEAD)


@pytest.fixture
def versions(tmp_path):
    folder = tmp_path / "100% versions"
    folder.mkdir()
    return folder


def test_an_older_database_is_carried_along_the_chain_with_its_rows(path, versions):
    with Store.open(path) as store:
        store.write(lambda conn: meta.put(conn, "k", "kept"))
    (versions / "0999_extra.py").write_text(SECOND.format(then=""))
    migrate.upgrade(path, versions=versions)
    with sqlite3.connect(path) as driver:
        assert driver.execute("SELECT key, value, note FROM meta").fetchall() == [("k", b'"kept"', "old")]
        assert driver.execute("SELECT version_num FROM alembic_version").fetchall() == [("0999",)]


def test_health_of_the_first_release_goes_on_in_both_memories(tmp_path):
    path = tmp_path / "rsi.db"
    engine.make_file(path)
    migrate.upgrade(path, target="0001")
    with sqlite3.connect(path) as driver:
        driver.execute("INSERT INTO health VALUES ('default', 'app', '', 2.0, 24.0, 7.0, 1, 5, 'degraded')")
    migrate.upgrade(path)
    with sqlite3.connect(path) as driver:
        (row,) = driver.execute("SELECT * FROM health").fetchall()
    assert row[:9] == ("default", "app", "", 2.0, 24.0, 7.0, 1, 5, "degraded")
    assert 26.0**2 / row[9] == pytest.approx(45.9, abs=0.1)  # 26 by weight are 46 effective outcomes
    assert row[10:] == (2.0, 24.0, 0.0)


def test_a_migration_that_fails_half_way_changes_nothing(path, versions):
    Store.open(path).close()
    before = shape(path)
    (versions / "0999_extra.py").write_text(SECOND.format(then='op.execute("no sql")'))
    with pytest.raises(Exception, match="syntax error"):
        migrate.upgrade(path, versions=versions)
    assert shape(path) == before
    Store.open(path).close()


def test_opening_an_older_database_migrates_it_in_a_child(path, monkeypatch):
    """Head pretends to be newer: the child runs the chain, which really ends at today's."""
    Store.open(path).close()
    asked = []
    monkeypatch.setattr(migrate, "HEAD", "0009")
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: asked.append(real(*a, **k)) or asked[-1])
    Store.open(path).close()
    assert [done.returncode for done in asked] == [0]


def test_a_child_that_fails_is_told_with_its_last_words(path, monkeypatch):
    Store.open(path).close()
    monkeypatch.setattr(migrate, "HEAD", "0009")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StoreError, match="migration to 0009 failed, nothing was changed"):
        Store.open(path)


def test_the_child_migrates_a_blank_file_to_the_head(tmp_path):
    path = tmp_path / "rsi.db"
    engine.make_file(path)
    migrate._in_child(path)
    with sqlite3.connect(path) as driver:
        assert migrate.revision(driver, path) == migrate.HEAD


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_database_is_refused_with_both_revisions_and_left_alone(path, read_only):
    Store.open(path).close()
    with sqlite3.connect(path) as driver:
        driver.execute("UPDATE alembic_version SET version_num = '0099'")
    driver.close()
    with pytest.raises(StoreTooNewError, match=rf"0099 was written by a newer rsi.*up to {migrate.HEAD}.*[Uu]pgrade"):
        Store.open(path, read_only=read_only)


@pytest.mark.parametrize("read_only", [False, True])
def test_another_programs_database_is_refused_and_not_touched(tmp_path, read_only):
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as driver:
        driver.execute("CREATE TABLE theirs (x)")
    driver.close()
    with pytest.raises(StoreError, match="not one of rsi's"):
        Store.open(path, read_only=read_only)
    assert list(shape(path)) == [("table", "theirs")]


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "rsi.db"
    path.write_text("hello " * 1000)
    with pytest.raises(StoreError, match="no SQLite database"):
        Store.open(path)
    assert path.read_text() == "hello " * 1000


def test_only_files_of_sqlite_are_taken():
    for url in ("postgresql+psycopg://u:secret@host/db", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(InvalidInputError, match=r"store\.url") as caught:
            Store.open(url)
        assert "secret" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be created"):
        Store.open(tmp_path / "file" / "rsi.db")


def test_reading_what_is_not_there_is_missing_and_makes_nothing(path):
    with pytest.raises(StoreMissingError, match="nothing has been recorded") as caught:
        Store.open(path, read_only=True)
    assert isinstance(caught.value, NotFoundError)
    assert not path.parent.exists()


def test_reading_a_blank_file_is_missing(tmp_path):
    (tmp_path / "rsi.db").touch()
    with pytest.raises(StoreMissingError):
        Store.open(tmp_path / "rsi.db", read_only=True)


def test_reading_an_older_database_says_what_to_run(path, monkeypatch):
    Store.open(path).close()
    monkeypatch.setattr(migrate, "HEAD", "0009")
    with pytest.raises(StoreError, match="older than this rsi's; run `rsi up` once"):
        Store.open(path, read_only=True)


def test_a_read_only_store_reads_beside_a_writer_and_refuses_to_write(store, path, outcome):
    store.add_outcomes([outcome(1)]).result()
    with Store.open(path, read_only=True) as reading:
        with reading.read() as conn:
            assert outcomes.count(conn) == 1
        with pytest.raises(StoreError, match="read-only"):
            reading.submit(lambda conn: None)


READ = """
import os, sys, tempfile
from rsi.store import Store, outcomes

def read(path):
    with Store.open(path, read_only=True) as store, store.read() as conn:
        return outcomes.count(conn)

with tempfile.TemporaryDirectory() as warm:  # a stranger may not be able to import anything later
    Store.open(warm + "/rsi.db").close()
    read(warm + "/rsi.db")
if os.geteuid() == 0:  # who may write everywhere
    os.setegid(65534)
    os.seteuid(65534)
try:
    print(read(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""


def read_as_a_stranger(path: Path) -> str:
    """In a folder that the reader may not write to."""
    done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr


@pytest.fixture
def unwritable(outcome):
    """A closed store, and its folder, which can be read by all and written by nobody."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:  # every folder above it can be entered by all
        Path(made).chmod(0o755)
        path = Path(made) / "home" / "rsi.db"
        with Store.open(path) as store:
            store.add_outcomes([outcome(1)]).result()
        path.chmod(0o444)
        path.parent.chmod(0o555)
        yield path
        path.parent.chmod(0o755)


def test_a_home_that_cannot_be_written_can_be_read(unwritable):
    assert read_as_a_stranger(unwritable) == "1"


def test_rows_that_only_the_wal_has_are_not_left_out_silently(unwritable):
    unwritable.parent.chmod(0o755)
    wal = unwritable.with_name("rsi.db-wal")
    wal.write_bytes(b"newer rows")
    wal.chmod(0o444)
    unwritable.parent.chmod(0o555)
    assert "the newest rows are in rsi.db-wal" in read_as_a_stranger(unwritable)


def test_the_database_is_its_owners_alone(path, outcome):
    path.parent.mkdir(mode=0o755)
    path.touch(mode=0o644)
    with Store.open(path) as store:
        store.add_outcomes([outcome(1)]).result()
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (path.parent, *path.parent.iterdir())}
    assert modes == {".rsi": 0o700, "rsi.db": 0o600, "rsi.db-wal": 0o600, "rsi.db-shm": 0o600}


CRASH = """
import sys
import tempfile
from rsi.model import Outcome
from rsi.store import Store
store = Store.open(sys.argv[1])
for n in range(1_000_000):
    rows = [Outcome(id=f"{n}-{i}", ts=1.0, source="s", task="t", kind="task", status="ok") for i in range(5)]
    store.add_outcomes(rows).add_done_callback(lambda _, n=n: print(n, flush=True))
    if n % 50 == 0:
        store.write(lambda conn: None)
"""


def test_a_kill_loses_nothing_acknowledged_and_leaves_a_sound_file(path):
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(CRASH), path], stdout=subprocess.PIPE, text=True)
    acknowledged = [int(child.stdout.readline()) for _ in range(300)]
    os.kill(child.pid, signal.SIGKILL)
    acknowledged += [int(line) for line in child.communicate()[0].splitlines() if line.strip()]
    with Store.open(path) as store, store.read() as conn:
        assert conn.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
        kept = {stored.outcome.id for stored in store.outcomes_since(conn, 0, 10**7)}
        counted = conn.exec_driver_sql("SELECT sum(n) FROM rollups").scalar_one()
    assert {f"{n}-{i}" for n in acknowledged for i in range(5)} <= kept
    assert counted == len(kept)
    assert len(kept) % 5 == 0
