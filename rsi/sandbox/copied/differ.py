"""What differs between two copies: kind, mode, and bytes, read only where a file was written to since it was copied."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from rsi.errors import SandboxError
from rsi.sandbox.copied.duplicate import LEFT_OUT, MAX_DEPTH, Name, Stamp, kind, stamp
from rsi.sandbox.model import Change, Entry

_CHUNK: Final = 1 << 20
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class State(msgspec.Struct, frozen=True):
    """One side: a folder, the files in it that are as in the workspace, and its names if they are known already.

    The workspace's own names are those of the moment it was copied: what people do in it since is no change of ours.
    """

    root: Path
    twins: Mapping[str, Stamp]
    names: Mapping[str, Name] | None = None


def changes(before: State, after: State) -> list[Change]:
    """Every path that differs, sorted by its bytes.

    Raises:
        SandboxError: a side cannot be read.
    """
    try:
        old, new = _names(before), _names(after)
        found = [
            path for path in old.keys() | new.keys() if _differs(path, before, after, old.get(path), new.get(path))
        ]
    except OSError as error:
        raise SandboxError(f"the states cannot be compared: {error}") from error
    return [
        Change(path=path, before=_entry(before, path, old.get(path)), after=_entry(after, path, new.get(path)))
        for path in sorted(found, key=os.fsencode)
    ]


def names(root: Path) -> dict[str, Name]:
    """Everything below a folder, as it is now.

    Raises:
        OSError: a folder cannot be read.
        SandboxError: nested deeper than `MAX_DEPTH`.
    """
    return dict(_walk(root, "", 0))


def _names(state: State) -> Mapping[str, Name]:
    return state.names if state.names is not None else names(state.root)


def _walk(root: Path, prefix: str, depth: int) -> Iterator[tuple[str, Name]]:
    if depth > MAX_DEPTH:
        raise SandboxError(f"{root}/{prefix}: nested deeper than {MAX_DEPTH} folders; it cannot be compared")
    with os.scandir(root / prefix) as entries:
        found = [entry for entry in entries if entry.name not in LEFT_OUT]
    for entry in found:
        path, status = prefix + entry.name, entry.stat(follow_symlinks=False)
        what, mode = kind(status.st_mode), stat.S_IMODE(status.st_mode)
        link = os.readlink(entry.path) if what == "symlink" else None  # noqa: PTH115 - a string, and many of them
        yield path, Name(what, mode, status.st_size if what == "file" else 0, link)
        if what == "directory":
            yield from _walk(root, path + "/", depth + 1)


def _differs(path: str, before: State, after: State, old: Name | None, new: Name | None) -> bool:
    if (
        old is None
        or new is None
        or (old.kind, old.mode, old.link, old.size) != (new.kind, new.mode, new.link, new.size)
    ):
        return True
    if old.kind != "file" or (_is_twin(before, path) and _is_twin(after, path)):
        return False
    return _bytes_differ(before.root / path, after.root / path)


def _is_twin(state: State, path: str) -> bool:
    """Whether the file has the bytes of the workspace as it was copied."""
    if state.names is not None:
        return True
    known = state.twins.get(path)
    return known is not None and known == stamp((state.root / path).lstat())


def _bytes_differ(one: Path, other: Path) -> bool:
    try:
        with open(os.open(one, _READ), "rb") as left, open(os.open(other, _READ), "rb") as right:  # noqa: PTH123
            while True:
                some = left.read(_CHUNK)
                if some != right.read(_CHUNK):
                    return True
                if not some:
                    return False
    except FileNotFoundError:  # taken out of the workspace since: then nobody can say that it is the same
        return True


def _entry(state: State, path: str, name: Name | None) -> Entry | None:
    if name is None:
        return None
    source = state.root / path if name.kind == "file" else None
    return Entry(kind=name.kind, mode=name.mode, size=name.size, source=source, link=name.link)
