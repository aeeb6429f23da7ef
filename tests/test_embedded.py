"""RSILoop: the whole loop inside a process."""

from __future__ import annotations

import pytest

import rsi
from rsi.errors import HomeLockedError, InvalidInputError


def test_record_cycle_issues_health_and_fixes(tmp_path):
    with rsi.RSILoop(home=tmp_path) as loop:
        for i in range(30):
            loop.record("search", success=i % 3 == 0, error=None if i % 3 == 0 else "429 Too Many Requests", source="s")
        report = loop.run_cycle()
        assert report.outcomes == 30
        (issue,) = loop.issues()
        assert (issue.category, issue.frequency, issue.sources) == ("rate_limit", 20, ["s"])
        health = loop.health()
        assert health.lo < health.health_score < health.hi
        assert {fix.state for fix in loop.fixes()} == {"proposed"}
        assert loop.run_cycle().outcomes == 0


def test_exceptions_are_described_with_their_class(tmp_path):
    with rsi.RSILoop(home=tmp_path) as loop:
        loop.record("parse", success=False, error=KeyError("missing"), source="s")
        loop.run_cycle()
        assert "KeyError" in loop.issues()[0].title + loop.issues()[0].sample_errors[0]


def test_a_wrong_field_is_named(tmp_path):
    with rsi.RSILoop(home=tmp_path) as loop, pytest.raises(InvalidInputError, match="duration_ms"):
        loop.record("t", success=True, duration_ms="fast")


def test_two_owners_of_one_home_are_refused(tmp_path):
    with rsi.RSILoop(home=tmp_path), pytest.raises(HomeLockedError, match="pid"):
        rsi.RSILoop(home=tmp_path)


def test_what_was_recorded_is_there_after_reopening(tmp_path):
    with rsi.RSILoop(home=tmp_path) as loop:
        ident = loop.record("t", success=False, error="boom", source="s", id="x")
        assert ident == "x"
    with rsi.RSILoop(home=tmp_path) as loop:
        loop.record("t", success=False, error="boom", source="s", id="x")
        loop.run_cycle()
        assert loop.issues()[0].frequency == 1
