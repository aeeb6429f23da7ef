"""Decisions about templates are kept by their hashes: through categories, renamed templates and migrations."""

from __future__ import annotations

import sqlite3

import pytest

from rsi.store import Store, decisions, fingerprints, migrate
from rsi.store.fingerprints import NewTemplate


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "rsi.db") as found:
        yield found


def put(store: Store, *keys: tuple[str, str]) -> None:
    new = [NewTemplate(category, hashed, f"t {hashed}", None, "rule:x", 1, None, "new") for category, hashed in keys]
    store.write(lambda conn: fingerprints.intern(conn, new, 0.0))


def say(store: Store, a: str, b: str, *, same: bool) -> None:
    store.write(lambda conn: decisions.decide(conn, [(a, b)], same=same, who="person:test"))


def test_a_pair_is_known_by_its_texts_in_whatever_category(store):
    put(store, ("auth", "h1"), ("auth", "h2"), ("quality", "h1"), ("quality", "h2:4x"), ("auth", "h10"))
    say(store, "h2", "h1", same=False)
    with store.read() as conn:
        ids = {one.hash + one.category: one.id for one in fingerprints.by_id(conn, range(1, 6)).values()}
        known = decisions.parted(conn)
    ones, twos = (ids["h1auth"], ids["h1quality"]), (ids["h2auth"], ids["h2:4xquality"])
    assert known == {(min(a, b), max(a, b)) for a in ones for b in twos}


def test_a_template_never_differs_from_itself(store):
    say(store, "h1", "h1", same=False)
    with store.read() as conn:
        assert decisions.foes(conn, ["h1"]) == set()


def test_the_later_word_holds(store):
    say(store, "h1", "h2", same=False)
    say(store, "h2", "h1", same=True)
    with store.read() as conn:
        assert decisions.foes(conn, ["h1", "h2"]) == set()
        assert set(decisions.friends(conn, ["h1"])) == {("h1", "h2")}


def test_taking_back_takes_back_these_pairs_only(store):
    for a, b in (("h1", "h2"), ("h3", "h1"), ("h2", "h3")):
        say(store, a, b, same=False)
    store.write(lambda conn: decisions.forget_apart(conn, ["h1"], ["h2", "h3"]))
    with store.read() as conn:
        assert decisions.foes(conn, ["h1"]) == set()
        assert decisions.foes(conn, ["h2"]) == {"h3"}


def test_decisions_of_an_older_release_go_along_with_fixes_of_merged_issues(tmp_path):
    path = tmp_path / "old.db"
    path.touch()
    migrate.upgrade(path, target="0004")
    with sqlite3.connect(path) as old:
        for key, hashed in ((1, "h1"), (2, "h2"), (3, "h3:3")):
            old.execute(
                "INSERT INTO fingerprints (id, category, hash, template, mask_version, classified_by, cluster, why,"
                " first_seen, n) VALUES (?, 'auth', ?, 't', 1, 'rule:x', ?, 'new', 0, 1)",
                (key, hashed, key),
            )
        for a, b, same, at in ((1, 2, 0, 1.0), (2, 3, 1, 2.0), (1, 99, 0, 3.0)):
            old.execute(
                "INSERT INTO decisions (a, b, same, at, who) VALUES (?, ?, ?, ?, 'person:cli')", (a, b, same, at)
            )
        for key, into in ((1, None), (2, 1)):
            old.execute(
                "INSERT INTO issues (id, category, title, severity, state, state_at, trend, frequency, unrecovered,"
                " tasks_failed, live, first_seen, last_seen, last_seq, why, samples, merged_into)"
                " VALUES (?, 'auth', 't', 'low', 'new', 0, 'new', 1, 1, 1, 1, 0, 0, 0, 'new', '[]', ?)",
                (key, into),
            )
        old.execute(
            "INSERT INTO fixes (dedupe, issue, rule, category, source, task, knob, title, safe, state, change,"
            " evidence, rails, created, updated) VALUES ('d', 2, 'r', 'auth', 's', 't', 'k', 't', 1, 'proposed', '{}',"
            " '{}', '[]', 0, 0)"
        )
    old.close()
    migrate.upgrade(path)
    with sqlite3.connect(path) as new:
        kept = new.execute("SELECT a, b, same, at, who FROM decisions ORDER BY a").fetchall()
        (fix,) = new.execute("SELECT issue FROM fixes").fetchone()
    new.close()
    assert kept == [("h1", "h2", 0, 1.0, "person:cli"), ("h2", "h3", 1, 2.0, "person:cli")]
    assert fix == 1
