"""The verdict on a fix: the test's word, minimum exposure, and whether the arms act on one another.

The test's own word is final once said (`rsi.stats`). What is said here may still be `undecided` after it: decision 9
of the design asks more of fixes whose arms can take capacity from one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from rsi import clock
from rsi.model import Verdict, VerdictOutcome
from rsi.stats import (
    MIN_CONTROL_UNITS,
    VERIFY_AT,
    WORSE_AT,
    ConcurrentTrial,
    design_effect,
    not_significantly_above,
)
from rsi.store.arms import ArmCounts
from rsi.store.trials import Trial
from rsi.verify import watch

#: Where a retry, a longer wait or another model may take capacity that the control arm then lacks.
INTERFERING: Final = frozenset({"rate_limit", "overloaded", "connection", "timeout_model", "timeout_tool"})
INTERACT: Final = "arms interact: "
MIN_UNITS: Final = 10
"""Settled units an arm needs before `verified` or `no_difference`: silence is not success. `worse` does not wait."""
EXTRA_CALLS: Final = 0.2
"""The always-on retry budget (contract §4): 20 % extra calls …"""
RESERVE_PER_S: Final = 1.0
"""… and a reserve of 10 in 10 s, per client."""
STAGE_UNITS: Final = 20
"""Units of the fixed arm that a stage of the ramp must settle, without a lean to harm, before the next."""

METHOD: Final = "label-betting e-process on randomised units (one bet per unit, valid at every look)"
CANNOT_EXCLUDE: Final = (
    "that the arms act on one another (shared capacity), or that something other than the fix struck one arm alone; "
    "a few giant units cannot decide"
)


def decide(conn: Connection, trial: Trial, categories: Sequence[str], *, clients: int, now: float) -> Verdict:
    """What can be said now.

    Args:
        conn: a connection of the store.
        trial: an open trial.
        categories: what the fix is about.
        clients: live clients that enforce it; each has a retry reserve of its own.
        now: epoch seconds.
    """
    test = watch.load(conn, trial)
    outcome, why = _word(trial, test, categories, clients=clients, now=now)
    fixed, control = trial.counts.fixed, trial.counts.control
    return Verdict(
        outcome=outcome,
        method=f"{METHOD}, fraction {trial.fraction:g}",
        cannot_exclude=CANNOT_EXCLUDE,
        p_fixed=_rate(fixed),
        p_control=_rate(control),
        n_fixed=fixed.units,
        n_control=control.units,
        at=clock.iso(now),
        why=why,
    )


def same(a: Verdict | None, b: Verdict) -> bool:
    """Whether two verdicts say the same, whenever they were said."""
    return a is not None and msgspec.structs.replace(a, at=None) == msgspec.structs.replace(b, at=None)


def next_fraction(conn: Connection, trial: Trial, ramp: Sequence[float]) -> float | None:
    """The next stage of the ramp, if this one has settled `STAGE_UNITS` fixed units and does not lean to harm.

    The bets price each unit with the fraction it started under, so the test goes on over stages (`rsi.stats`).
    """
    done = sum(stage.kind == "canary" and stage.stage >= trial.counts.window for stage in trial.counts.stages)
    if trial.kind != "canary" or done >= len(ramp) or trial.counts.stage_units < STAGE_UNITS:
        return None
    return ramp[done] if watch.load(conn, trial).wealth.worse <= 1.0 else None


def _word(
    trial: Trial, test: ConcurrentTrial, categories: Sequence[str], *, clients: int, now: float
) -> tuple[VerdictOutcome, str]:
    counts = trial.counts
    if not counts.fixed.units + counts.control.units:
        return "no_data", "no unit of this experiment has ended yet"
    if test.verdict == "no_data":
        arm = "fixed" if not counts.fixed.units else "control"
        return "undecided", f"no unit of the {arm} arm has ended yet"
    lean = (
        f"evidence for better {test.wealth.better:.3g} ({VERIFY_AT:g} verifies), "
        f"for worse {test.wealth.worse:.3g} ({WORSE_AT:g} rolls back)"
    )
    if test.verdict in ("verified", "no_difference"):
        fewest = min(counts.fixed.units, counts.control.units)
        if fewest < MIN_UNITS:
            return "undecided", f"{fewest} units in the smaller arm, {MIN_UNITS} are needed; {lean}"
    if test.verdict == "verified":
        waiting = interference(trial, categories, clients=clients, now=now)
        if waiting:
            return "undecided", f"{INTERACT}{waiting}; {lean}"
    return test.verdict, lean


def interference(trial: Trial, categories: Sequence[str], *, clients: int, now: float) -> str | None:
    """What still speaks against `verified` where arms can share capacity; None: nothing does."""
    if INTERFERING.isdisjoint(categories):
        return None
    counts = trial.counts
    control, before = counts.control, counts.before
    if control.units < MIN_CONTROL_UNITS:
        return f"{control.units} of {MIN_CONTROL_UNITS} settled control units"
    effect = design_effect([label == "1" for label in counts.labels])
    if not not_significantly_above(control.failed, control.outcomes, before.failed, before.tasks, effect, effect):
        was = before.failed / before.tasks if before.tasks else 0.0
        return (
            f"the control arm fails {control.failed / control.outcomes:.3f} of its tasks, "
            f"significantly more than the {was:.3f} before the canary"
        )
    return _over_budget(trial, clients=clients, now=now)


def _over_budget(trial: Trial, *, clients: int, now: float) -> str | None:
    """Extra calls against the token bucket, which both arms of a client fill."""
    fixed, control = trial.counts.fixed, trial.counts.control
    outcomes = fixed.outcomes + control.outcomes
    extra = fixed.calls + control.calls - outcomes
    seconds = max(0.0, now - (trial.live_at or trial.started))
    allowed = EXTRA_CALLS * outcomes + RESERVE_PER_S * seconds * max(1, clients)
    if extra <= allowed:
        return None
    return f"{extra} extra calls over {outcomes} tasks, the retry budget allows {allowed:.0f}"


def _rate(arm: ArmCounts) -> float | None:
    return arm.failed / arm.outcomes if arm.outcomes else None
