"""Real sandboxes for the launcher's tests: a workspace and a store, as root and as an ordinary user."""

from __future__ import annotations

import ctypes
import os
import pickle
import shutil
import signal
import socket
import stat
import struct
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsi.errors import LaunchError
from rsi.sandbox import launch
from rsi.sandbox.launch import Child, Ended, Order, Zygote, layer_owner

#: Nobody on this machine, and not user 0.
USER = 12345
IS_ROOT = os.geteuid() == 0
MODES = ("root", "user") if IS_ROOT else ("user",)
#: One that the ordinary user may run, too.
PYTHON = "/usr/bin/python3"
PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Result:
    ended: Ended
    out: str
    err: str

    @property
    def status(self) -> int:
        return self.ended.status


class Yard:
    """A workspace and a store, both owned as the mode wants them."""

    def __init__(self, folder: Path, mode: str, workspace: Path | None = None) -> None:
        self.folder, self.mode = folder, mode
        self.workspace = workspace or folder / "ws"
        self.store = folder / "store"
        self.layers = 0
        self.workspace.mkdir(parents=True, exist_ok=True)
        (self.workspace / "file").write_text("from the host\n")
        self.store.mkdir(0o711)
        for name in ("layers", "work", "root"):
            (self.store / name).mkdir(0o711)
        self.upper = self.layer()

    @property
    def owner(self) -> tuple[int, int]:
        if self.mode == "root":
            owner = layer_owner()
            assert owner is not None
            return owner
        return (USER, USER) if IS_ROOT else (os.getuid(), os.getgid())

    def _folder(self, kind: str) -> str:
        self.layers += 1
        path = self.store / kind / str(self.layers)
        path.mkdir(0o755)
        os.chown(path, *self.owner)
        return f"{kind}/{self.layers}"

    def layer(self) -> str:
        return self._folder("layers")

    def view(self, name: str) -> Path:
        """What the last upper layer has of a name."""
        return self.store / self.upper / name

    def order(self, *argv: str, **fields: Any) -> Order:
        self.give()
        given = {
            "env": {"PATH": PATH, "HOME": "/home/sandbox"},
            "cwd": str(self.workspace),
            "workspace": str(self.workspace),
            "store": str(self.store),
            "lowers": (),
            "upper": self.upper,
            "work": self._folder("work"),
        }
        return Order(argv=argv, **{**given, **fields})

    def give(self) -> None:
        """Everything to the user whose files these are."""
        if self.mode == "user" and IS_ROOT:
            for path in (self.folder, self.workspace):
                for here, folders, files in os.walk(path):
                    for name in ("", *folders, *files):
                        os.lchown(f"{here}/{name}" if name else here, USER, USER)

    def run(self, *argv: str, given: bytes = b"", **fields: Any) -> Result:
        return _crew[self.mode].run(self.order(*argv, **fields), given)

    def sh(self, script: str, **fields: Any) -> Result:
        return self.run("/bin/sh", "-c", script, **fields)

    def python(self, script: str, **fields: Any) -> Result:
        return self.run(PYTHON, "-I", "-S", "-c", script, **fields)


@contextmanager
def yard(mode: str, *, workspace: Path | None = None) -> Iterator[Yard]:
    folder = Path(tempfile.mkdtemp(prefix="rsi-launch-"))
    folder.chmod(0o755)
    try:
        yield Yard(folder, mode, workspace)
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Also what nobody may enter."""
    for here, folders, _ in os.walk(folder):
        for path in (Path(here) / name for name in folders):
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder)


class Crew:
    """One zygote for all commands of a mode, in a process of that mode's user."""

    def __init__(self, mode: str) -> None:
        self._ours, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            for ours in (self._ours, *(each._ours for each in _crew.values())):
                os.close(ours.fileno())
            if mode == "user" and IS_ROOT:
                become_user()
            self._serve(theirs)
            os._exit(0)
        theirs.close()
        self._file = self._ours.makefile("rwb")

    @staticmethod
    def _serve(theirs: socket.socket) -> None:
        zygote = new_zygote()
        with theirs.makefile("rwb") as file:
            while True:
                try:
                    order, given = pickle.load(file)
                except EOFError:
                    break
                answer: Any
                try:
                    answer = run(order, zygote=zygote, given=given)
                except LaunchError as error:
                    answer = str(error)
                except BaseException:
                    answer = AssertionError(traceback.format_exc())
                pickle.dump(answer, file)
                file.flush()
        zygote.close()

    def run(self, order: Order, given: bytes) -> Result:
        pickle.dump((order, given), self._file)
        self._file.flush()
        answer = pickle.load(self._file)
        if isinstance(answer, str):
            raise LaunchError(answer)
        if isinstance(answer, AssertionError):
            raise answer
        assert isinstance(answer, Result)
        return answer

    def close(self) -> None:
        self._file.close()
        self._ours.close()
        os.waitpid(self._pid, 0)


_crew: dict[str, Crew] = {}


@contextmanager
def crew() -> Iterator[None]:
    """For the tests of one module."""
    for mode in MODES:
        _crew[mode] = Crew(mode)
    try:
        yield
    finally:
        for each in _crew.values():
            each.close()
        _crew.clear()


class Streams:
    """Pipes for one command, read to their ends."""

    def __init__(self, given: bytes = b"") -> None:
        ends = [os.pipe() for _ in range(3)]
        self.theirs = (ends[0][0], ends[1][1], ends[2][1])
        os.write(ends[0][1], given)
        os.close(ends[0][1])
        self._kept = [b"", b""]
        self._threads = [threading.Thread(target=self._read, args=(n, ends[n + 1][0])) for n in range(2)]
        for thread in self._threads:
            thread.start()

    def _read(self, number: int, fd: int) -> None:
        with open(fd, "rb") as file:
            self._kept[number] = file.read()

    def close_theirs(self) -> None:
        for fd in self.theirs:
            os.close(fd)

    def kept(self) -> tuple[str, str]:
        for thread in self._threads:
            thread.join()
        return self._kept[0].decode("utf-8", "surrogateescape"), self._kept[1].decode("utf-8", "surrogateescape")


def start(zygote: Zygote, order: Order, given: bytes = b"") -> tuple[Child, Streams]:
    streams = Streams(given)
    try:
        child = zygote.launch(order, *streams.theirs)
    finally:
        streams.close_theirs()
    return child, streams


def run(order: Order, *, zygote: Zygote | None = None, given: bytes = b"") -> Result:
    own = zygote or new_zygote()
    try:
        child, streams = start(own, order, given)
        ended = child.wait()
        return Result(ended, *streams.kept())
    finally:
        if zygote is None:
            own.close()


def new_zygote() -> Zygote:
    return Zygote(Path("/"), python=PYTHON)


def as_mode(mode: str, function: Callable[[], Any]) -> Any:
    """Here, or in a fork that has become the ordinary user."""
    if mode == "root" or not IS_ROOT:
        return function()
    return in_fork(function, prepare=become_user)


def become_user() -> None:
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    must(LIBC.prctl(4, 1, 0, 0, 0))  # who changes users is closed to others, and to itself, until the next execve


def in_fork(function: Callable[[], Any], *, prepare: Callable[[], Any] = lambda: None) -> Any:
    """What a function answers or raises in a child of ours, which `prepare` may ruin for everything else."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            prepare()
            answer: tuple[str, Any] = ("is", function())
        except LaunchError as error:
            answer = ("refused", str(error))
        except BaseException:
            answer = ("raised", traceback.format_exc())
        with theirs.makefile("wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    theirs.close()
    with ours, ours.makefile("rb") as file:
        word, what = pickle.load(file)
    os.waitpid(pid, 0)
    if word == "refused":
        raise LaunchError(what)
    assert word == "is", what
    return what


LIBC = ctypes.CDLL(None, use_errno=True)


def must(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def kernel_filter(program: bytes) -> None:
    """Put this process under a filter of its own."""

    class Program(ctypes.Structure):
        _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    must(LIBC.prctl(38, 1, 0, 0, 0))
    must(LIBC.prctl(22, 2, ctypes.byref(Program(len(program) // 8, program)), 0, 0))


def namespace_without_namespaces() -> None:
    """In a user namespace of our own, in which no more can be made."""
    uid, gid = os.geteuid(), os.getegid()
    must(LIBC.unshare(0x10000000))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    Path("/proc/sys/user/max_user_namespaces").write_text("0")


def without_proc() -> None:
    must(LIBC.unshare(0x20000))
    must(LIBC.mount(None, b"/", None, 0x4000 | (1 << 18), None))
    must(LIBC.umount2(b"/proc", 2))


def another_launcher(change: str, module: str) -> Path:
    """A copy of the launcher with lines added at the end of one of its modules."""
    folder = Path(tempfile.mkdtemp(prefix="rsi-launcher-")) / "launcher"
    shutil.copytree(launch._LAUNCHER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    folder.parent.chmod(0o755)
    with (folder / module).open("a") as file:
        file.write(f"\n{change}\n")
    return folder


def execute(program: bytes, number: int, arguments: tuple[int, ...] = (), architecture: int = 0xC000003E) -> int:
    """What a classic BPF program answers to a system call, by the meaning of its instructions."""
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *padded)
    at = accumulator = 0
    while True:
        code, yes, no, constant = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        if code == 0x06:
            return constant
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, constant)
        else:
            holds = {
                0x15: accumulator == constant,
                0x25: accumulator > constant,
                0x45: bool(accumulator & constant),
            }
            at += yes if holds[code] else no


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state not in "ZX"


KILLED = 128 + signal.SIGKILL
