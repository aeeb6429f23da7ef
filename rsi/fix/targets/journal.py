"""The record of one edit: `<home>/.rsi/backups/<fix>/` with `journal.json` and the file's bytes from before.

Written and synced before the file is replaced. What a killed process left is settled by the next edit of that file: the
file's own bytes say whether the replacement happened.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from rsi.config import STATE_DIR
from rsi.fix.targets.errors import TargetRefusedError
from rsi.sandbox.merge.tree import Tree, create, sync_folder, write_all
from rsi.sandbox.merge.undo import locked

BACKUPS: Final = "backups"
JOURNAL: Final = "journal.json"
BACKUP: Final = "before"
#: `applying` and `reverting` are what a killed process leaves.
Status = Literal["applying", "applied", "reverting", "reverted", "released"]
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One edit. `seq` orders the edits of a home; `source`/`goal` are the file's hashes around the step under way.

    `created`: the file was not there before, nor the folders `made`; the edit that leaves last removes them.
    `inherited`: an older edit that was undone gave its way back to this one; its backup is not the file's first.
    """

    fix: str
    target: str
    file: str
    seq: int
    status: Status
    before_sha256: str
    now_sha256: str
    source: str
    goal: str
    entries: list[dict[str, Any]]
    created: bool = False
    made: list[str] = []
    inherited: bool = False
    version: Literal[1] = 1

    @property
    def stands(self) -> bool:
        """Whether it is in the file, as far as was written down."""
        return self.status in ("applying", "applied", "reverting")


def folder_of(home: Path) -> Path:
    """Where a home keeps its backups."""
    return home.resolve() / STATE_DIR / BACKUPS


def name_of(home: Path, undo: Path) -> str:
    """The fix that an undo folder belongs to.

    Raises:
        TargetRefusedError: it is not `<home>/.rsi/backups/<fix>`.
    """
    folder = folder_of(home)
    if undo.parent.resolve() != folder or not _NAME.fullmatch(undo.name):
        reason = f"the undo folder has to be a folder in {STATE_DIR}/{BACKUPS}/, named like the fix"
        raise TargetRefusedError(undo.name, "", reason)
    return undo.name


@contextmanager
def lock(home: Path) -> Iterator[Path]:
    """One edit at a time in a home; another waits. Gives the folder of backups.

    Raises:
        TargetRefusedError: the journal cannot be written (disk full, permissions).
    """
    folder = folder_of(home)
    try:
        for made in (folder.parent, folder):
            made.mkdir(mode=0o700, exist_ok=True)
        with locked(folder):
            yield folder
    except OSError as error:
        reason = f"cannot be written: {error.strerror}; make room, then call again: the file is as before or as after"
        raise TargetRefusedError(f"{STATE_DIR}/{BACKUPS}", "", reason) from error


def load(undo: Path) -> Record | None:
    """The record in an undo folder; `None` if there is none.

    Raises:
        TargetRefusedError: it cannot be read.
    """
    try:
        return msgspec.json.decode((undo / JOURNAL).read_bytes(), type=Record)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        reason = f"{undo / JOURNAL} cannot be read ({error}); the bytes from before are in {undo / BACKUP}"
        raise TargetRefusedError(undo.name, "", reason) from error


def every(folder: Path) -> list[Record]:
    """All records of a home, in the order in which they were made."""
    if not folder.is_dir():
        return []
    found = [load(path) for path in folder.iterdir() if path.is_dir()]
    return sorted((record for record in found if record is not None), key=lambda record: record.seq)


def begin(folder: Path, record: Record, backup: bytes | None) -> None:
    """Put backup and record on the disk, in a new folder."""
    undo = folder / record.fix
    forget(undo)
    undo.mkdir(mode=0o700)
    if backup is not None:
        _write(undo, BACKUP, backup)
    save(folder, record)
    sync_folder(folder)


def save(folder: Path, record: Record) -> None:
    """Replace the record, atomically and synced."""
    undo = folder / record.fix
    _write(undo, f"{JOURNAL}.tmp", msgspec.json.format(msgspec.json.encode(record)))
    with Tree(undo) as tree, tree.folder("") as fd:
        os.rename(f"{JOURNAL}.tmp", JOURNAL, src_dir_fd=fd, dst_dir_fd=fd)
        os.fsync(fd)


def backup_of(folder: Path, fix: str) -> bytes | None:
    """The file's bytes from before; `None` if there was no file."""
    try:
        return (folder / fix / BACKUP).read_bytes()
    except FileNotFoundError:
        return None


def prune(home: Path) -> int:
    """Forget what was taken back or given up, with its backups and quoted texts; how many there were."""
    with lock(home) as folder:
        ended = [record for record in every(folder) if not record.stands]
        for record in ended:
            forget(folder / record.fix)
    return len(ended)


def forget(undo: Path) -> None:
    """Remove an undo folder, if it is there."""
    if undo.is_symlink() or undo.exists():
        shutil.rmtree(undo)


def _write(undo: Path, name: str, data: bytes) -> None:
    with suppress(FileNotFoundError):
        (undo / name).unlink()
    with Tree(undo) as tree, tree.folder("") as fd:
        out = create(name, fd)
        try:
            write_all(out, data)
            os.fsync(out)
        finally:
            os.close(out)
