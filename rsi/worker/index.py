"""The vectors the worker knows, in one matrix; exact cosine, because 100,000 rows take 6 ms. Worker process only."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rsi.worker.wire import Near

_FIRST_ROWS: Final = 256


class Index:
    """Unit vectors by id; grows by doubling, a forgotten row is overwritten by the last."""

    def __init__(self, dim: int) -> None:
        self._rows: NDArray[np.float32] = np.zeros((_FIRST_ROWS, dim), np.float32)
        self._ids: list[str] = []
        self._place: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def put(self, key: str, vector: NDArray[np.float32]) -> None:
        """Add a vector, or replace the one under this id."""
        place = self._place.get(key)
        if place is None:
            place = len(self._ids)
            if place == len(self._rows):
                self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
            self._ids.append(key)
            self._place[key] = place
        self._rows[place] = vector

    def forget(self, key: str) -> None:
        """Drop an id; an unknown one is fine."""
        place = self._place.pop(key, None)
        if place is None:
            return
        last = self._ids.pop()
        if last != key:
            self._ids[place] = last
            self._place[last] = place
            self._rows[place] = self._rows[len(self._ids)]

    def get(self, key: str) -> NDArray[np.float32] | None:
        """The vector under an id."""
        place = self._place.get(key)
        return None if place is None else self._rows[place].copy()

    def nearest(self, vector: NDArray[np.float32], k: int, *, but: str) -> tuple[Near, ...]:
        """The `k` ids with the highest cosine, best first, never `but` itself."""
        count = len(self._ids)
        if not count or k < 1:
            return ()
        cosines = self._rows[:count] @ vector
        if but in self._place:
            cosines[self._place[but]] = -np.inf
        keep = min(k, count)
        best = np.argpartition(-cosines, keep - 1)[:keep]
        ranked = sorted(best, key=lambda place: (-cosines[place], self._ids[place]))
        return tuple(Near(self._ids[place], float(cosines[place])) for place in ranked if np.isfinite(cosines[place]))
