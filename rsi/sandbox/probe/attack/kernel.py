"""Gain what an ordinary command has no need of: namespaces, mounts, tracing, devices, rarely used system calls."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import signal
import socket
import stat

from .order import Attack, Order

#: System call numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux.
_X86_64 = {
    "ptrace": 101, "unshare": 272, "clone": 56, "mount": 165, "bpf": 321, "add_key": 248, "io_uring_setup": 425,
    "userfaultfd": 323, "perf_event_open": 298, "open_tree": 428, "chroot": 161,
}  # fmt: skip
_GENERIC = {
    "ptrace": 117, "unshare": 97, "clone": 220, "mount": 40, "bpf": 280, "add_key": 217, "io_uring_setup": 425,
    "userfaultfd": 282, "perf_event_open": 241, "open_tree": 428, "chroot": 51,
}  # fmt: skip
_NUMBERS = {"x86_64": _X86_64, "aarch64": _GENERIC, "riscv64": _GENERIC}

_NEWNS, _NEWUSER, _NEWNET = 0x20000, 0x10000000, 0x40000000
_PTRACE_TRACEME = 0
_TIOCSTI, _TIOCSCTTY = 0x5412, 0x540E
_AT_FDCWD = -100
_OPEN_TREE_CLONE = 1 | 0x8000  # AT_RECURSIVE: a namespace of less right may not split what it was given
#: Set-uid programs that do nothing when asked for their version.
_SET_UID = ("/usr/bin/mount", "/bin/mount", "/usr/bin/umount", "/usr/bin/fusermount3", "/usr/bin/su")
_NOBODY = 65534


def call(name: str, *arguments: object) -> int:
    """A system call by name. Raises OSError; NotImplementedError where the number is not known."""
    number = _NUMBERS.get(platform.machine(), {}).get(name)
    if number is None or os.uname().sysname != "Linux":
        raise NotImplementedError(f"{name} on {os.uname().sysname} {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    padded = [ctypes.c_long(each) if isinstance(each, int) else each for each in (*arguments, *[0] * 6)][:6]
    result: int = libc.syscall(ctypes.c_long(number), *padded)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def user_namespace(_: Order) -> bool:
    """The door to most privilege escalations of the last years."""
    call("unshare", _NEWUSER)
    return True


def clone_namespace(_: Order) -> bool:
    """A new user namespace at the birth of a process."""
    pid = call("clone", _NEWUSER | int(signal.SIGCHLD))
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


def mount(_: Order) -> bool:
    """A file system of its own, in a namespace of its own if it can have one."""
    _unshare(_NEWUSER | _NEWNS)
    call("mount", b"none", b"/", 0, 1 << 18 | 1 << 14)  # MS_PRIVATE | MS_REC: the host never sees the next one
    call("mount", b"none", b"/", b"tmpfs", 0, 0)
    return True


def open_tree(_: Order) -> bool:
    """A detached copy of the mounts."""
    _unshare(_NEWUSER | _NEWNS)
    os.close(call("open_tree", _AT_FDCWD, b"/", _OPEN_TREE_CLONE))
    return True


def raw_socket(_: Order) -> bool:
    """Needs CAP_NET_RAW over the network namespace, whichever it is."""
    _unshare(_NEWUSER | _NEWNET)
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return True


def chroot(_: Order) -> bool:
    """Needs CAP_SYS_CHROOT."""
    _unshare(_NEWUSER)
    call("chroot", b"/")
    return True


def trace_child(_: Order) -> bool:
    """Be traced: every escape by a traced, more privileged child begins so."""
    call("ptrace", _PTRACE_TRACEME, 0, 0, 0)
    return True


def bpf(_: Order) -> bool:
    """A map of the kernel's own programs: the smallest thing that bpf does."""
    attributes = (ctypes.c_uint32 * 32)(2, 4, 4, 1)  # BPF_MAP_TYPE_ARRAY, key, value, entries
    os.close(call("bpf", 0, ctypes.byref(attributes), ctypes.sizeof(attributes)))
    return True


def add_key(_: Order) -> bool:
    """Put a key into the session's key ring (a process ring: gone with this process)."""
    call("add_key", b"user", b"rsi-probe", b"x", 1, -2)  # KEY_SPEC_PROCESS_KEYRING
    return True


def io_uring(_: Order) -> bool:
    """System calls that a filter does not see."""
    parameters = ctypes.create_string_buffer(120)
    os.close(call("io_uring_setup", 1, parameters))
    return True


def userfaultfd(_: Order) -> bool:
    """Stop the kernel in the middle of a copy."""
    os.close(call("userfaultfd", 1 | os.O_CLOEXEC))  # UFFD_USER_MODE_ONLY
    return True


def perf_event(_: Order) -> bool:
    """Count what this process does: the door to the rest of perf."""
    attributes = (ctypes.c_uint32 * 30)()
    attributes[0], attributes[1] = 1, ctypes.sizeof(attributes)  # PERF_TYPE_SOFTWARE
    attributes[10] = 0b1100001  # disabled, exclude_kernel, exclude_hv
    os.close(call("perf_event_open", ctypes.byref(attributes), 0, -1, -1, 0))
    return True


def device(_: Order) -> bool:
    """A disk, by making its node."""
    os.mknod("disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))
    return True


def push_input(_: Order) -> bool:
    """Type into a terminal (TIOCSTI)."""
    ours, theirs = os.openpty()
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # comes when the terminal is closed
    fcntl.ioctl(theirs, _TIOCSCTTY, 0)
    fcntl.ioctl(theirs, _TIOCSTI, b"x")
    os.close(ours)
    return True


def set_uid(_: Order) -> list[int]:
    """Become somebody else by a set-uid program that is there: who it ran as, read from its remains."""
    if os.getuid() == 0:
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    path = next((path for path in _SET_UID if _is_set_uid(path)), None)
    if path is None:
        raise FileNotFoundError("no set-uid program is here")
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.execv(path, [path, "--version"])  # noqa: S606 - no shell, on purpose
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - see files.py
        uids = next(line for line in status if line.startswith("Uid:")).split()[1:3]
    os.waitpid(pid, 0)
    if uids[0] == uids[1]:
        raise PermissionError(f"{path} ran as {uids[1]}")
    return [int(uid) for uid in uids]


def _is_set_uid(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & stat.S_ISUID)  # noqa: PTH116
    except OSError:
        return False


def _unshare(flags: int) -> None:
    """New namespaces if they can be had; without them, what is tried next is tried where we are."""
    try:
        call("unshare", flags)
    except OSError:
        return


ATTACKS: dict[str, Attack] = {
    each.__name__: each
    for each in (
        user_namespace, clone_namespace, mount, open_tree, raw_socket, chroot, trace_child, bpf, add_key, io_uring,
        userfaultfd, perf_event, device, push_input, set_uid,
    )
}  # fmt: skip
