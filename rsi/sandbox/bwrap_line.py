"""The command line of bubblewrap: everything that a command may see, and nothing else.

Pure but for looking for links, and for sockets and fifos, which are covered.

A read-only bind of `/` would not do: it leaves every Unix socket of the host within reach.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from rsi.sandbox.copied.place import inside
from rsi.sandbox.copied.runner import View
from rsi.sandbox.model import Command

#: Of the host's root; a link is made again as a link.
SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/opt")
#: What programs need of /etc to start, to find certificates and to know the time zone; no user, no secret.
ETC: Final = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
)
#: Inside the workspace: shown, but not to be written.
PROTECTED: Final = (".git",)
HOME: Final = "/home/sandbox"


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What this bwrap can do, and the descriptor of the filter."""

    disable_userns: bool  # 0.8
    size: bool  # 0.7
    seccomp: int


def arguments(
    bwrap: str,
    view: View,
    command: Command,
    features: Features,
    *,
    data: Mapping[str, int],
    status: int,
    block: int,
) -> list[str]:
    """The whole line.

    Args:
        bwrap: the program.
        view: what is shown where.
        command: what is run.
        features: of this bwrap.
        data: path inside → a descriptor with its bytes.
        status: where bwrap reports the pid and the end.
        block: what it waits for before it executes the command.
    """
    return [
        bwrap,
        *("--unshare-all", "--unshare-user", "--unshare-cgroup", "--die-with-parent", "--new-session"),
        *("--cap-drop", "ALL", "--clearenv", "--hostname", "sandbox"),
        *(("--disable-userns",) if features.disable_userns else ()),
        *("--seccomp", str(features.seccomp)),
        *("--json-status-fd", str(status), "--block-fd", str(block)),
        *_root(data),
        *_memory(command.limits.tmp if features.size else None),
        *_places(view),
        *("--remount-ro", "/"),
        *("--chdir", str(inside(view.workspace, command.cwd))),
        *(word for name, value in command.env.items() for word in ("--setenv", name, value)),
        "--",
        *command.argv,
    ]


def _root(data: Mapping[str, int]) -> Iterator[str]:
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), name)
        elif path.is_dir():
            yield from ("--ro-bind", name, name)
    for name in ETC:
        yield from ("--ro-bind-try", name, name)
    for name, fd in data.items():
        yield from ("--ro-bind-data", str(fd), name)
    yield from ("--dev", "/dev", "--proc", "/proc")


def _special(path: Path) -> Iterator[str]:
    """Sockets and fifos that are there now: read-only does not stop who connects, or writes into one."""
    if path.is_socket() or path.is_fifo():
        yield str(path)
    for folder, _, names in os.walk(path):
        for name in names:
            place = os.path.join(folder, name)  # noqa: PTH118 - thousands of them
            if stat.S_IFMT(_mode(place)) in (stat.S_IFSOCK, stat.S_IFIFO):
                yield place


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:  # gone since it was listed
        return 0


def _memory(size: int | None) -> Iterator[str]:
    for name in ("/tmp", "/dev/shm", HOME):  # noqa: S108 - inside, each its own
        if size is not None:
            yield from ("--size", str(size))
        yield from ("--tmpfs", name)


def _places(view: View) -> Iterator[str]:
    for path in view.readable:
        yield from ("--ro-bind", str(path), str(path))
        for special in _special(path):
            yield from ("--ro-bind", "/dev/null", special)
    yield from ("--bind", str(view.tree), str(view.workspace))
    for name in PROTECTED:
        if (view.tree / name).exists():
            yield from ("--ro-bind", str(view.tree / name), str(view.workspace / name))
