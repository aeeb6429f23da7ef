"""A declared file below the home: read without following anything, replaced atomically, its mode and owner kept."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from rsi.config import CONFIG_FILE
from rsi.fix.targets.errors import TargetChangedError, TargetRefusedError
from rsi.fix.targets.model import ABSENT, MAX_FILE_BYTES
from rsi.sandbox.merge.names import parents, refused_path
from rsi.sandbox.merge.tree import Tree, create, write_all

#: What steers rsi itself: a fix that could edit it could widen its own bounds.
_OURS: Final = frozenset({CONFIG_FILE, "rules", "inbox", "proposals"})
#: `O_NONBLOCK`: opening a fifo must not wait for its other end.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ANY_WRITE: Final = 0o222
_NEW_FOLDER_MODE: Final = 0o755
_NEW_FILE_MODE: Final = 0o644
#: Attributes that are the user's; others (labels, capabilities) are the kernel's to give.
_KEPT_ATTRIBUTES: Final = ("user.", "system.posix_acl_")


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it was read: its bytes, mode bits and owner. `identity` tells one inode's contents from another's."""

    data: bytes
    sha256: str
    mode: int
    uid: int
    gid: int
    identity: tuple[int, ...]


class Place:
    """One file, by its path relative to the home. Paths through links or out of the home are refused at once.

    Raises:
        TargetRefusedError: a path that no fix may edit.
    """

    def __init__(self, home: Path, file: str) -> None:
        self.home = home.resolve()
        self.file = file
        reason = refused_path(file)
        if reason is None and file.split("/", 1)[0].casefold() in _OURS:
            reason = "it steers rsi itself, which no fix may change"
        if reason is not None:
            raise TargetRefusedError(file, "", f"{reason}; declare a file below the home")
        digest = hashlib.sha256(file.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        self._temporary = f".rsi-{digest}.tmp"

    def read(self) -> Snapshot | None:
        """The file as it is; `None` if there is none.

        Raises:
            TargetRefusedError: a link, a hard link, no regular file, or too large; names which.
        """
        with self._tree() as tree:
            return self._read(tree)

    def check_writable(self, found: Snapshot | None) -> None:
        """Refuse a file that nobody may write: for a dry run too, which is to say what the edit will.

        Raises:
            TargetRefusedError: it is read-only.
        """
        if found is not None and not found.mode & _ANY_WRITE:
            raise TargetRefusedError(self.file, "", "it is read-only, which is a person's no; chmod u+w allows it")

    def clear(self) -> None:
        """Remove what a killed edit left beside the file. The caller holds the lock."""
        with suppress(FileNotFoundError), self._tree() as tree, tree.above(self.file) as (fd, _):
            os.unlink(self._temporary, dir_fd=fd)

    def missing_folders(self) -> list[str]:
        """The folders above it that are not there, outermost first."""
        with self._tree() as tree:
            return [folder for folder in parents(self.file) if tree.look(folder) is None]

    def replace(self, old: Snapshot | None, new: bytes) -> None:
        """Make the file `new`, if it still is what was read as `old`.

        Raises:
            TargetChangedError: somebody wrote to it meanwhile.
            TargetRefusedError: it may not or cannot be replaced.
        """
        self.check_writable(old)
        with self._tree() as tree:
            self._make_folders(tree)
            with tree.above(self.file) as (fd, name):
                try:
                    self._write(fd, name, old, new)
                    self._unchanged(tree, old)
                    os.rename(self._temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
                finally:
                    with suppress(FileNotFoundError):
                        os.unlink(self._temporary, dir_fd=fd)
                os.fsync(fd)

    def remove(self, old: Snapshot, folders: list[str]) -> None:
        """Delete the file, if it still is `old`, and those of `folders` that are empty then.

        Raises:
            TargetChangedError: somebody wrote to it meanwhile.
        """
        with self._tree() as tree:
            with tree.above(self.file) as (fd, name):
                self._unchanged(tree, old)
                os.unlink(name, dir_fd=fd)
                os.fsync(fd)
            self._drop_folders(tree, folders)

    def drop_folders(self, folders: list[str]) -> None:
        """Remove those of `folders` that are empty, innermost first."""
        with self._tree() as tree:
            self._drop_folders(tree, folders)

    @contextmanager
    def _tree(self) -> Iterator[Tree]:
        try:
            with Tree(self.home) as tree:
                yield tree
        except FileNotFoundError:
            raise
        except OSError as error:
            reason = f"cannot be read or written: {error.strerror}"
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                reason = "a folder on its path is a link or no folder; rsi follows no links, declare the real path"
            raise TargetRefusedError(self.file, "", reason) from error

    def _read(self, tree: Tree) -> Snapshot | None:
        try:
            with tree.above(self.file) as (above, name):
                found = os.stat(name, dir_fd=above, follow_symlinks=False)
                self._check(found)
                fd = os.open(name, _READ, dir_fd=above)
        except FileNotFoundError:
            return None
        try:
            self._check(os.fstat(fd))
            return self._snapshot(fd)
        finally:
            os.close(fd)

    def _check(self, found: os.stat_result) -> None:
        reason = None
        if stat.S_ISLNK(found.st_mode):
            reason = "it is a link; rsi follows none, declare the real path"
        elif not stat.S_ISREG(found.st_mode):
            reason = "it is no regular file"
        elif found.st_nlink > 1:
            reason = "it is a hard link: replacing it would part it from its other names; copy it"
        elif found.st_size > MAX_FILE_BYTES:
            reason = f"it has {found.st_size} bytes, the limit is {MAX_FILE_BYTES}; edit it by hand"
        if reason is not None:
            raise TargetRefusedError(self.file, "", reason)

    def _snapshot(self, fd: int) -> Snapshot:
        data = b""
        while len(data) <= MAX_FILE_BYTES and (block := os.read(fd, MAX_FILE_BYTES + 1 - len(data))):
            data += block
        if len(data) > MAX_FILE_BYTES:
            raise TargetRefusedError(
                self.file, "", f"it grew over the limit of {MAX_FILE_BYTES} bytes; edit it by hand"
            )
        found = os.fstat(fd)
        return Snapshot(
            data=data,
            sha256=hashlib.sha256(data).hexdigest(),
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid,
            gid=found.st_gid,
            identity=(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size),
        )

    def _unchanged(self, tree: Tree, old: Snapshot | None) -> None:
        here = self._read(tree)
        if (here is None) != (old is None) or (here and old and (here.identity, here.data) != (old.identity, old.data)):
            raise TargetChangedError(self.file, "", "somebody wrote to it at the same moment; try again")

    def _make_folders(self, tree: Tree) -> None:
        for folder in parents(self.file):
            with tree.above(folder) as (fd, name), suppress(FileExistsError):
                os.mkdir(name, _NEW_FOLDER_MODE, dir_fd=fd)
                os.fsync(fd)

    def _drop_folders(self, tree: Tree, folders: list[str]) -> None:
        for folder in sorted(folders, reverse=True):
            with suppress(OSError), tree.above(folder) as (fd, name):  # not empty: somebody keeps something there
                os.rmdir(name, dir_fd=fd)
                os.fsync(fd)

    def _write(self, fd: int, name: str, old: Snapshot | None, new: bytes) -> None:
        """The new file beside the old one, complete and on the disk."""
        out = create(self._temporary, fd)
        try:
            write_all(out, new)
            if old is not None:
                self._own(out, old)
                _copy_attributes(fd, name, out)
            os.fchmod(out, old.mode if old is not None else _NEW_FILE_MODE)
            os.fsync(out)
        finally:
            os.close(out)

    def _own(self, out: int, old: Snapshot) -> None:
        ours = os.fstat(out)
        if (ours.st_uid, ours.st_gid) == (old.uid, old.gid):
            return
        try:
            os.fchown(out, old.uid, old.gid)
        except PermissionError as error:
            reason = f"it belongs to user {old.uid}, group {old.gid}, which rsi cannot keep; give it to rsi's user"
            raise TargetRefusedError(self.file, "", reason) from error


def sha256(found: Snapshot | None) -> str:
    """The hash that a change carries as evidence."""
    return ABSENT if found is None else found.sha256


def _copy_attributes(fd: int, name: str, out: int) -> None:
    if not hasattr(os, "listxattr"):
        return
    was = os.open(name, _READ, dir_fd=fd)
    try:
        for attribute in os.listxattr(was):
            if attribute.startswith(_KEPT_ATTRIBUTES):
                os.setxattr(out, attribute, os.getxattr(was, attribute))
    finally:
        os.close(was)
