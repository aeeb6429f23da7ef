"""Failures that may be normal work make an issue when a second session has them too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rsi.embedded import RSILoop


@pytest.fixture
def loop(tmp_path: Path) -> Any:
    with RSILoop(home=tmp_path) as loop:
        yield loop


def fail(loop: Any, ident: str, session: str | None, error: str = "cannot open the ledger", **fields: Any) -> None:
    loop.record(
        "Bash",
        success=False,
        error=error,
        kind="tool",
        id=ident,
        session=session,
        tags=["rsi:unsure"],
        source="claude-code:x",
        **fields,
    )


def issues(loop: Any) -> list[tuple[str, int]]:
    loop.run_cycle()
    return sorted((issue.title, issue.frequency) for issue in loop.issues())


def test_one_session_makes_no_issue_however_often(loop: Any) -> None:
    """The outcomes are there; the issue is not."""
    for number in range(3):
        fail(loop, f"a{number}", "s1")
    assert issues(loop) == []
    fail(loop, "a9", "s1")
    assert issues(loop) == []


def test_a_second_session_makes_the_issue_and_from_then_on_all_count(loop: Any) -> None:
    """In another pass, or in the same."""
    fail(loop, "a", "s1")
    assert issues(loop) == []
    fail(loop, "b", "s2")
    (found,) = issues(loop)
    assert found[1] == 1
    fail(loop, "c", "s2")
    assert issues(loop)[0][1] == 2
    fail(loop, "d", "s3", "no such table")
    fail(loop, "e", "s4", "no such table")
    assert len(issues(loop)) == 2


def test_somebody_who_is_sure_makes_the_issue_at_once(loop: Any) -> None:
    """Another agent's failure of the same template, or a task's."""
    fail(loop, "a", "s1")
    loop.record("Bash", success=False, error="cannot open the ledger", source="app", id="b")
    assert len(issues(loop)) == 1
    loop.record(
        "session", success=False, error="it broke entirely", source="claude-code:x", id="t", tags=["rsi:unsure"]
    )
    assert len(issues(loop)) == 2
