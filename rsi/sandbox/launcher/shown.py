"""A folder of the host as a command sees it: a read-only overlay, in which nothing but files is the host's.

Read-only does not keep anybody from a live socket, or from writing into a fifo. An overlay makes its own inodes: a
socket of the host is nobody's address there, a fifo has its own two ends, and locks and watches are its own too.
"""

from __future__ import annotations

import os
import re
import stat

from . import mounts
from .broken import BrokenError
from .mounts import NO_DEVICES, NO_SETUID, READ_ONLY

#: In the stage: where a folder is put to be a layer, one over the other, and the second layer, which there has to be.
LAYER, NOTHING = b"/shown", b"/nothing"
#: What is shown is shown with these.
RESTRICTED = READ_ONLY | NO_SETUID | NO_DEVICES
#: How mountinfo writes what would end its fields: a blank is `\\040` (proc_pid_mountinfo(5)).
_ESCAPED = re.compile(rb"\\([0-7]{3})")


def folder(stage: bytes, source: bytes, target: bytes) -> None:
    """Show a folder, without what is mounted below it.

    Raises:
        OSError: the kernel makes no layer of it.
    """
    mounts.attach(mounts.copy(source, recursive=False), stage + LAYER)
    layers: list[tuple[bytes, bytes | None]] = [(b"lowerdir", stage + LAYER + b":" + stage + NOTHING)]
    mounts.attach(mounts.build(b"overlay", [*layers, (b"userxattr", None)], RESTRICTED), target)


def check(path: bytes, below: list[bytes]) -> None:
    """Refuse what cannot be shown without a way out in it.

    Args:
        path: with no link in it.
        below: what is mounted there.

    Raises:
        BrokenError: of stage `root`.
        OSError: it is not there.
    """
    mode = os.lstat(path).st_mode
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise BrokenError("root", 0, f"readable {os.fsdecode(path)}: is no folder and no file")
    if below:
        raise BrokenError(
            "root",
            0,
            f"readable {os.fsdecode(path)}: {os.fsdecode(below[0])} is mounted below it, and would be shown with its"
            " sockets; name the folders that are needed one by one",
        )


def mount_points() -> list[bytes]:
    """Where something is mounted now."""
    with open("/proc/self/mountinfo", "rb") as file:
        return [_ESCAPED.sub(_escaped, line.split()[4]) for line in file]


def _escaped(found: re.Match[bytes]) -> bytes:
    return bytes((int(found[1], 8),))
