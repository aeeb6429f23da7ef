"""What is looked at while a command runs: its processes, its control group, what it wrote into the view.

Each look answers who ends the command, if anybody, and after how many seconds at the earliest another limit can be
exceeded, so that a small limit is watched closely and a far one costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import msgspec

from rsi import clock
from rsi.sandbox.model import GiB, Killer, Limits
from rsi.sandbox.watch import tree
from rsi.sandbox.watch.spent import Spent

#: How often at most and at least something is looked at, in seconds.
SOONEST_S: Final = 0.005
LATEST_S: Final = 0.05
#: How fast two busy cores touch new memory, write into the page cache and make names at most, by the second.
MEMORY_RATE: Final = 4 * GiB
DISK_RATE: Final = 4 * GiB
INODE_RATE: Final = 400_000
#: Looking may take this part of one core.
SHARE: Final = 0.25
#: Processes of the launcher in the tree: its outer half, and the init of the namespace.
LAUNCHERS: Final = 2


class Usage(msgspec.Struct, frozen=True):
    """What is in the view's writable layer: bytes and names."""

    disk: int
    inodes: int


class Seen(NamedTuple):
    """One look: what was exceeded, and the seconds in which nothing more can be."""

    killer: Killer | None
    calm_s: float = LATEST_S


class Counted(Protocol):
    """What a control group can tell while the command runs (`rsi.sandbox.watch.cgroup`)."""

    def exceeded(self) -> Killer | None:
        """`memory` or `processes` once the kernel has refused or killed something for it."""

    def kill(self) -> None:
        """End every process in the group."""

    @property
    def peak(self) -> int:
        """The most memory it has held, in bytes; 0 when the kernel does not say."""

    @property
    def cpu_s(self) -> float:
        """CPU seconds of everything that was ever in the group; 0 when the kernel does not say."""


class Gauge:
    """One thing to look at, when it is due.

    Args:
        look: takes one look.
        memory: the bytes that were seen at the last one, where it looks at memory.
        cpu_s: the CPU seconds that were seen, where it looks at them.
    """

    def __init__(
        self, look: Callable[[], Seen], memory: Callable[[], int] = int, cpu_s: Callable[[], float] = float
    ) -> None:
        self._look, self.memory, self.cpu_s = look, memory, cpu_s
        self.due = clock.monotonic() + SOONEST_S

    def check(self, now: float) -> Killer | None:
        """Look, if it is due."""
        if now < self.due:
            return None
        killer, calm_s = self._look()
        after = clock.monotonic()
        self.due = after + max(min(calm_s, LATEST_S), SOONEST_S, (after - now) / SHARE)
        return killer


def gauges(
    root: int,
    limits: Limits,
    usage: Callable[[], Usage] | None,
    group: Counted | None,
    parked: Callable[[], int] | None = None,
) -> list[Gauge]:
    """What has to be looked at for these limits; a control group does for memory and processes."""
    found: list[Gauge] = []
    if group is not None:
        counted = group
        found.append(Gauge(lambda: Seen(counted.exceeded(), LATEST_S)))
    if group is None or limits.cpu_s is not None:
        processes = Processes(root, limits, group=group, parked=parked)
        found.append(Gauge(processes.look, lambda: processes.memory, lambda: processes.cpu_s))
    if usage is not None and (limits.disk is not None or limits.inodes is not None):
        found.append(Gauge(View(usage, limits).look))
    return found


class View:
    """The writable layer against `Limits.disk` and `Limits.inodes`."""

    def __init__(self, usage: Callable[[], Usage], limits: Limits) -> None:
        self._usage, self._limits = usage, limits

    def look(self) -> Seen:
        """One walk over what was written."""
        used, limits = self._usage(), self._limits
        calm_s = LATEST_S
        if limits.disk is not None:
            if used.disk > limits.disk:
                return Seen("disk")
            calm_s = min(calm_s, (limits.disk - used.disk) / DISK_RATE)
        if limits.inodes is not None:
            if used.inodes > limits.inodes:
                return Seen("inodes")
            calm_s = min(calm_s, (limits.inodes - used.inodes) / INODE_RATE)
        return Seen(None, calm_s)


class Processes:
    """All processes of the sandbox against `Limits.memory`, `processes` and `cpu_s`.

    Args:
        root: the host pid that all of them descend from.
        group: a control group that counts memory and processes already, and CPU time too.
        parked: bytes that the kernel keeps for the sandbox and for no process of it, where somebody can say.
    """

    def __init__(
        self, root: int, limits: Limits, *, group: Counted | None = None, parked: Callable[[], int] | None = None
    ) -> None:
        self._root, self._limits, self._group = root, limits, group
        self._spent = Spent(root)
        self._start_s = group.cpu_s if group is not None else 0.0  # the launcher's own
        self._mounts: list[str] = []
        self._parked = parked
        self._before = tree.shared_on_host()
        self.memory = 0  # bytes at the last look, of all together

    @property
    def cpu_s(self) -> float:
        """CPU seconds, as far as anybody has seen them."""
        return max(self._spent.seconds, self._group.cpu_s - self._start_s if self._group is not None else 0.0)

    def look(self) -> Seen:
        """One walk over the processes."""
        limit = self._limits.processes + LAUNCHERS
        found = tree.pids(self._root, limit + 1)
        self._spent.look(found)
        if self._limits.cpu_s is not None and self.cpu_s >= self._limits.cpu_s:
            return Seen("cpu")
        if self._group is not None:
            return Seen(None)
        if tree.tasks(found) > limit:
            return Seen("processes")
        return self._memory(found)

    def _memory(self, found: list[int]) -> Seen:
        limit = self._limits.memory
        if limit is None:
            return Seen(None)
        files = self._hidden(found, limit)
        used = tree.resident(found) + files
        if used > limit:  # the quick sum counts shared pages twice: only now is the exact one worth its time
            anonymous, shared = tree.proportional(found)
            used = anonymous + max(shared, files)  # what is mapped of a file on a tmpfs is in both
        self.memory = used
        if used > limit:
            return Seen("memory")
        return Seen(None, (limit - used) / MEMORY_RATE)

    def _hidden(self, found: list[int], limit: int) -> int:
        """Memory that need not be in any process: files on a tmpfs, memfds, segments.

        When the machine lost much more to such files than was found, every thread is looked at, and what descriptors on
        their way through a socket hold is charged as what is missing. Others may have taken that: so it is charged only
        to who hides something.
        """
        parked = self._parked() if self._parked is not None else 0
        elsewhere = self._files(found) + parked
        files = elsewhere + tree.memfds(found)
        if self._much(files, limit):
            files = elsewhere + tree.memfds(found, every_thread=True)
        if self._much(files, limit) and tree.on_their_way(found):
            files = tree.shared_on_host() - self._before
        return files

    def _much(self, files: int, limit: int) -> bool:
        return (tree.shared_on_host() - self._before - files) * 2 > limit

    def _files(self, found: list[int]) -> int:
        """Bytes in the sandbox's own tmpfs: memory that no process needs to have mapped."""
        sizes = [tree.used(mount) for mount in self._mounts]
        if not sizes or None in sizes:  # not known yet, or the process through which we looked has ended
            self._mounts = tree.foreign_mounts(found)
            sizes = [tree.used(mount) for mount in self._mounts]
        return sum(size or 0 for size in sizes)
