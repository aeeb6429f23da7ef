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
from rsi.fix import apply, rollback
from rsi.model import Fix, Issue
from rsi.notify import Notifier
from rsi.pipeline import acting
from rsi.pipeline.report import Events
from rsi.store import Store, fixes, issues
from rsi.store.fixes import FixRow

T = TypeVar("T")


class Deciding(ABC):
    """The half of the pipeline that people talk to."""

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
            fix_id, lambda conn: apply.approve(conn, fixes.get(conn, fixes.number(fix_id)), who, at, at_once=now)
        )

    def reject(self, fix_id: str, who: str) -> Fix:
        """Say no to a proposal; it does not come again.

        Raises:
            NotFoundError: there is no such fix.
            ConflictError: it is applied already, or over.
        """
        at = clock.now()
        return self._decide(fix_id, lambda conn: apply.reject(conn, fixes.get(conn, fixes.number(fix_id)), who, at))

    def rollback(self, fix_id: str, who: str) -> Fix:
        """Take an applied fix back: the policy without it is published when this returns.

        Raises:
            NotFoundError: there is no such fix.
            ConflictError: it is not applied.
        """
        at = clock.now()
        return self._decide(fix_id, lambda conn: rollback.one(conn, fix_id, who, at))

    def rollback_all(self, who: str) -> list[Fix]:
        """Take back everything that is applied, newest first."""
        at = clock.now()
        rows = self._change(lambda conn: rollback.everything(conn, who, at))
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

    def split(self, a: str, who: str) -> list[Issue]:
        """An issue holds different things; what stayed and what was made.

        Raises:
            NotFoundError, ConflictError: as `store.issues.split`.
        """
        return self._issues(lambda conn: list(issues.split(conn, a, who)))

    def set_issue_state(self, issue_id: str, state: str, who: str) -> Issue:
        """A person resolves, ignores or reopens an issue.

        Raises:
            NotFoundError, InvalidInputError: as `store.issues.set_state`.
        """
        return self._issues(lambda conn: [issues.set_state(conn, issue_id, state, who).id])[0]

    def _decide(self, fix_id: str, step: Callable[[Connection], FixRow]) -> Fix:
        row = self._change(step)
        with self._store.read() as conn:
            found = fixes.get_fix(conn, fix_id)
        self._events.emit("fix", msgspec.to_builtins(found))
        if row.state == "rolled_back":
            self._notifier.tell("rolled_back", summary(row))
        return found

    def _issues(self, step: Callable[[Connection], list[str]]) -> list[Issue]:
        with self._lock:
            refs = self._store.write(step)
        with self._store.read() as conn:
            found = [issues.get_issue(conn, ref) for ref in refs]
        for issue in found:
            self._events.emit("issue", msgspec.to_builtins(issue))
        self._wake.set()
        return found


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
