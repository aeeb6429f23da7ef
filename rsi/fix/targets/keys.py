"""`file:<path>#<key>`: one declared key of a YAML, JSON or TOML file. The byte work of `litellm:` too.

`Change.after` is `{key: value}`; `before` says what those keys were (`null`: not there) and has the file's hash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rsi.config import Bounds
from rsi.fix.targets import formats
from rsi.fix.targets.diffs import unified
from rsi.fix.targets.editing import Back, Editing, Entries, Forward, Heirs
from rsi.fix.targets.errors import TargetChangedError, TargetRefusedError
from rsi.fix.targets.formats import Entry, NotEditableError
from rsi.fix.targets.journal import Record
from rsi.fix.targets.model import FILE_HASH, Applied, Edited, Reverted, Where
from rsi.fix.targets.place import Place, Snapshot, sha256
from rsi.model import Change

#: Holds one value of one key against its declaration: raises `TargetRefusedError`, gives the limits. Without bounds
#: only the type counts, as for a value that a person wrote.
Check = Callable[[str, Any, Bounds | None], dict[str, Any]]


class KeyTarget:
    """Declared keys of one file; see `Target`.

    Args:
        target: the target's name, as in `Change.target`.
        place: the file.
        check: holds a key's value against its declaration; refuses a key that was not declared.
        bounds: `fix.bounds`, which `apply` checks once more.
    """

    def __init__(self, target: str, place: Place, check: Check, bounds: Bounds) -> None:
        self._target = target
        self._place = place
        self._check = check
        self._bounds = bounds
        self._editing = Editing(place, KeyWay(place.file))

    def make(self, after: Mapping[str, Any]) -> Change:
        """See `Target`."""
        limits = {key: self._check(key, value, self._bounds) for key, value in after.items()}
        found = self._found()
        self._place.check_writable(found)
        before, digest = self._read(found, list(after)), sha256(found)
        return Change(target=self._target, before={**before, FILE_HASH: digest}, after=dict(after), bounds=limits)

    def values(self, keys: Sequence[str]) -> dict[str, Any]:
        """See `Target`."""
        return self._read(self._found(), keys)

    def validate(self, change: Change, bounds: Bounds) -> None:
        """See `Target`."""
        self._own(change)
        for key, value in change.after.items():
            self._check(key, value, bounds)
            if key not in change.before:
                raise TargetRefusedError(
                    self._place.file, key, "the change does not say what it was before; plan it again"
                )
            if formats.same(change.before[key], value):
                raise TargetRefusedError(self._place.file, key, "the change changes nothing; it says that already")

    def diff(self, change: Change) -> str:
        """See `Target`."""
        return unified(self.preview(change))

    def summary(self, change: Change) -> str:
        """See `Target`."""
        told = (f"{key}: {_shown(change.before.get(key))} → {_shown(value)}" for key, value in change.after.items())
        return "\n".join(f"{self._place.file}#{line}" for line in told)

    def preview(self, change: Change) -> Edited:
        """See `Target`."""
        self._own(change)
        found = self._found()
        self._place.check_writable(found)
        with formats.remembered():
            done = KeyWay(self._place.file).forward(found.data, change)
        return Edited(file=self._place.file, before=found.data, after=done.data)

    def apply(self, change: Change, *, undo: Path) -> Applied:
        """See `Target`."""
        self.validate(change, self._bounds)
        with formats.remembered():
            return self._editing.apply(self._target, change, undo)

    def revert(self, applied: Applied) -> Reverted:
        """See `Target`."""
        with formats.remembered():
            return self._editing.revert(applied)

    def release(self, applied: Applied) -> None:
        """See `Target`."""
        with formats.remembered():
            self._editing.release(applied)

    def settle(self) -> None:
        """See `Target`."""
        with formats.remembered():
            self._editing.settle()

    def state(self, change: Change) -> Where:
        """See `Target`."""
        self._own(change)
        found = self._place.read()
        if found is None:
            return "changed"
        try:
            with formats.remembered():
                now = formats.read(self._place.file, found.data, list(change.after))
        except NotEditableError:
            return "changed"
        if all(formats.same(now[key], value) for key, value in change.after.items()):
            return "after"
        return "before" if all(formats.same(now[key], change.before.get(key)) for key in change.after) else "changed"

    def _read(self, found: Snapshot, keys: Sequence[str]) -> dict[str, Any]:
        """What the keys say, which has to be of their types."""
        try:
            with formats.remembered():
                values = formats.read(self._place.file, found.data, list(keys))
        except NotEditableError as error:
            raise TargetRefusedError(self._place.file, error.key, str(error)) from error
        for key, value in values.items():
            if value is not None:
                self._check(key, value, None)
        return values

    def _own(self, change: Change) -> None:
        if change.target != self._target:
            raise TargetRefusedError(self._place.file, "", f"the change is about {change.target}; resolve that")
        if not change.after:
            raise TargetRefusedError(self._place.file, "", "a change needs at least one key")

    def _found(self) -> Snapshot:
        """The file, if it is there and takes no longer to read than a daemon has; what stands in it is undone still."""
        found = self._place.read()
        if found is None:
            raise TargetRefusedError(self._place.file, "", "there is no such file; correct `targets:` in rsi.yaml")
        try:
            formats.check_size(self._place.file, found.data)
        except NotEditableError as error:
            raise TargetRefusedError(self._place.file, "", str(error)) from error
        return found


class KeyWay:
    """Keys: set by the formats, undone key by key."""

    def __init__(self, file: str) -> None:
        self._file = file

    def forward(self, data: bytes | None, change: Change) -> Forward:
        """See `Way`."""
        if data is None:
            raise TargetChangedError(self._file, "", "it is gone; plan the fix again")
        try:
            now = formats.read(self._file, data, list(change.after))
            moved = next((key for key in change.after if not formats.same(now[key], change.before.get(key))), None)
            if moved is not None:
                raise TargetChangedError(
                    self._file, moved, "it says something else than when the fix was planned; renew it"
                )
            done = formats.change(self._file, data, change.after)
        except NotEditableError as error:
            raise TargetRefusedError(self._file, error.key, str(error)) from error
        return Forward(done.data, [msgspec.to_builtins(entry) for entry in done.entries])

    def back(self, data: bytes | None, entries: Entries, *, last: bool, created: bool) -> Back:
        """See `Way`. A key that says neither what was written nor what was there is the user's and stays."""
        del last, created
        left: list[tuple[str, str]] = []
        if data is None:
            reason = "the file is gone; bring it back, or `release` the fix"
            return Back(None, [(entry.key, reason) for entry in _read(entries)])
        for entry in reversed(_read(entries)):
            try:
                now = formats.read(self._file, data, [entry.key])[entry.key]
                if formats.same(now, entry.new):
                    data = formats.put_back(self._file, data, [entry])
                elif not formats.same(now, entry.old):
                    reason = f"somebody set it to {_shown(now)} since, which stays; `release` closes the fix"
                    left.append((entry.key, reason))
            except NotEditableError as error:
                left.append((entry.key, str(error)))
        return Back(data, left)

    def stands(self, data: bytes | None, entries: Entries) -> bool:
        """See `Way`."""
        if data is None:
            return False
        try:
            now = formats.read(self._file, data, [entry.key for entry in _read(entries)])
        except NotEditableError:
            return True  # unreadable: whoever undoes it is told why
        return any(formats.same(now[entry.key], entry.new) for entry in _read(entries))

    def inherit(self, gone: Record, others: Sequence[Record]) -> Heirs:
        """See `Way`. A newer edit that began from what the user wrote in between keeps that as its way back."""
        newer = [other for other in others if other.seq > gone.seq]
        heirs: list[Record] = []
        rest: Entries = []
        for entry in _read(gone.entries):
            heir = next((other for other in newer if any(held.key == entry.key for held in _read(other.entries))), None)
            if heir is None:
                rest.append(msgspec.to_builtins(entry))
                continue
            known = next((other for other in heirs if other.fix == heir.fix), heir)
            entries = [msgspec.to_builtins(_heir(entry, held)) for held in _read(known.entries)]
            heirs = [other for other in heirs if other.fix != heir.fix]
            heirs.append(msgspec.structs.replace(known, entries=entries))
        return Heirs(heirs, rest)


def _heir(gone: Entry, held: Entry) -> Entry:
    if held.key != gone.key or not formats.same(held.old, gone.new):
        return held
    return msgspec.structs.replace(held, before=gone.before, old=gone.old, head=gone.head, tail=gone.tail)


def _read(entries: Entries) -> list[Entry]:
    return msgspec.convert(entries, list[Entry])


def _shown(value: object) -> str:
    return "(unset)" if value is None else msgspec.json.encode(value).decode()
