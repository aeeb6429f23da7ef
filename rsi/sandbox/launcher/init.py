"""Process 1 of the namespaces: builds what can be seen, gives up every privilege, starts the command, reaps.

When it ends, by itself or by SIGKILL, the kernel ends every process in the namespace.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import socket
import struct

from . import calls, mounts, payload, view
from .broken import BrokenError, Stage
from .filter import PROGRAM
from .order import Order
from .privileges import GID, UID, become, lock_down
from .system import ROOT, Builder

#: CPU seconds of user and system, largest RSS in KiB: what init says of its children at the end.
ACCOUNT = struct.Struct("=ddq")
#: How an init ends that could not start its command.
FAILED = 125
_KILLED = 128 + signal.SIGKILL
_SIOCSIFFLAGS, _UP_RUNNING = 0x8914, 0x41
_ON_STACK = 4096


class Pipes:
    """What init has of the world outside.

    `go`: a byte when the identity is set; `status`: how far it came; `account`: what it took; `control`: the daemon's
    socket: a message or its end means stop; `standard`: stdin, stdout and stderr of the command.
    """

    def __init__(self, go: int, status: int, account: int, control: int, standard: tuple[int, int, int]) -> None:
        self.go, self.status, self.account, self.control, self.standard = go, status, account, control, standard


def run(order: Order, pipes: Pipes, *, built: bool) -> None:
    """Never returns.

    Args:
        order: the command.
        pipes: see there.
        built: the root was built already, by somebody with more rights (root mode).
    """
    if os.read(pipes.go, 1) != b"g":
        os._exit(FAILED)
    try:
        _set_up(order, pipes.control, built=built)
        signals = _block()
        child = os.fork()
    except BrokenError as error:
        os.write(pipes.status, error.encode())
        os._exit(FAILED)
    if child == 0:
        try:
            payload.become(order, pipes.status, pipes.standard)
        finally:
            os._exit(payload.NOT_RUNNABLE)
    for fd in (pipes.go, pipes.status, *pipes.standard):
        os.close(fd)
    status = _reap(child, signals, pipes.control)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    os.write(pipes.account, ACCOUNT.pack(used.ru_utime, used.ru_stime, used.ru_maxrss))
    os._exit(status)


def _set_up(order: Order, control: int, *, built: bool) -> None:
    with Stage("idmap", "become the sandbox's user"):
        if built:
            become(UID, GID)
        calls.prctl(calls.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.umask(0o022)
    with Stage("namespaces", "hide the control groups"):
        calls.call("unshare", calls.NEWCGROUP)
    with Stage("namespaces", "name the machine and bring its loopback up"):
        _name_and_loopback(network="network" not in order.without)
    _mount(order, built=built)
    if "ipc" not in order.without:
        with Stage("proc", "show the daemon the shared memory"):
            _show_segments(control)
    with Stage("pivot", "hide the memory of the launcher"):
        calls.prctl(calls.PR_SET_DUMPABLE, 1 if "dumpable" in order.without else 0)
    lock_down(PROGRAM, order.without)


def _mount(order: Order, *, built: bool) -> None:
    if built:
        with Stage("root", "take over the root"):
            mounts.attach(mounts.copy(ROOT), ROOT)  # a mount that came with the namespace cannot be pivoted to
    else:
        with Stage("root", "show the workspace"):
            mounts.make_private()
            os.chdir(order.store)
            base = mounts.copy(order.workspace)
        builder = Builder(order.without)
        builder.prepare()
        builder.finish(order, (UID, GID), base)
    view.mount_view(order)
    view.mount_processes(order)
    view.mount_terminals(order)
    with Stage("pivot", "leave the host's root"):
        mounts.pivot(ROOT)
    view.protect(order)


def _show_segments(control: int) -> None:
    """The list of System V segments, open: it stays that of this namespace, which nobody outside can look into."""
    try:
        fd = os.open("/proc/sysvipc/shm", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # a kernel without them
        return
    with socket.socket(fileno=os.dup(control)) as channel:
        socket.send_fds(channel, [b"segments"], [fd])
    os.close(fd)


def _name_and_loopback(*, network: bool) -> None:
    socket.sethostname("sandbox")
    if network:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _UP_RUNNING))


def _block() -> int:
    with Stage("exec", "watch for the ends of processes"):
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
        return calls.signalfd((signal.SIGCHLD,))


def _reap(child: int, signals: int, control: int) -> int:
    """Wait for the command; then end and wait for all others, so that what they took is counted."""
    ready = select.poll()
    ready.register(signals, select.POLLIN)
    ready.register(control, select.POLLIN)
    status = None
    while status is None:
        events = [fd for fd, _ in ready.poll()]
        if control in events:
            status = _KILLED
        elif signals in events:
            os.read(signals, _ON_STACK)
            status = _ended(child)
    _end_all(child)
    return status


def _ended(child: int) -> int | None:
    """Take every process that has ended; the command's status if it is among them."""
    status = None
    while True:
        try:
            pid, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == child:
            status = shell_status(how)


def shell_status(how: int) -> int:
    """What waitpid(2) says, as a shell does: 128 + signal."""
    code = os.waitstatus_to_exitcode(how)
    return code if code >= 0 else 128 - code


def _end_all(child: int) -> None:
    """Only process 1 of a namespace may kill -1: anywhere else that is everything its user runs."""
    try:
        if os.getpid() == 1:
            os.kill(-1, signal.SIGKILL)
        else:
            os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
