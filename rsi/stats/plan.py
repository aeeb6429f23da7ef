"""How long a verdict will take, told before a canary starts."""

from __future__ import annotations

import math
from typing import Final

from rsi.stats.labelbet import BETTER, VERIFY_AT, WORSE, WORSE_AT, Settled, odds
from rsi.stats.terms import StatsInputError, check_fraction

PASSAGE_Z: Final = 0.9
"""Standard errors added for the slow tenth. The end of a walk would need 1.28; its first passage comes earlier."""
LEARNING_UNITS: Final = 6.0
"""Units that go by while the pooled rate is learnt. Both numbers were fitted to the table in 010-verdict.md."""
NEVER: Final = 1_000_000
"""What is returned where the bets would not grow: an effect too small to be seen."""


def units_needed(p0: float, p1: float, fraction: float = 0.5, outcomes: int = 1) -> int:
    """Units of both arms together within which 9 trials in 10 have seen that failures went from p0 to p1.

    First passage of the log wealth, taken as a random walk with the exact drift and spread of a bet on the better of
    the grid's ratios. Against simulated trials of 13 effects (`benchmarks/verdict.py --plan`; one outcome a unit,
    independent): 0.85 to 1.09 of the simulated p90. Bursts and sessions take up to twice as many.

    Args:
        p0: failure rate without the fix.
        p1: failure rate with it; above p0, the units until "worse" are counted.
        fraction: share of units on the fixed arm.
        outcomes: of each unit, when it is bet on. With ten (a client process): 0.7 to 1.0 of the simulated p90.

    Raises:
        StatsInputError: a rate outside [0, 1], equal rates, no outcome, or a fraction outside (0, 1).
    """
    f = check_fraction(fraction)
    if outcomes < 1:
        raise StatsInputError(f"outcomes: expected at least one, got {outcomes!r}", field="outcomes")
    for name, rate in (("p0", p0), ("p1", p1)):
        if not 0.0 <= rate <= 1.0:
            raise StatsInputError(f"{name}: expected a failure rate from 0 to 1, got {rate!r}", field=name)
    if p0 == p1:
        raise StatsInputError(f"p1: expected a rate other than p0, got {p1!r} twice; there is no effect to find")
    grid, target = (BETTER, VERIFY_AT) if p1 < p0 else (WORSE, WORSE_AT)
    passages = [_passage(*_walk(p0, p1, f, ratio, outcomes), math.log(target / weight)) for ratio, weight in grid]
    return min(NEVER, math.ceil(min(passages) + LEARNING_UNITS))


def _walk(p0: float, p1: float, f: float, ratio: float, outcomes: int) -> tuple[float, float]:
    """Mean and variance of the log factor of one unit, over its arm and its outcomes."""
    pooled = min(0.9, max(0.004, f * p1 + (1.0 - f) * p0))
    steps = []
    for failures in range(outcomes + 1):
        q = odds(Settled(outcomes, failures, f, pooled), ratio)
        steps.append((f * _chance(failures, outcomes, p1), math.log(q / f)))
        steps.append(((1.0 - f) * _chance(failures, outcomes, p0), math.log((1.0 - q) / (1.0 - f))))
    mean = sum(share * step for share, step in steps)
    return mean, sum(share * (step - mean) ** 2 for share, step in steps)


def _chance(failures: int, outcomes: int, p: float) -> float:
    """Binomial."""
    return math.comb(outcomes, failures) * p**failures * (1.0 - p) ** (outcomes - failures)


def _passage(drift: float, variance: float, height: float) -> float:
    """Steps n after which nine walks in ten are above: drift · n - z · sqrt(variance · n) = height, z fitted."""
    if drift <= 0.0:
        return float(NEVER)
    spread = PASSAGE_Z * math.sqrt(variance)
    return ((spread + math.sqrt(spread * spread + 4.0 * drift * height)) / (2.0 * drift)) ** 2
