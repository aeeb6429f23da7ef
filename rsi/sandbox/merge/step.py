"""Carry out one step in a tree: from one state of one path to another, atomically and on the disk.

What is new is made beside its place under a temporary name, complete with mode and owner and synced, then renamed over
it; the folder is synced after. At every moment the path is as it was or as it should be.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from rsi.errors import MergeError
from rsi.sandbox.merge.names import parent
from rsi.sandbox.merge.refusal import shown
from rsi.sandbox.merge.state import State
from rsi.sandbox.merge.tree import Tree, copied, create

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def put(tree: Tree, path: str, now: State, then: State, *, blobs: Path, temporary: str) -> None:
    """Make `path`, which is `now`, be `then`. The bytes of a file come from `blobs`.

    Raises:
        OSError: it cannot be done.
        MergeError: the kept bytes are not what they were.
    """
    with tree.above(path) as (fd, name):
        if now.kind == then.kind == "directory":
            _mode(fd, name, then.mode)
        elif then.kind == "absent":
            _gone(fd, name, now)
        else:
            _replace(fd, name, now, then, blobs=blobs, temporary=temporary)
        os.fsync(fd)


def clear(tree: Tree, path: str, temporary: str) -> None:
    """Remove what a killed merge left beside `path`."""
    with suppress(FileNotFoundError, NotADirectoryError), tree.folder(parent(path)) as fd:
        _drop(fd, temporary)


def _replace(fd: int, name: str, now: State, then: State, *, blobs: Path, temporary: str) -> None:
    try:
        if then.kind == "file":
            _new_file(fd, temporary, then, blobs / then.blob)
        elif then.kind == "symlink":
            _new_link(fd, temporary, then)
        else:
            _new_folder(fd, temporary, then)
        if (now.kind == "directory") != (then.kind == "directory"):  # rename never replaces one by the other
            _gone(fd, name, now)
        os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
    except BaseException:
        with suppress(FileNotFoundError):
            _drop(fd, temporary)
        raise


def _gone(fd: int, name: str, now: State) -> None:
    if now.kind == "directory":
        os.rmdir(name, dir_fd=fd)
    elif now.kind != "absent":
        os.unlink(name, dir_fd=fd)


def _drop(fd: int, name: str) -> None:
    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    os.rmdir(name, dir_fd=fd) if stat.S_ISDIR(found.st_mode) else os.unlink(name, dir_fd=fd)


def _mode(fd: int, name: str, mode: int) -> None:
    opened = os.open(name, _FOLDER, dir_fd=fd)
    try:
        os.fchmod(opened, mode)
        os.fsync(opened)
    finally:
        os.close(opened)


def _new_file(fd: int, name: str, then: State, blob: Path) -> None:
    """Copy the kept bytes, which must be the ones that were hashed: else nothing gets its name."""
    out = create(name, fd)
    try:
        kept = os.open(blob, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            digest, _ = copied(kept, out)
        finally:
            os.close(kept)
        if digest != then.sha256:
            raise MergeError(
                f"{shown(os.fspath(blob))}: is not what the journal says (sha256); nothing is taken from it"
            )
        _own(out, fd, then)
        os.fchmod(out, then.mode)
        os.fsync(out)
    finally:
        os.close(out)


def _new_folder(fd: int, name: str, then: State) -> None:
    os.mkdir(name, 0o700, dir_fd=fd)
    made = os.open(name, _FOLDER, dir_fd=fd)
    try:
        if os.fstat(made).st_uid != os.geteuid() or os.listdir(made):  # noqa: PTH208 - pathlib takes no descriptor
            raise MergeError(f"{shown(name)}: somebody put another folder in its place")
        _own(made, fd, then)
        os.fchmod(made, then.mode)
        os.fsync(made)
    finally:
        os.close(made)


def _new_link(fd: int, name: str, then: State) -> None:
    os.symlink(then.link, name, dir_fd=fd)
    if os.geteuid() != 0:
        return
    if sys.platform != "linux":  # no descriptor of a link there
        os.chown(name, *_owner(fd, then), dir_fd=fd, follow_symlinks=False)
        return
    made = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    try:
        if not stat.S_ISLNK(os.fstat(made).st_mode):
            raise MergeError(f"{shown(name)}: somebody put something else in its place")
        os.chown(f"/proc/self/fd/{made}", *_owner(fd, then))  # the link itself: its target is not followed
    finally:
        os.close(made)


def _own(made: int, folder: int, then: State) -> None:
    """By its descriptor: whoever owns the folder may put something else in the place of a name.

    As root: the recorded owner, or the folder's. Anybody else can only make what is their own.
    """
    if os.geteuid() == 0:
        os.fchown(made, *_owner(folder, then))


def _owner(folder: int, then: State) -> tuple[int, int]:
    above = os.fstat(folder)
    return (then.uid, then.gid) if then.uid >= 0 else (above.st_uid, above.st_gid)
