"""bubblewrap can only show a folder as it is: the sockets and fifos in it are covered one by one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsi.sandbox.bubblewrap import bubblewrap
from rsi.sandbox.bwrap_line import Features, arguments
from rsi.sandbox.copied import View
from rsi.sandbox.model import Command

NO_BWRAP = bubblewrap().unavailable()
PYTHON = "/usr/bin/python3"


@pytest.fixture
def shown() -> Iterator[Path]:
    """A folder that anybody may pass to, with a socket and a fifo below it that somebody listens to."""
    place = Path(tempfile.mkdtemp(prefix="rsi-shown-"))
    (place / "deep").mkdir()
    for folder in (place, place / "deep"):
        folder.chmod(0o755)
    (place / "file").write_text("plain\n")
    os.mkfifo(place / "deep" / "fifo")
    (place / "link").symlink_to("deep/fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "deep" / "socket"))
        server.listen()
        for name in ("fifo", "socket"):
            (place / "deep" / name).chmod(0o777)
        fd = os.open(place / "deep" / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        yield place
        os.close(fd)
    shutil.rmtree(place)


def test_what_is_special_in_a_shown_folder_is_covered_after_the_folder(shown: Path) -> None:
    line = arguments(
        "bwrap",
        View(workspace=Path("/w"), tree=Path("/store/tree"), readable=(shown,), store=Path("/store")),
        Command(argv=("true",), env={}),
        Features(disable_userns=True, size=True, seccomp=9),
        data={},
        status=6,
        block=7,
    )
    at = line.index(str(shown)) - 1
    covers = {f"--ro-bind /dev/null {shown}/deep/{name}" for name in ("fifo", "socket")}
    assert line[at : at + 3] == ["--ro-bind", str(shown), str(shown)]
    assert {" ".join(line[at + n : at + n + 3]) for n in (3, 6)} == covers
    assert str(shown / "link") not in line


_ATTACK = """
import os, socket, sys
try: socket.socket(socket.AF_UNIX).connect(sys.argv[1] + "/deep/socket"); print("socket")
except OSError: pass
try: os.set_blocking(os.open(sys.argv[1] + "/deep/fifo", os.O_WRONLY | os.O_NONBLOCK), False); print("fifo")
except OSError: pass
print(open(sys.argv[1] + "/file").read(), end="")
"""


@pytest.mark.skipif(NO_BWRAP is not None, reason=str(NO_BWRAP))
@pytest.mark.skipif(not Path(PYTHON).exists(), reason="no python in /usr")
def test_a_live_service_in_a_shown_folder_is_not_reached(shown: Path) -> None:
    place = Path(tempfile.mkdtemp(prefix="rsi-shown-to-"))
    place.chmod(0o755)
    (place / "workspace").mkdir()
    box = bubblewrap(place / "home").open(place / "workspace", readable=(shown,))
    try:
        found = box.run(Command(argv=(PYTHON, "-c", _ATTACK, str(shown)), env={}))
    finally:
        box.close()
        shutil.rmtree(place, ignore_errors=True)
    outside = subprocess.run([sys.executable, "-c", _ATTACK, str(shown)], capture_output=True, text=True, check=True)
    assert outside.stdout.split() == ["socket", "fifo", "plain"]
    assert found.stdout.split() == ["plain"], found.stderr
