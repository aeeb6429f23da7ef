"""Plain processes in a copy of the workspace: limits, a clean environment, a thorough end. It isolates nothing.

The command runs as the same user, reads the home folder, uses the network, and may write to the workspace itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import IO, Final

from rsi.errors import LaunchError
from rsi.sandbox.copied.backend import CopiedBackend
from rsi.sandbox.copied.place import inside
from rsi.sandbox.copied.process import Process
from rsi.sandbox.copied.runner import View
from rsi.sandbox.launch import Ended
from rsi.sandbox.model import Command, ExecResult
from rsi.sandbox.watch import Cgroup, rlimits
from rsi.sandbox.watch import tree as processes

_REAPER: Final = Path(__file__).parent / "copied" / "reaper.py"
#: Rounds of looking for what outlived its reaper; a fork bomb may need some.
_SWEEPS: Final = 100
#: Descendants that one round of killing looks for; the next round finds the rest.
_ROUND: Final = 4096


def plain(home: Path | None = None) -> CopiedBackend:
    """The back end `subprocess`."""
    return CopiedBackend(PlainRunner(), home)


def started_in(view: View, command: Command) -> Path:
    """Where the command starts, in the copy itself: nothing puts it at the workspace's own place."""
    return view.tree / inside(view.workspace, command.cwd).relative_to(view.workspace)


class PlainRunner:
    """Starts commands below a reaper of their own. The name says what it is: not a sandbox."""

    name = "subprocess"
    owner: int | None = None

    def unavailable(self) -> str | None:
        """Every system that rsi runs on has processes."""
        return None

    def prepare(self, view: View, command: Command, group: Cgroup | None) -> PlainRun:
        """Check the command."""
        return PlainRun(command.argv, command, started_in(view, command), view.tree, group)


class PlainRun:
    """One command below its reaper.

    Args:
        argv: what is executed; the command's own, or what wraps it.
        command: its environment and limits.
        cwd: absolute.
        tree: the copy.
        group: joined by the command before anything else.
    """

    def __init__(self, argv: tuple[str, ...], command: Command, cwd: Path, tree: Path, group: Cgroup | None) -> None:
        limits = rlimits(command.limits)
        # RLIMIT_NPROC counts everything this user runs anywhere: processes are counted by the watch instead.
        del limits["RLIMIT_NPROC"]
        self._tree = tree
        self._order = {
            "argv": argv,
            "env": command.env,
            "cwd": str(cwd),
            "rlimits": limits,
            "cgroups": group.folders if group is not None else (),
        }

    def start(self, stdin: int, stdout: int, stderr: int) -> _Kept:
        """Start reaper and command. A program that is not there ends with 127 and a line on stderr, as in a shell.

        Raises:
            LaunchError: a limit could not be set, or there is no interpreter for the reaper.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        report, report_write = os.pipe()
        keep = (theirs.fileno(), report_write)
        with open(report, "rb") as words:  # noqa: PTH123 - a descriptor
            try:
                line = (sys.executable, "-I", "-S", str(_REAPER), *map(str, keep))
                reaper = Process.start(line, (stdin, stdout, stderr), env={}, cwd=Path("/"), keep=keep)
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
                os.close(report_write)
            kept = _Kept(reaper, ours, self._tree)
            try:
                kept.begin(json.dumps(self._order).encode(), words)
            except BaseException:
                kept.kill()
                kept.wait()
                raise
        return kept

    def finish(self, result: ExecResult) -> ExecResult:
        """Nothing more is known."""
        return result


class _Kept:
    """A reaper with everything below it, as a `Victim`."""

    def __init__(self, reaper: Process, link: socket.socket, tree: Path) -> None:
        self._reaper, self._link, self._tree = reaper, link, tree
        self._session: int | None = None
        self._dead = False

    @property
    def pid(self) -> int:
        """The reaper's: the command and all it started descend from it."""
        return self._reaper.pid

    def begin(self, order: bytes, words: IO[bytes]) -> None:
        """Hand over the order, and read what the command's process says until it has become the command.

        Raises:
            LaunchError: it did not come so far.
        """
        with contextlib.suppress(BrokenPipeError):  # then nothing is said either
            self._link.sendall(len(order).to_bytes(8, "big") + order)
        pid, _, failed = words.read().partition(b"\n")
        if failed or not pid:
            raise LaunchError(f"exec: {failed.decode('utf-8', 'replace').strip() or 'the reaper has ended'}")
        self._session = int(pid)

    def kill(self) -> None:
        """Tell the reaper, and do its work beside it in case the command has stopped it."""
        if self._dead:
            return
        with contextlib.suppress(OSError):  # it has ended since
            self._link.shutdown(socket.SHUT_WR)
        for pid in processes.pids(self._reaper.pid, _ROUND):
            with contextlib.suppress(ProcessLookupError, PermissionError):  # ended since, or not ours any more
                os.kill(pid, signal.SIGCONT if pid == self._reaper.pid else signal.SIGKILL)

    def wait(self) -> Ended:
        """The end that the reaper reports; SIGKILL's when it was killed itself."""
        ended = self._reaper.wait()
        self._dead = True
        with self._link, self._link.makefile("rb") as words:
            said = words.readline()
        if not said:
            self._sweep()
            return ended
        end = json.loads(said)
        unit = 1 if sys.platform == "darwin" else 1024
        return Ended(status=end["status"], cpu_s=end["cpu_s"], max_rss=end["max_rss"] * unit)

    def _sweep(self) -> None:
        """The command has killed its reaper: what is left is known by its session, or because it is in the copy.

        One that has left both is not found without a control group. That is why `kill_all` is probed.
        """
        for _ in range(_SWEEPS):
            left = processes.belonging(self._session, self._tree)
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                return
