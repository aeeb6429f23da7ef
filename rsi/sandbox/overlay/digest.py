"""The bytes of a file without its holes: a terabyte of nothing is read in no time, and compares as what it is."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Final

#: The grid that a file is read on. A page of data in each square is the worst that a command can do: it is read as
#: sixteen.
BLOCK: Final = 64 << 10
_ZEROS: Final = bytes(BLOCK)


def blocks(fd: int, size: int, go_on: Callable[[], None]) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of every block that is not all zeros, however the file system lays them out.

    Args:
        fd: a regular file.
        size: its length in bytes.
        go_on: called before each block; raises when it is to stop.
    """
    at = 0
    while at < size:
        go_on()
        at = _data(fd, at, size)
        block = os.pread(fd, min(BLOCK, size - at), at) if at < size else b""
        if not block:
            return
        if block != _ZEROS[: len(block)]:
            yield at, block
        at += BLOCK


def sha256(fd: int, size: int, go_on: Callable[[], None]) -> str:
    """A hash of the file: of each block of `blocks`, after its offset in eight bytes. See `blocks` for the rest."""
    digest = hashlib.sha256()
    for at, block in blocks(fd, size, go_on):
        digest.update(at.to_bytes(8, "big"))
        digest.update(block)
    return digest.hexdigest()


def _data(fd: int, at: int, size: int) -> int:
    """The start of the first block from `at` on that is not all hole; `size` where there is none."""
    try:
        found = os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a hole up to the end
            return size
        return at  # the file system does not tell holes
    return found - found % BLOCK
