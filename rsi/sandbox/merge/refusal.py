"""What may not be written back, and why: one refusal for each path, all of them in one error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from rsi.errors import MergeError

#: An error names this many paths; the rest are counted (all are in `refusals`).
SHOWN: Final = 20


class Refusal(msgspec.Struct, frozen=True):
    """One path that may not be written."""

    path: str
    reason: str


class MergeRefusedError(MergeError):
    """Nothing was written; `refusals` says for each path why not."""

    def __init__(self, refusals: Iterable[Refusal]) -> None:
        self.refusals = tuple(refusals)
        super().__init__(
            "nothing was merged: " + listed(f"{shown(each.path)}: {each.reason}" for each in self.refusals)
        )


def shown(path: str) -> str:
    """A path for people: as it is when it can be printed, else quoted."""
    return path if path and path.isprintable() else ascii(path)


def listed(parts: Iterable[str]) -> str:
    """The first of them, and how many more there are."""
    every = list(parts)
    more = f" … and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return "; ".join(every[:SHOWN]) + more
