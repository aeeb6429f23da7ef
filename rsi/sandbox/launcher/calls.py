"""The system calls that Python does not wrap. Each raises OSError.

They keep the interpreter's lock: none of them waits, and giving it up and taking it again costs more than the call.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Callable

from .table import NUMBERS

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000
NEWUSER, NEWPID, NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 1, 4, 8
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 24, 38, 39, 47

#: struct sigaction of the kernel: handler SIG_DFL, no flags, no restorer, an empty mask; and the size of a mask.
_SIGSET_BYTES = 8
_DEFAULT_ACTION = bytes(4 * _SIGSET_BYTES)

_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_long = ctypes.c_long
_prctl = _libc.prctl
_prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_python = ctypes.pythonapi
_before_fork: Callable[[], object] = _python.PyOS_BeforeFork
_after_in_child: Callable[[], object] = _python.PyOS_AfterFork_Child
_after_in_parent: Callable[[], object] = _python.PyOS_AfterFork_Parent
for _hook in (_python.PyOS_BeforeFork, _python.PyOS_AfterFork_Child, _python.PyOS_AfterFork_Parent):
    _hook.restype = None


def call(name: str, *arguments: object) -> int:
    """A system call by name: integers go as 64 bits, bytes as a pointer to them, None as NULL.

    Raises:
        OSError: what the kernel answered; ENOSYS on a machine whose numbers we do not have.
    """
    number = NUMBERS.get(name)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), name)
    result: int = _syscall(_long(number), *(_long(each) if isinstance(each, int) else each for each in arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name)
    return result


def clone(flags: int) -> int:
    """fork(2) with new namespaces: the child's pid, 0 in the child.

    Only for a process with one thread: that is what the interpreter's own fork hooks leave for us to keep.
    """
    _before_fork()
    try:
        pid = call("clone", flags | signal.SIGCHLD, 0, 0, 0, 0)
    except OSError:
        _after_in_parent()
        raise
    if pid == 0:
        _after_in_child()
    else:
        _after_in_parent()
    return pid


def prctl(option: int, second: int, third: int = 0) -> int:
    """Ask the kernel something about this process. Raises OSError."""
    result: int = _prctl(option, second, third, 0, 0)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "prctl")
    return result


def default(number: int) -> None:
    """Let a signal do what it does by itself, also one that the C library keeps for its own threads.

    signal(2) of the library, and so Python's, refuses those; one that is ignored stays so over execve (signal(7)).
    """
    call("rt_sigaction", number, _DEFAULT_ACTION, None, _SIGSET_BYTES)


def signalfd(signals: tuple[int, ...]) -> int:
    """A descriptor that is readable when one of these signals, which the caller has blocked, is pending."""
    mask = sum(1 << (number - 1) for number in signals).to_bytes(8, "little")
    cloexec = os.O_CLOEXEC
    return call("signalfd4", -1, mask, len(mask), cloexec)
