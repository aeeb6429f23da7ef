"""Mounts, through the calls that take descriptors: a copy gets its restrictions before it is put anywhere.

What is shown read-only is never writable at its place, not even for the moment between two calls.
"""

from __future__ import annotations

import os
import struct

from .broken import text
from .calls import call

READ_ONLY, NO_SETUID, NO_DEVICES, NO_EXEC, IDMAPPED = 1, 2, 4, 8, 0x10_0000
#: The same as mount(2) names them.
MS_READ_ONLY, MS_NO_SETUID, MS_NO_DEVICES, MS_NO_EXEC = 1, 2, 4, 8

_MS_BIND, _MS_RECURSIVE, _MS_PRIVATE = 0x1000, 0x4000, 1 << 18
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE, _AT_NO_FOLLOW = -100, 0x1000, 0x8000, 0x100
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_FROM_EMPTY_PATH = 4
_MNT_DETACH = 2
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_SET_FLAG, _SET_STRING, _CMD_CREATE = 0, 1, 6
#: One message of a file system context (`fsopen(2)`): "e overlay: …".
_LOG_LINE = 1024


def make_private() -> None:
    """Nothing that is mounted from here on is seen by anybody else."""
    call("mount", None, b"/", None, _MS_RECURSIVE | _MS_PRIVATE, None)


def copy(path: bytes, *, recursive: bool = True) -> int:
    """A copy of what is mounted at a path, attached nowhere yet: a descriptor. A link is not followed."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_NO_FOLLOW | (_AT_RECURSIVE if recursive else 0)
    try:
        return call("open_tree", _AT_FDCWD, path, flags)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def restrict(tree: int, attributes: int, *, user_namespace: int = 0, recursive: bool = True) -> None:
    """Add restrictions to a copy, and to every mount below it."""
    data = struct.pack("=QQQQ", attributes, 0, 0, user_namespace)
    call("mount_setattr", tree, b"", _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0), data, len(data))


def make_read_only(path: bytes, *, recursive: bool = False) -> None:
    """The mount at this path, and those below it only if asked to."""
    data = struct.pack("=QQQQ", READ_ONLY, 0, 0, 0)
    call("mount_setattr", _AT_FDCWD, path, _AT_RECURSIVE if recursive else 0, data, len(data))


def attach(tree: int, target: bytes) -> None:
    """Put a copy at a path, and close its descriptor."""
    try:
        call("move_mount", tree, b"", _AT_FDCWD, target, _MOVE_MOUNT_FROM_EMPTY_PATH)
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from error
    finally:
        os.close(tree)


def show(source: bytes, target: bytes, attributes: int) -> None:
    """What is at `source`, with all that is mounted below it, restricted, also at `target`."""
    tree = copy(source)
    try:
        if attributes:
            restrict(tree, attributes)
    except OSError:
        os.close(tree)
        raise
    attach(tree, target)


def bind(source: bytes, target: bytes) -> None:
    """One file or folder also at another place, as it is: the quick way for a device."""
    call("mount", source, target, None, _MS_BIND, None)


def mount(kind: bytes, target: bytes, flags: int, options: str = "") -> None:
    """A new file system, by the old call."""
    try:
        call("mount", kind, target, kind, flags, options.encode() or None)
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from error


def build(kind: bytes, options: list[tuple[bytes, bytes | None]], attributes: int) -> int:
    """A new file system from options whose values may hold any character: a mount that is attached nowhere yet.

    Raises:
        OSError: `filename` is what the kernel said about it.
    """
    context = call("fsopen", kind, _FSOPEN_CLOEXEC)
    try:
        for key, value in options:
            call("fsconfig", context, _SET_FLAG if value is None else _SET_STRING, key, value, 0)
        call("fsconfig", context, _CMD_CREATE, None, None, 0)
        return call("fsmount", context, _FSMOUNT_CLOEXEC, attributes)
    except OSError as error:
        raise OSError(error.errno, error.strerror, _said(context) or error.filename) from error
    finally:
        os.close(context)


def pivot(new_root: bytes) -> None:
    """Make `new_root` the root; what was there is out of reach (pivot_root(2), "pivot_root('.', '.')")."""
    os.chdir(new_root)
    call("pivot_root", b".", b".")
    call("umount2", b".", _MNT_DETACH)
    os.chdir("/")


def _said(context: int) -> str:
    """The last message about a file system context, "" when there is none."""
    last = ""
    try:
        while line := os.read(context, _LOG_LINE):
            last = text(line).strip()
    except OSError:  # ENODATA: nothing more to say
        return last
    return last
