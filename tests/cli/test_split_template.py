"""`rsi issue ID` lists an issue's templates, and `rsi split ID --template N` takes one of them out."""

from __future__ import annotations

import json

import pytest

from rsi import RSILoop
from rsi.cli import main


@pytest.fixture
def home(tmp_path):
    """One issue of three templates that a person has merged, and one of one."""
    with RSILoop(tmp_path) as loop:
        for kind in ("PumpError", "SoupError", "MoonError", "SunError"):
            loop.record("search", success=False, error={"type": kind, "message": f"the {kind} broke"}, source="shop")
            loop.run_cycle()
        loop.pipeline.merge("i1", "i2", "person:test")
        loop.pipeline.merge("i1", "i3", "person:test")
    return tmp_path


@pytest.fixture
def rsi(home, capsys):
    def run(*arguments: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--home", str(home)])
        said = capsys.readouterr()
        assert (ended.value.code or 0) == code, said.err
        return said.out + said.err

    return run


def test_templates_are_listed_where_there_is_something_to_split(rsi):
    said = rsi("issue", "i1")
    assert "3; `rsi split i1 --template NUMBER` takes one out" in said
    assert "     2      1 times  the SoupError broke" in said
    assert "--template" not in rsi("issue", "i4")


def test_the_named_template_leaves_alone(rsi):
    assert rsi("split", "i1", "--template", "2").strip() == "i1, i5"
    found = {ref: json.loads(rsi("issue", ref, "--json")) for ref in ("i1", "i5")}
    assert [one["id"] for one in found["i1"]["templates"]] == [1, 3]
    assert [one["id"] for one in found["i5"]["templates"]] == [2]
    assert "template 2 is not in i1; it holds [1, 3]" in rsi("split", "i1", "--template", "2", code=1)


def test_without_a_number_the_first_stays(rsi):
    assert rsi("split", "i1").strip() == "i1, i5"
    assert len(json.loads(rsi("issue", "i5", "--json"))["templates"]) == 2
