"""Side by side with `rsi-loop` 0.1.0, in one run on one machine: what does the same work cost here and there?

    python benchmarks/peer.py            # about ten minutes; --short: two
    python benchmarks/peer.py --million  # also the cycle over one million stored outcomes

The peer runs in an environment of its own (made on first use) exactly as its documentation shows: `WebhookAdapter` on
Flask's server, `RSILoop.run_cycle`. Ours runs as `rsi up` with every acknowledged outcome fsynced.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache" / "peer-rsi-loop-0.1.0"
CONNECTIONS = 16

PEER_WEBHOOK = """
import logging, sys
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from rsi_loop.integrations.webhook import WebhookAdapter
app = WebhookAdapter(data_dir=sys.argv[1]).create_app()
app.run(host="127.0.0.1", port=int(sys.argv[2]))
"""

PEER_CYCLE = """
import json, sys, time
from rsi_loop import Config, RSILoop
folder, stored, new = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
loop = RSILoop(Config(data_dir=folder))
def add(n, base):
    for i in range(base, base + n):
        bad = i % 10 == 0
        loop.observer.record_simple(f"task-{i % 10}", success=not bad, error=f"429 rate limit {i}" if bad else None, source=f"agent-{i % 20}")
add(stored, 0)
loop.run_cycle()
add(new, stored)
began = time.perf_counter()
loop.run_cycle()
print(json.dumps({"ms": (time.perf_counter() - began) * 1e3}))
"""

OUR_CYCLE = """
import json, random, sys, time
sys.path.insert(0, sys.argv[4])
import load
from rsi.embedded import RSILoop
from rsi.model import Batch
folder, stored, new = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
pick = random.Random(3)
now = time.time()
def items(base, n):
    made = [load.outcome(i, pick) for i in range(base, base + n)]
    for item in made:
        del item["ts"]
    return made
with RSILoop(folder) as loop:
    for base in range(0, stored, 1000):
        loop.ingest(Batch(door="bench", items=items(base, 1000)))
        if base % 50_000 == 0:
            loop.run_cycle()
    while loop.run_cycle().outcomes:
        pass
    times = []
    for lap in range(7):
        for base in range(0, new, 500):
            loop.ingest(Batch(door="bench", items=items(stored + lap * new + base, 500)))
        began = time.perf_counter()
        report = loop.run_cycle()
        times.append((time.perf_counter() - began) * 1e3)
        assert report.outcomes == new, report
import os, statistics
size = sum(os.path.getsize(os.path.join(folder, ".rsi", name)) for name in os.listdir(os.path.join(folder, ".rsi")) if name.startswith("rsi.db"))
print(json.dumps({"ms": statistics.median(times), "all_ms": [round(t, 1) for t in times], "bytes_per_outcome": size / (stored + 7 * new)}))
"""


def peer_python() -> str:
    """The peer's interpreter, in an environment of its own."""
    python = CACHE / "bin" / "python"
    if not (CACHE / "ready").exists():
        shutil.rmtree(CACHE, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(CACHE)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "rsi-loop==0.1.0", "flask>=3"], check=True)
        (CACHE / "ready").touch()
    return str(python)


def load(port: int, seconds: float, kind: str, batch: int = 1, connections: int = CONNECTIONS) -> dict:
    """Run the load generator as a process of its own."""
    command = [sys.executable, str(HERE / "load.py"), str(port), str(connections), str(seconds), kind, str(batch)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def up(home: Path) -> tuple[subprocess.Popen, int, float]:
    """`rsi up`: (process, port, seconds to the first answer)."""
    (home / "inbox").mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with (home.parent / "daemon.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "rsi", "--home", str(home), "up", "--port", "0"], stdout=log, stderr=log
        )
    while True:
        try:
            about = json.loads((home / ".rsi" / "daemon.json").read_text())
            if about["pid"] == child.pid:
                urllib.request.urlopen(about["url"] + "/healthz", timeout=5).read()
                return child, int(about["url"].rsplit(":", 1)[1]), time.perf_counter() - began
        except (OSError, ValueError):
            time.sleep(0.005)


def rss_mb(pid: int) -> float:
    """Resident memory in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def stop(child: subprocess.Popen) -> None:
    """SIGTERM and wait."""
    child.send_signal(signal.SIGTERM)
    child.wait(30)


def peer_web(folder: Path, seconds: float, rounds: int) -> dict:
    """The peer's webhook: POST /observe and GET /health."""
    port = 18_475
    script = folder / "peer_webhook.py"
    script.write_text(PEER_WEBHOOK)
    with (folder / "peer.log").open("ab") as log:
        child = subprocess.Popen([peer_python(), str(script), str(folder / "data"), str(port)], stdout=log, stderr=log)
    try:
        for _ in range(400):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
                break
            except OSError:
                time.sleep(0.05)
        posts = [load(port, seconds, "observe") for _ in range(rounds)]
        gets = [load(port, seconds, "/health") for _ in range(rounds)]
    finally:
        child.terminate()
        child.wait(10)
    return {"post": posts, "health": gets}


def our_web(folder: Path, seconds: float, rounds: int) -> dict:
    """Ours: POST one at a time, batches, GET /health, idle memory, cold start."""
    colds = []
    for number in range(5):
        child, _, cold = up(folder / f"cold{number}")
        colds.append(cold)
        stop(child)
    child, port, _ = up(folder / "home")
    try:
        time.sleep(3)
        idle = rss_mb(child.pid)
        posts = [load(port, seconds, "post") for _ in range(rounds)]
        observes = [load(port, seconds, "observe") for _ in range(rounds)]
        gets = [load(port, seconds, "/health") for _ in range(rounds)]
        batches = [load(port, seconds, "post", 500, 4) for _ in range(rounds)]
        time.sleep(8)
        after = rss_mb(child.pid)
    finally:
        stop(child)
    return {
        "cold": colds,
        "idle": idle,
        "after": after,
        "post": posts,
        "observe": observes,
        "health": gets,
        "batch": batches,
    }


def cycle(script: str, python: str, folder: Path, stored: int, new: int) -> dict:
    """One cycle over `stored` + `new` outcomes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rsi.yaml").write_text("worker: {enabled: false}\n")
    command = [python, "-c", script, str(folder), str(stored), str(new), str(HERE)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def rate(runs: list[dict], key: str = "rps") -> float:
    """The median over rounds."""
    return statistics.median(run[key] for run in runs)


def main() -> int:
    """Measure both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--million", action="store_true")
    args = parser.parse_args()
    seconds, rounds = (2.0, 1) if args.short else (6.0, 3)
    os.environ["RSI_DISABLE"] = "1"
    with tempfile.TemporaryDirectory(prefix="rsi-peer-") as name:
        folder = Path(name)
        peer = peer_web(folder, seconds, rounds)
        ours = our_web(folder, seconds, rounds)
        theirs = cycle(PEER_CYCLE, peer_python(), folder / "peer-cycle", 10_000 if args.short else 100_000, 1000)
        hundred = cycle(OUR_CYCLE, sys.executable, folder / "cycle", 10_000 if args.short else 100_000, 1000)
        million = cycle(OUR_CYCLE, sys.executable, folder / "million", 1_000_000, 1000) if args.million else None
    show(peer, ours, theirs, hundred, million)
    return 0


def show(peer: dict, ours: dict, theirs: dict, hundred: dict, million: dict | None) -> None:
    """The table: what, ours, theirs, ratio, goal."""
    errors = sum(run["errors"] for key in ("post", "observe", "health", "batch") for run in ours[key])
    rows = [
        (
            "POST /v1/outcomes one at a time, 16 connections (rps, fsynced)",
            rate(ours["post"]),
            rate(peer["post"]),
            "≥ 10×",
        ),
        ("POST /observe, 16 connections (rps)", rate(ours["observe"]), rate(peer["post"]), ""),
        ("  p99 (ms)", rate(ours["post"], "p99_ms"), rate(peer["post"], "p99_ms"), ""),
        ("batch ingest over HTTP (outcomes/s)", rate(ours["batch"], "outcomes_per_s"), None, "≥ 25,000"),
        ("GET /health (rps)", rate(ours["health"]), rate(peer["health"]), "≥ 2,000"),
        ("cycle over 100k stored + 1k new (ms)", hundred["ms"], theirs["ms"], "≤ 50"),
        ("idle RSS (MB)", ours["idle"], None, "≤ 80"),
        ("RSS 8 s after the load (MB)", ours["after"], None, ""),
        ("cold start to first answer (s)", statistics.median(ours["cold"]), None, "≤ 1.5"),
        ("bytes per outcome", hundred["bytes_per_outcome"], None, "≤ 600"),
    ]
    if million:
        rows.insert(6, ("cycle over 1M stored + 1k new (ms)", million["ms"], None, "≤ 1.5× of 100k"))
    for what, mine, other, goal in rows:
        ratio = f"{mine / other:8.2f}×" if other else " " * 9
        shown = f"{other:12,.1f}" if other else " " * 12
        print(f"{what:66} {mine:12,.2f} {shown} {ratio}  {goal}")
    print(f"errors in our answers: {errors}; cycle times {hundred['all_ms']}")


if __name__ == "__main__":
    sys.exit(main())
