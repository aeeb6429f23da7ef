"""Where control groups of our own could be made: read from /proc/self/cgroup and /proc/self/mountinfo.

Always below the group that we are in ourselves (v1), or below the nearest ancestor that hands out the memory and pids
controllers (v2, cgroups(7) "no internal processes"), so that every limit that somebody set on us goes on holding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, Literal

import msgspec

Controller = Literal["memory", "pids", "cpuacct"]
NEEDED: Final[tuple[Controller, ...]] = ("memory", "pids")
#: v1 has a hierarchy of its own for the time; in v2 every group knows it.
_WELCOME: Final[tuple[Controller, ...]] = ("cpuacct",)


class Place(msgspec.Struct, frozen=True):
    """A folder in which groups with these controllers can be made."""

    folder: Path
    version: Literal[1, 2]
    controllers: tuple[Controller, ...]


class _Mount(msgspec.Struct, frozen=True):
    root: str  # the group that is shown at `point`
    point: Path
    kind: str
    options: tuple[str, ...]


def places(cgroup: str, mountinfo: str) -> tuple[Place, ...]:
    """The places for memory and pids together: one in v2, two or three in v1, none if there is not enough of either.

    Args:
        cgroup: the text of /proc/self/cgroup.
        mountinfo: the text of /proc/self/mountinfo.
    """
    mounts = list(_mounts(mountinfo))
    memberships = [line.split(":", 2) for line in cgroup.splitlines() if line.count(":") > 1]
    unified = next((path for number, _, path in memberships if number == "0"), None)
    if unified is not None and (place := _unified(unified, mounts)) is not None:
        return (place,)
    owned = {name: path for _, names, path in memberships for name in names.split(",") if name}
    found = {
        name: place
        for name in (*NEEDED, *_WELCOME)
        if name in owned and (place := _split(name, owned[name], mounts)) is not None
    }
    return tuple(found.values()) if found.keys() >= set(NEEDED) else ()


def _unified(path: str, mounts: list[_Mount]) -> Place | None:
    for mount in mounts:
        if mount.kind == "cgroup2" and (folder := _inside(path, mount)) is not None:
            for parent in (folder, *folder.parents):
                if not parent.is_relative_to(mount.point):
                    break
                if _hands_out(parent) and _ours(parent):
                    return Place(parent, 2, NEEDED)
    return None


def _split(name: Controller, path: str, mounts: list[_Mount]) -> Place | None:
    for mount in mounts:
        if mount.kind == "cgroup" and name in mount.options and (folder := _inside(path, mount)) is not None:
            return Place(folder, 1, (name,)) if _ours(folder) else None
    return None


def _inside(path: str, mount: _Mount) -> Path | None:
    """The folder of group `path` under a mount that may show only a part of the hierarchy."""
    group = PurePosixPath(path)
    if ".." in group.parts or not group.is_relative_to(mount.root):
        return None
    return mount.point / group.relative_to(mount.root)


def _hands_out(folder: Path) -> bool:
    try:
        return set(NEEDED) <= set((folder / "cgroup.subtree_control").read_text().split())
    except OSError:
        return False


def _ours(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK)


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    for line in mountinfo.splitlines():
        front, _, back = line.partition(" - ")
        fields, kind = front.split(), back.split()
        point = fields[4].encode().decode("unicode_escape")
        yield _Mount(root=fields[3], point=Path(point), kind=kind[0], options=tuple(kind[-1].split(",")))
