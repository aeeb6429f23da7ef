"""One virtual clock for a daemon and its agents in one process. Agents run one at a time, so a run with a seed repeats itself.

An agent is a thread that runs until it sleeps. The driver wakes the one that is due next; nothing happens between two
wake-ups, so hours pass as fast as the machine works. Threads that are no agents (the client's sender, the daemon) live in
real time and only read this clock.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
import time
from collections.abc import Callable

START = 1_795_000_000.0  # an epoch second like any other
PATIENCE_S = 60.0  # of real time, for a turn of one agent
_REAL_NAP_S = 0.002


class Stopped(BaseException):
    """The world ends; not an `Exception`, so that an agent's own handlers let it through."""


class VirtualClock:
    """Install it with `rsi.clock.install`."""

    def __init__(self) -> None:
        self.time = START
        self._due: list[tuple[float, int, threading.Event]] = []
        self._numbers = itertools.count()
        self._agents: set[int] = set()
        self._parked = threading.Event()
        self._over = False
        self.errors: list[BaseException] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        if threading.get_ident() not in self._agents:
            time.sleep(_REAL_NAP_S)
            return
        turn = threading.Event()
        heapq.heappush(self._due, (self.time + max(0.0, seconds), next(self._numbers), turn))
        self._parked.set()
        turn.wait()
        if self._over:
            raise Stopped

    async def asleep(self, seconds: float) -> None:
        del seconds
        await asyncio.sleep(_REAL_NAP_S)

    def agent(self, work: Callable[[], None], name: str) -> threading.Thread:
        """Begin an agent; it parks at once and is woken at the present time."""

        def run() -> None:
            self._agents.add(threading.get_ident())
            try:
                self.sleep(0.0)
                work()
            except Stopped:
                pass
            except BaseException as error:
                self.errors.append(error)
            finally:
                self._parked.set()

        self._parked.clear()
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        self._wait_until_parked()
        return thread

    def advance(self, until: float) -> None:
        """Let agents run until this time, each when it is due."""
        while self._due and self._due[0][0] <= until:
            at, _, turn = heapq.heappop(self._due)
            self.time = max(self.time, at)
            self._parked.clear()
            turn.set()
            self._wait_until_parked()
            if self.errors:
                raise self.errors[0]
        self.time = max(self.time, until)

    def end(self) -> None:
        """Wake every agent for the last time."""
        self._over = True
        while self._due:
            _, _, turn = heapq.heappop(self._due)
            self._parked.clear()
            turn.set()
            self._wait_until_parked()

    def _wait_until_parked(self) -> None:
        if not self._parked.wait(PATIENCE_S):
            raise TimeoutError(f"an agent neither slept nor ended within {PATIENCE_S:g} s of real time")
