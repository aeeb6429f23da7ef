"""What `rsi connect` writes is what the real client reads, and it leaves no trace."""

from __future__ import annotations

import json
import subprocess

import pytest
from claude_kit import World, find_client
from scripted_api import bash, scripted

MINE = """{
    // no
    "permissions": {"allow": ["Bash(ls:*)"]},   "model" : "opus",
	"hooks": {
      "PostToolUseFailure": [ {"matcher": "Read", "hooks": [{"type": "command", "command": "true"}]} ],
      "Stop": []
    }

}
""".replace("    // no\n", "")


@pytest.mark.parametrize("before", [None, "{}", "{ }\n", MINE, MINE.replace("\n", "\r\n")])
def test_disconnect_leaves_the_settings_byte_for_byte(world: World, before: str | None) -> None:
    """With a session in between."""
    world.up()
    if before is not None:
        world.settings.parent.mkdir()
        world.settings.write_bytes(before.encode())
    world.rsi("connect", "claude-code", "--project")
    assert b"hook claude-code" in world.settings.read_bytes()
    with scripted(bash("exit 3"), "done") as api:
        world.claude(api)
    assert world.kinds() == [("task", "session", "ok"), ("tool", "Bash", "failed")]
    world.rsi("disconnect", "claude-code", "--project")
    assert (world.settings.read_bytes() if world.settings.exists() else None) == (before and before.encode())
    assert world.settings.parent.exists() == (before is not None)


def test_the_users_settings_are_connected_too(world: World) -> None:
    """`--user` writes into the client's own folder, and names the home."""
    world.up()
    world.rsi("connect", "claude-code", "--user")
    with scripted(bash("exit 3"), "done") as api:
        world.claude(api)
    assert world.kinds() == [("task", "session", "ok"), ("tool", "Bash", "failed")]
    world.rsi("disconnect", "claude-code", "--user")
    assert not (world.user / ".claude" / "settings.json").exists()


def test_the_plugin_is_valid_and_works(world: World) -> None:
    """`claude plugin validate` accepts the folder, and a session with it is reported."""
    world.up()
    folder = world.project.parent / "plugin"
    world.rsi("connect", "claude-code", "--plugin", str(folder))
    said = subprocess.run(
        [str(find_client()), "plugin", "validate", str(folder)],
        env=world.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    with scripted(bash("exit 3"), "done") as api:
        world.claude(api, "--plugin-dir", str(folder))
    assert world.kinds() == [("task", "session", "ok"), ("tool", "Bash", "failed")]
    assert not world.settings.exists()


def test_no_hook_is_passive_about_worktrees(world: World) -> None:
    """A WorktreeCreate hook would have to print the worktree's path: we register none."""
    world.rsi("connect", "claude-code")
    assert set(json.loads(world.settings.read_text())["hooks"]) == {
        "SessionStart",
        "PostToolUseFailure",
        "StopFailure",
        "SessionEnd",
    }
