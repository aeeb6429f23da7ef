"""The demo over many seeds: how often each mode ends with the verdict it should.

    python benchmarks/demo.py --seeds 20

`helpful` must end verified in ≥ 95 % of the seeds, `null` in ≤ 15 %, `harmful` must be rolled back in ≥ 95 %.
"""

from __future__ import annotations

import argparse
import collections
import json
import subprocess
import sys
import time

MODES = {"helpful": [], "null": ["--null"], "harmful": ["--harmful"]}


def run(flags: list[str], seed: int) -> tuple[str, int, float]:
    """One demo: its verdict, its exit status, its seconds."""
    began = time.monotonic()
    command = [sys.executable, "-m", "rsi", "demo", "--json", "--seed", str(seed), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    try:
        verdict = json.loads(done.stdout.strip().splitlines()[-1])["verdict"]
    except (ValueError, IndexError, KeyError):
        verdict = "crashed"
    if done.returncode:  # what was not expected is shown
        print(done.stdout[-1500:], done.stderr[-1500:], sep="\n", flush=True)
    return verdict, done.returncode, time.monotonic() - began


def main() -> int:
    """Run them and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=list(MODES))
    args = parser.parse_args()
    good = True
    for mode in args.modes:
        verdicts: collections.Counter[str] = collections.Counter()
        seconds = []
        for seed in range(args.first, args.first + args.seeds):
            verdict, _, took = run(MODES[mode], seed)
            verdicts[verdict] += 1
            seconds.append(took)
            print(f"{mode} seed {seed}: {verdict} in {took:.0f} s", flush=True)
        print(
            f"{mode}: {dict(verdicts)}, median {sorted(seconds)[len(seconds) // 2]:.0f} s, worst {max(seconds):.0f} s"
        )
        if mode == "helpful":
            good &= verdicts["verified"] >= 0.95 * args.seeds
        elif mode == "harmful":
            good &= verdicts["worse"] >= 0.95 * args.seeds
        else:
            good &= verdicts["verified"] <= 0.15 * args.seeds and not verdicts["crashed"]
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
