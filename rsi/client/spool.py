"""Outcomes that could not be sent, redacted, in files, until a daemon is there again.

One folder per home or address, so that nothing reaches the wrong daemon; one file per process at a time, so that nobody
waits for a lock. Any process of the same folder may resend any file: it claims the file by renaming it, and ids make a
second delivery harmless.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import uuid4

from rsi import clock

MAX_BYTES: Final = 64 * 1024 * 1024  # some 150,000 outcomes: a day of a busy agent
FILE_BYTES: Final = 1024 * 1024  # a file is resent in one piece: well below the daemon's 16 MiB a request
QUIET_S: Final = 10.0  # another process's file is left alone while it is still being written
STALE_S: Final = 300.0  # a claim whose owner died
_READY: Final = ".ndjson"
_CLAIM: Final = ".claim"


def key(name: str) -> str:
    """A readable, safe folder name for a home or an address."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[-40:]
    return f"{readable}-{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


class Spool:
    """The folder. Methods raise `OSError` when the disk will not have it.

    Args:
        folder: where the files lie; made on first use, mode 0700.
        owner: the client's id, in the names of its own files.
        max_bytes: beyond this the newest are refused.
    """

    def __init__(self, folder: Path, owner: str, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self._owner = owner
        self._max = max_bytes
        self._number = 0

    def append(self, lines: Sequence[bytes]) -> int:
        """Keep `lines`; returns how many did not fit."""
        room = self._max - sum(size for _, size in self._files())
        fitting = _fit(lines, room)
        if fitting:
            self._write(b"\n".join((*lines[:fitting], b"")))
        return len(lines) - fitting

    def _write(self, content: bytes) -> None:
        fd = self._open()
        try:
            if os.fstat(fd).st_size >= FILE_BYTES:
                self._number += 1
            while content:
                content = content[os.write(fd, content) :]
        finally:
            os.close(fd)

    def _open(self) -> int:
        path = self.folder / f"{self._owner}-{self._number}{_READY}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(path, flags, 0o600)

    def _files(self) -> Iterator[tuple[Path, int]]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # sent by somebody else meanwhile
                    if entry.is_file(follow_symlinks=False):
                        yield Path(entry.path), entry.stat().st_size

    def waiting(self) -> list[Path]:
        """Files that may be resent now, oldest first: our own, quiet ones of others, and claims of the dead."""
        now = clock.now()
        found: list[tuple[float, Path]] = []
        for path, _ in self._files():
            with contextlib.suppress(FileNotFoundError):
                changed = path.stat().st_mtime
                age = now - changed
                ours = path.suffix == _READY and path.name.startswith(self._owner)
                if ours or (path.suffix == _READY and age > QUIET_S) or (path.suffix == _CLAIM and age > STALE_S):
                    found.append((changed, path))
        return [path for _, path in sorted(found)]

    def resend(self, path: Path, send: Callable[[list[bytes]], None]) -> int:
        """Claim `path`, give its lines to `send`, delete it; returns how many lines there were.

        What `send` raises passes through, and the file is free again. A file that grew meanwhile is read on.
        """
        stem = f"{path.name.split('.')[0]}.{uuid4().hex[:8]}"  # new: a file of the old name may be there again
        claim = self.folder / (stem + _CLAIM)
        try:
            path.rename(claim)
            os.utime(claim)
        except FileNotFoundError:  # somebody else was quicker
            return 0
        try:
            return self._drain(claim, send)
        except BaseException:
            with contextlib.suppress(OSError):
                claim.rename(self.folder / (stem + _READY))
            raise

    def _drain(self, claim: Path, send: Callable[[list[bytes]], None]) -> int:
        done = 0
        with claim.open("rb") as file:
            while lines := [line.rstrip(b"\n") for line in file.readlines(FILE_BYTES) if line.strip()]:
                send(lines)
                done += len(lines)
        claim.unlink(missing_ok=True)
        return done

    def hand_over(self, inbox: Path) -> int:
        """Move this process's files into a home's inbox, where `rsi up --once` takes them; returns how many."""
        own = [path for path, _ in self._files() if path.name.startswith(self._owner) and path.suffix == _READY]
        for path in own:
            part = inbox / f"{path.stem}.part"  # names ending in .part are not looked at
            part.write_bytes(path.read_bytes())
            part.rename(inbox / f"spool-{path.name}")
            path.unlink(missing_ok=True)
        return len(own)


def _fit(lines: Sequence[bytes], room: int) -> int:
    if sum(map(len, lines)) + len(lines) <= room:
        return len(lines)
    for number, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            return number
    return len(lines)
