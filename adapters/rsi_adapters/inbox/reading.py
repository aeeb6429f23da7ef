"""Which names are taken, and reading a stranger's file without being led astray by it."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from pathlib import Path
from typing import Final

from rsi.errors import InvalidInputError, TooLargeError

_LINES: Final = (".jsonl", ".ndjson")
_DOCUMENT: Final = ".json"
_GZIP: Final = ".gz"
_UNFINISHED: Final = (".tmp", ".part")


def wanted(name: str) -> bool:
    """Whether a file of this name is taken; hidden and unfinished ones are not."""
    low = name.lower()
    if low.startswith(".") or low.endswith(_UNFINISHED):
        return False
    return low.removesuffix(_GZIP).endswith((_DOCUMENT, *_LINES))


def is_lines(name: str) -> bool:
    """Whether each line is an item of its own."""
    return name.lower().removesuffix(_GZIP).endswith(_LINES)


def kind_of(mode: int) -> str | None:
    """What a thing is if it is no regular file, in a word for people."""
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISLNK(mode):
        return "symbolic link"
    if stat.S_ISDIR(mode):
        return "folder"
    return "named pipe" if stat.S_ISFIFO(mode) else "special file"


def read(path: Path, name: str, limit: int) -> bytes:
    """A file's content, decompressed if its name says so; at most `limit` bytes of it.

    Never follows a link, never waits for a pipe.

    Raises:
        TooLargeError: over `limit`, on disk or unpacked.
        InvalidInputError: no regular file, or not gzip although its name says so.
        OSError: cannot be opened or read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        kind = kind_of(os.fstat(fd).st_mode)
        if kind:
            raise InvalidInputError(f"{name}: is a {kind}; put a regular file into the inbox")
        packed = file.read(limit + 1)
        if len(packed) > limit:
            raise TooLargeError(_over(name, limit))
    return _unpack(packed, name, limit) if name.lower().endswith(_GZIP) else packed


def _unpack(packed: bytes, name: str, limit: int) -> bytes:
    """Never more than `limit` + 1 bytes at once, whatever a bomb promises."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            body = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInputError(f"{name}: not gzip, or cut short: {error}") from error
    if len(body) > limit:
        raise TooLargeError(_over(name, limit) + ", unpacked")
    return body


def _over(name: str, limit: int) -> str:
    return f"{name}: over the limit of {limit} bytes for one file (setting limits.request_bytes)"
