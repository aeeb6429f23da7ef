"""Root mode: a command is a host user who owns nothing, and the workspace looks as if it belonged to that user.

Without that it would be the host's user 0 without capabilities, who may still open what belongs to user 0:
/etc/shadow, /proc/sys/kernel/core_pattern. There is no way back to that from here.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from . import calls, mounts
from .broken import BrokenError, Stage
from .mounts import IDMAPPED, NO_DEVICES, NO_SETUID, READ_ONLY
from .order import Order


def who(order: Order) -> tuple[int, int]:
    """The host uid and gid of the command: the owner of the upper layer.

    Raises:
        BrokenError: if that is user or group 0.
    """
    if "idmap" in order.without:
        return 0, 0
    with Stage("idmap", "look who owns the upper layer"):
        found = os.stat(order.upper)
    if found.st_uid == 0 or found.st_gid == 0:
        raise BrokenError("order", errno.EPERM, "the upper layer belongs to root, not to `launch.layer_owner()`")
    return found.st_uid, found.st_gid


def workspace(order: Order, user: tuple[int, int]) -> int:
    """A copy of the workspace's mount in which its owner is `user`: a descriptor.

    Raises:
        BrokenError: of stage `idmap`.
    """
    with Stage("idmap", "map the owner of the workspace to the sandbox's user"):
        tree = mounts.copy(order.workspace, recursive=False)
        if "idmap" in order.without:
            return tree
        owner = os.stat(order.workspace)
        namespace = mapping(owner.st_uid, owner.st_gid, *user)
        attributes = IDMAPPED | READ_ONLY | NO_SETUID | NO_DEVICES
        mounts.restrict(tree, attributes, user_namespace=namespace, recursive=False)
    return tree


def write_maps(pid: int, inside: tuple[int, int], outside: tuple[int, int]) -> None:
    """Say who one user and one group of a process's new user namespace are outside. Raises OSError."""
    _write(f"/proc/{pid}/uid_map", f"{inside[0]} {outside[0]} 1")
    _write(f"/proc/{pid}/gid_map", f"{inside[1]} {outside[1]} 1")


def forbid_groups(pid: int) -> None:
    """What an ordinary user must do before the group map is taken."""
    _write(f"/proc/{pid}/setgroups", "deny")


#: What was made in this process or one that it was forked from; making one takes as long as two forks.
_mappings: dict[tuple[int, int, int, int], int] = {}
_MOST_MAPPINGS = 16


def mapping(uid: int, gid: int, other_uid: int, other_gid: int) -> int:
    """A user namespace in which nobody lives, that says that one user is another outside: a descriptor, to be kept.

    Raises:
        OSError: we may not, or there is no /proc.
    """
    key = (uid, gid, other_uid, other_gid)
    if key not in _mappings:
        if len(_mappings) >= _MOST_MAPPINGS:
            os.close(_mappings.pop(next(iter(_mappings))))
        _mappings[key] = _mapping((uid, gid), (other_uid, other_gid))
    return _mappings[key]


def _mapping(inside: tuple[int, int], outside: tuple[int, int]) -> int:
    ours, theirs = os.pipe()
    pid = calls.clone(calls.NEWUSER)
    if pid == 0:
        os.close(theirs)
        os.read(ours, 1)
        os._exit(0)
    try:
        write_maps(pid, inside, outside)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ours)
        os.close(theirs)
        with suppress(ChildProcessError):  # the zygote ignores its children: then this waits just the same
            os.waitpid(pid, 0)


def _write(path: str, content: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, content.encode())
    finally:
        os.close(fd)
