"""What happened to everything that was handed in: counters for `status()`, and each trouble said once."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Final

log: Final = logging.getLogger("rsi")

#: Distinct sentences that are remembered; beyond it something is wrong with the sentences.
_SAID: Final = 200


class Tally:
    """Counters by name. Counting is not exact to the last one under threads, and nothing depends on that."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._said: set[str] = set()

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter."""
        self.counts[name] += number

    def say_once(self, message: str, *, level: int = logging.WARNING, key: str | None = None) -> None:
        """Log `message` the first time that it (or `key`) comes up in this process."""
        key = key or message
        if key not in self._said and len(self._said) < _SAID:
            self._said.add(key)
            log.log(level, "%s", message)
