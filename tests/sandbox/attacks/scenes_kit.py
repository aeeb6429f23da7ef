"""What the scenes have in common: a workspace, a box of it, who lives, what was said."""

# ruff: noqa: PTH208 - names are enough

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from attacks.yard import PYTHON

from rsi import clock
from rsi.errors import RSIError
from rsi.sandbox import Isolation, Sandbox

_ANY = Isolation()


def workspace(folder: Path, **files: str) -> Path:
    place = folder / "workspace"
    place.mkdir()
    for name, text in {"kept": "from the host\n", "sub/inside": "inside\n", **files}.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def box(place: Path, **given) -> Sandbox:
    return Sandbox.create(place, backend="overlay", require=_ANY, **given)


def python(box: Sandbox, code: str, *words: str, **given):
    return box.exec([PYTHON, "-I", "-c", code, *words], **given)


def refused(action, *arguments, **given) -> str | None:
    """What was said when it was refused; None when it was done."""
    try:
        action(*arguments, **given)
    except (RSIError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def living(mark: str) -> list[int]:
    """Processes with this mark in their arguments, zombies not counted."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
    return found


def gone(mark: str) -> bool:
    """It may take the kernel a moment to end a namespace."""
    deadline = clock.monotonic() + 10
    while living(mark):
        if clock.monotonic() > deadline:
            return False
        clock.sleep(0.01)
    return True


def until(ready) -> None:
    deadline = clock.monotonic() + 20
    while not ready():
        assert clock.monotonic() < deadline, "it never came so far"
        clock.sleep(0.01)
