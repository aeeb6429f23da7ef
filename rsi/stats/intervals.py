"""Intervals for a rate from counts that may be decayed, hence real numbers."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

from rsi.stats.terms import StatsInputError, check_counts

TINY: Final = 1e-300
CLOSE: Final = 1e-15
MAX_TERMS: Final = 20_000
"""The fraction needs some sqrt(max(a, b)) terms: enough for counts of 1e8."""
MAX_STEPS: Final = 200
Z95: Final = 1.96


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta by Lentz's method (DLMF 8.17.22); fast where x < (a+1)/(a+b+2)."""
    c = 1.0
    d = 1.0 / _off_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _off_zero(1.0 + term * d)
            c = _off_zero(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < CLOSE:
            break
    return value


def _off_zero(x: float) -> float:
    return x if abs(x) > TINY else TINY


def _check_shape(a: float, b: float) -> None:
    if not (0.0 < a < math.inf and 0.0 < b < math.inf):
        raise StatsInputError(f"beta: expected a > 0 and b > 0, got {a!r}, {b!r}", field="a")


def beta_cdf(x: float, a: float, b: float) -> float:
    """P(X ≤ x) for X ~ Beta(a, b): the regularised incomplete beta function I_x(a, b).

    Raises:
        StatsInputError: a or b not positive and finite.
    """
    _check_shape(a, b)
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1.0) / (a + b + 2.0):
        return min(1.0, math.exp(log_front) * _beta_fraction(a, b, x) / a)
    return max(0.0, 1.0 - math.exp(log_front) * _beta_fraction(b, a, 1.0 - x) / b)


def beta_quantile(q: float, a: float, b: float) -> float:
    """The x with `beta_cdf(x, a, b) == q`: Newton's steps, kept inside a bracket that bisection shrinks.

    Raises:
        StatsInputError: q outside [0, 1], or a or b not positive and finite.
    """
    if not 0.0 <= q <= 1.0:
        raise StatsInputError(f"q: expected a probability, got {q!r}", field="q")
    _check_shape(a, b)
    if q in {0.0, 1.0}:
        return q
    low, high, x = 0.0, 1.0, a / (a + b)
    for _ in range(MAX_STEPS):
        miss = beta_cdf(x, a, b) - q
        low, high = (low, x) if miss > 0.0 else (x, high)
        step = _newton(x, a, b, miss)
        following = x - step if low < x - step < high else (low + high) / 2.0
        if abs(following - x) <= CLOSE * max(x, TINY) or miss == 0.0:
            return following if miss else x
        x = following
    return x


def _newton(x: float, a: float, b: float, miss: float) -> float:
    """The step miss / density; infinite where the density vanishes, which sends the caller to bisection."""
    if not 0.0 < x < 1.0:
        return math.inf
    log_density = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    log_density += (a - 1.0) * math.log(x) + (b - 1.0) * math.log1p(-x)
    density = math.exp(min(log_density, math.log(1.0 / TINY)))
    return miss / density if density > TINY else math.inf


def beta_interval(failures: float, successes: float, level: float = 0.95, prior: float = 0.5) -> tuple[float, float]:
    """Equal-tailed posterior interval of the *success* rate, from counts that may be decayed.

    Args:
        failures: ≥ 0, real.
        successes: ≥ 0, real.
        level: posterior mass inside.
        prior: pseudo-count on each side; 0.5 is Jeffreys'.

    Raises:
        StatsInputError: a negative count, a prior ≤ 0, a level outside (0, 1).
    """
    check_counts("failures", failures, failures)
    check_counts("successes", successes, successes)
    if not 0.0 < level < 1.0:
        raise StatsInputError(f"level: expected a number strictly between 0 and 1, got {level!r}", field="level")
    a, b, tail = successes + prior, failures + prior, (1.0 - level) / 2.0
    return beta_quantile(tail, a, b), beta_quantile(1.0 - tail, a, b)


def wilson(k: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of k in n at `z` standard errors (Wilson 1927); (0, 1) when n is 0.

    Raises:
        StatsInputError: not 0 ≤ k ≤ n.
    """
    check_counts("k", k, n)
    if n == 0:
        return 0.0, 1.0
    share, spread = k / n, z * z / n
    middle = (share + spread / 2.0) / (1.0 + spread)
    half = z * math.sqrt(share * (1.0 - share) / n + spread / (4.0 * n)) / (1.0 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def normal_quantile(q: float) -> float:
    """The standard normal quantile."""
    return NormalDist().inv_cdf(q)
