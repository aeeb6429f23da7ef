"""System V shared memory of a namespace: the only memory that stays when nobody has it attached (shmop(2))."""

from __future__ import annotations

import os
from typing import Final

#: Of the list that is read at once; 4096 segments, as many as there can be, are some ten of these.
_PART: Final = 1 << 16


def size(fd: int) -> int:
    """Bytes in memory of the System V segments that are listed in an open `/proc/sysvipc/shm`, attached or not."""
    head, *lines = _whole(fd).splitlines() or [b""]
    names = head.split()
    columns = [names.index(name) for name in (b"rss", b"swap") if name in names]
    return sum(int(line.split()[column]) for line in lines for column in columns)


def _whole(fd: int) -> bytes:
    data = b""
    while part := os.pread(fd, _PART, len(data)):
        data += part
    return data
