"""One owner per home: an advisory lock that dies with its process, whatever way that process ends."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from rsi.errors import HomeLockedError

try:
    import fcntl
except ImportError:  # Windows: the client and the adapters work there, a home is never owned
    fcntl = None  # type: ignore[assignment]


class HomeLock:
    """Own `path` for the life of the `with` block; the file holds the owner's pid.

    Raises:
        HomeLockedError: somebody else owns it; names their pid and how to stop them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def __enter__(self) -> Self:
        if fcntl is None:
            raise HomeLockedError(f"{self._path}: this system has no file locks; run rsi on Linux or macOS")
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise HomeLockedError(
                f"{self._path.parent.parent}: another rsi process (pid {owner}) owns this home; "
                f"stop it with `kill {owner}` or choose another --home"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self._fd = fd
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
