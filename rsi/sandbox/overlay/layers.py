"""Reading overlayfs layers as the kernel does.

The format is the kernel's Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories", with
`userxattr`: a whiteout is a character device 0:0, or an empty file with the attribute `user.overlay.whiteout`;
`user.overlay.opaque=y` hides what lower layers have in a folder. `redirect_dir` and `metacopy` are off under
`userxattr`; a layer that shows either is refused rather than misread. A command inside cannot forge any of it:
overlayfs keeps these names from it.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Final

from rsi.errors import SandboxError
from rsi.sandbox.model import Kind

XATTR: Final = "user.overlay."
OPAQUE: Final = XATTR + "opaque"
WHITEOUT: Final = XATTR + "whiteout"
#: Attributes that mean "look elsewhere for the name or the bytes".
_ELSEWHERE: Final = frozenset((XATTR + "redirect", XATTR + "metacopy"))
_NOT_THERE: Final = (errno.ENODATA, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM, errno.ENOENT)


@dataclass(frozen=True, slots=True)
class Node:
    """What a path is in a stack: the topmost thing, and for a folder every part it is merged from, newest first.

    `mode` is the permission bits as the command left them, which `stat` may not show while we read.
    """

    path: str
    stat: os.stat_result
    mode: int
    parts: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """As a change says it."""
        return kind(self.stat.st_mode)

    @property
    def is_dir(self) -> bool:
        """A folder."""
        return stat.S_ISDIR(self.stat.st_mode)


def kind(mode: int) -> Kind:
    """What a name with this `st_mode` is."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "other"


def is_whiteout(path: str, st: os.stat_result) -> bool:
    """The name is gone here, whatever lower layers have."""
    if stat.S_ISCHR(st.st_mode):
        return st.st_rdev == 0
    return stat.S_ISREG(st.st_mode) and st.st_size == 0 and attribute(path, WHITEOUT) is not None


def is_opaque(path: str) -> bool:
    """A folder that hides what lower layers have in it.

    Raises:
        SandboxError: the folder says that its contents are elsewhere, which we switch off.
    """
    found = attributes(path)
    return OPAQUE in found and attribute(path, OPAQUE) == b"y"


def attributes(path: str) -> frozenset[str]:
    """The names of all extended attributes.

    Raises:
        SandboxError: one of them says that the bytes or the names are elsewhere.
    """
    try:
        found = frozenset(os.listxattr(path, follow_symlinks=False))
    except OSError as error:
        if error.errno in _NOT_THERE:
            return frozenset()
        raise
    if found & _ELSEWHERE:
        raise SandboxError(f"{path}: has {min(found & _ELSEWHERE)}, which a layer made here never has: it is not ours")
    return found


def attribute(path: str, name: str) -> bytes | None:
    """One extended attribute; None if it is not there."""
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
