"""Write changes into a tree: check all, keep what is there, journal, replace one by one; undo it all if one fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rsi.errors import ConflictError, MergeError
from rsi.sandbox.merge.fingerprint import Fingerprint, again, drift
from rsi.sandbox.merge.names import is_protected
from rsi.sandbox.merge.plan import MAX_BYTES, MAX_PATHS, MAX_TOTAL, Rules, check, prepare
from rsi.sandbox.merge.recovery import undo_folder
from rsi.sandbox.merge.refusal import listed, shown
from rsi.sandbox.merge.tree import Tree
from rsi.sandbox.merge.undo import UndoLog, begin, commit, locked
from rsi.sandbox.model import Change


def apply(
    diff: Sequence[Change],
    target: str | Path,
    *,
    allow_links: bool = False,
    max_bytes: int = MAX_BYTES,
    max_total: int = MAX_TOTAL,
    max_paths: int = MAX_PATHS,
    expect: Fingerprint | None = None,
    home: Path | None = None,
    undo: Path | None = None,
    begun: Callable[[UndoLog], None] | None = None,
) -> UndoLog:
    """Make `target` what `diff` says: every change or none.

    Modes: a changed file keeps the target's mode unless the change is about it; a new one gets its execute bits, is
    never writable for others nor set-uid. As root, what is new belongs to the owner of its folder. Hard links are
    broken, extended attributes are not kept.

    Args:
        diff: what to write; files are read from `Change.after.source`, never through a symlink.
        target: the tree to write into.
        allow_links: the changes may hold symlinks that stay inside the target.
        max_bytes: of one file.
        max_total: bytes of all files together.
        max_paths: how many changes.
        expect: the target as it was checked; anything else there is refused.
        home: the home whose `.rsi/undo` keeps the log.
        undo: another folder for the log (default: the home's, else the user's state folder).
        begun: told the log when it is on the disk and nothing is written yet: whatever happens then can be undone.

    Returns:
        the log that takes it back.

    Raises:
        MergeRefusedError: changes that may not be written: names each, with the reason. Nothing was written.
        MergeError: the target changed while it was checked, or writing failed; names it. Nothing is left of it.
    """
    rules = Rules(allow_links=allow_links, max_bytes=max_bytes, max_total=max_total, max_paths=max_paths)
    changes = check(diff, rules)
    target = Path(target).resolve()
    folder = _log_folder(undo or undo_folder(home, target), target)
    with locked(folder), Tree(target) as tree:
        log = _prepared(changes, tree, begin(folder, target), rules, expect)
        _carry_out(log, tree, begun)
    return log


def _log_folder(folder: Path, target: Path) -> Path:
    folder = folder.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = folder.resolve()
    inside = folder.relative_to(target).parts if folder.is_relative_to(target) else None
    if inside is not None and not any(is_protected(name) for name in inside):
        raise MergeError(f"undo: {folder} lies inside the target {target}; name a folder outside it")
    return folder


def _prepared(
    changes: Mapping[str, Change],
    tree: Tree,
    log: UndoLog,
    rules: Rules,
    expect: Fingerprint | None,
) -> UndoLog:
    """The log on the disk, with all bytes kept; the drift is looked for after they were, so that none slips between."""
    try:
        steps = prepare(changes, tree, log.folder, rules)
        _unchanged(log.target, expect)
        return commit(log, steps)
    except BaseException:
        shutil.rmtree(log.folder)
        raise


def _unchanged(target: Path, expect: Fingerprint | None) -> None:
    if expect is not None and (moved := drift(expect, again(target, expect))):
        raise MergeError(
            f"the base changed while it was checked: {listed(map(shown, moved))}; "
            "nothing was merged: check again from the present state"
        )


def _carry_out(log: UndoLog, tree: Tree, begun: Callable[[UndoLog], None] | None) -> None:
    done = 0
    try:
        if begun is not None:
            begun(log)
        for done in log.go_on(tree):  # noqa: B007 - how far it came is what the way back needs
            pass
        log.mark("applied")
    except (OSError, ConflictError, MergeError) as error:
        _back_out(log, tree, done)
        raise MergeError(f"nothing was merged: {_said(error)}") from error
    except BaseException:
        _back_out(log, tree, done)
        raise


def _back_out(log: UndoLog, tree: Tree, failed: int) -> None:
    """Everything up to the step that failed is undone. What stands in the way is named; its bytes stay in the log."""
    try:
        log.take_back(tree, log.reached(tree, failed))
    except (OSError, ConflictError) as error:
        raise MergeError(
            f"the merge failed half way and could not be taken back: {_said(error)}; "
            f"what was there is kept in {log.folder}: call recover, or undo with force"
        ) from error


def _said(error: Exception) -> str:
    if isinstance(error, OSError):
        name = shown(os.fsdecode(error.filename)) if error.filename else "a file"
        return f"{name}: {error.strerror or error!r}"
    return str(error)
