"""A durable checkpoint: its bytes and a manifest with their hashes are on the disk before anybody is told its name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from rsi.errors import SandboxError
from rsi.sandbox.copied.differ import names
from rsi.sandbox.copied.duplicate import Name
from rsi.sandbox.model import Checkpoint
from rsi.sandbox.overlay import digest
from rsi.sandbox.overlay.disk import Disk

NAME: Final = "manifest.json"
#: 2: files are hashed without their holes (`rsi.sandbox.overlay.digest`).
VERSION: Final = 2


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `NAME` beside a checkpoint's folder holds. Paths as `os.fsencode`, hex, for JSON knows no other bytes."""

    version: int = 1
    checkpoint: Checkpoint
    names: dict[str, Name]
    sha256: dict[str, str]


def save(folder: Path, tree: Path, checkpoint: Checkpoint, disk: Disk) -> None:
    """Bring `tree` onto the disk, then the manifest, then the names of both.

    Raises:
        SandboxError: the disk is full or failing; there is no durable checkpoint.
    """
    try:
        disk.syncfs(tree)
        found = names(tree)
        manifest = Manifest(
            version=VERSION,
            checkpoint=checkpoint,
            names={_hex(path): _plain(name) for path, name in found.items()},
            sha256={_hex(path): _sha256(tree / path) for path, name in found.items() if name.kind == "file"},
        )
        disk.save(folder / NAME, msgspec.json.encode(manifest))
        disk.fsync(folder.parent)
    except (OSError, AttributeError) as error:  # AttributeError: a system without syncfs(2)
        raise SandboxError(f"checkpoint {checkpoint.label!r} cannot be made durable: {error}") from error


def verified(folder: Path, tree: Path) -> Checkpoint:
    """The checkpoint, if every name and every byte is as it was saved.

    Raises:
        SandboxError: it is not, or there is no manifest; names the first path that differs.
    """
    try:
        manifest = msgspec.json.decode((folder / NAME).read_bytes(), type=Manifest)
        if manifest.version != VERSION:
            raise SandboxError(
                f"checkpoint {folder.name}: written by another version of rsi ({manifest.version}); open it with that"
            )
        found = {_hex(path): (path, _plain(name)) for path, name in names(tree).items()}
        for path in sorted(found.keys() ^ manifest.names.keys()):
            raise SandboxError(
                f"checkpoint {folder.name}: {os.fsdecode(bytes.fromhex(path))!r} was added or is missing"
            )
        for key, (path, name) in found.items():
            same = name == manifest.names[key]
            if not same or (name.kind == "file" and _sha256(tree / path) != manifest.sha256[key]):
                raise SandboxError(f"checkpoint {folder.name}: {path!r} is not as it was saved")
    except (OSError, msgspec.DecodeError, KeyError) as error:
        raise SandboxError(f"checkpoint {folder.name}: cannot be verified: {error}") from error
    return manifest.checkpoint


def _plain(name: Name) -> Name:
    return msgspec.structs.replace(name, link=None if name.link is None else _hex(name.link))


def _hex(path: str) -> str:
    return os.fsencode(path).hex()


def _sha256(path: Path) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return digest.sha256(fd, os.fstat(fd).st_size, _never)
    finally:
        os.close(fd)


def _never() -> None:
    """Nobody waits for a copy to be closed: that is done in the background."""
