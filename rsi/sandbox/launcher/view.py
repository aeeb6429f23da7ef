"""What is mounted in the new namespaces themselves: the view of the workspace, /proc, terminals, covers."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from . import mounts
from .broken import BrokenError, Stage
from .mounts import MS_NO_DEVICES, MS_NO_EXEC, MS_NO_SETUID, MS_READ_ONLY, NO_DEVICES, NO_SETUID, READ_ONLY
from .order import Order
from .system import BASE, ROOT

#: About the machine and everybody on it.
_COVERED_FILES = (
    *(b"/kcore", b"/keys", b"/key-users", b"/kmsg", b"/timer_list", b"/latency_stats", b"/sched_debug"),
    *(b"/interrupts", b"/kallsyms", b"/modules", b"/vmallocinfo", b"/slabinfo", b"/cmdline"),
)
_COVERED_FOLDERS = (b"/acpi", b"/scsi", b"/asound", b"/driver")
_EMPTY = "size=4k,nr_inodes=2,mode=555"
#: What mount(2) takes of options, in bytes.
_OPTIONS = 4095


def mount_view(order: Order) -> None:
    """The layers at the workspace's own path; the current folder is the store.

    Raises:
        BrokenError: of stage `overlay`, with what the kernel said.
    """
    with Stage("overlay", f"mount {len(order.lowers)} layers over the workspace"):
        try:
            tree = _by_steps(order)
        except OSError as error:
            if error.errno != errno.EINVAL or "lowerdir+" not in str(error.filename):
                raise
            _at_once(order)
            return
        mounts.attach(tree, ROOT + order.workspace)


def _by_steps(order: Order) -> int:
    lowers: list[tuple[bytes, bytes | None]] = [(b"lowerdir+", lower) for lower in (*order.lowers, BASE)]
    writable: list[tuple[bytes, bytes | None]] = [(b"upperdir", order.upper), (b"workdir", order.work)]
    return mounts.build(
        b"overlay", [*lowers, *writable, (b"userxattr", None), (b"volatile", None)], NO_SETUID | NO_DEVICES
    )


def _at_once(order: Order) -> None:
    """For a kernel before 6.7: all layers in one string, with a limit to its length."""
    lowers = b":".join((*order.lowers, BASE)).decode()
    options = f"lowerdir={lowers},upperdir={order.upper.decode()},workdir={order.work.decode()},userxattr,volatile"
    if len(options) > _OPTIONS:
        raise BrokenError(
            "overlay", errno.E2BIG, f"{len(order.lowers)} layers are too many for this kernel: squash them"
        )
    mounts.mount(b"overlay", ROOT + order.workspace, MS_NO_SETUID | MS_NO_DEVICES, options)


def mount_processes(order: Order) -> None:
    """A /proc of the new process namespace, without what is about the whole machine.

    Read-only as a whole, its processes too: whoever can lower its own `oom_score_adj` is not the first to go when
    memory runs out. What is behind /proc/PID/fd is elsewhere, and stays writable; names of threads are set by prctl(2).

    Raises:
        BrokenError: of stage `proc`.
    """
    root = ROOT + b"/proc"
    with Stage("proc", "mount /proc"):
        if "pid" in order.without:
            mounts.show(b"/proc", root, 0)
            return
        mounts.mount(b"proc", root, MS_READ_ONLY | MS_NO_SETUID | MS_NO_DEVICES | MS_NO_EXEC)
        for name in _COVERED_FILES:
            _if_there(lambda path: mounts.bind(b"/dev/null", path), root + name)
        for name in _COVERED_FOLDERS:
            _if_there(_cover, root + name)


def _if_there(action: Callable[[bytes], None], path: bytes) -> None:
    try:
        action(path)
    except FileNotFoundError:  # not every kernel has all of them
        return


def mount_terminals(order: Order) -> None:
    """Terminals that nobody else has.

    Raises:
        BrokenError: of stage `root`.
    """
    if "root" not in order.without:
        with Stage("root", "mount new terminals"):
            mounts.mount(b"devpts", ROOT + b"/dev/pts", MS_NO_SETUID | MS_NO_EXEC, "newinstance,ptmxmode=0666,mode=620")


def protect(order: Order) -> None:
    """Protected names read-only, hidden paths empty: inside the new root, so that no link leads out of it.

    A command may have put a link in the place of what is named here; a link is left as it is.

    Raises:
        BrokenError: of stage `pivot`.
    """
    hidden = () if "root" in order.without else order.hidden
    with Stage("pivot", "protect names in the workspace"):
        for name in order.protect:
            path = order.workspace + b"/" + name
            if _plain(path):
                mounts.show(path, path, READ_ONLY | NO_SETUID | NO_DEVICES)
        for path in hidden:
            if os.path.realpath(path) == path and (kind := _plain(path)):
                _cover(path) if kind == stat.S_IFDIR else mounts.show(b"/dev/null", path, READ_ONLY)


def _plain(path: bytes) -> int:
    """What a name is, as `S_IFMT` says; 0 for a link, and for nothing at all."""
    try:
        kind = stat.S_IFMT(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return 0 if kind == stat.S_IFLNK else kind


def _cover(path: bytes) -> None:
    mounts.mount(b"tmpfs", path, MS_READ_ONLY | MS_NO_SETUID | MS_NO_DEVICES | MS_NO_EXEC, _EMPTY)
