"""One table says what may follow what."""

from pathlib import Path

import pytest

from rsi.errors import ConflictError
from rsi.fix import states


@pytest.mark.parametrize(
    ("outcome", "passed", "undecided", "after"),
    [
        ("verified", False, "keep", "verified"),
        ("worse", False, "keep", "rolled_back"),
        ("no_difference", False, "keep", "removed"),
        ("undecided", False, "keep", None),
        ("no_data", False, "keep", None),
        ("undecided", True, "keep", "kept_unverified"),
        ("undecided", True, "remove", "removed"),
        ("no_data", True, "keep", "removed"),
        ("worse", True, "keep", "rolled_back"),
    ],
)
def test_what_a_verdict_makes_of_a_canary(outcome, passed, undecided, after):
    assert states.after_verdict(outcome, deadline_passed=passed, undecided=undecided) == after


def test_a_step_that_is_not_in_the_table_is_refused_with_what_is_possible():
    states.check("f1", "proposed", "approved")
    with pytest.raises(ConflictError, match=r"f1 is proposed; from there: approved"):
        states.check("f1", "proposed", "verified")
    with pytest.raises(ConflictError, match="it is over"):
        states.check("f1", "rejected", "approved")


def test_every_state_is_in_the_table_and_what_ended_leads_nowhere():
    assert set(states.NEXT) == {after for nexts in states.NEXT.values() for after in nexts} | {"proposed"}
    assert all(not states.NEXT[state] for state in states.ENDED)


def test_the_reference_page_shows_the_same_table():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "fixes.md").read_text(encoding="utf-8")
    for state, nexts in states.NEXT.items():
        assert f"| {state} | {', '.join(nexts) or '(over)'} |" in page
