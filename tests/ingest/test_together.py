"""Small batches of one turn of the event loop are one write, and each gets its own receipt."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from rsi import clock
from rsi.config import Config
from rsi.errors import InvalidInputError, StoreError
from rsi.ingest import Ingest
from rsi.ingest.normalise import fresh_id
from rsi.ingest.together import SMALL, Together, Waiting
from rsi.model import Batch, Outcome, Receipt
from rsi.store import Store


@pytest.fixture
def store(tmp_path: Path):
    with Store.open(tmp_path / "rsi.db") as opened:
        yield opened


def body(*ids: str, **more: object) -> Batch:
    items = [{"id": ident, "source": "s", "task": "t", "success": True, **more} for ident in ids]
    return Batch(door="test", body=msgspec.json.encode(items if len(items) != 1 else items[0]))


def outcome(ident: str, **more: object) -> Outcome:
    return Outcome(id=ident, ts=1.0, source="s", task="t", kind="task", status="ok", **more)


def receipts(waiting: list[Waiting], flags: list[bool]) -> list[Receipt]:
    return [Receipt(accepted=len(each.outcomes), ids=[o.id for o in each.outcomes]) for each in waiting]


def in_one_turn(*calls):
    async def run():
        return await asyncio.gather(*(asyncio.wrap_future(call()) for call in calls), return_exceptions=True)

    return asyncio.run(run())


def test_batches_of_one_turn_are_one_write_with_a_receipt_each(store):
    writes = []
    ingest = Ingest(store, Config(), on_stored=lambda new: writes.append([o.id for o in new]))
    batches = [body("a"), body("b", "a"), body("c", success="no"), body(), body("d")]
    told = in_one_turn(*(lambda batch=batch: ingest.submit(batch) for batch in batches))
    assert [(r.accepted, r.duplicates, len(r.rejected), r.ids) for r in told] == [
        (1, 0, 0, ["a"]), (1, 1, 0, ["b", "a"]), (0, 0, 1, []), (0, 0, 0, []), (1, 0, 0, ["d"]),
    ]  # fmt: skip
    assert writes == [["a", "b", "d"]]
    counts = ingest.status()
    assert (counts["accepted"], counts["duplicates"], counts["rejected"]) == (3, 1, 1)


def test_large_batches_and_threads_without_a_loop_wait_for_nobody(store):
    writes = []
    ingest = Ingest(store, Config(), on_stored=lambda new: writes.append(len(new)))
    large = body(*(f"l{i}" for i in range(SMALL + 1)))
    told = in_one_turn(lambda: ingest.submit(large), lambda: ingest.submit(body("x")))
    assert [r.accepted for r in told] == [SMALL + 1, 1]
    assert sorted(writes) == [1, SMALL + 1]
    assert ingest.submit(body("y")).result(10).ids == ["y"]


def test_one_batch_that_cannot_be_written_does_not_harm_the_others(store):
    together = Together(store, receipts)
    found = [outcome("a"), outcome("bad", metadata={"x": object()}), outcome("c")]
    told = in_one_turn(*(lambda o=o: together.add(Waiting([o], [], clock.now())) for o in found))
    assert isinstance(told[1], InvalidInputError)
    assert [told[0].ids, told[2].ids] == [["a"], ["c"]]
    with store.read() as conn:
        assert [stored.outcome.id for stored in store.outcomes_since(conn, 0, 10)] == ["a", "c"]


def test_a_closed_store_fails_every_one_of_them(store):
    ingest = Ingest(store, Config())
    store.close()
    told = in_one_turn(*(lambda name=name: ingest.submit(body(name)) for name in "abc"))
    assert [type(each) for each in told] == [StoreError] * 3


def test_fresh_ids_grow_with_time_and_differ_within_a_millisecond():
    ids = [fresh_id(1_700_000_000.0 + step / 1000) for step in range(50)]
    assert ids == sorted(ids)
    assert len({fresh_id(1.0) for _ in range(1000)}) == 1000
    assert {len(each) for each in ids} == {32}
