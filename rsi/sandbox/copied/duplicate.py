"""A second copy of a folder: shared blocks where the file system can (FICLONE), bytes with their holes where not.

Every name is opened below the folder that holds it and never through a link, so that nobody who changes the original
meanwhile can make us read something else. Links are copied as links. Hard links become files of their own: a farm of
them would let a write in place reach the original.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from rsi.errors import SandboxError
from rsi.sandbox.model import Kind

#: ioctl(2) request of linux/fs.h: _IOW(0x94, 9, int).
_FICLONE: Final = 0x40049409
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK: Final = 1 << 20
#: Two descriptors are open for every level; nobody's source tree is nested deeper.
MAX_DEPTH: Final = 200
#: rsi's own state, with its secret and its database, is nobody's business in there; nor are stores copied into stores.
LEFT_OUT: Final = frozenset((".rsi",))


class Stamp(NamedTuple):
    """What changes whenever a file is written to or replaced, as the kernel keeps it."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class Skipped(msgspec.Struct, frozen=True):
    """One path that was not copied."""

    path: str
    why: Literal["device, fifo or socket", "not readable", "state of rsi", "vanished"]


class Name(msgspec.Struct, frozen=True):
    """One path as it was copied."""

    kind: Kind
    mode: int
    size: int = 0
    link: str | None = None


class Duplicate(msgspec.Struct, frozen=True):
    """What a copy is made of.

    `twins`: the files with the very bytes they had in the workspace, while they still have this stamp.
    """

    names: dict[str, Name]
    twins: dict[str, Stamp]
    skipped: tuple[Skipped, ...]


def stamp(status: os.stat_result) -> Stamp:
    """The stamp of a file."""
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def kind(mode: int) -> Kind:
    """What a name with this `st_mode` is."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "other"


def duplicate(
    source: Path, target: Path, *, twins: Mapping[str, Stamp] | None = None, owner: int | None = None
) -> Duplicate:
    """Copy `source` to `target`, which must not exist.

    Args:
        source: a folder in which no command of ours runs.
        target: made with the modes and times of the source; set-uid and set-gid bits are left out.
        twins: of the source, if it is a copy itself; then nothing in it may be skipped.
        owner: uid and gid that everything belongs to afterwards; None leaves it ours.

    Raises:
        SandboxError: it cannot be read, is nested deeper than `MAX_DEPTH`, or the disk is full; `target` is incomplete.
    """
    work = _Work(twins, owner)
    try:
        target.mkdir(0o700)
        with _opened(os.open(source, _FOLDER)) as old, _opened(os.open(target, _FOLDER)) as new:
            work.folder(old, new, "", 0)
            work.finish(new, os.fstat(old))
    except OSError as error:
        raise SandboxError(f"{source}: cannot be copied to {target}: {error}") from error
    return Duplicate(work.names, work.twins, tuple(work.skipped))


class _Work:
    def __init__(self, twins: Mapping[str, Stamp] | None, owner: int | None) -> None:
        self.names: dict[str, Name] = {}
        self.twins: dict[str, Stamp] = {}
        self.skipped: list[Skipped] = []
        self._known, self._owner = twins, owner
        self._reflink = True

    def folder(self, old: int, new: int, prefix: str, depth: int) -> None:
        """Everything in one folder."""
        if depth > MAX_DEPTH:
            raise SandboxError(f"{prefix}: nested deeper than {MAX_DEPTH} folders; it cannot be copied")
        with os.scandir(old) as entries:
            found = [
                (entry.name, entry.stat(follow_symlinks=False))
                for entry in entries
                if not self._own(entry.name, prefix)
            ]
        for name, status in found:
            path = prefix + name
            try:
                self._one((old, new), path, status, depth)
            except FileNotFoundError:
                self._skip(path, "vanished")
            except PermissionError:
                self._skip(path, "not readable")

    def finish(self, fd: int, status: os.stat_result) -> None:
        """Owner, mode and times of an open file or folder."""
        if self._owner is not None:
            os.fchown(fd, self._owner, self._owner)
        os.fchmod(fd, status.st_mode & 0o777)
        os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _own(self, name: str, prefix: str) -> bool:
        if name in LEFT_OUT:
            self.skipped.append(Skipped(prefix + name, "state of rsi"))
            return True
        return False

    def _skip(self, path: str, why: Literal["not readable", "vanished", "device, fifo or socket"]) -> None:
        if self._known is not None and why != "device, fifo or socket":
            raise SandboxError(f"{path}: {why}; this state cannot be copied whole")
        self.skipped.append(Skipped(path, why))

    def _one(self, ends: tuple[int, int], path: str, status: os.stat_result, depth: int) -> None:
        (old, new), name = ends, path.rpartition("/")[2]
        what = kind(status.st_mode)
        if what == "directory":
            with _opened(os.open(name, _FOLDER, dir_fd=old)) as below:
                os.mkdir(name, 0o700, dir_fd=new)
                with _opened(os.open(name, _FOLDER, dir_fd=new)) as copy:
                    self.names[path] = Name(what, status.st_mode & 0o777)
                    self.folder(below, copy, path + "/", depth + 1)
                    self.finish(copy, status)
        elif what == "symlink":
            link = os.readlink(name, dir_fd=old)
            os.symlink(link, name, dir_fd=new)
            if self._owner is not None:
                os.chown(name, self._owner, self._owner, dir_fd=new, follow_symlinks=False)
            self.names[path] = Name(what, status.st_mode & 0o777, link=link)
        elif what == "file":
            self._file(old, new, name, path)
        else:
            self._skip(path, "device, fifo or socket")

    def _file(self, old: int, new: int, name: str, path: str) -> None:
        with _opened(os.open(name, _READ, dir_fd=old)) as source:
            status = os.fstat(source)
            with _opened(os.open(name, _CREATE, 0o600, dir_fd=new)) as target:
                self._bytes(source, target, status.st_size)
                self.finish(target, status)
                self.names[path] = Name("file", status.st_mode & 0o777, status.st_size)
                if self._known is None or self._known.get(path) == stamp(status):
                    self.twins[path] = stamp(os.fstat(target))

    def _bytes(self, source: int, target: int, size: int) -> None:
        if self._reflink and size:
            try:
                fcntl.ioctl(target, _FICLONE, source)
            except OSError:  # this file system, or this pair of them, cannot: it will not for the next file either
                self._reflink = False
            else:
                return
        for start, end in _extents(source, size):
            _copy(source, target, start, end)
        os.ftruncate(target, size)


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has bytes: a terabyte of hole stays a hole."""
    at = 0
    while at < size:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, at, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            end = size  # the file system does not tell holes
        yield at, min(end, size)
        at = end


def _copy(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        data = os.pread(source, min(_CHUNK, end - start), start)
        if not data:
            return
        os.pwrite(target, data, start)
        start += len(data)


@contextmanager
def _opened(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)
