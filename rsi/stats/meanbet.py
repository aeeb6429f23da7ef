"""A side effect, beyond what was allowed: bets on the labels, given what each unit cost or how long it took.

The same theorem as in `labelbet` (`docs/verdicts.md`). A fixed unit's value is divided by what is allowed, so that at
the edge of the allowance the values know nothing of the labels; below it the wealth falls on average. The odds are
linear in the value, hence no shape is assumed: it is the means that are compared, of values cut at `CUT` deviations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Self

from rsi.stats.terms import StatsInputError, check_fraction

CUT: Final = 3.0
"""Values count up to so many standard deviations from the mean: a unit that cost a fortune is one unit."""
STAKES: Final = ((1.0, 0.3), (0.4, 0.4), (0.12, 0.3))
"""(share of the largest stake that can never ruin, weight): from a doubled price to one tenth more."""
LARGEST: Final = 0.9
"""Share of a wealth that one unit may take."""
WARM_VALUES: Final = 6
"""So many units only say what is usual; nothing is bet on them."""
LEAST_SPREAD: Final = 0.05
"""Deviations are at least this share of the mean: prices that never differ are no scale."""
NOTHING: Final = 1e-12
SUMS: Final = 4
"""Units and the sum of their values: of the control arm, of the fixed arm."""
CEILING: Final = 1e12
"""Wealth beyond this changes nothing; capped so that no number ever becomes infinite in JSON."""


class MeanBet:
    """Bets that the fixed arm's mean is above what is allowed; `wealth` reaches c in at most 1 of c trials if not.

    Each unit once, in an order and at a time chosen without its label.
    """

    __slots__ = ("_mean", "_n", "_squares", "_sums", "_wealth")

    def __init__(self) -> None:
        self._n, self._mean, self._squares = 0, 0.0, 0.0
        self._wealth = [weight for _, weight in STAKES]
        self._sums = [0.0] * SUMS

    @property
    def wealth(self) -> float:
        """What the bets are worth, from 1."""
        return sum(self._wealth)

    @property
    def units(self) -> tuple[int, int]:
        """Units with a value: (fixed, control)."""
        return int(self._sums[2]), int(self._sums[0])

    @property
    def means(self) -> tuple[float | None, float | None]:
        """Mean value of a unit, as it was told: (fixed, control)."""
        c_n, c_sum, f_n, f_sum = self._sums
        return (f_sum / f_n if f_n else None), (c_sum / c_n if c_n else None)

    def bet(self, value: float, *, fixed: bool, fraction: float, allowed: float) -> None:
        """Take one unit.

        Args:
            value: what it cost or how long it took, ≥ 0.
            fixed: its label.
            fraction: share of units on the fixed arm when it started.
            allowed: the fixed arm's mean may be `1 + allowed` times the control's. Chosen without this label.

        Raises:
            StatsInputError: a negative or infinite value or allowance, or a fraction outside (0, 1).
        """
        f = check_fraction(fraction)
        for name, number in (("value", value), ("allowed", allowed)):
            if not (math.isfinite(number) and number >= 0.0):
                raise StatsInputError(f"{name}: expected a finite number ≥ 0, got {number!r}", field=name)
        arm = 2 if fixed else 0
        self._sums[arm] += 1.0
        self._sums[arm + 1] += value
        comparable = value / (1.0 + allowed) if fixed else value
        if self._n >= WARM_VALUES:
            self._settle(comparable, f, fixed=fixed)
        self._learn(comparable)

    def _settle(self, value: float, f: float, *, fixed: bool) -> None:
        spread = math.sqrt(self._squares / self._n)
        spread = max(spread, LEAST_SPREAD * self._mean, NOTHING)
        away = max(-CUT, min(CUT, (value - self._mean) / spread))
        most = LARGEST / (CUT * max(f, 1.0 - f))
        for i, (share, _) in enumerate(STAKES):
            stake = share * most
            factor = 1.0 + (1.0 - f) * stake * away if fixed else 1.0 - f * stake * away
            self._wealth[i] = min(CEILING, self._wealth[i] * factor)

    def _learn(self, value: float) -> None:
        """Welford's running mean and sum of squares."""
        self._n += 1
        before = value - self._mean
        self._mean += before / self._n
        self._squares += before * (value - self._mean)

    def to_list(self) -> list[Any]:
        """JSON-safe state."""
        return [self._n, self._mean, self._squares, list(self._wealth), list(self._sums)]

    @classmethod
    def from_list(cls, state: Sequence[Any]) -> Self:
        """What `to_list` described.

        Raises:
            StatsInputError: it did not.
        """
        found = cls()
        try:
            n, mean, squares, wealth, sums = state
            found._n, found._mean, found._squares = int(n), float(mean), float(squares)
            found._wealth, found._sums = [float(w) for w in wealth], [float(s) for s in sums]
        except (TypeError, ValueError) as error:
            raise StatsInputError(f"guard state: cannot be read ({error!r}); start a new one") from error
        if len(found._wealth) != len(STAKES) or len(found._sums) != SUMS:
            raise StatsInputError("guard state: of another grid of stakes; start a new one")
        return found
