"""In root mode: a supervisor that is made before its order comes, so that most of the root is mounted by then.

It serves one order and was forked before anybody read it, like any other. It is not used if the host's mounts or its
system folders are not what they were; and it does not wait for long, because as long as it lives nothing that is
mounted on the host can be let go of.
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress

from . import system
from .broken import BrokenError
from .supervisor import DESCRIPTORS, Place, begin, serve

#: It waits this long for an order, in milliseconds.
PATIENCE_MS = 10_000
#: The zygote waits this long for one that is still being made, in milliseconds: making another takes a few.
READY_MS = 1_000
_READY, _ORDER = b"ready", b"order"
Key = tuple[bytes, bytes, tuple[tuple[int, int, int] | None, ...]]


def key(store: bytes) -> Key:
    """What it is good for: this store, with the host as it is now."""
    with open("/proc/self/mountinfo", "rb") as file:
        return store, file.read(), system.state()


class Standby:
    """The zygote's: at most one.

    Args:
        zygote: the socket of the zygote, which is not for its children.
    """

    def __init__(self, zygote: socket.socket) -> None:
        self._zygote = zygote
        self._channel: socket.socket | None = None
        self._key: Key | None = None

    def take(self, wanted: Key, descriptors: list[int]) -> bool:
        """Hand it an order; False if there is none for that any more. Either way there is none left."""
        channel, fits = self._channel, self._key == wanted
        self._channel = self._key = None
        if channel is None:
            return False
        with channel:
            if not fits:
                return False
            try:
                if not _readable(channel, READY_MS) or channel.recv(len(_READY)) != _READY:
                    return False  # it could not be made: whoever serves the order instead says why
                socket.send_fds(channel, [_ORDER], descriptors)
            except OSError:  # it has ended: nobody waits for ever
                return False
        return True

    def make(self, wanted: Key) -> None:
        """A new one; where that cannot be done there is none, and whoever serves the next order will say why."""
        with suppress(OSError):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                if os.fork() == 0:
                    ours.close()
                    self._zygote.close()
                    _stand(theirs, wanted[0])
            self._channel, self._key = ours, wanted

    def close(self) -> None:
        """In a child that has nothing to do with it."""
        if self._channel is not None:
            self._channel.close()


def _stand(channel: socket.socket, store: bytes) -> None:
    """Never returns."""
    try:
        with suppress(BrokenError, OSError):
            begin()
            place = Place(store)
            channel.send(_READY)
            if descriptors := _await(channel):
                serve(descriptors, place)
    finally:
        os._exit(0)


def _await(channel: socket.socket) -> list[int]:
    """An order's descriptors; none if there will be no order."""
    if not _readable(channel, PATIENCE_MS):
        return []
    with channel:
        message, descriptors, _, _ = socket.recv_fds(channel, len(_ORDER), DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    return descriptors if message and len(descriptors) == DESCRIPTORS else []


def _readable(channel: socket.socket, wait_ms: int) -> bool:
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    return bool(poll.poll(wait_ms))
