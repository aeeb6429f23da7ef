"""A verified fix whose scope fails again: whether that is the world or the fix.

While its holdout stands that is a question for the arms, and `worse` is their answer. Where there is no control arm
any more there is only a before and an after, and a regression is *suspected*, whatever the numbers say.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec
from sqlalchemy import Connection

from rsi.model import Verdict
from rsi.stats import dispersion, not_significantly_above
from rsi.store import traffic
from rsi.store.fixes import FixRow
from rsi.store.trials import Trial

Kind: TypeAlias = Literal["not_the_fix", "asked", "suspected"]

HOUR_S: Final = 3_600.0
RECENT_HOURS: Final = 24
MIN_TASKS: Final = 30
"""Below this many tasks a rate says nothing."""
ALPHA: Final = 0.001
"""One-sided, at each look; hourly looks overlap, so that a month has about as many independent ones as days."""
MIN_CONTROL: Final = 10
"""Settled control units before the holdout may speak for the fix."""


class Regression(msgspec.Struct, frozen=True):
    """`not_the_fix`: the control arm fails as well. `asked`: the holdout will tell. `suspected`: nobody can tell."""

    kind: Kind
    why: str


def look(conn: Connection, fix: FixRow, trial: Trial | None, now: float) -> Regression | None:
    """Whether the scope of a verified fix fails significantly more of late than when it was verified; None: no.

    Args:
        conn: a connection of the store.
        fix: a verified fix of one source and task.
        trial: its trial; a holdout, closed, or none (a change that could not be split).
        now: epoch seconds.
    """
    said = fix.verdict
    if fix.state != "verified" or said is None or said.p_fixed is None or not said.n_fixed:
        return None
    rose = _rose(conn, fix, said, said.p_fixed, _since(fix, trial, now))
    if rose is None:
        return None
    if trial is None or trial.kind != "holdout":
        sentence = f"{rose}; nobody is without the fix any more, so that the world may have changed as well"
        return Regression("suspected", sentence)
    return _asked(trial, rose)


def _since(fix: FixRow, trial: Trial | None, now: float) -> int:
    """The first whole hour after it was verified, at most a day ago."""
    held = [stage.started for stage in trial.counts.stages if stage.kind == "holdout"] if trial else []
    verified = held[0] if held else fix.updated
    return max(int(verified // HOUR_S) + 1, int(now // HOUR_S) - RECENT_HOURS + 1)


def _rose(conn: Connection, fix: FixRow, said: Verdict, was: float, since: int) -> str | None:
    hours = traffic.by_hour(conn, fix.source, fix.task, since)
    tasks, failed = sum(hour.n for hour in hours), sum(hour.failed for hour in hours)
    if tasks < MIN_TASKS:
        return None
    spread = dispersion([hour.failed for hour in hours], [hour.n for hour in hours], recent=0)
    if not_significantly_above(failed, tasks, was * said.n_fixed, said.n_fixed, spread, 1.0, ALPHA):
        return None
    return f"{failed} of {tasks} tasks failed of late, {was:.3f} of them did when {fix.ref} was verified"


def _asked(trial: Trial, rose: str) -> Regression:
    fixed, control = trial.counts.fixed, trial.counts.control
    if control.units < MIN_CONTROL or not fixed.outcomes:
        return Regression("asked", f"{rose}; {control.units} units without the fix are too few to say why yet")
    with_it, without = fixed.failed / fixed.outcomes, control.failed / control.outcomes
    figures = f"{with_it:.3f} with the fix and {without:.3f} without it"
    if not_significantly_above(fixed.failed, fixed.outcomes, control.failed, control.outcomes):
        return Regression("not_the_fix", f"{rose}; {figures}: what changed struck both")
    return Regression("asked", f"{rose}; {figures}: the holdout's verdict is not in yet")
