"""Every step of a fix from one state to the next, each with its journal entry. Nothing else changes a fix's state."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection

from rsi import change
from rsi.config import Config
from rsi.errors import ConflictError
from rsi.fix import states
from rsi.model import FixState, Verdict
from rsi.store import fixes, journal, trials
from rsi.store.fixes import FixRow, NewFix
from rsi.store.trials import Before

DAY_S: Final = 86_400.0
VERDICT: Final = "verdict"
DAEMON: Final = "daemon"
ADVICE: Final = "a person has to do this: rsi has no change for it"


def propose(conn: Connection, new: NewFix, now: float) -> FixRow:
    """A new fix that nobody has applied yet."""
    row = fixes.add(conn, new, now)
    if change.is_advice(row.change):
        row = fixes.change_to(conn, row.id, now, rails=[ADVICE])
    detail = {"issue": f"i{row.issue}", "knob": row.knob, "diff": change.diff(row.change)}
    journal.append(conn, f"rule:{row.rule}", "fix.proposed", row.ref, detail)
    return row


def start(conn: Connection, fix: FixRow, config: Config, before: Before, now: float) -> FixRow:
    """Open the canary: stage 1 of the ramp, until a verdict or `verify.max_days`."""
    who = _decider(fix)
    checked = _move(conn, fix, "checking", who, now, rails=[])
    trial = trials.begin(conn, fix.id, "canary", config.verify.ramp[0], now, before=before)
    return _move(
        conn,
        checked,
        "canary",
        who,
        now,
        detail={"stage": trial.stage, "fraction": trial.fraction, "salt": trial.salt, "diff": change.diff(fix.change)},
        applied=now,
        deadline=now + config.verify.max_days * DAY_S,
    )


def start_stage(conn: Connection, fix: FixRow, fraction: float, now: float) -> None:
    """The ramp's next stage, with a salt of its own; the test goes on."""
    trial = trials.begin(conn, fix.id, "canary", fraction, now, anew=False)
    detail = {"stage": trial.stage, "fraction": fraction, "salt": trial.salt}
    journal.append(conn, VERDICT, "fix.stage", fix.ref, detail)


def keep_now(conn: Connection, fix: FixRow, now: float) -> FixRow:
    """100 % at once because a person said so: shown as unverified."""
    return _move(
        conn,
        fix,
        "kept_unverified",
        _decider(fix),
        now,
        detail={"diff": change.diff(fix.change)},
        rails=[],
        applied=now,
    )


def act(conn: Connection, fix: FixRow, verdict: Verdict, config: Config, now: float) -> FixRow:
    """What the table of states makes of a verdict on a canary; the same fix where it says: go on watching."""
    passed = fix.deadline is not None and now >= fix.deadline
    after = states.after_verdict(verdict.outcome, deadline_passed=passed, undecided=config.fix.undecided)
    if after is None:
        return fix
    detail = {
        "verdict": verdict.outcome,
        "p_fixed": verdict.p_fixed,
        "p_control": verdict.p_control,
        "n_fixed": verdict.n_fixed,
        "n_control": verdict.n_control,
        "deadline_passed": passed,
    }
    moved = _move(conn, fix, after, VERDICT, now, detail=detail)
    if after == "verified" and config.verify.holdout > 0:
        hold(conn, moved, 1.0 - config.verify.holdout, now)
    else:
        trials.close(conn, fix.id)
    if after in fixes.STANDING:
        _supersede_older(conn, moved, now)
    return moved


def hold(conn: Connection, fix: FixRow, fraction: float, now: float) -> None:
    """Begin a holdout window: everyone but a few, so that a later regression can be told from a change in the world."""
    trial = trials.begin(conn, fix.id, "holdout", fraction, now)
    detail = {"stage": trial.stage, "fraction": fraction, "salt": trial.salt}
    journal.append(conn, VERDICT, "fix.holdout", fix.ref, detail)


def end_holdout(conn: Connection, fix: FixRow, now: float) -> FixRow:
    """The holdout is over: the fix is for everyone."""
    trials.close(conn, fix.id)
    journal.append(conn, VERDICT, "fix.holdout_ended", fix.ref, {})
    return fixes.change_to(conn, fix.id, now)


def roll_back(conn: Connection, fix: FixRow, who: str, now: float, detail: dict[str, Any] | None = None) -> FixRow:
    """Take an applied fix out of the policy.

    Raises:
        ConflictError: it is not applied.
    """
    if fix.state not in fixes.APPLIED:
        raise ConflictError(f"{fix.ref} is {fix.state}: there is nothing to roll back")
    moved = _move(conn, fix, "rolled_back", who, now, detail=detail)
    trials.close(conn, fix.id)
    return moved


def reject(conn: Connection, fix: FixRow, who: str, now: float) -> FixRow:
    """A person says no; it is not proposed again.

    Raises:
        ConflictError: it is applied (roll it back instead) or over.
    """
    return _move(conn, fix, "rejected", who, now)


def approve(conn: Connection, fix: FixRow, who: str, now: float, *, at_once: bool) -> FixRow:
    """A person says yes; the gate then starts the canary, or with `at_once` applies it to everyone.

    Raises:
        ConflictError: there is nothing to apply, or it is past this.
    """
    if change.is_advice(fix.change):
        raise ConflictError(f"{fix.ref} is advice: do what it suggests, then `rsi reject {fix.ref}` to close it")
    evidence = {**fix.evidence, "approved": {"by": who, "now": at_once}}
    if fix.state == "approved":
        return fixes.change_to(conn, fix.id, now, evidence=evidence)
    return _move(conn, fix, "approved", who, now, detail={"now": at_once}, evidence=evidence)


def supersede(conn: Connection, fix: FixRow, by: str, now: float) -> FixRow:
    """Another fix takes its place."""
    moved = _move(conn, fix, "superseded", DAEMON, now, detail={"by": by})
    trials.close(conn, fix.id)
    return moved


def approval(fix: FixRow) -> dict[str, Any] | None:
    """Who approved it and whether at once; `None` if nobody did."""
    found = fix.evidence.get("approved")
    return found if isinstance(found, dict) else None


def _decider(fix: FixRow) -> str:
    said = approval(fix)
    return str(said["by"]) if said else f"rule:{fix.rule}"


def _supersede_older(conn: Connection, fix: FixRow, now: float) -> None:
    for other in fixes.in_states(conn, fixes.STANDING):
        if other.id != fix.id and (other.source, other.task, other.knob) == (fix.source, fix.task, fix.knob):
            supersede(conn, other, fix.ref, now)


def _move(
    conn: Connection,
    fix: FixRow,
    after: FixState,
    who: str,
    now: float,
    *,
    detail: dict[str, Any] | None = None,
    **values: Any,
) -> FixRow:
    states.check(fix.ref, fix.state, after)
    moved = fixes.change_to(conn, fix.id, now, state=after, **values)
    journal.append(conn, who, f"fix.{after}", fix.ref, {"from": fix.state, **(detail or {})})
    return moved
