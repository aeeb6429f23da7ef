"""A kill -9 before any system-level step of an edit leaves the file as before or as after, and nothing is lost by it.

`RSI_TARGETS=10000` strikes before every step, the short form before every fourth.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from targets_killed import NOTES, SCENARIOS, YAML

EVERY = 1 if int(os.environ.get("RSI_TARGETS", "0")) >= 1000 else 4
SCRIPT = Path(__file__).with_name("targets_killed.py")


@pytest.mark.skipif(sys.platform == "win32", reason="edits of files need POSIX")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_kill_at_any_step_leaves_before_or_after_and_everything_can_be_undone(scenario, tmp_path):
    command = [sys.executable, str(SCRIPT), scenario, str(tmp_path), str(EVERY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    restored = {name: text.split()[1] for name, text in found["restored"].items()}
    assert restored == {"AGENTS.md": NOTES.hex(), "conf/c.yaml": YAML.hex()}
    assert found["restored"]["conf/c.yaml"].startswith("640 "), "its mode is kept"
    assert found["steps"] > 20
    if found["changes"]:
        assert min(found["seen"].values()) > 0, "kills fell on both sides of the replacement"
