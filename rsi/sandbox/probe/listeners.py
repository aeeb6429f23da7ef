"""Sockets that wait to be reached by an attack, and what they heard."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from pathlib import Path
from typing import Final, Self

#: What an attack says is `run:name`; no name is longer.
_MOST: Final = 256
_BACKLOG: Final = 16


class Listeners:
    """TCP and UDP on loopback, Unix sockets by path, in a workspace and abstract. A context manager.

    Nobody has to wait for them: an attack that got through has left its words in the kernel's buffers.
    """

    def __init__(self, abstract: str, paths: tuple[Path, ...]) -> None:
        self._heard: set[str] = set()
        self._streams = [_bound(socket.AF_INET, ("127.0.0.1", 0))]
        self._datagrams = [_bound(socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM)]
        self.tcp: int = self._streams[0].getsockname()[1]
        self.udp: int = self._datagrams[0].getsockname()[1]
        self.tcp6 = 0
        with contextlib.suppress(OSError):  # a machine without IPv6: then that attack cannot be tried
            self._streams.append(_bound(socket.AF_INET6, ("::1", 0)))
            self.tcp6 = self._streams[-1].getsockname()[1]
        with contextlib.suppress(OSError):  # abstract names are Linux only
            self._streams.append(_bound(socket.AF_UNIX, "\0" + abstract))
        for path in paths:
            self._streams.append(_bound(socket.AF_UNIX, os.fspath(path)))
            path.chmod(0o777)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (*self._streams, *self._datagrams):
            sock.close()

    def heard(self) -> set[str]:
        """Everything that was said so far."""
        while ready := select.select([*self._streams, *self._datagrams], [], [], 0)[0]:
            for sock in ready:
                self._hear(sock)
        return self._heard

    def _hear(self, sock: socket.socket) -> None:
        if sock in self._datagrams:
            self._heard.add(sock.recv(_MOST).decode(errors="replace"))
            return
        with sock.accept()[0] as peer, contextlib.suppress(OSError):  # it hung up: it said nothing
            peer.settimeout(0.2)
            self._heard.add(peer.recv(_MOST).decode(errors="replace"))


def _bound(family: int, address: object, kind: int = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        sock.bind(address)  # type: ignore[arg-type]  # a pair for INET, a string for UNIX
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
