"""The check before a fix: a command, and recorded inputs, on a copy of the home with the change in it and without.

Both copies are views of the same files. Every run begins with its copy as it was made. `broke` is said only when it was
seen twice in turn, red or hanging with the change and green without: a suite that fails now and then, or a workspace
that somebody is working in, blames no fix (docs/design/052-check-before.md).
"""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from rsi import clock
from rsi.errors import RSIError, SandboxError
from rsi.model import Check, CheckRun, Replay
from rsi.redact import Redactor
from rsi.sandbox import Limits, Sandbox
from rsi.sandbox.model import MiB
from rsi.verify import check_verdict
from rsi.verify.check_order import Files, Halt, Order, StoppedError
from rsi.verify.check_output import shown
from rsi.verify.check_policy import POLICY_FILE, POLICY_VARIABLE

KEEP_BYTES: Final = 64 << 10
"""Of each stream, before it is redacted and cut."""
OUTPUT_BYTES: Final = 16 * MiB
"""A command that prints more is ended: nobody reads it, and a flood would cost the daemon its time."""
CONFIRM: Final = 2
"""How often red with the change and green without it has to be seen."""
LEAST_S: Final = 0.1
REASON_CHARS: Final = 600


class _Copy:
    """One side: a sandbox with its files in it, put back to this state before every run."""

    def __init__(self, box: Sandbox, files: Files, order: Order, redactor: Redactor, halt: Halt) -> None:
        self._box, self._order, self._redactor, self._halt = box, order, redactor, halt
        put_into(box, files)
        self._made = box.checkpoint("made")
        self._left_s = order.timeout_s

    def command(self, command: str) -> CheckRun:
        """Run the command of the check."""
        return self._run(command, None, self._order.timeout_s)

    def replay(self, command: str, recorded: str) -> CheckRun | None:
        """Run with a recorded input; `None`: the time for this side is over."""
        if self._left_s < LEAST_S:
            return None
        one_s = self._order.timeout_s / check_verdict.LEAST_REPLAYS  # one that hangs leaves time for the second look
        found = self._run(command, recorded, min(self._left_s, one_s))
        self._left_s -= found.seconds
        return found

    def _run(self, command: str, given: str | None, timeout_s: float) -> CheckRun:
        self._box.restore(self._made)
        limits = Limits(wall_s=timeout_s, keep=KEEP_BYTES, output=OUTPUT_BYTES)
        result = self._halt.run(self._box, lambda: self._box.exec(command, input=given, limits=limits))
        return CheckRun(
            ok=result.ok,
            exit=result.returncode,
            killed_by=result.killed_by,
            seconds=round(result.wall_ms / 1000.0, 3),
            output=shown(result, self._redactor),
        )


class Sides(NamedTuple):
    """The two copies."""

    with_it: _Copy
    without: _Copy


def put_into(box: Sandbox, files: Files) -> None:
    """Write a change into a sandbox's copy.

    Raises:
        SandboxError: a path cannot be written there.
    """
    for path, data in files.items():
        if data is not None:
            box.write_file(path, data)
        elif not (result := box.exec(["rm", "-f", "--", path])).ok:
            raise SandboxError(f"{path} cannot be removed in the copy: {result.stderr[:REASON_CHARS]}")


def check(order: Order, redactor: Redactor, halt: Halt) -> Check:
    """Run what is ordered; takes up to `(2 * CONFIRM + 2) * timeout_s`.

    What could not be run is an outcome (`not_run`) and not an error: then the fix stays a proposal.

    Raises:
        StoppedError: it was called off.
    """
    began = Check(
        outcome="not_run",
        why="",
        key=order.key,
        at=clock.iso(clock.now()),
        command=order.command,
    )
    if (refusal := _unfit(order.workspace)) is not None:
        return msgspec.structs.replace(began, why=refusal)
    try:
        return _checked(order, began, redactor, halt)
    except StoppedError:
        raise
    except (RSIError, OSError) as error:
        why = f"it could not be run: {error}"[:REASON_CHARS]
        return msgspec.structs.replace(began, why=why, at=clock.iso(clock.now()))


def _unfit(workspace: Path) -> str | None:
    """A folder that holds the very things that are to be kept out of a sandbox."""
    home, folder = Path("~").expanduser().resolve(), workspace.resolve()
    if folder == home or folder in home.parents:
        return f"the home {folder} holds your own home folder: a command would see all of it; use a project's folder"
    return None


def _checked(order: Order, began: Check, redactor: Redactor, halt: Halt) -> Check:
    if not order.command and (not order.replay or order.recorded is None):
        outcome, why = check_verdict.both(None, None)
        return msgspec.structs.replace(began, outcome=outcome, why=why)
    env = {POLICY_VARIABLE: str(order.workspace.resolve() / POLICY_FILE)}
    if order.source and order.source != "*":
        env["RSI_SOURCE"] = order.source
    with ExitStack() as stack:
        programs = [word for command in (order.command, order.replay) if (word := _program(command))]
        plain = Sandbox.create(
            order.workspace, backend=order.backend, readable=order.readable, env=env, programs=programs
        )
        stack.callback(plain.destroy)
        changed = plain.fork()
        stack.callback(changed.destroy)
        sides = Sides(
            _Copy(changed, {**order.files, **order.change}, order, redactor, halt),
            _Copy(plain, order.files, order, redactor, halt),
        )
        return _compare(order, msgspec.structs.replace(began, backend=plain.backend), sides)


def _program(command: str | None) -> str | None:
    """What a shell would run first: `PYTHONHASHSEED=0 /home/me/envs/x/bin/pytest -q`; None where that is not plain."""
    try:
        words = shlex.split(command or "")
    except ValueError:  # a quote that is not closed: the shell will say so
        return None
    return next((word for word in words if "=" not in word), None)


def _compare(order: Order, began: Check, sides: Sides) -> Check:
    found, said = began, None
    if order.command:
        found, said = _by_command(order.command, began, sides)
    replay = None
    if order.replay and order.recorded is not None and (said is None or said.outcome != "broke"):
        replay = _by_replay(order.replay, order.replay_times, order.recorded, sides)
    told = check_verdict.of_replay(replay) if replay is not None else None
    outcome, why = check_verdict.both(said, told)
    at = clock.iso(clock.now())
    return msgspec.structs.replace(found, outcome=outcome, why=why[:REASON_CHARS], replay=replay, at=at)


def _by_command(command: str, began: Check, sides: Sides) -> tuple[Check, check_verdict.Said]:
    fixed, plain, said = _pair(command, sides)
    for _ in range(1, CONFIRM):
        if said.outcome == "broke":
            fixed, plain, said = _pair(command, sides)
            if said.outcome != "broke":
                said = check_verdict.Said(said.outcome, f"{said.why} (from run to run it changes: first it broke)")
    return msgspec.structs.replace(began, with_it=fixed, without=plain), said


def _pair(command: str, sides: Sides) -> tuple[CheckRun, CheckRun, check_verdict.Said]:
    fixed, plain = sides.with_it.command(command), sides.without.command(command)
    return fixed, plain, check_verdict.of_command(fixed, plain)


def _by_replay(command: str, most: int, recorded: tuple[str, str], sides: Sides) -> Replay:
    """In turn, so that what changes with time changes for both."""
    outcome, given = recorded
    runs: list[tuple[CheckRun, CheckRun]] = []
    while len(runs) < most:
        fixed, plain = sides.with_it.replay(command, given), sides.without.replay(command, given)
        if fixed is None or plain is None:
            break
        runs.append((fixed, plain))
    return Replay(
        outcome=outcome,
        times=len(runs),
        ok_with=sum(fixed.ok for fixed, _ in runs),
        ok_without=sum(plain.ok for _, plain in runs),
        output_with=runs[-1][0].output if runs else "",
        output_without=runs[-1][1].output if runs else "",
    )
