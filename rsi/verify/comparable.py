"""Whether a fix that cannot be split could be compared, if it started now: asked by the gate, before it starts.

The conditions are the verdict's own, from the same functions over the same window of rows (`rsi.verify.beside`), so
that no fix starts by itself which the verdict then cannot judge.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection

from rsi import clock
from rsi.model import StoredOutcome
from rsi.stats import BeforeAfterTrial
from rsi.store import outcomes
from rsi.store.fixes import FixRow
from rsi.verify import beside
from rsi.verify.beside import ANY, Beside
from rsi.verify.unsplit_rows import Told, Watched, take

COUNT_EVERY_S: Final = 5.0
"""The window is 5,000 rows; what waits is asked about once a second, and other fixes are looked at anew each time."""


class Comparable:
    """Asks; used by one thread at a time. The rows are read again when there are new ones, at most every 5 s."""

    def __init__(self) -> None:
        self._rows: list[StoredOutcome] = []
        self._last = -1
        self._look_at = float("-inf")
        self._known: dict[int, tuple[tuple[str, ...], str | None]] = {}

    def lacking(self, conn: Connection, fix: FixRow, reached: Collection[str], now: float) -> str | None:
        """What is missing to compare this fix with, in words; None: nothing.

        Args:
            conn: a connection of the store.
            fix: what could start.
            reached: sources that read the same file.
            now: epoch seconds.
        """
        if ANY in reached or fix.source == ANY:
            return "it is for every source, so that none stays untouched"
        self._read(conn, now)
        watched = Watched(
            fix=fix.id, source=fix.source, task=fix.task, started=now, first=self._last,
            since=max(0, self._last - beside.LOOK_BACK_ROWS), reached=tuple(sorted(reached)),
        )  # fmt: skip
        found = beside.find(conn, watched, self._rows)
        if not found.untouched:
            return _nobody(found)
        if self._known.get(fix.id, ((), None))[0] != found.untouched:
            self._known[fix.id] = (found.untouched, self._counted(watched, found.untouched))
        return self._known[fix.id][1]

    def _read(self, conn: Connection, now: float) -> None:
        last = outcomes.last_seq(conn)
        if last == self._last or clock.monotonic() < self._look_at:
            return
        self._last, self._look_at = last, clock.monotonic() + COUNT_EVERY_S
        since = max(0, last - beside.LOOK_BACK_ROWS)
        rows = beside.in_window(beside.rows_since(conn, since), now)
        self._rows = [row for row in rows if row.outcome.kind == "task" and not row.outcome.backfill]
        self._known.clear()

    def _counted(self, watched: Watched, untouched: tuple[str, ...]) -> str | None:
        fresh = Watched(
            fix=watched.fix, source=watched.source, task=watched.task, started=watched.started, first=watched.first,
            since=watched.since, untouched=untouched,
        )  # fmt: skip
        test = BeforeAfterTrial()
        take(Told(fresh, test), list(beside.in_window(self._rows, watched.started)), watched.first)
        return beside.lacking(test, untouched)


def _nobody(found: Beside) -> str:
    """Why no source is left."""
    said = [f"{name} has {n} of {beside.MIN_BEFORE} final tasks" for name, n in list(found.few.items())[: beside.NAMED]]
    if found.touched:
        said.append(f"another fix acts on, or has just left, {beside.names(found.touched)}")
    return "; ".join(said) or "no other source is known that it does not touch"
