"""A System V shared memory segment with a secret in it."""

from __future__ import annotations

import ctypes
import os
import secrets
from typing import Final, Self

_IPC_CREAT, _IPC_EXCL, _IPC_RMID = 0o1000, 0o2000, 0
_SIZE: Final = 4096


class Segment:
    """A context manager; `key` finds it, as long as it is open. Mode 0666: only an ipc namespace hides it."""

    def __init__(self, content: bytes) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.shmat.restype = ctypes.c_void_p
        self._libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
        self._libc.shmdt.argtypes = [ctypes.c_void_p]
        self._content = content
        self.key = secrets.randbelow(1 << 30) + 1

    def __enter__(self) -> Self:
        self._id: int = self._libc.shmget(self.key, _SIZE, _IPC_CREAT | _IPC_EXCL | 0o666)
        if self._id < 0:
            raise OSError(ctypes.get_errno(), f"shmget: {os.strerror(ctypes.get_errno())}")
        at = self._libc.shmat(self._id, None, 0)
        ctypes.memmove(at, self._content, len(self._content))
        self._libc.shmdt(at)
        return self

    def __exit__(self, *_: object) -> None:
        self._libc.shmctl(self._id, _IPC_RMID, None)
