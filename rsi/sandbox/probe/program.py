"""How a program of the probe is started, alike outside and in the box: by the first Python that is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from rsi.sandbox.model import Command, Limits

#: A module from the workspace's copy of `attack`, nothing else on the path: `-c BOOT FOLDER MODULE ARGUMENT…`.
_BOOT: Final = "import sys, runpy; sys.path.insert(0, sys.argv[1]); runpy.run_module(sys.argv[2], run_name='__main__')"
#: What a distribution installs, and what a container image does; then the Python that runs rsi.
PYTHONS: Final = ("/usr/bin/python3", "/usr/local/bin/python3", os.path.realpath(sys.executable))
NO_PYTHON: Final = "no Python in the box"
_SHELL: Final = f'for each in {" ".join(PYTHONS)}; do [ -x "$each" ] && exec "$each" "$@"; done; echo {NO_PYTHON}'
#: Of one run: the attacks together take about 0.3 s. What has not answered by then is not credited.
PATIENCE_S: Final = 20.0
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


def toolchain() -> tuple[Path, ...]:
    """What the box has to show so that there is a Python in it; nothing where the system has one."""
    return () if any(Path(path).exists() for path in PYTHONS[:2]) else (Path(sys.base_prefix).resolve(),)


def argv(workspace: Path, module: str, *arguments: str) -> tuple[str, ...]:
    """The command line of one program."""
    return ("/bin/sh", "-c", _SHELL, "sh", "-I", "-S", "-B", "-c", _BOOT, str(workspace), module, *arguments)


def inside(workspace: Path, module: str, *arguments: str, given: bytes = b"", limits: Limits | None = None) -> Command:
    """The program as a command for a box."""
    return Command(
        argv=argv(workspace, module, *arguments),
        env={"PATH": _PATH},
        input=given,
        limits=limits or Limits(wall_s=PATIENCE_S),
    )


def outside(
    workspace: Path, module: str, *arguments: str, given: bytes = b"", through: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[bytes]:
    """The same program as its own control: a plain child, which inherits everything that a child inherits."""
    return subprocess.run(  # noqa: S603 - our own program
        (*through, *argv(workspace, module, *arguments)),
        input=given,
        cwd=workspace,
        capture_output=True,
        close_fds=False,
        start_new_session=True,
        timeout=PATIENCE_S,
        check=False,
    )
