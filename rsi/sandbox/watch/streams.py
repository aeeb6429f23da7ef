"""The three pipes of a command: input is pumped in, the head and the tail of its output are kept, bytes are counted.

Nothing here blocks: a command that never reads its input, or that closes it, costs nothing but the pipe.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import termios
from collections import deque
from types import TracebackType
from typing import Final, Self

#: One read; a Linux pipe holds 64 KiB unless told otherwise, so a larger buffer would never be filled.
CHUNK: Final = 1 << 16


class Kept:
    """The first and the last half of `keep` bytes of a stream, and how many bytes there were in all."""

    def __init__(self, keep: int) -> None:
        self.total = 0
        self._head = bytearray()
        self._head_room = (keep + 1) // 2
        self._tail: deque[bytes] = deque()
        self._tail_room = keep // 2
        self._tail_size = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes; memory stays below `keep` and one `CHUNK`."""
        self.total += len(data)
        if room := self._head_room - len(self._head):
            self._head += data[:room]
            data = data[room:]
        if not data:
            return
        self._tail.append(data)
        self._tail_size += len(data)
        while self._tail_size - len(self._tail[0]) >= self._tail_room:
            self._tail_size -= len(self._tail.popleft())
            if not self._tail:
                break

    def content(self) -> bytes:
        """What was kept; between head and tail, one line says how many bytes are left out."""
        tail = b"".join(self._tail)
        tail = tail[max(0, len(tail) - self._tail_room) :]
        missing = self.total - len(self._head) - len(tail)
        if not missing:
            return bytes(self._head) + tail
        start = b"" if self._head.endswith(b"\n") else b"\n"
        return b"%b%b[... %d bytes left out ...]\n%b" % (bytes(self._head), start, missing, tail)


class Streams:
    """Both ends of stdin, stdout and stderr of one command. A context manager: leaving it closes what is open.

    Args:
        data: what the command gets as input.
        keep: bytes kept of each output stream.
    """

    def __init__(self, data: bytes, keep: int) -> None:
        self.stdout, self.stderr = Kept(keep), Kept(keep)
        self._data = memoryview(data)
        self._open: set[int] = set()
        try:
            (in_read, self._in), (out, out_write), (err, err_write) = (self._pipe() for _ in range(3))
        except BaseException:
            self.close()
            raise
        self.theirs = (in_read, out_write, err_write)
        self._kept = {out: self.stdout, err: self.stderr}
        self.poll = select.poll()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open; may be called again."""
        for fd in tuple(self._open):
            self._close(fd)

    @property
    def written(self) -> int:
        """Bytes of stdout and stderr together."""
        return self.stdout.total + self.stderr.total

    def started(self) -> None:
        """The command has its ends: ours are watched from now on, theirs are closed here."""
        for fd in self.theirs:
            self._close(fd)
        for fd in (self._in, *self._kept):
            os.set_blocking(fd, False)
        for fd in self._kept:
            self.poll.register(fd, select.POLLIN)
        if self._data:
            self.poll.register(self._in, select.POLLOUT)
        else:
            self._close(self._in)

    def ready(self, fd: int) -> None:
        """Move bytes for one descriptor that `poll` reported; another's is ignored."""
        if fd not in self._open:  # the number of one that was closed is given to the next that is opened: not ours
            return
        if fd == self._in:
            self._feed()
        elif fd in self._kept and not self._read(fd, CHUNK):
            self._forget(fd)

    def drain(self) -> None:
        """Take what is in the pipes now, and no more: somebody else may hold the other end, and go on writing."""
        for fd in self._kept:
            left = _waiting(fd) if fd in self._open else 0
            while left > 0 and (taken := self._read(fd, min(left, CHUNK))):
                left -= taken

    def _feed(self) -> None:
        try:
            self._data = self._data[os.write(self._in, self._data[:CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it does not want any more: not an error, as in a shell's pipe
            self._data = self._data[:0]
        if not self._data:
            self._forget(self._in)

    def _read(self, fd: int, size: int) -> int:
        try:
            data = os.read(fd, size)
        except BlockingIOError:
            return 0
        self._kept[fd].add(data)
        return len(data)

    def _forget(self, fd: int) -> None:
        self.poll.unregister(fd)
        self._close(fd)

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._open.update(ends)
        return ends

    def _close(self, fd: int) -> None:
        if fd in self._open:
            self._open.discard(fd)
            os.close(fd)


def _waiting(fd: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
