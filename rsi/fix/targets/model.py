"""What a target is: something outside the policy that a change can edit, and put back byte for byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec

from rsi.config import Bounds
from rsi.model import Change

#: Beside the keys in `Change.before`: the sha256 of the file when the change was made, or `ABSENT`.
#: No key is called so: `@` has to be quoted in a key path.
FILE_HASH: Final = "@file"
ABSENT: Final = "absent"
MAX_FILE_BYTES: Final = 1024 * 1024
"""A configuration file beyond this is data; an edit reads a file of this size several times (seconds)."""

Where: TypeAlias = Literal["before", "after", "changed"]


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """An edit that stands. `undo` is the folder of its backup and journal; hashes are sha256 of the whole file.

    `now_sha256` is the file when this edit was made; later edits of others move on from there.
    """

    fix: str
    target: str
    file: str
    undo: str
    before_sha256: str
    now_sha256: str


class Reverted(msgspec.Struct, frozen=True, kw_only=True):
    """What taking an edit back came to, with a sentence for people.

    `bytes`: the file is the backup, byte for byte. `edit`: others changed it since, only this edit was taken out.
    `newer`: a newer fix stands on all of it, the bytes stay and its way back now leads past this one.
    `nothing`: it was not there (never finished, or taken back before).
    """

    how: Literal["bytes", "edit", "newer", "nothing"]
    says: str


class Edited(msgspec.Struct, frozen=True, kw_only=True):
    """One file on both sides of a change; `None` is no file. For a dry run or a sandbox's copy."""

    file: str
    before: bytes | None
    after: bytes | None


class Target(Protocol):
    """One file of the user's that a change may edit; from `resolve`. Holds no state: the file and the undo folder do.

    Every refusal is a `TargetRefusedError` (change the input) or a `TargetChangedError` (somebody changed the file);
    both name file, key and the way out, and nothing was written.
    """

    def make(self, after: Mapping[str, Any]) -> Change:
        """The change that leads from the file as it is now to `after`, with the file's hash as evidence."""

    def values(self, keys: Sequence[str]) -> dict[str, Any]:
        """What declared keys say now; `None`: not there."""

    def validate(self, change: Change, bounds: Bounds) -> None:
        """Declared keys only, within type, min, max, enum, and `bounds`. Reads no file."""

    def diff(self, change: Change) -> str:
        """The unified diff of the file as it is now, secrets redacted. May quote event text (a lesson's samples)."""

    def summary(self, change: Change) -> str:
        """One line per edit, without event text: for the store's journal."""

    def preview(self, change: Change) -> Edited:
        """Both sides, from the file as it is now; writes nothing."""

    def apply(self, change: Change, *, undo: Path) -> Applied:
        """Write it. `undo` is `<home>/.rsi/backups/<fix>`; calling again after a crash finishes or confirms it."""

    def revert(self, applied: Applied) -> Reverted:
        """Take it back; twice is once. What the user changed in the very place stays: `TargetChangedError`."""

    def release(self, applied: Applied) -> None:
        """Give it up: the file stays as it is and `revert` has nothing left to do."""

    def settle(self) -> None:
        """Decide what a killed process left half way in this file."""

    def state(self, change: Change) -> Where:
        """Whether the file holds the before, the after, or something else in this change's place."""
