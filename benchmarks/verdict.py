"""False verdicts of a useless fix, and how long a real one takes: our trials beside the rules one would think of first.

    python benchmarks/verdict.py            # short: under 30 s, a smoke of every scenario
    python benchmarks/verdict.py --long     # 1,000 runs a scenario
    python benchmarks/verdict.py --plan     # units_needed against simulated trials

Everything is looked at after every outcome. A scenario fails (exit 1) where the lower end of the 95 % Wilson interval
of a false rate is above its limit (in the short form, of an interval that is wide enough for all rates together, and
the medians are shown but not judged). Anchors: a two-sample z-test at 5 % that is peeked at, a one-sided beta-binomial
Bayes factor above 20, and ten clean fixed outcomes in a row.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import erf, lgamma, log, sqrt
from typing import Any, Literal, Protocol

from rsi.clock import monotonic
from rsi.stats import TERMINAL, BeforeAfterTrial, ConcurrentTrial, units_needed, wilson

VERIFIED_LIMIT, WORSE_LIMIT, EARLY_LIMIT = 0.04, 0.05, 0.04
EARLY = 50
SMOKE_Z = 3.1  # some 50 false rates are looked at; with few runs each, one in twenty is above by chance
Arm = Literal["fixed", "control"]
Phase = Literal["before", "after"]
Row = tuple[str, bool, float]  # unit, failed, fraction in force when the unit started

World = Callable[[random.Random, int], Iterator[Row]]


class Trial(Protocol):
    """What every candidate offers."""

    def add(self, arm: Arm, unit: object, failed: bool, fraction: float | None = None) -> str: ...


# ---------------------------------------------------------------- anchors


class _Counts:
    def __init__(self, fraction: float = 0.5) -> None:
        self.k, self.n = [0, 0], [0, 0]

    def add(self, arm: Arm, unit: object, failed: bool, fraction: float | None = None) -> str:
        a = int(arm == "fixed")
        self.k[a] += failed
        self.n[a] += 1
        return self.word(a, failed) if all(self.n) else "no_data"

    def word(self, a: int, failed: bool) -> str:
        raise NotImplementedError


class PeekedZ(_Counts):
    """A one-sided two-sample z-test at 5 % after every outcome, from five per arm on."""

    def word(self, a: int, failed: bool) -> str:
        (k0, k1), (n0, n1) = self.k, self.n
        p = (k0 + k1) / (n0 + n1)
        if min(n0, n1) < 5 or p in {0.0, 1.0}:
            return "undecided"
        z = (k0 / n0 - k1 / n1) / sqrt(p * (1 - p) * (1 / n0 + 1 / n1))
        return "verified" if z > 1.645 else "worse" if z < -1.645 else "undecided"


def _kt(k: float, n: float) -> float:
    return lgamma(k + 0.5) + lgamma(n - k + 0.5) - lgamma(n + 1) - 1.1447298858494002


class BayesFactor(_Counts):
    """One-sided beta-binomial Bayes factor above 20 on raw outcome counts."""

    def word(self, a: int, failed: bool) -> str:
        (k0, k1), (n0, n1) = self.k, self.n
        b = _kt(k0, n0) + _kt(k1, n1) - _kt(k0 + k1, n0 + n1)
        if b < 1:
            return "undecided"
        p, q = (k0 + 0.5) / (n0 + 1), (k1 + 0.5) / (n1 + 1)
        lower = 0.5 * (1 + erf((p - q) / sqrt(p * (1 - p) / (n0 + 2) + q * (1 - q) / (n1 + 2)) / sqrt(2)))
        if b + log(2 * lower + 1e-12) > log(20):
            return "verified"
        return "worse" if b + log(2 * (1 - lower) + 1e-12) > log(20) else "undecided"


class TenClean(_Counts):
    """Ten clean fixed outcomes in a row."""

    run = 0

    def word(self, a: int, failed: bool) -> str:
        self.run = self.run if not a else 0 if failed else self.run + 1
        return "verified" if self.run >= 10 else "undecided"


# ---------------------------------------------------------------- worlds: outcomes drawn before any label


def coin(p: float) -> World:
    """Independent failures at rate p, one outcome a unit."""

    def rows(rng: random.Random, n: int) -> Iterator[Row]:
        for i in range(n):
            yield f"u{i}", rng.random() < p, 0.5

    return rows


def bursts(p: float, length: float) -> World:
    """A shared hidden bad state of this mean length: 90 % fail in it, 2 % outside; p in the mean."""
    share = (p - 0.02) / 0.88

    def rows(rng: random.Random, n: int) -> Iterator[Row]:
        bad = rng.random() < share
        for i in range(n):
            yield f"u{i}", rng.random() < (0.9 if bad else 0.02), 0.5
            bad = rng.random() >= 1 / length if bad else rng.random() < share / (1 - share) / length

    return rows


def rates(rate: Callable[[float], float], fraction: Callable[[float], float] = lambda _: 0.5) -> World:
    """A rate, and a fraction, that move with the share of the run that is over."""

    def rows(rng: random.Random, n: int) -> Iterator[Row]:
        for i in range(n):
            yield f"u{i}", rng.random() < rate(i / n), fraction(i / n)

    return rows


def sessions(p: float, mean: float, spread: float, heavy: bool = False) -> World:
    """Units of several outcomes, eight open at a time, each with its own rate around p; `heavy`: Pareto lengths."""

    def new(rng: random.Random, i: int) -> list[Any]:
        length = rng.paretovariate(1.2) if heavy else rng.expovariate(1 / mean)
        own = rng.betavariate(p / spread, (1 - p) / spread)
        return [f"s{i}", max(1, min(200, round(length))), own]

    def rows(rng: random.Random, n: int) -> Iterator[Row]:
        count, open_ = 8, [new(rng, i) for i in range(8)]
        for _ in range(n):
            slot = rng.randrange(8)
            unit = open_[slot]
            yield unit[0], rng.random() < unit[2], 0.5
            unit[1] -= 1
            if unit[1] <= 0:
                open_[slot] = new(rng, count)
                count += 1

    return rows


def tenth(rows_of: World) -> World:
    """The same world at a 10 % canary."""
    return lambda rng, n: ((unit, failed, 0.1) for unit, failed, _ in rows_of(rng, n))


WORLDS = {
    "independent .02": coin(0.02),
    "independent .2": coin(0.2),
    "independent .6": coin(0.6),
    "shared bursts 1.2": bursts(0.2, 1.2),
    "shared bursts 3": bursts(0.2, 3),
    "shared bursts 12": bursts(0.2, 12),
    "outage ends": rates(lambda t: 0.6 if t < 0.15 else 0.05),
    "outage begins": rates(lambda t: 0.05 if t < 0.15 else 0.5),
    "drift .5 to .02": rates(lambda t: 0.5 - 0.48 * t),
    "day and night": rates(lambda t: 0.4 if int(t * 10) % 2 else 0.05),
    "sessions of 4": sessions(0.3, 4, 0.5),
    "sessions of 20": sessions(0.3, 20, 1.0),
    "sessions, heavy tail": sessions(0.3, 1, 0.8, heavy=True),
    "10 % canary": tenth(coin(0.2)),
    "10 % canary, bursts 12": tenth(bursts(0.2, 12)),
    "ramp .1 to .5 to .9": rates(lambda t: 0.6 * (1 - t), lambda t: 0.1 if t < 0.2 else 0.5 if t < 0.5 else 0.9),
}
RULES: dict[str, Callable[[], Trial]] = {
    "label bet": ConcurrentTrial,
    "z, peeked": PeekedZ,
    "Bayes factor": BayesFactor,
    "ten clean": TenClean,
}


def false_verdict(make: Callable[[], Trial], rows_of: World, seed: str, horizon: int) -> tuple[str, int]:
    """One trial of a useless fix: outcomes first, labels by their own generator."""
    world, labels, trial = random.Random(seed), random.Random(seed + " labels"), make()
    arms: dict[str, tuple[Arm, float]] = {}
    word, n = "no_data", 0
    for unit, failed, f in rows_of(world, horizon):
        n += 1
        if unit not in arms:
            arms[unit] = ("fixed" if labels.random() < f else "control", f)
        arm, started = arms[unit]
        word = trial.add(arm, unit, failed, started)
        if word in TERMINAL:
            break
    return word, n


def exceeds(k: int, n: int, limit: float) -> bool:
    """Whether k of n is above the limit beyond chance: 95 % each in the long form, 95 % over all in the short one."""
    return wilson(k, n, 1.96 if n >= 1000 else SMOKE_Z)[0] > limit


def print_false(runs: int, horizon: int) -> bool:
    """The table of useless fixes; True if all of ours hold and the grid is hard enough for the anchors to fail."""
    print(f"\nA useless fix, {runs} runs of {horizon} outcomes each: false verified / false worse, %  (limits 4 / 5)")
    print(f"{'':26}" + "".join(f"{name:>18}" for name in RULES) + f"{'worse by ' + str(EARLY):>14}")
    held, worst = True, Counter[str]()
    for name, rows_of in WORLDS.items():
        line, early = f"{name:26}", 0
        for rule, make in RULES.items():
            said = [false_verdict(make, rows_of, f"{name} {seed}", horizon) for seed in range(runs)]
            count = Counter(word for word, _ in said)
            good, bad = count["verified"], count["worse"]
            worst[rule] = max(worst[rule], good)
            line += f"{100 * good / runs:>11.1f} /{100 * bad / runs:5.1f}"
            if rule == "label bet":
                early = sum(word == "worse" and n <= EARLY for word, n in said)
                broke = exceeds(good, runs, VERIFIED_LIMIT) or exceeds(bad, runs, WORSE_LIMIT)
                broke = broke or exceeds(early, runs, EARLY_LIMIT)
                held &= not broke
        print(line + f"{100 * early / runs:>13.1f}" + ("  ABOVE THE LIMIT" if broke else ""))
    hard = worst["z, peeked"] >= 0.15 * runs and worst["Bayes factor"] >= 0.30 * runs
    print("worst false verified:      " + "".join(f"{100 * worst[rule] / runs:>11.1f}       " for rule in RULES))
    print(f"grid hard enough (z ≥ 15 %, Bayes factor ≥ 30 % somewhere): {'yes' if hard else 'NO'}")
    return held and hard


# ---------------------------------------------------------------- power


@dataclass(frozen=True)
class Effect:
    """A real effect, the word it deserves, and the most outcomes per arm its median may take."""

    p0: float
    p1: float
    word: str
    limit: float | None = None
    fraction: float = 0.5
    burst: float | None = None


EFFECTS = (
    Effect(0.3, 0.03, "verified", 24),
    Effect(0.2, 0.02, "verified", 37),
    Effect(0.2, 0.02, "verified", 60, burst=12),
    Effect(0.2, 0.05, "verified", 60),
    Effect(0.5, 0.25, "verified"),
    Effect(0.1, 0.5, "worse", 16),
    Effect(0.1, 0.3, "worse", 46),
    Effect(0.3, 0.03, "verified", fraction=0.1),
)


def _trial(fraction: float) -> Trial:
    return ConcurrentTrial(fraction=fraction)


def run_effect(make: Callable[[float], Trial], effect: Effect, seed: int, horizon: int) -> int:
    """Outcomes of both arms together until the right word; the horizon if it never came."""
    rng, trial, bad = random.Random(seed), make(effect.fraction), False
    share = (effect.p0 - 0.02) / 0.88
    for n in range(1, horizon + 1):
        fixed = rng.random() < effect.fraction
        if effect.burst:
            bad = rng.random() >= 1 / effect.burst if bad else rng.random() < share / (1 - share) / effect.burst
            rate = (0.9 if bad else 0.02) * (effect.p1 / effect.p0 if fixed else 1)
        else:
            rate = effect.p1 if fixed else effect.p0
        word = trial.add("fixed" if fixed else "control", n, rng.random() < rate)
        if word in TERMINAL:
            return n if word == effect.word else horizon
    return horizon


def quantile(values: list[int], q: float) -> float:
    """The value below which this share lies."""
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def print_power(runs: int, horizon: int) -> bool:
    """Medians of real effects."""
    print(f"\nA real effect, {runs} runs: median (p90) outcomes per arm at one half, of both arms otherwise")
    held = True
    for effect in EFFECTS:
        name = f"{effect.p0:g} to {effect.p1:g}" + (f", bursts {effect.burst:g}" if effect.burst else "")
        name += f", fraction {effect.fraction:g}" if effect.fraction != 0.5 else ""
        per = 2 if effect.fraction == 0.5 else 1
        line = f"{name:26}"
        for rule, make in (("label bet", _trial), ("Bayes factor", BayesFactor)):
            took = [run_effect(make, effect, seed, horizon) for seed in range(runs)]
            median = quantile(took, 0.5) / per
            line += f"  {rule} {median:6.1f} ({quantile(took, 0.9) / per:6.1f})"
            if rule == "label bet" and effect.limit is not None:
                line += f"  limit {effect.limit:3g}"
                held &= median <= effect.limit or runs < 1000
        print(line)
    return held


# ---------------------------------------------------------------- a change that cannot be split

Pair = tuple[float, float]


def run_unsplit(seed: int, before: Pair, after: Pair, traffic: float, burst: float | None) -> tuple[str, int]:
    """200 outcomes of each source before, up to 400 after; rates are (treated, untouched), bursts shared."""
    rng, trial, bad = random.Random(seed), BeforeAfterTrial(), False
    for n in range(600):
        phase: Phase = "before" if n < 200 else "after"
        pair = before if n < 200 else after
        scale = 1.0
        if burst:
            bad = rng.random() >= 1 / burst if bad else rng.random() < 0.257 / burst
            scale = 4.5 if bad else 0.1
        if phase == "before" or rng.random() < traffic:
            trial.add("untouched", phase, f"u{n}", rng.random() < pair[1] * scale)
        word = trial.add("treated", phase, f"t{n}", rng.random() < pair[0] * scale)
        if word in TERMINAL:
            return word, n - 199
    return trial.verdict, 400


def print_unsplit(runs: int) -> bool:
    """Useless and real changes against untouched sources."""
    print(f"\nA change that cannot be split, {runs} runs: verified / worse, %, and median treated outcomes after it")
    held = True
    for name, before, after, traffic, burst, useless in (
        ("useless, .2", (0.2, 0.2), (0.2, 0.2), 1.0, None, True),
        ("useless, outage ends", (0.4, 0.4), (0.1, 0.1), 1.0, None, True),
        ("useless, outage begins", (0.1, 0.1), (0.4, 0.4), 1.0, None, True),
        ("useless, shared bursts 12", (0.2, 0.2), (0.2, 0.2), 1.0, 12.0, True),
        ("useless, traffic to 30 %", (0.2, 0.2), (0.2, 0.2), 0.3, None, True),
        (".3 to .03", (0.3, 0.3), (0.03, 0.3), 1.0, None, False),
        (".2 to .02", (0.2, 0.2), (0.02, 0.2), 1.0, None, False),
        (".2 to .02, bursts 12", (0.2, 0.2), (0.02, 0.2), 1.0, 12.0, False),
        (".1 to .5", (0.1, 0.1), (0.5, 0.1), 1.0, None, False),
    ):
        said = [run_unsplit(seed, before, after, traffic, burst) for seed in range(runs)]
        count = Counter(word for word, _ in said)
        line = f"{name:26}{100 * count['verified'] / runs:8.1f} /{100 * count['worse'] / runs:5.1f}"
        if useless:
            over = exceeds(count["verified"], runs, VERIFIED_LIMIT) or exceeds(count["worse"], runs, WORSE_LIMIT)
            held &= not over
            print(line + ("  ABOVE THE LIMIT" if over else ""))
        else:
            print(line + f"{quantile([n for _, n in said], 0.5):9.0f}")
    return held


def print_plan(runs: int) -> bool:
    """The planner against simulated trials."""
    print(f"\nunits_needed against {runs} trials each (units of both arms)")
    held = True
    for p0, p1, f in (
        (0.3, 0.03, 0.5), (0.3, 0.03, 0.1), (0.3, 0.03, 0.9), (0.2, 0.02, 0.5), (0.2, 0.05, 0.5), (0.083, 0.01, 0.5),
        (0.083, 0.01, 0.1), (0.5, 0.25, 0.5), (0.5, 0.05, 0.5), (0.1, 0.05, 0.5), (0.1, 0.5, 0.5), (0.1, 0.3, 0.5),
        (0.1, 0.3, 0.1),
    ):  # fmt: skip
        effect = Effect(p0, p1, "verified" if p1 < p0 else "worse", fraction=f)
        took = [run_effect(_trial, effect, seed, 6000) for seed in range(runs)]
        planned, p90 = units_needed(p0, p1, f), quantile(took, 0.9)
        held &= 0.7 < planned / p90 < 1.4
        print(
            f"{p0:5g} to {p1:5g} at {f:g}: planned {planned:5d}, median {quantile(took, 0.5):5.0f}, "
            f"p90 {p90:5.0f}, p95 {quantile(took, 0.95):5.0f}, planned / p90 {planned / p90:.2f}"
        )
    return held


def main() -> int:
    """Print the tables; 0 if every limit holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the default")
    parser.add_argument("--long", action="store_true", help="1,000 runs a scenario of 400 outcomes")
    parser.add_argument("--plan", action="store_true", help="only the planner's table")
    options = parser.parse_args()
    started = monotonic()
    if options.plan:
        held = print_plan(400)
    else:
        runs, horizon = (1000, 400) if options.long else (40, 250)
        tables = (print_false(runs, horizon), print_power(max(runs, 120), 1200), print_unsplit(runs))
        held = all(tables)
    print(f"\n{'every limit holds' if held else 'A LIMIT DOES NOT HOLD'}; {monotonic() - started:.0f} s")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
