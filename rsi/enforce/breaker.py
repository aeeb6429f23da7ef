"""A circuit breaker: after so many failures in a row, refuse for a while, then let one call try."""

from __future__ import annotations

import threading
from typing import Final

from rsi import clock
from rsi.client import process
from rsi.errors import RSIError

FAILURES: Final = 5  # pybreaker's defaults, for a policy that names only one of the two
RESET_S: Final = 60.0
#: Failures that say something about the other side; a caller's own mistake opens nothing.
BREAKING: Final = frozenset(
    {
        "rate_limit",
        "quota_exhausted",
        "overloaded",
        "provider_5xx",
        "timeout_model",
        "timeout_tool",
        "connection",
        "mcp_transport",
    }
)


class CircuitOpenError(RSIError):
    """The policy's breaker is open: the call was not made. The message says when it is tried again."""


class Breaker:
    """One guard's breaker. Its limits come with each question, so that a new policy holds at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._opened: float | None = None  # monotonic seconds
        self._trying = False
        process.renew_locks(self)

    def renew_lock(self) -> None:
        """In a forked child."""
        self._lock = threading.Lock()
        self._trying = False

    def admit(self, task: str, failures: int, reset_s: float) -> None:
        """Let a call pass.

        Raises:
            CircuitOpenError: `failures` calls in a row failed less than `reset_s` seconds ago.
        """
        with self._lock:
            if self._failures < failures or self._opened is None:
                return
            left = self._opened + reset_s - clock.monotonic()
            if left > 0 or self._trying:
                raise CircuitOpenError(
                    f"{task}: circuit open after {self._failures} failures in a row, next try in {max(left, 0):.0f} s"
                )
            self._trying = True

    def failed(self) -> None:
        """A call that was let pass failed in a way that counts."""
        with self._lock:
            self._failures += 1
            self._opened = clock.monotonic()
            self._trying = False

    def worked(self) -> None:
        """A call that was let pass worked."""
        with self._lock:
            self._failures = 0
            self._opened = None
            self._trying = False

    def left(self) -> None:
        """A call that was let pass ended without saying anything about the other side."""
        with self._lock:
            self._trying = False
