"""The verdict on a fix: the test's word, minimum exposure, and whether the arms act on one another.

The test's own word is final once said (`rsi.stats`). What is said here may still be `undecided` after it: decision 9
of the design asks more of fixes whose arms can take capacity from one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from sqlalchemy import Connection

from rsi import clock
from rsi.model import Verdict, VerdictOutcome
from rsi.stats import (
    MIN_CONTROL_UNITS,
    VERIFY_AT,
    WORSE_AT,
    ConcurrentTrial,
)
from rsi.store import fixes
from rsi.store.arms import ArmCounts
from rsi.store.trials import Trial
from rsi.verify import units, washout, watch
from rsi.verify.guards import Guards, budget

#: Where a retry, a longer wait or another model may take capacity that the control arm then lacks.
INTERFERING: Final = frozenset({"rate_limit", "overloaded", "connection", "timeout_model", "timeout_tool"})
INTERACT: Final = "arms interact: "
NOT_YET: Final = "not known yet, "
"""What follows `INTERACT` while there are too few control units to say whether they do."""
GUARD: Final = "a side effect: "
MIN_UNITS: Final = 10
"""Settled units an arm needs before `verified` or `no_difference`: silence is not success. `worse` does not wait."""
STAGE_UNITS: Final = 20
"""Units of the fixed arm that a stage of the ramp must settle, without a lean to harm, before the next."""

MAX_CLAIMED: Final = 0.05
"""Share of reports whose arm was not drawn, above which nothing is `verified`: who chooses some of the arms chooses of
whom we hear in the others (docs/verdicts.md, assumptions). Our own clients never differ from what was drawn."""
MATTERS: Final = 0.05
"""What was left out is in the verdict's text if it is more than this share of the units that entered."""

METHOD: Final = "label-betting e-process on randomised units (one bet per unit, valid at every look)"
GUARDED: Final = "side effects by the same labels, each beyond its allowance"
PROCESSES: Final = "the unit is a client process"
CANNOT_EXCLUDE: Final = (
    "that the arms act on one another (shared capacity), or that something other than the fix struck one arm alone; "
    "a few giant units cannot decide"
)
UNSEEN: Final = "; what was not told by both arms: "


def decide(conn: Connection, trial: Trial, categories: Sequence[str], *, clients: int, now: float) -> Verdict:
    """What can be said now.

    Args:
        conn: a connection of the store.
        trial: an open trial.
        categories: what the fix is about.
        clients: live clients that enforce it; each has a retry reserve of its own.
        now: epoch seconds.
    """
    test, fix = watch.load(conn, trial), fixes.get(conn, trial.fix)
    guards = watch.load_guards(conn, fix)
    outcome, why = _word(trial, test, guards, categories, clients=clients, now=now)
    if outcome == "verified" and (claimed := _claimed(trial)):
        outcome, why = "undecided", f"{claimed}; {why}"
    fixed, control = trial.counts.fixed, trial.counts.control
    return Verdict(
        outcome=outcome,
        method=_method(trial, process=units.is_process(fix.knob)),
        cannot_exclude=CANNOT_EXCLUDE + (UNSEEN + ", ".join(unseen) if (unseen := guards.unseen()) else ""),
        p_fixed=_rate(fixed),
        p_control=_rate(control),
        n_fixed=fixed.units,
        n_control=control.units,
        at=clock.iso(now),
        why=why + _left_out(trial),
    )


def same(a: Verdict | None, b: Verdict) -> bool:
    """Whether two verdicts say the same, whenever they were said."""
    return a is not None and msgspec.structs.replace(a, at=None) == msgspec.structs.replace(b, at=None)


def at_deadline(verdict: Verdict, undecided: Literal["keep", "remove"]) -> Literal["keep", "remove"]:
    """What becomes of a canary that is still undecided when its time is up; `undecided` is the setting.

    `keep` is for what nobody knows anything against. Where arms were *seen* to interact, or a side effect stands,
    there is something against it, and it is removed.
    """
    seen = verdict.why.startswith(INTERACT) and not verdict.why.startswith(INTERACT + NOT_YET)
    return "remove" if seen or verdict.why.startswith(GUARD) else undecided


def next_fraction(conn: Connection, trial: Trial, ramp: Sequence[float]) -> float | None:
    """What the next stage gives to the fixed arm; None: this one goes on.

    The next of the ramp, if this one has settled `STAGE_UNITS` fixed units and does not lean to harm. Where
    arms may interact 0, if only a while without the fix can tell (`rsi.verify.washout`), and after that what it was.
    The bets price each unit with the fraction it started under, so the test goes on over stages (`rsi.stats`).
    """
    if trial.kind != "canary":
        return None
    test = watch.load(conn, trial)
    if (step := _ramp_step(trial, test, ramp)) is not None:
        return step
    if test.verdict != "verified" or trial.counts.control.units < MIN_CONTROL_UNITS:
        return None
    fix = fixes.get(conn, trial.fix)
    apart = units.is_process(fix.knob) or INTERFERING.isdisjoint([fix.category, *fix.evidence.get("categories", {})])
    return None if apart or _cleared(trial) else washout.fraction(trial.counts, trial.share)


def _ramp_step(trial: Trial, test: ConcurrentTrial, ramp: Sequence[float]) -> float | None:
    stages = [stage for stage in trial.counts.stages if stage.stage >= trial.counts.window]
    washed = any(not stage.fraction for stage in stages)
    done = sum(stage.kind == "canary" for stage in stages)
    if washed or done >= len(ramp) or trial.counts.stage_units < STAGE_UNITS:
        return None
    return ramp[done] if test.wealth.worse <= 1.0 else None


def _word(
    trial: Trial, test: ConcurrentTrial, guards: Guards, categories: Sequence[str], *, clients: int, now: float
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
    if test.verdict != "worse" and (certain := guards.significant()):
        return "worse", f"{GUARD}{'; '.join(certain)}; {lean}"
    if test.verdict in ("verified", "no_difference"):
        fewest = min(counts.fixed.units, counts.control.units)
        if fewest < MIN_UNITS:
            return "undecided", f"{fewest} units in the smaller arm, {MIN_UNITS} are needed; {lean}"
    if test.verdict == "verified":
        waiting = interference(trial, categories, clients=clients, now=now)
        if waiting:
            return "undecided", f"{INTERACT}{waiting}; {lean}"
        if tripped := guards.tripped():
            return "undecided", f"{GUARD}{'; '.join(tripped)}; {lean}"
    return test.verdict, lean


def interference(trial: Trial, categories: Sequence[str], *, clients: int, now: float) -> str | None:
    """What still speaks against `verified` where arms can share capacity; None: nothing does."""
    if INTERFERING.isdisjoint(categories):
        return None
    counts = trial.counts
    if counts.control.units < MIN_CONTROL_UNITS:
        return f"{NOT_YET}{counts.control.units} of {MIN_CONTROL_UNITS} settled control units"
    if over := _over_budget(trial, clients=clients, now=now):
        return over
    if _cleared(trial):
        return None
    seen = washout.above(counts)
    return f"{seen}; {washout.says(counts)}" if seen else f"{NOT_YET}{washout.says(counts)}"


def _cleared(trial: Trial) -> bool:
    return washout.by_before(trial.counts) or washout.by_washout(trial.counts)


def _over_budget(trial: Trial, *, clients: int, now: float) -> str | None:
    """Extra calls against the token bucket, which both arms of a client fill."""
    fixed, control = trial.counts.fixed, trial.counts.control
    outcomes = fixed.outcomes + control.outcomes
    extra = fixed.calls + control.calls - outcomes
    seconds = max(0.0, now - (trial.live_at or trial.started))
    allowed = budget(outcomes, seconds, clients) * outcomes
    if extra <= allowed:
        return None
    return f"{extra} extra calls over {outcomes} tasks, the retry budget allows {allowed:.0f}"


def _claimed(trial: Trial) -> str | None:
    """What speaks against `verified` where agents say that they are in arms which nobody gave them.

    Not while a holdout watches: the fix is verified, and the question is whether it does harm.
    """
    share = trial.counts.claimed
    if trial.kind != "canary" or share <= MAX_CLAIMED:
        return None
    return f"{share:.0%} of the reports claimed an arm that was not drawn (up to {MAX_CLAIMED:.0%} is let pass)"


def _left_out(trial: Trial) -> str:
    """What was told and does not count, where it is enough to matter."""
    counts = trial.counts
    said = [f"{name} {n}" for name, n in counts.left_out.items() if n > MATTERS * counts.entered]
    return f"; left out: {', '.join(said)} (units that entered: {counts.entered})" if said else ""


def _method(trial: Trial, *, process: bool) -> str:
    return f"{METHOD}, fraction {trial.share:g}; {PROCESSES + '; ' if process else ''}{GUARDED}"


def _rate(arm: ArmCounts) -> float | None:
    return arm.failed / arm.outcomes if arm.outcomes else None
