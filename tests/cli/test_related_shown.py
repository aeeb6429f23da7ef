"""`rsi issue ID` shows what is possibly related; lists do not."""

from __future__ import annotations

import json

import pytest

from rsi import RSILoop
from rsi.cli import main
from rsi.store import related
from rsi.store.related import Near


@pytest.fixture
def home(tmp_path):
    """Three issues: i1 resembles i2 of the same category and, less, i3 of another."""
    with RSILoop(tmp_path) as loop:
        loop.record("search", success=False, error={"type": "PumpError", "message": "the pump broke"}, source="shop")
        loop.record("search", success=False, error={"type": "SoupError", "message": "no soup left"}, source="shop")
        loop.record("search", success=False, error="401 invalid api key", source="shop")
        loop.run_cycle()
        near = [Near(2, 0.83, "other class"), Near(3, 0.61, "")]
        loop._store.write(lambda conn: related.put(conn, {1: near}))
    return tmp_path


@pytest.fixture
def rsi(home, capsys):
    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--home", str(home)])
        assert ended.value.code in (None, 0)
        return capsys.readouterr().out

    return run


def test_an_issue_names_what_it_may_be_and_how_to_say_so(rsi):
    said = rsi("issue", "i1")
    assert "possibly related i2 (0.83, other class)" in said
    assert "possibly related i3 (0.61, other category)" in said
    assert "`rsi merge i1 i2` if i2 is the same" in said


def test_what_merge_would_refuse_is_not_advised(rsi):
    said = rsi("issue", "i3")
    assert "possibly related i1" in said
    assert "rsi merge" not in said


def test_json_has_it_and_lists_keep_their_shape(rsi):
    one = json.loads(rsi("issue", "i1", "--json"))
    assert [(found["issue"], found["cosine"]) for found in one["related"]] == [("i2", 0.83), ("i3", 0.61)]
    assert all("related" not in each for each in json.loads(rsi("issues", "--json"))["issues"])
