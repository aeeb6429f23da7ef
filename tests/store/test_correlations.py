"""Minutes, pairs and incidents in the store."""

import sqlite3

import pytest

from rsi.errors import InvalidInputError
from rsi.store import correlations, issue_rows, merges, migrate, minutes, retention
from rsi.store.correlations import IncidentRow, PairRow
from rsi.store.fingerprints import NewTemplate, intern
from rsi.store.issue_rows import IssueRow
from rsi.store.minutes import ATTEMPTS, MinuteRow
from tests.store.conftest import NOW

DAY = 86_400.0
MINUTE = int(NOW // 60)


@pytest.fixture
def three(store):
    """Three issues, i1 to i3."""

    def job(conn):
        new = [NewTemplate("overloaded", f"h{n}", f"thing {n}", None, "rule:x", 1, None, "same") for n in range(3)]
        rows = intern(conn, new, NOW).values()
        issue_rows.create(
            conn,
            [
                IssueRow(id=one.cluster, category="overloaded", title=one.template, severity="high", state="new",
                         state_at=NOW, first_seen=NOW, last_seen=NOW, why="same", samples=[])
                for one in rows
            ],
        )  # fmt: skip
        return sorted(one.cluster for one in rows)

    assert store.write(job) == [1, 2, 3]


def write(store, job, *args):
    return store.write(lambda conn: job(conn, *args))


def read(store, job, *args, **more):
    with store.read() as conn:
        return job(conn, *args, **more)


def pair(a, b, until=NOW, q=0.01, **fields):
    return PairRow(a, b, **{"lag": 1, "times": 5, "expected": 0.1, "named": False, "since": NOW - 60, **fields},
                   until=until, q=q)  # fmt: skip


def test_minutes_add_up_and_keep_what_was_said_last(store, three):
    write(store, minutes.add, [MinuteRow(MINUTE, 1, "app", 2, "openai"), MinuteRow(MINUTE, ATTEMPTS, "app", 9)])
    write(store, minutes.add, [MinuteRow(MINUTE, 1, "app", 3, None, "2.0"), MinuteRow(MINUTE + 1, 1, "app", 1)])
    assert read(store, minutes.of_issues, [1], 0)[0] == MinuteRow(MINUTE, 1, "app", 5, "openai", "2.0")
    assert read(store, minutes.struck, 0) == [(1, 2, MINUTE + 1)]
    write(store, minutes.add, [MinuteRow(MINUTE, ATTEMPTS, "other", 4)])
    assert read(store, minutes.attempts, ["app"], 0) == {"": {MINUTE: 13}, "app": {MINUTE: 9}}
    assert read(store, minutes.totals, 0) == {"app": (9, 6), "other": (4, 0)}


def test_old_minutes_go_an_hour_at_a_time(store, three):
    write(store, minutes.add, [MinuteRow(MINUTE - n, 1, "app", 1) for n in range(200)])
    asked = 0
    while write(store, minutes.forget, MINUTE - 10):
        asked += 1
    assert asked == 4
    assert read(store, minutes.oldest) == MINUTE - 10


def test_pairs_are_one_whichever_way_round_and_surest_first(store, three):
    write(store, correlations.put, [pair(1, 2, q=0.04), pair(3, 1, q=0.01)])
    assert read(store, correlations.of_issues, [1, 2]) == {1: ["i3", "i2"], 2: ["i1"]}
    write(store, correlations.put, [pair(2, 1, q=0.001)])
    assert read(store, correlations.of_issues, [1]) == {1: ["i2", "i3"]}
    assert [row[:2] for row in read(store, correlations.since, NOW)] == [(2, 1), (3, 1)]
    assert read(store, correlations.since, NOW + 1) == []


def test_partners_of_merged_issues_are_those_they_went_into(store, three):
    write(store, correlations.put, [pair(2, 3), pair(1, 2)])
    write(store, minutes.add, [MinuteRow(MINUTE, 2, "app", 1)])
    write(store, lambda conn: merges.merge(conn, "i1", "i2", "person:test"))
    assert read(store, correlations.of_issues, [1, 3]) == {1: ["i3"], 3: ["i1"]}
    assert [row[:2] for row in read(store, correlations.since, NOW)] == [(1, 3)]
    assert read(store, minutes.struck, 0) == [(1, 1, MINUTE)]
    assert [row.issue for row in read(store, minutes.of_issues, [1], 0)] == [1]


def incident(**fields):
    return IncidentRow(**{"started": NOW, "last_seen": NOW, "title": "t", "cause": "c", "issues": [1, 2], **fields})


def test_an_incident_that_joined_another_redirects_for_ever(store):
    first, second, third = incident(), incident(), incident()
    write(store, correlations.save, [first, second, third])
    assert [one.id for one in (first, second, third)] == [1, 2, 3]
    third.merged_into, third.state = 2, "over"
    second.merged_into, second.state = 1, "over"
    write(store, correlations.save, [third, second])
    assert read(store, correlations.get_incident, "n3").id == "n1"
    assert [one.id for one in read(store, correlations.list_incidents)] == ["n1"]
    assert read(store, correlations.count_by_state) == {"open": 1}


def test_open_ones_come_first_then_the_newest(store):
    rows = [incident(state="over", last_seen=NOW - n) for n in (5, 1)] + [incident(last_seen=NOW - 100)]
    write(store, correlations.save, rows)
    assert [one.id for one in read(store, correlations.list_incidents)] == ["n3", "n2", "n1"]
    assert [one.id for one in read(store, correlations.list_incidents, limit=1)] == ["n3"]
    for wrong in ({"state": "gone"}, {"limit": 0}):
        with pytest.raises(InvalidInputError):
            read(store, correlations.list_incidents, **wrong)


def test_retention_takes_pairs_and_incidents_with_the_window(store):
    write(store, correlations.put, [pair(1, 2, until=NOW - 40 * DAY), pair(1, 3)])
    old = NOW - 40 * DAY
    write(store, correlations.save, [incident(state="over", last_seen=old), incident(last_seen=old), incident()])
    retention.prune(store, NOW, 30, 1e6)
    assert [one.id for one in read(store, correlations.list_incidents)] == ["n3", "n2"]
    with sqlite3.connect(store.path) as driver:
        assert driver.execute("SELECT b FROM correlations").fetchall() == [(3,)]


def test_a_database_from_before_has_no_incidents_and_keeps_what_it_had(tmp_path):
    path = tmp_path / "rsi.db"
    migrate.engines.make_file(path)
    migrate.upgrade(path, target="0002")
    with sqlite3.connect(path) as driver:
        driver.execute("INSERT INTO meta VALUES ('default', 'k', '1')")
    migrate.upgrade(path)
    with sqlite3.connect(path) as driver:
        assert driver.execute("SELECT count(*) FROM incidents").fetchone() == (0,)
        assert driver.execute("SELECT value FROM meta").fetchall() == [("1",)]
