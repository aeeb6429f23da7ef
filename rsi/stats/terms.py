"""The words and checks that both trials share."""

from __future__ import annotations

import hashlib
import math
from typing import Final, Literal

from rsi.errors import InvalidInputError

Verdict = Literal["no_data", "undecided", "verified", "worse", "no_difference"]
TERMINAL: Final[frozenset[Verdict]] = frozenset({"verified", "worse", "no_difference"})
"""Verdicts that stay: a trial that has said one of them takes no further evidence."""

UNIT_BYTES: Final = 8
"""A unit is remembered by this many bytes of BLAKE2b: two of 100,000 units collide with probability 3e-10."""


class StatsInputError(InvalidInputError, ValueError):
    """An argument of `rsi.stats` is out of its range; the message names it and the range."""


def unit_key(unit: object) -> int:
    """The number a unit is remembered by: its text is never kept, however long it is."""
    text = str(unit).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=UNIT_BYTES).digest(), "big")


def check_fraction(fraction: float) -> float:
    """The fraction of units on the fixed arm; strictly between 0 and 1, or there is no randomisation to bet on."""
    if not 0.0 < fraction < 1.0:
        message = f"fraction: expected a number strictly between 0 and 1, got {fraction!r}; "
        raise StatsInputError(
            message + "with every unit on one arm there is nothing to compare, so add nothing then", field="fraction"
        )
    return float(fraction)


def check_counts(what: str, count: float, total: float) -> None:
    """`0 ≤ count ≤ total`, both finite."""
    if not (math.isfinite(total) and 0.0 <= count <= total):
        raise StatsInputError(f"{what}: expected 0 ≤ count ≤ total, got {count!r} of {total!r}", field=what)
