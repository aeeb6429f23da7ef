"""Looking paths up in a stack of layers in which nothing is being written.

A command can take away its own folders' permissions (`chmod 000`). As their owner we open them for as long as we read,
remember the true mode, and give it back; root need not. Only what is in the layers is touched, never the workspace.
A reader that is killed leaves them open: `manifest.verify` knows what they were.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from collections.abc import Callable
from itertools import zip_longest
from types import TracebackType
from typing import Final, Self

from rsi.errors import SandboxError
from rsi.sandbox.overlay import digest, modes
from rsi.sandbox.overlay.layers import Node, attributes, is_opaque, is_whiteout
from rsi.sandbox.overlay.modes import Inode

#: What a folder or a file of ours is given while it is read; what a killed reader leaves.
USABLE: Final = 0o700

_lock: Final = threading.Lock()
#: Inode → its true mode and how many readers have it open: two readers may want the same folder.
_opened: Final[dict[Inode, tuple[int, int]]] = {}


class Reader:
    """One reading of the layers in one store; a context manager.

    Args:
        layers: the folder that all layers are in.
        stopped: says that nobody waits for this reading any more.
    """

    def __init__(self, layers: str, stopped: Callable[[], bool] = lambda: False) -> None:
        self._layers = layers + "/"
        self._stopped = stopped
        self._digests: dict[Inode, str] = {}
        self._mine: dict[Inode, str] = {}
        self._privileged = os.geteuid() == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with _lock:
            for inode, path in reversed(self._mine.items()):
                _give_back(inode, path)
        self._mine.clear()

    def go_on(self) -> None:
        """Raise `SandboxError` when it is to stop: called before each folder and each block."""
        if self._stopped():
            raise SandboxError("the sandbox was closed, or interrupted, while its files were read")

    def node(self, path: str) -> Node | None:
        """One path of one layer, whiteouts too; None if there is nothing.

        Raises:
            SandboxError: it cannot be looked at.
        """
        try:
            st = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError:
            if path.startswith(self._layers):
                raise
            return None  # below a folder of the workspace that its owner has closed: closed inside, too
        except OSError as error:
            raise _unreadable(path, error) from error
        mode = stat.S_IMODE(st.st_mode)
        if _opened and (known := _opened.get((st.st_dev, st.st_ino))) is not None:
            mode = known[0]
        if stat.S_ISDIR(st.st_mode) and mode & USABLE != USABLE:
            self._open_up(path, st, mode)
        return Node(path, st, mode, (path,) if stat.S_ISDIR(st.st_mode) else ())

    def names(self, path: str) -> list[str]:
        """What a folder has, unsorted; nothing if it is one of the workspace that we may not list.

        Raises:
            SandboxError: it cannot be listed.
        """
        self.go_on()
        try:
            return os.listdir(path)  # noqa: PTH208 - strings: a walk is a hundred thousand of these
        except PermissionError:
            if path.startswith(self._layers):
                raise
            return []
        except OSError as error:
            raise _unreadable(path, error) from error

    def child(self, parts: tuple[str, ...], name: str) -> Node | None:
        """What `name` is in the folder merged from `parts`; None if nothing, or hidden."""
        top: Node | None = None
        merged: list[str] = []
        last = parts[-1] if parts else ""
        for part in parts:
            node = self.node(f"{part}/{name}")
            if node is None:
                continue
            if is_whiteout(node.path, node.stat):
                break
            if not node.is_dir:
                if top is None:
                    return node
                break
            top = top or node
            merged.append(node.path)
            if part != last and is_opaque(node.path):
                break
        return Node(top.path, top.stat, top.mode, tuple(merged)) if top is not None else None

    def open(self, node: Node) -> io.FileIO:
        """The bytes of a file.

        Raises:
            PermissionError: it is one of the workspace, and its owner has closed it.
            SandboxError: it is not a file any more.
        """
        attributes(node.path)
        if not node.mode & stat.S_IRUSR:
            self._open_up(node.path, node.stat, node.mode)
        try:
            fd = os.open(node.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError:
            raise
        except OSError as error:
            raise _unreadable(node.path, error) from error
        return io.FileIO(fd)

    def same(self, one: Node, other: Node) -> bool:
        """Whether two files have the same bytes."""
        if one.stat.st_size != other.stat.st_size:
            return False
        with self.open(one) as old, self.open(other) as new:
            sides = (digest.blocks(each.fileno(), one.stat.st_size, self.go_on) for each in (old, new))
            return all(left == right for left, right in zip_longest(*sides))

    def digest(self, node: Node) -> str:
        """The hash of a file (`rsi.sandbox.overlay.digest`); one with many names is read once."""
        inode = (node.stat.st_dev, node.stat.st_ino)
        found = self._digests.get(inode)
        if found is None:
            with self.open(node) as file:
                found = digest.sha256(file.fileno(), node.stat.st_size, self.go_on)
            if node.stat.st_nlink > 1:
                self._digests[inode] = found
        return found

    def _open_up(self, path: str, st: os.stat_result, mode: int) -> None:
        inode = (st.st_dev, st.st_ino)
        if self._privileged or inode in self._mine or not path.startswith(self._layers):
            return
        with _lock:
            _, readers = _opened.get(inode, (mode, 0))
            _opened[inode] = (mode, readers + 1)
            self._mine[inode] = path
            modes.change(path, inode, mode | USABLE)


def _give_back(inode: Inode, path: str) -> None:
    mode, readers = _opened[inode]
    if readers > 1:
        _opened[inode] = (mode, readers - 1)
        return
    del _opened[inode]
    try:
        modes.change(path, inode, mode)
    except FileNotFoundError:  # the box was closed meanwhile: it is in the trash
        return


def _unreadable(path: str, error: OSError) -> SandboxError:
    if error.errno == errno.ENAMETOOLONG:
        return SandboxError(f"{path[:200]}…: nested deeper than a path can say; restore an earlier checkpoint")
    return SandboxError(f"{path}: cannot be read: {error.strerror}")
