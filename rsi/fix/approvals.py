"""Deciding with a one-time token: for exactly the change that it was sent out for, once, and only for so long."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection

from rsi import clock
from rsi.errors import ConflictError
from rsi.fix import apply, binding
from rsi.fix.edited import Decision
from rsi.store import approvals, fixes
from rsi.store.approvals import Approval
from rsi.store.fixes import FixRow

WHO: Final = "person:webhook"
ROUTE: Final = "/v1/approvals"


def offer(conn: Connection, fix: FixRow, base: str | None, now: float, lifetime: float) -> dict[str, Any]:
    """What a notification carries so that its reader can decide: a token, where to send it and until when.

    Args:
        conn: in a writing transaction.
        fix: a proposed one.
        base: where people reach the daemon, if that is known.
        now: epoch seconds.
        lifetime: seconds.
    """
    bound = binding.digest(fix)
    token = approvals.issue(conn, fix.id, bound, now, now + lifetime)
    path = f"{ROUTE}/{token}"
    return {
        "token": token,
        "digest": bound,
        "expires": clock.iso(now + lifetime),
        "method": "POST",
        "path": path,
        "url": f"{base.rstrip('/')}{path}" if base else None,
        "decisions": ["approve", "reject"],
    }


def redeem(conn: Connection, token: str, decision: Decision, now: float) -> FixRow:
    """Do what `rsi approve` or `rsi reject` does, and use the token up.

    Raises:
        NotFoundError: there is no such token.
        ConflictError: it was used, has expired, or the fix is not proposed any more, or not with this change.
    """
    found = approvals.find(conn, token)
    fix = fixes.get(conn, found.fix)
    _check(found, fix, now)
    approvals.use(conn, found.id, decision, now)
    if decision == "approve":
        return apply.approve(conn, fix, WHO, now, at_once=False)
    return apply.reject(conn, fix, WHO, now)


def _check(found: Approval, fix: FixRow, now: float) -> None:
    if found.used is not None:
        raise ConflictError(
            f"this token was used at {clock.iso(found.used)} ({found.decision} {fix.ref}); it works once"
        )
    if now >= found.expires:
        when = clock.iso(found.expires)
        raise ConflictError(f"this token expired at {when}; `rsi approve {fix.ref}` works without one")
    if fix.state != "proposed":
        raise ConflictError(f"this token is void: {fix.ref} is {fix.state} and waits for nobody")
    if found.digest != binding.digest(fix):
        raise ConflictError(f"this token is void: the change of {fix.ref} is another by now; see `rsi fix {fix.ref}`")
