"""Which sources stand beside a change that cannot be split: who did enough before it, and whom nobody touched.

One place for both who ask: the gate, whether a fix could be compared at all, and the verdict, with whom it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection

from rsi.model import FixState, StoredOutcome
from rsi.stats import BeforeAfterTrial
from rsi.store import fixes, outcomes
from rsi.store.fixes import FixRow
from rsi.verify.unsplit_rows import Watched

ANY: Final = "*"
LOOK_BACK_ROWS: Final = 5_000
LOOK_BACK_S: Final = 86_400.0
"""What was before: the newest rows of the last day. One window for all sources, so that traffic can be compared."""
MIN_BEFORE: Final = 30
"""Final tasks that a source needs before the change to be compared with, or to be compared at all."""
MIN_FAILURES: Final = 5
"""Failures of the treated source before the change: below, its share is a guess."""
AT_ONCE: Final = 1_000
NAMED: Final = 5
"""Untouched sources that a text names; the others are a number."""

APPLIED_ONCE: Final[tuple[FixState, ...]] = (
    "canary", "verified", "kept_unverified", "rolled_back", "removed", "superseded",
)  # fmt: skip
"""States of fixes that act, or have acted."""


class Beside(NamedTuple):
    """The sources beside a change, by what they are good for: the untouched ones, and why the others are not."""

    untouched: tuple[str, ...]
    few: Mapping[str, int] = {}
    touched: tuple[str, ...] = ()


def rows_since(conn: Connection, seq: int) -> Iterator[StoredOutcome]:
    """All rows above this number, oldest first."""
    while rows := outcomes.since(conn, seq, AT_ONCE):
        yield from rows
        seq = rows[-1].seq


def in_window(rows: Iterable[StoredOutcome], started: float) -> Iterator[StoredOutcome]:
    """Those that arrived within a day before the change, or after it."""
    return (row for row in rows if row.arrived >= started - LOOK_BACK_S)


def find(conn: Connection, watched: Watched, rows: Iterable[StoredOutcome]) -> Beside:
    """Every other source of these rows, which are those before the change.

    A fix that is being checked or written touches its source as well: it will not stay as it is.

    Args:
        conn: for the other fixes.
        watched: the change; nothing of it has been counted yet.
        rows: of the window before it.
    """
    counted = Counter[str]()
    oldest = watched.started
    for row in in_window(rows, watched.started):
        outcome = row.outcome
        if outcome.kind == "task" and outcome.final and not outcome.backfill:
            counted[outcome.source] += 1
            oldest = min(oldest, row.arrived)
    reached = {watched.source, *watched.reached}
    starting = {fix.source for fix in fixes.in_states(conn, fixes.CHECKING) if fix.id != watched.fix}
    gone = touched(conn, watched, oldest) | starting
    if ANY in gone:
        return Beside((), touched=tuple(sorted(counted.keys() - reached)))
    free = {name: n for name, n in counted.items() if name not in gone}
    return Beside(
        untouched=tuple(sorted(name for name, n in free.items() if n >= MIN_BEFORE)),
        few={name: n for name, n in sorted(free.items()) if n < MIN_BEFORE},
        touched=tuple(sorted((counted.keys() & gone) - reached)),
    )


def lacking(test: BeforeAfterTrial, untouched: Collection[str]) -> str | None:
    """What the window before the change lacks for any verdict, in words; None: nothing. It will not come any more."""
    if (short := too_few(test)) is not None:
        return short
    if test.can_decide():
        return None
    failed, n = test.counts("untouched", "before")
    several = len(untouched) > 1
    if not failed:
        has, share = ("have", "their share says") if several else ("has", "its share says")
        return f"{names(untouched)} {has} not failed ({n} tasks), so {share} nothing"
    few = f"{failed} of {n} tasks, counted as {failed / test.deflation():.2g} for clustering"
    return f"{names(untouched)} failed too seldom ({few}) for {'their' if several else 'its'} share to say anything"


def too_few(test: BeforeAfterTrial) -> str | None:
    """Whether the treated source itself did too little before the change, in words."""
    failed, n = test.counts("treated", "before")
    enough = n >= MIN_BEFORE and failed >= MIN_FAILURES
    return None if enough else f"{failed} failures of {n} tasks before the change are too few to compare with"


def still(conn: Connection, watched: Watched) -> tuple[str, ...]:
    """The untouched sources that nobody has touched since."""
    gone = touched(conn, watched, watched.started)
    return () if ANY in gone else tuple(name for name in watched.untouched if name not in gone)


def touched(conn: Connection, watched: Watched, since: float) -> set[str]:
    """Sources with a canary, or with a fix that began or ended since then; the treated one, and what it reaches."""
    return {watched.source, *watched.reached, *(fix.source for fix in _moved(conn, watched, since))}


def mixed(conn: Connection, watched: Watched) -> set[str]:
    """Other fixes that moved in the treated scope itself, from the window before the change on."""
    return {
        fix.ref
        for fix in _moved(conn, watched, watched.started - LOOK_BACK_S)
        if fix.source in (ANY, watched.source) and (fix.task in (ANY, watched.task) or watched.task == ANY)
    }


def names(sources: Collection[str]) -> str:
    """Some of them, and how many more."""
    shown = ", ".join(list(sources)[:NAMED]) or "none"
    return shown + (f" and {len(sources) - NAMED} more" if len(sources) > NAMED else "")


def _moved(conn: Connection, watched: Watched, since: float) -> Iterator[FixRow]:
    for fix in fixes.in_states(conn, APPLIED_ONCE):
        moved = fix.applied is not None and max(fix.applied, fix.updated) >= since
        if fix.id != watched.fix and (fix.state == "canary" or moved):
            yield fix
