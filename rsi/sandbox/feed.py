"""A command's input as it comes: the bytes of a descriptor of ours go into a pipe while the command runs.

The descriptor itself is never handed over: a command could open it again through /proc, for writing, or be given a
terminal.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

V = TypeVar("V")
#: One read; what a Linux pipe holds unless told otherwise.
_CHUNK: Final = 1 << 16
#: For a thread that was told to end. One that cannot, because another process took what it was about to read, is left.
_PATIENCE_S: Final = 1.0
_OVER: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL


@contextmanager
def fed(start: Callable[[int, int, int], V], source: int | None) -> Iterator[Callable[[int, int, int], V]]:
    """`start`, whose standard input gets what comes from `source` until this is left; None changes nothing.

    Args:
        start: given stdin, stdout and stderr; called once.
        source: a descriptor that can be read; not closed.
    """
    if source is None:
        yield start
        return
    feed = _Feed(source)

    def instead(_: int, stdout: int, stderr: int) -> V:
        try:
            return start(feed.theirs, stdout, stderr)
        finally:
            feed.begin()

    try:
        yield instead
    finally:
        feed.close()


class _Feed:
    """One pump: it ends when the source does, when nobody reads any more, or by `close`."""

    def __init__(self, source: int) -> None:
        self._source = source
        self.theirs, self._into = os.pipe()
        self._told, self._tell = os.pipe()
        os.set_blocking(self._into, False)
        self._thread = threading.Thread(target=self._pump, name="rsi-sandbox-feed", daemon=True)

    def begin(self) -> None:
        """The command has its end: ours of it is closed, so that we notice when it does not read any more."""
        os.close(self.theirs)
        self._thread.start()

    def close(self) -> None:
        """End it; returns soon."""
        if self._thread.ident is None:  # nothing was started
            for fd in (self.theirs, self._into, self._told, self._tell):
                os.close(fd)
            return
        os.close(self._tell)
        self._thread.join(_PATIENCE_S)

    def _pump(self) -> None:
        data = memoryview(b"")
        try:
            while self._wait(writing=bool(data)):
                if data:
                    data = data[os.write(self._into, data) :]
                    continue
                data = memoryview(os.read(self._source, _CHUNK))
                if not data:
                    return
        except OSError:  # it cannot be read, or nobody does: the end of the input, as in a shell's pipe
            return
        finally:
            os.close(self._into)
            os.close(self._told)

    def _wait(self, *, writing: bool) -> bool:
        """Until there is something to do; False when there will not be."""
        poll = select.poll()
        poll.register(self._told, select.POLLIN)
        poll.register(self._into, select.POLLOUT if writing else 0)
        if not writing:
            poll.register(self._source, select.POLLIN)
        ready = dict(poll.poll())
        return self._told not in ready and not ready.get(self._into, 0) & _OVER
