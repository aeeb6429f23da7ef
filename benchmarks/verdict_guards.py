"""The guards on side effects: how often they trip by chance, and how soon they see what a fix really costs.

    python benchmarks/verdict_guards.py           # short
    python benchmarks/verdict_guards.py --long    # 1,000 runs a row

Looked at after every unit. A false row's values know nothing of the arm, or the fixed arm's are just what is allowed
("at the edge"). Limits, by the theorem: 1 in 5 ever trips and 1 in 500 is ever significant, at the edge; below it, far
fewer. A row fails where the lower end of its 95 % Wilson interval is above them.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator

from rsi.clock import monotonic
from rsi.stats import MeanBet, wilson
from rsi.verify.guards import BUDGET, SIGNIFICANT_AT, TRIP_AT

Draw = Callable[[random.Random, int], Iterator[float]]  # values of units, before any label
UNITS = 300
TOP = 1e9


def lognormal(rng: random.Random, n: int) -> Iterator[float]:
    """Times as most services have them."""
    for _ in range(n):
        yield rng.lognormvariate(0.0, 0.5)


def heavy(rng: random.Random, n: int) -> Iterator[float]:
    """Costs without a variance."""
    for _ in range(n):
        yield min(TOP, rng.paretovariate(1.3))


def slow_spells(rng: random.Random, n: int) -> Iterator[float]:
    """Shared spells of mean length 12 in which everything takes four times as long."""
    bad = False
    for _ in range(n):
        bad = rng.random() >= 1 / 12 if bad else rng.random() < 0.02
        yield rng.lognormvariate(0.0, 0.3) * (4.0 if bad else 1.0)


def drifting(rng: random.Random, n: int) -> Iterator[float]:
    """Prices that double over the run."""
    for i in range(n):
        yield rng.lognormvariate(0.0, 0.3) * (1.0 + i / n)


def rare(p: float) -> Draw:
    """Failures of another category."""
    return lambda rng, n: (float(rng.random() < p) for _ in range(n))


def half(_: float) -> float:
    return 0.5


def tenth(_: float) -> float:
    return 0.1


def ramp(t: float) -> float:
    return 0.1 if t < 0.3 else 0.5


#: name: values, what is allowed, what the fix multiplies them by, the fraction over the run
FALSE = {
    "times": (lognormal, 0.1, 1.0, half),
    "times, at the edge": (lognormal, 0.1, 1.1, half),
    "costs, heavy tail": (heavy, 0.1, 1.0, half),
    "costs, heavy, at the edge": (heavy, 0.2, 1.2, half),
    "slow spells": (slow_spells, 0.1, 1.0, half),
    "slow spells, at the edge": (slow_spells, 0.1, 1.1, half),
    "prices that double": (drifting, 0.1, 1.0, half),
    "others fail, .02": (rare(0.02), 0.5, 1.0, half),
    "10 % canary, spells, at the edge": (slow_spells, 0.1, 1.1, tenth),
    "ramp, prices that double": (drifting, 0.1, 1.0, ramp),
    "ramp, doubling, at the edge": (drifting, 0.1, 1.1, ramp),
}
REAL = {
    "times + 50 %": (lognormal, 0.1, 1.5, half),
    "times x 2": (lognormal, 0.1, 2.0, half),
    "costs x 2, heavy tail": (heavy, 0.2, 2.0, half),
    "times x 2, 10 % canary": (lognormal, 0.1, 2.0, tenth),
}


def calls(rng: random.Random, p: float, works: float) -> float:
    """Tries of a guarded call that retries up to four times."""
    tries = 1
    if rng.random() < p:
        tries = 2
        while tries < 4 and rng.random() > works:
            tries += 1
    return float(tries)


def look(
    values: Iterator[float], times: float, allowed: float, fraction: Callable[[float], float], seed: str
) -> tuple[int, int]:
    """Units until the guard first trips and is first significant; beyond the run: never."""
    labels, bet, found = random.Random(seed + " labels"), MeanBet(), [UNITS + 1, UNITS + 1]
    for n, value in enumerate(values, start=1):
        f = fraction(n / UNITS)
        fixed = labels.random() < f
        bet.bet(value * times if fixed else value, fixed=fixed, fraction=f, allowed=allowed)
        for i, wealth in enumerate((TRIP_AT, SIGNIFICANT_AT)):
            if bet.wealth >= wealth:
                found[i] = min(found[i], n)
    return found[0], found[1]


def look_at_calls(p: float, works: float, seed: int) -> tuple[int, int]:
    """The same for retries, which only the fixed arm makes: of the budget that both arms fill it may have all."""
    rng, bet, found = random.Random(seed), MeanBet(), [UNITS + 1, UNITS + 1]
    for n in range(1, UNITS + 1):
        fixed = rng.random() < 0.5
        bet.bet(calls(rng, p, works) if fixed else 1.0, fixed=fixed, fraction=0.5, allowed=BUDGET / 0.5)
        for i, wealth in enumerate((TRIP_AT, SIGNIFICANT_AT)):
            if bet.wealth >= wealth:
                found[i] = min(found[i], n)
    return found[0], found[1]


def row(name: str, seen: list[tuple[int, int]], *, false: bool) -> bool:
    """Print one; whether it holds."""
    runs = len(seen)
    tripped, sure = (sum(one[i] <= UNITS for one in seen) for i in (0, 1))
    medians = [sorted(one[i] for one in seen)[runs // 2] for i in (0, 1)]
    said = [f"{median:6d}" if median <= UNITS else "     -" for median in medians]
    over = false and (
        wilson(tripped, runs, 1.96)[0] > 1.0 / TRIP_AT or wilson(sure, runs, 1.96)[0] > 1.0 / SIGNIFICANT_AT
    )
    line = f"{name:36}{100 * tripped / runs:8.1f}{100 * sure / runs:12.1f}    {said[0]} / {said[1]}"
    print(line + ("  ABOVE THE LIMIT" if over else ""))
    return not over


def table(runs: int) -> bool:
    """Print it; whether every limit holds."""
    print(f"\nGuards, {runs} runs of {UNITS} units: % ever tripped, % ever significant, median units to each")
    held = True
    for false, cases in ((True, FALSE), (False, REAL)):
        for name, (draw, allowed, times, fraction) in cases.items():
            seeds = [f"{name} {seed}" for seed in range(runs)]
            seen = [look(draw(random.Random(seed), UNITS), times, allowed, fraction, seed) for seed in seeds]
            held &= row(name, seen, false=false)
    for p in (0.1, 0.3, 0.6):
        said = f"retries at {p:g} failures, of .7"
        held &= row(said, [look_at_calls(p, 0.7, seed) for seed in range(runs)], false=p == 0.1)
    return held


def main() -> int:
    """0 if every limit holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="1,000 runs a row")
    options = parser.parse_args()
    started = monotonic()
    held = table(1000 if options.long else 60)
    print(f"\n{'every limit holds' if held else 'A LIMIT DOES NOT HOLD'}; {monotonic() - started:.0f} s")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
