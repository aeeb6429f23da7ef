"""The parent's side of the launcher: start a clean zygote, hand it an order, get a process and then its end.

The zygote is an *executed* interpreter (`python -I -S rsi/sandbox/launcher`) with an empty environment and one socket,
so that no memory or environment of the daemon is in any ancestor a command can see. It builds seven fresh namespaces
for every order. What fails before the command's execve is a `LaunchError`; there is no path on which less is set up
and the command runs anyway.

Inside, the command is user and group 1000, whoever runs rsi. Outside it is that user; where rsi runs as root it is
`layer_owner()`, and the workspace is shown through an id-mapped mount.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from rsi import clock
from rsi.errors import LaunchError
from rsi.sandbox import segments
from rsi.sandbox.remedy import launch_error

#: A command line of Linux is at most 6 MiB (three quarters of an 8 MiB stack); the rest is paths.
MAX_ORDER: Final = 8 << 20
#: Nothing that is set up takes long; a file system that does not answer is not waited for longer than this, in seconds.
START_S: Final = 30.0
#: How long an init may take to end its command in order, counting what it used, before it is killed itself, in seconds.
ORDERLY_S: Final = 0.1
#: Host uid and gid of commands where rsi runs as root: below no range that distributions or systemd give out.
_LAYER_OWNER: Final = (1_900_000_321, 1_900_000_321)
#: A zygote that was killed is replaced once for an order.
_ATTEMPTS: Final = 2
_LAUNCHER: Final = Path(__file__).with_name("launcher")
_LONGEST: Final = 8192
#: News that come with a descriptor.
_WITH_DESCRIPTOR: Final = (b"started", b"segments")
_KILLED: Final = 128 + signal.SIGKILL


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the launcher needs for one command; JSON on the wire, at most `MAX_ORDER` bytes."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str  # absolute, inside the sandbox
    workspace: str  # absolute, no link in it; the view is mounted at this very path
    store: str  # absolute; the box's folder: `layers/`, `work/`, `root/` (an empty mount point), never visible inside
    lowers: tuple[str, ...]  # newest first, relative to `store`; the workspace itself is added last by the launcher
    upper: str  # relative to `store`; in root mode it belongs to `layer_owner()`, as `work` does
    work: str  # relative to `store`, new for each order (a used volatile workdir is refused by the kernel)
    readable: tuple[str, ...] = ()  # shown read-only at their own paths; what is in the workspace is left to the view
    protect: tuple[str, ...] = (".git", ".rsi")  # names in the workspace: read-only
    hidden: tuple[str, ...] = ()  # absolute; covered with an empty folder or file wherever something would show them
    tmp: int = 256 << 20
    rlimits: dict[str, int] = {}  # RLIMIT_* → value
    cgroups: tuple[str, ...] = ()  # folders whose cgroup.procs the namespace's init joins before anything else
    #: For the mutation tests of the probes only: protections to leave out (`seccomp`, `network`, `pid`, `ipc`, `root`,
    #: `read-only`, `dumpable`, `caps`, `idmap`, `clean-env`, `shown`). `Sandbox` never sets it.
    without: tuple[str, ...] = ()


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: exit status (128 + signal), CPU seconds and the largest RSS in bytes, of the whole namespace."""

    status: int
    cpu_s: float
    max_rss: int


Stage = Literal["start", "order", "cgroup", "namespaces", "idmap", "root", "overlay", "proc", "pivot", "filter", "exec"]


def layer_owner() -> tuple[int, int] | None:
    """The uid and gid that upper and work folders must have, None where they are simply our own.

    As root: a user of the host who owns nothing else, who must be able to pass through `store` and the folders
    in it on the way to a layer (mode 0711).
    """
    return _LAYER_OWNER if os.geteuid() == 0 else None


class Child:
    """A command that runs. `pid` is the host pid of its namespace's init: when that one ends, all have.

    Dropping it ends the command. May be used from several threads.
    """

    def __init__(self, channel: socket.socket, pid: int, pidfd: int, listed: int | None = None) -> None:
        self.pid: Final = pid
        self.pidfd: Final = pidfd  # of the init; closed by `wait`
        self._segments = listed  # its list of System V segments, if the kernel has any
        self._channel, self._lock = channel, threading.Lock()
        self._ended: Ended | None = None
        self._killed_at: float | None = None

    def kill(self) -> None:
        """End the command and everything it started; never blocks. Nothing happens after the end.

        The init does it, so that what each process used is counted; called again `ORDERLY_S` later, the init is killed.
        """
        with self._lock:
            if self._ended is not None:
                return
            if self._killed_at is None:
                self._killed_at = clock.monotonic()
                _send(self._channel, b"stop")
            elif clock.monotonic() - self._killed_at > ORDERLY_S:
                _kill(self.pidfd)

    def parked(self) -> int:
        """Bytes in System V segments, attached or not; 0 after the end. Never blocks."""
        with self._lock:
            return 0 if self._ended is not None or self._segments is None else segments.size(self._segments)

    def wait(self) -> Ended:
        """How it ended; blocks until then."""
        with self._lock:
            killed_at = self._killed_at
        while self._ended is None:
            patience_s = None if killed_at is None else max(0.0, killed_at + ORDERLY_S - clock.monotonic())
            if not _readable(self._channel, patience_s):
                _kill(self.pidfd)
            self._settle(_receive(self._channel)[0])
        return self._ended

    def _settle(self, message: bytes) -> None:
        """What the supervisor said last. It says nothing if it was killed: then the init was killed with it."""
        word, *rest = message.split() or [b"lost"]
        status, cpu_s, rss = (int(rest[0]), float(rest[1]), int(rest[2])) if word == b"ended" else (_KILLED, 0.0, 0)
        if word != b"ended":
            _readable(self.pidfd, None)
        with self._lock:
            self._ended = Ended(status=status, cpu_s=cpu_s, max_rss=rss)
            self._channel.close()
            for fd in (self.pidfd, self._segments):
                if fd is not None:
                    os.close(fd)


class Zygote:
    """The process that commands are forked from. It is started when it is first needed, and again if it has died.

    Args:
        store: every order's store lies below it.
        python: the interpreter; the one that runs this by default. It must be one that the present user can run.

    A zygote may be used from several threads. Ending it ends everything that it started.
    """

    def __init__(self, store: Path, *, python: str | None = None) -> None:
        self._store, self._python = store, python or sys.executable
        self._lock = threading.Lock()
        self._process: _Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the zygote, None while there is none."""
        return self._process.popen.pid if self._process else None

    def launch(self, order: Order, stdin_fd: int, stdout_fd: int, stderr_fd: int) -> Child:
        """Start a command; returns when its execve has happened.

        The descriptors stay the caller's. They should be pipes: a file could be opened again from inside, for writing
        too. A program that is not there, or may not be run, ends with 127 or 126 and a line on stderr, as in a shell.

        Raises:
            LaunchError: it could not be set up; the command never ran. The message names the stage and what to do.
        """
        if not Path(order.store).is_relative_to(self._store):
            raise launch_error("order", errno.EINVAL, f"store {order.store}: is not below {self._store}")
        message, data = _announcement(order), _encode(order)
        try:
            text = _memory(data)
            try:
                for _ in range(_ATTEMPTS):
                    if child := self._attempt(message, [stdin_fd, stdout_fd, stderr_fd, text]):
                        return child
            finally:
                os.close(text)
        except OSError as error:
            raise launch_error("start", error.errno or 0, "hand the order over") from error
        raise _failed(b"")

    def close(self) -> None:
        """End the zygote, and every command that was started through it."""
        with self._lock:
            if self._process is not None:
                self._process.close()
                self._process = None

    def _attempt(self, message: bytes, descriptors: list[int]) -> Child | None:
        """None if the zygote died under it, before anything began."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._hand_over(message, [*descriptors, theirs.fileno()])
            child = _first_news(ours)
        except BaseException:
            ours.close()
            raise
        if child is None:
            ours.close()
        return child

    def _hand_over(self, message: bytes, descriptors: list[int]) -> None:
        with self._lock:
            if self._process is not None and self._process.send(message, descriptors):
                return
            if self._process is not None:
                self._process.close()
            self._process = _Process(self._python)
            if not self._process.send(message, descriptors):
                raise launch_error("start", errno.EPIPE, "the launcher's process ended as soon as it had begun")


class _Process:
    """A running zygote."""

    def __init__(self, python: str) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._owner = os.getpid()
        with theirs:
            command = [python, "-I", "-S", "-X", "utf8", str(_LAUNCHER), str(theirs.fileno())]
            try:
                self.popen = subprocess.Popen(  # noqa: S603 - our own interpreter and our own folder
                    command,
                    env={},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except BaseException as error:
                self._channel.close()
                if isinstance(error, OSError):
                    raise launch_error("start", error.errno or 0, f"{python}: cannot be run") from error
                raise
        try:
            self._greet()
        except BaseException:
            self.popen.kill()
            self.close()
            raise

    def _greet(self) -> None:
        ready = _readable(self._channel, START_S) and _receive(self._channel)[0]
        assert self.popen.stderr is not None  # noqa: S101 - it was asked for above
        with self.popen.stderr as stderr:
            if not ready:
                self.popen.kill()
                said = stderr.read().decode("utf-8", "replace").strip()
                raise launch_error("start", 0, f"the launcher's process ended before it began: {said[-2000:]}")

    def send(self, message: bytes, descriptors: list[int]) -> bool:
        """Hand an order over; False if the zygote is not there any more."""
        try:
            socket.send_fds(self._channel, [message], descriptors)
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                return False
            raise launch_error("start", error.errno or 0, "hand the order over") from error
        return True

    def close(self) -> None:
        self._channel.close()
        if os.getpid() == self._owner:
            try:
                self.popen.wait(START_S)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()


class _Started(NamedTuple):
    pid: int
    pidfd: int
    segments: int | None = None


def _first_news(channel: socket.socket) -> Child | None:
    """The command after its execve; None if it is certain that nothing was begun.

    Raises:
        LaunchError: it did not come so far.
    """
    came: list[int] = []
    try:
        return _awaited(channel, came)
    except BaseException:
        for fd in came:
            os.close(fd)
        raise


def _awaited(channel: socket.socket, came: list[int]) -> Child | None:
    """The same; descriptors that came are in `came`."""
    deadline = clock.monotonic() + START_S
    started: _Started | None = None
    while True:
        if not _readable(channel, max(0.0, deadline - clock.monotonic())):
            if started is None:
                raise launch_error("namespaces", errno.ETIMEDOUT, f"nothing happened for {START_S:.0f} s")
            _kill(started.pidfd)  # whether it ran after all, the supervisor still says
            deadline = float("inf")
            continue
        message, descriptors = _receive(channel)
        came += descriptors
        word = message.split()[0] if message else b"lost"
        if word in _WITH_DESCRIPTOR and not descriptors:  # it was lost on the way (unix(7), MSG_CTRUNC)
            raise launch_error("start", errno.EMFILE, "take over the process")
        if word == b"started":
            started = _Started(int(message.split()[1]), descriptors[0])
        elif word == b"segments" and started is not None:
            started = started._replace(segments=descriptors[0])
        elif word == b"ran" and started is not None:
            return Child(channel, *started)
        elif not message and started is None:
            return None
        else:
            raise _failed(message)


def _failed(message: bytes) -> LaunchError:
    if not message:
        return launch_error("namespaces", 0, "the launcher was killed before the command began")
    _, stage, number, what = message.decode("utf-8", "replace").split("\n", 3)
    return launch_error(stage, int(number), what)


def _announcement(order: Order) -> bytes:
    """What the zygote itself is told; in root mode whose workspace is to look as if it were whose, and the store."""
    owner = layer_owner()
    if owner is None or "idmap" in order.without:
        return b"order"
    try:
        found = Path(order.workspace).stat()
    except OSError as error:
        raise launch_error("order", error.errno or 0, f"workspace {order.workspace}") from error
    ids = f"order {found.st_uid} {found.st_gid} {owner[0]} {owner[1]}".encode()
    return ids if order.without else ids + b" " + os.fsencode(order.store)


def _encode(order: Order) -> bytes:
    """JSON of ASCII only, in which every byte of a path that is not UTF-8 has its escape."""
    fields: dict[str, Any] = msgspec.to_builtins(order)
    if "clean-env" in order.without:
        fields["env"] = {**os.environ, **order.env}
    data = json.dumps(fields).encode("ascii")
    if len(data) > MAX_ORDER:
        raise launch_error(
            "order", errno.E2BIG, f"it takes {len(data)} bytes, {MAX_ORDER} are the limit: use a file or stdin"
        )
    return data


def _memory(data: bytes) -> int:
    fd = os.memfd_create("rsi-order")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _readable(what: socket.socket | int, timeout_s: float | None) -> bool:
    poll = select.poll()
    poll.register(what, select.POLLIN)
    endless = timeout_s is None or timeout_s == float("inf")
    return bool(poll.poll(None if endless or timeout_s is None else timeout_s * 1000))


def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """One message, empty when the other side is gone.

    If that one left something of ours unread we are told so once, before what it had said itself.
    """
    try:
        message, descriptors, _, _ = socket.recv_fds(channel, _LONGEST, 1, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return _receive(channel)
    return message, descriptors


def _send(channel: socket.socket, message: bytes) -> None:
    try:
        channel.send(message)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ECONNRESET):  # it has ended by itself
            raise


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:  # it has ended by itself
        return
