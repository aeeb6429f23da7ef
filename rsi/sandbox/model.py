"""The words of the sandbox: what it isolates, what it limits, what a command did, what changed.

A `Sandbox` is a *view* of a workspace: commands change the view, never the workspace. A `Box` is one back end's view;
`Sandbox` is the same thing for people, with checks. Sizes are bytes, times seconds (`wall_ms` milliseconds).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

MiB: Final = 1 << 20
GiB: Final = 1 << 30

#: What ended a command that did not end by itself.
Killer = Literal["timeout", "cpu", "memory", "disk", "inodes", "output", "processes", "closed"]
#: What a name in a tree can be; `other` is a device, a fifo or a socket, which are never merged back.
Kind = Literal["file", "directory", "symlink", "other"]

#: Thirty years: more is not meant, and no timer or rlimit takes it.
MAX_S: Final = 1e9
#: What the kernel's signed 64 bits hold.
MAX_COUNT: Final = (1 << 63) - 1
_Positive = Annotated[float, msgspec.Meta(gt=0, le=MAX_S)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNT)]


class Isolation(msgspec.Struct, frozen=True, kw_only=True):
    """What is enforced, one flag for one family of attacks that was tried and failed (`rsi.sandbox.probe`).

    As `require=`: the flags that are true must hold. As `capabilities()`: the flags that were found to hold.
    """

    fs_read: bool = False  # a file outside the workspace, the toolchain and the system's own folders cannot be read
    fs_write: bool = False  # nothing outside the view can be written, and the workspace itself does not change
    home: bool = False  # the user's home folder, keys and shell files are not there
    network: bool = False  # no TCP, UDP, DNS, raw or vsock; not even the host's loopback
    sockets: bool = False  # no Unix socket of the host, by path or abstract; no shared memory of the host
    env: bool = False  # neither the environment nor the memory of the daemon can be read
    processes: bool = False  # no process of the host can be seen, signalled or traced
    kill_all: bool = False  # nothing a command started outlives it
    privileges: bool = False  # no new namespace, mount, trace, bpf, key ring, io_uring, device, set-uid gain
    memory: bool = False  # the memory limit holds
    rewind: bool = False  # checkpoint and restore

    def missing(self, require: Isolation) -> tuple[str, ...]:
        """The flags that `require` asks for and this does not give."""
        return tuple(name for name in self.__struct_fields__ if getattr(require, name) and not getattr(self, name))


#: What must be enforced before a fix that needs a command run may be applied without a person (design.md, decision 10).
FOR_FIXES: Final = Isolation(
    fs_read=True, fs_write=True, home=True, network=True, sockets=True, env=True, processes=True, kill_all=True
)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one command may use. `None`, where it may be, is no limit. Exceeding one ends it and all it started."""

    wall_s: _Positive | None = 60.0
    cpu_s: _Positive | None = None
    processes: _Count = 256
    memory: _Count | None = 2 * GiB
    disk: _Count | None = GiB  # bytes written into the view
    inodes: _Count | None = 100_000  # names made in the view
    file: _Count = GiB  # the largest single file
    tmp: _Count = 256 * MiB  # each of /tmp, /dev/shm and the home folder; counts as memory
    output: _Count = 64 * MiB  # of stdout and stderr together, before the command is ended
    keep: _Count = MiB  # of each stream: the first and the last half of it are kept
    open_files: _Count = 1024


class ExecResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a command did. Partial output survives whatever ended it."""

    returncode: int  # 128 + signal when a signal ended it
    stdout: str  # UTF-8, undecodable bytes replaced; head and tail when longer than `Limits.keep`
    stderr: str
    stdout_total: int  # bytes written, kept or not
    stderr_total: int = 0
    killed_by: Killer | None = None
    wall_ms: float = 0.0
    cpu_s: float = 0.0
    max_rss: int = 0  # bytes, of the largest process (of all together where a cgroup counts them, or memory ended it)
    stdout_bytes: bytes = b""
    stderr_bytes: bytes = b""

    @property
    def ok(self) -> bool:
        """It ended by itself, with 0."""
        return self.returncode == 0 and self.killed_by is None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One name as it is on one side of a change."""

    kind: Kind
    mode: int  # permission bits
    size: int = 0
    source: Path | None = None  # where its bytes are, for a file; opened with O_NOFOLLOW only
    link: str | None = None  # what a symlink says


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One path that differs. `before` is None when it is new, `after` when it is gone.

    `path` is relative, `/`-separated, decoded as the file system does (surrogateescape).
    """

    path: str
    before: Entry | None
    after: Entry | None

    @property
    def letter(self) -> Literal["A", "M", "D"]:
        """As `git diff --name-status` says it."""
        return "A" if self.before is None else "D" if self.after is None else "M"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A state that can be returned to. `durable`: it is on the disk, with hashes, and survives power loss."""

    id: str
    label: str
    at: float  # epoch seconds
    durable: bool = False


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command, checked and complete: what a back end is given."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str = "."  # relative to the workspace, or absolute inside it
    input: bytes = b""
    stdin: int | None = None  # in place of `input`: a descriptor of ours, whose bytes go in as they come
    limits: Limits = Limits()
