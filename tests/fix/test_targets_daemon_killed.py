"""A real daemon, killed at steps of writing a fix into its file and of taking it out: before or after, and it is said.

`RSI_TARGETS=10000` kills before every step, the short form at two of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from loop_kit import Loop, config

from rsi.config import Home
from rsi.store import Store, fixes, journal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="edits of files need POSIX")
EVERY_STEP = int(os.environ.get("RSI_TARGETS", "0")) >= 1000
SCRIPT = Path(__file__).with_name("daemon_killed.py")
PATIENCE_S = 90.0
FILE = b"llm:\n  max_retries: 1   # mine\n"
AFTER = FILE.replace(b"1 ", b"3 ")
SETTINGS = """
worker: {enabled: false}
sources: {app: {idempotent: [search]}}
targets: [{file: agent.yaml, key: llm.max_retries, type: int, min: 0, max: 5, knob: retry, unit: retries, source: app}]
"""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """A home with a proposal, and one in which it was approved and stands."""
    made = {
        "approve": tmp_path_factory.mktemp("proposed") / "home",
        "rollback": tmp_path_factory.mktemp("live") / "home",
    }
    for verb, path in made.items():
        path.mkdir()
        (path / "agent.yaml").write_bytes(FILE)
        (path / "rsi.yaml").write_text(SETTINGS)
        target = {"file": "agent.yaml", "key": "llm.max_retries", "type": "int", "min": 0, "max": 5, "knob": "retry",
                  "unit": "retries", "source": "app"}  # fmt: skip
        loop = Loop(path, conf=config(targets=[target], sources={"app": {"idempotent": ["search"]}}))
        loop.fail(n=30, ok=70)
        loop.pipeline.cycle()
        if verb == "rollback":
            loop.pipeline.approve("f1", "person:test")
        loop.close()
    assert (made["rollback"] / "agent.yaml").read_bytes() == AFTER
    return made


def run(seed: Path, home: Path, verb: str, step: int):
    """A daemon of a fresh copy is told to do it, and dies at this step; the steps it came to, or None if it was killed."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(seed, home)
    count = home.parent / "count"
    count.unlink(missing_ok=True)
    with (home.parent / "up.log").open("ab") as log:
        daemon = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(home), str(step), str(count)], stdout=log, stderr=log
        )
    try:
        answer = ask(home, verb, daemon)
        if answer is not None:
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(PATIENCE_S) == 0
            return int(count.read_text())
        assert daemon.wait(PATIENCE_S) == -signal.SIGKILL
    finally:
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait()
    return None


def ask(home: Path, verb: str, daemon):
    """What the daemon answers; None if it dies over it."""
    end = time.monotonic() + PATIENCE_S
    found = Home(home)
    while (about := found.daemon()) is None or about.get("pid") != daemon.pid:
        assert daemon.poll() is None
        assert time.monotonic() < end, (home.parent / "up.log").read_text()[-2000:]
        time.sleep(0.05)
    headers = {"content-type": "application/json", "authorization": f"Bearer {found.secret()}"}
    request = urllib.request.Request(f"{about['url']}/v1/fixes/f1/{verb}", b"{}", headers)
    with contextlib.suppress(urllib.error.URLError, ConnectionError):
        return json.load(urllib.request.urlopen(request, timeout=PATIENCE_S))
    return None


def recover(home: Path):
    """What the next process makes of it."""
    done = subprocess.run(
        [sys.executable, "-m", "rsi", "--home", str(home), "up", "--once"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    store = Store.open(f"sqlite:///{home / '.rsi' / 'rsi.db'}", read_only=True)
    try:
        with store.read() as conn:
            assert journal.verify(conn) is None
            return fixes.get_fix(conn, "f1")
    finally:
        store.close()


@pytest.mark.parametrize("verb", ["approve", "rollback"])
def test_killed_at_any_step_it_is_before_or_after_and_the_journal_says_which(seeds, tmp_path, verb):
    home = tmp_path / "home"
    steps = run(seeds[verb], home, verb, -1)
    assert (home / "agent.yaml").read_bytes() == (AFTER if verb == "approve" else FILE)
    assert steps > 20
    for step in range(steps) if EVERY_STEP else (steps // 3, steps - 1):
        assert run(seeds[verb], home, verb, step) is None, step
        assert (home / "agent.yaml").read_bytes() in {FILE, AFTER}, step
        fix = recover(home)
        said = [line["what"] for line in fix.journal]
        now = (home / "agent.yaml").read_bytes()
        if verb == "approve":  # it goes on where it was: the approval stands
            assert (now, fix.state) == (AFTER, "canary"), step
            assert said[-1] == "fix.canary", step
        else:
            assert (now, fix.state, said[-1]) == (FILE, "rolled_back", "fix.reverted"), step
        assert not list(home.glob(".rsi-*")), step
