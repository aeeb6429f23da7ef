"""95 % intervals for what a fix costs and saves: differences between two arms, over the tasks of the fixed one.

Shares: Newcombe's hybrid score interval of a difference (Newcombe 1998, method 10). Means: the two-sample normal
interval with unequal variances. Sums of experiments: the halves' distances add in squares (MOVER, Zou & Donner 2008).
Outcomes of one unit count as one: sample sizes are divided by the outcomes per unit, the worst that correlation within
a unit can do. What they are not: valid at a moment that was chosen for its result. Taken when a verdict fell they lean
towards that verdict, as every estimate then does; the verdict itself does not rest on them.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple, TypeAlias

from rsi.stats.intervals import Z95, wilson

Interval: TypeAlias = tuple[float, float]

MIN_UNITS: Final = 20
"""In each arm; below it there are too few for an interval that means something (normal tails, at n = 20, lose 1 %)."""
METHOD: Final = "95 %: Newcombe (failures) and two-sample normal (the rest), one unit counted once; not for peeking"


class Sample(NamedTuple):
    """One arm: how many units and outcomes, and the sum and the sum of squares of what `n` outcomes reported."""

    units: float
    outcomes: float
    n: float
    total: float
    squares: float


def saved(fixed: Sample, control: Sample) -> Interval | None:
    """What failed less in the fixed arm than at the control arm's rate; `total` are failures. None: too few."""
    if min(fixed.units, control.units) < MIN_UNITS:
        return None
    (p, low, high), (q, q_low, q_high) = _share(fixed), _share(control)
    middle = q - p
    down, up = math.hypot(q - q_low, high - p), math.hypot(q_high - q, p - low)
    return _scaled((middle - down, middle + up), fixed.outcomes)


def _share(arm: Sample) -> tuple[float, float, float]:
    share = arm.total / arm.n
    size = _size(arm)
    return share, *wilson(share * size, size)


def spent(fixed: Sample, control: Sample, middle: float) -> Interval | None:
    """What the fixed arm spent more than at the control arm's rate, around the estimate `middle`.

    None: too few, or nothing that varied: an interval without width would claim to be exact.
    """
    if min(_size(fixed), _size(control)) < MIN_UNITS:
        return None
    error = math.sqrt(_variance(fixed) / _size(fixed) + _variance(control) / _size(control))
    half = Z95 * error * fixed.n
    return (round(middle - half, 2), round(middle + half, 2)) if half > 0.0 else None


def together(one: float, a: Interval | None, other: float, b: Interval | None) -> Interval | None:
    """The interval of the sum of two independent estimates; None where either has none."""
    if a is None or b is None:
        return None
    middle = one + other
    down, up = math.hypot(one - a[0], other - b[0]), math.hypot(a[1] - one, b[1] - other)
    return round(middle - down, 2), round(middle + up, 2)


def _size(arm: Sample) -> float:
    """Outcomes, as if those of one unit were one."""
    return arm.n / max(1.0, arm.outcomes / arm.units) if arm.units else 0.0


def _variance(arm: Sample) -> float:
    """Of one outcome, unbiased; squares that were not kept from the beginning give none."""
    return max(0.0, arm.squares - arm.total * arm.total / arm.n) / (arm.n - 1.0) if arm.n > 1.0 else 0.0


def _scaled(interval: Interval, by: float) -> Interval:
    return round(interval[0] * by, 2), round(interval[1] * by, 2)
