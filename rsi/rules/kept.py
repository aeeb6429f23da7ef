"""What was worked out once is kept in a private file, so that the next process need not work it out again.

A kept file is never believed: it counts only if it is a regular file of this user that nobody else may write, made from
the same things (`key`), and whole. Everything else is worked out anew, and said unless it is merely older.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_LOG: Final = logging.getLogger("rsi.rules")
_KEY_BYTES: Final = 16
_HASH_BYTES: Final = 32
#: The largest that is made, what was learned from prototypes, has a third of it.
MAX_BYTES: Final = 128 * 1024 * 1024
_FOR_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def key_of(parts: Iterable[bytes]) -> bytes:
    """A name for exactly these parts in this order."""
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def sources(*folders: Path) -> list[bytes]:
    """The code in these folders, as a part of a key: other code may work out something else.

    Raises:
        OSError: it cannot be read, as where it was installed without.
    """
    found = [path.read_bytes() for folder in folders for path in sorted(folder.glob("*.py"))]
    if not found:
        raise FileNotFoundError(f"no code in {', '.join(map(str, folders))}")
    return found


def read(path: Path, key: bytes) -> bytes | None:
    """What was kept under this key; `None`: nothing, or nothing to be believed."""
    try:
        raw = _raw(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        _LOG.warning("%s cannot be read (%s) and is made anew", path, error.strerror or error)
        return None
    if raw is None:
        _LOG.warning("%s is not a private file of this user; it is not read and made anew", path)
        return None
    held, digest, body = raw[:_KEY_BYTES], raw[_KEY_BYTES : _KEY_BYTES + _HASH_BYTES], raw[_KEY_BYTES + _HASH_BYTES :]
    if digest != _digest(held, body):
        _LOG.warning("%s is damaged and is made anew", path)
        return None
    return body if held == key else None


def write(path: Path, key: bytes, body: bytes) -> bool:
    """Keep it, replacing what is there; whether that worked. A place that cannot be written costs only time."""
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(key + _digest(key, body) + body)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        _LOG.info("%s cannot be kept: %s", path, error.strerror or error)
        return False
    return True


def damaged(path: Path, why: object) -> None:
    """What was whole makes no sense: say so."""
    _LOG.warning("%s cannot be understood (%s) and is made anew", path, why)


def _raw(path: Path) -> bytes | None:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as stream:  # noqa: PTH123 - a descriptor, not a path
        facts = os.fstat(stream.fileno())
        mine = not hasattr(os, "geteuid") or facts.st_uid == os.geteuid()
        if not (stat.S_ISREG(facts.st_mode) and mine and not _open_to_others(facts) and facts.st_size <= MAX_BYTES):
            return None
        return stream.read(MAX_BYTES)


def _open_to_others(facts: os.stat_result) -> bool:
    return os.name == "posix" and bool(facts.st_mode & _FOR_OTHERS)


def _digest(key: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, key=key, digest_size=_HASH_BYTES).digest()
