"""What the attacks are after: planted outside the box by the prober, for the two runs (`control`, `box`) alike.

Everything lies in folders that anybody may enter, so that nothing but the box keeps an attack out. Nothing is written
into a home folder that has something in it already.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

from rsi.sandbox.probe.home import at_home, system_files
from rsi.sandbox.probe.listeners import Listeners
from rsi.sandbox.probe.place import folder, other_place, write
from rsi.sandbox.probe.shared import Segment

RUNS: Final = ("control", "box")
#: The environment variable of the prober that holds the secret it was started with.
ENV_SECRET: Final = "RSI_PROBE_SECRET"  # noqa: S105 - its name
_SHM: Final = Path("/dev/shm")  # noqa: S108 - the host's, to see that the box's is another
_WORKSPACE: Final = {"kept": "kept\n", "deleted": "deleted\n", "renamed": "renamed\n", "folder/inside": "inside\n"}


def secret() -> str:
    """A new one, in the form that the attacks look for."""
    return f"rsi-probe-{secrets.token_hex(16)}"


class Targets:
    """A context manager: everything planted is gone when it is left."""

    def __init__(self, home: Path) -> None:
        self.secrets = {name: secret() for name in ("file", "sysv", "shm", "heap", "fd")}
        self.secrets["env"] = os.environ[ENV_SECRET]
        self.home = home
        self._stack = ExitStack()
        self.lingering = {how: secret() for how in ("leave", "stay", "orphan")}
        self._names = {run: secret() for run in RUNS}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._plant(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _plant(self, stack: ExitStack) -> None:
        self.base = folder(stack, None)
        self.outside = [folder(stack, None), folder(stack, other_place())]
        for place in self.outside:
            write(place / "secret", self.secrets["file"])
        for run in RUNS:
            self._plant_run(run)
        places = [place(run) for place in (self.workspace, self.shown) for run in RUNS]
        sockets = (self.outside[0] / "socket", *(place / "socket" for place in places))
        self._listeners = stack.enter_context(Listeners(self._names["box"], sockets))
        self._segment = stack.enter_context(Segment(self.secrets["sysv"].encode()))
        self._plant_shm(stack)
        self._fifos = {run: _fifo(stack, self.shown(run) / "fifo") for run in RUNS}
        self.inheritable = _open_secret(stack, self.base, self.secrets["fd"])
        self._victims = {run: _victim(stack, self._names[run]) for run in RUNS}
        self._traced = {run: _victim(stack, "traced") for run in RUNS}  # both at once: a process has one tracer
        self.at_home = at_home(self.home)
        self.interfaces = {name for _, name in socket.if_nameindex() if not name.startswith("lo")}

    def _plant_run(self, run: str) -> None:
        target, workspace = self.target(run), self.workspace(run)
        target.mkdir()
        target.chmod(0o777)
        for name in ("file", "linked", "mode"):
            write(target / name, "planted\n")
        write(self.shown(run) / "file", "planted\n")
        for name, text in _WORKSPACE.items():
            write(workspace / name, text)
        (workspace / "link").symlink_to(self.outside[0])
        (workspace / "target").symlink_to(target)
        shutil.copytree(Path(__file__).parent / "attack", workspace / "attack", ignore=shutil.ignore_patterns("__py*"))

    def _plant_shm(self, stack: ExitStack) -> None:
        if not os.access(_SHM, os.W_OK):
            return
        for name in (*self._names.values(), self.secrets["shm"][:24]):
            stack.callback((_SHM / name).unlink, missing_ok=True)
        write(_SHM / self.secrets["shm"][:24], self.secrets["shm"])

    def target(self, run: str) -> Path:
        """The folder that a run tries to write in."""
        return self.base / f"{run}-target"

    def shown(self, run: str) -> Path:
        """A folder outside the workspace that a box is told to show."""
        return self.base / f"{run}-shown"

    def workspace(self, run: str) -> Path:
        """The workspace of a run; the attack program is in it."""
        return self.base / run

    def order(self, run: str) -> dict[str, Any]:
        """What the program is told: where things are, never a secret."""
        return {
            "says": f"{run}:", "outside": [str(place) for place in self.outside],
            "target": str(self.target(run)), "shown": str(self.shown(run)),
            "tcp": self._listeners.tcp, "tcp6": self._listeners.tcp6, "udp": self._listeners.udp,
            "abstract": self._names["box"], "socket": str(self.outside[0] / "socket"), "shm_key": self._segment.key,
            "shm_name": self._names[run], "shm_secret": self.secrets["shm"][:24], "home": str(self.home),
            "home_files": sorted({name for name, *_ in self.at_home if (self.home / name).is_file()}),
            "daemon": os.getpid(), "victim": self._victims[run].pid, "victim_name": self._names[run],
            "traced": self._traced[run].pid,
        }  # fmt: skip

    def heard(self, said: str) -> bool:
        """An attack reached a listener."""
        return said in self._listeners.heard()

    def changed(self, run: str, name: str) -> bool:
        """Something outside is not as it was planted."""
        target = self.target(run)
        if name == "workspace":
            return not self._workspace_intact(run)
        if name == "shown":
            return (self.shown(run) / "file").read_text() != "planted\n"
        if name == "fifo":
            return bool(os.read(self._fifos[run], 1))
        if name in ("created", "by-link"):
            return (target / name).exists()
        if name == "shm":
            return (_SHM / self._names[run]).exists()
        if name == "mode":
            return (target / "mode").stat().st_mode & 0o777 != 0o666  # noqa: PLR2004 - as it was planted
        return (target / name).read_text() != "planted\n"

    def _workspace_intact(self, run: str) -> bool:
        here = self.workspace(run)
        left = {path.name for path in here.iterdir()} - {"link", "target", "socket", "attack", "hard-link"}
        expected = {name.split("/")[0] for name in _WORKSPACE}
        texts = ((here / name, text) for name, text in _WORKSPACE.items())
        return left == expected and all(path.is_file() and path.read_text() == text for path, text in texts)

    def is_dead(self, run: str) -> bool:
        """The process to be killed was."""
        try:
            self._victims[run].wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            return False
        return True

    def is_host_file(self, inode: int, mtime_ns: int) -> bool:
        """It is a system file of this host, not one of the same name in the box."""
        return (inode, mtime_ns) in system_files()


def _open_secret(stack: ExitStack, base: Path, text: str) -> int:
    """An open file that a child inherits unless somebody closes it."""
    write(base / "fd", text)
    fd = os.open(base / "fd", os.O_RDONLY)
    stack.callback(os.close, fd)
    os.set_inheritable(fd, True)
    (base / "fd").unlink()
    return fd


def _fifo(stack: ExitStack, path: Path) -> int:
    """A fifo that anybody may write to: our end of it."""
    os.mkfifo(path)
    path.chmod(0o666)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd


def _victim(stack: ExitStack, name: str) -> subprocess.Popen[bytes]:
    """A process that does nothing, called `name`; it ends when the prober does."""
    command = ["/bin/sh", "-c", "read line", name]
    process = stack.enter_context(
        subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - a constant
    )
    stack.callback(process.kill)
    return process
