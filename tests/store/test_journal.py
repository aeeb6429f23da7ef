"""The journal: chained, append-only, and honest about what was done to it."""

import sqlite3

import pytest
from sqlalchemy.exc import IntegrityError

from rsi.store import Store, journal
from tests.store.conftest import NOW


@pytest.fixture
def three(store, still):
    return [
        store.write(
            lambda conn, n=n: journal.append(conn, "person:cli", "fix.approved", f"f{n}", {"b": n, "a": [None]})
        )
        for n in (1, 2, 1)
    ]


def verify(store):
    with store.read() as conn:
        return journal.verify(conn)


def test_entries_come_back_and_chain(store, three):
    with store.read() as conn:
        assert [entry.seq for entry in journal.for_ref(conn, "f1")] == [1, 3]
        newest = journal.tail(conn, 2)
    assert [entry.hash for entry in newest] == three[1:]
    assert newest[0] == journal.Entry(
        seq=2, at=NOW, who="person:cli", what="fix.approved", ref="f2", detail={"a": [None], "b": 2}, hash=three[1]
    )
    assert len(set(three)) == 3
    assert verify(store) is None


def test_an_empty_journal_is_whole(store):
    assert verify(store) is None


def test_the_order_of_keys_in_detail_is_no_difference(store, still):
    with store.read() as conn:
        assert journal.tail(conn, 5) == []
    first = store.write(lambda conn: journal.append(conn, "daemon", "x", "f1", {"a": 1, "b": 2}))
    with Store.open(store.path, project="other") as other:
        assert other.write(lambda conn: journal.append(conn, "daemon", "x", "f1", {"b": 2, "a": 1})) != first
        with other.read() as conn:
            assert conn.exec_driver_sql("SELECT count(DISTINCT detail) FROM journal").scalar_one() == 1
            assert journal.verify(conn) is None


def test_an_entry_of_a_job_that_fails_was_never_there(store, three):
    def change_and_fail(conn):
        journal.append(conn, "daemon", "x", "f9", {})
        raise ValueError

    assert isinstance(store.submit(change_and_fail).exception(10), ValueError)
    assert verify(store) is None
    store.write(lambda conn: journal.append(conn, "daemon", "x", "f9", {}))
    assert verify(store) is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE journal SET who = 'me' WHERE seq = 2",
        "DELETE FROM journal WHERE seq = 2",
        "INSERT OR REPLACE INTO journal SELECT * FROM journal WHERE seq = 2",
    ],
)
def test_the_database_refuses_to_change_it(store, three, change):
    with pytest.raises(IntegrityError, match="append-only"):
        store.write(lambda conn: conn.exec_driver_sql(change))
    assert verify(store) is None


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("UPDATE journal SET who = 'me' WHERE seq = 2", 2),
        ("UPDATE journal SET at = at + 1 WHERE seq = 1", 1),
        ("UPDATE journal SET detail = '{}' WHERE seq = 3", 3),
        ("UPDATE journal SET prev = '' WHERE seq = 2", 2),
        ("DELETE FROM journal WHERE seq = 1", 2),
        ("DELETE FROM journal WHERE seq = 2", 3),
        ("DELETE FROM journal WHERE seq = 3", 3),
        ("DELETE FROM journal", 1),
    ],
)
def test_what_was_done_to_the_file_by_other_means_shows(store, three, change, broken):
    with sqlite3.connect(store.path) as driver:
        for trigger in ("update", "delete"):
            driver.execute(f"DROP TRIGGER journal_no_{trigger}")
        driver.execute(change)
    driver.close()
    assert verify(store) == broken
