"""The limits that the kernel keeps for every single process, as `setrlimit` takes them."""

from __future__ import annotations

from math import ceil
from typing import Final

from rsi.sandbox.model import Limits

#: Room above `Limits.processes`, so that the watch sees more than the limit before the kernel refuses the next one.
NPROC_SLACK: Final = 16


def rlimits(limits: Limits) -> dict[str, int]:
    """RLIMIT name → value, soft and hard alike.

    RLIMIT_AS is left alone: it breaks what reserves address space (Go, Node, sanitizers). `RLIMIT_NPROC` counts per
    user, so it is right only in a user namespace of the sandbox's own.
    """
    values = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": limits.file,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_NPROC": limits.processes + NPROC_SLACK,
    }
    if limits.cpu_s is not None:
        values["RLIMIT_CPU"] = ceil(limits.cpu_s)
    return values
