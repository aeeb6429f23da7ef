"""System calls that a command has no business with: reached, if the kernel judged their arguments."""

from __future__ import annotations

import ctypes
import os

from kit import add, reached

_ZERO = ctypes.create_string_buffer(256)
_BAD = -1
_ROOT = "user: needs a capability that no user namespace gives"
_MODULES = "the kernel takes no modules and no other kernel, or asks for a capability first"
_NONE: tuple[object, ...] = ()

#: name → (number on x86_64, on aarch64, harmless arguments, the control, why it may fail)
CALLS = {
    "io_uring_setup": (425, 425, (0, None), "outside", "the kernel has none, or keeps it"),
    "io_uring_register": (427, 427, (_BAD, 99, None, 0), "outside", "the kernel has none, or keeps it"),
    "userfaultfd": (323, 282, (1,), "outside", "the kernel has none, or keeps it for user 0"),
    "bpf": (321, 280, (99, None, 0), "outside", "user: unprivileged_bpf_disabled"),
    "perf_event_open": (298, 241, (_ZERO, 0, _BAD, _BAD, 0), "outside", "the kernel has none, or keeps it"),
    "keyctl": (250, 219, (0, -3, 0), "outside", "the kernel has no key rings"),
    "add_key": (248, 217, (b"user", b"", b"", 0, -99), "outside", "the kernel has no key rings"),
    "request_key": (249, 218, (b"user", b"rsi-none", None, 0), "outside", "the kernel has no key rings"),
    "fanotify_init": (300, 262, (0xFFFF0000, 0), "outside", "the kernel has none"),
    "kexec_load": (246, 104, (0, 99, None, 0xFFFF), "outside", _MODULES),
    "init_module": (175, 105, (None, 0, None), "outside", _MODULES),
    "finit_module": (313, 273, (_BAD, None, 0xFF), "outside", _MODULES),
    "delete_module": (176, 106, (None, 0), "outside", _MODULES),
    "swapon": (167, 224, (None, 0), "outside", _ROOT),
    "reboot": (169, 142, (0, 0, 0, None), "outside", _ROOT),
    "acct": (163, 89, (b"/nonexistent/rsi",), "outside", _ROOT),
    "quotactl": (179, 60, (0, None, 0, None), "outside", "the kernel has no quotas"),
    "iopl": (172, None, (9,), "outside", "the kernel has none"),
    "modify_ldt": (154, None, (0, _ZERO, 16), "outside", "the kernel has none"),
    "move_pages": (279, 239, (0, 0, None, None, None, 0), "outside", "the kernel has no NUMA"),
    "migrate_pages": (256, 238, (0, 0, None, None), "outside", "the kernel has no NUMA"),
    "process_madvise": (440, 440, (_BAD, None, 0, 0, 0), "outside", None),
    "process_mrelease": (448, 448, (_BAD, 0), "outside", None),
    "kcmp": (312, 272, (os.getpid(), os.getpid(), 1, 0, 0), "outside", "the kernel has none"),
    "syslog": (103, 116, (99, None, 0), "outside", "user: the kernel may keep its log (dmesg_restrict)"),
    "personality": (135, 92, (0x0400000,), "outside", None),
    "mount": (165, 40, (None, None, None, 0, None), "outside", "user: judged after the capability"),
    "umount2": (166, 39, (None, 99), "outside", None),
    "pivot_root": (155, 41, (None, None), "seccomp,caps", None),
    "fsopen": (430, 430, (None, 0), "outside", "user: judged after the capability"),
    "open_tree": (428, 428, (_BAD, None, 0xFFFF), "outside", None),
    "mount_setattr": (442, 442, (_BAD, None, 0, None, 0), "outside", None),
    "name_to_handle_at": (303, 264, (_BAD, None, None, None, 0), "outside", None),
    "open_by_handle_at": (304, 265, (_BAD, None, 0), "outside", _ROOT),
    "setns": (308, 268, (_BAD, 0), "outside", None),
    "pidfd_getfd": (438, 438, (_BAD, 0, 0), "outside", None),
    "process_vm_readv": (310, 270, (0, None, 99, None, 99, 0), "outside", "the kernel has none"),
    "memfd_secret": (447, 447, (0xFFFF,), "outside", "the kernel keeps none (secretmem_enable)"),
    "settimeofday": (164, 170, (1, None), "outside", None),
    "lsm_set_self_attr": (460, 460, (99, None, None, 0), "outside", "the kernel is older than 6.8"),
    "statmount": (457, 457, (None, None, 0, 0), "outside", "the kernel is older than 6.8"),
    "an unknown call": (999, 999, _NONE, "outside", "that is the right answer outside, too"),
}


EVERY = {}
TOGETHER = "every_call"


def every_call(order):
    """All of them in one process."""
    return {name: call(order) for name, call in EVERY.items()}


def _register() -> None:
    for name, (x86, arm, arguments, control, unless) in CALLS.items():
        number = x86 if os.uname().machine == "x86_64" else arm
        if number is None:
            continue

        def call(order, number=number, arguments=arguments):
            return reached(number, *arguments)

        EVERY[f"call_{name.replace(' ', '_')}"] = call
        call.__doc__ = f"The system call {name}."
        add(f"call_{name.replace(' ', '_')}", call, control, unless=unless)


_register()
