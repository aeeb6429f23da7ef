"""max_concurrency: how many calls of one guard may be under way, for threads and for tasks of any event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from rsi.client import process


class Gate:
    """First come, first served. The limit comes with each question, so that a new policy holds at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit = 0
        self._waiting: deque[Callable[[], bool]] = deque()  # wakes a waiter; False if it has gone away
        process.renew_locks(self)

    def renew_lock(self) -> None:
        """In a forked child: nobody is inside, and nobody waits."""
        self._lock = threading.Lock()
        self._inside = 0
        self._waiting.clear()

    def try_enter(self, limit: int) -> bool:
        """Enter if there is room and nobody waits."""
        with self._lock:
            self._limit = limit
            if self._inside < limit and not self._waiting:
                self._inside += 1
                return True
            return False

    def wait(self, limit: int) -> None:
        """Enter, blocking this thread until there is room."""
        turn = threading.Event()

        def wake() -> bool:
            turn.set()
            return True

        if self._queue(limit, wake):
            turn.wait()

    async def await_turn(self, limit: int) -> None:
        """Enter, waiting in this task until there is room."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()

        def wake() -> bool:
            try:
                loop.call_soon_threadsafe(_resolve, turn)
            except RuntimeError:  # its loop is closed
                return False
            return True

        if not self._queue(limit, wake):
            return
        try:
            await turn
        except asyncio.CancelledError:
            if not self._withdraw(wake):
                self.leave()  # our turn had come: give it to the next
            raise

    def leave(self) -> None:
        """Make room."""
        with self._lock:
            self._inside = max(0, self._inside - 1)  # 0: it came in before the process was forked
            self._let_in()

    def _queue(self, limit: int, wake: Callable[[], bool]) -> bool:
        """Wait in line; `False` if there was room at once."""
        with self._lock:
            self._limit = limit
            if self._inside < limit and not self._waiting:
                self._inside += 1
                return False
            self._waiting.append(wake)
            self._let_in()  # the limit may have grown
            return True

    def _let_in(self) -> None:
        while self._waiting and self._inside < self._limit:
            if self._waiting.popleft()():
                self._inside += 1

    def _withdraw(self, wake: Callable[[], bool]) -> bool:
        with self._lock:
            if wake in self._waiting:
                self._waiting.remove(wake)
                return True
            return False


def _resolve(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
