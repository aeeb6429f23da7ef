"""What the files say about the fixes that wait for them or stand in them.

A look costs one `lstat` per file; only a file that has changed since the last look is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection

from rsi import clock
from rsi.config import Config, Home
from rsi.errors import RSIError
from rsi.fix import apply, edit, targets, ways
from rsi.fix.rail import Rail
from rsi.model import Change
from rsi.pipeline.acted import Acted
from rsi.pipeline.whole import readers
from rsi.store import Store, fixes
from rsi.store.fixes import FixRow
from rsi.verify.comparable import Comparable

LOOK_EVERY_S: Final = 1.0
"""A person does not notice it, and a busy daemon runs twenty cycles a second."""
TRY_AGAIN_S: Final = 600.0
"""A file that could not be written (a full disk, no permission) is tried again so often."""
PERSON: Final = "person:file"
WAITING: Final = ("proposed", "approved")


class Stamp(NamedTuple):
    """What of a file changes when somebody writes it, replaces it or forbids writing it."""

    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int
    mode: int


class Files:
    """Looks at them; used by one thread at a time.

    Args:
        home: where they are.
        config: `targets` and `fix.bounds`.
        store: which fixes are about them.
    """

    def __init__(self, home: Home, config: Config, store: Store) -> None:
        self._home, self._config, self._store = home.path, config, store
        self._seen: dict[int, tuple[Stamp | None, Change]] = {}
        self._refused: dict[int, str] = {}
        self._unwritten: dict[int, tuple[float, str]] = {}
        self._look_at = float("-inf")
        self._comparable = Comparable()

    # --- what the gate asks

    def rails(self, fix: FixRow) -> Sequence[Rail]:
        """What its file says against starting it."""
        until, unwritten = self._unwritten.get(fix.id, (float("-inf"), None))
        why = self._refused.get(fix.id) or (unwritten if clock.monotonic() < until else None)
        return [Rail("file", why)] if why is not None else []

    def lacking(self, conn: Connection, fix: FixRow, now: float) -> str | None:
        """What is missing to hold its source against sources that do not read its file, in words; None: nothing."""
        return self._comparable.lacking(conn, fix, readers(self._config, fix), now)

    # --- what the pipeline does

    def not_written(self, fix: FixRow, why: str) -> None:
        """It could be planned and not written: tried again when the file changes, a person asks, or time has passed."""
        self._unwritten[fix.id] = (clock.monotonic() + TRY_AGAIN_S, why)

    def look(self, *, rest: bool = False) -> Acted:
        """Plan waiting fixes again from what their file says now, and give up those that a person has overwritten.

        Args:
            rest: not more than once a second.
        """
        acted = Acted()
        if rest and clock.monotonic() < self._look_at:
            return acted
        self._look_at = clock.monotonic() + LOOK_EVERY_S
        if not rest:
            self._unwritten.clear()
        with self._store.read() as conn:
            found = [fix for fix in fixes.in_states(conn, (*WAITING, *fixes.APPLIED)) if edit.is_file(fix)]
        known = {fix.id for fix in found}
        self._seen = {key: seen for key, seen in self._seen.items() if key in known}
        self._refused = {key: why for key, why in self._refused.items() if key in known}
        for fix in found:
            seen = (self._stamp(fix), fix.change)
            if self._seen.get(fix.id) == seen:
                continue
            self._seen[fix.id] = seen
            if fix.state in WAITING:
                self._plan_again(fix, acted)
            elif not any(other.id > fix.id and edit.meets(other.change, fix.change) for other in found):
                self._hold(fix, acted)
        return acted

    def _stamp(self, fix: FixRow) -> Stamp | None:
        try:
            facts = (self._home / edit.place(fix.change)).lstat()
        except OSError:
            return None
        return Stamp(facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino, facts.st_mode)

    def _plan_again(self, fix: FixRow, acted: Acted) -> None:
        """The same values, from what the file says now."""
        now = clock.now()
        self._refused.pop(fix.id, None)
        self._unwritten.pop(fix.id, None)
        try:
            again = ways.again(self._home, self._config, fix)
            if again is not None:
                ways.recheck(self._home, self._config, fix, again.change)
        except RSIError as error:
            self._refused[fix.id] = str(error)
            return
        if again is None:
            by = f"{edit.place(fix.change)}, which says it already"
            acted.ended.append(self._store.write(lambda conn: apply.replan(conn, fix, by, now)))
        elif again.change != fix.change:
            evidence = {**fix.evidence, **again.evidence}
            row = self._store.write(lambda conn: apply.renew(conn, fix, again.change, evidence, now))
            self._seen[fix.id] = (self._stamp(row), row.change)

    def _hold(self, fix: FixRow, acted: Acted) -> None:
        """What a person set wins over any fix: one whose key he has changed is not live any more."""
        try:
            where = targets.resolve(fix.change.target, self._home, self._config).state(fix.change)
        except RSIError:
            return  # undeclared or unreadable for now: that says nothing about the key
        if where != "after":
            why = f"{edit.place(fix.change)}: somebody changed what this fix had set; that stays"
            now = clock.now()
            acted.ended.append(self._store.write(lambda conn: apply.roll_back(conn, fix, PERSON, now, {"file": why})))
