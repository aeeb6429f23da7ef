"""Two counts against one another, once: interference, trends, and how much clustering takes off a count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

from rsi.stats.intervals import beta_cdf, normal_quantile
from rsi.stats.terms import StatsInputError, check_counts

Trend = Literal["increasing", "decreasing", "stable"]

MIN_CONTROL_UNITS: Final = 60
"""Settled control units before "the control arm is no worse than before the canary" may be asked (decision 9)."""
ALPHA: Final = 0.01
MAX_DESIGN_EFFECT: Final = 15.0
MIN_SERIES: Final = 12
"""Below this many values an autocorrelation says nothing."""


def design_effect(series: Sequence[bool | int], lags: int = 10) -> float:
    """How many outcomes of this series are worth one independent outcome: 1 + 2 times the positive autocorrelations.

    Args:
        series: failed or not, in order of time. Shorter than 12 or constant: 1.
        lags: how far apart outcomes may still be related.

    Returns:
        A number from 1 to 15 by which counts or variances are deflated or inflated.
    """
    n = len(series)
    mean = sum(series) / n if n else 0.0
    away = [value - mean for value in series]
    variance = sum(d * d for d in away) / n if n else 0.0
    if n < MIN_SERIES or variance == 0.0:
        return 1.0
    total = 0.0
    for lag in range(1, min(lags, n - 1) + 1):
        total += max(0.0, sum(x * y for x, y in zip(away, away[lag:], strict=False)) / (n * variance))
    return min(MAX_DESIGN_EFFECT, 1.0 + 2.0 * total)


def not_significantly_above(  # noqa: PLR0917 - two samples of (failures, units), then options, as one writes them
    k1: float, n1: float, k0: float, n0: float, d1: float = 1.0, d0: float = 1.0, alpha: float = ALPHA
) -> bool:
    """Whether rate k1/n1 (control during the canary) is *not* above k0/n0 (the scope before it) beyond chance.

    One-sided score test with pooled rate; the variance of each side is inflated by its design effect. Decision 9 of
    the design: with arms that share capacity, a fix can look good because the control arm pays for it.

    Args:
        k1: failures during the canary.
        n1: units during it.
        k0: failures before.
        n0: units before.
        d1: design effect during.
        d0: design effect before.
        alpha: chance of a wrong "above" when nothing changed.

    Returns:
        True if not above. False also when a side is empty: what was not observed does not clear anything.

    Raises:
        StatsInputError: not 0 ≤ k ≤ n, or a design effect below 1.
    """
    check_counts("k1", k1, n1)
    check_counts("k0", k0, n0)
    if min(d1, d0) < 1.0:
        raise StatsInputError(f"design effect: expected a number ≥ 1, got {min(d1, d0)!r}", field="d1")
    if n1 == 0 or n0 == 0:
        return False
    pooled = (k1 + k0) / (n1 + n0)
    error = math.sqrt(pooled * (1.0 - pooled) * (d1 / n1 + d0 / n0))
    return k1 / n1 - k0 / n0 <= normal_quantile(1.0 - alpha) * error


def trend(
    recent_count: int, recent_exposure: float, earlier_count: int, earlier_exposure: float, alpha: float = ALPHA
) -> Trend:
    """Whether failures per exposure rose or fell, by the exact conditional binomial test (two-sided, 1 %).

    Given the total, the recent count is binomial with the recent share of the exposure (Przyborowski & Wilenski
    1940), so a busier day is not a worse one.

    Args:
        recent_count: failures of late.
        recent_exposure: outcomes, or hours, that they came from.
        earlier_count: failures before that.
        earlier_exposure: what those came from, in the same unit.
        alpha: chance of a word other than "stable" when the rate did not change.

    Returns:
        "stable" also where either exposure or both counts are 0: there is nothing to compare.

    Raises:
        StatsInputError: a negative count or exposure.
    """
    for name, value in (
        ("count", min(recent_count, earlier_count)),
        ("exposure", min(recent_exposure, earlier_exposure)),
    ):
        check_counts(name, value, math.inf if value < 0 else value)
    total = recent_count + earlier_count
    if total == 0 or not (recent_exposure > 0 and earlier_exposure > 0):
        return "stable"
    share = recent_exposure / (recent_exposure + earlier_exposure)
    if _at_least(recent_count, total, share) <= alpha / 2.0:
        return "increasing"
    return "decreasing" if _at_least(earlier_count, total, 1.0 - share) <= alpha / 2.0 else "stable"


def _at_least(k: int, n: int, share: float) -> float:
    """P(Binomial(n, share) ≥ k)."""
    return 1.0 if k <= 0 else beta_cdf(share, k, n - k + 1)
