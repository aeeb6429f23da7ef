"""A daemon that is killed in the middle of a check: a real process, SIGKILL, and what is left and done afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from check_kit import needs_sandbox
from loop_kit import Loop

from rsi.config import load
from rsi.store import Store, fixes

pytestmark = needs_sandbox
PATIENCE_S = 60.0


def seed(path: Path, command: str):
    """A home whose next cycle finds a fix that is due to be checked."""
    loop = Loop(path)
    loop.client(enforces=["retry"])
    loop.fail(n=30, ok=70)
    loop.close()
    settings(path, command)


def settings(path: Path, command: str):
    (path / "rsi.yaml").write_text(f"worker: {{enabled: false}}\nverify: {{command: {json.dumps(command)}}}\n")


def up(path: Path):
    with (path.parent / "up.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "rsi", "--home", str(path), "up", "--port", "0"], stdout=log, stderr=log
        )


def until(path: Path, what, why):
    """Wait for a state, for longer than a busy machine takes to start a daemon and attack its own sandbox."""
    end = time.monotonic() + PATIENCE_S
    while not what():
        if time.monotonic() > end:
            raise AssertionError(f"{why}: {(path.parent / 'up.log').read_text()[-2000:]}")
        time.sleep(0.05)


def state(path: Path):
    store = Store.open(f"sqlite:///{path / '.rsi' / 'rsi.db'}", read_only=True)
    try:
        with store.read() as conn:
            return [fix.state for fix in fixes.list_fixes(conn) if fix.knob == "retry"]
    finally:
        store.close()


def running(marker: str):
    """Processes with this word in their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker in place.read_bytes().decode(errors="replace").split("\0"):
                found.append(place.parent.name)
        except OSError:
            continue
    return found


def test_killed_in_the_middle_nothing_runs_on_and_the_next_daemon_checks_again(tmp_path):
    home, marker = tmp_path / "home", f"7654{os.getpid()}"
    home.mkdir()
    seed(home, f"sleep {marker}")
    daemon = up(home)
    try:
        until(home, lambda: running(marker), "the check runs")
        assert state(home) == ["checking"]
    finally:
        daemon.send_signal(signal.SIGKILL)
        daemon.wait(10)
    until(home, lambda: not running(marker), "what the check started died with the daemon")
    assert state(home) == ["checking"], "neither started nor given up"

    settings(home, "true")
    assert load(home).verify.command == "true"
    daemon = up(home)
    try:
        until(home, lambda: state(home) == ["canary"], "it was checked again")
    finally:
        daemon.terminate()
        assert daemon.wait(20) == 0
