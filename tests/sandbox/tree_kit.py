"""Real trees on the disk, as data: write them, read them back, and say how two of them differ."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rsi.sandbox.merge.tree import kind_of
from rsi.sandbox.model import Change, Entry

#: path → ("file", bytes, mode) | ("link", text) | ("dir", mode)
Spec = dict[str, tuple]


def plant(root: Path, spec: Spec) -> Path:
    """Make the tree; parents are made as needed."""
    root.mkdir(parents=True, exist_ok=True)
    for path, what in spec.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if what[0] == "file":
            place.write_bytes(what[1])
            place.chmod(what[2])
        elif what[0] == "link":
            place.symlink_to(what[1])
        else:
            place.mkdir(exist_ok=True)
            place.chmod(what[1])
    return root


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A scratch folder in memory where there is one: these tests sync thousands of times."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def snapshot(root: Path) -> Spec:
    """Everything below it, exactly: kinds, modes, bytes, links."""
    found: Spec = {}
    for folder, dirs, files in os.walk(root):
        for name in [*dirs, *files]:
            place = Path(folder) / name
            path = place.relative_to(root).as_posix()
            mode = stat.S_IMODE(place.lstat().st_mode)
            if place.is_symlink():
                found[path] = ("link", os.readlink(place))  # noqa: PTH115 - the text
            elif place.is_dir():
                found[path] = ("dir", mode)
            else:
                found[path] = ("file", place.read_bytes(), mode)
    return found


def entry(root: Path, path: str) -> Entry | None:
    place = root / path
    if any(above.is_symlink() for above in place.parents if root in above.parents):
        return None
    try:
        seen = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    kind = kind_of(seen.st_mode)
    return Entry(
        kind=kind,
        mode=stat.S_IMODE(seen.st_mode),
        size=seen.st_size if kind == "file" else 0,
        source=place if kind == "file" else None,
        link=os.readlink(place) if kind == "symlink" else None,  # noqa: PTH115 - the text
    )


def changes(old: Path, new: Path) -> list[Change]:
    """What a back end would say differs."""
    a, b = snapshot(old), snapshot(new)
    names = sorted(path for path in a.keys() | b.keys() if a.get(path) != b.get(path))
    return [Change(path=path, before=entry(old, path), after=entry(new, path)) for path in names]
