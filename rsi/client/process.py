"""What a process does to its clients: it forks, and it ends."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Final, Protocol
from weakref import WeakSet

EXIT_S: Final = 2.0


class _Locked(Protocol):
    def renew_lock(self) -> None: ...


class _Tracked(Protocol):
    def stop(self) -> None: ...
    def finish(self, timeout: float = ..., /) -> None: ...
    def reset_after_fork(self) -> None: ...


_LIVE: WeakSet[_Tracked] = WeakSet()
_armed: set[str] = set()
_arming = threading.Lock()
_renewals: list[Callable[[], None]] = []
_holders: WeakSet[_Locked] = WeakSet()


def in_child(renew: Callable[[], None]) -> None:
    """Call `renew` in every forked child, before its clients begin anew."""
    _renewals.append(renew)


def renew_locks(holder: _Locked) -> None:
    """Call `holder.renew_lock()` in every forked child: a thread that does not exist there may hold the parent's."""
    _holders.add(holder)


def track(client: _Tracked) -> None:
    """Flush this client when the process ends; give it a new life in a forked child."""
    _LIVE.add(client)
    with _arming:
        if "exit" not in _armed:
            _armed.add("exit")
            atexit.register(_end)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=_in_child)


def arm_pool_worker() -> None:
    """A `multiprocessing` child ends without `atexit`; it runs its own finalizers instead."""
    util = sys.modules.get("multiprocessing.util")
    with _arming:
        if util is not None and "pool" not in _armed:
            _armed.add("pool")
            util.Finalize(None, _end, exitpriority=10)


def _end() -> None:
    """Two seconds for all clients together."""
    clients = list(_LIVE)
    for client in clients:
        client.stop()
    for client in clients:
        client.finish(EXIT_S / len(clients))


def _in_child() -> None:
    global _arming  # noqa: PLW0603 - the parent's lock may be held by a thread that does not exist here
    _arming = threading.Lock()
    _armed.discard("pool")
    for renew in _renewals:
        renew()
    for holder in list(_holders):
        holder.renew_lock()
    for client in list(_LIVE):
        client.reset_after_fork()
