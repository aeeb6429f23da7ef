"""Hears CrewAI's events where they are emitted.

The bus hands events to listeners in a pool of ten threads, in any order and in a copy of the context. Our runs must be
open in the very context in which the task works (a guard inside a tool belongs to it, and its arm is decided before the
first model call), so the bus's own `emit` is wrapped: there events come in the order of their `emission_sequence`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Tap:
    """`put` and `take_back` the wrapper around a bus's `emit`; `hear(source, event)` must not raise.

    Args:
        bus: CrewAI's event bus.
        hear: called after the bus has numbered the event and given it its parents.
    """

    def __init__(self, bus: Any, hear: Callable[[Any, Any], None]) -> None:
        self._bus = bus
        self._hear = hear
        self._ours: Any = None
        self._open = False

    def put(self) -> None:
        """Begin to hear."""
        before = self._bus.emit
        self._open = True

        def emit(source: Any, event: Any) -> Any:
            done = before(source, event)
            if self._open:
                self._hear(source, event)
            return done

        self._ours = emit
        self._bus.emit = emit

    def take_back(self) -> None:
        """The bus as it was; where somebody else has wrapped it since, ours stays and passes everything on."""
        self._open = False
        if vars(self._bus).get("emit") is self._ours:
            del self._bus.emit
