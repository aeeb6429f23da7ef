"""Changing the mode of one inode, and of no other that has taken its name meanwhile."""

from __future__ import annotations

import os

Inode = tuple[int, int]


def change(path: str, inode: Inode, mode: int) -> None:
    """Give `path` this mode, if it is still that inode (device and number); else nothing happens.

    Raises:
        FileNotFoundError: there is nothing.
    """
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) == inode:
            os.chmod(f"/proc/self/fd/{fd}", mode)  # noqa: PTH101 - fchmod(2) refuses a descriptor of this kind
    finally:
        os.close(fd)
