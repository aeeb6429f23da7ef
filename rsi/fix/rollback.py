"""Undo: one fix, or all that are live or on their way."""

from __future__ import annotations

from sqlalchemy import Connection

from rsi.fix import apply
from rsi.store import fixes
from rsi.store.fixes import FixRow


def one(conn: Connection, ref: str, who: str, now: float) -> FixRow:
    """Take one applied fix back, or call its check off. What it wrote into a file is taken out right after this.

    Raises:
        NotFoundError: there is no such fix.
        ConflictError: it is not applied.
    """
    return apply.roll_back(conn, fixes.get(conn, fixes.number(ref)), who, now)


def everything(conn: Connection, who: str, now: float) -> list[FixRow]:
    """Take back every applied fix, newest first; one that is being checked does not start."""
    found = fixes.in_states(conn, (*fixes.APPLIED, "checking"))
    return [apply.roll_back(conn, fix, who, now) for fix in reversed(found)]
