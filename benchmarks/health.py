"""Can health be trusted: false alarms, time to an alarm, and what its interval covers, by simulation.

    python benchmarks/health.py               # 2,000 runs, some 8 minutes
    python benchmarks/health.py --runs 200    # a look
    python benchmarks/health.py --json

Every figure comes from `rsi.analyze.health.advance` itself, asked after every outcome; beside it, on the same outcomes,
the rules one would think of first. Seeds are fixed. A goal that is missed is marked, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rsi.analyze.health import LEVEL, FinalTask, advance, counts
from rsi.analyze.memory import PRIOR
from rsi.config import Config
from rsi.stats import beta_interval, wilson
from rsi.store.health import HealthRow, Scope

DAY = 86_400.0
CONFIG = Config()  # its SLO of .90 is the default one
HEALTHY = 0.05
HEALTHY_DAYS, PER_DAY = 60, 8
GIVE_UP = 2_000
FALSE_ALARMS, HALF_FOUND, ALL_FOUND, COVERED = 0.05, 12, 5, (0.93, 0.97)
RATES = (0.02, 0.05, 0.1, 0.2, 0.5, 0.9)
TRAFFIC = (8, 100, 5_000)
#: Outcomes that one cell of other traffic may cost in all: fewer runs where there is more traffic.
BUDGET = 400_000

Stream = Iterator[bool]


# ---------------------------------------------------------------- worlds


def independent(rate: float, draw: random.Random) -> Stream:
    """Each outcome fails by itself."""
    while True:
        yield draw.random() < rate


def bursts(length: float) -> Callable[[float, random.Random], Stream]:
    """Failures come in runs of mean `length`; the share of failures is the same."""

    def stream(rate: float, draw: random.Random) -> Stream:
        begins = rate / ((1.0 - rate) * length)
        failing = draw.random() < rate
        while True:
            yield failing
            failing = draw.random() < (1.0 - 1.0 / length if failing else begins)

    return stream


def sessions(size: int) -> Callable[[float, random.Random], Stream]:
    """Sessions of `size` outcomes one after another; half of the outcomes of one share its fate."""

    def stream(rate: float, draw: random.Random) -> Stream:
        while True:
            fate = draw.random() < rate
            for _ in range(size):
                yield fate if draw.random() < 0.5 else draw.random() < rate

    return stream


# ---------------------------------------------------------------- rules


class Ours:
    """One source in the real code, judged after every outcome."""

    def __init__(self, per_day: float = PER_DAY, config: Config = CONFIG) -> None:
        self.rows: dict[Scope, HealthRow] = {}
        self.config, self.gap, self.at = config, DAY / per_day, 0.0

    def __call__(self, failed: bool) -> bool:
        return self.take([failed])

    def take(self, failed: list[bool]) -> bool:
        """Several outcomes in one pass; whether it alarms now."""
        tasks = []
        for each in failed:
            self.at += self.gap
            tasks.append(FinalTask("app", "t", self.at, float(each), None))
        self.rows = {(row.source, row.task): row for row in advance(self.rows, tasks, self.config).rows}
        return self.rows["app", ""].state == "unhealthy"

    def interval(self) -> tuple[float, float, float]:
        """The interval of the success rate, and the effective outcomes."""
        found = counts(self.rows["app", ""], self.at)
        return (*beta_interval(found.failures, found.successes, LEVEL, PRIOR), found.n)

    def copy(self) -> Ours:
        made = Ours(DAY / self.gap, self.config)
        made.rows, made.at = dict(self.rows), self.at
        return made


class Last8:
    """A quarter or more of the last eight failed."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def __call__(self, failed: bool) -> bool:
        self.seen = [*self.seen, failed][-24:]
        return self.alarms()

    def alarms(self) -> bool:
        return sum(self.seen[-8:]) >= 2

    def copy(self) -> Last8:
        made = type(self)()
        made.seen = list(self.seen)
        return made


class TwoWindows(Last8):
    """Twice the budget of failures burnt in the last 8 and in the last 24."""

    def alarms(self) -> bool:
        return sum(self.seen[-8:]) / 8 > 0.2 and sum(self.seen) / 24 > 0.2


class Ewma:
    """A moving average of weight .2 above a quarter."""

    def __init__(self, level: float = HEALTHY) -> None:
        self.level = level

    def __call__(self, failed: bool) -> bool:
        self.level += 0.2 * (failed - self.level)
        return self.level > 0.25

    def copy(self) -> Ewma:
        return Ewma(self.level)


RULES: Mapping[str, Callable[[], Any]] = {
    "rsi": Ours, "last 8 >= 25 %": Last8, "EWMA .2 > 25 %": Ewma, "8 and 24 burn twice": TwoWindows,
}  # fmt: skip


# ---------------------------------------------------------------- figures


def alarms(runs: int) -> dict[str, dict[str, float]]:
    """False alarms in 30 days, and outcomes until an alarm once half or all fail, by rule, on the same outcomes."""
    false: dict[str, int] = dict.fromkeys(RULES, 0)
    took: dict[str, dict[float, list[int]]] = {name: {0.5: [], 1.0: []} for name in RULES}
    for seed in range(runs):
        rules = {name: make() for name, make in RULES.items()}
        was = dict.fromkeys(RULES, False)
        stream = independent(HEALTHY, random.Random(seed))
        for _ in range(HEALTHY_DAYS * PER_DAY):
            failed = next(stream)
            for name, rule in rules.items():
                now = rule(failed)
                false[name] += now and not was[name]
                was[name] = now
        for rate, found in ((0.5, 0), (1.0, 1)):
            for name, rule in rules.items():
                if not was[name]:
                    took[name][rate].append(
                        until(rule.copy(), independent(rate, random.Random(10**6 * (found + 1) + seed)))
                    )
    return {
        name: {
            "false_alarms_30d": false[name] / runs * 30 / HEALTHY_DAYS,
            "half_median": statistics.median(took[name][0.5]),
            "half_p90": percentile(took[name][0.5], 0.9),
            "all_median": statistics.median(took[name][1.0]),
            "all_max": max(took[name][1.0]),
        }
        for name in RULES
    }


def until(rule: Any, stream: Stream) -> int:
    """Outcomes until an alarm."""
    return next((n for n in range(1, GIVE_UP) if rule(next(stream))), GIVE_UP)


def percentile(values: list[int], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def by_traffic(
    runs: int,
    world: Callable[[float, random.Random], Stream] = independent,
    traffic: tuple[int, ...] = (8, 20, 50, 100, 1_000, 5_000),
) -> list[dict[str, float]]:
    """False alarms in 30 days at more traffic, and how soon worse days are found, in outcomes and in hours."""
    found = []
    for per_day in traffic:
        many = max(3, min(runs, BUDGET // (per_day * 30)))
        took: dict[float, list[int]] = {rate: [] for rate in (0.2, 0.5, 1.0)}
        false = 0
        for seed in range(many):
            ours, was = Ours(per_day), False
            stream = world(HEALTHY, random.Random(seed))
            for n in range(per_day * 33):
                now = ours(next(stream))
                false += now and not was and n >= per_day * 3
                was = now
            for place, rate in enumerate(took):
                for again in range(max(1, 60 // many)):
                    if not was:
                        took[rate].append(
                            until(ours.copy(), independent(rate, random.Random(f"{seed} {place} {again}")))
                        )
        row: dict[str, float] = {"per_day": per_day, "runs": many, "false_alarms_30d": false / many}
        for rate, values in took.items():
            row[f"found_{rate}"] = statistics.median(values)
            row[f"found_{rate}_hours"] = statistics.median(values) * 24 / per_day
        found.append(row)
    return found


def coverage(
    runs: int, traffic: int, rate: float, world: Callable[[float, random.Random], Stream] = independent
) -> tuple[float, float]:
    """The share of intervals that hold the true rate, and the mean of their effective outcomes.

    `runs` intervals: at 8 a day each of a life of its own, at more traffic eight of each life, half a day apart.
    """
    warm, every, each = (traffic, traffic // 2, 8) if traffic > PER_DAY else (120, 0, 1)
    step = max(8, traffic // 24)
    covered, ns = 0, []
    for seed in range(max(1, runs // each)):
        ours, stream = Ours(traffic), world(rate, random.Random(seed))
        for shot in range(each):
            for _ in range((every if shot else warm) // step):
                ours.take([next(stream) for _ in range(step)])
            lo, hi, n = ours.interval()
            covered += lo <= 1.0 - rate <= hi
            ns.append(n)
    return covered / len(ns), statistics.fmean(ns)


def coverages(runs: int) -> dict[str, dict[str, dict[str, float]]]:
    """By world and cell: share covered, and n."""
    worlds = {
        "independent": independent,
        "bursts of 3": bursts(3),
        "bursts of 12": bursts(12),
        "sessions of 8": sessions(8),
    }
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, world in worlds.items():
        cells = [(t, r) for t in TRAFFIC for r in RATES if world is independent or (r in {0.05, 0.2} and t <= 100)]
        for traffic, rate in cells:
            covered, n = coverage(runs, traffic, rate, world)
            found.setdefault(name, {})[f"{traffic} a day, {rate:g} failing"] = {"covered": covered, "n": n}
    return found


def misses(alarm: Mapping[str, float], covered: Mapping[str, Mapping[str, float]], runs: int) -> list[str]:
    """The goals that were not met; a coverage misses when its own 95 % interval lies outside."""
    found = []
    for name, limit in (("false_alarms_30d", FALSE_ALARMS), ("half_median", HALF_FOUND), ("all_max", ALL_FOUND)):
        if alarm[name] > limit:
            found.append(f"{name} {alarm[name]:g} > {limit:g}")
    for cell, figures in covered.items():
        lo, hi = wilson(figures["covered"] * runs, runs)
        if hi < COVERED[0] or lo > COVERED[1]:
            found.append(f"coverage {figures['covered']:.3f} at {cell}")
    return found


# ---------------------------------------------------------------- printing


def show(found: Mapping[str, Any]) -> None:
    """The tables."""
    print(f"{found['runs']} runs, 8 outcomes a day, 5 % failing, SLO .90; then 50 %, or all")
    print(f"  {'rule':24s} {'false alarms / 30 d':>20s} {'50 %: median, p90':>18s} {'all: median, most':>18s}")
    for name, row in found["alarms"].items():
        half, whole = f"{row['half_median']:g}, {row['half_p90']:g}", f"{row['all_median']:g}, {row['all_max']:g}"
        print(f"  {name:24s} {row['false_alarms_30d']:20.3f} {half:>18s} {whole:>18s}")
    for title in ("by_traffic", "by_traffic_bursts"):
        print(f"\n{title}: 5 % failing; then 20 %, 50 %, or all: median outcomes (hours)")
        for row in found[title]:
            took = "".join(f"{row[f'found_{r}']:9g} ({row[f'found_{r}_hours']:5.1f})" for r in (0.2, 0.5, 1.0))
            print(
                f"  {row['per_day']:5d} a day, {row['runs']:4d} runs: {row['false_alarms_30d']:.3f} false alarms / 30 d{took}"
            )
    print("\n95 % intervals that hold the true rate (effective outcomes)")
    for world, cells in found["coverage"].items():
        for cell, figures in cells.items():
            print(f"  {world:14s} {cell:24s} {figures['covered']:.3f} ({figures['n']:.0f})")
    print("\nmissed:", "; ".join(found["missed"]) or "nothing")


def main() -> int:
    """Exit 1 where a goal is missed."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--runs", type=int, default=2_000)
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args()
    found: dict[str, Any] = {"runs": given.runs, "alarms": alarms(given.runs)}
    found["by_traffic"] = by_traffic(given.runs)
    found["by_traffic_bursts"] = by_traffic(given.runs // 4, bursts(3), (8, 100, 1_000))
    found["coverage"] = coverages(given.runs)
    found["missed"] = misses(found["alarms"]["rsi"], found["coverage"]["independent"], given.runs)
    if given.json:
        json.dump(found, sys.stdout)
    else:
        show(found)
    return bool(found["missed"])


if __name__ == "__main__":
    sys.exit(main())
