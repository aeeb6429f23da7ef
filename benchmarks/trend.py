"""How often a steady issue is called rising, and how soon a rise is found, when failures come in bursts.

    python benchmarks/trend.py            # 300 issue-months a cell, some 3 minutes
    python benchmarks/trend.py --runs 50 --json

The words come from `rsi.analyze.trends.judge`, asked at the end of every hour in which the issue strikes; beside it the
test that takes failures for independent (`rsi.stats.trend` alone, at the same level). Seeds are fixed. A goal that is
missed is marked, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rsi.analyze import trends
from rsi.stats import trend, wilson
from rsi.store.impact import WINDOW_H

DAY_H = 24
DAYS, WARM_DAYS, LIMIT_DAYS = 30, 7, 4
FALSE_RISES = 0.05
FOUND_H = 24
#: Failures a day, tasks a day, mean length of a burst.
STEADY = (
    (8, 160, 1),
    (50, 1_000, 1),
    (8, 160, 3),
    (50, 1_000, 3),
    (8, 160, 12),
    (50, 1_000, 12),
    (8, 1_000, 12),
    (2, 40, 12),
)
#: Bursts that last longer than `BURST_BLOCK` hours cannot be told from a rise: shown, not judged.
TOO_LONG = {(2, 40, 12)}
RISES = ((8, 2), (8, 3), (30, 2), (30, 3), (100, 2))

Judge = Callable[[Sequence[int], Sequence[float]], str]


def failures(
    per_day: float, tasks: int, burst: float, hours: int, draw: random.Random, rise: tuple[int, float]
) -> list[int]:
    """Failures by hour; from hour `rise[0]` on there are `rise[1]` times as many."""
    counts, share = [0] * hours, per_day / tasks
    begins = share / ((1.0 - share) * burst) if burst > 1 else share
    failing = False
    for place in range(hours * tasks // DAY_H):
        hour = min(hours - 1, place * DAY_H // tasks)
        more = rise[1] if hour >= rise[0] else 1.0
        goes_on = failing and burst > 1
        failing = draw.random() < (1.0 - 1.0 / burst if goes_on else begins * more)
        counts[hour] += failing
    return counts


def naive(counts: Sequence[int], tasks: Sequence[float]) -> str:
    """The test for independent failures."""
    cut = len(counts) - trends.RECENT_H
    return trend(sum(counts[cut:]), sum(tasks[cut:]), sum(counts[:cut]), sum(tasks[:cut]), trends.ALPHA)


def looks(counts: Sequence[int], tasks: int, begin: int, judge: Judge) -> list[bool]:
    """Rising or not, at the end of every hour from `begin` on in which it struck."""
    seen = [tasks / DAY_H] * WINDOW_H
    return [
        judge(counts[hour + 1 - WINDOW_H : hour + 1], seen) == "increasing"
        for hour in range(begin, len(counts))
        if counts[hour]
    ]


def false_rises(cell: tuple[int, int, int], runs: int, judge: Judge) -> float:
    """Times that a steady issue becomes rising, per issue and 30 days."""
    rises = 0
    for seed in range(runs):
        counts = failures(*cell, (WARM_DAYS + DAYS) * DAY_H, random.Random(seed), (10**9, 1.0))
        said = looks(counts, cell[1], WARM_DAYS * DAY_H, judge)
        rises += sum(now and not was for was, now in zip([False, *said], said, strict=False))
    return rises / runs


def hours_to_find(per_day: int, factor: float, runs: int, judge: Judge) -> tuple[float, float]:
    """Median hours until a rise of independent failures is found, and the share found within a day."""
    took, begin, tasks = [], WARM_DAYS * DAY_H, per_day * 20
    for seed in range(runs):
        counts = failures(per_day, tasks, 1, begin + LIMIT_DAYS * DAY_H, random.Random(seed), (begin, factor))
        seen = [tasks / DAY_H] * WINDOW_H
        took.append(next((
            hour + 1 - begin for hour in range(begin, len(counts))
            if counts[hour] and judge(counts[hour + 1 - WINDOW_H : hour + 1], seen) == "increasing"
        ), 10**6))  # fmt: skip
    return statistics.median(took), sum(hours <= FOUND_H for hours in took) / runs


def measure(runs: int) -> dict[str, Any]:
    """All figures, and which goals were missed."""
    rules: dict[str, Judge] = {"rsi": trends.judge, "independent": naive}
    found: dict[str, Any] = {"runs": runs, "false_rises": [], "rises": [], "missed": []}
    for cell in STEADY:
        row = {"per_day": cell[0], "tasks": cell[1], "burst": cell[2]} | {
            n: false_rises(cell, runs, j) for n, j in rules.items()
        }
        found["false_rises"].append(row)
        if cell not in TOO_LONG and wilson(min(runs, row["rsi"] * runs), runs)[0] > FALSE_RISES:
            found["missed"].append(f"{row['rsi']:.3f} false rises a month at {cell}")
    for per_day, factor in RISES:
        hours, within = hours_to_find(per_day, factor, runs, trends.judge)
        found["rises"].append({"per_day": per_day, "factor": factor, "hours": hours, "within_a_day": within})
        if factor == 3 and hours > FOUND_H:
            found["missed"].append(f"tripling at {per_day} a day found after {hours:g} h")
    return found


def show(found: dict[str, Any]) -> None:
    """The tables."""
    print(f"A steady issue called rising, times in 30 days ({found['runs']} issues a row)")
    print("  failures a day, of tasks, mean burst      rsi   independent failures assumed")
    for row in found["false_rises"]:
        print(f"  {row['per_day']:14d}{row['tasks']:10d}{row['burst']:12d}{row['rsi']:9.3f}{row['independent']:12.3f}")
    print("\nA rise found (independent failures): median hours, within a day")
    for row in found["rises"]:
        hours = f"{row['hours']:g} h" if row["hours"] < 10**6 else "later than 4 days"
        print(f"  {row['per_day']:3d} a day times {row['factor']}: {hours}, {row['within_a_day']:.0%}")
    print("\nmissed:", "; ".join(found["missed"]) or "nothing")


def main() -> int:
    """Exit 1 where a goal is missed."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--runs", type=int, default=300)
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args()
    found = measure(given.runs)
    if given.json:
        json.dump(found, sys.stdout)
    else:
        show(found)
    return bool(found["missed"])


if __name__ == "__main__":
    sys.exit(main())
