"""What a process and everything below it use, read from /proc.

In a pid namespace an orphan becomes a child of the namespace's init, so walking down from the root finds every process
of the sandbox; outside of one, an orphan is found only while its root is a child subreaper.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Final, NamedTuple

TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
PROC: Final = "/proc"
#: Processes that one walk looks at, unless it is told a limit.
MOST: Final = 4096
#: Fields of /proc/PID/stat after the name: utime, stime, cutime, cstime (proc_pid_stat(5), 14 to 17).
_TIMES: Final = slice(11, 15)
#: The same, starttime (22): with the pid it names a process.
_STARTED: Final = 19
#: Unit of st_blocks (stat(2)).
_BLOCK: Final = 512
#: Of /proc/PID/status: in memory, in the page tables that say where, and in swap.
_SIZES: Final = (b"VmRSS:", b"VmPTE:", b"VmSwap:")
#: What only this process tree can have caused: its own pages and shared memory, not the page cache of a library.
_ANSWERABLE: Final = (b"Pss_Anon:", b"Pss_Shmem:")


#: A process: its pid, and when it began.
Life = tuple[int, bytes]


class Times(NamedTuple):
    """CPU seconds of a process itself, and of the children that it has waited for."""

    own: float
    waited: float


def pids(root: int, most: int = MOST) -> list[int]:
    """`root` and its descendants, host pids; empty when it has gone.

    It stops after `most` of them: a fork bomb grows faster than anybody can walk.
    """
    found: list[int] = []
    todo = [root]
    while todo and len(found) < most:
        pid = todo.pop()
        threads = _names(f"{PROC}/{pid}/task")
        if not threads:
            continue
        found.append(pid)
        for thread in threads:
            todo += map(int, _read(f"{pid}/task/{thread}/children").split())
    return found


def tasks(tree: list[int]) -> int:
    """Threads of all of them: what the kernel counts against a process limit."""
    return sum(_links(pid) for pid in tree)


def resident(tree: list[int]) -> int:
    """Bytes of RSS, page tables and swap: never too little, too much where pages are shared."""
    return sum(sum(_sizes(pid)) for pid in tree)


def proportional(tree: list[int]) -> tuple[int, int]:
    """Bytes of anonymous and of shared memory, a shared page counted once; RSS where the kernel does not say.

    Page tables and swap count as anonymous.
    """
    each = [_answerable(pid) for pid in tree]
    return sum(anonymous for anonymous, _ in each), sum(shared for _, shared in each)


def times(tree: list[int]) -> dict[Life, Times]:
    """CPU seconds of each, and of the children that it has waited for; of those it has not, nobody has them."""
    found: dict[Life, Times] = {}
    for pid in tree:
        if fields := _after_name(_read(f"{pid}/stat")):
            user, system, waited_user, waited_system = map(int, fields[_TIMES])
            found[pid, fields[_STARTED]] = Times((user + system) * TICK_S, (waited_user + waited_system) * TICK_S)
    return found


def belonging(session: int | None, folder: Path) -> list[int]:
    """The living processes of a session, or that work somewhere in `folder`: a look at every process there is."""
    found = []
    for pid in (int(name) for name in _names(PROC) if name.isdigit()):
        fields = _after_name(_read(f"{pid}/stat"))
        if not fields or fields[0] in (b"Z", b"X"):
            continue
        where = _link(f"{pid}/cwd")
        if (session is not None and int(fields[3]) == session) or (
            where is not None and Path(where).is_relative_to(folder)
        ):
            found.append(pid)
    return found


def foreign_mounts(tree: list[int]) -> list[str]:
    """The tmpfs mounts of a mount namespace that is not ours, as paths that we can look at; empty if there is none."""
    ours = _namespace("self")
    for pid in reversed(tree):
        if _namespace(str(pid)) not in (None, ours) and (mounts := _tmpfs(pid)):
            return mounts
    return []


def _tmpfs(pid: int) -> list[str]:
    mounts: list[str] = []
    for line in _read(f"{pid}/mountinfo").splitlines():
        fields = line.split()
        if fields[fields.index(b"-") + 1] == b"tmpfs":
            inside = fields[4].decode("unicode_escape").encode("latin-1")
            mounts.append(f"{PROC}/{pid}/root{os.fsdecode(inside)}")
    return mounts


def memfds(tree: list[int], *, every_thread: bool = False) -> int:
    """Bytes in unnamed files of memory (memfd_create(2)) that somebody holds open; they need not be mapped anywhere.

    A thread may have descriptors of its own; looking at every one takes its time.
    """
    found: dict[int, int] = {}
    for pid in tree:
        for fd in descriptors(pid) if every_thread else _listed(living(pid)):
            try:
                status = os.stat(fd)  # noqa: PTH116 - see _names()
            except OSError:  # closed since, or not ours to look at
                continue
            if status.st_dev == _shared_memory() and status.st_nlink == 0:
                found[status.st_ino] = status.st_blocks * _BLOCK
    return sum(found.values())


def on_their_way(tree: list[int]) -> bool:
    """Whether descriptors lie in a socket of somebody, sent and not taken (unix(7), SCM_RIGHTS).

    Then what they hold is in nobody's list. The socket says how many there are (`scm_fds` in proc_pid_fdinfo(5), Linux
    5.9); one that lies in another itself lies, in the end, in one that somebody has open.
    """
    return any(
        _sent(_read(f"{task}/fdinfo/{fd}"))
        for pid in tree
        for task in _tasks(pid)
        for fd in _names(f"{PROC}/{task}/fdinfo")
    )


def _sent(described: bytes) -> bool:
    lines = (line.split() for line in described.splitlines())
    return any(fields[0] == b"scm_fds:" and fields[1] != b"0" for fields in lines if len(fields) > 1)


def shared_on_host() -> int:
    """Bytes in all tmpfs, memfds and segments of the machine; 0 where the kernel does not say."""
    for line in _read("meminfo").splitlines():
        if line.startswith(b"Shmem:"):
            return int(line.split()[1]) * 1024
    return 0


def descriptors(pid: int) -> list[str]:
    """What every thread has open, as paths that can be looked at; the same file may be there more than once."""
    return [path for task in _tasks(pid) for path in _listed(task)]


def living(pid: int) -> str:
    """Where in /proc to look at a process: at its first thread, or at another when that one has ended."""
    if _has_memory(str(pid)):
        return str(pid)
    return next((task for task in _tasks(pid) if _has_memory(task)), str(pid))


def _has_memory(task: str) -> bool:
    return not _read(f"{task}/statm").startswith(b"0 ")


def _tasks(pid: int) -> list[str]:
    return [f"{pid}/task/{thread}" for thread in _names(f"{PROC}/{pid}/task")]


def _listed(task: str) -> list[str]:
    folder = f"{PROC}/{task}/fd"
    return [f"{folder}/{fd}" for fd in _names(folder)]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - a Path for each of 50 reads a second costs more
    except OSError:  # ended, or not ours to look at
        return []


@functools.cache
def _shared_memory() -> int:
    """The device number of the kernel's own tmpfs, in which all memfds are."""
    fd = os.memfd_create("rsi")
    try:
        return os.fstat(fd).st_dev
    finally:
        os.close(fd)


def used(mount: str) -> int | None:
    """Bytes in one tmpfs; None when it cannot be looked at."""
    try:
        stat = os.statvfs(mount)
    except OSError:
        return None
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize


def _answerable(pid: int) -> tuple[int, int]:
    task = living(pid)
    fields = _kib(_read(f"{task}/smaps_rollup"), _ANSWERABLE)
    resident, tables, swap = _sizes(pid)
    if not fields:
        return resident + tables + swap, 0
    return fields.get(_ANSWERABLE[0], 0) + tables + swap, fields.get(_ANSWERABLE[1], 0)


def _sizes(pid: int) -> tuple[int, int, int]:
    """RSS, page tables and swap; of another thread where the first has ended: then it says nothing."""
    for task in (str(pid), *_tasks(pid)):
        if fields := _kib(_read(f"{task}/status"), _SIZES):
            return fields[_SIZES[0]], fields.get(_SIZES[1], 0), fields.get(_SIZES[2], 0)
    return 0, 0, 0


def _kib(text: bytes, wanted: tuple[bytes, ...]) -> dict[bytes, int]:
    """Lines like `VmRSS:  120 kB`, in bytes."""
    lines = (line.split() for line in text.splitlines())
    return {fields[0]: int(fields[1]) * 1024 for fields in lines if fields and fields[0] in wanted}


def _namespace(pid: str) -> str | None:
    return _link(f"{pid}/ns/mnt")


def _link(path: str) -> str | None:
    try:
        return os.readlink(f"{PROC}/{path}")  # noqa: PTH115 - see _names()
    except OSError:
        return None


def _links(pid: int) -> int:
    try:
        return max(0, os.stat(f"{PROC}/{pid}/task").st_nlink - 2)  # noqa: PTH116 - see _names()
    except OSError:
        return 0


def _after_name(stat: bytes) -> list[bytes]:
    return stat[stat.rfind(b")") + 1 :].split()


def _read(path: str) -> bytes:
    try:
        with open(f"{PROC}/{path}", "rb", buffering=0) as file:  # noqa: PTH123 - see _names()
            return file.read()
    except OSError:  # it has ended since, or is not ours to read: then it uses nothing that we know of
        return b""
