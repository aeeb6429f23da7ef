"""The real client and a real daemon, each a process: where they are found, how they are started, what they say."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PATIENCE_S = 40.0
#: The daemon and the command `rsi` need all of rsi: in an environment of the framework alone, another python has it.
DAEMON = os.environ.get("RSI_DAEMON_PYTHON") or sys.executable
#: A client that somebody named; read here, before the tests begin without any variable of ours.
NAMED = os.environ.get("RSI_CLAUDE_BINARY")


def find_client() -> Path | None:
    """`RSI_CLAUDE_BINARY`, the binary that the Agent SDK bundles, or the `claude` on the path."""
    spec = find_spec("claude_agent_sdk")
    bundled = Path(spec.origin).parent / "_bundled" / "claude" if spec and spec.origin else None
    named = NAMED or (str(bundled) if bundled and bundled.is_file() else None)
    found = named or shutil.which("claude")
    return Path(found) if found else None


def missing() -> str | None:
    """Why these tests cannot run here; `None` if they can."""
    if find_client() is None:
        return "no Claude Code here: pip install claude-agent-sdk (it bundles the client), or set RSI_CLAUDE_BINARY"
    asked = subprocess.run([DAEMON, "-c", "import rsi.daemon, click"], capture_output=True, check=False)
    if asked.returncode:
        return f"{DAEMON} has no complete rsi: set RSI_DAEMON_PYTHON to one that has"
    return None


def until(what: Any, why: str = "") -> Any:
    """Wait for a state."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"it did not happen: {why or what}")


class World:
    """A project with a home, the client's own folder, and what was reported."""

    def __init__(self, root: Path) -> None:
        self.project = root / "shop"
        self.user = root / "user"
        (self.project / ".git").mkdir(parents=True)
        (self.user / ".claude").mkdir(parents=True)
        (self.project / "rsi.yaml").write_text("worker: {enabled: false}\n")
        self.env = {
            "HOME": str(self.user), "PATH": "/usr/local/bin:/usr/bin:/bin", "TERM": "dumb", "LANG": "C.UTF-8", "SHELL": "/bin/bash",
            "CLAUDE_CONFIG_DIR": str(self.user / ".claude"), "ANTHROPIC_API_KEY": "sk-ant-fake", "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1", "XDG_STATE_HOME": str(root / "state"), "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        self.daemon: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def settings(self) -> Path:
        return self.project / ".claude" / "settings.json"

    def rsi(self, *words: str, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [DAEMON, "-m", "rsi", *words], cwd=self.project, env=self.env, capture_output=True, text=True, check=False,
            input=text, timeout=60,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    def up(self, port: int = 0) -> None:
        log = (self.project.parent / "daemon.log").open("ab")
        self.daemon = subprocess.Popen(
            [DAEMON, "-m", "rsi", "up", "--port", str(port)], cwd=self.project, env=self.env, stdout=log, stderr=log
        )
        about = self.project / ".rsi" / "daemon.json"

        def ready() -> Any:
            try:
                found = json.loads(about.read_text())
                urllib.request.urlopen(found["url"] + "/readyz", timeout=1).close()
            except (OSError, ValueError):
                return None
            return found["url"] if found["pid"] == self.daemon.pid else None

        self.url = until(ready, "the daemon comes up")

    def down(self) -> None:
        if self.daemon is not None:
            self.daemon.send_signal(signal.SIGTERM)
            self.daemon.wait(20)
            self.daemon = None

    def claude(self, api: Any, *words: str, prompt: str = "do the thing") -> dict[str, Any]:
        """One session in print mode; its own report of how it went."""
        client = find_client()
        assert client is not None
        began = time.monotonic()
        done = subprocess.run(
            [str(client), "-p", prompt, "--output-format", "json", "--allowedTools", "Bash,Read,Edit,Write", *words],
            cwd=self.project, env={**self.env, "ANTHROPIC_BASE_URL": api.url}, capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL, timeout=100,
        )  # fmt: skip
        assert done.stdout, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return {**said, "seconds": time.monotonic() - began}

    def issues(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.rsi("issues", "--json").stdout)["issues"]
        return found

    def outcomes(self) -> list[dict[str, Any]]:
        """The rows that are there, oldest first."""
        database = self.project / ".rsi" / "rsi.db"
        if not database.exists():
            return []
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as conn:
            conn.row_factory = sqlite3.Row
            rows = [dict(row) for row in conn.execute("SELECT * FROM outcomes ORDER BY seq")]
        return [{**json.loads(row.pop("body") or "{}"), **row} for row in rows]

    def kinds(self) -> list[tuple[str, str, str]]:
        """(kind, task, status) of everything that was reported, once the session is."""
        self.sessions(1)
        return sorted((row["kind"], row["task"], row["status"]) for row in self.outcomes())

    def sessions(self, number: int) -> list[dict[str, Any]]:
        """The sessions that were reported; waits for that many."""

        def there() -> list[dict[str, Any]]:
            return [row for row in self.outcomes() if row["kind"] == "task" and row["status"] != "started"]

        until(lambda: len(there()) >= number, f"{number} sessions are reported")
        return there()

    def age_spool(self) -> None:
        """As if some time had passed since anything was spooled: a fresh file may still be written by another process."""
        for path in (self.project.parent / "state").rglob("*.ndjson"):
            os.utime(path, (time.time() - 60, time.time() - 60))

    def spooled(self) -> bool:
        return any((self.project.parent / "state").rglob("spool/**/*.ndjson"))


class Hanging:
    """Takes connections on a port and never says a word."""

    def __init__(self, port: int = 0) -> None:
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(("127.0.0.1", port))
        self.sock.listen(64)
        self.port = self.sock.getsockname()[1]
        self.taken: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                self.taken.append(self.sock.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self.sock.close()
        for one in self.taken:
            one.close()
