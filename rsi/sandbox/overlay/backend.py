"""The `overlay` back end: namespaces of our own for every command, overlayfs layers for checkpoints. Linux only."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from rsi import clock
from rsi.errors import LaunchError, SandboxError
from rsi.sandbox.launch import Zygote, layer_owner
from rsi.sandbox.model import Command, Limits
from rsi.sandbox.mounted import mounted_below
from rsi.sandbox.overlay import points, record, room
from rsi.sandbox.overlay.box import Making, OverlayBox
from rsi.sandbox.overlay.disk import Disk
from rsi.sandbox.overlay.home import Home, Line, home_of
from rsi.sandbox.overlay.order import Launcher
from rsi.sandbox.overlay.place import place
from rsi.sandbox.overlay.points import Found
from rsi.sandbox.overlay.record import Record

_TRIAL: Final = Command(argv=("/bin/true",), env={}, limits=Limits(wall_s=10.0))


class OverlayBackend:
    """Makes boxes (`rsi.sandbox.backend.Backend`).

    Args:
        home: the folder for stores; None finds one that commands cannot see (`rsi.sandbox.overlay.place`).
        disk: makes the changes to stores.
        launcher: starts commands, given the store they belong to.
    """

    name: str = "overlay"

    def __init__(
        self, home: Path | None = None, *, disk: Disk | None = None, launcher: Callable[[Path], Launcher] = Zygote
    ) -> None:
        self._home, self._disk, self._launcher = home, disk or Disk(), launcher
        self._homes: dict[Path, Home] = {}
        self._swept: dict[Path, float] = {}  # when, by the monotonic clock

    def __getstate__(self) -> dict[str, object]:
        """What it was made with: the prober, another process, opens its own homes."""
        return {**self.__dict__, "_homes": {}, "_swept": {}}

    def unavailable(self) -> str | None:
        """Why it cannot be used here; found by running `/bin/true` in it. None when it can."""
        if sys.platform != "linux":
            return f"overlayfs and namespaces are Linux's; this is {sys.platform}"
        with tempfile.TemporaryDirectory(prefix="rsi-trial-") as folder:
            try:
                box = self.open(Path(folder))
            except (SandboxError, OSError) as error:
                return str(error)
            try:
                ended = box.run(_TRIAL)
            except LaunchError as error:
                return str(error)
            finally:
                box.close()
        return None if ended.ok else f"/bin/true ended with {ended.returncode}: {ended.stderr.strip()}"

    def open(self, workspace: Path, *, readable: tuple[Path, ...] = (), reopen: Path | None = None) -> OverlayBox:
        """A new box, or the one whose store is `reopen`, as it was at its last durable checkpoint.

        Raises:
            SandboxError: no such workspace or store, or its owner still lives.
        """
        folder = workspace.resolve()
        if not folder.is_dir():
            raise SandboxError(f"{workspace}: no such folder")
        if below := mounted_below(folder):
            raise SandboxError(
                f"{workspace}: {below} is another file system, which layers would show as an empty folder, and a merge "
                "would then delete what is in it; unmount it, or use a workspace without it"
            )
        if reopen is not None:
            return self._reopened(folder, reopen.resolve(), readable)
        shown = (folder, *(path.resolve() for path in readable))
        home = self._at(self._home or place(shown), shown)
        about = Record(workspace=str(folder), readable=tuple(map(str, readable)))
        with room.named(home.path):
            line = home.found(about)
            try:
                box = OverlayBox(Making(home, self._launcher, layer_owner()), line, about, Found((), {}), ())
            except BaseException:
                home.leave(line)
                home.release(line)
                raise
            self._sweep_now_and_then(home)
        return box

    def drain(self, timeout_s: float | None = None) -> bool:
        """Wait until what was thrown away is deleted, for who must not leave before; False when it took longer."""
        until = clock.monotonic() + (timeout_s or 0.0)
        work = [each for home in self._homes.values() for each in (home.leaving, home.trash.background)]
        return all(each.drain(None if timeout_s is None else max(0.0, until - clock.monotonic())) for each in work)

    def sweep(self, older_s: float | None = None) -> list[Path]:
        """Clear what dead owners left where this back end puts its stores; what was removed.

        Args:
            older_s: also durable checkpoints that nobody has written to for so many seconds; None keeps them all.
        """
        return self._at(self._home or place(()), ()).sweep(older_s)

    def kept(self) -> list[Path]:
        """What can be reopened there: boxes of dead owners that have durable checkpoints."""
        return self._at(self._home or place(()), ()).kept()

    def _reopened(self, workspace: Path, folder: Path, readable: tuple[Path, ...]) -> OverlayBox:
        home = self._at(home_of(folder), ())
        with room.named(home.path):
            line = home.adopt(folder)  # first of all: what is held is swept by nobody
            try:
                box = self._taken_over(workspace, home, line, readable)
            except BaseException:
                home.release(line)
                raise
            self._sweep_now_and_then(home)
        return box

    def _taken_over(self, workspace: Path, home: Home, line: Line, readable: tuple[Path, ...]) -> OverlayBox:
        kept = record.load(line.folder)
        kept.check_workspace(workspace)
        found = points.verified(line, kept)
        home.discard_volatile(line, kept)
        if readable:
            kept = msgspec.structs.replace(kept, readable=tuple(map(str, readable)))
        chain = found.points[-1].chain if found.points else ()
        return OverlayBox(Making(home, self._launcher, layer_owner()), line, kept, found, chain)

    def _at(self, path: Path, shown: tuple[Path, ...]) -> Home:
        path = path.absolute()
        if any(path.is_relative_to(folder) or folder.is_relative_to(path) for folder in shown):
            raise SandboxError(f"{path}: would be visible to commands; keep stores outside of the workspace")
        if path not in self._homes:
            with room.named(path):
                self._homes[path] = Home(path, self._disk)
        return self._homes[path]

    def _sweep_now_and_then(self, home: Home) -> None:
        now = clock.monotonic()
        if now - self._swept.get(home.path, float("-inf")) >= room.SWEEP_S:
            self._swept[home.path] = now
            home.sweep()
