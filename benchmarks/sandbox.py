"""What a sandbox costs: checkpoint, restore, exec, cold start, diff; beside bubblewrap and a copy in the same run.

    python benchmarks/sandbox.py [--json] [--files 10000] [--megabytes 200] [--rounds 100] [--bwrap PATH]

The workspace is made here. Minimum, median and 95th percentile in ms, with the machine's load before and after: on a
busy machine the minimum is the cost and the median is the cost under that load. All of it is about files: a checkpoint
here keeps no memory and no process, so these figures are not comparable with a microVM's resume.
Exits 1 if a goal is missed: checkpoint and restore ≤ 1 ms (median), restore and first exec ≤ 25 ms, exec ≤ 15 ms
(minimum).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rsi.sandbox import Isolation, Sandbox

GOALS = {
    "checkpoint": ("median", 1.0),
    "restore": ("median", 1.0),
    "restore + first exec": ("min", 25.0),
    "exec /bin/true": ("min", 15.0),
}


def workspace(folder: Path, files: int, megabytes: int) -> Path:
    """`files` files in folders of 100, of incompressible bytes."""
    noise = random.Random(1).randbytes(megabytes * (1 << 20) // files)
    for n in range(files):
        path = folder / f"d{n // 100:03}" / f"f{n:05}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(n.to_bytes(4, "big") + noise)
    return folder


def timed(work: Callable[[], object], rounds: int) -> list[float]:
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        found.append((time.perf_counter() - begin) * 1e3)
    return found


def ours(folder: Path, rounds: int) -> dict[str, list[float]]:
    rows: dict[str, list[float]] = {"cold: create + first exec": []}
    for _ in range(max(3, rounds // 20)):
        begin = time.perf_counter()
        with Sandbox.create(folder, backend="overlay", require=Isolation()) as sandbox:
            sandbox.exec(["/bin/true"])
            rows["cold: create + first exec"].append((time.perf_counter() - begin) * 1e3)
    with Sandbox.create(folder, backend="overlay", require=Isolation()) as sandbox:
        sandbox.exec(["/bin/true"])
        rows["exec /bin/true"] = timed(lambda: sandbox.exec(["/bin/true"]), rounds)
        marks, times = [], []
        for n in range(rounds):  # five files are dirty at each of them
            sandbox.exec(f"for i in 1 2 3 4 5; do echo {n} > d00$i/new{n}; done")
            begin = time.perf_counter()
            marks.append(sandbox.checkpoint(f"c{n}"))
            times.append((time.perf_counter() - begin) * 1e3)
        rows["checkpoint"] = times
        rows["restore"] = timed(lambda: sandbox.restore(random.choice(marks)), rounds)
        rows["restore + first exec"] = timed(lambda: (sandbox.restore(marks[0]), sandbox.exec(["/bin/true"])), rounds)
        rows[f"exec with {len(marks)} checkpoints below"] = timed(
            lambda: (sandbox.restore(marks[-1]), sandbox.exec(["/bin/true"])), rounds
        )
        sandbox.restore(marks[0])
        rows["diff, 5 files"] = timed(sandbox.diff, rounds)
        durable = []
        for n in range(max(5, rounds // 5)):
            sandbox.exec(f"for i in 1 2 3 4 5; do echo {n} > d00$i/new; done")
            begin = time.perf_counter()
            sandbox.checkpoint(f"d{n}", durable=True)
            durable.append((time.perf_counter() - begin) * 1e3)
        rows["durable checkpoint, 5 files"] = durable
    return rows


def others(folder: Path, scratch: Path, rounds: int, bwrap: str | None) -> dict[str, list[float]]:
    rows = {"subprocess /bin/true, no sandbox": timed(lambda: subprocess.run(["/bin/true"], check=True), rounds)}
    if bwrap:
        line = [bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--proc", "/proc", "--dev"]
        line += ["/dev", "--tmpfs", "/tmp", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin"]
        line += ["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--bind", str(folder), str(folder)]
        rows["bubblewrap /bin/true, no checkpoint"] = timed(
            lambda: subprocess.run([*line, "/bin/true"], check=True), rounds
        )

    def copy() -> None:
        target = scratch / "copy"
        shutil.copytree(folder, target, symlinks=True)
        shutil.rmtree(target)

    rows["copy of the tree and its removal"] = timed(copy, 3)
    return rows


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--files", type=int, default=10_000)
    arguments.add_argument("--megabytes", type=int, default=200)
    arguments.add_argument("--rounds", type=int, default=100)
    arguments.add_argument("--bwrap", default=os.environ.get("RSI_BWRAP") or shutil.which("bwrap"))
    given = arguments.parse_args()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="rsi-bench-") as made:
        folder = Path(made, "workspace")
        folder.mkdir()
        workspace(folder, given.files, given.megabytes)
        rows = ours(folder, given.rounds) | others(folder, Path(made), given.rounds, given.bwrap)
    found = {
        name: {
            "min": min(times),
            "median": statistics.median(times),
            "p95": sorted(times)[int(len(times) * 0.95)],
            "n": len(times),
        }
        for name, times in rows.items()
    }
    missed = [name for name, (what, limit) in GOALS.items() if found[name][what] > limit]
    if given.json:
        print(json.dumps({"load": [before, os.getloadavg()[0]], "ms": found, "missed": missed}))
        return 1 if missed else 0
    print(f"{given.files} files, {given.megabytes} MB; load {before:.1f} before, {os.getloadavg()[0]:.1f} after; ms")
    print(f"{'':44}{'min':>9}{'median':>9}{'p95':>9}{'n':>6}   goal")
    for name, row in found.items():
        goal = f"{GOALS[name][0]} ≤ {GOALS[name][1]:g}{'  MISSED' if name in missed else ''}" if name in GOALS else ""
        print(f"{name:44}{row['min']:9.2f}{row['median']:9.2f}{row['p95']:9.2f}{row['n']:6}   {goal}")
    if not given.bwrap:
        print("bubblewrap is not here: give it with --bwrap PATH")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
