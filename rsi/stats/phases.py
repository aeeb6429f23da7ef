"""Whether failures come in phases: most of them together, then none for a while, as at a provider that counts by time.

All tasks of the newest few hundred may lie in one phase where there are many, so they are looked at in a sample, too,
that takes minutes whatever the traffic.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rsi.stats.compare import design_effect

PHASES: Final = 4.0
"""With a design effect from here on failures come in phases."""
MIN_SAMPLE: Final = 60
"""Tasks that phases show in; fewer have a large design effect by chance."""
SAMPLE_S: Final = 0.3
"""One task in so many seconds is sampled."""
SAMPLED_KEPT: Final = 400
"""Newest of the sample that are kept: two minutes and more."""


def in_phases(labels: str) -> bool:
    """Whether failures do; `labels` are "1" (failed) and "0" in order of time."""
    return len(labels) >= MIN_SAMPLE and design_effect([label == "1" for label in labels]) >= PHASES


def is_due(at: float, last: float | None) -> bool:
    """Whether a task of the time `at` (s) is sampled after that of `last`; a clock that was set back begins anew."""
    return last is None or not 0.0 <= at - last < SAMPLE_S


def sampled(tasks: Iterable[tuple[float, bool]]) -> str:
    """The sample's labels, of tasks in order: (seconds, whether it failed)."""
    found: list[str] = []
    last: float | None = None
    for at, failed in tasks:
        if is_due(at, last):
            found.append("1" if failed else "0")
            last = at
    return "".join(found[-SAMPLED_KEPT:])
