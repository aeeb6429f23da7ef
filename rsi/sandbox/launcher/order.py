"""An order as the launcher sees it, with what cannot work refused before anything is set up."""

from __future__ import annotations

import errno
import json
import os
import resource

from .broken import BrokenError

#: What an order may leave out, for the tests that show that a probe can fall.
PROTECTIONS = frozenset(
    ("seccomp", "network", "pid", "ipc", "root", "read-only", "dumpable", "caps", "idmap", "clean-env", "shown")
)
#: Folders that have a mount of ours below them, or are one: no workspace and nothing readable can be in their place.
_OURS = frozenset((b"/", b"/dev", b"/proc", b"/sys", b"/etc", b"/home", b"/tmp"))
#: Host folders that are never shown.
_NEVER = (b"/dev", b"/proc", b"/sys")
#: Names of layers are made by us; these need no escaping in any way of mounting them.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/")


class Order:
    """One command; paths, arguments and environment as bytes. Fields as in `rsi.sandbox.launch.Order`.

    `hidden` has the store in it, and where links on the host lead.

    Raises:
        BrokenError: of stage `order`.
    """

    def __init__(self, data: bytes) -> None:
        try:
            fields = json.loads(data)
            self.argv = [_encode(each) for each in fields["argv"]]
            self.env = {_encode(key): _encode(value) for key, value in fields["env"].items()}
            self.cwd = _path(fields, "cwd")
            self.workspace = _path(fields, "workspace")
            self.store = _path(fields, "store")
            self.lowers = [_layer(each) for each in fields["lowers"]]
            self.upper, self.work = _layer(fields["upper"]), _layer(fields["work"])
            self.readable = [_absolute(each, "readable") for each in fields["readable"]]
            hidden = (self.store, *(_absolute(each, "hidden") for each in fields["hidden"]))
            self.hidden = {path for each in hidden for path in (each, os.path.realpath(each))}
            self.protect = [_name(each) for each in fields["protect"]]
            self.tmp = int(fields["tmp"])
            self.rlimits = [(_rlimit(key), int(value)) for key, value in fields["rlimits"].items()]
            self.cgroups = [_absolute(each, "cgroups") for each in fields["cgroups"]]
            self.without = frozenset(fields["without"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _refuse(f"it cannot be read: {error!r}") from error
        self._check()

    def _check(self) -> None:
        if unknown := sorted(self.without - PROTECTIONS):
            raise _refuse(f"without {', '.join(unknown)}: there is no such protection")
        if not self.argv or not self.argv[0]:
            raise _refuse("argv is empty")
        if any(b"=" in key or not key for key in self.env):
            raise _refuse("a name in env is empty or has a = in it")
        for path in (self.workspace, *self.readable):
            if path in _OURS or any(path.startswith(each + b"/") for each in _NEVER):
                raise _refuse(f"{os.fsdecode(path)}: this folder of the system cannot be a workspace, or readable")
        if os.path.realpath(self.workspace) != self.workspace:
            raise _refuse(f"workspace {os.fsdecode(self.workspace)}: must be a path with no link in it")


def read(fd: int) -> Order:
    """The order in a memory file.

    Raises:
        BrokenError: of stage `order`.
    """
    size = os.fstat(fd).st_size
    data = os.pread(fd, size, 0)
    os.close(fd)
    return Order(data)


def _refuse(what: str) -> BrokenError:
    return BrokenError("order", errno.EINVAL, what)


def _encode(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise _refuse("an argument, a path or the environment has a NUL in it")
    return data


def _absolute(text: str, field: str) -> bytes:
    path = _encode(text)
    if not path.startswith(b"/") or os.path.normpath(path) != path:
        raise _refuse(f"{field} {text!r}: must be absolute, with no . or .. or / too many in it")
    return path


def _path(fields: dict[str, str], field: str) -> bytes:
    return _absolute(fields[field], field)


def _layer(text: str) -> bytes:
    if not text or text.startswith("/") or ".." in text.split("/") or not _PLAIN.issuperset(text):
        raise _refuse(f"layer {text!r}: must be relative to the store, of letters, digits and . _ - /")
    return text.encode()


def _name(text: str) -> bytes:
    name = _encode(text)
    if b"/" in name or name in (b"", b".", b".."):
        raise _refuse(f"protect {text!r}: must be one name in the workspace")
    return name


def _rlimit(name: str) -> int:
    number = getattr(resource, name, None) if name.startswith("RLIMIT_") else None
    if not isinstance(number, int):
        raise _refuse(f"{name}: there is no such limit")
    return number
