"""The process that probes: started with a secret in its environment, it is the daemon that the attacks are after.

A pickled `Backend` comes on stdin, the report goes as JSON to stdout.
A process of its own, because `os.environ[…] =` does not change the environment that /proc shows: only what a process
was started with is there.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple

import msgspec

from rsi import clock
from rsi.errors import RSIError, SandboxError
from rsi.sandbox.backend import Backend, Box
from rsi.sandbox.probe import program
from rsi.sandbox.probe.found import Report, Tried
from rsi.sandbox.probe.home import home_to_attack
from rsi.sandbox.probe.judge import KINDS
from rsi.sandbox.probe.lasting import LASTING, Lasting, Outcome
from rsi.sandbox.probe.targets import Targets

#: What an attack answered, as JSON text, is cut to this for people.
_SHOWN = 160


def main() -> None:
    """Probe, and say what was found; what a back end prints goes to stderr."""
    answer = os.dup(1)
    os.dup2(2, 1)
    raw = sys.stdin.buffer.read()
    with ExitStack() as stack:
        home = home_to_attack(stack)
        backend: Backend = pickle.loads(raw)  # noqa: S301 - our parent's own object, over our own stdin
        targets = stack.enter_context(Targets(home))
        report = _probed(targets, backend)
    with os.fdopen(answer, "wb") as out:
        out.write(msgspec.json.encode(report))


def _probed(targets: Targets, backend: Backend) -> Report:
    started = clock.monotonic()
    with ThreadPoolExecutor(1) as pool:
        controls = pool.submit(_controls, targets)
        try:
            box = backend.open(targets.workspace("box"), readable=(targets.shown("box"), *program.toolchain()))
            try:
                inside = _inside(targets, box)
            finally:
                box.close()
        except SandboxError as error:
            return Report(backend=backend.name, trouble=str(error))
        outside = controls.result()
    tried = [_judged(targets, name, outside.answers, inside.answers) for name in KINDS]
    tried += [_compared(each, outside.lasting[each.name], inside.lasting[each.name]) for each in LASTING]
    return Report(backend=backend.name, tried=tuple(tried), took_ms=(clock.monotonic() - started) * 1e3)


class _Half(NamedTuple):
    """What came of all attacks on one side."""

    answers: dict[str, Any]
    lasting: dict[str, Outcome]


def _order(targets: Targets, run: str) -> bytes:
    return msgspec.json.encode(targets.order(run))


def _controls(targets: Targets) -> _Half:
    ended = program.outside(targets.workspace("control"), "attack", given=_order(targets, "control"))
    lasting = {each.name: _asked(False, each.outside, targets) for each in LASTING}
    return _Half(_answers(ended.stdout), lasting)


def _inside(targets: Targets, box: Box) -> _Half:
    result = box.run(program.inside(targets.workspace("box"), "attack", given=_order(targets, "box")))
    if program.NO_PYTHON in result.stdout:
        raise SandboxError(f"the attacks could not be run: {program.NO_PYTHON} ({', '.join(program.PYTHONS)})")
    answers = _answers(result.stdout_bytes or result.stdout.encode())
    if not answers:
        raise SandboxError(f"the attacks could not be run in the box: {result.returncode} {result.stderr[-500:]}")
    return _Half(answers, {each.name: _asked(True, each.inside, targets, box) for each in LASTING})


def _asked(unless_asked: bool, attack: Callable[..., Outcome], *where: object) -> Outcome:
    """What came of it; where it could not even be asked, nothing is credited."""
    try:
        return attack(*where)
    except (RSIError, OSError, subprocess.SubprocessError, NotImplementedError) as error:
        return Outcome(unless_asked, f"{type(error).__name__}: {error}"[:_SHOWN])


def _compared(attack: Lasting, outside: Outcome, inside: Outcome) -> Tried:
    return Tried(
        name=attack.name, flag=attack.flag, what=attack.what, needed=True, control=outside.succeeded,
        control_said=outside.said, succeeded=inside.succeeded, said=inside.said,
    )  # fmt: skip


def _answers(raw: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return {}
    return found


def _judged(targets: Targets, name: str, control: dict[str, Any], inside: dict[str, Any]) -> Tried:
    kind = KINDS[name]
    outside, outside_said = _came_through(targets, name, "control", control)
    through, said = _came_through(targets, name, "box", inside)
    return Tried(
        name=name, flag=kind.flag, what=kind.what, needed=kind.needed, control=outside, control_said=outside_said,
        succeeded=through or name not in inside, said=said,
    )  # fmt: skip


def _came_through(targets: Targets, name: str, run: str, answers: dict[str, Any]) -> tuple[bool, str]:
    """Whether it succeeded, and what it said; what it did is looked at, whatever it said."""
    answer = answers.get(name, {"error": "no answer"})
    through = KINDS[name].judge(targets, run, answer.get("proof"))
    said = answer["error"] if "error" in answer else "did it" if through else _short(answer["proof"])
    return through, str(said)[:_SHOWN]


def _short(proof: object) -> str:
    if proof in (None, [], ""):
        return "nothing came of it outside"
    return f"brought back only {msgspec.json.encode(proof).decode()}"


if __name__ == "__main__":
    main()
