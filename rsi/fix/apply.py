"""Every step of a fix from one state to the next, each with its journal entry. Nothing else changes a fix's state."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from rsi import change
from rsi.config import Config
from rsi.errors import ConflictError
from rsi.fix import checked, states
from rsi.model import Check, FixState, Verdict
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


def begin_check(conn: Connection, fix: FixRow, key: str, now: float) -> FixRow:
    """Nothing else speaks against it: whether it breaks anything is to be found out before it starts."""
    return _move(conn, fix, "checking", _decider(fix), now, detail={"check": key}, rails=[])


def keep_check(conn: Connection, fix: FixRow, check: Check, now: float) -> FixRow:
    """What the check said, on the fix. The journal has the outcome and its figures, and nothing that was printed."""
    row = fixes.change_to(conn, fix.id, now, evidence={**fix.evidence, checked.EVIDENCE: msgspec.to_builtins(check)})
    journal.append(conn, DAEMON, "fix.checked", fix.ref, _figures(check))
    return row


def break_off(conn: Connection, fix: FixRow, rails: list[str], now: float) -> FixRow:
    """Back from the check to where it came from: something else speaks against it, or it could not be run."""
    after: FixState = "approved" if approval(fix) else "proposed"
    return _move(conn, fix, after, DAEMON, now, rails=rails)


def fail(conn: Connection, fix: FixRow, check: Check, now: float) -> FixRow:
    """The check says that it breaks what worked: it is over, whoever wanted it."""
    return _move(conn, fix, "failed", DAEMON, now, rails=[f"it broke what worked: {checked.sentence(check)}"])


def start(conn: Connection, fix: FixRow, config: Config, before: Before, now: float) -> FixRow:
    """Open the canary: stage 1 of the ramp, until a verdict or `verify.max_days`."""
    who = _decider(fix)
    if fix.state != "checking":
        fix = _move(conn, fix, "checking", who, now, rails=[])
    trial = trials.begin(conn, fix.id, "canary", config.verify.ramp[0], now, before=before)
    return _move(
        conn,
        fix,
        "canary",
        who,
        now,
        detail={"stage": trial.stage, "fraction": trial.fraction, "salt": trial.salt, "diff": change.diff(fix.change)},
        rails=[],
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
    """Take an applied fix out of the policy; one that is being checked is called off.

    Raises:
        ConflictError: it is neither.
    """
    if fix.state != "checking" and fix.state not in fixes.APPLIED:
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
    """A person says yes; the gate then has it checked and starts the canary, or with `at_once` gives it to everyone.

    Raises:
        ConflictError: there is nothing to apply, or it is past this; a fix that broke the check says so.
    """
    found = checked.of(fix.evidence)
    if fix.state == "failed" and found is not None and found.outcome == "broke":
        raise ConflictError(f"{fix.ref} is not applied, not even with --now: it broke what worked: {found.why}")
    if change.is_advice(fix.change):
        raise ConflictError(f"{fix.ref} is advice: do what it suggests, then `rsi reject {fix.ref}` to close it")
    evidence = {**fix.evidence, "approved": {"by": who, "now": at_once}}
    if found is not None and found.outcome not in checked.OPEN_DOOR:
        del evidence[checked.EVIDENCE]  # what could not be had before is tried again for who approves
    if fix.state == "approved":
        return fixes.change_to(conn, fix.id, now, evidence=evidence)
    if fix.state == "checking":  # the check goes on; what comes of it is now this person's
        journal.append(conn, who, "fix.approved", fix.ref, {"from": fix.state, "now": at_once})
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


def _figures(check: Check) -> dict[str, Any]:
    runs = {"with": check.with_it, "without": check.without}
    found: dict[str, Any] = {"outcome": check.outcome, "check": check.key}
    for side, run in runs.items():
        if run is not None:
            found[side] = {"exit": run.exit, "killed_by": run.killed_by, "s": run.seconds}
    if check.replay is not None:
        found["replay"] = {
            "outcome": check.replay.outcome,
            "times": check.replay.times,
            "ok_with": check.replay.ok_with,
            "ok_without": check.replay.ok_without,
        }
    return found


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
