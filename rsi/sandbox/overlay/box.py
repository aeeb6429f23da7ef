"""A view of a workspace made of overlayfs layers: a checkpoint is a folder switch, and so is going back.

No mount outlives a command: each mounts the chain of frozen layers over the workspace, and one upper layer to write to.
`checkpoint` freezes the upper one, `restore` forgets the newer ones, `fork` gives the chain to a second box.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from rsi import clock
from rsi.errors import NotFoundError, SandboxError
from rsi.sandbox.feed import fed
from rsi.sandbox.model import Change, Checkpoint, Command, ExecResult
from rsi.sandbox.overlay import points, room
from rsi.sandbox.overlay.changes import changes
from rsi.sandbox.overlay.gauge import Gauge
from rsi.sandbox.overlay.home import Home, Line, names
from rsi.sandbox.overlay.manifest import DamagedError
from rsi.sandbox.overlay.order import Launched, Launcher, ordered
from rsi.sandbox.overlay.points import Found, Point
from rsi.sandbox.overlay.reader import Reader
from rsi.sandbox.overlay.record import Record
from rsi.sandbox.overlay.squasher import Squasher
from rsi.sandbox.overlay.stack import Owner, Stack
from rsi.sandbox.watch import Cgroup, Victim, supervise

#: How long `close` waits for a command that was just killed. What takes longer (syncfs on a slow disk) is left alone.
_PATIENCE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Making:
    """What all boxes of one back end have in common."""

    home: Home
    launcher: Callable[[Path], Launcher]  # of a store
    owner: Owner | None  # of what commands write, when that is not us


@dataclass(slots=True)
class _Running:
    """What goes on now: a command, or a reading."""

    ended: bool = False  # somebody else wants it to end
    victim: Launched | None = None

    def parked(self) -> int:
        """Memory that none of its processes holds, in bytes."""
        return self.victim.parked() if self.victim is not None else 0


class OverlayBox:
    """One box (`rsi.sandbox.backend.Box`). Make one with `OverlayBackend.open`.

    Args:
        making: what its back end shares.
        line: its place, held; given up by `close`.
        record: what is on the disk of it.
        found: the states it starts with.
        chain: the layers it starts from, oldest first.
    """

    def __init__(self, making: Making, line: Line, record: Record, found: Found, chain: tuple[str, ...]) -> None:
        self.workspace: Final = Path(record.workspace)
        self.damaged: Final = found.damaged  # checkpoint → why it is not offered
        self._making, self._line, self._record = making, line, record
        self._points = {point.checkpoint.id: point for point in found.points}
        self._kept = {layer for point in found.points for layer in point.chain}
        name = names(line)
        self._token = name().split(".")[1]
        self._stack = Stack(making.home.disk, line, self.workspace, name, chain, owner=making.owner)
        self._squasher = Squasher(making.home, line, name)
        self._launcher: Launcher | None = None
        self._running: _Running | None = None
        self._closed = self._left = False
        self._owner: Final = os.getpid()
        self._turn: Final = threading.Lock()  # one at a time: commands, and everything that needs them not to run
        self._state: Final = threading.Lock()  # for moments only: who runs, and whether the box is closed

    @property
    def store(self) -> Path:
        """What `reopen=` takes when this process has died."""
        return self._line.folder

    def run(self, command: Command) -> ExecResult:
        """Run to the end or to a limit; nothing it started is left when this returns.

        Raises:
            LaunchError: it could not be set up; the command never ran.
            SandboxError: the box is closed, or `cwd` is outside of the workspace.
        """
        with self._mine(), self._started() as running:
            self._shorten()
            work = self._stack.work()
            try:
                with Cgroup.make(command.limits) or nullcontext() as group:
                    order = ordered(self._record, self._line, self._stack, work, command)
                    if group is not None:
                        order = msgspec.structs.replace(order, cgroups=group.folders)
                    gauge = Gauge(str(self._line.layer(self._stack.upper)), command.limits)

                    def start(stdin: int, stdout: int, stderr: int) -> Victim:
                        victim = self._zygote().launch(order, stdin, stdout, stderr)
                        gauge.pid = victim.pid
                        with self._state:
                            running.victim = victim
                        return victim

                    with fed(start, command.stdin) as begin:
                        return supervise(
                            begin,
                            command,
                            usage=gauge,
                            cgroup=group,
                            closed=lambda: running.ended,
                            parked=running.parked,
                        )
            finally:
                self._making.home.trash.discard(work)

    def interrupt(self) -> None:
        """End the running command, if there is one; its `run` returns `killed_by="closed"`. The box stays usable.

        A durable checkpoint or a diff in the making ends too, with a `SandboxError`.
        """
        with self._state:
            self._end_running()

    def checkpoint(self, label: str, *, durable: bool = False) -> Checkpoint:
        """Name the present state. `durable` returns when it would survive a power cut."""
        with self._mine(), self._started() as running:
            self._stack.freeze()
            self._shorten()
            number = len(self._points) + len(self.damaged) + 1
            made = Checkpoint(id=f"c{number}-{self._token}", label=label, at=clock.now(), durable=durable)
            point = Point(made, self._stack.chain)
            if durable:
                self._record = self._hardened(point, running)
            self._points[made.id] = point
            self._kept.update(point.chain)
            return made

    def restore(self, checkpoint_id: str) -> None:
        """Return to that state; what came after it and is not a checkpoint is forgotten.

        Raises:
            NotFoundError: there is no such checkpoint.
            DamagedError: it was durable, and is not any more what was written.
        """
        with self._mine():
            point = self._point(checkpoint_id)
            left = {*self._stack.chain, self._stack.upper}
            self._stack.switch(point.chain)
            self._forget(left)

    def checkpoints(self) -> list[Checkpoint]:
        """Oldest first."""
        self._check()
        return [point.checkpoint for point in tuple(self._points.values())]

    def fork(self, checkpoint_id: str | None = None) -> OverlayBox:
        """A second box, from a checkpoint or the present state; it knows all checkpoints of this one."""
        with self._mine():
            if checkpoint_id is None:
                self._stack.freeze()
            chain = self._stack.chain if checkpoint_id is None else self._point(checkpoint_id).chain
            known = tuple(self._points.values())
            uses = self._kept | {*chain}
            record = msgspec.structs.replace(self._record, uses=tuple(sorted(uses)))
            line = self._making.home.branch(self._line, record)
        return OverlayBox(self._making, line, record, Found(known, self.damaged), chain)

    def changes(self, since: str | None = None, until: str | None = None) -> list[Change]:
        """What differs between two states, by path; `None` is the workspace, and the present state."""
        self._check()
        before = self._stack.roots(() if since is None else self._point(since).chain)
        if until is not None:
            return self._compared(before, self._stack.roots(self._point(until).chain), lambda: self._closed)
        with self._mine(), self._started() as running:
            return self._compared(before, self._stack.roots(), lambda: running.ended)

    def close(self) -> None:
        """End what runs and give the space back; deleting goes on in the background. Twice is once.

        Never waits for long. In a process forked from the one that made the box nothing happens: it is not its box.
        """
        if os.getpid() != self._owner:
            return
        self._squasher.close()
        with self._state:
            self._closed = True
            self._end_running()
        done = False
        try:
            done = self._leave(_PATIENCE_S)
        finally:
            if not done:  # something takes longer, or Ctrl-C came meanwhile
                self._making.home.leaving.submit(self._leave_at_last)

    def _leave_at_last(self) -> None:
        self._leave(-1)

    def _leave(self, timeout_s: float) -> bool:
        """Give the place up, once nothing goes on any more; False if that took longer. -1 waits for ever."""
        if not self._turn.acquire(timeout=timeout_s):
            return False
        try:
            if not self._left:
                if self._launcher is not None:
                    self._launcher.close()
                self._making.home.leave(self._line)
                self._left = True
                self._making.home.release(self._line)
        finally:
            self._turn.release()
        return True

    def _compared(self, before: tuple[str, ...], after: tuple[str, ...], stopped: Callable[[], bool]) -> list[Change]:
        try:
            with Reader(str(self._line.store / "layers"), stopped) as reader:
                return changes(reader, before, after)
        except FileNotFoundError:
            self._check()
            raise

    def _point(self, checkpoint_id: str) -> Point:
        if checkpoint_id in self.damaged:
            raise DamagedError(f"checkpoint {checkpoint_id} cannot be restored: {self.damaged[checkpoint_id]}")
        try:
            return self._points[checkpoint_id]
        except KeyError:
            raise NotFoundError(f"{checkpoint_id}: this box has no such checkpoint; list them") from None

    def _shorten(self) -> None:
        longer = self._stack.chain
        self._stack.chain = self._squasher.shortened(longer)
        if self._stack.chain is not longer:
            self._forget({*longer})

    def _hardened(self, point: Point, running: _Running) -> Record:
        try:
            return points.harden(self._making.home.disk, self._line, self._record, point, lambda: running.ended)
        except OSError as error:
            label = point.checkpoint.label
            raise SandboxError(f"checkpoint {label!r} could not be made durable, and was not made: {error}") from error

    def _forget(self, layers: set[str]) -> None:
        """Throw away, later, those of these layers that no state is made of any more."""
        if dead := layers - self._kept - {self._stack.upper, *self._stack.chain, *self._squasher.reading}:
            home, line = self._making.home, self._line
            home.trash.background.submit(lambda: home.forget(line, dead))

    def _zygote(self) -> Launcher:
        if self._launcher is None:
            self._launcher = self._making.launcher(self._line.store)
        return self._launcher

    @contextmanager
    def _mine(self) -> Iterator[None]:
        """The box for one caller at a time, and for nobody once it is closed."""
        self._check()
        with self._turn, room.named(self._line.store):
            self._check()
            yield

    @contextmanager
    def _started(self) -> Iterator[_Running]:
        with self._state:
            self._check()
            self._running = running = _Running()
        try:
            yield running
        finally:
            with self._state:
                self._running = None

    def _end_running(self) -> None:
        if self._running is not None:
            self._running.ended = True
            if self._running.victim is not None:
                self._running.victim.kill()

    def _check(self) -> None:
        if os.getpid() != self._owner:
            raise SandboxError(f"the sandbox of {os.fspath(self.workspace)} is another process's; make one here")
        if self._closed:
            raise SandboxError(f"the sandbox of {os.fspath(self.workspace)} is closed; make a new one")
