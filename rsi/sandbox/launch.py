"""The parent's side of the launcher: start a clean zygote, hand it an order, get a process and then its end.

The zygote is an *executed* interpreter (`python -I -S rsi/sandbox/launcher`) with an empty environment and one socket,
so that no memory or environment of the daemon is in any ancestor a command can see. It builds seven fresh namespaces
for every order. What fails before the command's execve is a `LaunchError`; there is no path on which less is set up
and the command runs anyway.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A host path shown read-only at its own place."""

    path: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the launcher needs for one command; JSON on the wire, at most `MAX_ORDER` bytes."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str  # absolute, inside the sandbox
    workspace: str  # absolute; the view is mounted at this very path
    store: str  # absolute; the box's folder: `layers/`, `work/`, `root/` (an empty mount point), never visible inside
    lowers: tuple[str, ...]  # newest first, relative to `store`; the workspace itself is added last by the launcher
    upper: str  # relative to `store`
    work: str  # relative to `store`, new for each order (a used volatile workdir is refused by the kernel)
    readable: tuple[str, ...] = ()  # shown read-only at their own paths
    protect: tuple[str, ...] = (".git", ".rsi")  # inside the workspace: read-only
    tmp: int = 256 << 20
    rlimits: dict[str, int] = {}  # RLIMIT_* → value
    cgroups: tuple[str, ...] = ()  # folders whose cgroup.procs the namespace's init joins before anything else
    #: For the mutation tests of the probes only: protections to leave out (`seccomp`, `network`, `pid`, `ipc`, `root`,
    #: `dumpable`, `caps`, `idmap`, `clean-env`). `Sandbox` never sets it.
    without: tuple[str, ...] = ()


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: exit status (128 + signal), CPU seconds and the largest RSS in bytes, of the whole namespace."""

    status: int
    cpu_s: float
    max_rss: int


Stage = Literal["order", "cgroup", "namespaces", "idmap", "root", "overlay", "proc", "pivot", "filter", "exec"]
