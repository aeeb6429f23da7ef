"""Is this still the tree that was checked? An lstat of every name, and the contents of those that matter.

`lstat` sees everything but a write through a mapping that has not reached the times yet, and a write within one tick of
the clock: hence the hashes for the paths a change touches.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from rsi.errors import MergeError
from rsi.sandbox.merge.names import is_protected
from rsi.sandbox.merge.refusal import shown
from rsi.sandbox.merge.tree import Tree, kind_of
from rsi.sandbox.model import Kind

ROOT: Final = "."


class Seen(msgspec.Struct, frozen=True):
    """One name's lstat. Of a folder only kind, mode and inode: its times change with every name that is ignored."""

    kind: Kind
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """A tree at one moment. `ignore`: relative paths that were left out (`.git` and `.rsi` always are)."""

    entries: dict[str, Seen]
    contents: dict[str, str] = {}  # path → sha256, or the kind where it is no file
    ignore: tuple[str, ...] = ()


def fingerprint(workspace: Path, paths: Iterable[str] | None = None, *, ignore: Iterable[str] = ()) -> Fingerprint:
    """The whole tree by lstat; `paths` are hashed too. 53 ms for 20,000 names where it was measured (research §2).

    Raises:
        MergeError: a folder or one of `paths` cannot be read, so nothing can be said about it; names it.
    """
    left_out = tuple(sorted(ignore))
    try:
        entries = dict(_walk(workspace, left_out))
        with Tree(workspace) as tree:
            contents = {path: _content(tree, path) for path in paths or ()}
    except OSError as error:
        name = shown(os.fsdecode(error.filename or workspace))
        raise MergeError(
            f"{name}: cannot be read ({error.strerror or repr(error)}), so nobody can say whether it changes; "
            "make it readable, or use a workspace without it"
        ) from error
    return Fingerprint(entries=entries, contents=contents, ignore=left_out)


def again(workspace: Path, old: Fingerprint) -> Fingerprint:
    """The same question asked now."""
    return fingerprint(workspace, old.contents, ignore=old.ignore)


def drift(old: Fingerprint, new: Fingerprint) -> list[str]:
    """The paths that are not what they were, sorted; empty when nothing changed."""
    names = {path for path in old.entries.keys() | new.entries.keys() if old.entries.get(path) != new.entries.get(path)}
    both = old.contents.keys() & new.contents.keys()
    return sorted(names | {path for path in both if old.contents[path] != new.contents[path]})


def _content(tree: Tree, path: str) -> str:
    state = tree.state(path)
    return state.sha256 or f"{state.kind} {state.link!a}"


def _walk(root: Path, ignore: tuple[str, ...]) -> Iterator[tuple[str, Seen]]:
    yield ROOT, _seen(root.stat())
    folders = [""]
    while folders:
        above = folders.pop()
        for entry in _names(root / above):
            path = f"{above}/{entry.name}" if above else entry.name
            if is_protected(entry.name) or path in ignore:
                continue
            try:
                yield path, _seen(entry.stat(follow_symlinks=False))
            except FileNotFoundError:  # gone since it was listed: not there, which is what the fingerprint says
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)


def _names(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as names:
            return list(names)
    except FileNotFoundError:  # as above
        return []


def _seen(found: os.stat_result) -> Seen:
    kind = kind_of(found.st_mode)
    if kind == "directory":
        return Seen(kind, found.st_mode, 0, 0, 0, found.st_ino)
    return Seen(kind, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
