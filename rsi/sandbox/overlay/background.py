"""Work that nobody waits for: one thread, which ends when there is nothing left to do."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

_log: Final = logging.getLogger("rsi.sandbox")


class Background:
    """Jobs, run one after the other by a daemon thread of their own.

    Args:
        name: of the thread, for people who look at a stack.
    """

    def __init__(self, name: str) -> None:
        self.failures = 0
        self._name = name
        self._jobs: deque[Callable[[], None]] = deque()
        self._state = threading.Condition()
        self._running = False

    def submit(self, job: Callable[[], None]) -> None:
        """Run it soon; returns at once."""
        with self._state:
            self._jobs.append(job)
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def drain(self, timeout_s: float | None = None) -> bool:
        """Wait until everything submitted so far is done; False when it took longer."""
        with self._state:
            return self._state.wait_for(lambda: not self._running, timeout_s)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except Exception:  # noqa: BLE001 - the border of a job: counted and said, and the next one goes on
                self.failures += 1
                _log.exception("sandbox: %s failed", self._name)

    def _next(self) -> Callable[[], None] | None:
        with self._state:
            if self._jobs:
                return self._jobs.popleft()
            self._running = False
            self._state.notify_all()
            return None
