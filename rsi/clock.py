"""The only module that touches time, so that a test or a simulated fleet can own it.

`now()` is wall time in epoch seconds (UTC), `monotonic()` measures spans in seconds, `sleep` and `asleep` wait.
`install(clock)` replaces all of them for the process; `install(None)` brings the real ones back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a replacement must offer. All values are seconds."""

    def now(self) -> float:
        """Wall time in epoch seconds."""

    def monotonic(self) -> float:
        """A span's clock."""

    def sleep(self, seconds: float) -> None:
        """Block this thread."""

    def asleep(self, seconds: float) -> Awaitable[None]:
        """Wait in this task."""


class _Real:
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)
    asleep = staticmethod(asyncio.sleep)


_REAL: Clock = _Real()
_clock: Clock = _REAL


def install(clock: Clock | None) -> None:
    """Use `clock` in this process from now on; `None` means the machine's own."""
    global _clock  # noqa: PLW0603 - one clock per process is the point
    _clock = clock if clock is not None else _REAL


def now() -> float:
    """Wall time in epoch seconds."""
    return _clock.now()


def monotonic() -> float:
    """Seconds since an arbitrary start, never going back."""
    return _clock.monotonic()


def sleep(seconds: float) -> None:
    """Block this thread."""
    _clock.sleep(seconds)


async def asleep(seconds: float) -> None:
    """Wait in this task."""
    await _clock.asleep(seconds)


def iso(ts: float) -> str:
    """Epoch seconds → `2026-11-21T01:24:00.123Z` (aware UTC, milliseconds)."""
    return datetime.fromtimestamp(ts, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_iso(text: str) -> float:
    """ISO 8601 → epoch seconds; a naive time is UTC.

    Raises:
        ValueError: not an ISO 8601 date and time.
    """
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
