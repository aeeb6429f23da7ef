"""Rollups add up, meta keeps values, rejects stay bounded, clients count once."""

import pytest

from rsi.store import clients, meta, rejects, rollups
from rsi.store.rollups import CategoryTotals, RollupDelta, ScopeTotals, Totals
from tests.store.conftest import NOW


def test_rollups_add_and_answer_by_window(store):
    deltas = [
        RollupDelta("a", "t", "", 10, n=5, failed=2),
        RollupDelta("a", "t", "", 11, n=1),
        RollupDelta("a", "u", "", 11, n=4, failed=1),
        RollupDelta("b", "t", "", 11, n=7),
        RollupDelta("a", "t", "auth", 11, n=1, failed=1, steps=3),
        RollupDelta("a", "u", "timeout_model", 9, n=2, failed=2),
    ]
    store.write(lambda conn: rollups.add(conn, deltas))
    store.write(lambda conn: rollups.add(conn, deltas[:1]))
    store.write(lambda conn: rollups.add(conn, []))
    with store.read() as conn:
        assert rollups.totals(conn, "a", "t", 0) == Totals(11, 4)
        assert rollups.totals(conn, "a", "t", 11) == Totals(1, 0)
        assert rollups.totals(conn, "a", None, 11) == Totals(5, 1)
        assert rollups.totals(conn, "nobody", None, 0) == Totals(0, 0)
        assert rollups.by_category(conn, "a", None, 10) == {"auth": CategoryTotals(1, 1, 3)}
        assert rollups.by_category(conn, "a", "u", 0) == {"timeout_model": CategoryTotals(2, 2, 0)}
        assert rollups.scopes(conn, 11) == [
            ScopeTotals("a", "t", 1, 0),
            ScopeTotals("a", "u", 4, 1),
            ScopeTotals("b", "t", 7, 0),
        ]


def test_meta_keeps_any_json_and_replaces(store):
    for value in (1, {"a": [None, 2.5]}, False, None):
        store.write(lambda conn, value=value: meta.put(conn, "k", value))
        with store.read() as conn:
            assert meta.get(conn, "k", "default") == value
    with store.read() as conn:
        assert meta.get(conn, "other") is None
        assert meta.get(conn, "other", 7) == 7


def test_a_reject_keeps_its_reason_and_cuts_its_text(store, still):
    store.write(lambda conn: rejects.add(conn, "inbox", "a.json", "not JSON", "ä" * 5000 + "\ud800"))
    store.write(lambda conn: rejects.add(conn, "webhook", "\ud800", "r" * 9000, ""))
    with store.read() as conn:
        first, second = rejects.tail(conn, 5)
    assert (first.at, first.door, first.name, first.reason) == (NOW, "inbox", "a.json", "not JSON")
    assert first.text == "ä" * 2048
    assert (second.name, len(second.reason), second.text) == ("?", 1024, "")


def test_only_the_newest_thousand_rejects_are_kept(store):
    def many(conn):
        for n in range(rejects.KEPT + 25):
            rejects.add(conn, "inbox", str(n), "no", "")

    store.write(many)
    with store.read() as conn:
        kept = rejects.tail(conn, 5000)
    assert [kept[0].name, kept[-1].name, len(kept)] == ["25", "1024", rejects.KEPT]


def see(store, client, task, enforces, *, now=NOW, version=1, source="a"):
    return store.write(lambda conn: clients.seen(conn, client, source, task, enforces, version, now))


def test_a_client_counts_once_for_every_knob_it_enforces(store):
    see(store, "c1", "", ["retry", "timeout_s"])
    see(store, "c1", "t", ["retry"])
    see(store, "c2", "t", ["retry"])
    see(store, "c3", "u", ["retry"])
    see(store, "c4", "t", [])
    see(store, "c5", "", ["retry"], source="b")
    see(store, "old", "", ["retry", "breaker"], now=NOW - 100)
    with store.read() as conn:
        assert clients.enforcers(conn, "a", "t", NOW + 1, 90) == {"retry": 2, "timeout_s": 1}
        assert clients.enforcers(conn, "a", "other", NOW + 1, 90) == {"retry": 1, "timeout_s": 1}
        assert clients.enforcers(conn, "nobody", "t", NOW + 1, 90) == {}


@pytest.mark.parametrize(
    ("again", "written"),
    [
        ({"now": NOW + 59}, False),
        ({"now": NOW + 60}, True),
        ({"enforces": ["retry", "breaker"]}, True),
        ({"enforces": ["retry", "retry"]}, False),
        ({"version": 2}, True),
        ({"version": None}, True),
    ],
)
def test_a_client_is_written_again_only_when_there_is_news(store, again, written):
    assert see(store, "c", "t", ["retry"])
    assert see(store, "c", "t", **{"enforces": ["retry"], **again}) is written
