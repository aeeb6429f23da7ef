"""What people decide: approve, reject, take back, pause; merge, split and set the state of issues.

Each is one transaction with what follows from it: the gate looks again and the policy is published before it returns.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from rsi import clock
from rsi.analyze.health import Alarm
from rsi.config import Config, Home
from rsi.errors import ConflictError
from rsi.fix import apply, approvals, binding, rollback
from rsi.fix.edited import Decision
from rsi.model import Fix, Issue
from rsi.notify import Notifier
from rsi.pipeline import acting, proposed
from rsi.pipeline.acted import Acted
from rsi.pipeline.report import Events
from rsi.store import Store, fixes, issues
from rsi.store.fixes import FixRow

T = TypeVar("T")


class Deciding(ABC):
    """The half of the pipeline that people talk to."""

    _home: Home
    _config: Config
    _store: Store
    _lock: threading.RLock
    _wake: threading.Event
    _events: Events
    _notifier: Notifier

    @abstractmethod
    def _change(self, step: Callable[[Connection], T]) -> T:
        """Run a step, what the gate makes of it, and the policy that follows, in one transaction."""

    def approve(self, fix_id: str, who: str, now: bool = False) -> Fix:
        """Let a fix start: the same checks and canary as a safe one; with `now` for everyone at once, unverified.

        Raises:
            NotFoundError: there is no such fix.
            ConflictError: it is past this, or advice only.
        """
        at = clock.now()
        return self._decide(
            lambda conn: apply.approve(conn, fixes.get(conn, fixes.number(fix_id)), who, at, at_once=now)
        )

    def reject(self, fix_id: str, who: str) -> Fix:
        """Say no to a proposal; it does not come again.

        Raises:
            NotFoundError: there is no such fix.
            ConflictError: it is applied already, or over.
        """
        at = clock.now()
        return self._decide(lambda conn: apply.reject(conn, fixes.get(conn, fixes.number(fix_id)), who, at))

    def redeem(self, token: str, decision: Decision) -> Fix:
        """Approve or reject with the one-time token of a notification.

        Raises:
            NotFoundError: there is no such token.
            ConflictError: it was used, has expired, or is about another change than the one that is proposed now.
        """
        at = clock.now()
        return self._decide(lambda conn: approvals.redeem(conn, token, decision, at))

    def _decided(self, fix_id: str, decision: Decision, digest: str) -> Fix:
        """What a person wrote into the file of a fix, about the change with this digest.

        Raises:
            ConflictError: it is not proposed, or its change is another by now.
        """
        at = clock.now()

        def step(conn: Connection) -> FixRow:
            fix = fixes.get(conn, fixes.number(fix_id))
            if fix.state != "proposed" or binding.short(fix) != digest:
                raise ConflictError(f"{fix.ref} is {fix.state}, or its change is another by now")
            return decide(conn, fix, decision, proposed.WHO, at)

        return self._decide(step)

    def rollback(self, fix_id: str, who: str) -> Fix:
        """Take an applied fix back: the policy without it is published when this returns.

        Raises:
            NotFoundError: there is no such fix.
            ConflictError: it is not applied.
        """
        at = clock.now()
        return self._decide(lambda conn: rollback.one(conn, fix_id, who, at))

    def rollback_all(self, who: str) -> list[Fix]:
        """Take back everything that is applied, newest first."""
        at = clock.now()
        rows = self._change(lambda conn: rollback.everything(conn, who, at))
        for row in rows:
            self._notifier.tell("rolled_back", summary(row))
        with self._store.read() as conn:
            return [fixes.get_fix(conn, row.ref) for row in rows]

    def pause(self, who: str) -> bool:
        """Apply nothing until `resume`; what is live stays. True: paused."""
        return self._change(lambda conn: acting.set_paused(conn, who, on=True))

    def resume(self, who: str) -> bool:
        """Apply fixes again. False: not paused."""
        return self._change(lambda conn: acting.set_paused(conn, who, on=False))

    def merge(self, a: str, b: str, who: str) -> Issue:
        """Two issues are the same thing, for ever.

        Raises:
            NotFoundError, InvalidInputError: as `store.issues.merge`.
        """
        return self._issues(lambda conn: [issues.merge(conn, a, b, who)])[0]

    def split(self, a: str, who: str, fingerprint: int | None = None) -> list[Issue]:
        """An issue holds different things; what stayed and what was made. One template (`fingerprint`) leaves alone.

        Raises:
            NotFoundError, ConflictError: as `store.issues.split`.
        """
        return self._issues(lambda conn: list(issues.split(conn, a, who, fingerprint)))

    def set_issue_state(self, issue_id: str, state: str, who: str) -> Issue:
        """A person resolves, ignores or reopens an issue.

        Raises:
            NotFoundError, InvalidInputError: as `store.issues.set_state`.
        """
        return self._issues(lambda conn: [issues.set_state(conn, issue_id, state, who).id])[0]

    def _decide(self, step: Callable[[Connection], FixRow]) -> Fix:
        row = self._change(step)
        with self._store.read() as conn:
            found = fixes.get_fix(conn, row.ref)
        self._events.emit("fix", msgspec.to_builtins(found))
        if row.state == "rolled_back":
            self._notifier.tell("rolled_back", summary(row))
        else:
            self._notifier.tell("resolved", ended(row))
        return found

    def _tell_people(self, acted: Acted) -> None:
        """What waits for somebody, what waits no longer, and what was taken back."""
        started, planned = {fix.id for fix in (*acted.checking, *acted.started)}, {fix.id for fix in acted.planned}
        for fix in (*acted.planned, *acted.returned):
            if fix.id not in started and apply.approval(fix) is None:
                self._notifier.tell("proposal", summary(fix), approvals=self._offers(fix))
        for fix in (*acted.checking, *acted.started, *acted.ended):
            if fix.state == "rolled_back":
                self._notifier.tell("rolled_back", summary(fix))
            elif fix.id in acted.checked:
                continue
            elif fix.id not in planned and apply.approval(fix) is None and (fix.id in started or fix.applied is None):
                self._notifier.tell("resolved", ended(fix))

    def _tell_alarm(self, alarm: Alarm) -> None:
        if alarm.entered:
            self._notifier.tell("alarm", msgspec.to_builtins(alarm))
            return
        over = {"of": "alarm", "source": alarm.source, "task": alarm.task, "state": alarm.state}
        self._notifier.tell("resolved", {**over, "at": clock.iso(alarm.at)}, of="alarm")

    def _offers(self, fix: FixRow) -> list[dict[str, Any]]:
        """A token for each target that may have one."""
        wanted, base, now = self._notifier.trusted("proposal"), self._base(), clock.now()
        if not wanted:
            return []
        lifetime = self._config.auth.approval_ttl
        return self._store.write(lambda conn: [approvals.offer(conn, fix, base, now, lifetime) for _ in range(wanted)])

    def _base(self) -> str | None:
        """Where people reach the daemon."""
        found = self._config.auth.approval_url or (self._home.daemon() or {}).get("url")
        return found if isinstance(found, str) else None

    def _issues(self, step: Callable[[Connection], list[str]]) -> list[Issue]:
        with self._lock:
            refs = self._store.write(step)
        with self._store.read() as conn:
            found = [issues.get_issue(conn, ref) for ref in refs]
        for issue in found:
            self._events.emit("issue", msgspec.to_builtins(issue))
        self._wake.set()
        return found


def ended(fix: FixRow) -> dict[str, Any]:
    """What is said of a proposal that waits for nobody any more."""
    return {"of": "proposal", "id": fix.ref, "issue": f"i{fix.issue}", "state": fix.state, "at": clock.iso(fix.updated)}


def decide(conn: Connection, fix: FixRow, decision: Decision, who: str, now: float) -> FixRow:
    """Approve (with a canary) or reject.

    Raises:
        ConflictError: as `apply.approve` and `apply.reject`.
    """
    if decision == "approve":
        return apply.approve(conn, fix, who, now, at_once=False)
    return apply.reject(conn, fix, who, now)


def summary(fix: FixRow) -> dict[str, Any]:
    """What a notification says: ids and declared keys, never the text of an event."""
    return {
        "id": fix.ref,
        "state": fix.state,
        "title": fix.title,
        "rule": fix.rule,
        "issue": f"i{fix.issue}",
        "category": fix.category,
        "source": fix.source,
        "task": fix.task,
        "change": msgspec.to_builtins(fix.change),
        "verdict": fix.verdict.outcome if fix.verdict else None,
    }
