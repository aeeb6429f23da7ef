"""Fixes that are edits of files: the disk follows the store, and the journal says so.

The store's transaction decides; what it decided is written right after it, under the pipeline's lock and outside of any
transaction. A process may end between the two at any moment, so nothing rests on its memory: at a start the fixes of
the store are held against the records beside the backups (`targets.standing`), and the one follows the other.

| the store says | the disk has the edit | the disk has it not |
|---|---|---|
| due (the gate let it through) | at a start: that is noted | it is written; at a start the gate is asked |
| live | nothing to do | rolled back: it is not there any more |
| anything else | it is taken out | nothing to do; what was there is noted |
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from rsi import clock
from rsi.config import Config, Home
from rsi.errors import NotFoundError, RSIError
from rsi.fix import apply, edit, targets, ways
from rsi.fix.targets import Applied, TargetChangedError
from rsi.pipeline.acted import Acted
from rsi.pipeline.files import Files
from rsi.pipeline.whole import Whole
from rsi.store import Store, fixes, journal
from rsi.store.fixes import FixRow

TRY_AGAIN_S: Final = 10.0
"""A file that cannot be put right now (read-only, damaged) is tried again so often."""
ENDED_THEN: Final = "when the daemon ended"

log = logging.getLogger("rsi.pipeline")


class Filing:
    """Writes and takes back; used by one thread at a time.

    Args:
        home: where the files and their backups are.
        config: `targets` and `fix.bounds`.
        store: which fixes should be in their files.
        files: is told which file could not be written, so that it is not tried every second.
        whole: begins to watch what was written.
    """

    def __init__(self, home: Home, config: Config, store: Store, files: Files, whole: Whole) -> None:
        self._files, self._whole = files, whole
        self._home, self._config, self._store = home.path, config, store
        self._backups = targets.folder_of(home.path)
        self.begun = False
        self._live: dict[str, Applied] = {}  # by record, oldest first: what is in a file, as far as is known
        self._stuck: dict[str, tuple[float, str]] = {}  # by record: when to try again, and why it could not be done

    def sentences(self) -> list[str]:
        """What could not be taken out, one sentence a file."""
        return [f"{edit.ref_of(record)} is still in its file: {why}" for record, (_, why) in self._stuck.items()]

    def settle(self) -> Acted:
        """Write what is due, and take out what is not live any more."""
        acted = Acted()
        if not self.begun:
            self._begin(acted)
            self.begun = True
        if not (self._live or self._config.targets):
            return acted
        for fix in self._fixes():
            if edit.due(fix):
                self._write(fix, acted)
        live = {edit.record_name(fix) for fix in self._fixes() if fix.state in fixes.APPLIED}
        gone = [record for record in self._live if record not in live and self._may_try(record)]
        for record in reversed(gone):  # the newest first: each brings back what it found
            self._take_out(self._live[record], acted)
        return acted

    # --- at a start

    def _begin(self, acted: Acted) -> None:
        """Hold the store against what stands in files; forget the backups of what was taken back."""
        if self._backups.is_dir():
            self._live = {one.fix: one for one in targets.settle(self._home, self._config)}
        for fix in self._fixes():
            standing = self._live.get(edit.record_name(fix))
            there = standing is not None and standing.target == fix.change.target
            if edit.due(fix):
                self._resume(fix, acted, written=there)
            elif fix.state in fixes.APPLIED and not there:
                self._lost(fix, acted)
        self._note_reverted(acted)
        if self._backups.is_dir():
            targets.prune(self._home)

    def _resume(self, fix: FixRow, acted: Acted, *, written: bool) -> None:
        """The daemon ended while it was being written."""
        now, place = clock.now(), edit.place(fix.change)
        if written:
            says = f"{place}: it had been written {ENDED_THEN}"
            self._written(fix, says, acted, settled=True)
        else:
            why = f"{place}: it had not been written {ENDED_THEN}"
            acted.returned.append(self._do(lambda conn: apply.not_edited(conn, fix, why, now)))

    def _lost(self, fix: FixRow, acted: Acted) -> None:
        """Live in the store, and no record says that it is in its file."""
        where, place, now = self._state(fix), edit.place(fix.change), clock.now()
        how, says = "left", f"{place}: this edit is not there any more"
        if where == "before":
            how, says = "nothing", f"{place}: it had been taken out {ENDED_THEN}"
        elif where == "after":
            says = f"{place}: the record of this edit is gone, the file still says what it wrote: put it back by hand"

        def step(conn: Connection) -> FixRow:
            moved = apply.roll_back(conn, fix, apply.DAEMON, now, {"settled": True, "file": says})
            return apply.taken_out(conn, moved, how, says, now)

        acted.ended.append(self._do(step))

    def _state(self, fix: FixRow) -> str:
        try:
            return targets.resolve(fix.change.target, self._home, self._config).state(fix.change)
        except RSIError:
            return "changed"

    def _note_reverted(self, acted: Acted) -> None:
        """Taken out by a process that ended before it could say so."""
        with self._store.read() as conn:
            over = [fix for fix in fixes.in_states(conn, fixes.OVER) if edit.is_file(fix)]
        for fix in over:
            if edit.of(fix).step == "stands" and edit.record_name(fix) not in self._live:
                self._note(fix, "nothing", f"{edit.place(fix.change)}: it had been taken out {ENDED_THEN}", acted)

    # --- from then on

    def _fixes(self) -> list[FixRow]:
        """Those that are in their files, or are to be."""
        with self._store.read() as conn:
            return [one for one in fixes.in_states(conn, (*fixes.CHECKING, *fixes.APPLIED)) if edit.is_file(one)]

    def _write(self, fix: FixRow, acted: Acted) -> None:
        now = clock.now()
        try:
            ways.recheck(self._home, self._config, fix)
            target = targets.resolve(fix.change.target, self._home, self._config)
            applied = target.apply(fix.change, undo=self._backups / edit.record_name(fix))
        except RSIError as error:
            why = str(error)
            self._files.not_written(fix, why)
            acted.returned.append(self._do(lambda conn: apply.not_edited(conn, fix, why, now)))
            return
        self._live[applied.fix] = applied
        undo = Path(applied.undo).relative_to(self._home)
        says = f"{applied.file}: written; its bytes from before are in {undo}"
        self._written(fix, says, acted)

    def _written(self, fix: FixRow, says: str, acted: Acted, *, settled: bool = False) -> None:
        now = clock.now()

        def step(conn: Connection) -> FixRow:
            row = apply.edited(conn, fix, self._config, says, now, settled=settled)
            self._whole.begin(conn, row, now)
            return row

        acted.started.append(self._do(step))
        acted.checked.add(fix.id)

    def _may_try(self, record: str) -> bool:
        return clock.monotonic() >= self._stuck.get(record, (float("-inf"), ""))[0]

    def _take_out(self, applied: Applied, acted: Acted) -> None:
        try:
            how, says = self._revert(applied)
        except RSIError as error:
            self._stuck[applied.fix] = (clock.monotonic() + TRY_AGAIN_S, str(error))
            self._say(applied, f"still there: {error}; it is tried again")
            return
        self._stuck.pop(applied.fix, None)
        del self._live[applied.fix]
        fix = self._fix_of(applied)
        if fix is not None:
            self._note(fix, how, says, acted)
        else:
            detail = {"how": how, "file": says, "settled": True}
            self._do(lambda conn: journal.append(conn, apply.DAEMON, "fix.reverted", applied.fix, detail))

    def _revert(self, applied: Applied) -> tuple[str, str]:
        """How it went, and the sentence for it; what a person wrote over it stays, and the edit is given up."""
        target = targets.undoing(applied.target, self._home, self._config)
        try:
            reverted = target.revert(applied)
        except TargetChangedError as error:
            target.release(applied)
            return "left", f"not taken back: {error}"
        return reverted.how, reverted.says

    def _fix_of(self, applied: Applied) -> FixRow | None:
        """The fix of a record; `None` where this store does not know it."""
        try:
            with self._store.read() as conn:
                fix = fixes.get(conn, fixes.number(edit.ref_of(applied.fix)))
        except NotFoundError:
            return None
        return fix if (edit.record_name(fix), fix.change.target) == (applied.fix, applied.target) else None

    def _note(self, fix: FixRow, how: str, says: str, acted: Acted) -> None:
        now = clock.now()
        acted.filed.append(self._do(lambda conn: apply.taken_out(conn, fix, how, says, now)))

    def _say(self, applied: Applied, says: str) -> None:
        fix = self._fix_of(applied)
        if fix is not None and edit.of(fix).says != says:
            now = clock.now()
            self._do(lambda conn: fixes.change_to(conn, fix.id, now, evidence=edit.with_edit(fix, says=says)))

    def _do(self, step: Any) -> Any:
        return self._store.write(step)
