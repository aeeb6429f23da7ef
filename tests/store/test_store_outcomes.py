"""Outcomes go in once, come back whole, and are counted."""

import string

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from rsi.errors import InvalidInputError
from rsi.model import FixRef, Outcome, StoredOutcome
from rsi.store import Store, outcomes, rollups
from rsi.store.schema import rollups as rollups_table
from tests.store.conftest import NOW, hold_writer


def all_of(store):
    with store.read() as conn:
        return [stored.outcome for stored in store.outcomes_since(conn, 0, 1000)]


def test_an_outcome_comes_back_whole(store, outcome):
    full = outcome(
        "a", status="failed", error="429 Too Many Requests", error_type="RateLimitError", error_status=429, model="m",
        duration_ms=12.5, tokens_in=3, cost_usd=0.25, session="s", attempt=2, tags=("x", "y"), backfill=True,
        fixes=(FixRef("f1", "fixed", 0.5),), metadata={"deep": [1, {"ü": None}]}, claimed=("rate_limit",),
    )  # fmt: skip
    store.add_outcomes([full], 5.0).result()
    with store.read() as conn:
        assert store.outcomes_since(conn, 0, 10) == [StoredOutcome(1, 5.0, full)]
        assert outcomes.get(conn, "agent", "a") == StoredOutcome(1, 5.0, full)
        assert outcomes.get(conn, "agent", "b") is None


def test_the_body_repeats_no_column(store, outcome):
    store.add_outcomes([outcome("a"), outcome("b", session="s")], 5.0).result()
    with store.read() as conn:
        bodies = conn.exec_driver_sql("SELECT body FROM outcomes ORDER BY seq").scalars().all()
    assert bodies == [b"{}", b'{"session":"s"}']


TEXT = st.text(string.printable + "äß\u2028\x00😀", max_size=20)


@given(
    st.builds(
        Outcome, id=TEXT, ts=st.floats(0, 1e10), source=TEXT, task=TEXT, kind=st.sampled_from(["task", "step"]),
        status=st.sampled_from(["ok", "failed", "started"]), error=st.none() | TEXT,
        quality=st.none() | st.floats(1, 5), tags=st.lists(TEXT, max_size=3).map(tuple),
        metadata=st.dictionaries(TEXT, st.none() | TEXT | st.integers(-(2**53), 2**53), max_size=3),
    )
)  # fmt: skip
def test_any_outcome_survives_the_split_into_head_and_body(found):
    [row] = outcomes.batch_of([found], "default", 1.0).rows
    project, source, id_, ts, _arrived, task, kind, status, backfill, body = row
    whole = {"id": id_, "ts": ts, "source": source, "task": task, "kind": kind, "status": status}
    assert msgspec.convert({**whole, **msgspec.json.decode(body)}, Outcome) == found
    assert project == "default"
    assert backfill is found.backfill
    assert outcomes._stored((7, 1.0, id_, ts, source, task, kind, status, body)) == StoredOutcome(7, 1.0, found)


def test_the_required_fields_come_first_in_an_outcome():
    names = [field.name for field in msgspec.structs.fields(Outcome)]
    assert names[:6] == [field.name for field in msgspec.structs.fields(outcomes._Head)]


def test_the_same_id_of_the_same_source_is_one(store, outcome):
    first = store.add_outcomes([outcome(1), outcome(2), outcome(1, error="again")]).result()
    second = store.add_outcomes([outcome(2), outcome(3), outcome(3)]).result()
    assert (first, second) == ([True, True, False], [False, True, False])
    assert [o.id for o in all_of(store)] == ["1", "2", "3"]


def test_the_same_id_of_another_source_is_another(store, outcome):
    assert store.add_outcomes([outcome(1), outcome(1, source="other")]).result() == [True, True]


def test_the_same_id_in_two_batches_of_one_group_is_new_once(store, outcome):
    go, futures = hold_writer(store)
    futures += [store.add_outcomes([outcome(1), outcome(2)]) for _ in range(5)]
    go.set()
    assert [future.result() for future in futures[1:]] == [[True, True]] + [[False, False]] * 4


def test_an_empty_batch_is_nothing(store):
    assert store.add_outcomes([]).result() == []


def test_final_tasks_are_counted_with_the_rows_and_duplicates_are_not(store, outcome):
    batch = [
        outcome(1), outcome(2, status="failed"), outcome(3, task="other"), outcome(4, kind="step", status="failed"),
        outcome(5, status="started"), outcome(6, status="cancelled"), outcome(7, ts=NOW + 3600), outcome(2),
    ]  # fmt: skip
    store.add_outcomes(batch).result()
    store.add_outcomes(batch[:2]).result()
    hour = int(NOW // 3600)
    with store.read() as conn:
        counted = conn.execute(select(rollups_table).order_by(rollups_table.c.task, rollups_table.c.hour)).all()
        assert rollups.totals(conn, "agent", "search", 0) == (3, 1)
    assert [(row.task, row.category, row.hour, row.n, row.failed, row.steps) for row in counted] == [
        ("other", "", hour, 1, 0, 0),
        ("search", "", hour, 2, 1, 0),
        ("search", "", hour + 1, 1, 0, 0),
    ]


def test_what_is_not_json_is_refused_by_name_and_nothing_of_its_batch_is_stored(store, outcome):
    with pytest.raises(InvalidInputError, match=r"outcome\[1\]"):
        store.add_outcomes([outcome(1), outcome(2, metadata={"x": object()})])
    with pytest.raises(InvalidInputError, match=r"outcome\[0\]"):
        store.add_outcomes([outcome(1, error="\ud800")])
    assert all_of(store) == []


def test_samples_are_the_newest_of_any_of_the_fingerprints(store, outcome):
    store.add_outcomes([outcome(n, status="failed") for n in range(1, 9)]).result()
    store.write(lambda conn: outcomes.set_fingerprints(conn, [(n, n % 3) for n in range(1, 9)]))
    with store.read() as conn:
        assert [stored.seq for stored in outcomes.samples(conn, [0, 1], 4)] == [7, 6, 4, 3]
        assert outcomes.samples(conn, [], 4) == []
        assert outcomes.count(conn) == 8
        assert outcomes.last_seq(conn) == 8


def test_since_pages_by_row_number(store, outcome):
    store.add_outcomes([outcome(n) for n in range(1, 6)]).result()
    with store.read() as conn:
        assert [stored.seq for stored in outcomes.since(conn, 2, 2)] == [3, 4]


def test_projects_in_one_file_do_not_see_each_other(path, outcome):
    with Store.open(path, project="one") as one, Store.open(path, project="two") as two:
        assert one.add_outcomes([outcome(1)]).result() == two.add_outcomes([outcome(1)]).result() == [True]
        with two.read() as conn:
            assert outcomes.count(conn) == 1
            assert rollups.totals(conn, "agent", None, 0).n == 1


def test_what_is_new_is_told_right_however_the_old_lies_between(store, outcome):
    """A row that was there uses up a row number: which are new cannot be told from the last number."""
    store.add_outcomes([outcome(1), outcome(2)]).result(10)
    order = [3, 1, 4, 4, 2, 5, 3, 6]
    assert store.add_outcomes([outcome(n) for n in order]).result(10) == [
        True,
        False,
        True,
        False,
        False,
        True,
        False,
        True,
    ]
    assert store.add_outcomes([outcome(7), outcome(6)]).result(10) == [True, False]
