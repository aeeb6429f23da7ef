"""What a command may not ask of the kernel, whatever it is allowed to be.

A list of what is refused: with no capability in any namespace most of it would fail anyway, and the filter is there for
the day on which the kernel has a fault in it. Where a program has another way to do the thing, the answer is ENOSYS.
"""

from __future__ import annotations

import ctypes
import errno

from . import bpf, calls
from .bpf import ALLOW, Block, argument, equal, ret
from .table import LAST, MACHINE, MACHINES

#: Refused with EPERM.
REFUSED = (
    # other mounts, roots and namespaces
    *("mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "open_tree", "move_mount", "fsopen", "fsconfig"),
    *("fsmount", "fspick", "mount_setattr", "open_tree_attr"),
    # other processes' memory, descriptors and pages
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "pidfd_getfd", "kcmp"),
    *("migrate_pages", "move_pages"),
    # large or often faulty parts of the kernel
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("keyctl", "add_key", "request_key", "fanotify_init", "fanotify_mark", "lsm_set_self_attr", "modify_ldt"),
    # files by handle, past the paths that are shown
    *("name_to_handle_at", "open_by_handle_at"),
    # the machine
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "create_module", "query_module"),
    *("get_kernel_syms", "swapon", "swapoff", "reboot", "iopl", "ioperm", "acct", "quotactl", "quotactl_fd", "syslog"),
    *("settimeofday", "clock_settime", "sethostname", "setdomainname", "nfsservctl", "vhangup", "lookup_dcookie"),
    *("uselib", "ustat", "sysfs", "_sysctl"),
)
#: Answered as by a kernel that has not got it: there is an older way to do the same. The flags of clone3 are in memory,
#: where a filter cannot look; secret memory is not counted.
ABSENT = ("clone3", "memfd_secret", "statmount", "listmount")

_NAMESPACES = calls.NEWNS | calls.NEWCGROUP | calls.NEWUTS | calls.NEWIPC | calls.NEWUSER | calls.NEWPID | calls.NEWNET
#: Typing into a terminal, into the console, taking the console's output, another line discipline.
_IOCTLS = (0x5412, 0x541C, 0x541D, 0x5423)
#: F_SETLEASE, F_NOTIFY and F_SETDELEG hold up, or watch, whoever else opens a file or a folder: those shown are the
#: host's (fcntl(2), "Leases" and "File and directory change notification").
_HOLDS = (1024, 1026, 1040)
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
#: Any, ICMP, TCP, UDP, ICMPv6, MPTCP: the others load a module of the kernel when they are asked for.
_PROTOCOLS = (0, 1, 6, 17, 58, 262)
_NETLINK_ROUTE = 0  # what getifaddrs(3) asks
#: What `personality` may be asked: how it is, and to be Linux.
_PERSONALITIES = (0xFFFF_FFFF, 0)

_SECCOMP_SET_MODE_FILTER = 1


def program(machine: str = MACHINE) -> bytes:
    """The filter for a machine of `table.MACHINES`, as the kernel takes it.

    Raises:
        KeyError: we do not know the machine.
    """
    architecture, numbers = MACHINES[machine]
    refused, absent = bpf.error(errno.EPERM), bpf.error(errno.ENOSYS)
    return bpf.assemble(
        [
            bpf.load(bpf.ARCHITECTURE),
            *bpf.unless_equal(architecture, ret(bpf.KILL_PROCESS)),
            bpf.load(bpf.NUMBER),
            *_calls(numbers, refused, absent),
        ]
    )


def _calls(numbers: dict[str, int], refused: Block, absent: Block) -> Block:
    block = bpf.greater(LAST, absent)  # also every call of the x32 ABI: bit 30 is set in its numbers
    for name in ABSENT:
        block += equal(numbers[name], absent)
    for name in REFUSED:
        if name in numbers:
            block += equal(numbers[name], refused)
    for name, rule in _rules(refused):
        block += equal(numbers[name], rule)
    return block + ret(ALLOW)


def _rules(refused: Block) -> list[tuple[str, Block]]:
    """Calls that depend on an argument."""
    no_family, no_protocol = bpf.error(errno.EAFNOSUPPORT), bpf.error(errno.EPROTONOSUPPORT)
    internet = [argument(2), *_one_of(_PROTOCOLS, no_protocol)]
    netlink = [argument(2), *_one_of((_NETLINK_ROUTE,), no_protocol)]
    families = [*equal(_UNIX, ret(ALLOW)), *equal(_INET, internet), *equal(_INET6, internet), *equal(_NETLINK, netlink)]
    ioctls = [instruction for number in _IOCTLS for instruction in equal(number, refused)]
    holds = [instruction for number in _HOLDS for instruction in equal(number, refused)]
    # Of another process limits are only read: process 1 is of the same user, and without descriptors or memory it ends
    # with a status that no command had.
    reading = [argument(2), *bpf.unless_equal(0, refused), bpf.upper(2), *bpf.unless_equal(0, refused), *ret(ALLOW)]
    limits = [argument(0), *equal(0, ret(ALLOW)), *reading]
    return [
        ("clone", [argument(0), *bpf.any_bit(_NAMESPACES, refused), *ret(ALLOW)]),
        ("ioctl", [argument(1), *ioctls, *ret(ALLOW)]),
        ("fcntl", [argument(1), *holds, *ret(ALLOW)]),
        ("socket", [argument(0), *families, *no_family]),
        ("socketpair", [argument(0), *_one_of((_UNIX,), no_family)]),
        ("personality", [argument(0), *_one_of(_PERSONALITIES, refused)]),
        ("prlimit64", limits),
    ]


def _one_of(values: tuple[int, ...], otherwise: Block) -> Block:
    return [*(instruction for value in values for instruction in equal(value, ret(ALLOW))), *otherwise]


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


#: For this machine, made once; empty on one we do not know, which the kernel refuses.
PROGRAM = program() if MACHINE in MACHINES else b""


def load(code: bytes) -> None:
    """Put this process, and everything it starts, under a filter; needs no_new_privs.

    Raises:
        OSError: the kernel has no filters, or does not take this one, or took it and does not follow it.
    """
    struct = _Program(len(code) // 8, code)
    calls.call("seccomp", _SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(struct))
    try:
        calls.call("clone3", None, 0)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return
    raise OSError(errno.ENOSYS, "the filter was taken, and does not act")
