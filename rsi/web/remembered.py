"""An answer that many ask for at once: made once, and anew when what it tells of has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.responses import Response

from rsi import clock

#: Health changes with outcomes (the pipeline tells) and, by decay alone, too slowly to see within a second.
_FRESH_S: Final = 1.0


class Remembered:
    """One answer. Used in the event loop alone; who asks while it is being made waits for that one."""

    def __init__(self) -> None:
        self._answer: Response | None = None
        self._version = -1
        self._until = 0.0
        self._making: asyncio.Task[Response] | None = None
        self._making_version = -1

    async def answer(self, version: int, make: Callable[[], Response]) -> Response:
        """The answer as of `version` or later; `make` runs in a thread."""
        if self._answer is not None and self._version == version and 0 < self._until - clock.monotonic() <= _FRESH_S:
            return self._answer
        if self._making is None or self._making.done() or self._making_version != version:
            self._making = asyncio.create_task(self._make(version, make))
            self._making_version = version
        return await asyncio.shield(self._making)

    async def _make(self, version: int, make: Callable[[], Response]) -> Response:
        until = clock.monotonic() + _FRESH_S
        made = await asyncio.to_thread(make)
        if version >= self._version:
            self._answer, self._version, self._until = made, version, until
        return made
