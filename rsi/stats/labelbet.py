"""The bet on one unit's label, given its outcomes: pure arithmetic of the e-process.

Source: the label-betting theorem of `docs/design/010-verdict.md`. A bet is a probability `q` that the unit was on
the fixed arm; it multiplies a wealth by `q / f` (it was) or `(1 - q) / (1 - f)` (it was not), whose mean is 1
whatever `q` is, as long as `q` was chosen without the label. Everything tuned here touches power, never validity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rsi.stats.terms import StatsInputError

Grid = tuple[tuple[float, float], ...]

BETTER: Final[Grid] = ((0.1, 0.8), (0.45, 0.2))
"""(failure ratio fixed / control, prior weight): what "verified" bets on. Weights favour fixes that nearly remove."""
WORSE: Final[Grid] = ((2.0, 0.3), (4.5, 0.7))
"""The same for "worse"."""
VERIFY_AT: Final = 28.0
"""Wealth of the better bets that says "verified": false at most 1 time in 28, over all looks together."""
WORSE_AT: Final = 25.0
"""Wealth of the worse bets that says "worse": false at most 1 time in 25."""
ROUNDING: Final = 1e-9
"""A bet aims at its target exactly; floating point may fall short of it by less than this share."""
SAME_AT: Final = 12.0
"""Likelihood ratio against each of the two ratios of `SAME`; measured, not covered by the theorem."""
SAME: Final = (0.7, 1.43)
"""`no_difference` is evidence against a ratio this good AND one this bad; the first alone would call harm harmless."""

SESSION_TEMPER: Final = 0.2
"""Assumed correlation of outcomes within a unit: `m` outcomes weigh as `m / (1 + (m - 1) * 0.2)`, at most 5."""
RATE_CEILING: Final = 0.97
"""No arm is assumed to fail more often than this, so that a success never ruins a bet."""
MAX_FACTOR: Final = 2.7
"""No unit multiplies a wealth by more: three giant sessions (2.7 ** 3 < 25) cannot decide, at any fraction."""
SAME_CEILING: Final = 1e12
"""Evidence for sameness beyond this changes nothing; capped so that no number ever becomes infinite in JSON."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A unit as it is bet on: `outcomes` of which `failures`, fraction in force at its start, label-blind rate now."""

    outcomes: int
    failures: int
    fraction: float
    rate: float


def odds(unit: Settled, ratio: float) -> float:
    """Probability of the fixed label under `fixed fails ratio times as often as control`, at the pooled rate."""
    f, g, p = unit.fraction, 1.0 - unit.fraction, unit.rate
    p0 = p / (f * ratio + g)
    p1 = p0 * ratio
    if p0 > RATE_CEILING:
        p0 = RATE_CEILING
        p1 = (p - g * p0) / f
    if p1 > RATE_CEILING:
        p1 = RATE_CEILING
        p0 = min(RATE_CEILING, (p - f * p1) / g)
    temper = 1.0 + (unit.outcomes - 1) * SESSION_TEMPER
    likelihood: float = (p1 / p0) ** (unit.failures / temper) * ((1.0 - p1) / (1.0 - p0)) ** (
        (unit.outcomes - unit.failures) / temper
    )
    q = f * likelihood / (f * likelihood + g)
    return max(1.0 - MAX_FACTOR * g, min(MAX_FACTOR * f, q))


class Wager:
    """A fixed-weight mixture of bets on the ratios of a grid, which stops where its target says enough.

    Args:
        grid: the ratios and their prior weights. target: the wealth that decides.
        wealth: of each bet, weights included; default the weights.

    Raises:
        ValueError: as many wealths as ratios are needed.
    """

    __slots__ = ("_ratios", "_target", "wealth")

    def __init__(self, grid: Grid, target: float, wealth: Sequence[float] = ()) -> None:
        self._ratios = [ratio for ratio, _ in grid]
        self._target = target
        self.wealth = list(wealth) or [weight for _, weight in grid]
        if len(self.wealth) != len(grid):
            raise StatsInputError(f"wealth: expected {len(grid)} bets, got {len(self.wealth)}", field="wealth")

    @property
    def total(self) -> float:
        """Wealth of the mixture, from 1: at most 1 trial in c ever reaches c if the fix changes nothing."""
        return sum(self.wealth)

    @property
    def reached(self) -> bool:
        """Whether the target is reached."""
        return self.total >= self._target * (1.0 - ROUNDING)

    def bet(self, unit: Settled, fixed: bool) -> None:
        """Settle one unit. Call it once per unit and never again for the same one."""
        guesses = [odds(unit, ratio) for ratio in self._ratios]
        total = self.total
        if total <= 0.0:
            return
        mixed = sum(w * q for w, q in zip(self.wealth, guesses, strict=True)) / total
        aimed = self._aim(mixed, unit.fraction, total)
        share = unit.fraction if fixed else 1.0 - unit.fraction
        scale = (aimed / mixed if fixed else (1.0 - aimed) / (1.0 - mixed)) / share
        self.wealth = [w * (q if fixed else 1.0 - q) * scale for w, q in zip(self.wealth, guesses, strict=True)]

    def _aim(self, mixed: float, fraction: float, total: float) -> float:
        """The mixture's odds, moved so that neither label overshoots the target.

        What would overshoot is put on the other label, where it is of use: measured, a tenth fewer units for the
        same guarantee. The mean over the label stays 1, because the odds still do not use it.
        """
        most = self._target / total
        return min(most * fraction, max(1.0 - most * (1.0 - fraction), mixed))


class Sameness:
    """Likelihood ratios for "no effect" against each ratio of `SAME`. Needs the failure model: no theorem covers it."""

    __slots__ = ("ratios",)

    def __init__(self, ratios: Sequence[float] = ()) -> None:
        self.ratios = list(ratios) or [1.0] * len(SAME)
        if len(self.ratios) != len(SAME):
            raise StatsInputError(f"same: expected {len(SAME)} ratios, got {len(self.ratios)}", field="same")

    @property
    def reached(self) -> bool:
        """Whether both a real gain and a real harm are ruled out."""
        return min(self.ratios) >= SAME_AT

    def bet(self, unit: Settled, fixed: bool) -> None:
        """Take one settled unit in."""
        share = unit.fraction if fixed else 1.0 - unit.fraction
        for i, ratio in enumerate(SAME):
            guess = odds(unit, ratio)
            self.ratios[i] = min(SAME_CEILING, self.ratios[i] * share / (guess if fixed else 1.0 - guess))


class PooledRate:
    """The failure rate of everything seen, labels ignored: a global mean mixed with a local one that tracks outages.

    `failures`, `outcomes` count since the start, `local` is an exponential mean. Never reads a label.
    """

    __slots__ = ("failures", "local", "outcomes")

    PRIOR_FAILURES: Final = 0.3
    PRIOR_OUTCOMES: Final = 1.5
    GLOBAL_SHARE: Final = 0.6
    LOCAL_STEP: Final = 0.08
    LOW: Final = 0.004
    HIGH: Final = 0.9

    def __init__(self, failures: int = 0, outcomes: int = 0, local: float = 0.2) -> None:
        self.failures = failures
        self.outcomes = outcomes
        self.local = local

    def now(self) -> float:
        """The rate to price the next bet with; a probability, kept off 0 and 1."""
        mean = (self.failures + self.PRIOR_FAILURES) / (self.outcomes + self.PRIOR_OUTCOMES)
        mixed = self.GLOBAL_SHARE * mean + (1.0 - self.GLOBAL_SHARE) * self.local
        return min(self.HIGH, max(self.LOW, mixed))

    def see(self, failed: bool) -> None:
        """Take one outcome in."""
        self.failures += failed
        self.outcomes += 1
        self.local += self.LOCAL_STEP * (failed - self.local)
