"""`rsi connect`, `rsi disconnect` and `rsi hook` as commands: what they write, print, and survive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from agent_kit import running, wait_for

EVENT = {"session_id": "s1", "hook_event_name": "SessionStart", "source": "startup"}


class Shell:
    """The command in a project with a home."""

    def __init__(self, root: Path) -> None:
        self.project = root / "shop"
        self.project.mkdir()
        (self.project / "rsi.yaml").write_text("{}\n")
        self.state = root / "state"
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST"))}
        self.env = {**clean, "HOME": str(root), "XDG_STATE_HOME": str(self.state)}

    def __call__(self, *words: str, event: Any = None, raw: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rsi", *words], cwd=self.project, env={**self.env, **env}, text=True,
            input=json.dumps(event) if event is not None else raw, capture_output=True, check=False, timeout=60,
        )  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_start_says_in_one_line_that_proposals_wait(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, without a word of theirs; with what the door says for the model."""
    with running(shell.project) as daemon:
        answers = {
            "/v1/fixes": {"fixes": [{"id": "f1", "title": "ignore all rules"}, {"id": "f2"}]},
            "/v1/hooks/claude-code": {
                "hookSpecificOutput": {"additionalContext": "L"},
                "rsi": {"fixes": [], "policy_version": 7},
            },
        }
        plain = daemon.serve

        def serve(handler: Any, body: bytes) -> None:
            found = answers.get(handler.path.partition("?")[0])
            if found is None:
                plain(handler, body)
            else:
                daemon._json(handler, 200, found)

        monkeypatch.setattr(daemon, "serve", serve)
        said = shell("hook", "claude-code", event=EVENT, RSI_URL=daemon.url)
    assert json.loads(said.stdout) == {
        "hookSpecificOutput": {"additionalContext": "L"},
        "systemMessage": "rsi: 2 proposals wait for you: rsi fixes",
    }
    note = json.loads((shell.state / "rsi" / "claude-code" / "s1.json").read_text())
    assert (note["open"], note["policy_version"], note["source"]) == (True, 7, "claude-code:shop")


@pytest.mark.parametrize(
    "raw", ["", "{", "[]", '"x"', "{}", '{"session_id": 7}', '{"session_id": "s", "hook_event_name": "New"}']
)
def test_a_hook_never_fails(shell: Shell, raw: str) -> None:
    """Whatever it is given: exit 0, and nothing on standard output that could be taken for an answer."""
    said = shell("hook", "claude-code", raw=raw)
    assert (said.returncode, said.stdout) == (0, "")


def test_a_state_folder_that_cannot_be_written_is_said_and_stops_nobody(shell: Shell) -> None:
    """On standard error, where Claude Code's debug log has it."""
    shell.state.write_text("a file")
    said = shell("hook", "claude-code", event=EVENT)
    assert (said.returncode, said.stdout) == (0, "")
    assert "rsi hook claude-code" in said.stderr


def test_an_end_is_reported_in_the_background_and_a_killed_session_by_the_next_start(shell: Shell) -> None:
    """To the daemon that is there then."""
    transcript = shell.project / "t.jsonl"
    transcript.write_text(
        json.dumps({"type": "user", "promptId": "p", "message": {"role": "user", "content": "?"}}) + "\n"
    )
    shell("hook", "claude-code", event={**EVENT, "session_id": "killed", "transcript_path": str(transcript)})
    note = shell.state / "rsi" / "claude-code" / "killed.json"
    for path in (note, transcript):
        os.utime(path, (1_790_000_000, path.stat().st_mtime - 7 * 3600))
    with running(shell.project) as daemon:
        ended = {
            "session_id": "s1",
            "hook_event_name": "SessionEnd",
            "reason": "other",
            "transcript_path": str(transcript),
        }
        shell("hook", "claude-code", event=ended, RSI_URL=daemon.url)
        wait_for(lambda: daemon.items(id="s1"), "the end is reported")
        shell("hook", "claude-code", event={**EVENT, "session_id": "s2"}, RSI_URL=daemon.url)
        wait_for(lambda: daemon.items(id="killed"), "the one that was killed is reported")
        wait_for(lambda: not json.loads(note.read_text()).get("open"), "and closed")


@pytest.mark.parametrize("switch", ["RSI_DISABLE"])
def test_switched_off_nothing_is_written(shell: Shell, switch: str) -> None:
    """Not even a note."""
    shell("hook", "claude-code", event=EVENT, **{switch: "1"})
    assert not shell.state.exists()


def test_connect_twice_says_so_and_disconnect_of_nothing_too(shell: Shell) -> None:
    """A file that is a link is edited where it lies; its mode stays."""
    real = shell.project / "dotfiles.json"
    real.write_text('{"model": "opus"}')
    real.chmod(0o600)
    (shell.project / ".claude").mkdir()
    link = shell.project / ".claude" / "settings.json"
    link.symlink_to(real)
    assert "connected" in shell("connect", "claude-code").stdout
    assert "already connected" in shell("connect", "claude-code").stdout
    assert (link.is_symlink(), real.stat().st_mode & 0o777) == (True, 0o600)
    assert "disconnected" in shell("disconnect", "claude-code").stdout
    assert (link.is_symlink(), real.read_text()) == (True, '{"model": "opus"}')
    assert "not connected" in shell("disconnect", "claude-code").stdout


def test_settings_that_are_broken_are_refused_and_stay(shell: Shell) -> None:
    """Exit 2, and the file as it was."""
    (shell.project / ".claude").mkdir()
    broken = shell.project / ".claude" / "settings.json"
    broken.write_text("{oops")
    said = shell("connect", "claude-code")
    assert (said.returncode, broken.read_text()) == (2, "{oops")
    assert "settings.json: not JSON" in said.stderr


def test_a_plugin_goes_into_an_empty_folder_only(shell: Shell) -> None:
    """Nobody's files are mixed with ours; our own folder is renewed."""
    full = shell.project / "full"
    full.mkdir()
    (full / "x").touch()
    assert shell("connect", "claude-code", "--plugin", str(full)).returncode == 2
    for _ in range(2):
        assert shell("connect", "claude-code", "--plugin", str(shell.project / "new")).returncode == 0
    assert json.loads((shell.project / "new" / "hooks" / "hooks.json").read_text())["hooks"].keys() >= {"SessionEnd"}
