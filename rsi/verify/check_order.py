"""What a check is told to do, and how it is called off. Loads no sandbox: who has nothing to check needs none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from rsi.errors import SandboxError
from rsi.sandbox import ExecResult
from rsi.sandbox.backend import Backend

AUTO: Final = "auto"
Files = Mapping[str, bytes | None]
"""Path relative to the workspace → its bytes; `None`: it is not there."""


class StoppedError(SandboxError):
    """Somebody called the check off: its result does not matter any more."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, and what makes the two copies.

    Attributes:
        key: names what is checked; it comes back in the result.
        files: what both copies are given (the policy file as it is now).
        change: what the copy with the change is given besides, or instead.
        recorded: a failed outcome's id and its input.
        source: who reports in the copies where a program does not say.
        readable: folders outside the home that commands may read, beside the toolchain that is found by itself.
    """

    key: str
    workspace: Path
    command: str | None = None
    replay: str | None = None
    replay_times: int = 3
    recorded: tuple[str, str] | None = None
    timeout_s: float = 120.0
    source: str = ""
    files: Files = {}
    change: Files = {}
    backend: str | Backend = AUTO
    readable: tuple[str, ...] = ()


class _Box(Protocol):
    def interrupt(self) -> None: ...


class Halt:
    """Calls a check off from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._box: _Box | None = None
        self.asked = False

    def ask(self) -> None:
        """End what runs, and begin nothing more. Call it until the check has ended: it may be between two commands."""
        with self._lock:
            self.asked = True
            if self._box is not None:
                self._box.interrupt()

    def run(self, box: _Box, job: Callable[[], ExecResult]) -> ExecResult:
        """Run a command of this sandbox.

        Raises:
            StoppedError: the check was called off.
        """
        with self._lock:
            self._box = box
        try:
            if self.asked:
                raise StoppedError("the check was called off")
            result = job()
        finally:
            with self._lock:
                self._box = None
        if self.asked:
            raise StoppedError("the check was called off")
        return result
