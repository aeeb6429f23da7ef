"""The changes made to a store, one system call each, so that a test can watch them or stop between two.

What is promised after a power cut depends on the order of these calls and on nothing else.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

#: What the store is made of is for its owner alone.
PRIVATE: Final = 0o700


class Disk:
    """The real calls. A test's subclass records each, or ends the process at one."""

    def mkdir(self, path: Path, mode: int = PRIVATE, owner: tuple[int, int] | None = None) -> None:
        """Make a folder that must not exist, with exactly this mode (and uid and gid)."""
        path.mkdir(PRIVATE)
        if owner is not None:
            os.chown(path, *owner)
        if mode != PRIVATE:
            path.chmod(mode)

    def rename(self, old: Path, new: Path) -> None:
        """Atomically put `old` in the place of `new`."""
        old.rename(new)

    def write(self, path: Path, data: bytes) -> None:
        """Write a file; nothing is on the disk yet."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(data)

    def fsync(self, path: Path) -> None:
        """Bring a file, or the names in a folder, onto the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def syncfs(self, path: Path) -> None:
        """Bring everything on the file system of `path` onto the disk, whoever wrote it (syncfs(2))."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if _libc.syncfs(fd) != 0:
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error), str(path))
        finally:
            os.close(fd)

    def save(self, path: Path, data: bytes, *, durable: bool = True, by: str = "") -> None:
        """Replace a small file whole: write beside it, fsync, rename, fsync the folder.

        Args:
            path: the file.
            data: all that is to be in it.
            durable: with the two fsyncs.
            by: who does it, where several may at the same time: what each writes beside it has a name of its own.
        """
        beside = path.with_name(f".{path.name}.{by}.new" if by else f".{path.name}.new")
        self.write(beside, data)
        if durable:
            self.fsync(beside)
        self.rename(beside, path)
        if durable:
            self.fsync(path.parent)


_libc: Final = ctypes.CDLL(None, use_errno=True)
