"""What the attacks are after, planted by the process that stands for rsi's daemon; and what became of it.

Two of everything that can be changed: for the run in the box, and for its control. It all lies in folders that anybody
may enter, so that nothing but the box keeps an attack out.
"""

# ruff: noqa: PTH208 - names are enough

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import secrets
import shutil
import socket
import stat
import subprocess
import threading
from pathlib import Path

from attacks.lacking import lacking

from rsi.sandbox import Isolation, Limits, Sandbox

RUNS = ("box", "control")
PROGRAMS = Path(__file__).parent / "programs"
PYTHON = "/usr/bin/python3"
SECRET_NAME = "RSI_ATTACK_SECRET"
_FILES = ("kept", "emptied", "mapped", "renamed", "deleted", "linked", "moded", "punched", "folder/inside", "a b")
_LIBC = ctypes.CDLL(None, use_errno=True)
_BOOT = "import sys, runpy; sys.path.insert(0, sys.argv[1]); sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0] + '/__main__.py', run_name='__main__')"
_LIMITS = Limits(wall_s=20)


class Yard:
    """Everything planted below one folder that belongs to the present user."""

    def __init__(self, base: Path) -> None:
        self.base = base
        kinds = ("file", "store", "rsi", "key", "shm", "heap", "git")
        self.secrets = {kind: f"rsi-attack-{kind}-{secrets.token_hex(12)}" for kind in kinds}
        self.secrets["env"] = os.environ[SECRET_NAME]
        self._heap = ctypes.create_string_buffer(self.secrets["heap"].encode())
        self.home = Path.home()
        self._boxes: dict[str, Sandbox] = {}
        self._heard: list[str] = []
        self._hearing = threading.Condition()
        self._servers: list[tuple[int, int, object]] = []
        self._names = {run: f"rsi-attack-{run}-{secrets.token_hex(6)}" for run in RUNS}
        self._keys = {run: secrets.randbelow(1 << 30) + 2 for run in RUNS}
        self._plant()
        self._listen()
        self._share()

    # --- planting

    def _plant(self) -> None:
        self.outside = self._folder("outside")
        self._write(self.outside / "secret", self.secrets["file"])
        self._write(self.base / "state" / "rsi.db", self.secrets["store"])
        for name in (".ssh/id_ed25519", ".bashrc", ".git-credentials", ".netrc"):
            self._write(self.home / name, self.secrets["key"])
        for run in RUNS:
            self._folder(f"{run}-target", 0o777)
            self._write(self.target(run) / "file", "planted\n", 0o666)
            self._folder(f"{run}-shown", 0o777)
            self._write(self.shown(run) / "file", "planted\n", 0o666)
            self._plant_workspace(run)
        self.victims = {run: self._victim(run) for run in RUNS}

    def _plant_workspace(self, run: str) -> None:
        place = self.workspace(run)
        for name in _FILES:
            self._write(place / name, "from the host\n" * 512)
        for name in ("config", "HEAD", "hooks/pre-commit.sample", "objects/aa/bb"):
            self._write(place / ".git" / name, "[core]\n")
        self._write(place / ".rsi" / "secret", self.secrets["rsi"])
        self._write(place / ".rsi" / "daemon.json", self.secrets["rsi"])
        (place / "link-out").symlink_to(self.outside)
        (place / "target-link").symlink_to(self.target(run))
        (place / "docker.sock").symlink_to(self.base / "socket")
        shutil.copytree(PROGRAMS, place / "attack", ignore=shutil.ignore_patterns("__py*"))
        tree = self.worktree(run)
        self._write(tree / ".git", f"gitdir: {place}/.git/worktrees/w\n")
        shutil.copytree(PROGRAMS, tree / "attack", ignore=shutil.ignore_patterns("__py*"))

    def _victim(self, run: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["/bin/sh", "-c", "read line", self._names[run]], stdin=subprocess.PIPE)

    def _folder(self, name: str, mode: int = 0o755) -> Path:
        path = self.base / name
        path.mkdir()
        path.chmod(mode)
        return path

    def _write(self, path: Path, text: str, mode: int = 0o644) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def _listen(self) -> None:
        self.ports = {}
        for name, family, address in (("tcp", socket.AF_INET, "127.0.0.1"), ("tcp6", socket.AF_INET6, "::1")):
            self.ports[name] = 1
            with contextlib.suppress(OSError):
                self.ports[name] = self._serve(family, socket.SOCK_STREAM, (address, 0))[1]
        self.ports["udp"] = self._serve(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))[1]
        name = self._names["box"]
        self._serve(socket.AF_UNIX, socket.SOCK_STREAM, f"\0{name}")
        self._serve(socket.AF_UNIX, socket.SOCK_DGRAM, f"\0{name}-datagram")
        for place in (self.base, *(self.workspace(run) for run in RUNS)):
            self._serve(socket.AF_UNIX, socket.SOCK_STREAM, str(place / "socket"))
            (place / "socket").chmod(0o777)
        os.environ["SSH_AUTH_SOCK"] = str(self.base / "socket")
        os.environ["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={self.base / 'socket'}"

    def _serve(self, family: int, kind: int, address):
        server = socket.socket(family, kind)
        server.bind(address)
        if kind == socket.SOCK_STREAM:
            server.listen(64)
        threading.Thread(target=self._hear, args=(server, kind), daemon=True).start()
        self._servers.append((family, kind, server.getsockname()))
        return server.getsockname()

    def _hear(self, server: socket.socket, kind: int) -> None:
        while True:
            if kind == socket.SOCK_DGRAM:
                self._note(server.recv(100).decode("latin-1"))
                continue
            channel, _ = server.accept()
            with channel:
                channel.settimeout(1)
                said = ""
                with contextlib.suppress(OSError):
                    said = channel.recv(100).decode("latin-1")
                self._note(said or "somebody\n")

    def _note(self, said: str) -> None:
        with self._hearing:
            self._heard.append(said)
            self._hearing.notify_all()

    def _hear_out(self) -> None:
        """Every listener takes one after the other: when it has heard our mark, it has heard what was said before."""
        for family, kind, address in self._servers:
            mark = f"mark {secrets.token_hex(8)}\n"
            with socket.socket(family, kind) as channel:
                try:
                    channel.connect(address)
                    channel.send(mark.encode())
                except OSError:  # an attack that had its way has taken its path away
                    continue
                with self._hearing:
                    assert self._hearing.wait_for(lambda mark=mark: mark in self._heard, 20), address
                    self._heard.remove(mark)

    def _share(self) -> None:
        """Shared memory of the host: System V, /dev/shm, a message queue."""
        text = self.secrets["shm"].encode()
        self.shm_key = secrets.randbelow(1 << 30) + 2
        self._segment = _LIBC.shmget(self.shm_key, 4096, 0o1666)
        _LIBC.shmat.restype = ctypes.c_void_p
        ctypes.memmove(_LIBC.shmat(self._segment, None, 0), text, len(text))
        self._write(Path("/dev/shm") / self.shm_name, self.secrets["shm"])
        self._queue = f"/{self._names['control']}".encode()
        ctypes.CDLL("librt.so.1").mq_open(self._queue, os.O_RDWR | os.O_CREAT, 0o666, None)

    @property
    def shm_name(self) -> str:
        return f"{self._names['box']}-host"

    # --- places

    def workspace(self, run: str) -> Path:
        return self.base / run / "workspace"

    def worktree(self, run: str) -> Path:
        return self.base / run / "worktree"

    def target(self, run: str) -> Path:
        return self.base / f"{run}-target"

    def shown(self, run: str) -> Path:
        return self.base / f"{run}-shown"

    def order(self, run: str) -> dict:
        """What an attack is told: where things are, never a secret."""
        handle, kind = _handle(self.outside / "secret")
        box = self.box("")
        return {
            "run": run, "workspace": str(self.workspace(run)), "worktree": str(self.worktree(run)),
            "outside": str(self.outside), "secret_file": str(self.outside / "secret"), "handle": handle.hex(), "handle_type": kind,
            "target": str(self.target(run)), "shown": str(self.shown(run)), "home": str(self.home),
            "store": str(box.store), "store_home": str(box.store.parents[3]), "state": str(self.base / "state"),
            "disks": [f"/dev/{name}" for name in os.listdir("/sys/block")], "host_name": socket.gethostname(),
            "interfaces": [name for _, name in socket.if_nameindex() if name != "lo"], **self.ports,
            "abstract": self._names["box"], "abstract_datagram": self._names["box"] + "-datagram",
            "socket": str(self.base / "socket"), "daemon": os.getpid(), "secret_name": SECRET_NAME,
            "secret_address": ctypes.addressof(self._heap), "secret_length": len(self.secrets["heap"]),
            "victim": self.victims[run].pid, "victim_name": self._names[run], "shm_key": self.shm_key,
            "shm_name": self.shm_name, "own_key": self._keys[run], "mark": self._names[run], "queue": self._names["control"],
        }  # fmt: skip

    # --- running

    def box(self, without: str, *, tree: bool = False) -> Sandbox:
        """A box on the box's workspace; without protections, on the control's."""
        key = f"{without}{tree}"
        if key not in self._boxes:
            run = "control" if without else "box"
            backend = lacking(tuple(without.split(","))) if without else "overlay"
            place = self.worktree(run) if tree else self.workspace(run)
            box = Sandbox.create(place, backend=backend, require=Isolation(), readable=[self.shown(run)])
            box.checkpoint("clean")
            self._boxes[key] = box
        return self._boxes[key]

    def inside(self, name: str, order: str, without: str = "") -> tuple[str, str]:
        """Run one attack in a box; afterwards the box is as new."""
        box = self.box(without, tree="that_is_a_file" in name)
        ended = box.exec([*_line(box.workspace), name], input=order, limits=_LIMITS)
        box.restore(box.checkpoints()[0].id)
        return ended.stdout, f"{ended.stderr} [{ended.returncode} {ended.killed_by}]"

    def outside_run(self, name: str, order: str) -> tuple[str, str]:
        """The same as a plain child, which inherits what a child inherits."""
        place = self.worktree("control") if "that_is_a_file" in name else self.workspace("control")
        read, write = os.pipe()
        os.set_inheritable(read, True)
        try:
            ended = subprocess.run(
                [*_line(place), name], input=order, cwd=place, capture_output=True, text=True, timeout=20,
                close_fds=False, start_new_session=True, check=False,
            )  # fmt: skip
        finally:
            os.close(read)
            os.close(write)
        return ended.stdout, ended.stderr

    # --- judging

    def state(self, run: str) -> dict:
        """Everything that an attack could have changed for this run."""
        self._hear_out()
        victim = self.victims[run]
        names = {name for name in os.listdir("/dev/shm") if self._names[run] in name and name != self.shm_name}
        return {
            "heard": sum(said == f"{run}\n" for said in self._heard),
            "target": _tree(self.target(run)), "shown": _tree(self.shown(run)),
            "workspace": _tree(self.workspace(run)), "worktree": _tree(self.worktree(run)),
            "victim": _status(victim), "shm": sorted(names), "tmp": Path("/tmp", self._names[run]).exists(),
            "segment": _LIBC.shmget(self._keys[run], 0, 0) >= 0, "name": socket.gethostname(),
            "outside": _tree(self.outside), "home": _tree(self.home / ".ssh"),
        }  # fmt: skip

    def renew(self, run: str) -> None:
        """Everything as it was, after a control has had its way."""
        for place in (self.target(run), self.shown(run), self.base / run):
            place.parent.chmod(0o755)
            shutil.rmtree(place, ignore_errors=True)
        for place in (self.target(run), self.shown(run)):
            self._folder(place.name, 0o777)
            self._write(place / "file", "planted\n", 0o666)
        self._plant_workspace(run)
        place = self.workspace(run) / "socket"
        self._serve(socket.AF_UNIX, socket.SOCK_STREAM, str(place))
        place.chmod(0o777)
        self._clear(run)
        if _status(self.victims[run]) != _status(self.victims["box"]):
            self._end(self.victims[run])
            self.victims[run] = self._victim(run)
        for key in [key for key in self._boxes if key not in ("False", "True")]:
            self._boxes.pop(key).destroy()

    def _clear(self, run: str) -> None:
        for folder in ("/dev/shm", "/tmp"):
            Path(folder, self._names[run]).unlink(missing_ok=True)
        found = _LIBC.shmget(self._keys[run], 0, 0)
        if found >= 0:
            _LIBC.shmctl(found, 0, None)

    @staticmethod
    def _end(victim: subprocess.Popen[bytes]) -> None:
        victim.kill()
        assert victim.stdin is not None
        victim.stdin.close()
        victim.wait()

    def close(self) -> None:
        for box in self._boxes.values():
            box.destroy()
        for run in RUNS:
            self._end(self.victims[run])
            self._clear(run)
        _LIBC.shmctl(self._segment, 0, None)
        ctypes.CDLL("librt.so.1").mq_unlink(self._queue)
        (Path("/dev/shm") / self.shm_name).unlink(missing_ok=True)


def _line(place: Path) -> list[str]:
    return [PYTHON, "-I", "-S", "-B", "-c", _BOOT, str(place / "attack")]


def _handle(path: Path) -> tuple[bytes, int]:
    """A handle of a file, as name_to_handle_at(2) gives it; empty where the file system has none."""
    size = 128
    buffer = ctypes.create_string_buffer(size.to_bytes(4, "little") + bytes(4 + size))
    mount = ctypes.c_int()
    if _LIBC.name_to_handle_at(-100, str(path).encode(), buffer, ctypes.byref(mount), 0) != 0:
        return b"", 0
    length = int.from_bytes(buffer.raw[:4], "little")
    return buffer.raw[8 : 8 + length], int.from_bytes(buffer.raw[4:8], "little")


def _tree(root: Path) -> str:
    """A digest of everything below a folder: names, kinds, modes, links, bytes, attributes, times of files."""
    found = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        for path in sorted(Path(folder, name) for name in (".", *folders, *files)):
            status = path.lstat()
            entry = [str(path), stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)]
            if path.is_symlink():
                entry.append(str(path.readlink()))
            elif path.is_file():
                entry += [path.read_bytes(), status.st_nlink, status.st_mtime_ns]
            if not path.is_symlink():
                entry.append(os.listxattr(path))
            found.append(entry)
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _status(victim: subprocess.Popen[bytes]) -> list:
    if victim.poll() is not None:
        return ["dead"]
    import resource

    limits = resource.prlimit(victim.pid, resource.RLIMIT_NOFILE)
    return [os.getpriority(os.PRIO_PROCESS, victim.pid), limits]
