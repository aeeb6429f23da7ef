"""A folder that is only ever walked from its own descriptor, one component at a time, never through a symlink."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from rsi.sandbox.merge.state import ABSENT, State
from rsi.sandbox.model import Kind

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: `O_NONBLOCK`: opening a fifo that somebody put there must not wait for its other end.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK: Final = 1 << 20


class Tree:
    """One open folder. Paths are relative, `/`-separated and already checked by `refused_path`.

    Every method raises `OSError`: `NotADirectoryError` where a parent is a file or a symlink.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)

    @contextmanager
    def folder(self, path: str) -> Iterator[int]:
        """The descriptor of a folder inside; `""` is the root."""
        fd = os.dup(self._root)
        try:
            for name in path.split("/") if path else ():
                below = os.open(name, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def above(self, path: str) -> Iterator[tuple[int, str]]:
        """The descriptor of the folder that holds it, and its name there."""
        head, _, name = path.rpartition("/")
        with self.folder(head) as fd:
            yield fd, name

    def look(self, path: str) -> os.stat_result | None:
        """Its lstat; `None` when it or its folder is not there."""
        try:
            with self.above(path) as (fd, name):
                return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def names(self, path: str) -> list[str]:
        """What lies in a folder."""
        with self.folder(path) as fd:
            return os.listdir(fd)  # noqa: PTH208 - pathlib takes no descriptor

    def state(self, path: str, *, copy: Path | None = None) -> State:
        """What is there now, hashed; with `copy`, a file's bytes are kept there as they are hashed.

        A path below a file or a symlink is absent: it cannot be there.
        """
        try:
            with self.above(path) as (fd, name):
                return _state_at(fd, name, copy)
        except (FileNotFoundError, NotADirectoryError):
            return ABSENT


def kind_of(mode: int) -> Kind:
    """What an lstat's `st_mode` says it is."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "other"


def _state_at(fd: int, name: str, copy: Path | None) -> State:
    seen = os.stat(name, dir_fd=fd, follow_symlinks=False)
    kind, mode = kind_of(seen.st_mode), stat.S_IMODE(seen.st_mode)
    if kind == "symlink":
        link = os.readlink(name, dir_fd=fd)
        return State(kind="symlink", mode=0, link=link, uid=seen.st_uid, gid=seen.st_gid)
    if kind != "file":
        return State(kind=kind, mode=mode, uid=seen.st_uid, gid=seen.st_gid)
    opened = os.open(name, _READ, dir_fd=fd)
    try:
        digest, size = kept(opened, copy)
    finally:
        os.close(opened)
    blob = copy.name if copy else ""
    return State(kind="file", mode=mode, sha256=digest, size=size, uid=seen.st_uid, gid=seen.st_gid, blob=blob)


@contextmanager
def source(path: Path, inside: str) -> Iterator[int]:
    """Open a change's bytes. Its part that is `inside` was made by whatever ran: no symlink in it is followed."""
    whole, tail = os.fspath(path), "/" + inside
    if not whole.endswith(tail) or len(whole) == len(tail):
        fd = os.open(path, _READ)
    else:
        with Tree(Path(whole[: -len(tail)])) as tree, tree.above(inside) as (folder, name):
            fd = os.open(name, _READ, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


def copied(fd: int, out: int | None, limit: int | None = None) -> tuple[str, int]:
    """Read it to the end → (sha256, bytes); what was hashed is what was written to `out`.

    Raises:
        ValueError: it is longer than `limit`.
    """
    digest, size = hashlib.sha256(), 0
    while block := os.read(fd, _CHUNK):
        size += len(block)
        if limit is not None and size > limit:
            raise ValueError(size)
        digest.update(block)
        if out is not None:
            write_all(out, block)
    return digest.hexdigest(), size


def kept(fd: int, to: Path | None, limit: int | None = None) -> tuple[str, int]:
    """`copied` into a new private file, synced."""
    if to is None:
        return copied(fd, None, limit)
    out = os.open(to, _CREATE, 0o600)
    try:
        found = copied(fd, out, limit)
        os.fsync(out)
    finally:
        os.close(out)
    return found


def create(name: str, fd: int) -> int:
    """A new, private, empty file in the folder `fd`, opened for writing."""
    return os.open(name, _CREATE, 0o600, dir_fd=fd)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte; `os.write` may take fewer."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
