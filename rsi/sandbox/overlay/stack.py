"""The layers of one box: the chain of frozen ones, and the upper one that commands write to."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from rsi.sandbox.overlay.disk import Disk
from rsi.sandbox.overlay.home import Line

Owner = tuple[int, int]


class Stack:
    """What the next command is given, and what a checkpoint keeps.

    Args:
        disk: makes the folders.
        line: whose they are.
        workspace: the lowest layer.
        name: makes names that nobody has used.
        chain: frozen layers to start from, oldest first.
        owner: uid and gid that commands write as, when these are not ours.
    """

    def __init__(
        self,
        disk: Disk,
        line: Line,
        workspace: Path,
        name: Callable[[], str],
        chain: tuple[str, ...],
        *,
        owner: Owner | None,
    ) -> None:
        self._disk, self._line, self._workspace = disk, line, workspace
        self._name, self._owner = name, owner
        self.chain = chain
        self.switch(chain)

    def freeze(self) -> bool:
        """Make the upper layer the newest frozen one; False if nothing was written since the last time."""
        if not self._written():
            return False
        self.switch((*self.chain, self.upper))
        return True

    def switch(self, chain: tuple[str, ...]) -> None:
        """Go on from this chain with an empty upper layer. The root's mode is the upper layer's own."""
        below = self._line.layer(chain[-1]) if chain else self._workspace
        mode = stat.S_IMODE(below.stat().st_mode)
        upper = self._name()
        self._disk.mkdir(self._line.layer(upper), mode, self._owner)
        self.chain, self.upper, self._mode = chain, upper, mode

    def work(self) -> Path:
        """A new work folder for one mount: the kernel refuses one that a volatile mount has used."""
        path = self._line.store / "work" / self._name()
        self._disk.mkdir(path, owner=self._owner)
        return path

    def roots(self, chain: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """The folders of a chain, newest first, the workspace last; of the present state, with the upper one."""
        layers = (*self.chain, self.upper) if chain is None else chain
        return (*(str(self._line.layer(layer)) for layer in reversed(layers)), str(self._workspace))

    def _written(self) -> bool:
        upper = self._line.layer(self.upper)
        if stat.S_IMODE(upper.stat().st_mode) != self._mode:
            return True
        try:
            with os.scandir(upper) as entries:
                return next(entries, None) is not None
        except PermissionError:  # closed by its own mode: whatever is in it is kept
            return True
