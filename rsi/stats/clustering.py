"""How clustered a stream of outcomes is, in constant memory: along time, and within units."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

MIN_SERIES: Final = 12
"""Below this many values an autocorrelation says nothing."""
MIN_VARIANCE: Final = 1e-9
MAX_EFFECT: Final = 15.0


class Autocorrelation:
    """Autocorrelations of a stream of 0 and 1 up to `lags`, from sums, the first and the last few values."""

    __slots__ = ("first", "last", "n", "products", "total")

    def __init__(self, lags: int) -> None:
        self.n = 0
        self.total = 0
        self.first: list[int] = []
        self.last: list[int] = []
        self.products = [0] * lags

    def see(self, value: bool) -> None:
        """Take the next value in."""
        lags = len(self.products)
        for i, earlier in enumerate(reversed(self.last)):
            self.products[i] += earlier * value
        self.last = [*self.last, int(value)][-lags:]
        if len(self.first) < lags:
            self.first.append(int(value))
        self.n += 1
        self.total += value

    def values(self) -> list[float] | None:
        """Autocorrelation at lags 1, 2, …; None if too short or constant."""
        n, mean = self.n, self.total / self.n if self.n else 0.0
        variance = mean * (1.0 - mean)
        if n < MIN_SERIES or variance < MIN_VARIANCE:
            return None
        found = []
        for lag, product in enumerate(self.products, start=1):
            pairs = n - lag
            ends = 2 * self.total - sum(self.first[:lag]) - sum(self.last[-lag:])
            found.append((product - mean * ends + pairs * mean * mean) / n / variance)
        return found

    def signed_effect(self, unknown: float) -> float:
        """1 + 2 times the sum of all autocorrelations, 1 to 15; alternation takes off what clustering adds."""
        values = self.values()
        return unknown if values is None else min(MAX_EFFECT, max(1.0, 1.0 + 2.0 * sum(values)))

    def positive_effect(self) -> float:
        """1 + 2 times what each autocorrelation exceeds half a standard error by, 1 to 15."""
        values = self.values()
        if values is None:
            return 1.0
        noise = 0.5 / math.sqrt(self.n)
        return min(MAX_EFFECT, 1.0 + 2.0 * sum(max(0.0, value - noise) for value in values))

    def to_list(self) -> list[Any]:
        """JSON-safe state."""
        return [self.n, self.total, list(self.first), list(self.last), list(self.products)]

    @classmethod
    def from_list(cls, state: Sequence[Any]) -> Self:
        """What `to_list` described."""
        n, total, first, last, products = state
        found = cls(len(products))
        found.n, found.total, found.first, found.last = int(n), int(total), list(first), list(last)
        found.products = list(products)
        return found


class UnitClustering:
    """Kish's design effect: how much more the failures per unit vary than those of independent outcomes would.

    Remembers the units last seen, `MAX_UNITS` of them; one that comes back after being forgotten counts as new.
    """

    MAX_UNITS: Final = 4096

    __slots__ = ("_ever", "_sums", "_units")

    def __init__(self) -> None:
        self._units: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._ever = 0
        self._sums = [0, 0, 0, 0, 0]

    def see(self, key: int, failed: bool) -> None:
        """Take one outcome of the unit with this key in."""
        outcomes, failures = self._units.pop(key, (0, 0))
        self._ever += outcomes == 0
        self._weigh(outcomes, failures, -1)
        self._units[key] = (outcomes + 1, failures + failed)
        self._weigh(outcomes + 1, failures + failed, 1)
        if len(self._units) > self.MAX_UNITS:
            self._units.popitem(last=False)

    def _weigh(self, outcomes: int, failures: int, sign: int) -> None:
        for i, moment in enumerate((outcomes, failures, outcomes**2, outcomes * failures, failures**2)):
            self._sums[i] += sign * moment

    def effect(self) -> float:
        """1 if every unit has one outcome; else how much to deflate a count by."""
        outcomes, failures, square, cross, failed_square = self._sums
        if self._ever == outcomes:
            return 1.0
        rate = failures / outcomes
        expected = rate * (1.0 - rate) * outcomes
        if expected <= 0.0:
            return 1.0
        return max(1.0, (failed_square - 2.0 * rate * cross + rate * rate * square) / expected)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe state."""
        units = [[f"{key:016x}", *counts] for key, counts in self._units.items()]
        return {"ever": self._ever, "sums": list(self._sums), "units": units}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """What `to_dict` described."""
        found = cls()
        found._ever, found._sums = int(state["ever"]), list(state["sums"])
        found._units.update((int(key, 16), (int(m), int(k))) for key, m, k in state["units"])
        return found
