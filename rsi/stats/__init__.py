"""Did it help: verdicts, intervals and trends. Pure, streaming, standard library only.

The theorem behind `ConcurrentTrial`, its assumptions and what breaks them: `docs/design/010-verdict.md`.
"""

from __future__ import annotations

from rsi.stats.compare import MIN_CONTROL_UNITS, design_effect, dispersion, not_significantly_above, trend
from rsi.stats.concurrent import ConcurrentTrial, Wealth
from rsi.stats.intervals import beta_cdf, beta_interval, beta_quantile, wilson
from rsi.stats.labelbet import VERIFY_AT, WORSE_AT
from rsi.stats.meanbet import MeanBet
from rsi.stats.phases import SAMPLED_KEPT, in_phases, is_due, sampled
from rsi.stats.plan import NEVER, units_needed
from rsi.stats.share import BeforeAfterTrial
from rsi.stats.terms import TERMINAL, StatsInputError, Verdict

__all__ = [
    "MIN_CONTROL_UNITS",
    "NEVER",
    "SAMPLED_KEPT",
    "TERMINAL",
    "VERIFY_AT",
    "WORSE_AT",
    "BeforeAfterTrial",
    "ConcurrentTrial",
    "MeanBet",
    "StatsInputError",
    "Verdict",
    "Wealth",
    "beta_cdf",
    "beta_interval",
    "beta_quantile",
    "design_effect",
    "dispersion",
    "in_phases",
    "is_due",
    "not_significantly_above",
    "sampled",
    "trend",
    "units_needed",
    "wilson",
]
