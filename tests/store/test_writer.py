"""The writer: durable when resolved, one bad job alone, a full disk said and survived."""

import subprocess
import sys
import textwrap
import threading
from concurrent.futures import Future

import pytest
from sqlalchemy import text

from rsi.errors import StoreBusyError, StoreError
from rsi.store import Store, meta, outcomes
from rsi.store.engine import raw
from rsi.store.writer import QUEUED_ROWS, WAL_LOOK_EVERY
from tests.store.conftest import hold_writer


def pragma(conn, name):
    return raw(conn).execute(f"PRAGMA {name}").fetchone()[0]


def count(store):
    with store.read() as conn:
        return outcomes.count(conn)


def test_the_writing_connection_syncs_every_commit(store):
    settings = store.write(
        lambda conn: {name: pragma(conn, name) for name in ("synchronous", "journal_mode", "auto_vacuum")}
    )
    assert settings == {"synchronous": 2, "journal_mode": "wal", "auto_vacuum": 2}  # FULL, incremental


def test_a_resolved_job_is_seen_by_the_next_reader(store):
    assert store.write(lambda conn: meta.put(conn, "k", {"a": [1]})) is None
    with store.read() as conn:
        assert meta.get(conn, "k") == {"a": [1]}


def test_one_failing_job_takes_no_other_with_it(store, outcome):
    go, futures = hold_writer(store)

    def fail(conn):
        meta.put(conn, "lost", 1)
        raise ValueError("mine")

    futures += [store.submit(lambda conn: meta.put(conn, "before", 1)), store.submit(fail)]
    futures += [store.add_outcomes([outcome(1)]), store.submit(lambda conn: meta.put(conn, "after", 1))]
    go.set()
    assert isinstance(futures[2].exception(10), ValueError)
    assert [future.exception(10) for future in (futures[1], futures[3], futures[4])] == [None] * 3
    with store.read() as conn:
        assert [meta.get(conn, key) for key in ("before", "lost", "after")] == [1, None, 1]
    assert count(store) == 1


def test_a_batch_that_cannot_be_bound_takes_no_other_batch_with_it(store, outcome):
    go, _ = hold_writer(store)
    bad = outcomes.RowBatch([("p", "s", "i", object(), 1.0, "t", "task", "ok", False, b"{}")], {})
    good, bound, last = store.add_outcomes([outcome(1)]), store._writer.add(bad), store.add_outcomes([outcome(2)])
    go.set()
    assert good.result(10) == last.result(10) == [True]
    assert bound.exception(10) is not None
    assert count(store) == 2


def test_a_group_holds_what_waited(store, outcome):
    """One commit for all that came while the writer was busy: a reader sees none or all of them."""
    go, _ = hold_writer(store)
    futures = [store.add_outcomes([outcome(n)]) for n in range(20)]
    seen = []
    futures[0].add_done_callback(lambda _: seen.append(count(store)))
    go.set()
    futures[-1].result(10)
    assert seen == [20]


def test_a_full_disk_fails_the_whole_group_and_the_store_recovers(store, outcome, monkeypatch):
    monkeypatch.setattr("rsi.store.writer.GROUP_SECONDS", 60)  # a slow machine may not part the two
    store.write(lambda conn: raw(conn).execute("PRAGMA max_page_count=1"))  # no page more than there are
    go, _ = hold_writer(store)
    full = [store.submit(lambda conn: meta.put(conn, "small", 1)), store.submit(_grow)]
    go.set()
    for future in full:
        with pytest.raises(StoreBusyError, match=r"full.*make room"):
            future.result(10)
    with store.read() as conn:
        assert meta.get(conn, "small") is None
    assert "make room" in store.trouble
    assert store.add_outcomes([outcome(1)]).result(10) == [True]  # a new connection has no such limit
    assert count(store) == 1
    assert store.trouble is None


def test_nothing_is_acknowledged_that_sat_in_a_transaction_which_was_lost_on_the_way(store, monkeypatch):
    """What SQLite itself does on some errors, whoever catches them: all before is gone, all after would be outside."""
    monkeypatch.setattr("rsi.store.writer.GROUP_SECONDS", 60)  # a slow machine may not part the two
    go, _ = hold_writer(store)
    group = [
        store.submit(lambda conn: meta.put(conn, "before", 1)),
        store.submit(lambda conn: raw(conn).execute("ROLLBACK") and None),
    ]
    go.set()
    for future in group:
        with pytest.raises(StoreBusyError, match="nothing of this group was written"):
            future.result(10)
    with store.read() as conn:
        assert meta.get(conn, "before") is None


def _grow(conn):
    for n in range(200):
        meta.put(conn, f"k{n}", "x" * 5000)


def test_a_file_size_limit_fails_with_the_cause_and_writing_goes_on_after_it(tmp_path):
    """A real write error, in a process of its own: EFBIG from the kernel, then room again."""
    script = """
    import resource, sys
    from rsi.errors import StoreBusyError
    from rsi.model import Outcome
    from rsi.store import Store, outcomes
    def some(at): return [Outcome(id=f"{at}-{n}", ts=1.0, source="s", task="t", kind="task", status="failed",
                                  error="e" * 4000) for n in range(200)]
    with Store.open(sys.argv[1]) as store:
        assert all(store.add_outcomes(some(0)).result())
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        try:
            store.add_outcomes(some(1)).result()
        except StoreBusyError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert all(store.add_outcomes(some(2)).result())
        with store.read() as conn:
            print(outcomes.count(conn), outcomes.get(conn, "s", "1-0"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), tmp_path / "rsi.db"], capture_output=True, text=True, check=True
    )
    error, counted = done.stdout.splitlines()
    assert "disk I/O error" in error
    assert "check the disk" in error
    assert counted == "400 None"


def test_another_process_with_the_lock_is_named(store, path, monkeypatch):
    import sqlite3

    store.write(lambda conn: raw(conn).execute("PRAGMA busy_timeout=1"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError, match="holds the write lock"):
        store.write(lambda conn: meta.put(conn, "k", 1))
    other.close()
    store.write(lambda conn: meta.put(conn, "k", 2))


def test_more_than_may_wait_is_refused_at_once(store, outcome):
    go, _ = hold_writer(store)
    row = outcomes.batch_of([outcome(1)], "default", 1.0).rows[0]
    store._writer.add(outcomes.RowBatch([row] * QUEUED_ROWS, {}))
    with pytest.raises(StoreBusyError, match="wait for the disk"):
        store.add_outcomes([outcome(2)]).result(0)
    go.set()


def test_waiting_for_a_write_inside_a_job_is_an_error_and_no_deadlock(store):
    with pytest.raises(StoreError, match="inside a job"):
        store.write(lambda conn: store.write(lambda inner: None))


def test_close_finishes_what_was_submitted_and_twice_is_once(path, outcome):
    store = Store.open(path)
    count(store)
    futures = [store.add_outcomes([outcome(n)]) for n in range(100)]
    store.close()
    store.close()
    assert all(future.result(0) == [True] for future in futures)
    assert not path.with_name("rsi.db-wal").exists()
    with pytest.raises(StoreError, match="closed"):
        store.add_outcomes([outcome(1)])


def test_what_is_submitted_cannot_be_cancelled(store, outcome):
    go, _ = hold_writer(store)
    future: Future = store.add_outcomes([outcome(1)])
    assert not future.cancel()
    go.set()
    assert future.result(10) == [True]


def test_readers_keep_their_snapshot_while_others_write(store, outcome):
    store.add_outcomes([outcome(1)]).result()
    with store.read() as conn:
        assert outcomes.count(conn) == 1
        store.add_outcomes([outcome(2)]).result()
        assert outcomes.count(conn) == 1
    assert count(store) == 2


def test_many_threads_write_and_read_at_once(store, outcome):
    def agent(name):
        for n in range(20):
            assert store.add_outcomes([outcome(n, source=name)]).result() == [True]
            count(store)

    threads = [threading.Thread(target=agent, args=(f"a{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(store) == 160


def test_a_reader_cannot_write(store):
    with pytest.raises(StoreError, match="readonly"), store.read() as conn:
        conn.execute(text("DELETE FROM meta"))


def test_a_large_wal_is_emptied_once_its_reader_has_gone(store, outcome, monkeypatch):
    wal = store.path.with_name("rsi.db-wal")
    store._writer._wal_limit = 200_000
    big = [outcome(n, error="x" * 10_000) for n in range(60)]
    with store.read() as conn:
        outcomes.count(conn)
        store.add_outcomes(big[:40]).result()
        for _ in range(WAL_LOOK_EVERY + 1):
            store.write(lambda conn: None)
        assert wal.stat().st_size > 200_000
    store._writer._wal_limit = 200_000
    store.add_outcomes(big[40:]).result()
    for _ in range(WAL_LOOK_EVERY + 1):
        store.write(lambda conn: None)
    assert wal.stat().st_size < 200_000


def test_nothing_is_acknowledged_into_a_file_that_is_gone(tmp_path):
    with Store.open(tmp_path / "rsi.db") as store:
        store.write(lambda conn: meta.put(conn, "a", 1))
        for name in ("rsi.db", "rsi.db-wal", "rsi.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        with pytest.raises(StoreBusyError, match="gone"):
            store.write(lambda conn: meta.put(conn, "b", 2))
