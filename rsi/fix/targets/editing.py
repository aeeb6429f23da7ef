"""Apply and take back edits of one file, in any order, by several fixes, through crashes.

An edit is a list of entries that a `Way` knows to make and to undo (`keys`, `lessons`). The rules of composition:

- a newer edit on the same thing stands over the older; undoing it brings the older's value back;
- undoing the older first leaves the bytes alone and gives its way back to the newer one;
- so undoing all of them, in any order, ends in the bytes from before the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from rsi.errors import RSIError
from rsi.fix.targets import journal
from rsi.fix.targets.errors import TargetChangedError, TargetRefusedError
from rsi.fix.targets.journal import Record
from rsi.fix.targets.model import ABSENT, FILE_HASH, Applied, Reverted
from rsi.fix.targets.place import Place, Snapshot, sha256
from rsi.model import Change

Entries = list[dict[str, Any]]


class Forward(NamedTuple):
    """The file with the change in it, and what was done."""

    data: bytes
    entries: Entries


class Back(NamedTuple):
    """The file without the entries (`None`: it should go), and what could not be undone, by name with the reason."""

    data: bytes | None
    left: list[tuple[str, str]]


class Heirs(NamedTuple):
    """Older entries passed to newer edits: those edits as they are then, and what is left to undo in the file."""

    records: list[Record]
    rest: Entries


class Way(Protocol):
    """How one kind of target edits bytes. Pure."""

    def forward(self, data: bytes | None, change: Change) -> Forward:
        """Make the change. Raises `TargetRefusedError`."""

    def back(self, data: bytes | None, entries: Entries, *, last: bool, created: bool) -> Back:
        """Undo entries.

        Args:
            data: the file; `None`: it is gone.
            entries: what to undo.
            last: no other edit stands in this file.
            created: the file was made by one of them.
        """

    def stands(self, data: bytes | None, entries: Entries) -> bool:
        """Whether any of these entries is in the file as it was written."""

    def inherit(self, gone: Record, others: Sequence[Record]) -> Heirs:
        """Give what newer edits stand on to them."""


class Editing:
    """The edits of one file."""

    def __init__(self, place: Place, way: Way) -> None:
        self._place = place
        self._way = way

    def apply(self, target: str, change: Change, undo: Path) -> Applied:
        """See `Target.apply`."""
        fix = journal.name_of(self._place.home, undo)
        with journal.lock(self._place.home) as folder:
            self._settle(folder)
            known = journal.load(folder / fix)
            if known is not None:
                return self._again(known, target)
            old = self._place.read()
            self._check_unchanged(old, change)
            done = self._way.forward(old.data if old else None, change)
            record = self._record(folder, fix, target, old, done)
            journal.begin(folder, record, old.data if old else None)
            self._replace(folder, old, done.data)
            applied = msgspec.structs.replace(record, status="applied")
            journal.save(folder, applied)
            return applied_of(folder, applied)

    def revert(self, applied: Applied) -> Reverted:
        """See `Target.revert`."""
        with journal.lock(self._place.home) as folder:
            self._settle(folder)
            record = self._known(folder, applied)
            if record is None or not record.stands:
                return Reverted(how="nothing", says=f"{self._place.file}: there is nothing to take back")
            others = [other for other in self._standing(folder) if other.fix != record.fix]
            heirs = self._way.inherit(record, others)
            for heir in heirs.records:
                journal.save(folder, _after(record, heir))
            if record.entries and not heirs.rest:
                _end(folder, record, "reverted")
                return Reverted(
                    how="newer", says=f"{self._place.file}: a newer fix stands there; the file stays as it is"
                )
            return self._take_back(folder, record, heirs.rest, last=not others)

    def release(self, applied: Applied) -> None:
        """See `Target.release`."""
        with journal.lock(self._place.home) as folder:
            self._settle(folder)
            record = self._known(folder, applied)
            if record is not None and record.stands:
                _end(folder, record, "released")

    def settle(self) -> None:
        """See `Target.settle`."""
        with journal.lock(self._place.home) as folder:
            self._settle(folder)

    def _replace(self, folder: Path, old: Snapshot | None, data: bytes) -> None:
        try:
            self._place.replace(old, data)
        except RSIError:
            with suppress(RSIError):  # what cannot be settled now is by the next edit
                self._settle(folder)
            raise

    def _take_back(self, folder: Path, record: Record, entries: Entries, *, last: bool) -> Reverted:
        now = self._place.read()
        back = self._way.back(now.data if now else None, entries, last=last, created=record.created)
        if len(back.left) == len(entries):
            raise TargetChangedError(self._place.file, *back.left[0])
        if now is None:
            _end(folder, record, "reverted")
            return Reverted(how="nothing", says=f"{self._place.file}: it is gone, and with it what was to be taken out")
        restored = _hash(back.data) == record.before_sha256
        if now.sha256 == record.now_sha256 and not restored and not record.inherited:
            reason = f"undoing would not restore it; the bytes from before are in {folder / record.fix}"
            raise TargetRefusedError(self._place.file, "", reason)
        self._write_back(folder, record, now, back.data)
        left = "".join(f"; {name} stays: {reason}" for name, reason in back.left)
        if restored:
            return Reverted(how="bytes", says=f"{self._place.file}: as it was, byte for byte{left}")
        says = f"{self._place.file}: others changed it since; only this fix's part was taken out{left}"
        return Reverted(how="edit", says=says)

    def _write_back(self, folder: Path, record: Record, now: Snapshot, data: bytes | None) -> None:
        if data != now.data:
            under_way = msgspec.structs.replace(record, status="reverting", source=now.sha256, goal=_hash(data))
            journal.save(folder, under_way)
            if data is None:
                self._place.remove(now, record.made)
            else:
                self._place.replace(now, data)
        _end(folder, record, "reverted")

    def _again(self, known: Record, target: str) -> Applied:
        if known.target != target or known.status != "applied":
            reason = f"{known.fix} was {known.status} on {known.target} before; a new try needs a new fix"
            raise TargetChangedError(self._place.file, "", reason)
        return applied_of(journal.folder_of(self._place.home), known)

    def _check_unchanged(self, old: Snapshot | None, change: Change) -> None:
        if sha256(old) != change.before.get(FILE_HASH):
            reason = "it changed since the fix was planned; plan it again from what it says now (renew)"
            raise TargetChangedError(self._place.file, "", reason)

    def _record(self, folder: Path, fix: str, target: str, old: Snapshot | None, done: Forward) -> Record:
        return Record(
            fix=fix,
            target=target,
            file=self._place.file,
            seq=max((record.seq for record in journal.every(folder)), default=0) + 1,
            status="applying",
            before_sha256=sha256(old),
            now_sha256=_hash(done.data),
            source=sha256(old),
            goal=_hash(done.data),
            entries=done.entries,
            created=old is None,
            made=self._place.missing_folders(),
        )

    def _standing(self, folder: Path) -> list[Record]:
        return [record for record in journal.every(folder) if record.stands and record.file == self._place.file]

    def _known(self, folder: Path, applied: Applied) -> Record | None:
        journal.name_of(self._place.home, Path(applied.undo))
        record = journal.load(folder / applied.fix)
        if record is not None and record.file != self._place.file:
            raise TargetRefusedError(self._place.file, "", f"{applied.fix} is about {record.file}; resolve that target")
        return record

    def _settle(self, folder: Path) -> None:
        """Decide what a killed process left half way by what the file holds."""
        self._place.clear()
        for record in self._standing(folder):
            if record.status == "applied":
                continue
            now = self._place.read()
            if self._arrived(record, now):
                if now is None:
                    self._place.drop_folders(record.made)
                _end(folder, record, "applied" if record.status == "applying" else "reverted")
            elif record.status == "applying":
                self._place.drop_folders(record.made)
                journal.forget(folder / record.fix)
            else:
                _end(folder, record, "applied")

    def _arrived(self, record: Record, now: Snapshot | None) -> bool:
        """Whether the step under way happened; where somebody wrote to the file since, the entries themselves say."""
        if sha256(now) in (record.source, record.goal):
            return sha256(now) == record.goal
        there = self._way.stands(now.data if now else None, record.entries)
        return there == (record.status == "applying")


def _after(gone: Record, heir: Record) -> Record:
    """The heir, whose file was first what the older edit found, if the two followed each other."""
    first = gone.before_sha256 if heir.before_sha256 == gone.now_sha256 else heir.before_sha256
    return msgspec.structs.replace(heir, before_sha256=first, inherited=True)


def _hash(data: bytes | None) -> str:
    return ABSENT if data is None else hashlib.sha256(data).hexdigest()


def _end(folder: Path, record: Record, status: journal.Status) -> None:
    journal.save(folder, msgspec.structs.replace(record, status=status))


def applied_of(folder: Path, record: Record) -> Applied:
    """The edit that a record is about."""
    return Applied(
        fix=record.fix,
        target=record.target,
        file=record.file,
        undo=str(folder / record.fix),
        before_sha256=record.before_sha256,
        now_sha256=record.now_sha256,
    )
