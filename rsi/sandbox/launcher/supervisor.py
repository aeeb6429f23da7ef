"""One order: makes the namespaces, says who the command is outside, waits, and tells the daemon.

It says three things on the order's own socket: `started PID` with the init's pidfd; `ran`, or `failed` with the stage;
`ended STATUS CPU_S MAX_RSS`. Between the first two the init says `segments`, with its list of them,
if the kernel has any.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import socket

from . import calls, idmap, init, mounts
from .broken import BrokenError, Stage
from .order import Order, read
from .payload import READY
from .privileges import GID, UID
from .system import Builder

#: stdin, stdout, stderr, the order, and the socket: what comes with an order.
DESCRIPTORS = 5
_LONGEST = 8192
_KIB = 1024
_FIRST_TO_GO = b"1000"
_JOIN = "join a control group"


class Place:
    """A mount namespace in which what no order changes is mounted already (root mode).

    Args:
        store: whose `root` folder it is built on.

    Raises:
        BrokenError: it could not be made.
    """

    def __init__(self, store: bytes, without: frozenset[str] = frozenset()) -> None:
        self.store, self.without = store, without
        with Stage("order", "enter the store"):
            os.chdir(store)
        with Stage("namespaces", "make a mount namespace"):
            calls.call("unshare", calls.NEWNS)
            mounts.make_private()
            os.chdir(store)
        self.builder = Builder(without)
        self.builder.prepare()


def serve(descriptors: list[int], place: Place | None = None) -> None:
    """Never returns. `place`: made before the order came; `begin` was called."""
    *standard, order, control = descriptors
    channel = socket.socket(fileno=control)
    try:
        if place is None:
            begin()
        _Supervisor(channel, (standard[0], standard[1], standard[2]), place).run(read(order))
    except BrokenError as error:
        _tell(channel, b"failed\n" + error.encode())
    except OSError as error:
        _tell(channel, b"failed\n" + BrokenError("namespaces", error.errno or errno.EIO, repr(error)).encode())
    finally:
        os._exit(0)


def begin() -> None:
    """What a process does first that will be a supervisor."""
    calls.prctl(calls.PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _dump_no_core()
    with Stage("namespaces", "be the first to go when memory runs out"):
        _write("/proc/self/oom_score_adj", _FIRST_TO_GO)


def _tell(channel: socket.socket, message: bytes) -> None:
    try:
        channel.send(message)
    except BrokenPipeError:  # nobody waits any more: the init sees that by itself
        return


class _Supervisor:
    def __init__(self, channel: socket.socket, standard: tuple[int, int, int], place: Place | None) -> None:
        self._channel, self._standard, self._place = channel, standard, place
        self._root_mode = os.geteuid() == 0

    def run(self, order: Order) -> None:
        user = self._prepare(order)
        (go, let_go), (status, status_end), (account, account_end) = os.pipe(), os.pipe(), os.pipe()
        own, given = _doors(order.cgroups)
        pid = self._clone(order)
        if pid == 0:
            try:
                for fd in (let_go, status, account):
                    os.close(fd)
                _enter(own, status_end)
                pipes = init.Pipes(go, status_end, account_end, self._channel.fileno(), self._standard)
                init.run(order, pipes, built=self._root_mode)
            finally:
                os._exit(init.FAILED)
        for fd in (go, status_end, account_end, *own, *self._standard):
            os.close(fd)
        self._admit(given, pid, user)
        os.write(let_go, b"g")
        _tell(self._channel, _outcome(status))
        _tell(self._channel, _end(pid, account))

    def _prepare(self, order: Order) -> tuple[int, int]:
        """Who the command is outside; as root also everything that needs root's eyes."""
        with Stage("order", "enter the store"):
            os.chdir(order.store)
        if not self._root_mode:
            return os.getuid(), os.getgid()
        user = idmap.who(order)
        place = self._place or Place(order.store, order.without)
        if (place.store, place.without) != (order.store, order.without):
            raise BrokenError("order", errno.EINVAL, "it was handed to a supervisor that stands by for another")
        place.builder.finish(order, user, idmap.workspace(order, user))
        return user

    def _clone(self, order: Order) -> int:
        flags = calls.NEWUSER | calls.NEWNS | calls.NEWUTS
        for name, flag in (("network", calls.NEWNET), ("pid", calls.NEWPID), ("ipc", calls.NEWIPC)):
            flags |= 0 if name in order.without else flag
        with Stage("namespaces", "make the namespaces"):
            return calls.clone(flags)

    def _admit(self, groups: list[bytes], pid: int, user: tuple[int, int]) -> None:
        """Before the init does anything more: its groups, its names, and that the daemon can end it."""
        for file in groups:
            with Stage("cgroup", _JOIN):
                _write(file, str(pid).encode())
        with Stage("idmap" if self._root_mode else "namespaces", "say who the sandbox's user is"):
            if not self._root_mode:
                idmap.forbid_groups(pid)
            idmap.write_maps(pid, (UID, GID), user)
        with Stage("namespaces", "hand the sandbox over"):
            descriptor = os.pidfd_open(pid)
            socket.send_fds(self._channel, [f"started {pid}".encode()], [descriptor])
            os.close(descriptor)


def _doors(cgroups: list[bytes]) -> tuple[list[int], list[bytes]]:
    """What the init itself writes to, open, and what is written for it.

    A thread that moves itself waits for nobody; a process that is moved waits for a grace period of the kernel
    (cgroup_procs_write_start), which is most of what an order takes. Version 2 has no file for that.
    """
    own: list[int] = []
    given: list[bytes] = []
    for folder in cgroups:
        with Stage("cgroup", _JOIN):
            try:
                own.append(os.open(folder + b"/tasks", os.O_WRONLY | os.O_CLOEXEC))
            except FileNotFoundError:
                given.append(folder + b"/cgroup.procs")
    return own, given


def _enter(doors: list[int], status: int) -> None:
    """In the init, whose only thread this is."""
    try:
        for fd in doors:
            with Stage("cgroup", _JOIN):
                os.write(fd, b"0")
            os.close(fd)
    except BrokenError as error:
        os.write(status, error.encode())
        os._exit(init.FAILED)


def _dump_no_core() -> None:
    """Not of a command, and not of the launcher: exactly 1 (`rsi.sandbox.watch.rlimits.NO_CORE`).

    Here, where root may still raise a 0 that was inherited. An ordinary user may not: that 0 stays, and a core still
    goes to such a program.
    """
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def _outcome(status: int) -> bytes:
    """What came through the status pipe until nobody holds its other end: execve closes the last one."""
    said = b""
    while part := os.read(status, _LONGEST):
        said += part
    if said == READY:
        return b"ran"
    return b"failed\n" + (
        said or BrokenError("exec", errno.ECHILD, "the launcher was killed before the command began").encode()
    )


def _end(pid: int, account: int) -> bytes:
    """How the init ended; what its children took, or, if it was killed before it could say, what is known of itself."""
    _, how, used = os.wait4(pid, 0)
    user, system, rss = used.ru_utime, used.ru_stime, used.ru_maxrss
    if data := os.read(account, init.ACCOUNT.size):
        user, system, rss = init.ACCOUNT.unpack(data)
    return f"ended {init.shell_status(how)} {user + system} {rss * _KIB}".encode()


def _write(path: str | bytes, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)
