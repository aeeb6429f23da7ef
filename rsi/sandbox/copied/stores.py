"""Where copies live: one folder for each box, held by a lock as long as its daemon lives, swept when it has died."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from rsi.errors import SandboxError
from rsi.sandbox.overlay.disk import Disk
from rsi.sandbox.overlay.trash import Trash

_BOX: Final = "box.json"
_LOCK: Final = "lock"
_GATE: Final = "gate"
_TRASH: Final = "trash"


class Written(msgspec.Struct, frozen=True):
    """What `box.json` says: whose copy this is."""

    workspace: str


class Store:
    """The folder of one box; ours until `discard` or the end of this process.

    Args:
        folder: exists; its name is nobody's to guess.
        trash: of its home.
    """

    def __init__(self, folder: Path, trash: Trash) -> None:
        self.folder, self.trash = folder, trash
        self.points = folder / "points"
        self._lock: int | None = _locked(folder)
        if self._lock is None:
            raise SandboxError(f"{folder}: another process uses this store; end it first")

    def place(self, name: str = "tree") -> Path:
        """A folder that does not exist yet."""
        return self.folder / f"{name}-{secrets.token_hex(8)}"

    def discard(self) -> None:
        """Give the space back; deleting goes on in the background."""
        if self._lock is not None:
            self.trash.take(self.folder)
            os.close(self._lock)
            self._lock = None

    def release(self) -> None:
        """Leave it on the disk for somebody who reopens it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Home:
    """A folder of stores, ours alone.

    Args:
        folder: made if it is not there; default `$RSI_SANDBOX_STORE`, else one per user in the temporary folder.
        open_to: uid that the commands run as, if it is not ours: it may pass through, not look around.
    """

    def __init__(self, folder: Path | None = None, *, open_to: int | None = None) -> None:
        chosen = os.environ.get("RSI_SANDBOX_STORE")
        self.folder = folder or Path(chosen or f"{tempfile.gettempdir()}/rsi-sandbox-{os.getuid()}") / "copied"
        self._mode = 0o711 if open_to is not None else 0o700
        for each in (
            (self.folder.parent, self.folder, self.folder / _TRASH)
            if folder is None
            else (self.folder, self.folder / _TRASH)
        ):
            self._own(each)
        self.trash = Trash(self.folder / _TRASH, Disk())

    def new(self, workspace: Path) -> Store:
        """An empty store for a box of this workspace."""
        folder = self.folder / f"box-{secrets.token_hex(8)}"
        with self._gate():  # until it is locked, it is one of the dead
            folder.mkdir(self._mode)
            (folder / "points").mkdir(self._mode)
            (folder / _BOX).write_bytes(msgspec.json.encode(Written(str(workspace))))
            return Store(folder, self.trash)

    def reopen(self, folder: Path, workspace: Path) -> Store:
        """The store of a box whose daemon has died.

        Raises:
            SandboxError: no such store, or it is another workspace's, or its daemon lives.
        """
        try:
            written = msgspec.json.decode((folder / _BOX).read_bytes(), type=Written)
        except (OSError, msgspec.DecodeError) as error:
            raise SandboxError(f"{folder}: not the store of a box: {error}") from error
        if written.workspace != str(workspace):
            raise SandboxError(f"{folder}: the store of a box for {written.workspace}, not for {workspace}")
        with self._gate():
            return Store(folder, self.trash)

    def sweep(self) -> None:
        """Throw away what died without leaving a durable checkpoint, in the background."""
        self.trash.empty()
        with self._gate():
            for folder in self.folder.glob("box-*"):
                lock = _locked(folder)
                if lock is None:
                    continue
                if not any(folder.glob("points/*/manifest.json")):
                    self.trash.take(folder)
                os.close(lock)

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """Held for the moment in which a store is made, taken over, or found to be dead."""
        fd = os.open(self.folder / _GATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _own(self, folder: Path) -> None:
        folder.mkdir(self._mode, parents=True, exist_ok=True)
        status = folder.lstat()
        if folder.is_symlink() or status.st_uid != os.getuid():
            raise SandboxError(f"{folder}: belongs to somebody else; set RSI_SANDBOX_STORE to a folder of your own")
        folder.chmod(self._mode)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the lock of a store; None when a living process holds it."""
    fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
