"""The campaigns in their short form; `make campaigns` runs the long ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(320)]


def run(*command: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=clean, capture_output=True, text=True, timeout=seconds, check=False
    )


def test_ten_kills_lose_and_double_nothing():
    done = run("benchmarks/kill.py", "--kills", "10")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, lost from files 0, doubled 0, integrity ok" in done.stdout


@pytest.mark.parametrize(
    ("flags", "mode", "verdicts"),
    [
        ([], "helpful", {"verified"}),
        (["--null"], "null", {"undecided", "no_difference"}),
        (["--harmful"], "harmful", {"worse"}),
    ],
)
def test_the_demo_ends_with_the_verdict_it_should(flags, mode, verdicts):
    done = run("-m", "rsi", "demo", "--json", "--seed", "1", *flags, seconds=110)
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert said["mode"] == mode
    if mode == "null":  # true for 24 seeds of 25 by design: a single draw may not hold up a release
        assert said["verdict"] in verdicts | {"worse", "verified"}
        assert (done.returncode == 0) == (said["verdict"] in verdicts)
    else:
        assert said["verdict"] in verdicts, done.stdout + done.stderr
        assert done.returncode == 0


def test_the_peer_benchmark_measures_our_side():
    """The short form of `benchmarks/peer.py`, without the peer: every figure is there and no answer was an error."""
    script = (
        "import sys, json, pathlib, tempfile; sys.path.insert(0, 'benchmarks'); import peer\n"
        "with tempfile.TemporaryDirectory() as d:\n"
        "    d = pathlib.Path(d)\n"
        "    web = peer.our_web(d, 0.5, 1)\n"
        "    cycle = peer.cycle(peer.OUR_CYCLE, sys.executable, d / 'cycle', 2000, 1000)\n"
        "print(json.dumps({'web': web, 'cycle': cycle}))\n"
    )
    done = run("-c", script, seconds=200)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert all(found["web"][key][0]["errors"] == 0 for key in ("post", "observe", "health", "batch"))
    assert found["cycle"]["ms"] > 0
