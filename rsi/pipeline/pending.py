"""Where failures have come in since the rules were last asked, and where it is worth asking them again.

Counting a scope costs a query, and what a handful of new failures changes among thousands is nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from rsi.analyze.delta import Delta
from rsi.fix.facts import Scope

GROWTH: Final = 0.05
"""A scope is counted again once its failures have grown by this share …"""
MOST_ISSUES: Final = 500
"""… or so many issues wait …"""
LATEST_S: Final = 10.0
"""… or, a few scopes at a time, this has passed."""
LATE_AT_ONCE: Final = 8
REMEMBERED: Final = 10_000


class Struck:
    """What the rows of one cycle did: issues that were touched, and failures per scope."""

    def __init__(self) -> None:
        self.issues: set[int] = set()
        self.scopes: dict[Scope, int] = {}

    def take(self, delta: Delta) -> None:
        """Add the issues and failures of a slice."""
        self.issues.update(delta.touched)
        for seen in delta.seen.values():
            for place, tally in seen.places.items():
                self._count((place.source, place.task), tally.n)
        for step in delta.lost:
            self._count((step.source, step.task), 1)

    def recategorized(self, issue: int, scopes: Mapping[Scope, int]) -> None:
        """Add an issue whose category is new, with its failures per scope."""
        self.issues.add(issue)
        for scope, n in scopes.items():
            self._count(scope, n)

    def _count(self, scope: Scope, n: int) -> None:
        self.scopes[scope] = self.scopes.get(scope, 0) + n


class Pending:
    """What waits to be looked at; `issues` are those behind it."""

    def __init__(self) -> None:
        self.issues: set[int] = set()
        self._failures: dict[Scope, int] = {}
        self._looked: dict[Scope, tuple[int, float]] = {}

    def add(self, struck: Struck) -> None:
        """More has struck."""
        self.issues |= struck.issues
        for scope, n in struck.scopes.items():
            self._failures[scope] = self._failures.get(scope, 0) + n

    def due(self, now: float) -> set[Scope]:
        """The scopes whose counters may say something new; the first sight of a scope always does."""
        if len(self.issues) > MOST_ISSUES:
            return set(self._failures)
        grown = {scope for scope, n in self._failures.items() if n >= GROWTH * self._looked.get(scope, _NEVER)[0]}
        late = sorted(
            (at, scope)
            for scope in self._failures.keys() - grown
            if now - (at := self._looked.get(scope, _NEVER)[1]) >= LATEST_S
        )
        return grown | {scope for _, scope in late[:LATE_AT_ONCE]}

    def done(self, scopes: Collection[Scope], counted: Mapping[Scope, int], now: float) -> None:
        """These were looked at; `counted` are the failures that were found where anything was counted."""
        for scope in scopes:
            self._failures.pop(scope, None)
            self._looked[scope] = (counted.get(scope, self._looked.get(scope, _NEVER)[0]), now)
        if not self._failures:
            self.issues.clear()
        if len(self._looked) > REMEMBERED:
            self._looked.clear()


_NEVER: Final = (0, float("-inf"))
