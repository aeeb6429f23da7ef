"""Tune or unseen: whole causes go to one half, alternating within each category in the order of a salted hash."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

# Who has read one half with another salt has read some of this one: a new salt is a new start for the rules too.
SALT = "agent-errors-1"
HALVES = ("tune", "unseen")


def _order(word: str) -> str:
    return hashlib.sha256(f"{SALT}:{word}".encode()).hexdigest()


def halves(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """`{"tune": rows, "unseen": rows}`; a cause never stands in both."""
    rows = list(rows)
    causes: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        causes[row["category"]].add(row["cause"])
    place: dict[str, str] = {}
    # the first turn goes by the category's own hash, so that odd ones out do not all land in the same half
    for category, found in causes.items():
        first = int(_order(category), 16) % 2
        for number, cause in enumerate(sorted(found, key=_order)):
            place.setdefault(cause, HALVES[(first + number) % 2])
    kept: dict[str, list[dict[str, Any]]] = {half: [] for half in HALVES}
    for row in rows:
        kept[place[row["cause"]]].append(row)
    return kept
