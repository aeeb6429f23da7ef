"""What every attack has: how it is named, what its control is, and the bare system calls. Runs inside: standard library only."""

# An attack is written in the calls that it makes:
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Any, NamedTuple

#: The control is the same program as a plain child of the daemon, with targets of its own.
OUTSIDE = "outside"

LIBC = ctypes.CDLL(None, use_errno=True)


class Attack(NamedTuple):
    """One attack. It answers something true when it came through; what it did to the host is looked at anyway.

    `control`: `OUTSIDE`, or the protections that a box leaves out. `unless`: why the control may fail on some
    machine (`user:` as the ordinary user only); without it a control that fails is a failure of the test.
    """

    run: Callable[[dict[str, Any]], Any]
    control: str
    unless: str | None

    @property
    def what(self) -> str:
        return " ".join((self.run.__doc__ or "").split())

    def may_fail(self, mode: str) -> str | None:
        """Why the control need not succeed in this mode."""
        if self.unless is None or not self.unless.startswith("user: "):
            return self.unless
        return self.unless.removeprefix("user: ") if mode == "user" else None


ATTACKS: dict[str, Attack] = {}


def attack(control: str = OUTSIDE, *, unless: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        ATTACKS[function.__name__] = Attack(function, control, unless)
        return function

    return add


def add(name: str, function: Callable[..., Any], control: str = OUTSIDE, *, unless: str | None = None) -> None:
    ATTACKS[name] = Attack(function, control, unless)


def kernel(number: int, *arguments: Any) -> int:
    """A system call by its number; raises OSError."""
    result = LIBC.syscall(ctypes.c_long(number), *(_word(each) for each in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


def _word(value: Any) -> Any:
    return ctypes.c_long(value) if isinstance(value, int) else value


def reached(number: int, *arguments: Any) -> str | None:
    """How far into the kernel a call comes: an answer that a filter or a missing call would not give."""
    try:
        return f"answered {kernel(number, *arguments)}"
    except OSError as error:
        return None if error.errno in (errno.EPERM, errno.ENOSYS, errno.EACCES) else f"judged its arguments: {error}"


def tried(action: Callable[..., Any], *arguments: Any) -> Any:
    """What it answers, None when it is refused."""
    try:
        return action(*arguments)
    except (OSError, ValueError, OverflowError):
        return None


def written(path: str, how: str = "r+b", data: bytes = b"pwned\n") -> bool:
    """It could be opened for writing, and was written."""
    try:
        with open(path, how, buffering=0) as file:
            file.write(data)
    except OSError:
        return False
    return True


def read(path: str, most: int = 1 << 16) -> str:
    """Its beginning, "" when it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(most).decode("latin-1")
    except OSError:
        return ""


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def others() -> list[int]:
    """Every process that is neither we nor a child of ours."""
    return [pid for pid in pids() if pid != os.getpid()]
