"""The manifest of a layer: every name in it with what it is, so that a layer read back is the one that was written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rsi.errors import SandboxError
from rsi.sandbox.overlay import modes
from rsi.sandbox.overlay.disk import Disk
from rsi.sandbox.overlay.layers import Node, is_opaque, is_whiteout
from rsi.sandbox.overlay.reader import USABLE, Reader


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One name of one layer. The layer's root has the path "". `kind` is a `Kind`, or `whiteout`.

    `sha256` is that of `rsi.sandbox.overlay.digest`, which does not read holes.
    """

    path: str
    kind: str
    mode: int
    size: int = 0
    sha256: str = ""
    link: str = ""
    opaque: bool = False
    device: int = 0


class DamagedError(SandboxError):
    """What is on the disk is not what was written: the checkpoints made of it are not offered."""


def write(disk: Disk, reader: Reader, layer: Path, path: Path, *, by: str) -> str:
    """Make the manifest of `layer` durable as `path`; the SHA-256 of the file. Call after `syncfs`.

    Args:
        disk: makes the changes.
        reader: entered.
        layer: frozen.
        path: two lines may write the same manifest at the same time: they write the same bytes.
        by: the line that does it.
    """
    rows = msgspec.to_builtins(tuple(rows_of(reader, layer)))
    data = json.dumps({"layer": layer.name, "rows": rows}, separators=(",", ":")).encode("ascii")
    disk.save(path, data, by=by)
    return hashlib.sha256(data).hexdigest()


def verify(reader: Reader, layer: Path, path: Path, sha256: str) -> None:
    """Read the layer and compare every name and byte. Modes that a killed reader left open are put back.

    Raises:
        DamagedError: names the first thing that differs.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path}: the manifest cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DamagedError(f"{path}: the manifest is not the one that was written")
    expected = {row.path: row for row in msgspec.convert(json.loads(data)["rows"], tuple[Row, ...])}
    left_open: list[Row] = []
    for row in rows_of(reader, layer):
        written = expected.pop(row.path, None)
        if written is not None and row != written and row == _opened(written):
            left_open.append(written)
        elif row != written:
            raise DamagedError(f"{layer.name}: {row.path or '.'!r} is not what was written")
    if expected:
        raise DamagedError(f"{layer.name}: {min(expected)!r} is missing")
    for written in reversed(left_open):  # what is deeper first: a folder that is shut again cannot be passed
        _shut(layer, written)


def _opened(row: Row) -> Row:
    """As a reader who was killed leaves it (`rsi.sandbox.overlay.reader`)."""
    return msgspec.structs.replace(row, mode=row.mode | USABLE)


def _shut(layer: Path, row: Row) -> None:
    path = layer / row.path
    found = path.lstat()
    modes.change(str(path), (found.st_dev, found.st_ino), row.mode)


def rows_of(reader: Reader, layer: Path) -> Iterator[Row]:
    """Every name of one layer, its root first.

    Raises:
        DamagedError: there is no such layer.
    """
    root = reader.node(str(layer))
    if root is None:
        raise DamagedError(f"{layer.name}: the layer is missing")
    todo = [("", root)]
    while todo:
        path, node = todo.pop()
        yield _row(reader, path, node)
        if node.is_dir:
            for name in sorted(reader.names(node.path)):
                below = reader.node(f"{node.path}/{name}")
                if below is not None:
                    todo.append((f"{path}/{name}" if path else name, below))


def _row(reader: Reader, path: str, node: Node) -> Row:
    if is_whiteout(node.path, node.stat):
        return Row(path, "whiteout", 0)
    what = node.kind
    if what == "directory":
        return Row(path, what, node.mode, opaque=is_opaque(node.path))
    if what == "symlink":
        return Row(path, what, node.mode, link=os.readlink(node.path))  # noqa: PTH115 - strings
    if what == "other":
        return Row(path, what, node.mode, device=node.stat.st_rdev)
    return Row(path, what, node.mode, node.stat.st_size, reader.digest(node))
