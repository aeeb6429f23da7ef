"""Changes as a patch that `git apply` takes whole, and `patch -p1` as far as it can (it knows no binary files).

The format is git's: git-diff(1), "Generating patch text with -p"; the binary part is base-85 of zlib as `git apply`
reads it. Folders are not in a patch. Bytes in, bytes out: a line is what ends with a line feed, in any encoding.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rsi.errors import MergeError, TooLargeError
from rsi.sandbox.lines import hunks
from rsi.sandbox.merge.refusal import shown
from rsi.sandbox.merge.tree import source
from rsi.sandbox.model import Change, Entry, MiB

#: Of one file; a patch is for reading, and is made in memory.
MAX_BYTES: Final = 10 * MiB
#: A NUL among this many first bytes makes a file binary, as git decides it.
_BINARY_PROBE: Final = 8000
_NO_BLOB: Final = "0" * 40
#: Of one line of a binary patch: its first letter counts them, A-Z then a-z.
_LINE_BYTES: Final = 52
_QUOTED: Final = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}
_READ_BYTES: Final = 1 << 20


def patch(changes: Iterable[Change], *, max_bytes: int = MAX_BYTES, strict: bool = True) -> bytes:
    """The changes, by path. Folders are left out.

    Args:
        changes: files are read from `Entry.source`, never through a symlink.
        max_bytes: of one side of one file.
        strict: refuse what a patch cannot say; else a line that starts with `#` names it (for people to read).

    Raises:
        TooLargeError: a file is over `max_bytes`; names it.
        MergeError: a device, fifo or socket, or a file that cannot be read; names it.
    """
    parts: list[bytes] = []
    for change in sorted(changes, key=lambda each: os.fsencode(each.path)):
        try:
            parts.extend(_change(change, max_bytes))
        except (MergeError, TooLargeError) as error:
            if strict:
                raise
            parts.append(f"# {error}\n".encode(errors="backslashreplace"))
    return b"".join(parts)


def _change(change: Change, max_bytes: int) -> Iterator[bytes]:
    before, after = _told(change, change.before), _told(change, change.after)
    if before and after and before.kind != after.kind:  # git says it as two
        yield from _one(change.path, before, None, max_bytes)
        yield from _one(change.path, None, after, max_bytes)
    elif before or after:
        yield from _one(change.path, before, after, max_bytes)


def _told(change: Change, entry: Entry | None) -> Entry | None:
    if entry is not None and entry.kind == "other":
        raise MergeError(f"{shown(change.path)}: a device, a fifo or a socket cannot be in a patch")
    return None if entry is None or entry.kind == "directory" else entry


def _one(path: str, before: Entry | None, after: Entry | None, max_bytes: int) -> Iterator[bytes]:
    old, new = _content(path, before, max_bytes), _content(path, after, max_bytes)
    modes = [_mode(entry) for entry in (before, after)]
    if old == new and modes[0] == modes[1]:
        return
    yield b"diff --git %b %b\n" % (_quoted(b"a/", path, blank=True), _quoted(b"b/", path, blank=True))
    if before is None:
        yield f"new file mode {modes[1]}\n".encode()
    elif after is None:
        yield f"deleted file mode {modes[0]}\n".encode()
    elif modes[0] != modes[1]:
        yield f"old mode {modes[0]}\nnew mode {modes[1]}\n".encode()
    if (old or b"") != (new or b"") or before is None or after is None:
        same = f" {modes[0]}" if modes[0] == modes[1] else ""
        yield f"index {_blob(old)}..{_blob(new)}{same}\n".encode()
    yield from _body(path, old, new)


def _body(path: str, old: bytes | None, new: bytes | None) -> Iterator[bytes]:
    if (old or b"") == (new or b""):
        return
    if any(data and b"\0" in data[:_BINARY_PROBE] for data in (old, new)):
        yield b"GIT binary patch\n"
        yield from _literal(new or b"")
        yield from _literal(old or b"")  # the way back, for `git apply -R`
        return
    yield b"--- %b\n" % (_named(b"a/", path) if old is not None else b"/dev/null")
    yield b"+++ %b\n" % (_named(b"b/", path) if new is not None else b"/dev/null")
    yield from hunks(old or b"", new or b"")


def _content(path: str, entry: Entry | None, max_bytes: int) -> bytes | None:
    if entry is None:
        return None
    if entry.kind == "symlink":
        return os.fsencode(entry.link or "")
    if entry.source is None:
        raise MergeError(f"{shown(path)}: a file without a source")
    try:
        with source(entry.source, path) as fd:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise MergeError(f"{shown(path)}: its source is not a regular file")
            data = _read(fd, max_bytes)
    except OSError as error:
        raise MergeError(f"{shown(path)}: cannot be read: {error.strerror or error!r}") from error
    if len(data) > max_bytes:
        raise TooLargeError(f"{shown(path)}: more than {max_bytes} bytes (max_bytes), too large for a patch")
    return data


def _read(fd: int, limit: int) -> bytes:
    """At most one byte more than the limit."""
    data = bytearray()
    while len(data) <= limit and (block := os.read(fd, min(_READ_BYTES, limit + 1 - len(data)))):
        data += block
    return bytes(data)


def _mode(entry: Entry | None) -> str:
    """Git keeps only whether the owner may execute it."""
    if entry is None:
        return ""
    if entry.kind == "symlink":
        return "120000"
    return "100755" if entry.mode & stat.S_IXUSR else "100644"


def _blob(data: bytes | None) -> str:
    """Git's name for these bytes; an identity, not a protection."""
    if data is None:
        return _NO_BLOB
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _literal(data: bytes) -> Iterator[bytes]:
    packed = zlib.compress(data)
    yield b"literal %d\n" % len(data)
    for start in range(0, len(packed), _LINE_BYTES):
        part = packed[start : start + _LINE_BYTES]
        yield _count(len(part)) + base64.b85encode(part, pad=True) + b"\n"
    yield b"\n"


def _count(size: int) -> bytes:
    return bytes([ord("A") + size - 1 if size <= 26 else ord("a") + size - 27])  # noqa: PLR2004 - letters


def _named(side: bytes, path: str) -> bytes:
    """In a `---` line a name with a blank in it ends with a tab, or `patch` would read a date."""
    name = _quoted(side, path)
    return name + b"\t" if b" " in name and not name.startswith(b'"') else name


def _quoted(side: bytes, path: str, *, blank: bool = False) -> bytes:
    """As git quotes a name that a line cannot hold, C-like; with `blank` also one with a blank in it.

    Where two names share a line git leaves a blank bare, and then cannot read `a/x /y b/x /y` back itself.
    """
    raw = side + os.fsencode(path)
    plain = all(32 <= byte < 127 and byte not in _QUOTED for byte in raw)  # noqa: PLR2004 - printable ASCII
    if plain and not (blank and b" " in raw):
        return raw
    return b'"' + b"".join(map(_escaped, raw)) + b'"'


def _escaped(byte: int) -> bytes:
    if byte in _QUOTED:
        return b"\\" + _QUOTED[byte].encode()
    return bytes([byte]) if 32 <= byte < 127 else b"\\%03o" % byte  # noqa: PLR2004 - printable ASCII


def listing(changes: Sequence[Change]) -> str:
    """One line for each change: its letter, a tab, its path, as `git diff --name-status` prints it."""
    return "".join(f"{change.letter}\t{_quoted(b'', change.path).decode()}\n" for change in changes)
