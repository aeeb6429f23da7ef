"""The keeper of a plain process: an interpreter of its own that ends everything below it when told, or when done.

It is the subreaper of what it starts (Linux), so that a child which calls setsid and loses its parent becomes a child
of this process, and is found. It holds one socket: an order comes in, the end goes out; when the socket closes, for
whatever reason, everything is ended. Run as `python -I -S reaper.py FD`; it imports nothing of rsi.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import socket
import sys

PR_SET_CHILD_SUBREAPER = 36
#: Rounds of killing after which what is left cannot be ended by us (it is in the kernel).
ROUNDS = 1000
NOT_FOUND, NOT_RUNNABLE = 127, 126


def children(pid: int) -> "list[int]":
    """The living and the dead children of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - no pathlib: this process starts for every command
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    return found


def below(pid: int, most: int = 4096) -> "list[int]":
    """All its descendants."""
    found: list[int] = []
    todo = children(pid)
    while todo and len(found) < most:
        one = todo.pop()
        found.append(one)
        todo += children(one)
    return found


def end_all(group: int) -> None:
    """Stop, kill and reap everything below this process, until nothing is left."""
    for _ in range(ROUNDS):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        living = below(os.getpid())
        for how in (signal.SIGSTOP, signal.SIGKILL):  # stopped first: a fork bomb cannot answer
            for pid in living:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, how)
        try:
            while os.waitpid(-1, os.WNOHANG if living else 0)[0]:
                pass
        except ChildProcessError:
            return


def start(order: dict, go: int, report: int) -> None:  # type: ignore[type-arg] # JSON
    """In the child: limits, then the command. Never returns.

    It says its pid, and after that only why nothing was executed: what was executed has closed `report`.
    """
    try:
        os.setsid()
        for folder in order["cgroups"]:
            with open(f"{folder}/cgroup.procs", "w") as file:  # noqa: PTH123
                file.write("0")
        for name, value in order["rlimits"].items():
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            most = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (most, most))
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(order["cwd"])
        os.read(go, 1)
        os.write(report, b"%d\n" % os.getpid())
        os._exit(execute(order["argv"], order["env"]))
    except BaseException as error:  # noqa: BLE001 - the border: said, then the end
        os.write(report, f"\n{error}".encode())
    os._exit(NOT_RUNNABLE)


def execute(argv: "list[str]", env: "dict[str, str]") -> int:
    """The command itself; how it ends, as in a shell, when there is no such program, or it may not be run."""
    try:
        os.execvpe(argv[0], argv, env)  # noqa: S606 - that is what it is for
    except OSError as error:
        os.write(2, f"rsi: {argv[0]}: {error.strerror}\n".encode("utf-8", "surrogateescape"))
        return NOT_FOUND if error.errno in (errno.ENOENT, errno.ENOTDIR) else NOT_RUNNABLE


def received(link: socket.socket, size: int) -> bytes:
    """Exactly that many bytes; leaves when the other side has."""
    data = bytearray()
    while len(data) < size:
        part = link.recv(size - len(data))
        if not part:
            sys.exit(0)
        data += part
    return bytes(data)


def main(link: socket.socket, report: int) -> None:
    """One order, one end."""
    order = json.loads(received(link, int.from_bytes(received(link, 8), "big")))
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        sys.exit("prctl(PR_SET_CHILD_SUBREAPER) failed")
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    os.set_inheritable(report, False)
    go_read, go = os.pipe()
    child = os.fork()
    if child == 0:
        link.close()
        start(order, go_read, report)
    os.close(report)  # before the command runs, which may stop this process at once: the daemon reads on to the end
    os.write(go, b"\n")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # whoever reads the other end shall see the end of file when the command is done with it
        os.dup2(null, fd)
    status = wait(child, link, wake_read)
    end_all(child)
    if status is None:
        status = 128 + signal.SIGKILL
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    end = {"status": status, "cpu_s": used.ru_utime + used.ru_stime, "max_rss": used.ru_maxrss}
    with contextlib.suppress(OSError):
        link.send(json.dumps(end).encode() + b"\n")


def wait(child: int, link: socket.socket, wake: int) -> "int | None":
    """The command's status, or None when we are to end it first; orphans are reaped meanwhile."""
    while True:
        ready, _, _ = select.select([link.fileno(), wake], [], [])
        if link.fileno() in ready:
            return None
        os.read(wake, 4096)
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == child:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
