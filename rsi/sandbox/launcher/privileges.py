"""Giving up what a process of the sandbox must not have, and who it is."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from . import calls, filter  # noqa: A004 - the word for it
from .broken import Stage

#: Who a command is, inside: the same in both modes, so that a command cannot tell, and need not know, who runs rsi.
UID = GID = 1000

#: Version 3 of the calls' format, process 0: ourselves.
_OURSELVES = struct.pack("=Ii", 0x2008_0522, 0)
_MOST_CAPABILITIES = 64
_AMBIENT_RAISE, _AMBIENT_CLEAR = 2, 4


def become(uid: int, gid: int) -> None:
    """Be this user of the present user namespace, and keep every capability in it."""
    os.setgroups([])
    calls.prctl(calls.PR_SET_KEEPCAPS, 1)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _set_capabilities(effective=_all(), inheritable=0)


def lock_down(code: bytes, without: frozenset[str]) -> None:
    """No capability, no way to get one, and the filter: what is forked from here on has no more than this."""
    with Stage("filter", "give up all capabilities"):
        if "caps" in without:
            _keep_capabilities()
        else:
            _drop_capabilities()
    with Stage("filter", "set no_new_privs"):
        calls.prctl(calls.PR_SET_NO_NEW_PRIVS, 1)
        if calls.prctl(calls.PR_GET_NO_NEW_PRIVS, 0) != 1:
            raise OSError(errno.ENOSYS, "no_new_privs was set, and is not")
    if "seccomp" not in without:
        with Stage("filter", "load the system call filter"):
            filter.load(code)


def _drop_capabilities() -> None:
    for capability in range(_MOST_CAPABILITIES):
        try:
            calls.prctl(calls.PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno.EINVAL and capability:  # past the last one this kernel has
                break
            raise
    calls.prctl(calls.PR_CAP_AMBIENT, _AMBIENT_CLEAR)
    _set_capabilities(effective=0, inheritable=0)
    left = ctypes.create_string_buffer(struct.calcsize("=6I"))
    calls.call("capget", _OURSELVES, left)
    if any(left.raw):
        raise OSError(errno.EPERM, "all capabilities were given up, and some are left")


def _keep_capabilities() -> None:
    _set_capabilities(effective=_all(), inheritable=_all())
    for capability in range(_count()):
        calls.prctl(calls.PR_CAP_AMBIENT, _AMBIENT_RAISE, capability)


def _set_capabilities(*, effective: int, inheritable: int) -> None:
    """Permitted is what is effective."""
    low, high = 0xFFFF_FFFF, 32
    words = [effective & low, effective & low, inheritable & low, effective >> high, effective >> high]
    data = struct.pack("=6I", *words, inheritable >> high)
    calls.call("capset", _OURSELVES, data)


def _all() -> int:
    return (1 << _count()) - 1


def _count() -> int:
    with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
        return int(file.read()) + 1
