"""Retention deletes what is old, never what is not analysed, and the file shrinks."""

import pytest
from sqlalchemy import insert

from rsi.store import clients, meta, outcomes, retention, rollups
from rsi.store.rollups import RollupDelta
from rsi.store.schema import fixes, issue_hours, trial_units
from tests.store.conftest import NOW

DAY = 86_400.0
UNLIMITED = 1e6


def fill(store, outcome, names, arrived, size=2_000):
    store.add_outcomes([outcome(name, error="x" * size, status="failed") for name in names], arrived).result()


def watermark(store, seq):
    store.write(lambda conn: meta.put(conn, meta.WATERMARK, seq))


def kept(store):
    with store.read() as conn:
        return [stored.outcome.id for stored in store.outcomes_since(conn, 0, 10**6)]


def test_the_file_shrinks_when_old_outcomes_go(store, outcome):
    for slice_ in range(5):
        fill(store, outcome, (f"old{slice_}-{n}" for n in range(500)), NOW - 40 * DAY)
    fill(store, outcome, ["new"], NOW)
    watermark(store, 2501)
    store.checkpoint()
    before = store.path.stat().st_size
    pruned = retention.prune(store, NOW, 30, UNLIMITED)
    assert pruned.rows == 2500
    assert pruned.bytes_before >= before > 5_000_000
    assert pruned.bytes_after == store.size_bytes()
    assert store.path.stat().st_size < 400_000
    assert kept(store) == ["new"]
    assert retention.prune(store, NOW, 30, UNLIMITED).rows == 0


def test_nothing_above_the_watermark_goes(store, outcome):
    fill(store, outcome, ["1", "2", "3"], NOW - 40 * DAY, 10)
    assert retention.prune(store, NOW, 30, 0.01).rows == 0
    watermark(store, 2)
    assert retention.prune(store, NOW, 30, 0.01).rows == 2
    assert kept(store) == ["3"]


def test_arrival_counts_and_a_clock_that_was_set_back_hides_nothing(store, outcome):
    fill(store, outcome, ["new"], NOW)
    fill(store, outcome, ["old"], NOW - 31 * DAY)
    watermark(store, 2)
    assert retention.prune(store, NOW, 30, UNLIMITED).rows == 1
    assert kept(store) == ["new"]


def test_a_database_over_its_size_loses_its_oldest(store, outcome):
    for slice_ in range(6):
        fill(store, outcome, (f"{slice_}-{n}" for n in range(500)), NOW, 4_000)
    watermark(store, 3000)
    limit_mb = 8
    pruned = retention.prune(store, NOW, 30, limit_mb)
    left = kept(store)
    assert pruned.rows == 3000 - len(left)
    assert left[-1] == "5-499"
    assert 0 < len(left) < 3000
    assert store.size_bytes() <= limit_mb * 1024 * 1024


def test_a_pruned_id_never_gives_its_row_number_to_another(store, outcome):
    fill(store, outcome, ["1", "2"], NOW - 40 * DAY, 10)
    watermark(store, 2)
    retention.prune(store, NOW, 30, UNLIMITED)
    fill(store, outcome, ["1"], NOW, 10)
    with store.read() as conn:
        assert outcomes.get(conn, "agent", "1").seq == 3


def test_hours_and_clients_leave_with_the_window(store):
    old, new = int((NOW - 31 * DAY) // 3600), int(NOW // 3600)

    def write(conn):
        rollups.add(conn, [RollupDelta("a", "t", "", hour, n=1) for hour in (old, new)])
        for hour in (old, new):
            conn.execute(insert(issue_hours).values(issue=1, source="a", task="t", hour=hour))
        clients.seen(conn, "gone", "a", "t", [], None, NOW - 31 * DAY)
        clients.seen(conn, "here", "a", "t", [], None, NOW)

    store.write(write)
    retention.prune(store, NOW, 30, UNLIMITED)
    with store.read() as conn:
        for table, column, left in (
            ("rollups", "hour", [new]),
            ("issue_hours", "hour", [new]),
            ("clients", "client", ["here"]),
        ):
            assert conn.exec_driver_sql(f"SELECT {column} FROM {table}").scalars().all() == left


def test_where_an_old_issue_struck_is_not_forgotten(store):
    """The newest hour of an issue in a scope stays, however old."""
    old = int((NOW - 40 * DAY) // 3600)

    def write(conn):
        for source, hour in (("a", old), ("a", old + 5), ("b", old + 1)):
            conn.execute(insert(issue_hours).values(issue=1, source=source, task="t", hour=hour))

    store.write(write)
    retention.prune(store, NOW, 30, UNLIMITED)
    with store.read() as conn:
        left = conn.exec_driver_sql("SELECT source, hour FROM issue_hours ORDER BY source").all()
    assert [tuple(row) for row in left] == [("a", old + 5), ("b", old + 1)]


@pytest.mark.parametrize(
    ("state", "settled_days_ago", "goes"),
    [
        ("rolled_back", 31, True),
        ("rolled_back", 29, False),
        ("rolled_back", None, False),
        ("canary", 31, False),
        ("verified", 31, False),
        ("verified", 61, True),
    ],
)
def test_settled_units_of_closed_trials_leave_with_the_window(store, state, settled_days_ago, goes):
    settled = None if settled_days_ago is None else NOW - settled_days_ago * DAY

    def write(conn):
        conn.execute(
            insert(fixes).values(
                id=1, dedupe="d", issue=1, rule="r", category="c", source="a", task="t", knob="retry", title="t", safe=True,
                state=state, change=b"{}", evidence=b"{}", rails=b"[]", created=NOW, updated=NOW,
            )
        )  # fmt: skip
        conn.execute(
            insert(trial_units).values(
                fix=1, unit="u", stage=1, arm="fixed", f=0.5, place=1, started=NOW - 90 * DAY, settled=settled
            )
        )

    store.write(write)
    retention.prune(store, NOW, 30, UNLIMITED)
    with store.read() as conn:
        assert (conn.exec_driver_sql("SELECT count(*) FROM trial_units").scalar_one() == 0) is goes
