"""The process that every sandbox is forked from: executed with no environment and one socket, it reads no order.

An order comes as five descriptors, its text in a memory file, and is read by the fork that serves it: nothing of one
sandbox is in the memory that the next one inherits, but in root mode the path of its store, for who stands by.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from contextlib import suppress

from . import idmap
from .payload import IGNORED_BY_PYTHON
from .standby import Key, Standby, key
from .supervisor import DESCRIPTORS, serve

_READY = b"ready"
#: Whose workspace, as whose it is shown: two ids each; after them comes the store.
_IDS = 4
_LONGEST = 8192


def main(descriptor: int) -> None:
    """Serve orders until the daemon's end of the socket is closed."""
    _forget_signals()
    os.umask(0o022)
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    channel.send(_READY)
    os.dup2(1, 2)
    gc.collect()
    gc.freeze()
    gc.disable()
    standby = Standby(channel)
    while _serve_one(channel, standby):
        pass


def _forget_signals() -> None:
    """What the daemon ignores and blocks is not the command's: only what Python ignores stays, until the payload."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - {*IGNORED_BY_PYTHON, signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def _serve_one(channel: socket.socket, standby: Standby) -> bool:
    message, descriptors, _, _ = socket.recv_fds(channel, _LONGEST, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if not message:
        return False
    _, *said = message.split(b" ", _IDS + 1)
    if ids := said[:_IDS]:
        _foresee([int(each) for each in ids])
    wanted = _key(said[_IDS]) if len(said) > _IDS else None
    if len(descriptors) == DESCRIPTORS and not (wanted and standby.take(wanted, descriptors)) and os.fork() == 0:
        channel.close()
        standby.close()
        serve(descriptors)
    for each in descriptors:
        os.close(each)
    if wanted is not None:
        standby.make(wanted)
    return True


def _key(store: bytes) -> Key | None:
    try:
        return key(store)
    except OSError:  # no /proc: the order itself will say what that means
        return None


def _foresee(ids: list[int]) -> None:
    """In root mode an order says whose workspace it is for, so that the next ones need not make that mapping again."""
    with suppress(OSError):  # the order itself will say why that cannot be done
        idmap.mapping(*ids)
