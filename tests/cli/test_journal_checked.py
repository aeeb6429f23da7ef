"""`rsi doctor` walks the journal's chain and names the entry that somebody changed."""

from __future__ import annotations

import json
import sqlite3

import pytest
from loop_kit import Loop, hand_clock

from rsi import RSILoop
from rsi.cli import main


@pytest.fixture
def home(tmp_path):
    with RSILoop(tmp_path) as loop:
        for on in (True, False, True):
            (loop.pipeline.pause if on else loop.pipeline.resume)("person:test")
    return tmp_path


def journal_of(home, capsys):
    with pytest.raises(SystemExit):
        main(["doctor", "--json", "--home", str(home)])
    (found,) = [one for one in json.loads(capsys.readouterr().out)["checks"] if one["name"] == "journal"]
    return found


def test_a_whole_chain_is_counted(home, capsys):
    found = journal_of(home, capsys)
    assert found["ok"]
    assert "entries, the chain holds" in found["says"]


def test_where_nothing_was_ever_stored_there_is_nothing_to_hold(tmp_path, capsys):
    assert journal_of(tmp_path, capsys) == {"name": "journal", "ok": True, "says": "nothing written yet"}


@pytest.mark.parametrize(
    "change",
    ["UPDATE journal SET who = 'person:else' WHERE what = 'resume'", "DELETE FROM journal WHERE what = 'resume'"],
)
def test_an_entry_that_was_changed_or_taken_out_is_named(home, capsys, change):
    database = sqlite3.connect(home / ".rsi" / "rsi.db")
    (seq,) = database.execute("SELECT seq FROM journal WHERE what = 'resume'").fetchone()
    for name in ("journal_no_update", "journal_no_delete"):
        database.execute(f"DROP TRIGGER {name}")
    database.execute(change)
    database.commit()
    database.close()
    found = journal_of(home, capsys)
    assert not found["ok"]
    assert f"entry {seq if 'UPDATE' in change else seq + 1} is not as it was written" in found["says"]


@pytest.mark.parametrize(
    "taken",
    [
        "DELETE FROM journal",
        "DELETE FROM journal WHERE seq > (SELECT min(seq) FROM journal WHERE what = 'fix.proposed')",
    ],
)
def test_an_emptied_journal_does_not_hold_where_fixes_are_left(tmp_path, capsys, taken):
    with hand_clock():
        loop = Loop(tmp_path)
        loop.fail()
        loop.pipeline.cycle()
        loop.pipeline.reject("f1", "person:test")
        loop.close()
    assert journal_of(tmp_path, capsys)["ok"]
    database = sqlite3.connect(tmp_path / ".rsi" / "rsi.db")
    for name in ("journal_no_update", "journal_no_delete"):
        database.execute(f"DROP TRIGGER {name}")
    database.execute(taken)
    database.execute(
        "UPDATE sqlite_sequence SET seq = (SELECT coalesce(max(seq), 0) FROM journal) WHERE name = 'journal'"
    )
    database.commit()
    database.close()
    found = journal_of(tmp_path, capsys)
    assert not found["ok"]
    assert "no entry about the present state of f1: somebody" in found["says"]
