"""The limits that the kernel keeps for every single process, as `setrlimit` takes them."""

from __future__ import annotations

from math import ceil
from typing import Final

from rsi.sandbox.model import Limits

#: Room above `Limits.processes`, so that the watch sees more than the limit before the kernel refuses the next one.
NPROC_SLACK: Final = 16
#: No core file, and no program of the host that is handed one: where `core_pattern` names a program, as with
#: systemd-coredump, the kernel starts it as root outside of every namespace, and only this very limit keeps it from
#: that; 0 does not (core(5), "Piping core dumps to a program"; fs/coredump.c). As a size, a byte holds no core.
NO_CORE: Final = 1
#: The watch looks at all processes together and says what it was. The kernel's signal to a single one is only there for
#: the case that the watch is late, and this much later, in seconds.
CPU_SLACK_S: Final = 1


def rlimits(limits: Limits) -> dict[str, int]:
    """RLIMIT name → value, soft and hard alike.

    RLIMIT_AS is left alone: it breaks what reserves address space (Go, Node, sanitizers). `RLIMIT_NPROC` counts per
    user, so it is right only in a user namespace of the sandbox's own.
    """
    values = {
        "RLIMIT_CORE": NO_CORE,
        "RLIMIT_FSIZE": limits.file,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_NPROC": limits.processes + NPROC_SLACK,
    }
    if limits.cpu_s is not None:
        values["RLIMIT_CPU"] = ceil(limits.cpu_s) + CPU_SLACK_S
    return values
