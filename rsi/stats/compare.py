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
BURST_BLOCK: Final = 6
"""Hours within which most bursts are over; longer ones count as a rise."""
DOUBT: Final = 1.5
"""What dispersion beyond 1 is multiplied by. At 1 bursts of 12 make .13 false rises an issue and month, so .02."""


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


def dispersion(counts: Sequence[float], exposure: Sequence[float], recent: int, block: int = BURST_BLOCK) -> float:
    """How many failures of these hours are worth one independent failure, as they come in bursts.

    The variance of sums over `block` hours against what independent failures would have, the rate taken apart for the
    `recent` last hours and those before, so that a change between the two is no dispersion. Sums reach over the edges
    (Bartlett's weights), for the burst that goes on now is at the edge.

    Args:
        counts: failures, hour by hour.
        exposure: outcomes of the same hours.
        recent: how many of the last hours are compared with the rest.
        block: a burst is mostly over within so many hours.

    Returns:
        1 or more. The excess over 1 is multiplied by `DOUBT`: a few bursts tell little about how large the next may be.

    Raises:
        StatsInputError: the two are not equally long, or a number is negative.
    """
    if len(counts) != len(exposure):
        raise StatsInputError(f"exposure: expected {len(counts)} hours, got {len(exposure)}", field="exposure")
    for name, values in (("counts", counts), ("exposure", exposure)):
        least = min(values, default=0.0)
        check_counts(name, least, max(0.0, least))
    cut = max(0, len(counts) - recent)
    parts = [(counts[:cut], exposure[:cut]), (counts[cut:], exposure[cut:])]
    spread = sum(_block_variance(own, seen, block) for own, seen in parts if sum(seen) > 0)
    total = sum(sum(own) for own, seen in parts if sum(seen) > 0)
    return 1.0 + DOUBT * max(0.0, spread / total - 1.0) if total > 0 else 1.0


def _block_variance(counts: Sequence[float], exposure: Sequence[float], block: int) -> float:
    """Sum over all hours of the variance that one of them adds to a block, corrected for the rate being estimated."""
    rate = sum(counts) / sum(exposure)
    away = [k - rate * seen for k, seen in zip(counts, exposure, strict=True)]
    held, squares = 0.0, 0.0
    for place in range(len(away) + block - 1):
        held += away[place] if place < len(away) else 0.0
        held -= away[place - block] if place >= block else 0.0
        squares += held * held
    return squares / block * len(away) / max(1, len(away) - block)


def trend(  # noqa: PLR0917 - two samples of (failures, exposure), then options, as one writes them
    recent_count: int,
    recent_exposure: float,
    earlier_count: int,
    earlier_exposure: float,
    alpha: float = ALPHA,
    dispersed: float = 1.0,
) -> Trend:
    """Whether failures per exposure rose or fell, by the conditional binomial test (two-sided, 1 %).

    Given the total, the recent count is binomial with the recent share of the exposure (Przyborowski & Wilenski
    1940), so a busier day is not a worse one. Exact for independent failures; both counts are divided by `dispersed`
    where they come in bursts.

    Args:
        recent_count: failures of late.
        recent_exposure: outcomes, or hours, that they came from.
        earlier_count: failures before that.
        earlier_exposure: what those came from, in the same unit.
        alpha: chance of a word other than "stable" when the rate did not change.
        dispersed: how many failures are worth an independent one, as `dispersion` says.

    Returns:
        "stable" also where either exposure or both counts are 0: there is nothing to compare.

    Raises:
        StatsInputError: a negative count or exposure, or `dispersed` below 1.
    """
    if not dispersed >= 1.0:
        raise StatsInputError(f"dispersed: expected a number ≥ 1, got {dispersed!r}", field="dispersed")
    for name, value in (
        ("count", min(recent_count, earlier_count)),
        ("exposure", min(recent_exposure, earlier_exposure)),
    ):
        check_counts(name, value, math.inf if value < 0 else value)
    recent, earlier = recent_count / dispersed, earlier_count / dispersed
    total = recent + earlier
    if total == 0 or not (recent_exposure > 0 and earlier_exposure > 0):
        return "stable"
    share = recent_exposure / (recent_exposure + earlier_exposure)
    if _at_least(recent, total, share) <= alpha / 2.0:
        return "increasing"
    return "decreasing" if _at_least(earlier, total, 1.0 - share) <= alpha / 2.0 else "stable"


def _at_least(k: float, n: float, share: float) -> float:
    """P(Binomial(n, share) ≥ k); between whole numbers, what the incomplete beta function says."""
    return 1.0 if k <= 0 else beta_cdf(share, k, n - k + 1)
