"""Where boxes live on the disk, and who may delete what.

    HOME/gate                     held (flock) for the moment in which it is decided who needs what
    HOME/trash/                   on its way out
    HOME/boxes/STORE/layers/      LINE.TOKEN.N: frozen, never changed again, except the upper one of each line
                     work/        one for each command, and squashes in the making
                     root/        an empty mount point
                     manifests/   LAYER.json of the layers that are durable
                     lines/LINE/  one box: `lock` (flock, for as long as its owner lives), `box.json`

A box and its forks are *lines* in one store and share frozen layers. A line needs the layers that carry its name while
its owner lives, those it was forked from (`uses`), and, when its owner is dead, those of its durable checkpoints. What
no line needs is trash. A line's names carry a token of its opening, so that none is ever used twice.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rsi import clock
from rsi.errors import SandboxError
from rsi.sandbox.launch import layer_owner
from rsi.sandbox.overlay import record as records
from rsi.sandbox.overlay.background import Background
from rsi.sandbox.overlay.disk import PRIVATE, Disk
from rsi.sandbox.overlay.record import Record
from rsi.sandbox.overlay.trash import Trash

_log: Final = logging.getLogger("rsi.sandbox")
#: As root, commands are another user of the host, who must pass through on the way to a layer; the home stays shut.
_PASSABLE: Final = 0o711
#: HOME/boxes/STORE/lines/LINE, from the root.
_DEPTH: Final = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One box's place, held by its owner. `lock` is the descriptor that says that the owner lives."""

    store: Path
    name: str
    lock: int

    @property
    def folder(self) -> Path:
        """What `reopen=` takes."""
        return self.store / "lines" / self.name

    def layer(self, name: str) -> Path:
        """The folder of a layer."""
        return self.store / "layers" / name

    def manifest(self, layer: str) -> Path:
        """The manifest of a layer, if it has one."""
        return self.store / "manifests" / f"{layer}.json"


class Home:
    """A folder of stores; made if it is not there.

    Args:
        path: absolute, on a file system that overlayfs can write to.
        disk: makes every change.

    Raises:
        SandboxError: it belongs to somebody else.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path, self.disk = path, disk
        #: Boxes that could not be left at once, because something in them would not be interrupted.
        self.leaving: Final = Background("rsi-sandbox-close")
        path.mkdir(0o700, parents=True, exist_ok=True)
        st = path.lstat()
        if st.st_uid != os.geteuid() or not path.is_dir() or path.is_symlink():
            raise SandboxError(f"{path}: must be a folder of the user who runs rsi; set RSI_SANDBOX_STORE to another")
        path.chmod(0o700)
        for name in ("boxes", "trash"):
            (path / name).mkdir(0o700, exist_ok=True)
        self.trash: Final = Trash(path / "trash", disk)

    def found(self, record: Record) -> Line:
        """A new store with one line."""
        with self._gate():
            store = self.path / "boxes" / secrets.token_hex(6)
            shown = PRIVATE if layer_owner() is None else _PASSABLE
            self.disk.mkdir(store, shown)
            for name, mode in (("layers", shown), ("work", shown), ("root", shown), ("manifests", PRIVATE)):
                self.disk.mkdir(store / name, mode)
            self.disk.mkdir(store / "lines")
            return self._line(store, record)

    def branch(self, line: Line, record: Record) -> Line:
        """A second line in the same store; `record.uses` are safe from now on."""
        with self._gate():
            return self._line(line.store, record)

    def adopt(self, folder: Path) -> Line:
        """Take over the line of a dead owner.

        Raises:
            SandboxError: there is none, or its owner lives.
        """
        with self._gate():
            if not (folder / "lock").is_file():
                raise SandboxError(f"{folder}: no sandbox is kept here")
            lock = _try_lock(folder)
            if lock is None:
                raise SandboxError(f"{folder}: its owner is still running; close that box first")
            return Line(folder.parent.parent, folder.name, lock)

    def release(self, line: Line) -> None:
        """Stop holding a line, and leave it as it is."""
        os.close(line.lock)

    def discard_volatile(self, line: Line, record: Record) -> None:
        """Throw away what a dead owner wrote above its last durable checkpoint."""
        kept, prefix = record.layers(), f"{line.name}."
        names = os.listdir(line.store / "layers")  # noqa: PTH208 - names are enough
        self.forget(line, {name for name in names if name.startswith(prefix) and name not in kept})
        for path in (line.store / "work").iterdir():
            if path.name.startswith(prefix):
                self.trash.take(path)

    def forget(self, line: Line, layers: set[str]) -> None:
        """Throw away layers that this line does not need any more, and no other one does."""
        with self._gate():
            self._throw(line.store, layers - self._needed(line.store, layers, but=line.name))

    def leave(self, line: Line) -> None:
        """Give a line up, and throw away what nobody needs then. Twice is once; `release` it after."""
        with self._gate():
            self.trash.take(line.folder)
            self._tidy(line.store)

    def sweep(self, older_s: float | None = None) -> list[Path]:
        """Clear what dead owners left; what was removed.

        Args:
            older_s: also durable checkpoints, and what cannot be read, not written to for so many seconds. None, as
                whenever it is done without being asked for: whatever somebody may still want to reopen stays.
        """
        removed = []
        with self._gate():
            for store in (self.path / "boxes").iterdir():
                for folder in _lines(store):
                    if _dead(folder) and not _may_be_wanted(folder, older_s):
                        self.trash.take(folder)
                        removed.append(folder)
                self._tidy(store)
        self.trash.empty()
        return removed

    def kept(self) -> list[Path]:
        """The lines of dead owners that have durable checkpoints: each can be reopened."""
        with self._gate():
            stores = list((self.path / "boxes").iterdir())
            return [line for store in stores for line in _lines(store) if _dead(line) and _has_durable(line)]

    def _line(self, store: Path, record: Record) -> Line:
        folder = store / "lines" / secrets.token_hex(2)
        while folder.exists():
            folder = store / "lines" / secrets.token_hex(2)
        self.disk.mkdir(folder)
        self.disk.write(folder / "lock", b"")
        lock = _try_lock(folder)
        if lock is None:
            raise SandboxError(f"{folder}: a new lock is held already; is the file system one that keeps locks?")
        try:
            records.save(self.disk, folder, record, durable=False)
        except BaseException:
            os.close(lock)
            raise
        return Line(store, folder.name, lock)

    def _tidy(self, store: Path) -> None:
        """Throw away what no line needs, or the whole store when it has no line."""
        if not _lines(store):
            self.trash.take(store)
            return
        layers = {path.name for path in (store / "layers").iterdir()}
        self._throw(store, layers - self._needed(store, layers))
        for path in (store / "work").iterdir():
            if not path.name.startswith(_living(store)):
                self.trash.take(path)

    def _throw(self, store: Path, layers: set[str]) -> None:
        for name in layers:
            self.trash.take(store / "layers" / name)
            self.trash.take(store / "manifests" / f"{name}.json")

    def _needed(self, store: Path, layers: set[str], but: str = "") -> set[str]:
        needed: set[str] = set()
        for folder in _lines(store):
            if folder.name == but:
                continue
            try:
                record = records.load(folder)
            except SandboxError:  # it cannot say what it needs: then it needs everything
                return layers
            if _dead(folder):
                needed |= record.layers()
            else:
                needed |= {*record.uses, *(name for name in layers if name.startswith(f"{folder.name}."))}
        return needed

    @contextmanager
    def _gate(self) -> Iterator[None]:
        fd = os.open(self.path / "gate", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def home_of(folder: Path) -> Path:
    """The home of a line's folder.

    Raises:
        SandboxError: it is not one.
    """
    if len(folder.parents) < _DEPTH or folder.parent.name != "lines" or folder.parents[2].name != "boxes":
        raise SandboxError(f"{folder}: not the store of a sandbox; it ends in boxes/STORE/lines/LINE")
    return folder.parents[3]


def names(line: Line) -> Callable[[], str]:
    """A source of names for layers and work folders that nobody has used, and nobody will."""
    prefix, count = f"{line.name}.{secrets.token_hex(2)}", iter(range(1, 1 << 62))
    return lambda: f"{prefix}.{next(count)}"


def _lines(store: Path) -> list[Path]:
    try:
        return sorted((store / "lines").iterdir())
    except FileNotFoundError:  # its maker died between two calls
        return []


def _living(store: Path) -> tuple[str, ...]:
    return tuple(f"{folder.name}." for folder in _lines(store) if not _dead(folder))


def _has_durable(folder: Path) -> bool:
    try:
        return bool(records.load(folder).checkpoints)
    except SandboxError:
        return False


def _may_be_wanted(folder: Path, older_s: float | None) -> bool:
    """Not if it says itself that it has no durable checkpoint, or died before it could have one."""
    try:
        written = (folder / records.NAME).stat().st_mtime
    except FileNotFoundError:
        return False
    try:
        wanted = bool(records.load(folder).checkpoints)
    except SandboxError as error:  # damaged, or of another version: it may have some, for whoever can read it
        _log.warning("sandbox: %s; it is kept", error)
        wanted = True
    return wanted and (older_s is None or clock.now() - written < older_s)


def _dead(folder: Path) -> bool:
    lock = _try_lock(folder)
    if lock is None:
        return False
    os.close(lock)
    return True


def _try_lock(folder: Path) -> int | None:
    """The held lock of a line, None when somebody else holds it."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
