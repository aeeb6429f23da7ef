"""The back ends that work on a copy, all made the same way: a runner, and a home for the copies."""

from __future__ import annotations

from pathlib import Path

from rsi import clock
from rsi.errors import SandboxError
from rsi.sandbox.copied.box import CopiedBox
from rsi.sandbox.copied.runner import Runner
from rsi.sandbox.copied.stores import Home
from rsi.sandbox.overlay.room import SWEEP_S, named


class CopiedBackend:
    """A `Backend` (`rsi.sandbox.backend`) that copies the workspace.

    Args:
        runner: how a command is started.
        home: the folder for copies; default see `Home`.
    """

    def __init__(self, runner: Runner, home: Path | None = None) -> None:
        self.name = runner.name
        self._runner, self._folder = runner, home
        self._home: Home | None = None
        self._swept = float("-inf")  # when, by the monotonic clock

    def __getstate__(self) -> dict[str, object]:
        """What it was made with: the prober, another process, opens its own home."""
        return {**self.__dict__, "_home": None, "_swept": float("-inf")}

    def unavailable(self) -> str | None:
        """Why it cannot be used on this machine, for people; None when it can."""
        return self._runner.unavailable()

    def open(self, workspace: Path, *, readable: tuple[Path, ...] = (), reopen: Path | None = None) -> CopiedBox:
        """A box on a fresh copy of the workspace (see `Backend`)."""
        if (why := self.unavailable()) is not None:
            raise SandboxError(f"back end {self.name}: {why}")
        if not workspace.is_dir():
            raise SandboxError(f"{workspace}: no such folder; give an existing workspace")
        if self._home is None:
            self._home = Home(self._folder, open_to=self._runner.owner)
        real, shown = workspace.resolve(), tuple(path.resolve() for path in readable)
        stores = self._home.folder.resolve()
        for each in (real, *shown):
            if stores.is_relative_to(each):
                raise SandboxError(f"{each}: contains the copies' folder; set RSI_SANDBOX_STORE to one outside of it")
        with named(stores):
            box = CopiedBox(real, self._runner, self._home, readable=shown, reopen=reopen)
            self._sweep_now_and_then(self._home)
        return box

    def drain(self, timeout_s: float | None = None) -> bool:
        """Wait until what was thrown away is deleted (see `Backend`)."""
        return self._home is None or self._home.trash.background.drain(timeout_s)

    def _sweep_now_and_then(self, home: Home) -> None:
        now = clock.monotonic()
        if now - self._swept >= SWEEP_S:
            self._swept = now
            home.sweep()
