"""What unkind readers of the README found, so that it stays mended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rsi import rules
from rsi.config import load
from rsi.enforce.naming import ended_without_failing
from rsi.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def command(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RSI_")}
    return subprocess.run(
        [sys.executable, "-m", "rsi", "--home", str(home), *args],
        capture_output=True, text=True, timeout=60, check=False, env=clean,
    )  # fmt: skip


def test_a_pipe_among_the_rules_is_named_and_does_not_hang(tmp_path):
    folder = tmp_path / "rules" / "fix"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "x.yaml")
    problems = rules.load("fix", [tmp_path / "rules"]).problems
    assert ["not a regular file" in str(problem) for problem in problems] == [True]


@pytest.mark.parametrize("text", ["retention: {outcomes_days: .inf}", "verify: {max_days: .nan}"])
def test_numbers_without_end_are_refused_by_name(tmp_path, text):
    (tmp_path / "rsi.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"(retention\.outcomes_days|verify\.max_days): expected a finite number"):
        load(tmp_path)


def test_doctor_and_policy_refuse_what_up_would_refuse(tmp_path):
    (tmp_path / "rsi.yaml").write_text("policy: [{source: a, task: b, timeout_s: -5}]\n")
    assert command(tmp_path, "policy").returncode == 2
    found = command(tmp_path, "doctor")
    assert found.returncode == 1
    assert "timeout_s" in found.stdout


def test_a_program_that_ends_itself_with_an_error_has_failed():
    assert ended_without_failing(SystemExit(3)) is None
    assert ended_without_failing(SystemExit(0)) == "ok"
    assert ended_without_failing(KeyboardInterrupt()) == "cancelled"


def test_an_outcome_with_an_endless_error_is_cut_and_not_lost():
    script = (
        "import os, rsi\n"
        "rsi.configure(url='http://127.0.0.1:9', enabled=True)\n"
        "rsi.record('t', success=False, error='x' * 3_000_000, source='s')\n"
        "rsi.flush(2)\n"
        "print(rsi.status())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "is lost" not in done.stderr


def test_the_inbox_sample_is_part_of_the_repository():
    done = subprocess.run(
        ["git", "check-ignore", "inbox/sample.jsonl.example"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode != 0
