"""How many tasks a source may have: past the limit it is `other`, so that no counter grows with the traffic."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Final

from rsi.policy.tasks import mask_task

log = logging.getLogger("rsi.ingest")

OTHER: Final = "other"
#: Names as they were sent, remembered with what became of them.
_REMEMBERED: Final = 8192


class TaskNames:
    """The tasks of each source, bounded. Thread-safe: looking up what is known takes no lock.

    Args:
        known: (source, task) pairs that the store has already.
        limit: `limits.tasks_per_source`.
    """

    def __init__(self, known: Iterable[tuple[str, str]], limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._tasks: dict[str, set[str]] = {}
        for source, task in known:
            self._tasks.setdefault(source, set()).add(task)
        self._named: dict[tuple[str, str], str] = {}
        self.full: set[str] = set()

    def name(self, source: str, raw: str) -> str:
        """The masked name, or `other` where the source has too many."""
        found = self._named.get((source, raw))
        if found is None:
            found = self._admit(source, mask_task(raw))
            if len(self._named) >= _REMEMBERED:
                self._named.clear()
            self._named[source, raw] = found
        return found

    def _admit(self, source: str, task: str) -> str:
        with self._lock:
            known = self._tasks.setdefault(source, set())
            if len(known) < self._limit or task in known:
                known.add(task)
                return task
            if source not in self.full:
                self.full.add(source)
                log.warning(
                    "source %s has more than %d tasks: further ones are counted as %r; "
                    "name tasks by what they are, not by their instance (setting limits.tasks_per_source)",
                    source, self._limit, OTHER,
                )  # fmt: skip
            return OTHER
