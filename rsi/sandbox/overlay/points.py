"""The states that a box can return to, and making them survive a power cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from rsi.sandbox.model import Checkpoint
from rsi.sandbox.overlay import manifest, record
from rsi.sandbox.overlay.disk import Disk
from rsi.sandbox.overlay.home import Line
from rsi.sandbox.overlay.reader import Reader
from rsi.sandbox.overlay.record import Record, Saved


@dataclass(frozen=True, slots=True)
class Point:
    """A checkpoint and the frozen layers it is made of, oldest first."""

    checkpoint: Checkpoint
    chain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a reopened box has: the points that are as they were written, and why the others are not offered."""

    points: tuple[Point, ...]
    damaged: dict[str, str]


def harden(disk: Disk, line: Line, kept: Record, point: Point, stopped: Callable[[], bool]) -> Record:
    """Make a point survive power loss; the record that says so.

    In this order: everything written is on the disk (syncfs), then the manifests that say what that is, then the record
    that names them. A crash before the last rename leaves the box as it was; one after it leaves the point whole. So
    does `stopped`, which ends the reading with a `SandboxError`.
    """
    disk.syncfs(line.store)
    manifests = dict(kept.manifests)
    with Reader(str(line.store / "layers"), stopped) as reader:
        for layer in point.chain:
            if layer not in manifests:
                path = line.manifest(layer)
                manifests[layer] = manifest.write(disk, reader, line.layer(layer), path, by=line.name)
    about = point.checkpoint
    saved = Saved(id=about.id, label=about.label, at=about.at, chain=point.chain)
    new = msgspec.structs.replace(kept, checkpoints=(*kept.checkpoints, saved), manifests=manifests)
    record.save(disk, line.folder, new, durable=True)
    return new


def verified(line: Line, kept: Record) -> Found:
    """Read back every durable point and compare every byte of it."""
    bad: dict[str, str] = {}
    with Reader(str(line.store / "layers")) as reader:
        for layer in sorted(kept.layers()):
            try:
                manifest.verify(reader, line.layer(layer), line.manifest(layer), kept.manifests.get(layer, ""))
            except manifest.DamagedError as error:
                bad[layer] = str(error)
    points, damaged = [], {}
    for saved in kept.checkpoints:
        reasons = [bad[layer] for layer in saved.chain if layer in bad]
        if reasons:
            damaged[saved.id] = reasons[0]
        else:
            about = Checkpoint(id=saved.id, label=saved.label, at=saved.at, durable=True)
            points.append(Point(about, saved.chain))
    return Found(tuple(points), damaged)
