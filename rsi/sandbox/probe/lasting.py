"""The attacks that need several commands: outlive the command, take too much memory; and is the way back true.

Each has two halves, run at the same time: outside (the control) and in the box. Both say whether it succeeded, and how.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from rsi.sandbox.backend import Box
from rsi.sandbox.model import Command, ExecResult, Limits, MiB
from rsi.sandbox.probe import program
from rsi.sandbox.probe.targets import Targets, secret

#: The wall clocks that a command which ignores every signal is given: a busy machine may need the second one.
_STAY_S: Final = (0.4, 4.0)
#: A small limit, four times of it by one process, and three times of it by four that stay below it each.
_MEMORY: Final = 64 * MiB
#: How long a hog must hold what it took: ten looks of a watchdog. And how long it may take to take it.
_HOLD_S: Final = 0.5
_HOG_WALL_S: Final = 10.0
#: Somebody between the command and the prober, who is killed in its place.
_KEEPER: Final = ("/bin/sh", "-c", '"$@"; :', "sh")


class Outcome(NamedTuple):
    """Whether the attack succeeded, and what there was to see."""

    succeeded: bool
    said: str


class Lasting(msgspec.Struct, frozen=True, kw_only=True):
    """One of these attacks."""

    name: str
    flag: str
    what: str
    outside: Callable[[Targets], Outcome]
    inside: Callable[[Targets, Box], Outcome]


def _linger_outside(targets: Targets, how: str) -> Outcome:
    name = secret()
    here, how = targets.workspace("control"), "leave" if how == "stay" else how
    program.outside(here, "attack.linger", name, how, str(os.getpid()), through=_KEEPER if how == "orphan" else ())
    left = _ended(name)
    return Outcome(left > 0, f"{left} left")


def _linger_inside(targets: Targets, box: Box, how: str) -> Outcome:
    """Seen from outside. `_look_inside` is the other side: a box may hide its processes from its host (a machine)."""
    name = targets.lingering[how]
    result = _lingered(targets.workspace("box"), box, name, how)
    left = len(_named(name))
    if "ready" not in result.stdout or (how == "stay" and result.killed_by != "timeout"):
        return Outcome(succeeded=True, said=f"it did not run as it should: {result.returncode} {result.stderr}")
    return Outcome(left > 0, f"{left} left")


def _look_outside(targets: Targets) -> Outcome:
    """The same way of looking finds one that was left."""
    name, here = secret(), targets.workspace("control")
    program.outside(here, "attack.linger", name, "leave")
    seen = program.outside(here, "attack.linger", name, "look").stdout.decode().strip()
    _ended(name)
    return Outcome(name in seen, "found what was left")


def _look_inside(targets: Targets, box: Box) -> Outcome:
    names = ",".join(targets.lingering.values())
    try:
        look = box.run(program.inside(targets.workspace("box"), "attack.linger", names, "look"))
    finally:
        for name in targets.lingering.values():
            _ended(name)
    return Outcome(look.stdout.strip() != "left:", look.stdout.strip() or look.stderr.strip())


def _lingered(here: Path, box: Box, name: str, how: str) -> ExecResult:
    for wall_s in _STAY_S if how == "stay" else (program.PATIENCE_S,):
        limits = Limits(wall_s=wall_s)
        result = box.run(program.inside(here, "attack.linger", name, how, str(os.getpid()), limits=limits))
        if "ready" in result.stdout:
            break
    return result


def _ended(name: str) -> int:
    """How many processes have it in their command line; they end here."""
    found = _named(name)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    return len(found)


def _named(name: str) -> list[str]:
    return [pid for pid in _pids() if name.encode() in _command_line(pid)]


def _pids() -> list[str]:
    """Everybody's; none where there is no /proc, and then the control fails."""
    with suppress(OSError):
        return [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names, not paths
    return []


def _command_line(pid: str) -> bytes:
    with suppress(OSError):
        return Path("/proc", pid, "cmdline").read_bytes()
    return b""


def _hog_outside(targets: Targets, processes: int, size: int) -> Outcome:
    ended = program.outside(targets.workspace("control"), "attack.hog", str(processes), str(size), "0")
    return Outcome(b"held" in ended.stdout, (ended.stdout + ended.stderr).decode(errors="replace").strip())


def _hog_inside(targets: Targets, box: Box, processes: int, size: int) -> Outcome:
    arguments = (str(processes), str(size), str(_HOLD_S))
    limits = Limits(memory=_MEMORY, wall_s=_HOG_WALL_S)
    result = box.run(program.inside(targets.workspace("box"), "attack.hog", *arguments, limits=limits))
    stopped = "held" not in result.stdout and (result.killed_by == "memory" or "MemoryError" in result.stderr)
    ended = f"{result.killed_by or result.returncode}, the largest had {result.max_rss // MiB} MiB"
    return Outcome(not stopped, ended if stopped else f"{ended} {result.stdout}{result.stderr}".strip())


_BEFORE: Final = "echo before > state; echo same > constant"
_AFTER: Final = "echo after > state; echo new > later; rm constant; cat state"


def _lost(targets: Targets) -> Outcome:
    script = f"{_BEFORE}; {_AFTER}"
    ended = subprocess.run(  # noqa: S603 - a constant
        ["/bin/sh", "-c", script],
        cwd=targets.workspace("control"),
        capture_output=True,
        check=False,
    )
    return Outcome(ended.stdout == b"after\n", f"read {ended.stdout.decode()!r}")


def _came_back(targets: Targets, box: Box) -> Outcome:
    """It fails, as an attack on what was there before, if the way back is true."""
    _shell(box, _BEFORE)
    saved = box.checkpoint("probe")
    after = _shell(box, _AFTER)
    box.restore(saved.id)
    back = _shell(box, "cat state constant; ls later")
    true = after == "after\n" and back == "before\nsame\n" and not (targets.workspace("box") / "state").exists()
    return Outcome(not true, f"read {after!r}, and {back!r} after the return")


def _shell(box: Box, script: str) -> str:
    limits = Limits(wall_s=program.PATIENCE_S)
    return box.run(Command(argv=("/bin/sh", "-c", script), env={"PATH": "/usr/bin:/bin"}, limits=limits)).stdout


def _lingering(name: str, how: str, what: str) -> Lasting:
    return Lasting(
        name=name,
        flag="kill_all",
        what=what,
        outside=lambda targets: _linger_outside(targets, how),
        inside=lambda targets, box: _linger_inside(targets, box, how),
    )


def _hogging(name: str, processes: int, size: int) -> Lasting:
    return Lasting(
        name=name,
        flag="memory",
        what=f"{processes} of {size // MiB} MiB where {_MEMORY // MiB} MiB are allowed.",
        outside=lambda targets: _hog_outside(targets, processes, size),
        inside=lambda targets, box: _hog_inside(targets, box, processes, size),
    )


LASTING: Final = (
    _lingering("left_behind", "leave", "A daemon in a session of its own, left by a command that ended."),
    _lingering("ignores_signals", "stay", "The same, left by a command that had to be ended."),
    _lingering("ends_its_keeper", "orphan", "The same, after killing the process that started it."),
    Lasting(
        name="found_later",
        flag="kill_all",
        what="The next command in the same box finds any of them.",
        outside=_look_outside,
        inside=_look_inside,
    ),
    _hogging("one_hog", 1, 4 * _MEMORY),
    _hogging("many_hogs", 4, 3 * _MEMORY // 4),
    Lasting(
        name="come_back",
        flag="rewind",
        what="What was written, made and deleted since a checkpoint is still so after the return to it.",
        outside=_lost,
        inside=_came_back,
    ),
)
