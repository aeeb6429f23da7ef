"""The retry budget: retries may not become the outage (Finagle's RetryBudget; design, decision 9)."""

from __future__ import annotations

import threading
from typing import Final

from rsi import clock
from rsi.client import Client

RATIO: Final = 0.2  # extra calls per call
RESERVE: Final = 10.0  # extra calls per window whatever the traffic, so that a rare caller can retry at all
WINDOW_S: Final = 10


class RetryBudget:
    """Within any 10 s: extra calls ≤ 0.2 per call plus 10. Over the long run 1.2 times the calls plus one a second.

    A token bucket whose tokens expire: a sliding window of one-second slots.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._second = int(clock.monotonic())
        self._calls = [0] * WINDOW_S
        self._extra = [0] * WINDOW_S

    def call(self, at: float) -> None:
        """One first try was made, `at` this monotonic second."""
        second = int(at)
        with self._lock:
            if second != self._second:
                self._turn(second)
            self._calls[second % WINDOW_S] += 1

    def take(self, ratio: float = RATIO, reserve: float = RESERVE) -> bool:
        """Ask for one extra call. A policy may ask for a smaller budget than the built-in one, never for a larger."""
        second = int(clock.monotonic())
        with self._lock:
            if second != self._second:
                self._turn(second)
            allowed = min(ratio, RATIO) * sum(self._calls) + min(reserve, RESERVE)
            if sum(self._extra) + 1 > allowed:
                return False
            self._extra[second % WINDOW_S] += 1
            return True

    def _turn(self, second: int) -> None:
        """Empty the slots of the seconds that passed; a clock that goes back empties all."""
        passed = second - self._second
        for n in range(WINDOW_S if passed < 0 else min(passed, WINDOW_S)):
            slot = (second - n) % WINDOW_S
            self._calls[slot] = self._extra[slot] = 0
        self._second = second


def budget_of(client: Client, provider: str | None) -> RetryBudget:
    """The budget that all guards of this client share for a provider; a forked child begins its own."""
    budget: RetryBudget = client.shared.setdefault(f"retry budget {provider or ''}", RetryBudget())
    return budget
