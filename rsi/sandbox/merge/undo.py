"""The record of one merge: what was done, the bytes to take it back, and how far it got if it was killed.

A folder (0700) with `journal.json`, written and synced before the first replacement, `old/` (the bytes that were there)
and `new/` (the bytes to write). Every step leaves a path either as it was or as it should be, so that looking at the
tree says which steps were done: a kill at any point can be undone or finished.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from rsi.clock import now
from rsi.errors import ConflictError, MergeError, NotFoundError
from rsi.sandbox.merge.refusal import listed, shown
from rsi.sandbox.merge.state import ABSENT, State, Step, packed, quoted, unpacked, unquoted
from rsi.sandbox.merge.step import clear, put
from rsi.sandbox.merge.tree import Tree, create, sync_folder, write_all

_log: Final = logging.getLogger("rsi.sandbox")
JOURNAL: Final = "journal.json"
#: `applying` and `undoing` are what a killed process leaves.
Status = Literal["applying", "applied", "undoing", "undone"]


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    target: str
    at: float
    status: Status
    steps: list[dict[str, Any]]
    number: int = 0  # of the merges that are kept in one folder, which came first
    version: Literal[1, 2] = 1  # 2: the target is no UTF-8, and percent-encoded


class UndoLog:
    """One merge that was made or begun.

    Attributes:
        folder: where it is kept; `UndoLog.load(folder)` brings it back after a restart.
        steps: what was replaced, in order, with both sides' sha256.
        status: how far it is.
    """

    def __init__(
        self, folder: Path, target: Path, steps: Sequence[Step], *, at: float, status: Status, number: int = 0
    ) -> None:
        self.folder = folder
        self.target = target
        self.steps = tuple(steps)
        self.at = at
        self.number = number
        self.status = status
        self._chains: dict[str, list[State]] = {}
        self._ranks: list[int] = []  # how many earlier steps are about the same path
        for step in steps:
            chain = self._chains.setdefault(step.path, [step.before])
            self._ranks.append(len(chain) - 1)
            chain.append(step.after)

    @property
    def id(self) -> str:
        """Its name, unique and not to be guessed: temporary files are named after it."""
        return self.folder.name

    @property
    def paths(self) -> list[str]:
        """What it touches, sorted."""
        return sorted({step.path for step in self.steps})

    @property
    def turn(self) -> tuple[int, float]:
        """Sorts the logs of one folder, the oldest merge first; a clock that was set back does not matter."""
        return self.number, self.at

    @classmethod
    def load(cls, folder: Path) -> UndoLog:
        """Read it back from `folder`.

        Raises:
            NotFoundError: there is none.
            MergeError: it cannot be read.
        """
        try:
            raw = (folder / JOURNAL).read_bytes()
            record = msgspec.json.decode(raw, type=_Record)
            steps = [unpacked(step) for step in record.steps]
        except FileNotFoundError as error:
            raise NotFoundError(f"{folder}: there is no undo log") from error
        except (OSError, msgspec.MsgspecError) as error:
            raise MergeError(
                f"{folder / JOURNAL}: cannot be read: {error}; what it merged can only be undone by hand, with what "
                f"is in {folder / 'old'}; delete the folder when that is not needed"
            ) from error
        target = unquoted(record.target) if record.version > 1 else record.target
        return cls(folder, Path(target), steps, at=record.at, status=record.status, number=record.number)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; names are percent-encoded. `load` reads exactly this."""
        steps = [packed(step) for step in self.steps]
        target = os.fspath(self.target)
        is_text = not any("\ud800" <= letter <= "\udfff" for letter in target)
        record = _Record(
            id=self.id,
            target=target if is_text else quoted(target),
            at=self.at,
            status=self.status,
            steps=steps,
            number=self.number,
            version=1 if is_text else 2,
        )
        return dict(msgspec.to_builtins(record))

    def undo(self, *, force: bool = False) -> None:
        """Put everything back as it was: bytes, modes, links, absence, empty folders. Twice is the same as once.

        Args:
            force: also over what somebody, or a later merge, changed since. A folder that holds foreign files stays
                even then.

        Raises:
            ConflictError: a path is not what the merge left, or a later merge wrote it again; names it. Nothing was
                undone.
            NotFoundError: the target, or the log, is not there any more.
            OSError: it could not be written; call again.
        """
        with self._opened() as tree:
            if self.status == "undone":
                return
            if not force and (later := self._later()):
                path = min({step.path for step in self.steps} & {step.path for step in later.steps})
                raise ConflictError(
                    f"not undone, because {shown(path)} was written again by the later merge {later.id}: "
                    "undo that one first, or undo with force"
                )
            self.take_back(tree, len(self.steps), force=force)

    def finish(self) -> None:
        """Carry out what a killed `apply` had not done yet.

        Raises:
            ConflictError: a path is neither as it was nor as it should be.
        """
        with self._opened() as tree:
            if self.status == "applying":
                for _ in self.go_on(tree):
                    pass
                self.mark("applied")

    def discard(self) -> None:
        """Forget it: the change stays for good and the kept bytes are deleted."""
        shutil.rmtree(self.folder)

    def go_on(self, tree: Tree) -> Iterator[int]:
        """Every step that is not done; yields how many are, before each. The caller holds the lock.

        Raises:
            ConflictError: somebody changes the tree meanwhile; names the path.
        """
        for index, step in enumerate(self.steps):
            yield index
            clear(tree, step.path, self._temporary(index))
            here = tree.state(step.path)
            place = self._place(index, here)
            if place is None:
                raise ConflictError(f"{shown(step.path)}: changed while the merge was being made")
            if place == self._ranks[index]:
                put(tree, step.path, here, step.after, blobs=self.folder / "new", temporary=self._temporary(index))

    def reached(self, tree: Tree, failed: int) -> int:
        """How many steps to take back when step `failed` failed: that one too, unless somebody else is in its place."""
        here = tree.state(self.steps[failed].path) if self.steps else ABSENT
        return failed + 1 if self.steps and self._place(failed, here) is not None else failed

    def take_back(self, tree: Tree, done: int, *, force: bool = False) -> None:
        """Undo the first `done` steps, those of them that were carried out. The caller holds the lock.

        Raises:
            ConflictError: as `undo`.
        """
        conflicts = [text for index in range(done) if (text := self._conflict(tree, index, force=force))]
        if conflicts:
            raise ConflictError(
                f"not undone, because somebody changed it since: {listed(conflicts)}; "
                "put it back by hand, or undo with force"
            )
        self.mark("undoing")
        for index in reversed(range(done)):
            self._back(tree, index)
        self.mark("undone")

    def mark(self, status: Status) -> None:
        """Write down how far it is, atomically and synced."""
        self.status = status
        self._write()

    @contextmanager
    def _opened(self) -> Iterator[Tree]:
        """The target, while nobody else merges; what another process did to it meanwhile is known."""
        if not self.folder.is_dir():
            raise NotFoundError(f"{self.folder}: there is no undo log")
        with locked(self.folder.parent):
            self.status = UndoLog.load(self.folder).status
            try:
                tree = Tree(self.target)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise NotFoundError(
                    f"{shown(os.fspath(self.target))}: the folder that it was merged into is not there any more; "
                    "put it back in that place, then undo"
                ) from error
            with tree:
                yield tree

    def _later(self) -> UndoLog | None:
        """The last merge after this one that wrote one of its paths and is not undone."""
        mine = {step.path for step in self.steps}
        logs = [log for log in readable(self.folder.parent) if log.target == self.target and log.turn > self.turn]
        found = [log for log in logs if log.status != "undone" and not mine.isdisjoint(step.path for step in log.steps)]
        return max(found, key=lambda log: log.turn, default=None)

    def _back(self, tree: Tree, index: int) -> None:
        step = self.steps[index]
        clear(tree, step.path, self._temporary(index))
        here = tree.state(step.path)
        place = self._place(index, here)
        if (place is not None and place <= self._ranks[index]) or here.same(step.before):
            return
        if step.before.kind != "directory" and here.kind == "directory" and tree.names(step.path):
            return  # foreign files in it, and `force`: they are not ours to delete
        put(tree, step.path, here, step.before, blobs=self.folder / "old", temporary=self._temporary(index))

    def _conflict(self, tree: Tree, index: int, *, force: bool) -> str | None:
        """Why this step cannot be taken back; `None` when it can, or is not done."""
        step = self.steps[index]
        here = tree.state(step.path)
        if step.before.kind != "directory" and here.kind == "directory" and (foreign := self._foreign(tree, step.path)):
            full = f"{shown(step.path)} holds {listed(map(shown, foreign))}, which the merge did not write"
            return None if force and step.before.kind == "absent" else full
        if force or self._place(index, here) is not None:
            return None
        return shown(step.path)

    def _foreign(self, tree: Tree, path: str) -> list[str]:
        ours = {step.path for step in self.steps}
        return [name for name in sorted(tree.names(path)) if f"{path}/{name}" not in ours and not self._is_ours(name)]

    def _is_ours(self, name: str) -> bool:
        return name.startswith(f".rsi-{self.id}-")

    def _place(self, index: int, here: State) -> int | None:
        """Which of the states that this path goes through is here: 0 is the first; `None`: none of them."""
        chain = self._chains[self.steps[index].path]
        return next((i for i, state in enumerate(chain) if state.same(here)), None)

    def _temporary(self, index: int) -> str:
        return f".rsi-{self.id}-{index}"

    def _write(self) -> None:
        data = msgspec.json.format(msgspec.json.encode(self.to_dict()))
        with Tree(self.folder) as tree, tree.folder("") as fd:
            name = f"{JOURNAL}.{secrets.token_hex(4)}"
            out = create(name, fd)
            try:
                write_all(out, data)
                os.fsync(out)
            finally:
                os.close(out)
            os.rename(name, JOURNAL, src_dir_fd=fd, dst_dir_fd=fd)
            os.fsync(fd)


def begin(folder: Path, target: Path) -> UndoLog:
    """A new, empty log below `folder`, not yet on the disk. The caller holds the lock."""
    number = max((log.number for log in readable(folder)), default=0) + 1
    log = UndoLog(folder / secrets.token_hex(8), target, (), at=now(), status="applying", number=number)
    log.folder.mkdir(mode=0o700)
    for name in ("old", "new"):
        (log.folder / name).mkdir(mode=0o700)
    return log


def commit(log: UndoLog, steps: Sequence[Step]) -> UndoLog:
    """The log with its steps, on the disk before anything is replaced."""
    ready = UndoLog(log.folder, log.target, steps, at=log.at, status="applying", number=log.number)
    for name in ("old", "new"):
        sync_folder(log.folder / name)
    ready.mark("applying")
    sync_folder(log.folder.parent)
    return ready


def readable(folder: Path) -> Iterator[UndoLog]:
    """The logs below a folder, in no order; those that cannot be read are left out, and said."""
    for path in folder.iterdir():
        try:
            yield UndoLog.load(path)
        except NotFoundError:  # no log: one that is being begun
            continue
        except MergeError as error:
            _log.warning("%s", error)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One merge at a time below `folder`; another waits."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
