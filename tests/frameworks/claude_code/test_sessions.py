"""The real client with our hooks in its settings, against a scripted API and a real daemon."""

from __future__ import annotations

import json

import pytest
from claude_kit import World, until
from scripted_api import bash, scripted, tool

LESSON = "LESSON-EXIT-3: say why before you exit with 3."
POLICY = f"policy:\n  - {{source: '*', task: Bash, lessons: [{{text: '{LESSON}', category: tool_execution}}]}}\n"


def write(world: World, text: str) -> None:
    (world.project / "rsi.yaml").write_text("worker: {enabled: false}\n" + text)


def test_a_failing_command_is_an_outcome_and_its_lesson_is_in_the_next_request(world: World) -> None:
    """PostToolUseFailure over HTTP: reported at once, and the model reads the lesson before it goes on."""
    write(world, POLICY)
    world.up()
    world.rsi("connect", "claude-code")
    with scripted(bash("echo fine"), bash("echo 'Error: tool crashed' >&2; exit 3"), bash("echo fine"), "done") as api:
        said = world.claude(api)
    assert (said["is_error"], said["result"]) == (False, "done")
    with_lesson = [LESSON in json.dumps(body) for body in api.bodies]
    assert with_lesson == [False, False, True, True]
    assert api.bodies[-1]["messages"].__repr__().count("LESSON-EXIT-3") == 1
    assert world.kinds() == [("task", "session", "ok"), ("tool", "Bash", "failed")]
    failed, session = world.outcomes()
    assert failed["error"].startswith("Exit code 3")
    assert failed["source"] == session["source"] == "claude-code:shop"
    assert failed["parent"] == failed["session"] == session["session"] == said["session_id"]
    assert (session["tokens_in"], session["tokens_out"]) == (400, 80)
    assert session["model"]
    assert session["metadata"]["tools"] == 3
    if "cost_usd" in session:  # an older client does not write it down
        assert session["cost_usd"] == said["total_cost_usd"]


def test_what_a_tool_was_called_with_is_stored_only_where_it_was_asked_for(world: World) -> None:
    """`tool_input` holds the user's commands and files."""
    world.up()
    world.rsi("connect", "claude-code")
    with scripted(bash("true COMMAND-OF-MINE; exit 4"), "done") as api:
        world.claude(api)
    assert "COMMAND-OF-MINE" not in json.dumps([world.kinds(), world.outcomes()])
    world.rsi("connect", "claude-code", "--tool-input")
    with scripted(bash("true COMMAND-OF-MINE; exit 4"), "done") as api:
        world.claude(api)
    world.sessions(2)
    assert [("COMMAND-OF-MINE" in row["input"]) for row in world.outcomes() if "input" in row] == [True]


@pytest.mark.parametrize(
    ("status", "category"),
    [(429, "rate_limit"), (500, "provider_5xx"), (529, "overloaded"), (400, "invalid_request"), (401, "auth")],
)
def test_a_session_that_an_api_error_ended_failed_once(world: World, status: int, category: str) -> None:
    """The transcript tells it, whether StopFailure came or not."""
    world.up()
    world.rsi("connect", "claude-code")
    with scripted(status) as api:
        assert world.claude(api)["is_error"]
    assert world.kinds() == [("task", "session", "failed")]
    assert world.sessions(1)[0]["error_status"] == status
    issue = until(world.issues, "it is an issue")
    assert [(one["category"], one["frequency"]) for one in issue] == [(category, 1)]


def test_work_before_an_api_error_is_told_once_with_it(world: World) -> None:
    """A tool failed, then the API did: two failures, of which the hook and the transcript both tell the first."""
    world.up()
    world.rsi("connect", "claude-code")
    with scripted(bash("exit 3"), 529) as api:
        world.claude(api)
    assert world.kinds() == [("task", "session", "failed"), ("tool", "Bash", "failed")]


def test_one_session_makes_no_issue_of_a_tool_and_two_do(world: World) -> None:
    """A non-zero exit may be normal work; the same one in another session is a pattern."""
    world.up()
    world.rsi("connect", "claude-code")
    for _ in range(2):
        assert world.issues() == []
        with scripted(bash("echo 'cannot open the ledger' >&2; exit 7"), "done") as api:
            world.claude(api)
    world.sessions(2)
    issues = until(world.issues, "the second session makes an issue")
    assert [issue["task_type"] for issue in issues] == ["Bash"]


def test_normal_exits_and_red_tests_between_edits_are_no_failures(world: World) -> None:
    """`test`, `cmp` and a red unittest while the code is written: outcomes, but never an issue."""
    world.up()
    world.rsi("connect", "claude-code")
    (world.project / "a").write_text("1\n")
    (world.project / "b").write_text("2\n")
    red = bash("python3 -m unittest not_written_yet")
    steps = [
        bash("test -f nothing-here"),
        bash("cmp a b"),
        red,
        tool("Write", file_path=str(world.project / "x.py"), content="1\n"),
        red,
        "done",
    ]
    for number in (1, 2):
        with scripted(*steps) as api:
            world.claude(api)
        world.sessions(number)
        (world.project / "x.py").unlink()
    rows = [row for row in world.outcomes() if row["kind"] == "tool"]
    assert rows
    assert all("is normal for" in row["error"] for row in rows)
    assert [row for row in rows if "while the code is being edited" in row["error"]]
    assert world.issues() == []


def test_red_tests_where_nothing_is_edited_are_failures(world: World) -> None:
    """Nobody works on the code: then a red suite is what went wrong."""
    world.up()
    world.rsi("connect", "claude-code")
    with scripted(bash("python3 -m unittest not_written_yet"), "done") as api:
        world.claude(api)
    world.sessions(1)
    assert [row["error"][:11] for row in world.outcomes() if row["kind"] == "tool"] == ["Exit code 1"]


def test_a_resumed_session_is_another_part_of_it(world: World) -> None:
    """The same session ends twice: two outcomes, and the tokens of the second are its own."""
    world.up()
    world.rsi("connect", "claude-code")
    with scripted("pong") as api:
        session = world.claude(api)["session_id"]
        world.sessions(1)
        again = world.claude(api, "--resume", session, prompt="again")
    assert again["session_id"] == session
    first, second = world.sessions(2)
    assert (first["id"], second["id"]) == (session, f"{session}:2")
    assert (first["tokens_out"], second["tokens_out"]) == (20, 20)


def test_a_daemon_that_wants_a_token_gets_it_from_the_environment(world: World) -> None:
    """The token is in no settings file: the hook takes it from RSI_TOKEN."""
    write(world, "auth: {tokens: [a-token-of-ours]}\n" + POLICY)
    world.up()
    assert "RSI_TOKEN" in world.rsi("connect", "claude-code").stdout
    assert "a-token-of-ours" not in world.settings.read_text()
    world.env["RSI_TOKEN"] = "a-token-of-ours"
    with scripted(bash("echo 'Error: tool crashed' >&2; exit 3"), "done") as api:
        world.claude(api)
    assert LESSON in api.said
    assert world.kinds() == [("task", "session", "ok"), ("tool", "Bash", "failed")]


def test_rsi_disable_leaves_the_session_alone(world: World) -> None:
    """RSI_DISABLE=1: the session's end is not reported."""
    world.up()
    world.rsi("connect", "claude-code")
    world.env["RSI_DISABLE"] = "1"
    with scripted("pong") as api:
        world.claude(api)
    del world.env["RSI_DISABLE"]
    with scripted("pong") as api:
        second = world.claude(api)["session_id"]
    assert [row["session"] for row in world.sessions(1)] == [second]
    notes = world.project.parent / "state" / "rsi" / "claude-code"
    assert [path.name for path in notes.iterdir()] == [f"{second}.json"]
