"""Files that were deleted and are still in use: they fill the disk and are in no folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from rsi.sandbox.watch import tree

_Inode = tuple[int, int]


def size(pid: int, most: int) -> int:
    """Bytes of the deleted files of the view that `pid` and its descendants have open or mapped, each once.

    Args:
        pid: the host pid of the sandbox's first process.
        most: how many processes to look at.
    """
    found: dict[_Inode, int] = {}
    for process in tree.pids(pid, most):
        views = _views(process)
        if views:
            found.update(_opened(process, views))
            for inode, length in _mapped(process, views):
                found.setdefault(inode, length)
    return sum(found.values())


def _opened(pid: int, views: set[int]) -> Iterator[tuple[_Inode, int]]:
    for path in tree.descriptors(pid):
        try:
            st = os.stat(path)  # noqa: PTH116 - strings
        except OSError:  # closed since, or it has ended
            continue
        if stat.S_ISREG(st.st_mode) and st.st_nlink == 0 and st.st_dev in views:
            yield (st.st_dev, st.st_ino), st.st_blocks * 512


def _mapped(pid: int, views: set[int]) -> Iterator[tuple[_Inode, int]]:
    """How much of each is mapped: proc_pid_maps(5) says no more, and a hole counts as if it were written."""
    for line in _lines(pid, "maps"):
        fields = line.split(maxsplit=5)
        if not line.endswith(" (deleted)"):
            continue
        device = _device(fields[3], 16)
        if device in views:
            start, end = (int(each, 16) for each in fields[0].split("-"))
            yield (device, int(fields[4])), end - start


def _views(pid: int) -> set[int]:
    """The device numbers of the overlays that a process sees."""
    mounts = [
        (fields[2], fields[fields.index("-") + 1]) for line in _lines(pid, "mountinfo") if (fields := line.split())
    ]
    return {_device(number, 10) for number, what in mounts if what == "overlay"}


def _device(text: str, base: int) -> int:
    major, minor = text.split(":")
    return os.makedev(int(major, base), int(minor, base))


def _lines(pid: int, name: str) -> list[str]:
    try:
        return Path(f"{tree.PROC}/{tree.living(pid)}/{name}").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
