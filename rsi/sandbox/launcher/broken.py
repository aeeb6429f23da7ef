"""A step that failed, named so that the daemon can say what to do about it."""

from __future__ import annotations

import errno
from types import TracebackType


class BrokenError(Exception):
    """A step before the command's execve failed.

    Args:
        stage: one of `rsi.sandbox.launch.Stage`.
        number: errno, 0 when there is none.
        what: what was being done, with the path or name.
    """

    def __init__(self, stage: str, number: int, what: str) -> None:
        super().__init__(stage, number, what)
        self.stage, self.number, self.what = stage, number, what

    def encode(self) -> bytes:
        """As it goes through the status pipe; at most 4 KiB, so that it goes in one piece."""
        return f"{self.stage}\n{self.number}\n{self.what}".encode("utf-8", "backslashreplace")[:4096]


class Stage:
    """`with Stage("overlay", "mount the view"):` an OSError in it becomes a `BrokenError` of that stage."""

    def __init__(self, name: str, what: str) -> None:
        self._name, self._what = name, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, OSError):
            where = f" ({text(error.filename)})" if error.filename else ""
            raise BrokenError(self._name, error.errno or errno.EIO, self._what + where) from error


def text(path: object) -> str:
    """A path or name for a message."""
    return path.decode("utf-8", "backslashreplace") if isinstance(path, bytes) else str(path)
