"""The order in which a fix is verified, so that only the fix is merged, into the tree it was checked against.

Base fingerprint → write the fix → checkpoint F → run → take `diff(base..F)` alone, never what the run wrote → the
base's fingerprint again → apply, with an undo log.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from rsi.errors import IsolationError, MergeError, SandboxError
from rsi.sandbox.merge import Fingerprint, UndoLog, apply, drift, fingerprint
from rsi.sandbox.merge.refusal import listed, shown
from rsi.sandbox.model import FOR_FIXES, Change, ExecResult, Isolation, Limits
from rsi.sandbox.sandbox import Sandbox

#: What a fix is: path → its new bytes; or a function that makes it, by commands and `write_file`.
Fix = Mapping[str, str | bytes] | Callable[[Sandbox], None]


class Checked:
    """A fix that was run in a sandbox. The sandbox must live until it is applied.

    Attributes:
        result: how the command ended.
        changes: what the fix is, and nothing of what the command wrote.
        base: the workspace as the fix was made for it.
    """

    def __init__(
        self, sandbox: Sandbox, point: str, result: ExecResult, changes: Sequence[Change], base: Fingerprint
    ) -> None:
        self._sandbox, self._point = sandbox, point
        self.result, self.changes, self.base = result, tuple(changes), base

    @property
    def passed(self) -> bool:
        """The command ended by itself, with 0."""
        return self.result.ok

    def patch(self) -> bytes:
        """The fix as a patch."""
        return self._sandbox.patch(until=self._point)

    def apply(
        self,
        target: str | Path | None = None,
        *,
        require: Isolation = FOR_FIXES,
        allow_links: bool = False,
        home: Path | None = None,
        undo: Path | None = None,
    ) -> UndoLog:
        """Write the fix into the workspace, if it is still the one that was checked.

        Args:
            target: another tree than the workspace; it must be the same as the base was.
            require: what must have been enforced while it ran; a person who looked at it may ask for less.
            allow_links: the fix may hold symlinks that stay inside.
            home: see `merge.apply`.
            undo: see `merge.apply`.

        Raises:
            MergeError: the command failed, or the base changed, or a change may not be written.
            IsolationError: it ran with less than `require`.
        """
        if not self.passed:
            why = self.result.killed_by or f"exit status {self.result.returncode}"
            raise MergeError(f"nothing was merged: the check did not pass ({why})")
        if missing := self._sandbox.capabilities().missing(require):
            raise IsolationError(f"nothing was merged: the check ran without {', '.join(missing)}; propose it instead")
        # A file's place may have moved since (layers are squashed); what it holds may not: it is a checkpoint.
        changes = self._sandbox.diff(until=self._point)
        where = target or self._sandbox.workspace
        return apply(changes, where, allow_links=allow_links, expect=self.base, home=home, undo=undo)


def check(
    sandbox: Sandbox,
    fix: Fix,
    command: str | Sequence[str],
    *,
    timeout: float | None = None,
    limits: Limits | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    ignore: Iterable[str] = (),
) -> Checked:
    """Run `command` on the workspace with `fix` in it.

    Args:
        sandbox: with no changes of its own yet.
        fix: what to write.
        command: as in `Sandbox.exec`.
        timeout: as in `Sandbox.exec`.
        limits: as in `Sandbox.exec`.
        env: as in `Sandbox.exec`.
        cwd: as in `Sandbox.exec`.
        ignore: relative paths whose changes in the workspace do not matter (`inbox`).

    Raises:
        SandboxError: the sandbox has changes already, or the fix could not be written, or something else was, too.
        MergeError: the workspace changed while the fix was written; names the files.
    """
    if left := sandbox.diff():
        raise SandboxError(
            f"the sandbox has changes already ({listed(shown(each.path) for each in left)}): make a new one"
        )
    left_out = tuple(ignore)
    before = fingerprint(sandbox.workspace, ignore=left_out)
    _write(sandbox, fix)
    point = sandbox.checkpoint("fix")
    changes = sandbox.diff(until=point)
    if isinstance(fix, Mapping):
        _exactly(sandbox, fix, changes)
    base = fingerprint(sandbox.workspace, [each.path for each in changes], ignore=left_out)
    if moved := drift(before, base):
        raise MergeError(f"the base changed while the fix was written: {listed(map(shown, moved))}; check again")
    result = sandbox.exec(command, timeout=timeout, limits=limits, env=env, cwd=cwd)
    return Checked(sandbox, point, result, changes, base)


def _write(sandbox: Sandbox, fix: Fix) -> None:
    if not isinstance(fix, Mapping):
        fix(sandbox)
        return
    for path, data in fix.items():
        sandbox.write_file(path, data)


def _exactly(sandbox: Sandbox, fix: Mapping[str, str | bytes], changes: Sequence[Change]) -> None:
    """What is in the view is what was to be written, byte for byte, and nothing else but folders above it."""
    wanted = {
        posixpath.relpath(posixpath.join(sandbox.workspace, path), sandbox.workspace): data
        for path, data in fix.items()
    }
    for change in changes:
        if change.path in wanted:
            data = wanted[change.path]
            raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
            if _bytes(change) == raw:
                continue
        elif _is_new_folder(change) and any(path.startswith(f"{change.path}/") for path in wanted):
            continue
        raise SandboxError(f"{shown(change.path)}: the sandbox holds something else than the fix; it is not checked")


def _is_new_folder(change: Change) -> bool:
    return change.before is None and change.after is not None and change.after.kind == "directory"


def _bytes(change: Change) -> bytes | None:
    """What a file holds now; None if it is none."""
    if change.after is None or change.after.kind != "file" or change.after.source is None:
        return None
    fd = os.open(change.after.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        return file.read()
