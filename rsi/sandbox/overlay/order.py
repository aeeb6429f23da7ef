"""One command as the launcher wants it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from rsi.config import STATE_DIR
from rsi.errors import SandboxError
from rsi.sandbox.launch import Order
from rsi.sandbox.model import Command
from rsi.sandbox.overlay.home import Line
from rsi.sandbox.overlay.place import homes
from rsi.sandbox.overlay.record import Record
from rsi.sandbox.overlay.stack import Stack
from rsi.sandbox.watch import Victim, rlimits


class Launched(Victim, Protocol):
    """A command in namespaces of its own."""

    def parked(self) -> int:
        """Bytes in System V segments, attached or not; 0 after the end. Never blocks."""


class Launcher(Protocol):
    """Starts one command after the other (`rsi.sandbox.launch.Zygote`)."""

    def launch(self, order: Order, stdin: int, stdout: int, stderr: int) -> Launched:
        """Build the namespaces and start it. `LaunchError`: it never ran."""

    def close(self) -> None:
        """End it, and whatever still runs."""


def ordered(record: Record, line: Line, stack: Stack, work: Path, command: Command) -> Order:
    """The order for `command` over the present layers.

    Raises:
        SandboxError: `cwd` is outside of the workspace.
    """
    return Order(
        argv=command.argv,
        env=command.env,
        cwd=_inside(record.workspace, command.cwd),
        workspace=record.workspace,
        store=str(line.store),
        lowers=tuple(f"layers/{layer}" for layer in reversed(stack.chain)),
        upper=f"layers/{stack.upper}",
        work=f"work/{work.name}",
        readable=record.readable,
        hidden=(
            *dict.fromkeys(map(str, (line.store.parents[1], *homes()))),
            os.path.join(record.workspace, STATE_DIR),  # noqa: PTH118 - a path inside
        ),
        tmp=command.limits.tmp,
        rlimits=rlimits(command.limits),
    )


def _inside(workspace: str, cwd: str) -> str:
    path = os.path.normpath(os.path.join(workspace, cwd))  # noqa: PTH118 - normalised as text: it is a path inside
    if path != workspace and not path.startswith(workspace.rstrip("/") + "/"):
        raise SandboxError(f"cwd {cwd!r} is outside of the workspace {workspace}")
    return path
