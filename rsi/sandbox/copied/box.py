"""A box on a copy: commands change the copy, a checkpoint is a copy of the copy."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from rsi import clock
from rsi.errors import NotFoundError, SandboxError
from rsi.sandbox.copied import manifest
from rsi.sandbox.copied.differ import State, changes
from rsi.sandbox.copied.duplicate import Duplicate, Skipped, duplicate
from rsi.sandbox.copied.runner import Runner, View
from rsi.sandbox.copied.stores import Home, Store
from rsi.sandbox.feed import fed
from rsi.sandbox.model import Change, Checkpoint, Command, ExecResult
from rsi.sandbox.overlay.disk import Disk
from rsi.sandbox.overlay.gauge import Gauge
from rsi.sandbox.overlay.room import named
from rsi.sandbox.watch import Cgroup, supervise

_log: Final = logging.getLogger("rsi.sandbox")
#: The kernel's file times move by ticks of up to 10 ms; a copy is settled when they have moved past it.
_SETTLE_S: Final = 0.001
_SETTLES: Final = 100


class _Point(msgspec.Struct, frozen=True):
    checkpoint: Checkpoint
    state: State


class CopiedBox:
    """One view of one workspace, as a `Box` (`rsi.sandbox.backend`). Use a back end's `open`.

    Args:
        workspace: absolute; only read.
        runner: starts the commands.
        home: where stores are made.
        readable: folders shown read-only, where the runner can hide the others.
        origin: the state to start from; default the workspace as it is now.
        reopen: the store of a box whose daemon died.
    """

    def __init__(
        self,
        workspace: Path,
        runner: Runner,
        home: Home,
        *,
        readable: tuple[Path, ...] = (),
        origin: tuple[State, State] | None = None,
        reopen: Path | None = None,
    ) -> None:
        self.workspace, self.skipped = workspace, tuple[Skipped, ...]()
        self._runner, self._home, self._readable = runner, home, readable
        self._lock, self._closed = threading.RLock(), threading.Event()
        self._owner: Final = os.getpid()
        self._running: threading.Event | None = None  # set by who wants the command of the moment to end
        self._disk = Disk()
        self._store: Store = home.new(workspace) if reopen is None else home.reopen(reopen, workspace)
        self._points: dict[str, _Point] = {}
        self._base, self._now = State(root=workspace, twins={}), State(root=workspace, twins={})
        try:
            self._begin(origin)
            if reopen is not None:
                self._recall()
        except BaseException:
            self._store.discard() if reopen is None else self._store.release()
            raise

    @property
    def store(self) -> Path:
        """The folder that `reopen` takes."""
        return self._store.folder

    def run(self, command: Command) -> ExecResult:
        """Run to the end or to a limit (see `Box`)."""
        with self._mine(), contextlib.ExitStack() as stack:
            group = Cgroup.make(command.limits)
            if group is not None:
                stack.enter_context(group)
            view = View(
                workspace=self.workspace, tree=self._now.root, readable=self._readable, store=self._store.folder
            )
            run = self._runner.prepare(view, command, group)
            self._running = over = threading.Event()
            try:
                with fed(run.start, command.stdin) as begin:
                    result = supervise(
                        begin,
                        command,
                        usage=Gauge(str(self._now.root), command.limits),
                        cgroup=group,
                        closed=lambda: over.is_set() or self._closed.is_set(),
                    )
            finally:
                self._running = None
            return run.finish(result)

    def interrupt(self) -> None:
        """End the running command, if there is one (see `Box`)."""
        running = self._running
        if running is not None:
            running.set()

    def checkpoint(self, label: str, *, durable: bool = False) -> Checkpoint:
        """Copy the present state (see `Box`)."""
        with self._mine():
            made = Checkpoint(id=f"c{secrets.token_hex(6)}", label=label, at=clock.now(), durable=durable)
            folder = self._store.points / made.id
            folder.mkdir(0o711 if self._runner.owner is not None else 0o700)
            try:
                state = self._copied(self._now, folder / "tree")
                if durable:
                    manifest.save(folder, state.root, made, self._disk)
            except BaseException:
                self._store.trash.take(folder)
                raise
            self._points[made.id] = _Point(made, state)
            return made

    def restore(self, checkpoint_id: str) -> None:
        """Go on from a copy of that state (see `Box`)."""
        with self._mine():
            point = self._point(checkpoint_id)
            if point.checkpoint.durable:
                manifest.verified(point.state.root.parent, point.state.root)
            new = self._copied(point.state, self._store.place())
            self._store.trash.take(self._now.root)
            self._now = new

    def checkpoints(self) -> list[Checkpoint]:
        """Oldest first."""
        with self._mine():
            return [point.checkpoint for point in self._points.values()]

    def fork(self, checkpoint_id: str | None = None) -> CopiedBox:
        """A second box from that state, with no checkpoints of its own yet."""
        with self._mine():
            state = self._now if checkpoint_id is None else self._point(checkpoint_id).state
            return CopiedBox(
                self.workspace, self._runner, self._home, readable=self._readable, origin=(self._base, state)
            )

    def changes(self, since: str | None = None, until: str | None = None) -> list[Change]:
        """What differs (see `Box`); the entries' sources are valid until the next command or `restore`."""
        with self._mine():
            before = self._base if since is None else self._point(since).state
            after = self._now if until is None else self._point(until).state
            return changes(before, after)

    def close(self) -> None:
        """End what runs, give the space back; returns at once. In a process forked from its maker nothing happens."""
        if os.getpid() == self._owner:
            self._closed.set()
            self._store.trash.background.submit(self._discard)  # again, if Ctrl-C came before: once is enough for it

    def _discard(self) -> None:
        with self._lock:
            self._store.discard()

    def _begin(self, origin: tuple[State, State] | None) -> None:
        place = self._store.place()
        if origin is not None:
            self._base, state = origin
            self._now = self._copied(state, place)
            return
        made = duplicate(self.workspace, place, owner=self._runner.owner)
        self.skipped = made.skipped
        if made.skipped:
            _log.warning("sandbox: %d paths of %s are not in the copy", len(made.skipped), self.workspace)
        self._settle()
        self._base = State(root=self.workspace, twins={}, names=made.names)
        self._now = State(root=place, twins=made.twins)

    def _recall(self) -> None:
        """The durable checkpoints that a dead daemon left, each verified; the rest of its store is thrown away."""
        for folder in self._store.points.iterdir():
            try:
                found = manifest.verified(folder, folder / "tree")
            except SandboxError as error:
                _log.warning("sandbox: %s; it is not offered", error)
                continue
            self._points[found.id] = _Point(found, State(root=folder / "tree", twins={}))
        self._points = dict(sorted(self._points.items(), key=lambda item: item[1].checkpoint.at))
        for left in self._store.folder.glob("tree-*"):
            if left != self._now.root:
                self._store.trash.take(left)

    def _copied(self, state: State, place: Path) -> State:
        try:
            made: Duplicate = duplicate(state.root, place, twins=state.twins, owner=self._runner.owner)
        except BaseException:
            self._store.trash.take(place)
            raise
        self._settle()
        return State(root=place, twins=made.twins)

    def _settle(self) -> None:
        """Wait until a file written from now on gets another time than those just copied."""
        probe = self._store.folder / "clock"
        probe.touch()
        first = probe.stat().st_ctime_ns
        for _ in range(_SETTLES):
            os.utime(probe)
            if probe.stat().st_ctime_ns > first:
                return
            clock.sleep(_SETTLE_S)

    def _point(self, checkpoint_id: str) -> _Point:
        if (point := self._points.get(checkpoint_id)) is None:
            raise NotFoundError(
                f"no checkpoint {checkpoint_id!r} in this box; it has {', '.join(self._points) or 'none'}"
            )
        return point

    @contextlib.contextmanager
    def _mine(self) -> Iterator[None]:
        if os.getpid() != self._owner:
            raise SandboxError(f"the box for {self.workspace} is another process's; open one here")
        with self._lock, named(self._store.folder):
            if self._closed.is_set():
                raise SandboxError(f"the box for {self.workspace} is closed; open a new one")
            yield
