"""What a process and everything below it use, read from /proc.

In a pid namespace an orphan becomes a child of the namespace's init, so walking down from the root finds every process
of the sandbox; outside of one, an orphan is found only while its root is a child subreaper.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Final

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
PROC: Final = "/proc"
#: Processes that one walk looks at, unless it is told a limit.
MOST: Final = 4096
#: Fields of /proc/PID/stat after the name: utime, stime, cutime, cstime (proc_pid_stat(5), 14 to 17).
_TIMES: Final = slice(11, 15)
#: Unit of st_blocks (stat(2)).
_BLOCK: Final = 512
#: What only this process tree can have caused: its own pages and shared memory, not the page cache of a library.
_ANSWERABLE: Final = (b"Pss_Anon:", b"Pss_Shmem:")


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
    """Bytes of RSS, each process for itself: never too little, too much where pages are shared."""
    return sum(_pages(pid) for pid in tree) * PAGE


def proportional(tree: list[int]) -> tuple[int, int]:
    """Bytes of anonymous and of shared memory, a shared page counted once; RSS where the kernel does not say."""
    each = [_answerable(pid) for pid in tree]
    return sum(anonymous for anonymous, _ in each), sum(shared for _, shared in each)


def cpu_s(tree: list[int]) -> float:
    """CPU seconds of all of them and of the children they have reaped."""
    return sum(sum(map(int, _after_name(_read(f"{pid}/stat"))[_TIMES])) for pid in tree) * TICK_S


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


def memfds(tree: list[int]) -> int:
    """Bytes in unnamed files of memory (memfd_create(2)) that somebody holds open; they need not be mapped anywhere."""
    found: dict[int, int] = {}
    for pid in tree:
        for fd in _descriptors(pid):
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
    return any(_sent(_read(f"{pid}/fdinfo/{fd}")) for pid in tree for fd in _names(f"{PROC}/{pid}/fdinfo"))


def _sent(described: bytes) -> bool:
    lines = (line.split() for line in described.splitlines())
    return any(fields[0] == b"scm_fds:" and fields[1] != b"0" for fields in lines if len(fields) > 1)


def shared_on_host() -> int:
    """Bytes in all tmpfs, memfds and segments of the machine; 0 where the kernel does not say."""
    for line in _read("meminfo").splitlines():
        if line.startswith(b"Shmem:"):
            return int(line.split()[1]) * 1024
    return 0


def _descriptors(pid: int) -> list[str]:
    folder = f"{PROC}/{pid}/fd"
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
    fields: dict[bytes, int] = {}
    for line in _read(f"{pid}/smaps_rollup").splitlines():
        name, *rest = line.split()
        if name in _ANSWERABLE:
            fields[name] = int(rest[0]) * 1024
    if not fields:
        return _pages(pid) * PAGE, 0
    return fields[_ANSWERABLE[0]], fields[_ANSWERABLE[1]]


def _pages(pid: int) -> int:
    fields = _read(f"{pid}/statm").split()
    return int(fields[1]) if fields else 0


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
