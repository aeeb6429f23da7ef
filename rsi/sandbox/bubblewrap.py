"""bubblewrap (`bwrap`) on a copy of the workspace: fresh namespaces, an allow-listed root, no privileges.

Started by root, bwrap would go on as kuid 0, which without any capability still owns the system's files and /proc/sys.
So it is never run as root: it becomes an unprivileged uid that nobody uses, and the copy belongs to that uid.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import resource
import select
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final, Self

import msgspec

from rsi.errors import LaunchError
from rsi.sandbox.bwrap_line import Features, arguments
from rsi.sandbox.copied.backend import CopiedBackend
from rsi.sandbox.copied.process import Process
from rsi.sandbox.copied.runner import View
from rsi.sandbox.launch import Ended
from rsi.sandbox.launcher.filter import program
from rsi.sandbox.launcher.payload import NOT_FOUND, NOT_RUNNABLE
from rsi.sandbox.model import Command, ExecResult, Limits
from rsi.sandbox.watch import NO_CORE, Cgroup, rlimits

#: Beyond every range that systemd, distributions and container engines hand out (systemd's UIDS-GIDS).
UNUSED_ID: Final = 2_000_012_345
#: bwrap says this itself, before the command has written anything, when execve fails.
_NOT_EXECUTED: Final = "bwrap: execvp "
_NOT_THERE: Final = tuple(os.strerror(number) for number in (errno.ENOENT, errno.ENOTDIR))
#: POSIX: `ulimit -f` counts blocks of 512 bytes.
_FSIZE_UNIT: Final = 512
#: `ulimit -c` counts blocks; what sets a limit of one byte is in util-linux. (One block is no room for a core either.)
_NO_CORE_EITHER: Final = f'command -v prlimit >/dev/null && exec prlimit --core={NO_CORE}:{NO_CORE} "$@"'
#: What bwrap says of a path that the user it became may not pass through to.
_SHUT: Final = "Permission denied"
#: Asking bwrap for its options takes some 2 ms.
_ASK_S: Final = 10.0


def bubblewrap(home: Path | None = None) -> CopiedBackend:
    """The back end `bubblewrap`."""
    return CopiedBackend(BubblewrapRunner(), home)


class BubblewrapRunner:
    """Starts commands with the `bwrap` of `$RSI_BWRAP`, or of PATH."""

    name = "bubblewrap"

    def __init__(self) -> None:
        self.owner: int | None = UNUSED_ID if os.getuid() == 0 else None

    def unavailable(self) -> str | None:
        """Why bwrap cannot make its namespaces here; None when it can."""
        found = binary()
        if found is None:
            return "no bwrap on PATH; install the package bubblewrap, or set RSI_BWRAP"
        if _program() is None:
            return f"no filter of system calls for this machine ({os.uname().machine})"
        return _refusal(found, self.owner)

    def prepare(self, view: View, command: Command, group: Cgroup | None) -> BubblewrapRun:
        """Make its command line."""
        found, code = binary(), _program()
        if found is None or code is None:
            raise LaunchError("exec: bwrap has gone; install the package bubblewrap, or set RSI_BWRAP")
        return BubblewrapRun(found, view, command, group, owner=self.owner, code=code)


class BubblewrapRun:
    """One command in one bwrap.

    Args:
        bwrap: the program.
        view: what is shown.
        command: what is run.
        group: counts it.
        owner: the uid that bwrap becomes; None: ours.
        code: the filter of system calls.
    """

    def __init__(
        self, bwrap: str, view: View, command: Command, group: Cgroup | None, *, owner: int | None, code: bytes
    ) -> None:
        self._bwrap, self._view, self._command, self._group = bwrap, view, command, group
        self._owner, self._filter = owner, code
        self._victim: _Wrapped | None = None

    def start(self, stdin: int, stdout: int, stderr: int) -> _Wrapped:
        """Set everything up, with the command held back until its limits are in place; then let it go.

        Raises:
            LaunchError: a limit could not be set, or bwrap could not be executed.
        """
        with _Descriptors() as own:
            status, status_write = own.pipe()
            block, release = own.pipe()
            data = {path: own.text(text) for path, text in _identity(self._owner).items()}
            features = Features(**_features(self._bwrap), seccomp=own.file(self._filter))
            argv = arguments(
                self._bwrap, self._view, self._command, features, data=data, status=status_write, block=block
            )
            keep = [status_write, block, features.seccomp, *data.values()]
            limited = argv if self._owner is None else [*_limiting(self._command.limits), *argv]
            process = Process.start(limited, (stdin, stdout, stderr), env={}, cwd=Path("/"), keep=keep, uid=self._owner)
            own.close(status_write)
            own.close(block)
            own.keep(status)
            self._victim = _Wrapped(process, status)
            try:
                self._hold(self._victim)
                with contextlib.suppress(BrokenPipeError):  # bwrap has failed: `finish` says how
                    os.write(release, b"\n")
            except BaseException:
                self._victim.kill()
                self._victim.wait()
                raise
        return self._victim

    def finish(self, result: ExecResult) -> ExecResult:
        """The same result, if the command was run at all.

        Raises:
            LaunchError: bwrap failed before; what it said.
        """
        if result.killed_by is not None or (self._victim is not None and self._victim.ran):
            return result
        if result.stderr.startswith(_NOT_EXECUTED):
            return _not_executed(result)
        said = result.stderr.strip() or "ended without a word"
        raise LaunchError(f"bwrap: {said}; the command did not run{self._way_out(said)}")

    def _way_out(self, said: str) -> str:
        if self._owner is None or _SHUT not in said:
            return ""
        return (
            f". As root, bwrap runs as user {self._owner}, who may not pass through a folder above it (of an"
            " interpreter under /root, say): use the overlay back end, or keep it where everybody may pass"
        )

    def _hold(self, victim: _Wrapped) -> None:
        init = victim.init()
        if init is None:  # bwrap has failed, and says why on stderr: `finish` reports it
            return
        try:
            if self._group is not None:
                self._group.add(init)
            if self._owner is None:
                for name, value in rlimits(self._command.limits).items():
                    resource.prlimit(init, getattr(resource, name), (value, value))
        except ProcessLookupError:
            return
        except (OSError, ValueError) as error:
            raise LaunchError(f"limits: {error}") from error


class _Wrapped:
    """bwrap and the init of its pid namespace, as a `Victim`: killing the init is what ends everything for certain."""

    def __init__(self, process: Process, status: int) -> None:
        self._process, self._status = process, status
        self._init: int | None = None
        self._said = b""
        self._ended: Ended | None = None

    @property
    def pid(self) -> int:
        """Of the outer bwrap, which ends after the namespace."""
        return self._process.pid

    @property
    def ran(self) -> bool:
        """After the end: whether bwrap got as far as executing the command."""
        return b'"exit-code"' in self._said

    def init(self) -> int | None:
        """The host pid of the namespace's init, once bwrap has made it; None when it could not."""
        while b"\n" not in self._said and (more := os.read(self._status, 4096)):
            self._said += more
        if b"\n" not in self._said:
            return None
        pid = int(json.loads(self._said.splitlines()[0])["child-pid"])
        with contextlib.suppress(ProcessLookupError):
            self._init = os.pidfd_open(pid)
        return pid

    def kill(self) -> None:
        """SIGKILL to the namespace's init, which the kernel passes on to every process in it."""
        if self._ended is not None:
            return
        if self._init is None:
            self._process.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._init, signal.SIGKILL)

    def wait(self) -> Ended:
        """How bwrap ended, after the namespace has."""
        if self._ended is None:
            ended = self._process.wait()
            if self._init is not None:
                with contextlib.suppress(ProcessLookupError):  # bwrap may have been killed alone, from outside
                    signal.pidfd_send_signal(self._init, signal.SIGKILL)
                select.select([self._init], [], [])
                os.close(self._init)
                self._init = None
            while more := os.read(self._status, 4096):
                self._said += more
            os.close(self._status)
            self._ended = ended
        return self._ended


class _Descriptors:
    """Those that are handed to bwrap; what is still open is closed at the end."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in tuple(self._open):
            self.close(fd)

    def pipe(self) -> tuple[int, int]:
        """Reading and writing end."""
        ends = os.pipe()
        self._open.update(ends)
        return ends

    def file(self, data: bytes) -> int:
        """An unnamed file with these bytes, at its start."""
        fd = os.memfd_create("rsi")
        self._open.add(fd)
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def text(self, text: str) -> int:
        """The same for text."""
        return self.file(text.encode())

    def keep(self, fd: int) -> None:
        """Somebody else closes it."""
        self._open.discard(fd)

    def close(self, fd: int) -> None:
        """Now."""
        self._open.discard(fd)
        os.close(fd)


def _not_executed(result: ExecResult) -> ExecResult:
    """A program that is not there is an ordinary end, as in a shell, and as the other back ends say it."""
    said = "rsi: " + result.stderr.removeprefix(_NOT_EXECUTED)
    code = NOT_FOUND if said.rstrip().endswith(_NOT_THERE) else NOT_RUNNABLE
    data = said.encode()
    return msgspec.structs.replace(result, returncode=code, stderr=said, stderr_bytes=data, stderr_total=len(data))


def _limiting(limits: Limits) -> list[str]:
    """A shell that sets limits and becomes what follows: prlimit(2) on another uid needs CAP_SYS_RESOURCE, ulimit not.

    Processes are left to the control group or the watch: RLIMIT_NPROC would count all boxes of this uid together.
    """
    values = rlimits(limits)
    words = [f"-n {values['RLIMIT_NOFILE']}", f"-f {-(-values['RLIMIT_FSIZE'] // _FSIZE_UNIT)}", "-c 1"]
    if "RLIMIT_CPU" in values:
        words.append(f"-t {values['RLIMIT_CPU']}")
    script = " && ".join(f"ulimit {word}" for word in words)
    return ["/bin/sh", "-c", f'{script} && {{ {_NO_CORE_EITHER}; exec "$@"; }}', "sh"]


def binary() -> str | None:
    """The bwrap to run."""
    return os.environ.get("RSI_BWRAP") or shutil.which("bwrap")


@functools.cache
def _program() -> bytes | None:
    """The launcher's filter; None where it does not know the machine, and then nothing is run."""
    try:
        return program()
    except KeyError:
        return None


def _identity(owner: int | None) -> dict[str, str]:
    """The files that say who is who in there: two users, and nobody of the host."""
    uid = owner if owner is not None else os.getuid()
    gid = owner if owner is not None else os.getgid()
    return {
        "/etc/passwd": f"sandbox:x:{uid}:{gid}::/home/sandbox:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        "/etc/group": f"sandbox:x:{gid}:\nnogroup:x:65534:\n",
        "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    }


@functools.cache
def _features(bwrap: str) -> dict[str, bool]:
    text = _ask((bwrap, "--help"), None)[1]
    return {"disable_userns": "--disable-userns" in text, "size": "--size" in text}


@functools.cache
def _refusal(bwrap: str, owner: int | None) -> str | None:
    line = (bwrap, "--unshare-all", "--unshare-user", "--die-with-parent", "--ro-bind", "/", "/", "--", "/bin/true")
    code, said = _ask(line, owner)
    return None if code == 0 else f"bwrap cannot make its namespaces here: {said.strip() or f'exit status {code}'}"


def _ask(line: tuple[str, ...], owner: int | None) -> tuple[int, str]:
    try:
        done = subprocess.run(  # noqa: S603 - the bwrap that was chosen
            line,
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_ASK_S,
            check=False,
            user=owner,
            group=owner,
            extra_groups=None if owner is None else [],
        )
    except (OSError, subprocess.SubprocessError) as error:
        return -1, str(error)
    return done.returncode, done.stdout.decode("utf-8", "replace")
