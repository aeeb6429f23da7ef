"""One control group for one command: memory and processes counted, limited and ended by the kernel.

A group is named after its owner (`rsi-NAMESPACE-PID-START-N`), so that what a killed daemon left behind is known and
removed, and what belongs to one in another pid namespace, whose pids say nothing here, is left alone.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rsi import clock
from rsi.sandbox.model import Killer, Limits
from rsi.sandbox.watch.gauges import LAUNCHERS
from rsi.sandbox.watch.hierarchy import Place, places

_NAME: Final = re.compile(r"rsi-(\d+)-(\d+)-(\d+)-\d+")
#: A killed process leaves its group a moment after it is gone; 40 looks, 25 ms apart at the end, is a second.
_REMOVALS: Final = 40
_REMOVAL_S: Final = 0.025
#: Who ends a command when which number in which file is not 0; and what else is asked for, for nobody.
_WATCHED: Final[tuple[tuple[Killer | None, str, bytes], ...]] = (
    ("memory", "memory.events", b"oom_kill"),
    ("memory", "memory.oom_control", b"oom_kill"),
    ("processes", "pids.events", b"max"),
    (None, "cpuacct.usage", b""),
    (None, "cpu.stat", b"usage_usec"),
)
#: None of these files is longer.
_SHORT: Final = 4096
_numbers = itertools.count()
_resisting: set[Path] = set()


class Cgroup:
    """A group in each hierarchy that is needed; a context manager that removes it. Use `make`.

    Args:
        parts: the folder of the group in each place.
    """

    def __init__(self, parts: dict[Place, Path]) -> None:
        self._parts = parts
        self._open: dict[Path, int] = {}
        try:
            self._counters = tuple(self._watched())
        except BaseException:
            self._shut()
            raise

    @classmethod
    def make(cls, limits: Limits) -> Self | None:
        """A new group with these limits, None where none can be made; removes those of dead owners first."""
        found = available()
        if not found:
            return None
        for folder in tuple(_resisting):
            _remove(folder)
        name = f"rsi-{_namespace()}-{os.getpid()}-{_started(os.getpid())}-{next(_numbers)}"
        parts: dict[Place, Path] = {}
        try:
            for place in found:
                parts[place] = place.folder / name
                parts[place].mkdir()
                _limit(parts[place], place, limits)
            return cls(parts)
        except BaseException as error:
            for left in parts.values():
                _remove(left)
            if isinstance(error, OSError):  # taken away since we looked: the processes are counted from outside instead
                return None
            raise

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders whose `cgroup.procs` the sandbox's first process joins."""
        return tuple(str(folder) for folder in self._parts.values())

    def add(self, pid: int) -> None:
        """Move a process, and what it starts from now on, into the group.

        Raises:
            OSError: the kernel refused.
        """
        for folder in self._parts.values():
            (folder / "cgroup.procs").write_text(str(pid))

    def exceeded(self) -> Killer | None:
        """`memory` or `processes` once the kernel has killed or refused something for it."""
        return next((killer for killer, path, word in self._counters if _count(self._open[path], word)), None)

    @property
    def peak(self) -> int:
        """The most memory it has held, in bytes; 0 when the kernel does not say (v2 before 5.19)."""
        for folder in self._parts.values():
            for name in ("memory.peak", "memory.max_usage_in_bytes"):
                if text := _read(folder / name):
                    return int(text)
        return 0

    @property
    def cpu_s(self) -> float:
        """CPU seconds of everything that was ever in it, waited for or not; 0 when the kernel does not say."""
        for path, fd in self._open.items():
            if path.name == "cpuacct.usage":
                return int(os.pread(fd, _SHORT, 0)) / 1e9
            if path.name == "cpu.stat":
                return _count(fd, b"usage_usec") / 1e6
        return 0.0

    def kill(self) -> None:
        """End every process in the group; never blocks, and may have to be repeated (v1)."""
        for folder in self._parts.values():
            _kill(folder)

    def close(self) -> None:
        """Remove the group, ending what is in it; may be called again."""
        self._shut()
        for folder in self._parts.values():
            _remove(folder)
        self._parts = {}

    def _watched(self) -> Iterator[tuple[Killer, Path, bytes]]:
        """What is asked again and again, kept open: who ends the command, where, and after which word."""
        for folder in self._parts.values():
            for killer, name, word in _WATCHED:
                path = folder / name
                if path.exists():
                    self._open[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    if killer is not None:
                        yield killer, path, word

    def _shut(self) -> None:
        self._counters = ()
        while self._open:
            os.close(self._open.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


@functools.cache
def available() -> tuple[Place, ...]:
    """Where groups can be made here; found once, when the leftovers of dead owners are removed too."""
    found = places(_read(Path("/proc/self/cgroup")), _read(Path("/proc/self/mountinfo")))
    for place in found:
        sweep(place.folder)
    return found


def unavailable() -> str | None:
    """Why no group can be made, for people; None if it can."""
    if available():
        return None
    return "no control group here may be divided by this user (v2: delegate memory and pids; v1: be root)"


def sweep(folder: Path) -> list[str]:
    """Remove the groups in `folder` whose owner has died; their names."""
    gone = []
    for group in folder.glob("rsi-*"):
        owner = _NAME.fullmatch(group.name)
        if owner is not None and owner[1] == _namespace() and _started(int(owner[2])) != owner[3]:
            _remove(group)
            gone.append(group.name)
    return gone


def _limit(folder: Path, place: Place, limits: Limits) -> None:
    if "pids" in place.controllers:
        (folder / "pids.max").write_text(str(limits.processes + LAUNCHERS))
    if "memory" not in place.controllers or limits.memory is None:
        return
    if place.version == 1:
        (folder / "memory.limit_in_bytes").write_text(str(limits.memory))
        swap, both = folder / "memory.memsw.limit_in_bytes", str(limits.memory)
    else:
        (folder / "memory.max").write_text(str(limits.memory))
        (folder / "memory.oom.group").write_text("1")
        swap, both = folder / "memory.swap.max", "0"
    if swap.exists():  # absent where the kernel does not account for swap
        swap.write_text(both)


def _count(fd: int, word: bytes) -> int:
    lines = (line.split() for line in os.pread(fd, _SHORT, 0).splitlines())
    return next((int(fields[1]) for fields in lines if fields[0] == word), 0)


def _kill(folder: Path) -> None:
    killing = folder / "cgroup.kill"
    if killing.exists():
        killing.write_text("1")
        return
    for pid in map(int, _read(folder / "cgroup.procs").split()):
        if pid <= 0:  # of a namespace that we do not see (cgroups(7)); to kill(2) it is our own process group
            continue
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _remove(folder: Path) -> None:
    """Remove one group with everything in it; one that resists is tried again with the next `make`."""
    for attempt in range(_REMOVALS):
        try:
            folder.rmdir()
        except FileNotFoundError:
            break
        except OSError:  # EBUSY: something in it is still ending
            _kill(folder)
            clock.sleep(min(_REMOVAL_S, 0.001 * (attempt + 1)))
        else:
            break
    else:
        _resisting.add(folder)
        return
    _resisting.discard(folder)


def _started(pid: int) -> str:
    """The start of a process in clock ticks since boot, which with the pid names it; "" when it has ended."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[19] if fields else ""


@functools.cache
def _namespace() -> str:
    """The number of our pid namespace: one that has ended may give its number on, and its processes have ended, too."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)  # noqa: PTH116 - what it leads to
    except OSError:  # a kernel without them
        return "0"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
