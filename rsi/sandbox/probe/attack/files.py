"""Read and write what lies outside the workspace, and the workspace itself."""

from __future__ import annotations

import os

from .order import Attack, Order, tokens

#: Roots that lead somewhere else than ours, if they lead anywhere.
_ROOTS = ("/proc/self/root", "/proc/1/root", "/proc/{parent}/root", "/proc/1/cwd/../../../../../..", "/../..")
#: Control of the whole machine for whoever may write there.
_KERNEL = ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger")
_SYSTEM = ("/usr/bin/env", "/etc/passwd", "/etc/ld.so.cache", "/etc/hosts", "/usr/lib/os-release")


def _content(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs the start-up of the box
        return file.read(1 << 16)


def _any(paths: list[str]) -> list[str]:
    """The secrets in the first of them that can be read; the last reason why not."""
    error: OSError = FileNotFoundError("nothing to read")
    for path in paths:
        try:
            return tokens(_content(path))
        except OSError as why:
            error = why
    raise error


def read_outside(order: Order) -> list[str]:
    """Secrets in temporary folders, by their own path."""
    return _any([f"{folder}/secret" for folder in order["outside"]])


def read_by_link(_: Order) -> list[str]:
    """The same through a symlink that lay in the workspace before the box was opened."""
    return tokens(_content("link/secret"))


def read_by_proc(order: Order) -> list[str]:
    """The same from another process's root."""
    roots = [root.format(parent=os.getppid()) for root in _ROOTS]
    return _any([f"{root}{folder}/secret" for root in roots for folder in order["outside"]])


def read_shadow(_: Order) -> list[int]:
    """Password hashes: which file it was that could be read."""
    with open("/etc/shadow", "rb") as file:  # noqa: PTH123
        file.read(1)
        return _which(os.fstat(file.fileno()))


def overwrite_outside(order: Order) -> None:
    """A file that the user may write."""
    _overwrite(f"{order['target']}/file", "a")


def chmod_outside(order: Order) -> None:
    """Its mode."""
    os.chmod(f"{order['target']}/mode", 0o640)  # noqa: PTH101


def write_shown(order: Order) -> None:
    """A file of the user's in a folder that is shown: a toolchain."""
    _overwrite(f"{order['shown']}/file", "a")


def create_outside(order: Order) -> None:
    """A new file in a folder of the user's."""
    _overwrite(f"{order['target']}/created", "x")


def write_by_link(_: Order) -> None:
    """Through a symlink of the workspace."""
    _overwrite("target/by-link", "a")


def write_by_hard_link(order: Order) -> None:
    """Through a second name for the file, made in the workspace."""
    os.link(f"{order['target']}/linked", "hard-link")
    _overwrite("hard-link", "a")


def change_workspace(_: Order) -> None:
    """The workspace's own files: written in place, deleted, renamed, made."""
    _overwrite("kept", "a")
    os.unlink("deleted")  # noqa: PTH108
    os.rename("renamed", "folder/moved")  # noqa: PTH104
    _overwrite("made", "x")


def write_shared_memory(order: Order) -> None:
    """A file in the host's /dev/shm."""
    _overwrite(f"/dev/shm/{order['shm_name']}", "x")  # noqa: S108


def write_system(_: Order) -> list[list[int]]:
    """Open a system file for writing, and write nothing: which files could be."""
    return [_which(os.stat(path)) for path in _writable(_SYSTEM)]  # noqa: PTH116


def write_kernel(_: Order) -> list[str]:
    """Open a kernel setting for writing, and write nothing."""
    found = _writable(_KERNEL)
    if not found:
        raise PermissionError("none can be opened for writing")
    return found


def list_home(order: Order) -> list[list[object]]:
    """What lies in the user's home folder."""
    home = order["home"]
    return [[name, *_which(os.lstat(f"{home}/{name}"))] for name in os.listdir(home)]  # noqa: PTH208


def read_home(order: Order) -> list[list[object]]:
    """Files that are known to be in it: keys, shell files."""
    found: list[list[object]] = []
    error: OSError = FileNotFoundError("none of them is there")
    for name in order["home_files"]:
        try:
            with open(f"{order['home']}/{name}", "rb") as file:  # noqa: PTH123
                file.read(1)
                found.append([name, *_which(os.fstat(file.fileno()))])
        except OSError as why:
            error = why
    if not found:
        raise error
    return found


def _writable(paths: tuple[str, ...]) -> list[str]:
    found = []
    for path in paths:
        try:
            os.close(os.open(path, os.O_WRONLY))
        except OSError:
            continue
        found.append(path)
    return found


def _overwrite(path: str, mode: str) -> None:
    with open(path, mode) as file:  # noqa: PTH123
        file.write("attacked\n")


def _which(stat: os.stat_result) -> list[int]:
    """A file's identity: the same path may hold another file inside (an image's, a stand-in)."""
    return [stat.st_ino, stat.st_mtime_ns]


ATTACKS: dict[str, Attack] = {
    each.__name__: each
    for each in (
        read_outside, read_by_link, read_by_proc, read_shadow, overwrite_outside, chmod_outside, write_shown,
        create_outside, write_by_link, write_by_hard_link, change_workspace, write_shared_memory, write_system,
        write_kernel, list_home, read_home,
    )
}  # fmt: skip
