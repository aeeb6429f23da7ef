"""Deleting without making anybody wait: a rename into the trash folder now, the deletion in the background.

Deletion follows no link, needs no more than one open folder however deep a tree is (a command may have nested folders
beyond PATH_MAX), and copes with two processes that empty the same trash.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from rsi.sandbox.overlay.background import Background
from rsi.sandbox.overlay.disk import PRIVATE, Disk


class Trash:
    """The trash folder of one home of stores.

    Args:
        folder: on the same file system as what is thrown away; exists.
        disk: does the renames.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder, self._disk = folder, disk
        self.background: Final = Background("rsi-sandbox-trash")

    def take(self, path: Path) -> None:
        """It is gone from its place when this returns; nothing happens if it was gone before."""
        place = self._folder / secrets.token_hex(8)
        try:
            self._disk.rename(path, place)
        except FileNotFoundError:
            return
        self.discard(place)

    def discard(self, path: Path) -> None:
        """Delete it where it is, soon: for a folder whose name nobody will ask for again."""
        self.background.submit(lambda: self._delete(path))

    def empty(self) -> None:
        """Delete what owners that died have left in it."""
        for path in self._folder.iterdir():
            self.discard(path)

    def _delete(self, path: Path) -> None:
        todo = [str(path)]
        while todo:
            todo += _flatten(todo.pop(), str(self._folder))


def _flatten(path: str, trash: str) -> list[str]:
    """Delete one folder and the files in it; the folders in it become folders of the trash, which are still to do.

    The folder's own name is ours: nobody else can put something in its place. What is *in* it may still be moved about
    by a command whose daemon was killed a moment ago, so it is only touched through descriptors.
    """
    moved: list[str] = []
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)  # noqa: PTH108 - strings, for a hundred thousand names
            return []
        os.chmod(path, PRIVATE)  # noqa: PTH101 - the kernel leaves `work/work` with mode 000, and so may a command
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    _clear(entry, folder, trash, moved)
        finally:
            os.close(folder)
        os.rmdir(path)  # noqa: PTH106
    except FileNotFoundError:  # another process is emptying the same trash
        return moved
    return moved


def _clear(entry: os.DirEntry[str], folder: int, trash: str, moved: list[str]) -> None:
    try:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder)
            return
        _open_up(entry.name, folder)
        place = f"{trash}/{secrets.token_hex(8)}"
        os.rename(entry.name, place, src_dir_fd=folder)
        moved.append(place)
    except FileNotFoundError:
        return


def _open_up(name: str, folder: int) -> None:
    """Moving a folder writes its `..`. A link that has taken its name is not followed: it is opened as no folder."""
    try:
        found = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except NotADirectoryError:
        return
    try:
        os.chmod(f"/proc/self/fd/{found}", PRIVATE)  # noqa: PTH101 - fchmod(2) refuses a descriptor of this kind
    finally:
        os.close(found)
