"""rsi.auto hooks what is installed; one adapter's failure is a warning, never the host's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

MODULE = """
class Good:
    name = "good"
    def available(self): return True
    def install(self): return "good is hooked"

class Absent(Good):
    def available(self): return False

class Broken(Good):
    def install(self): raise RuntimeError("not today")

class Odd:
    pass
"""
POINTS = """[rsi.adapters]
good = fake_adapters:Good
absent = fake_adapters:Absent
broken = fake_adapters:Broken
odd = fake_adapters:Odd
gone = fake_adapters:Gone
"""
CODE = """
import logging
said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record)
logging.getLogger("rsi").addHandler(handler)
import rsi.auto
report = {name: said for name, said in rsi.auto.report().items() if name in ("good", "absent", "broken", "odd", "gone")}
print(sorted(report.items()))
print(sorted(record.args[0] for record in said if record.levelname == "WARNING" and "fake_adapters" in record.args[1]))
"""


def run(tmp_path: Path, **env: str) -> list[Any]:
    site = tmp_path / "site"
    (site / "fake_adapters-1.dist-info").mkdir(parents=True)
    (site / "fake_adapters-1.dist-info" / "entry_points.txt").write_text(POINTS)
    (site / "fake_adapters-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: fake-adapters\nVersion: 1\n"
    )
    (site / "fake_adapters.py").write_text(MODULE)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST"))}
    path = os.pathsep.join((str(site), clean.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE],
        env=clean | {"PYTHONPATH": path} | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [eval(line) for line in done.stdout.splitlines()]


def test_what_is_there_is_hooked_and_the_rest_is_reported(tmp_path: Path) -> None:
    report, warned = run(tmp_path)
    said = dict(report)
    assert said["good"] == "hooked: good is hooked"
    assert said["absent"] == "not installed"
    assert "RuntimeError: not today" in said["broken"]
    assert "not an adapter" in said["odd"]
    assert said["gone"].startswith("failed")
    assert warned == ["broken", "gone", "odd"]


def test_a_package_of_ones_own_is_not_taken_for_a_framework(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("class Planner: pass\n")
    code = "import rsi.auto\nfrom agents import Planner\nprint(rsi.auto.report()['openai-agents'])"
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "not installed\n", "")


def test_switched_off_nothing_is_hooked(tmp_path: Path) -> None:
    assert run(tmp_path, RSI_DISABLE="1") == [[], []]
