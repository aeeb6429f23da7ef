"""`box.json`: what a box's next owner may rely on. What is not here does not survive this one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import msgspec

from rsi.errors import SandboxError
from rsi.sandbox.overlay.disk import Disk

NAME: Final = "box.json"
#: 2: manifests hash files without their holes.
VERSION: Final = 2


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A durable checkpoint: its names, and its layers, oldest first."""

    id: str
    label: str
    at: float
    chain: tuple[str, ...]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What one box has on the disk."""

    version: int = VERSION
    workspace: str
    readable: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()  # layers of other boxes in the same store that this one was forked from
    checkpoints: tuple[Saved, ...] = ()  # oldest first
    manifests: dict[str, str] = {}  # layer → SHA-256 of its manifest file

    def layers(self) -> set[str]:
        """Every layer that a durable checkpoint is made of."""
        return {layer for saved in self.checkpoints for layer in saved.chain}

    def check_workspace(self, workspace: Path) -> None:
        """Raise `SandboxError` unless the box is one of this workspace."""
        if self.workspace != str(workspace):
            raise SandboxError(f"this is a sandbox of {self.workspace}, not of {workspace}: open it with that one")


def save(disk: Disk, folder: Path, record: Record, *, durable: bool) -> None:
    """Put it in the place of the old one; on the disk when `durable`."""
    body = _text(msgspec.to_builtins(record))
    text = _text({"sha256": _digest(body), "record": json.loads(body)})
    disk.save(folder / NAME, text, durable=durable)


def load(folder: Path) -> Record:
    """Read it back.

    Raises:
        SandboxError: there is none, it is damaged, or a newer rsi wrote it.
    """
    path = folder / NAME
    try:
        whole: dict[str, Any] = json.loads(path.read_bytes())
        body, digest = whole["record"], whole["sha256"]
        record = msgspec.convert(body, Record)
    except FileNotFoundError as error:
        raise SandboxError(f"{folder}: no sandbox is kept here") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SandboxError(f"{path}: damaged: {error}") from error
    if digest != _digest(_text(body)):
        raise SandboxError(f"{path}: damaged: its hash does not fit")
    if record.version != VERSION:
        raise SandboxError(f"{path}: written by another version of rsi ({record.version}); open it with that one")
    return record


def _text(value: Any) -> bytes:
    """JSON in ASCII: a name that is not UTF-8 is kept as an escaped surrogate."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
