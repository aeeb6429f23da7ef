"""A daemon that is down, hangs or fails: the session never notices, and nothing that happened in it is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent_kit import running
from claude_kit import Hanging, World, until
from scripted_api import bash, scripted

STEPS = (bash("echo one >&2; exit 3"), bash("echo two >&2; exit 4"), "done")
ALL = [("task", "session", "ok"), ("tool", "Bash", "failed"), ("tool", "Bash", "failed")]


def test_with_the_daemon_down_the_transcript_tells_it_later(world: World) -> None:
    """SessionEnd spools what the HTTP hooks could not deliver; the daemon takes it when it is there again, each once."""
    world.up()
    port = int(world.url.rpartition(":")[2])
    world.rsi("connect", "claude-code")
    world.down()
    with scripted(*STEPS) as api:
        assert world.claude(api)["result"] == "done"
    until(lambda: [*(world.project / "inbox").glob("spool-*")], "what was spooled lies in the home's inbox")
    assert world.outcomes() == []
    world.up(port)
    assert world.kinds() == ALL


def test_a_hanging_daemon_does_not_stop_the_session(world: World) -> None:
    """Each failed call waits for its hook's timeout and goes on."""
    hanging = Hanging()
    world.env["RSI_URL"] = f"http://127.0.0.1:{hanging.port}"
    world.rsi("connect", "claude-code")
    with scripted(*STEPS) as api:
        said = world.claude(api)
    hanging.close()
    assert (said["is_error"], said["result"], len(api.bodies)) == (False, "done", 3)
    assert hanging.taken


@pytest.mark.parametrize("mode", ["500", "garbage"])
def test_a_failing_daemon_does_not_stop_the_session(world: World, tmp_path: Path, mode: str) -> None:
    """HTTP 500, or an answer that is no JSON: the hooks' answers are passed over."""
    (tmp_path / "elsewhere").mkdir()
    with running(tmp_path / "elsewhere") as daemon:
        daemon.mode = mode
        world.env["RSI_URL"] = daemon.url
        world.rsi("connect", "claude-code")
        with scripted(*STEPS) as api:
            said = world.claude(api)
        assert (said["is_error"], said["result"], len(api.bodies)) == (False, "done", 3)
        assert [path for _, path, _ in daemon.requests if path == "/v1/hooks/claude-code"]
        until(world.spooled, "the session is spooled")


def test_a_daemon_of_another_home_takes_nothing(world: World, tmp_path: Path) -> None:
    """The hook's address names the home; the end of the session goes to our own home's spool."""
    world.up()
    world.rsi("connect", "claude-code")
    world.settings.write_text(world.settings.read_text().replace("?home=", "?home=0"))
    with scripted(*STEPS) as api:
        world.claude(api)
    assert world.kinds() == ALL  # told by the transcript alone
