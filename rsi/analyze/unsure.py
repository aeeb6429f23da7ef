"""Failures that may be normal work: their reporter says so (tag `rsi:unsure`), and one session alone makes no issue.

A coding agent's command that exits with 1 is an outcome, not yet an issue. The same template in a second session is.
What the first one left is not counted afterwards: an issue begins with its second session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from rsi.model import StoredOutcome
from rsi.store import meta
from rsi.store.fingerprints import Key

TAG: Final = "rsi:unsure"
_KEY: Final = "unsure"
#: Templates that are remembered with the session they came from, some 60 bytes each; beyond it the oldest is new again.
REMEMBERED: Final = 1_000


class Unsure:
    """What one pass holds back.

    Args:
        conn: anything that sees the rows before these.
        rows: the rows of this pass.
        keys: row number → template, of those that failed.
        slots: template → its id, negative where it is no issue's yet.
    """

    def __init__(
        self, conn: Connection, rows: Sequence[StoredOutcome], keys: Mapping[int, Key], slots: Mapping[Key, int]
    ) -> None:
        asked = [row for row in rows if row.seq in keys and _is_unsure(row) and slots.get(keys[row.seq], -1) < 0]
        self.held: frozenset[int] = frozenset()
        self.new: dict[str, str] = {}
        if asked:
            self._look(conn, rows, asked, keys)

    def _look(
        self, conn: Connection, rows: Sequence[StoredOutcome], asked: Sequence[StoredOutcome], keys: Mapping[int, Key]
    ) -> None:
        before: dict[str, str] = meta.get(conn, _KEY, {})
        known = {name: {session} for name, session in before.items()}
        for row in asked:
            known.setdefault(_name(keys[row.seq]), set()).add(row.outcome.unit)
        sure = {keys[row.seq] for row in rows if row.seq in keys and not _is_unsure(row)}
        once = [row for row in asked if len(known[_name(keys[row.seq])]) == 1 and keys[row.seq] not in sure]
        self.held = frozenset(row.seq for row in once)
        self.new = {_name(keys[row.seq]): row.outcome.unit for row in once if _name(keys[row.seq]) not in before}


def remember(conn: Connection, new: Mapping[str, str]) -> None:
    """Which session each of these templates was seen in."""
    if new:
        known: dict[str, Any] = {**meta.get(conn, _KEY, {}), **new}
        meta.put(conn, _KEY, dict(list(known.items())[-REMEMBERED:]))


def _is_unsure(row: StoredOutcome) -> bool:
    return TAG in row.outcome.tags and row.outcome.kind != "task"


def _name(key: Key) -> str:
    return f"{key[0]}:{key[1]}"
