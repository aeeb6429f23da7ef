"""A rail that no test has hit is not a rail: each is in a table, is needed there, and is explained in the reference."""

import re
from pathlib import Path

import pytest
import test_check_rails
import test_gate
import test_rails_of_files
from loop_kit import advice

import rsi
from rsi import change
from rsi.fix import gate

PACKAGE = Path(rsi.__file__).parent
ADVICE = test_gate.fix(change=change.advice("app", "search"), knob=""), test_gate.around(rules={"fix-key": advice()})
ROWS = [
    *((name, it, where) for name, it, where in test_gate.STOPPED),
    *((name, it, where) for name, it, where, _ in (*test_check_rails.STOPPED, *test_rails_of_files.STOPPED)),
    ("advice", *ADVICE),
]
REFERENCE = PACKAGE.parent / "docs" / "reference" / "fixes.md"


def in_the_code():
    """Every name that a rail is made with; `rule` and `record` come from the rule's standing."""
    code = "".join(path.read_text() for part in ("fix", "pipeline") for path in (PACKAGE / part).rglob("*.py"))
    return set(re.findall(r"""\bRail\(\s*"([a-z_]+)""", code)) | {"rule", "record"}


def test_every_rail_of_the_code_is_hit_by_a_table():
    assert {name for name, *_ in ROWS} == in_the_code()


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference is not beside an installed package")
def test_every_rail_is_explained_in_the_reference():
    table = re.findall(r"^\| ([a-z_, ]+) \| .+ \| .+ \| .+ \|$", REFERENCE.read_text(), re.MULTILINE)
    assert in_the_code() - {"advice"} <= {name for row in table for name in row.split(", ")}


@pytest.mark.parametrize("rule", gate._RAILS, ids=lambda rule: rule.__name__)
def test_without_it_something_would_start_that_must_not(rule, monkeypatch):
    monkeypatch.setattr(gate, "_RAILS", tuple(one for one in gate._RAILS if one is not rule))
    assert any(gate.rails(it, where) == [] for _, it, where in ROWS)
