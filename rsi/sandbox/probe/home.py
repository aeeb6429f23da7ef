"""Whose home is attacked, what in it is worth it, and how a file of the host is told from one of the same name."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from rsi.sandbox.overlay.place import user_home
from rsi.sandbox.probe.place import folder, other_place, write

#: Files worth stealing, and files that are nearly always there.
_WANTED: Final = (
    ".ssh/id_rsa", ".ssh/id_ed25519", ".ssh/authorized_keys", ".aws/credentials", ".netrc", ".gitconfig", ".npmrc",
    ".bash_history", ".bashrc", ".profile", ".zshrc",
)  # fmt: skip


def home_to_attack(stack: ExitStack) -> Path:
    """The user's home; where there is nothing in it to look for, one made for the probe takes its place.

    The prober's own `HOME` is set to it, so that it is *the daemon's* home for whatever asks.
    """
    home = user_home()
    if home is not None and at_home(home) and any(Path(home, name).is_file() for name, *_ in at_home(home)):
        return home
    home = folder(stack, other_place())
    for name in (".ssh/id_ed25519", ".bashrc"):
        write(home / name, "planted\n")
    os.environ["HOME"] = str(home)
    return home


def at_home(home: Path) -> set[tuple[str, int, int]]:
    """Names in it and files worth stealing, with what identifies them; without what a toolchain shows of it."""
    shown = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)}
    try:
        names = {*os.listdir(home), *_WANTED}  # noqa: PTH208 - names, not paths
    except OSError:
        return set()
    paths = {name: home / name for name in names}
    return {
        (name, *identity)
        for name, path in paths.items()
        if not any(path == each or path in each.parents for each in shown)
        for identity in _identities(path)
    }


def system_files() -> set[tuple[int, int]]:
    """What identifies the host's own files that attacks may claim to have opened."""
    paths = ("/usr/bin/env", "/etc/passwd", "/etc/shadow", "/etc/ld.so.cache", "/etc/hosts", "/usr/lib/os-release")
    return {identity for path in paths for identity in _identities(Path(path))}


def _identities(path: Path) -> set[tuple[int, int]]:
    """Inode and time of a name and of what it leads to: the same name may be another file inside."""
    found = set()
    for follow in (False, True):
        with suppress(OSError):  # not there, or a link to nothing
            stat = path.stat(follow_symlinks=follow)
            found.add((stat.st_ino, stat.st_mtime_ns))
    return found
