"""Where undo logs are kept, which there are, and what a merge that was killed half way leaves to be done."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Final

from rsi.errors import MergeError, NotFoundError, RSIError
from rsi.sandbox.merge.undo import JOURNAL, UndoLog, locked, readable

_log: Final = logging.getLogger("rsi.sandbox")
_HALF: Final = ("applying", "undoing")
#: As `undo.begin` names logs.
_NAME: Final = re.compile(r"[0-9a-f]{16}")


def undo_folder(home: Path | None, target: Path) -> Path:
    """Where logs are kept: `.rsi/undo` of the home, else the user's own state folder, one for each target.

    Raises:
        MergeError: this user has no folder of their own.
    """
    if home is not None:
        return home.resolve() / ".rsi" / "undo"
    key = hashlib.sha256(os.fsencode(target.resolve())).hexdigest()[:16]
    return _all_targets() / key


def undo_logs() -> list[UndoLog]:
    """Every log in the user's own state folder, whatever its target, the newest first."""
    try:
        folders = [path for path in _all_targets().iterdir() if path.is_dir()]
    except (FileNotFoundError, MergeError):  # nothing was ever merged, or there is no such folder
        return []
    return sorted((log for folder in folders for log in readable(folder)), key=lambda log: log.at, reverse=True)


def undo_log(undo_id: str) -> UndoLog:
    """By its id alone.

    Raises:
        NotFoundError: there is none.
        MergeError: it cannot be read.
    """
    every = _all_targets()
    found = list(every.glob(f"*/{undo_id}")) if _NAME.fullmatch(undo_id) else []
    if not found:
        raise NotFoundError(f"{undo_id}: there is no such undo log in {every}")
    return UndoLog.load(found[0])


def recover(target: Path, *, home: Path | None = None, undo: Path | None = None, finish: bool = False) -> list[UndoLog]:
    """Bring every merge into `target` that was killed half way to an end: back to nothing, or to all with `finish`.

    Args:
        target: the tree.
        home: the home it was applied with.
        undo: the folder it was applied with, where one was named.
        finish: complete instead of undoing. What was being undone is undone either way.

    Returns:
        the logs that were half way, now `undone` or `applied`.

    Raises:
        ConflictError: somebody changed a path since; names it. Nothing of that log was touched.
    """
    half = [log for log in _half(undo or _kept(home, target)) if log.target == target.resolve()]
    for log in half:
        if finish and log.status == "applying":
            log.finish()
        else:
            log.undo()
    return half


def recover_home(home: Path) -> list[str]:
    """Take back whatever was being merged when this home's daemon, or a command in this folder, was killed.

    Returns:
        what could not be taken back, and why: a sentence each.
    """
    troubles: list[str] = []
    for log in [*_half(_kept(home, home)), *_half(_kept(None, home))]:
        try:
            log.undo()
        except (RSIError, OSError) as error:
            troubles.append(f"a merge that was killed half way cannot be taken back ({log.folder}): {error}")
        else:
            _log.warning("a merge into %s that was killed half way was taken back: %s", log.target, log.id)
    return troubles


def _kept(home: Path | None, target: Path) -> Path | None:
    """`undo_folder`; None where there can be none."""
    try:
        return undo_folder(home, target)
    except MergeError:
        return None


def _half(folder: Path | None) -> list[UndoLog]:
    """The logs of merges that were killed, the newest first. What died before it had a journal is cleared."""
    if folder is None or not folder.is_dir():
        return []
    with locked(folder):  # a merge that runs now is not half way
        for path in folder.iterdir():
            if _NAME.fullmatch(path.name) and path.is_dir() and not (path / JOURNAL).is_file():
                shutil.rmtree(path)  # nothing was replaced yet
        return sorted((log for log in readable(folder) if log.status in _HALF), key=lambda log: log.turn, reverse=True)


def _all_targets() -> Path:
    said = os.environ.get("XDG_STATE_HOME")
    try:
        state = Path(said) if said else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise MergeError(
            "there is nowhere to keep what is needed for an undo: this user has no home folder; set XDG_STATE_HOME"
        ) from error
    return state / "rsi" / "undo"
