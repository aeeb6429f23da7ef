"""Back ends that isolate nothing, or lie: what the probe must see through."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rsi.errors import LaunchError
from rsi.sandbox.model import Change, Checkpoint, Command, ExecResult


class Bare:
    """Runs in the workspace itself, as a plain child; checkpoints by copying."""

    name = "bare"

    def unavailable(self) -> str | None:
        return None

    def open(self, workspace: Path, *, readable: tuple[Path, ...] = (), reopen: Path | None = None) -> BareBox:
        return BareBox(workspace)


class BareBox:
    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self._saved = Path(tempfile.mkdtemp())

    def run(self, command: Command) -> ExecResult:
        try:
            ended = subprocess.run(
                command.argv,
                input=command.input,
                env={**os.environ, **command.env},
                cwd=self.workspace / command.cwd,
                capture_output=True,
                timeout=command.limits.wall_s,
                close_fds=False,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return ExecResult(returncode=137, stdout="", stderr="", stdout_total=0, killed_by="timeout")
        return result(ended.returncode, ended.stdout, ended.stderr)

    def checkpoint(self, label: str, *, durable: bool = False) -> Checkpoint:
        shutil.copy(self.workspace / "state", self._saved / label)
        return Checkpoint(id=label, label=label, at=0.0)

    def restore(self, checkpoint_id: str) -> None:
        shutil.copy(self._saved / checkpoint_id, self.workspace / "state")

    def checkpoints(self) -> list[Checkpoint]:
        return []

    def fork(self, checkpoint_id: str | None = None) -> BareBox:
        return self

    def changes(self, since: str | None = None, until: str | None = None) -> list[Change]:
        return []

    def close(self) -> None:
        shutil.rmtree(self._saved)


class Silent(Bare):
    """Runs nothing and says that it went well: it isolates perfectly, if one believes it."""

    name = "silent"

    def open(self, workspace: Path, *, readable: tuple[Path, ...] = (), reopen: Path | None = None) -> BareBox:
        return SilentBox(workspace)


class SilentBox(BareBox):
    def run(self, command: Command) -> ExecResult:
        return result(0, b"", b"")


class Broken(Bare):
    """Cannot be opened."""

    name = "broken"

    def open(self, workspace: Path, *, readable: tuple[Path, ...] = (), reopen: Path | None = None) -> BareBox:
        raise LaunchError("namespaces: not permitted")


class Gone(Bare):
    """Not on this machine."""

    name = "gone"

    def unavailable(self) -> str | None:
        return "no engine answers"


class Crashing(Bare):
    """Its own code fails in the prober."""

    name = "crashing"

    def open(self, workspace: Path, *, readable: tuple[Path, ...] = (), reopen: Path | None = None) -> BareBox:
        sys.exit(3)


def result(code: int, out: bytes, err: bytes) -> ExecResult:
    return ExecResult(
        returncode=code,
        stdout=out.decode(),
        stderr=err.decode(),
        stdout_total=len(out),
        stdout_bytes=out,
        stderr_bytes=err,
    )
