"""What one cycle did, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec

from rsi import clock

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 60.0
"""A stage that keeps failing is tried again after a pause that doubles up to this."""


class CycleReport(msgspec.Struct, kw_only=True):
    """Counts of one cycle; `ms` is how long it took, `failed` names the stages that could not do their work."""

    outcomes: int = 0
    issues: int = 0
    new_issues: int = 0
    planned: int = 0
    applied: int = 0
    verdicts: int = 0
    rolled_back: int = 0
    merged: int = 0
    proposals: int = 0
    quarantined: int = 0
    policy_version: int = 0
    published: bool = False
    failed: list[str] = []
    ms: float = 0.0


class Trouble(msgspec.Struct):
    """A stage that failed: how often in a row and in all, the last error, and when it is tried again (monotonic)."""

    in_a_row: int = 0
    total: int = 0
    error: str = ""
    until: float = 0.0


class Troubles:
    """The failures of the stages; read by `rsi status`, used by one thread at a time."""

    def __init__(self) -> None:
        self._by_stage: dict[str, Trouble] = {}

    def waiting(self, stage: str) -> bool:
        """Whether a stage rests after a failure."""
        found = self._by_stage.get(stage)
        return found is not None and clock.monotonic() < found.until

    def failed(self, stage: str, error: BaseException) -> None:
        """Count a failure; the pause before the next try doubles."""
        found = self._by_stage.setdefault(stage, Trouble())
        found.in_a_row += 1
        found.total += 1
        found.error = f"{type(error).__name__}: {error}"[:500]
        found.until = clock.monotonic() + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (found.in_a_row - 1))

    def worked(self, stage: str) -> None:
        """The stage did its work."""
        found = self._by_stage.get(stage)
        if found is not None:
            found.in_a_row, found.until = 0, 0.0

    def counts(self) -> dict[str, int]:
        """Failures since the start, by stage."""
        return {stage: found.total for stage, found in self._by_stage.items()}

    def sentences(self) -> list[str]:
        """What is wrong now."""
        return [
            f"{stage} failed ({found.in_a_row} times): {found.error}"
            for stage, found in self._by_stage.items()
            if found.in_a_row
        ]


class Events:
    """Callbacks for events; one that fails is counted and goes on being called.

    `on_failure(stage, error)` hears of failures.
    """

    def __init__(self, on_failure: Callable[[str, BaseException], None]) -> None:
        self._callbacks: list[tuple[Callable[[str, dict[str, Any]], None], frozenset[str] | None]] = []
        self._on_failure = on_failure

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def wants(self, event: str) -> bool:
        """Whether anybody listens to this: what nobody hears need not be made."""
        return any(only is None or event in only for _, only in self._callbacks)

    def subscribe(
        self, callback: Callable[[str, dict[str, Any]], None], only: Collection[str] | None = None
    ) -> Callable[[], None]:
        """Call `callback(event, data)` from now on, on `only` these events (default: all); returns how to stop."""
        entry = (callback, None if only is None else frozenset(only))
        self._callbacks = [*self._callbacks, entry]

        def unsubscribe() -> None:
            self._callbacks = [one for one in self._callbacks if one is not entry]

        return unsubscribe

    def emit(self, event: str, data: dict[str, Any]) -> None:
        """Tell everybody; in the caller's thread."""
        for callback, only in self._callbacks:
            if only is not None and event not in only:
                continue
            try:
                callback(event, data)
            except Exception as error:  # noqa: BLE001 - the border to whoever listens
                self._on_failure("subscriber", error)
