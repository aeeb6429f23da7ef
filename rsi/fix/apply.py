"""Every step of a fix from one state to the next, each with its journal entry. Nothing else changes a fix's state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
from sqlalchemy import Connection

from rsi import change
from rsi.config import Config
from rsi.errors import ConflictError
from rsi.fix import checked, edit, states
from rsi.fix.rail import Rail, refusal
from rsi.model import Change, Check, FixState, Verdict
from rsi.store import fixes, journal, trials
from rsi.store.fixes import FixRow, NewFix
from rsi.store.trials import Before

Undecided: TypeAlias = Literal["keep", "remove"]
DAY_S: Final = 86_400.0
VERDICT: Final = "verdict"
DAEMON: Final = "daemon"
ADVICE_RAIL: Final = Rail("advice", "a person has to do this: rsi has no change for it")


def propose(conn: Connection, new: NewFix, now: float) -> FixRow:
    """A new fix that nobody has applied yet."""
    row = fixes.add(conn, new, now)
    if change.is_advice(row.change):
        row = fixes.change_to(conn, row.id, now, **refusal(row, [ADVICE_RAIL]))
    detail = {"issue": f"i{row.issue}", "knob": row.knob, "target": row.change.target, "diff": edit.told(row)}
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


def break_off(conn: Connection, fix: FixRow, rails: Sequence[Rail], now: float) -> FixRow:
    """Back from the check to where it came from: something else speaks against it, or it could not be run."""
    after: FixState = "approved" if approval(fix) else "proposed"
    return _move(conn, fix, after, DAEMON, now, **refusal(fix, rails))


def fail(conn: Connection, fix: FixRow, check: Check, now: float) -> FixRow:
    """The check says that it breaks what worked: it is over, whoever wanted it."""
    return _move(
        conn,
        fix,
        "failed",
        DAEMON,
        now,
        **refusal(fix, [Rail("check", f"it broke what worked: {checked.sentence(check)}")]),
    )


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
        detail={"stage": trial.stage, "fraction": trial.fraction, "salt": trial.salt, "diff": edit.told(fix)},
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
        detail={"diff": edit.told(fix)},
        rails=[],
        applied=now,
    )


def renew(conn: Connection, fix: FixRow, change_: Change, evidence: dict[str, Any], now: float) -> FixRow:
    """The same values for a file that has changed since; what it said before is journaled where that has moved."""
    moved = edit.decided(fix.change) != edit.decided(change_)
    row = fixes.change_to(conn, fix.id, now, change=change_, evidence=evidence)
    if moved:
        journal.append(conn, DAEMON, "fix.renewed", fix.ref, {"diff": edit.told(row)})
    return row


def begin_edit(conn: Connection, fix: FixRow, was: Before, now: float) -> FixRow:
    """The gate let it through: it is to be written into its file, once this is in the store."""
    who = _decider(fix)
    evidence = {**edit.with_edit(fix, step="due", says=""), "before": msgspec.to_builtins(was)}
    if fix.state != "checking":
        fix = _move(conn, fix, "checking", who, now, rails=[])
    journal.append(conn, who, "fix.writing", fix.ref, {"target": fix.change.target, "diff": edit.told(fix)})
    return fixes.change_to(conn, fix.id, now, evidence=evidence)


def edited(conn: Connection, fix: FixRow, config: Config, says: str, now: float, *, settled: bool = False) -> FixRow:
    """It is in its file: tried as a whole until `verify.max_days`, or kept where a person said `--now`.

    Args:
        conn: in a writing transaction.
        fix: one that was due.
        config: how long it is tried.
        says: what became of the file.
        now: epoch seconds.
        settled: another process wrote it, and ended before it could say so.
    """
    said = approval(fix)
    after: FixState = "kept_unverified" if said is not None and said["now"] else "canary"
    deadline = None if after == "kept_unverified" else now + config.verify.max_days * DAY_S
    detail = {"diff": edit.told(fix), "file": says, **({"settled": True} if settled else {})}
    evidence = edit.with_edit(fix, step="stands", says=says)
    moved = _move(
        conn, fix, after, _decider(fix), now, detail=detail,
        evidence=evidence, rails=[], applied=now, deadline=deadline,
    )  # fmt: skip
    if after in fixes.STANDING:
        _supersede_older(conn, moved, now)
    return moved


def not_edited(conn: Connection, fix: FixRow, says: str, now: float) -> FixRow:
    """The file refused it, or it was not written when the daemon ended: it waits again."""
    fix = fixes.change_to(
        conn, fix.id, now, evidence=edit.with_edit(fix, step="planned", says=says, tries=edit.of(fix).tries + 1)
    )
    journal.append(conn, DAEMON, "fix.not_written", fix.ref, {"why": says})
    return break_off(conn, fix, [Rail("file", says)] if says else [], now)


def taken_out(conn: Connection, fix: FixRow, how: str, says: str, now: float) -> FixRow:
    """It is not in its file any more, or what a person wrote over it stays (`how="left"`)."""
    found = edit.of(fix)
    step = "left" if how == "left" else "reverted"
    evidence = edit.with_edit(fix, step=step, says=says, tries=found.tries + 1)
    journal.append(conn, DAEMON, "fix.left" if how == "left" else "fix.reverted", fix.ref, {"how": how, "file": says})
    return fixes.change_to(conn, fix.id, now, evidence=evidence)


def act(  # noqa: PLR0917 - the order in which everything of this kind takes them
    conn: Connection, fix: FixRow, verdict: Verdict, config: Config, now: float, undecided: Undecided | None = None
) -> FixRow:
    """What the table of states makes of a verdict on a canary; the same fix where it says: go on watching.

    `undecided` is what becomes of one that is so at its deadline; by default as `fix.undecided` says.
    """
    passed = fix.deadline is not None and now >= fix.deadline
    after = states.after_verdict(verdict.outcome, deadline_passed=passed, undecided=undecided or config.fix.undecided)
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
    if after == "verified" and config.verify.holdout > 0 and not edit.is_file(fix):  # a file has no part to hold out
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
        said = edit.of(fix).says if edit.is_file(fix) else ""
        raise ConflictError(f"{fix.ref} is {fix.state}: there is nothing to roll back" + (f" ({said})" if said else ""))
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
    asked = {"change": edit.decided(fix.change)} if edit.is_file(fix) else {}
    evidence = {**fix.evidence, "approved": {"by": who, "now": at_once, **asked}}
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


def replan(conn: Connection, fix: FixRow, by: str, now: float) -> FixRow:
    """Its rule, its way to turn the knob or its file is another by now. It was never applied: it may come again."""
    moved = supersede(conn, fix, by, now)
    return fixes.change_to(conn, moved.id, now, dedupe=f"{fix.dedupe}#{fix.ref}")


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
        same = (other.source, other.task, other.knob) == (fix.source, fix.task, fix.knob)
        if other.id != fix.id and ((same and not _lessons(fix, other)) or edit.meets(other.change, fix.change)):
            supersede(conn, other, fix.ref, now)


def _lessons(a: FixRow, b: FixRow) -> bool:
    """Lessons of a file stand side by side."""
    return edit.is_file(a) and edit.is_file(b) and a.knob == b.knob == "lessons"


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
