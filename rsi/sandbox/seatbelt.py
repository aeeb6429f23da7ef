"""macOS `sandbox-exec` on a copy of the workspace. Untested here: the profile is unit-tested as text, nothing has run.

There are no namespaces on macOS: processes are kept apart by the profile, ended through their session by the keeper
of plain processes, and memory is not limited.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from rsi.sandbox.copied.backend import CopiedBackend
from rsi.sandbox.copied.runner import View
from rsi.sandbox.model import Command
from rsi.sandbox.plain import PlainRun, started_in
from rsi.sandbox.watch import Cgroup

#: What programs need to start: the system, without any user's files.
SYSTEM: Final = (
    "/usr",
    "/bin",
    "/sbin",
    "/System",
    "/Library/Developer/CommandLineTools",
    "/private/etc/ssl",
    "/private/var/db/timezone",
    "/private/var/db/dyld",
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
)
_WRITABLE_DEVICES: Final = ("/dev/null", "/dev/zero")
_DARWIN: Final = "darwin"


def seatbelt(home: Path | None = None) -> CopiedBackend:
    """The back end `seatbelt`."""
    return CopiedBackend(SeatbeltRunner(), home)


class SeatbeltRunner:
    """Starts commands with `sandbox-exec -p PROFILE`."""

    name = "seatbelt"
    owner: int | None = None

    def unavailable(self) -> str | None:
        """It is a part of macOS."""
        if sys.platform != _DARWIN:
            return f"sandbox-exec is a part of macOS, this is {sys.platform}"
        return None if shutil.which("sandbox-exec") else "no sandbox-exec on PATH"

    def prepare(self, view: View, command: Command, group: Cgroup | None) -> PlainRun:
        """Wrap the command."""
        argv = ("/usr/bin/sandbox-exec", "-p", profile(view.tree, view.readable), *command.argv)
        return PlainRun(argv, command, started_in(view, command), view.tree, group)


def profile(tree: Path, readable: tuple[Path, ...] = ()) -> str:
    """The profile in SBPL: everything is denied but what is listed; paths must be real ones. Pure."""
    return "\n".join((*_rules(tree, readable), ""))


def _rules(tree: Path, readable: Iterable[Path]) -> Iterator[str]:
    yield "(version 1)"
    yield "(deny default)"
    yield "(allow process-fork)"
    yield "(allow process-info* (target same-sandbox))"
    yield "(allow signal (target same-sandbox))"
    yield "(allow sysctl-read)"
    yield "(allow file-read-metadata)"
    shown = [*SYSTEM, *map(str, readable), str(tree)]
    yield f"(allow file-read* {_below(shown)})"
    yield f"(allow process-exec {_below(shown)})"
    yield f"(allow file-write* {_below([*_WRITABLE_DEVICES, str(tree)])})"
    yield f"(deny file-write* {_below([f'{tree}/.git'])})"
    yield "(deny network*)"
    yield "(deny file-write-setugid)"


def _below(paths: Iterable[str]) -> str:
    return " ".join(f"(subpath {_quoted(path)})" for path in paths)


def _quoted(text: str) -> str:
    """A string literal of SBPL, which is Scheme's."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
