"""What the end of a session reports, from hand-made transcripts: any mixture of known, unknown and broken lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rsi import clock
from rsi_adapters.claude_code import naming
from rsi_adapters.claude_code.ending import conclude
from rsi_adapters.claude_code.notes import Note, Notes

AT = 1_790_000_000.0


class Script:
    """Writes a transcript line by line, a second apart."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.at = AT
        self.calls = 0
        path.touch()

    def line(self, **fields: Any) -> None:
        self.at += 1
        with self.path.open("a") as file:
            file.write(json.dumps({"timestamp": clock.iso(self.at), "cwd": "/src/shop", **fields}) + "\n")

    def prompt(self, ident: str) -> None:
        self.line(type="user", promptId=ident, message={"role": "user", "content": "?"}, uuid=f"u-{ident}")

    def says(self, ident: str, out: int = 20, **fields: Any) -> None:
        usage = {"input_tokens": 100, "cache_read_input_tokens": 50, "output_tokens": out}
        self.line(type="assistant", message={"id": ident, "model": "claude-x", "content": [], "usage": usage}, **fields)

    def fails(self, tool: str, error: str, **given: Any) -> None:
        self.calls += 1
        ident = f"toolu_{self.calls}"
        block = {"type": "tool_use", "id": ident, "name": tool, "input": given}
        self.line(type="assistant", message={"id": f"m{ident}", "model": "claude-x", "content": [block], "usage": {}})
        result = {"type": "tool_result", "tool_use_id": ident, "is_error": True, "content": error}
        self.line(type="user", promptId="p1", message={"role": "user", "content": [result]})

    def api_error(self, status: int, kind: str, text: str) -> None:
        message = {"id": f"e{self.at}", "model": "<synthetic>", "content": [{"type": "text", "text": text}]}
        self.line(type="assistant", isApiErrorMessage=True, apiErrorStatus=status, apiErrorType=kind, message=message)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path / "s1.jsonl")


def note(script: Script, **fields: Any) -> Note:
    return Note(session="s1", source="claude-code:shop", transcript=str(script.path), open=True, **fields)


def brief(items: Any) -> list[tuple[str, str, str]]:
    return [(item.kind, item.id, item.status) for item in items]


def test_tokens_model_and_cost_come_from_the_clients_own_sum_else_from_its_answers(script: Script) -> None:
    """A message of several blocks has several lines, and its usage counts once."""
    script.prompt("p1")
    script.says("m1")
    script.says("m1")
    script.says("m2", 30)
    (session,) = conclude(note(script)).items
    assert (session.tokens_in, session.tokens_out, session.cost_usd, session.model) == (300, 50, None, "claude-x")
    script.line(
        type="cost-state",
        totalCostUSD=0.5,
        modelUsage={"a": {"inputTokens": 7, "outputTokens": 1}, "b": {"outputTokens": 9}},
    )
    (session,) = conclude(note(script)).items
    assert (session.tokens_in, session.tokens_out, session.cost_usd, session.model) == (7, 10, 0.5, "b")
    assert session.duration_ms == 4000


def test_an_api_error_fails_the_session_only_where_nothing_came_after_it(script: Script) -> None:
    """What the session got over is a failed `llm` call inside it; the client's advice is cut off."""
    script.prompt("p1")
    script.api_error(
        529, "overloaded_error", "API Error: 529 Overloaded. This is a server-side issue, usually temporary"
    )
    lost = conclude(note(script)).items
    assert brief(lost) == [("task", "s1", "failed")]
    assert lost[0].error == {"message": "API Error: 529 Overloaded.", "type": "overloaded_error", "status": 529}
    script.prompt("p2")
    script.says("m1")
    assert brief(conclude(note(script)).items) == [("llm", "s1:api:1", "failed"), ("task", "s1", "ok")]


def test_stop_failure_counts_where_the_transcript_does_not_know(script: Script) -> None:
    """Of the last turn: an earlier one's was got over."""
    script.prompt("p1")
    said = {"error": "rate_limit", "last_assistant_message": "slow down", "prompt_id": "p1"}
    (session,) = conclude(note(script, stop_failure=said)).items
    assert (session.status, session.error) == ("failed", {"message": "slow down", "type": "rate_limit"})
    script.prompt("p2")
    script.says("m1")
    assert conclude(note(script, stop_failure=said)).items[-1].status == "ok"


def test_a_transcript_that_cannot_be_read_still_ends_the_session(tmp_path: Path) -> None:
    """With what the hooks said, and a word about it."""
    gone = Note(session="s1", source="x", transcript=str(tmp_path / "gone.jsonl"), stop_failure={"error": "overloaded"})
    (session,) = conclude(gone).items
    assert (session.status, session.metadata) == (
        "failed",
        {"tools": 0, "tool_failures": 0, "transcript": "unreadable"},
    )


def test_broken_and_unknown_lines_are_passed_over(script: Script) -> None:
    """A newer client tells us less and breaks nothing."""
    with script.path.open("ab") as file:
        file.write(
            b'{"type": "user", "mess\n\xff\xfe\n[]\n7\n{"type": "assistant", "message": 7}\n{"type":"cost-state","modelUsage":[1]}\n'
        )
        file.write(b'{"type":"user","message":{"content":[7,{"type":"tool_result","is_error":true}]}}\n')
    script.prompt("p1")
    script.line(type="brandnew", message={"usage": {"input_tokens": "many"}})
    script.says("m1")
    items = conclude(note(script)).items
    assert brief(items)[-1] == ("task", "s1", "ok")


def test_a_part_that_is_resumed_is_counted_from_where_the_last_one_ended(script: Script) -> None:
    """Tokens and cost go on; nothing asked since means nothing to report; the old failure is told once."""
    script.prompt("p1")
    script.api_error(500, "api_error", "API Error: 500 Internal server error.")
    script.line(type="cost-state", totalCostUSD=0.25, modelUsage={"a": {"outputTokens": 10}})
    first = conclude(note(script))
    assert brief(first.items) == [("task", "s1", "failed")]
    assert conclude(first.note).items == []
    script.prompt("p2")
    script.says("m9")
    script.line(type="cost-state", totalCostUSD=0.75, modelUsage={"a": {"outputTokens": 16}})
    second = conclude(first.note)
    assert brief(second.items) == [("task", "s1:2", "ok")]
    assert (second.items[0].cost_usd, second.items[0].tokens_out) == (0.5, 6)


def test_a_session_in_which_nothing_was_asked_is_no_session(script: Script) -> None:
    """Opened and closed."""
    script.line(type="system", subtype="info")
    assert conclude(note(script)).items == []


def test_failed_tools_of_subagents_are_told_and_red_tests_are_judged_by_the_whole_session(script: Script) -> None:
    """An edit anywhere makes red tests normal work."""
    script.prompt("p1")
    script.fails("Bash", "Exit code 1\nred", command="pytest")
    script.fails("Read", "File does not exist.", file_path="/x")
    assert [item.error for item in conclude(note(script)).items[:-1]] == ["Exit code 1\nred", "File does not exist."]
    folder = script.path.parent / "s1" / "subagents"
    folder.mkdir(parents=True)
    inner = Script(folder / "agent-a.jsonl")
    inner.calls = 10
    inner.fails("Edit", "String to replace not found.", file_path="/x")
    items = conclude(note(script)).items
    assert [item.error for item in items if item.kind == "tool"] == [
        "Exit code 1 is normal for pytest while the code is being edited.",
        "File does not exist.",
        "String to replace not found.",
    ]


def test_notes_survive_and_say_who_was_left_behind(tmp_path: Path) -> None:
    """A killed session is found by the next start; one that broke us three times is left alone."""
    notes = Notes(tmp_path)
    notes.put(Note(session="../odd name", source="x", open=True))
    notes.put(Note(session="closed", source="x"))
    notes.put(Note(session="tried", source="x", open=True, tries=3))
    assert [one.session for one in notes.left(-1)] == ["../odd name"]
    assert list(notes.left(3600)) == []
    assert notes.get("../odd name").open
    assert notes.get("nobody") == Note(session="nobody")


def test_the_source_is_the_repository_wherever_in_it_the_session_works(tmp_path: Path) -> None:
    """A worktree belongs to its repository; RSI_SOURCE wins."""
    (tmp_path / "shop" / ".git" / "worktrees" / "fix").mkdir(parents=True)
    (tmp_path / "shop" / "a" / "b").mkdir(parents=True)
    (tmp_path / "fix").mkdir()
    (tmp_path / "fix" / ".git").write_text(f"gitdir: {tmp_path}/shop/.git/worktrees/fix\n")
    found = [naming.source_of(str(tmp_path / place), {}) for place in ("shop", "shop/a/b", "fix")]
    assert found == ["claude-code:shop"] * 3
    assert naming.source_of("/nowhere/at/all", {}) == "claude-code:all"
    assert naming.source_of("/nowhere", {"RSI_SOURCE": "mine"}) == "mine"
