"""The root folder of a sandbox: what of the host is shown, read-only, and what is made afresh.

Everything is listed; what is not listed is not there. Built by whoever may look everywhere (`Builder`), before the
privileges for that are given up.
"""

from __future__ import annotations

import os

from . import mounts, shown
from .broken import Stage
from .mounts import MS_NO_DEVICES, MS_NO_EXEC, MS_NO_SETUID
from .order import Order
from .privileges import GID, UID

#: Inside the store: an empty folder, on which everything is mounted; nothing is ever written into it.
STAGE = b"root"
#: The workspace as the view's lowest layer, and the root to be.
BASE, ROOT = STAGE + b"/base", STAGE + b"/new"

_SYSTEM = (b"/usr", b"/bin", b"/sbin", b"/lib", b"/lib64", b"/lib32", b"/libx32", b"/opt")
#: What programs look up, and nothing that says who uses this machine, or how it is reached: folders are shown, ...
_ETC_FOLDERS = (
    *(b"/etc/alternatives", b"/etc/crypto-policies", b"/etc/fonts", b"/etc/ld.so.conf.d", b"/etc/ssl/certs"),
    *(b"/etc/pki/ca-trust/extracted", b"/etc/pki/tls/certs"),
)
#: ... and files copied: that takes half as long as a mount, and they are small.
_ETC_FILES = (
    *(b"/etc/ld.so.cache", b"/etc/ld.so.conf", b"/etc/localtime", b"/etc/mime.types", b"/etc/os-release"),
    *(b"/etc/protocols", b"/etc/services", b"/etc/ssl/openssl.cnf", b"/etc/timezone"),
)
_HOME = b"/home/sandbox"
_WRITABLE = (b"/tmp", b"/dev/shm", _HOME)  # a new one for every command
_NODES = (b"null", b"zero", b"full", b"random", b"urandom", b"tty")
_LINKS = (
    (b"/proc/self/fd", b"/dev/fd"),
    (b"/proc/self/fd/0", b"/dev/stdin"),
    (b"/proc/self/fd/1", b"/dev/stdout"),
    (b"/proc/self/fd/2", b"/dev/stderr"),
    (b"pts/ptmx", b"/dev/ptmx"),
    (b"/proc/self/mounts", b"/etc/mtab"),
)
_FILES = (
    (
        b"/etc/passwd",
        b"sandbox:x:%d:%d::/home/sandbox:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n" % (UID, GID),
    ),
    (b"/etc/group", b"sandbox:x:%d:\nnogroup:x:65534:\n" % GID),
    (b"/etc/hosts", b"127.0.0.1 localhost sandbox\n::1 localhost\n"),
    (b"/etc/hostname", b"sandbox\n"),
    (b"/etc/resolv.conf", b""),
    (b"/etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n"),
)
#: The root holds names and small files; of one no more than this is copied (`ld.so.cache` may take 200 KiB).
_ROOT_SIZE, _LARGEST = "mode=755,size=16m,nr_inodes=4096", 2 << 20
#: A name on a tmpfs takes kernel memory that its size does not count: one for each page of it, and some to start with.
_PAGE, _FEWEST_NAMES = 4096, 1024


def state() -> tuple[tuple[int, int, int] | None, ...]:
    """By which it is known whether what `Builder.prepare` looks at is as it was, name by name."""
    return tuple(map(_seen, (*_SYSTEM, *_ETC_FOLDERS, *_ETC_FILES)))


def _seen(path: bytes) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns


class Builder:
    """Builds one root, with the store as the current folder.

    Args:
        without: protections to leave out, as in an order.
    """

    def __init__(self, without: frozenset[str]) -> None:
        self._without = without
        self._workspace = b""
        self._shown: list[bytes] = []
        self._attributes = 0 if "read-only" in without else shown.RESTRICTED
        self._as_it_is = not {"read-only", "shown"}.isdisjoint(without)

    def prepare(self) -> None:
        """What is the same for every order.

        Raises:
            BrokenError: of stage `root`.
        """
        with Stage("root", "mount the stage"):
            self._points = shown.mount_points()  # of the host: none of ours yet
            mounts.mount(b"tmpfs", STAGE, MS_NO_SETUID | MS_NO_DEVICES, "mode=755,size=64k,nr_inodes=16")
            for name in (BASE, ROOT, STAGE + shown.LAYER, STAGE + shown.NOTHING):
                os.mkdir(name)
        if "root" not in self._without:
            with Stage("root", "make the folders of the root"):
                mounts.mount(b"tmpfs", ROOT, MS_NO_SETUID | MS_NO_DEVICES, _ROOT_SIZE)
                self._system()
                self._own()

    def finish(self, order: Order, owner: tuple[int, int], base: int) -> None:
        """The rest, but for the view, /proc and the terminals.

        Args:
            order: what to build for; it leaves out what was said at the beginning.
            owner: uid and gid of the command, as this process sees them.
            base: a copy of the workspace, attached here.

        Raises:
            BrokenError: of stage `root`.
        """
        self._workspace = order.workspace
        with Stage("root", "attach the workspace"):
            mounts.attach(base, BASE)
        if "root" in self._without:
            with Stage("root", "show the whole host"):
                mounts.show(b"/", ROOT, 0)
            return
        with Stage("root", "make the folders of the command"):
            self._writable(order.tmp, owner)
        for path in sorted(order.readable):
            with Stage("root", "show a readable path: is it there?"):
                self._readable(path)
        with Stage("root", "make the workspace's place"):
            self._folder(order.workspace)
            mounts.make_read_only(ROOT)

    def _system(self) -> None:
        for path in _SYSTEM:
            if os.path.islink(path):
                os.symlink(os.readlink(path), ROOT + path)
            elif os.path.isdir(path):
                self._show(path)
        for path in _ETC_FOLDERS:
            if os.path.isdir(path):
                self._show(path)
        for path in _ETC_FILES:
            self._copy(path)

    def _own(self) -> None:
        self._folder(b"/dev")
        mounts.mount(b"tmpfs", ROOT + b"/dev", MS_NO_SETUID | MS_NO_EXEC, "mode=755,size=64k,nr_inodes=64")
        for name in _NODES:
            self._file(b"/dev/" + name)
            mounts.bind(b"/dev/" + name, ROOT + b"/dev/" + name)
        for name in (b"/dev/pts", b"/dev/shm", b"/proc"):
            self._folder(name)
        for target, path in _LINKS:
            os.symlink(target, ROOT + path)
        mounts.make_read_only(ROOT + b"/dev", recursive=True)  # nodes can be written to, and not changed themselves
        for path, content in _FILES:
            self._file(path, content)

    def _writable(self, tmp: int, owner: tuple[int, int]) -> None:
        options = f"size={tmp},nr_inodes={tmp // _PAGE + _FEWEST_NAMES},uid={owner[0]},gid={owner[1]}"
        for path in _WRITABLE:
            self._folder(path)
            mode = "0700" if path == _HOME else "1777"
            mounts.mount(b"tmpfs", ROOT + path, MS_NO_SETUID | MS_NO_DEVICES, f"{options},mode={mode}")

    def _readable(self, path: bytes) -> None:
        """Show a path under its own name and its real one; what lies in the workspace is left to the view."""
        real = os.path.realpath(path)
        shown.check(real, [] if self._visible(real) or self._as_it_is else self._below(real))
        if not self._visible(real):
            self._show(real)
        if real != path and not self._visible(path):
            self._link(path)

    def _link(self, path: bytes) -> None:
        """The first link on the way that is not there yet, so that the path leads to where it leads outside."""
        parts = path.split(b"/")
        for count in range(2, len(parts) + 1):
            part = b"/".join(parts[:count])
            if os.path.islink(part) and not os.path.lexists(ROOT + part):
                self._folder(os.path.dirname(part))
                os.symlink(os.path.realpath(part), ROOT + part)
                return

    def _visible(self, path: bytes) -> bool:
        return any(path == each or path.startswith(each + b"/") for each in (*self._shown, self._workspace))

    def _show(self, path: bytes) -> None:
        """The system's folders as they are where something is mounted below: who could do that, owns the machine."""
        real = os.path.realpath(path)
        is_folder = os.path.isdir(real)
        self._folder(path) if is_folder else self._file(path)
        if not is_folder or self._as_it_is or self._below(real):
            mounts.show(real, ROOT + path, self._attributes)
        else:
            with Stage("root", f"show {os.fsdecode(real)} as a layer"):
                shown.folder(STAGE, real, ROOT + path)
        self._shown.append(path)

    def _below(self, path: bytes) -> list[bytes]:
        return [point for point in self._points if point.startswith(path + b"/")]

    def _folder(self, path: bytes) -> None:
        try:
            os.mkdir(ROOT + path, 0o755)
        except FileExistsError:
            return
        except FileNotFoundError:
            self._folder(os.path.dirname(path))
            os.mkdir(ROOT + path, 0o755)

    def _copy(self, path: bytes) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        self._file(path, os.read(fd, min(os.fstat(fd).st_size, _LARGEST)))
        os.close(fd)

    def _file(self, path: bytes, content: bytes = b"") -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            fd = os.open(ROOT + path, flags, 0o644)
        except FileNotFoundError:
            self._folder(os.path.dirname(path))
            fd = os.open(ROOT + path, flags, 0o644)
        if content:
            os.write(fd, content)
        os.close(fd)
