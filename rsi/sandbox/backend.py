"""What a back end is: a way to make a `Box`, a view of a workspace that commands run in.

The data: workspace → `Backend.open` → `Box` → `run` / `checkpoint` / `restore` / `fork` → `changes` → `merge`. A back
end says why it cannot be used (`unavailable`); what it isolates is found by attacking it (`probe`), never by asking it.
A back end never runs a command with less than it was opened for: what cannot be set up is a `LaunchError`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from rsi.sandbox.model import Change, Checkpoint, Command, ExecResult


class Box(Protocol):
    """One view of one workspace. One command at a time: a second caller waits.

    Every method raises `SandboxError` when the box is closed.
    """

    workspace: Path

    @property
    def store(self) -> Path:
        """Where it is kept; what `Backend.open(reopen=…)` takes after the daemon died."""

    def run(self, command: Command) -> ExecResult:
        """Run to the end or to a limit; nothing it started is left when this returns.

        Raises:
            LaunchError: it could not be set up; the command never ran.
        """

    def interrupt(self) -> None:
        """End the running command, if there is one, from another thread: its `run` returns `killed_by="closed"`.

        The box stays open and usable. Nothing happens, and nothing is raised, when no command runs.
        """

    def checkpoint(self, label: str, *, durable: bool = False) -> Checkpoint:
        """Name the present state."""

    def restore(self, checkpoint_id: str) -> None:
        """Return to that state; what came after it and is not a checkpoint is forgotten. `NotFoundError` if unknown."""

    def checkpoints(self) -> list[Checkpoint]:
        """Oldest first."""

    def fork(self, checkpoint_id: str | None = None) -> Box:
        """A second box that starts from a checkpoint (or from the present state)."""

    def changes(self, since: str | None = None, until: str | None = None) -> list[Change]:
        """What differs between two checkpoints, by path; `None` is the workspace, and the present state."""

    def close(self) -> None:
        """End what runs and give the space back; returns at once, deleting goes on in the background."""


class Backend(Protocol):
    """A way to make boxes."""

    name: str

    def unavailable(self) -> str | None:
        """Why it cannot be used on this machine, for people; None when it can."""

    def open(self, workspace: Path, *, readable: tuple[Path, ...] = (), reopen: Path | None = None) -> Box:
        """A new box. `readable`: folders outside the workspace to show read-only (a toolchain).

        `reopen`: the store of a box whose daemon died; its durable checkpoints are verified and offered again.

        Raises:
            SandboxError: no such workspace, or the back end is not available.
        """

    def drain(self, timeout_s: float | None = None) -> bool:
        """Wait until what its closed boxes left is deleted, for who ends soon; False when it took longer."""
