"""What differs between the back ends that work on a copy: how one command is started in it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from rsi.sandbox.model import Command, ExecResult
from rsi.sandbox.watch import Cgroup, Victim


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Where a command runs. All absolute."""

    workspace: Path  # the place it stands for
    tree: Path  # the copy
    readable: tuple[Path, ...] = ()
    store: Path  # for what a runner needs on the disk; never shown to the command


class Run(Protocol):
    """One command, about to be started."""

    def start(self, stdin: int, stdout: int, stderr: int) -> Victim:
        """Start it. Raises `LaunchError` when it never ran."""

    def finish(self, result: ExecResult) -> ExecResult:
        """After the end: what only the runner knows. Raises `LaunchError` when it turns out that it never ran."""


class Runner(Protocol):
    """A way to run commands in a copy."""

    name: str
    #: The uid and gid that the copy belongs to; None: our own.
    owner: int | None

    def unavailable(self) -> str | None:
        """Why it cannot be used here, for people; None when it can."""

    def prepare(self, view: View, command: Command, group: Cgroup | None) -> Run:
        """Check one command."""
