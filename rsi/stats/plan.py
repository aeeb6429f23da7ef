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


def units_needed(p0: float, p1: float, fraction: float = 0.5) -> int:
    """Units of both arms together within which 9 trials in 10 have seen that failures went from p0 to p1.

    First passage of the log wealth, taken as a random walk with the exact drift and spread of a bet on the better of
    the grid's ratios. Against simulated trials of 13 effects (`benchmarks/verdict.py --plan`; one outcome a unit,
    independent): 0.85 to 1.09 of the simulated p90. Bursts and sessions take up to twice as many.

    Args:
        p0: failure rate without the fix.
        p1: failure rate with it; above p0, the units until "worse" are counted.
        fraction: share of units on the fixed arm.

    Raises:
        StatsInputError: a rate outside [0, 1], equal rates, or a fraction outside (0, 1).
    """
    f = check_fraction(fraction)
    for name, rate in (("p0", p0), ("p1", p1)):
        if not 0.0 <= rate <= 1.0:
            raise StatsInputError(f"{name}: expected a failure rate from 0 to 1, got {rate!r}", field=name)
    if p0 == p1:
        raise StatsInputError(f"p1: expected a rate other than p0, got {p1!r} twice; there is no effect to find")
    grid, target = (BETTER, VERIFY_AT) if p1 < p0 else (WORSE, WORSE_AT)
    passages = [_passage(*_walk(p0, p1, f, ratio), math.log(target / weight)) for ratio, weight in grid]
    return min(NEVER, math.ceil(min(passages) + LEARNING_UNITS))


def _walk(p0: float, p1: float, f: float, ratio: float) -> tuple[float, float]:
    """Mean and variance of the log factor of one unit, over its arm and its outcome."""
    pooled = min(0.9, max(0.004, f * p1 + (1.0 - f) * p0))
    steps = []
    for failures, fixed_share, control_share in (
        (1, f * p1, (1.0 - f) * p0),
        (0, f * (1.0 - p1), (1.0 - f) * (1.0 - p0)),
    ):
        q = odds(Settled(1, failures, f, pooled), ratio)
        steps.append((fixed_share, math.log(q / f)))
        steps.append((control_share, math.log((1.0 - q) / (1.0 - f))))
    mean = sum(share * step for share, step in steps)
    return mean, sum(share * (step - mean) ** 2 for share, step in steps)


def _passage(drift: float, variance: float, height: float) -> float:
    """Steps n after which nine walks in ten are above: drift · n - z · sqrt(variance · n) = height, z fitted."""
    if drift <= 0.0:
        return float(NEVER)
    spread = PASSAGE_Z * math.sqrt(variance)
    return ((spread + math.sqrt(spread * spread + 4.0 * drift * height)) / (2.0 * drift)) ** 2
