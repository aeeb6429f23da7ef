"""The sums over the two arms of an experiment, and what they say of a fix's price."""

from __future__ import annotations

from typing import Final

import msgspec

from rsi.model import Cost
from rsi.stats import price
from rsi.stats.price import Sample

MS_PER_S: Final = 1000.0


class ArmCounts(msgspec.Struct, frozen=True):
    """Sums over one arm of the present experiment: `calls` are tries (`attempt`), `failed` outcomes that failed.

    `ms` is summed over the `timed` outcomes that said how long they took, `tokens` over the `metered` ones that counted
    them. Those are summed as outcomes arrive, the others when the test is told of their unit.
    """

    units: int = 0
    outcomes: int = 0
    failed: int = 0
    calls: int = 0
    silent: int = 0
    ms: float = 0
    timed: int = 0
    tokens: float = 0
    metered: int = 0
    ms2: float = 0  # sums of squares, for intervals
    tokens2: float = 0
    tries: int = 0  # as `calls`, summed as outcomes arrive, over the `tried`
    tries2: int = 0
    tried: int = 0


def compare(fixed: ArmCounts, control: ArmCounts) -> Cost:
    """What the fixed arm did more, and what failed less, than its tasks would have at the control arm's rates.

    Nothing is said where an arm has nothing to compare with.
    """
    if not (fixed.outcomes and control.outcomes):
        return Cost()
    cost = Cost(
        tasks=fixed.outcomes,
        failures_avoided=_more(control.failed, control.outcomes, fixed.failed, fixed.outcomes),
        extra_calls=-_more(control.calls, control.outcomes, fixed.calls, fixed.outcomes),
        extra_tokens=_extra(fixed.tokens, fixed.metered, control.tokens, control.metered),
        extra_s=_extra(fixed.ms / MS_PER_S, fixed.timed, control.ms / MS_PER_S, control.timed),
        method=price.METHOD,
    )
    return msgspec.structs.replace(
        cost,
        failures_avoided_95=price.saved(_failures(fixed), _failures(control)),
        extra_calls_95=price.spent(_tries(fixed), _tries(control), cost.extra_calls),
        extra_tokens_95=_spent(_tokens(fixed), _tokens(control), cost.extra_tokens),
        extra_s_95=_spent(_seconds(fixed), _seconds(control), cost.extra_s),
    )


def plus(one: Cost, other: Cost) -> Cost:
    """Both together: an earlier experiment of the same fix, and the present one."""
    if not (one.tasks and other.tasks):
        return one if one.tasks else other
    return Cost(
        tasks=one.tasks + other.tasks,
        failures_avoided=round(one.failures_avoided + other.failures_avoided, 2),
        extra_calls=round(one.extra_calls + other.extra_calls, 2),
        extra_tokens=_sum(one.extra_tokens, other.extra_tokens),
        extra_s=_sum(one.extra_s, other.extra_s),
        failures_avoided_95=price.together(
            one.failures_avoided, one.failures_avoided_95, other.failures_avoided, other.failures_avoided_95
        ),
        extra_calls_95=price.together(one.extra_calls, one.extra_calls_95, other.extra_calls, other.extra_calls_95),
        extra_tokens_95=price.together(
            one.extra_tokens or 0.0, one.extra_tokens_95, other.extra_tokens or 0.0, other.extra_tokens_95
        ),
        extra_s_95=price.together(one.extra_s or 0.0, one.extra_s_95, other.extra_s or 0.0, other.extra_s_95),
        method=price.METHOD,
    )


def _failures(arm: ArmCounts) -> Sample:
    return Sample(arm.units, arm.outcomes, arm.outcomes, arm.failed, arm.failed)


def _tries(arm: ArmCounts) -> Sample:
    return Sample(arm.units, arm.outcomes, arm.tried, arm.tries, arm.tries2)


def _tokens(arm: ArmCounts) -> Sample:
    return Sample(arm.units, arm.outcomes, arm.metered, arm.tokens, arm.tokens2)


def _seconds(arm: ArmCounts) -> Sample:
    return Sample(arm.units, arm.outcomes, arm.timed, arm.ms / MS_PER_S, arm.ms2 / MS_PER_S**2)


def _spent(fixed: Sample, control: Sample, middle: float | None) -> tuple[float, float] | None:
    return None if middle is None else price.spent(fixed, control, middle)


def _more(base: float, base_n: int, here: float, here_n: int) -> float:
    """What `here_n` would come to at the base's rate, less what they did."""
    return round(base / base_n * here_n - here, 2)


def _extra(fixed: float, fixed_n: int, control: float, control_n: int) -> float | None:
    return -_more(control, control_n, fixed, fixed_n) if fixed_n and control_n else None


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None and other is None else round((one or 0.0) + (other or 0.0), 2)
