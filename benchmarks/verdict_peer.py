"""`self-improving-loop` 0.1.3 from the registry, driven through its own API, as an anchor beside ours.

It has one arm: it applies a change once it has seen enough failures, compares the tasks after it with those before,
takes it back where they look worse, and leaves it in place once its window of ten tasks has passed. That it stays in
place after its own window is what is counted as `verified` here; that it was taken back by then, as `worse`.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from verdict_worlds import WORLDS

NAME = "s-i-loop 0.1.3"
PACKAGE = "self-improving-loop==0.1.3"
RUNS = 30  # it syncs a file and reads all of it again at every task
ROWS = 120  # by then it has nearly always applied something and judged it

DRIVE = """
import json, sys, tempfile
from self_improving_loop import SelfImprovingLoop, TelegramNotifier, core

class Steady:
    at = 1.0
    def time(self):
        return self.at

core.time = Steady()  # every task takes as long as the others: it shall not judge the noise of this machine

class Quiet(TelegramNotifier):
    def _send_message(self, *args, **kwargs):
        return True

class Useless:
    def analyze(self, agent_id, traces, before_metrics): return {"setting": 1}
    def current_config(self, agent_id): return {"setting": 0}
    def apply(self, agent_id, config_patch): return True
    def rollback(self, agent_id, backup_config): return True

def task(failed):
    core.time.at += 0.25
    if failed:
        raise RuntimeError("503 overloaded")

def run(rows):
    with tempfile.TemporaryDirectory() as folder:
        loop = SelfImprovingLoop(data_dir=folder, notifier=Quiet(enabled=False), improvement_strategy=Useless())
        since = None
        for failed in rows:
            said = loop.track("agent", "search", lambda: task(failed))
            if said["rollback_executed"]:
                return "worse"
            if since is not None:
                since += 1
                if since >= loop.rollback.VERIFICATION_WINDOW:
                    return "verified"
            elif said["improvement_applied"]:
                since = 0
        return "undecided"

for line in sys.stdin:
    print(json.dumps([run(rows) for rows in json.loads(line)]), flush=True)
"""


def install(folder: Path) -> str | None:
    """Its interpreter, in an environment made for this run; None where the registry has it not."""
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    got = subprocess.run(
        [str(python), "-m", "pip", "install", "-q", "--no-deps", PACKAGE], capture_output=True, check=False
    )
    return str(python) if got.returncode == 0 else None


def streams(name: str, runs: int) -> list[list[bool]]:
    """The same outcomes that the other rules see in this world, as one stream."""
    return [[failed for _, failed, _ in WORLDS[name](random.Random(f"{name} {seed}"), ROWS)] for seed in range(runs)]


def words(names: list[str], runs: int = RUNS) -> dict[str, list[str]] | None:
    """Per world what it said of a useless change, run by run; None: it could not be had."""
    with tempfile.TemporaryDirectory() as folder:
        python = install(Path(folder))
        if python is None:
            return None
        lines = "\n".join(json.dumps(streams(name, runs)) for name in names)
        done = subprocess.run([python, "-c", DRIVE], input=lines, capture_output=True, text=True, check=True)
        return dict(zip(names, map(json.loads, done.stdout.splitlines()), strict=True))
