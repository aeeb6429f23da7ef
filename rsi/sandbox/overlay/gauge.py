"""How much a running command has written into the upper layer, at a price that does not grow with what is there.

The layer is walked a few milliseconds a look, and a walk goes on where the last look left it. When the file system has
lost more room or names than half of what is still allowed, the walk is finished at once. Looking is by `lstat` and by
folder listings only: a command that swaps a folder for a link makes us count wrongly, and nothing else. What cannot be
seen (a closed folder, one nested deeper than a path can say) is charged with all that the file system has lost.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from rsi import clock
from rsi.sandbox.model import Limits
from rsi.sandbox.overlay import unlinked
from rsi.sandbox.watch import Usage, tree

#: One look walks for this long at most, unless the file system says that something large was written.
LOOK_S: Final = 0.004
#: `st_blocks` is in units of 512 bytes, whatever the file system's own are (stat(2)).
_BLOCK: Final = 512
#: Names between two looks at the clock.
_STRIDE: Final = 64


class Gauge:
    """What one command wrote; call it as often as you like. What was there before it is taken off.

    Args:
        upper: the layer that is written to; nothing runs yet.
        limits: how close a look has to be.
    """

    def __init__(self, upper: str, limits: Limits) -> None:
        self._upper = upper
        self._most = limits.processes
        self._room = limits.disk, limits.inodes
        self.pid: int | None = None
        self._passing: Iterator[tuple[int, int]] | None = None
        self._last = self._seen = (0, 0)
        self._blind = False
        self._before = (0, 0)
        self._start = self._mark = self._free()
        if limits.disk is not None or limits.inodes is not None:
            self._finish()
            self._before = self._last

    def __call__(self) -> Usage:
        """Bytes and names that this command has added so far; never less than there are in a finished walk."""
        if self._pressed():
            self._passing = None
            self._finish()
        else:
            self._walk(clock.monotonic() + LOOK_S)
        disk, inodes = (max(last, seen) for last, seen in zip(self._last, self._seen, strict=True))
        lost = self._lost(self._start)
        hidden = self._hidden(lost[0] - (disk - self._before[0]))
        if self._blind:
            return Usage(max(disk - self._before[0] + hidden, lost[0]), max(inodes - self._before[1], lost[1]))
        return Usage(max(0, disk - self._before[0]) + hidden, max(0, inodes - self._before[1]))

    def _pressed(self) -> bool:
        """The file system has lost half of what may still be written since the last finished walk."""
        lost = self._lost(self._mark)
        return any(
            limit is not None and taken * 2 > max(0, limit - (used - before))
            for limit, taken, used, before in zip(self._room, lost, self._last, self._before, strict=True)
        )

    def _finish(self) -> None:
        self._walk(None)

    def _walk(self, until: float | None) -> None:
        if self._passing is None:
            self._passing, self._seen, self._begun, self._skipped = self._walked(), (0, 0), self._free(), False
        for count, seen in enumerate(self._passing, 1):
            self._seen = seen
            if until is not None and count % _STRIDE == 0 and clock.monotonic() >= until:
                return
        self._last, self._mark, self._blind, self._passing = self._seen, self._begun, self._skipped, None

    def _walked(self) -> Iterator[tuple[int, int]]:
        disk = inodes = 0
        linked: set[int] = set()
        todo = [self._upper]
        while todo:
            try:
                entries = os.scandir(todo.pop())
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:  # closed by the command, or nested deeper than a path can say
                self._skipped = True
                continue
            with entries:
                for entry in entries:
                    st = _looked_at(entry)
                    if st is None:
                        continue
                    inodes += 1
                    if stat.S_ISDIR(st.st_mode):
                        todo.append(entry.path)
                    elif st.st_nlink > 1:
                        if st.st_ino in linked:
                            continue
                        linked.add(st.st_ino)
                    disk += st.st_blocks * _BLOCK
                    yield disk, inodes
        yield disk, inodes

    def _hidden(self, unexplained: int) -> int:
        """Bytes in deleted files that are still in use, looked for when the disk lost more than was found."""
        limit = self._room[0]
        if self.pid is None or limit is None or unexplained * 2 < limit:
            return 0
        if tree.on_their_way(tree.pids(self.pid, self._most)):
            return unexplained  # nobody can say what they hold: all that is missing, then
        return min(unexplained, unlinked.size(self.pid, self._most))

    def _free(self) -> tuple[int, int]:
        room = os.statvfs(self._upper)
        return room.f_bfree * room.f_frsize, room.f_ffree

    def _lost(self, since: tuple[int, int]) -> tuple[int, int]:
        now = self._free()
        return max(0, since[0] - now[0]), max(0, since[1] - now[1])


def _looked_at(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:  # gone since it was listed
        return None
