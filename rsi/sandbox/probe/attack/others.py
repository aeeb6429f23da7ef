"""Look into other processes, and act on them."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

from .kernel import call
from .order import Attack, Order, tokens

#: Most bytes of one process's memory that are searched.
_MOST = 64 << 20
_CHUNK = 4 << 20
#: Processes looked into besides the ancestors and the daemon.
_SOME = 64
#: Processes whose memory is searched: the daemon, init, the parent and a few more.
_SEARCHED = 8
_PTRACE_SEIZE = 0x4206
_REGION = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw")


def _others(order: Order) -> list[str]:
    """The daemon, init, the ancestors, then whoever else can be seen."""
    seen = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    first = [str(order["daemon"]), "1", str(os.getppid())]
    return [pid for pid in dict.fromkeys([*first, *seen[:_SOME]]) if not _is_attack(pid)]


def _is_attack(pid: str) -> bool:
    """One of this program's own processes, by its process group."""
    try:
        return os.getpgid(int(pid)) == os.getpgrp()
    except OSError:
        return False


def own_environment(_: Order) -> list[str]:
    """What the daemon was started with, handed down."""
    return tokens("\n".join(os.environ.values()).encode())


def others_environment(order: Order) -> list[str]:
    """What other processes were started with."""
    return [token for pid in _others(order) for token in tokens(_proc(pid, "environ"))]


def others_memory(order: Order) -> list[str]:
    """What other processes hold."""
    found = sorted({token for pid in _others(order)[:_SEARCHED] for each in _memory(pid) for token in each})
    if not found:
        raise PermissionError("no memory of another process can be read")
    return found


def keepers_maps(order: Order) -> bool:
    """Whether whoever started this, the box's init, lets its memory be looked at."""
    with open(f"/proc/{order['keeper']}/maps", "rb") as file:  # noqa: PTH123
        return bool(file.read(1))


def keepers_descriptors(order: Order) -> bool:
    """Whether its open files can be listed."""
    return bool(os.listdir(f"/proc/{order['keeper']}/fd"))  # noqa: PTH208


def inherited(_: Order) -> list[str]:
    """Open files handed down by whoever started this."""
    found: list[str] = []
    for fd in range(3, 256):
        try:
            found += tokens(os.pread(fd, 1 << 12, 0))
        except OSError:
            continue
    return found


def see(order: Order) -> bool:
    """A process of the host, by its command line."""
    name = order["victim_name"].encode()
    for pid in os.listdir("/proc"):  # noqa: PTH208
        if pid.isdigit() and name in _proc(pid, "cmdline"):
            return True
    raise ProcessLookupError("it is not in /proc")


def kill(order: Order) -> None:
    """End it."""
    os.kill(order["victim"], signal.SIGKILL)


def trace(order: Order) -> bool:
    """Attach to a sibling. Where the machine allows only descendants (Yama), the control's may not be had either."""
    call("ptrace", _PTRACE_SEIZE, order["traced"], 0, 0)
    return True


def _memory(pid: str) -> Iterator[list[str]]:
    left = _MOST
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123
            for start, end in _regions(pid):
                at = start
                while at < end and left > 0:
                    memory.seek(at)
                    data = memory.read(min(_CHUNK, end - at)) or b""
                    if found := tokens(data):
                        yield found
                    at, left = at + max(len(data), 1 << 12), left - len(data)
    except (OSError, OverflowError):  # it may not be read, or not further: nothing was found
        return


def _regions(pid: str) -> list[tuple[int, int]]:
    matches = map(_REGION.match, _proc(pid, "maps").decode(errors="replace").splitlines())
    return [(int(match[1], 16), int(match[2], 16)) for match in matches if match]


def _proc(pid: str, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return b""


ATTACKS: dict[str, Attack] = {
    each.__name__: each
    for each in (
        own_environment, others_environment, others_memory, keepers_maps, keepers_descriptors, inherited, see, kill,
        trace,
    )
}  # fmt: skip
