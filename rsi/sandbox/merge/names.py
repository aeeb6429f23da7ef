"""Which names may be written: relative, inside, and never a repository's or our own state, however it is spelled."""

from __future__ import annotations

import os
import posixpath
from typing import Final

#: Never written at any depth: hooks and configuration there are commands that somebody else runs later.
PROTECTED: Final = frozenset({".git", ".rsi"})
#: What NTFS and FAT call `.git` besides its name (their 8.3 short name).
_SHORT: Final = frozenset({"git~1", "rsi~1"})
#: Code points that HFS+ ignores when it compares names (the list of CVE-2014-9390).
_IGNORABLE: Final = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])


def refused_path(path: str) -> str | None:
    """Why this relative path may not be written; `None` when it may."""
    if not path:
        return "an empty path"
    if "\0" in path:
        return "a NUL byte in the name"
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return "a name that this file system cannot hold"
    if path.startswith("/"):
        return "an absolute path"
    for name in path.split("/"):
        if name in ("", ".", ".."):
            return f"a component {name!r}"
        if is_protected(name):
            return f"{name!r} is protected at any depth"
    return None


def refused_link(path: str, link: str) -> str | None:
    """Why a symlink at `path` that says `link` may not be made; `None` when it stays inside the target."""
    if not link or "\0" in link:
        return "a symlink to nothing"
    if link.startswith("/"):
        return "a symlink to an absolute path"
    names = link.split("/")
    down = next((i for i, name in enumerate(names) if name not in ("..", ".", "")), len(names))
    if ".." in names[down:]:  # `a/../../b` leaves the tree if `a` is itself a link
        return "a symlink with '..' after a name"
    if names[:down].count("..") > path.count("/"):
        return "a symlink that leaves the target"
    if any(is_protected(name) for name in names):
        return "a symlink into a protected folder"
    return None


def is_protected(name: str) -> bool:
    """Whether one component means `.git` or `.rsi` on any common file system."""
    parts = name.replace("\\", "/").split("/")  # a separator on NTFS
    return any(_folded(part) in PROTECTED | _SHORT for part in parts)


def _folded(name: str) -> str:
    """As a file system sees it that ignores case, trailing dots and blanks, streams and invisible characters."""
    return name.translate(_IGNORABLE).casefold().split(":", 1)[0].rstrip(". ")


def parents(path: str) -> list[str]:
    """The folders above it, the outermost first: `a/b/c` → `a`, `a/b`."""
    names = path.split("/")[:-1]
    return ["/".join(names[: i + 1]) for i in range(len(names))]


def parent(path: str) -> str:
    """The folder it lies in, `""` for the root."""
    return posixpath.dirname(path)
