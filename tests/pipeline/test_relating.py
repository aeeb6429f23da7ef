"""What may be the same is kept as templates are placed and looked for again once a day, and nothing is merged by it."""

from __future__ import annotations

import pytest
from loop_kit import Loop, hand_clock
from sqlalchemy import select

from rsi.analyze.cluster import MERGE_AT
from rsi.pipeline import Pipeline
from rsi.pipeline.parted import Parted
from rsi.pipeline.relating import EVERY_S
from rsi.rules import PrototypeSet
from rsi.store import Store, fingerprints, issues, merges, related, schema
from rsi.worker import Worker

PUMP = "the purple pump of the northern station lost its pressure"
LIKE = "the purple pump of the northern station has lost its pressure now"
TALE = (
    "the purple pump of the northern station lost its pressure while the engineers of the southern station were"
    " looking at the weather of yesterday and nobody told them that the valve gave up"
)
FAR = "soup tastes like nothing whatsoever"


class Home(Loop):
    """A `Loop` with n-grams for meaning and no prototypes; nothing is asked but by `settle` and `look`."""

    def __init__(self, path, worker: Worker) -> None:
        self.worker = worker
        super().__init__(path)

    def open(self) -> None:
        self.store = Store.open(self.home.store_url(self.config))
        self.pipeline = Pipeline(self.home, self.config, self.store, self.worker)
        self.pipeline._clusters._unknowns._prototypes = PrototypeSet()
        self.pipeline._clusters.begin = lambda: None
        self.use(self.rules)

    def say(self, *texts: str, **error: str) -> None:
        self.send(*(self.item(error={"message": text, **error}, success=False) for text in texts))
        self.pipeline.cycle(wait_for_worker=True)

    def look(self) -> None:
        """The daemon's hourly question, and its thread's work."""
        self.pipeline.relate()
        self.pipeline._clusters.run()

    def related(self, issue: str) -> list[tuple[str, str]]:
        with self.store.read() as conn:
            return [(one.issue, one.why) for one in related.of_issue(conn, issue)]

    def forget(self) -> None:
        """As before the migration: issues, and nothing known of what resembles what."""
        self.store.write(lambda conn: conn.execute(schema.related.delete()))

    def ids(self) -> list[str]:
        with self.store.read() as conn:
            return sorted(one.id for one in issues.list_issues(conn)[0])


@pytest.fixture(scope="module")
def worker():
    with Worker(env={"RSI_EMBEDDER": "ngram", "RSI_WORKER_AWAITED": "1"}) as found:
        yield found


@pytest.fixture
def home(tmp_path, worker):
    with hand_clock() as clock:
        made = Home(tmp_path, worker)
        made.clock = clock
        yield made
        made.close()
    worker.forget([str(n) for n in range(1, 20)])


def test_what_is_like_something_known_is_related_and_says_what_tells_them_apart(home):
    home.say(PUMP, type="PumpError")
    home.say(LIKE, type="StationError")
    home.say(FAR)
    assert home.ids() == ["i1", "i2", "i3"]
    assert home.related("i2") == [("i1", "other class")]
    assert home.related("i1") == [("i2", "other class")]
    assert home.related("i3") == []


def test_silence_resembles_nothing(home):
    home.send(*(home.item(task=f"task-{name}", success=False) for name in "abc"))
    home.pipeline.cycle(wait_for_worker=True)
    with home.store.read() as conn:
        assert conn.execute(select(schema.related.c.a)).all() == []


def test_the_daily_look_proposes_even_what_placing_would_have_merged(home):
    clusters = home.pipeline._clusters
    clusters._grouped = lambda: 0
    home.send(
        *(home.item(error={"message": text}, success=False) for text in (TALE, TALE.replace("gave up", "gave in")))
    )
    home.pipeline.cycle()
    home.store.write(lambda conn: fingerprints.put_vectors(conn, "another", {1: b"", 2: b""}))  # placed, as it seems
    home.look()
    assert home.ids() == ["i1", "i2"]
    with home.store.read() as conn:
        (one,) = related.of_issue(conn, "i1")
    assert one.issue == "i2"
    assert one.cosine >= MERGE_AT
    home.store.write(lambda conn: conn.execute(schema.fingerprints.update().values(model=None, vector=None)))
    assert clusters.run() == 1, "placing them does merge them"
    assert home.related("i1") == []


def test_it_looks_once_a_day_also_after_a_restart(home):
    home.say(PUMP, type="PumpError")
    home.say(LIKE, type="StationError")
    home.look()
    home.forget()
    home.look()
    home.restart()
    home.look()
    assert home.related("i1") == []
    home.clock.forward(EVERY_S)
    home.look()
    assert home.related("i1") == [("i2", "other class")]


def test_a_worker_that_was_not_there_learns_everything_first(home):
    home.say(PUMP, type="PumpError")
    home.say(LIKE, type="StationError")
    home.forget()
    home.close()
    with Worker(env={"RSI_EMBEDDER": "ngram", "RSI_WORKER_AWAITED": "1"}) as fresh:
        home.worker = fresh
        home.open()
        home.look()
        assert home.related("i1") == [("i2", "other class")]


def test_the_daily_look_takes_the_vectors_that_are_stored(home):
    home.say(PUMP)
    home.say(FAR)
    with home.store.read() as conn:
        pump, far = (one.vector for one in fingerprints.embedded(conn, "ngram"))
    assert pump != far
    home.store.write(lambda conn: fingerprints.put_vectors(conn, "ngram", {2: pump}))
    home.close()
    with Worker(env={"RSI_EMBEDDER": "ngram", "RSI_WORKER_AWAITED": "1"}) as fresh:
        home.worker = fresh
        home.open()
        home.look()
        with home.store.read() as conn:
            (one,) = related.of_issue(conn, "i1")
    assert (one.issue, round(one.cosine, 6)) == ("i2", 1.0), "by what lies there, not by the text"


def test_a_worker_that_was_asked_something_else_first_still_knows_what_is_stored(home):
    home.say(PUMP, type="PumpError")
    home.close()
    with Worker(env={"RSI_EMBEDDER": "ngram", "RSI_WORKER_AWAITED": "1"}) as fresh:
        fresh.embed(["as prototypes do, before anything is placed"])
        home.worker = fresh
        home.open()
        home.say(LIKE, type="StationError")
    assert home.related("i2") == [("i1", "other class")]


def test_with_something_parted_placing_asks_of_all_pairs_at_once(home, monkeypatch):
    home.say(PUMP, type="PumpError")
    home.say(LIKE, type="StationError")
    home.store.write(lambda conn: merges.merge(conn, "i1", "i2", "person:test"))
    made = home.store.write(lambda conn: merges.split(conn, "i1", "person:test")).made
    asked, merged = [], []
    one_pair, auto_merge = merges.declared_apart, merges.auto_merge
    monkeypatch.setattr(merges, "declared_apart", lambda *pair: asked.append(pair[1:]) or one_pair(*pair))
    monkeypatch.setattr(issues, "auto_merge", lambda *pair: merged.append(pair[1:3]) or auto_merge(*pair))
    home.say(*(f"{LIKE} {word}" for word in ("again", "today", "tonight", "soon")), type="ThirdError")
    assert len(asked) <= len(merged), "only who merges asks once more"
    with home.store.read() as conn:
        assert Parted(conn).says(1, int(made[1:]))
        assert Parted(conn).says(int(made[1:]), 1)
        assert not Parted(conn).says(1, 1)


def test_an_issue_that_is_parted_anywhere_is_not_proposed_through_another_template(home):
    home.say(PUMP, type="PumpError")
    home.say(LIKE, type="StationError")
    home.store.write(lambda conn: merges.merge(conn, "i1", "i2", "person:test"))
    made = home.store.write(lambda conn: merges.split(conn, "i1", "person:test")).made
    home.say(f"{PUMP} again", type="PumpError")
    home.store.write(lambda conn: issues.auto_merge(conn, 1, int(home.ids()[-1][1:]), "similar"))
    home.look()
    with home.store.read() as conn:
        ours = {one.id for one in fingerprints.of_cluster(conn, 1)}
        theirs = {one.id for one in fingerprints.of_cluster(conn, int(made[1:]))}
        pairs = {(row.a, row.b) for row in conn.execute(select(schema.related.c.a, schema.related.c.b))}
    assert len(ours) > 1
    assert not [pair for pair in pairs if {*pair} & ours and {*pair} & theirs]


def test_what_a_person_parted_is_never_proposed(home):
    home.say(PUMP, type="PumpError")
    home.say(LIKE, type="StationError")
    home.store.write(lambda conn: merges.merge(conn, "i1", "i2", "person:test"))
    made = home.store.write(lambda conn: merges.split(conn, "i1", "person:test")).made
    home.look()
    assert home.related(made) == home.related("i1") == []
    with home.store.read() as conn:
        assert conn.execute(select(schema.related.c.a)).all() == []
