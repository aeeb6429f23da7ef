"""Waiting for the end of a process that need not be our child, together with pipes: a descriptor that becomes ready."""

from __future__ import annotations

import os
import select
import sys


class Death:
    """Readable once process `pid` has ended; `fd` is None if it had ended before.

    Linux: a pidfd (5.3). macOS: a kqueue, which is a descriptor too.
    """

    def __init__(self, pid: int) -> None:
        self.fd: int | None
        try:
            self.fd = _watched(pid)
        except ProcessLookupError:
            self.fd = None

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


if sys.platform == "linux":

    def _watched(pid: int) -> int:
        return os.pidfd_open(pid)

else:

    def _watched(pid: int) -> int:
        queue = select.kqueue()
        event = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT)
        try:
            queue.control([event], 0)
            return os.dup(queue.fileno())
        finally:
            queue.close()
