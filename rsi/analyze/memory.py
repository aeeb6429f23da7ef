"""What health remembers of a scope: decayed counts, how much they are worth, and when they are of another time.

Two memories of the same outcomes. The *recent* one weighs each outcome half as much after `HALF_LIFE` further ones. The
*whole* one forgets by whichever keeps more: half in `DAY_S`, or as the recent one does; so it holds 29 outcomes of a
source with eight a day, and a day and a half of one with millions. Where the recent one contradicts the whole, the
whole is of another time, and is replaced by it.

Weighted outcomes carry more information than their weights' sum says: (Σw)²/Σw² equal ones have the same variance (Kish
1965). With the bare sum an interval covers 99.6 % instead of 95 %. Measured in `benchmarks/health.py`; why so:
`docs/design/034-health.md`.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from rsi.stats import beta_cdf

#: Outcomes after which one counts half in the recent memory.
HALF_LIFE: Final = 20.0
FADE: Final = 0.5 ** (1.0 / HALF_LIFE)
#: What the recent memory holds in the long run, and what of it is left when an outcome arrives; sums of weights.
FULL: Final = 1.0 / (1.0 - FADE)
_LEFT: Final = FULL - 1.0
#: The same as a number of equal outcomes.
FULL_N: Final = (1.0 + FADE) / (1.0 - FADE)
#: Time in which the whole memory forgets half, where that keeps more than `HALF_LIFE` does; silence that costs nothing.
DAY_S: Final = 86_400.0
#: Successes and failures assumed before the first. From 43 outcomes on 95 % intervals cover 93.3 to 96.8 %, at rates
#: from .01 to .9; Jeffreys' .5 covers 92.5 to 97.3, where one to four failures are expected.
PRIOR: Final = 0.7
#: Two-sided chance of contradicting a whole of the same rate, for each renewal of the recent memory in the span of the
#: whole: more traffic means more looks. At 1e-3 a source of 1,000 a day has .2 false alarms in 30 days, so .03.
CHANGE: Final = 3e-4
#: Standard errors below which no contradiction is worth computing (one is beyond 3.3 at least).
_NEAR: Final = 2.0
#: Failures of which it is assumed, beside those that are known, that they came by themselves.
DOUBTED: Final = 10.0
#: More than so many outcomes are never taken for one.
MOST: Final = 15.0
_LONG_SILENCE: Final = 60.0  # half-lives: nothing is left


class Counts(NamedTuple):
    """Failures and successes on the scale of effective outcomes; they may be added up over sources."""

    failures: float
    successes: float

    @property
    def n(self) -> float:
        """Effective outcomes."""
        return self.failures + self.successes

    def over(self, effect: float) -> Counts:
        """Deflated by a design effect."""
        return Counts(self.failures / effect, self.successes / effect)

    @property
    def mean(self) -> float:
        """Posterior mean of the success rate."""
        return (self.successes + PRIOR) / (self.n + 2 * PRIOR)


def fade(gap: float, held: float) -> float:
    """What is left of the whole memory's weights, `held` in sum, `gap` seconds after the outcome before."""
    if held <= _LEFT:
        return 1.0
    return float(max(_LEFT / held, 0.5 ** (gap / DAY_S))) if gap > 0.0 else 1.0


def silence(gap: float, n: float) -> float:
    """What is left of `n` effective outcomes after `gap` seconds without any.

    A day costs nothing. Beyond it a full recent memory is halved every day, and a larger one goes faster: what is added
    is variance, so a busy source that falls silent becomes unknown as soon as a slow one.
    """
    if gap <= DAY_S:
        return 1.0
    doubt = math.ldexp(1.0, int(_LONG_SILENCE)) if gap > _LONG_SILENCE * DAY_S else 2.0 ** (gap / DAY_S - 1.0)
    return float(1.0 / (1.0 + max(n, FULL_N) / FULL_N * (doubt - 1.0)))


def whole(failures: float, successes: float, squares: float) -> Counts:
    """Decayed sums and the sum of their squared weights → effective outcomes."""
    scale = (failures + successes) / squares if squares > 0.0 else 1.0
    return Counts(failures * scale, successes * scale)


class Bursts(NamedTuple):
    """How failures follow one another: the chance of one after another, and the outcomes worth an independent one."""

    again: float
    effect: float


def bursts(failures: float, held: float, joined: float, run: int) -> Bursts:
    """From decayed sums: failures, all outcomes, failures right after another; `run` is how many failed just now.

    For a chain of two states the design effect is (1 + r) / (1 - r), with r how much likelier a failure is after a
    failure (Kish 1965), less one standard error. The run that goes on is left out: an outage is what health shall see,
    not how it usually is.
    """
    known, others = max(0.0, failures - run), held - run
    if known <= 0.0 or others <= known:
        return Bursts(0.0, 1.0)
    rate = known / others
    again = (min(known, max(0.0, joined - max(0, run - 1))) + rate * DOUBTED) / (known + DOUBTED)
    linked = max(0.0, (again - rate) / (1.0 - rate) - 1.0 / math.sqrt(held))
    return Bursts(again, min(MOST, (1.0 + linked) / (1.0 - linked)))


def squares_of(held: float) -> float:
    """Σw² of a recent memory that holds Σw = `held`: with k outcomes (1-λᵏ)/(1-λ) and (1-λ²ᵏ)/(1-λ²)."""
    return held * max(1.0, 2.0 - (1.0 - FADE) * held) / (1.0 + FADE)


def share_of_looks(held: float) -> float:
    """By what a chance is multiplied that is taken at the recent memory, beside a whole one of weight `held`."""
    return min(1.0, FULL / held) if held > 0.0 else 1.0


def contradicts(recent: Counts, rate: float, looks: float) -> bool:
    """Whether the recent outcomes cannot be of the success rate that the whole memory tells."""
    if (recent.mean - rate) ** 2 * recent.n < _NEAR**2 * rate * (1.0 - rate):
        return False
    below = beta_cdf(rate, recent.successes + PRIOR, recent.failures + PRIOR)
    return min(below, 1.0 - below) < CHANGE / 2.0 * looks
