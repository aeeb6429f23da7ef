"""The campaigns in their short form; `make campaigns` runs the long ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(420)]


def run(*command: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=clean, capture_output=True, text=True, timeout=seconds, check=False
    )


def test_ten_kills_lose_and_double_nothing():
    done = run("benchmarks/kill.py", "--kills", "10")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, lost from files 0, doubled 0, integrity ok" in done.stdout


def demo(seed: int, *flags: str) -> tuple[str, int, str]:
    """Longer than by default: CI's machines do other things meanwhile."""
    done = run("-m", "rsi", "demo", "--json", "--seed", str(seed), "--seconds", "150", *flags, seconds=200)
    return json.loads(done.stdout.strip().splitlines()[-1])["verdict"], done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("flags", "verdict"), [((), "verified"), (("--harmful",), "worse")])
def test_the_demo_ends_with_the_verdict_it_should(flags, verdict):
    said, code, story = demo(1, *flags)
    assert (said, code) == (verdict, 0), story


def test_a_change_that_does_nothing_is_neither_verified_nor_worse():
    """By design one draw in a dozen may say so (4 % each way); two in a row are a fault."""
    good = {"undecided", "no_difference"}
    said, code, story = demo(1, "--null")
    assert (code == 0) == (said in good), story
    if said not in good:
        said, code, story = demo(2, "--null")
    assert said in good, story
    assert code == 0


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
