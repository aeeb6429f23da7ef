"""A change that cannot be given to some units and withheld from others: its source against those nobody touched.

What the treated source's share of all failures was before the change, and is after it (`rsi.stats.share`). Where there
is no untouched source there is only a before and an after, and that alone says nothing: the verdict stays undecided.

State is one value in `meta` per fix, moved in the caller's transaction: a restart changes no count.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Final

import msgspec
from sqlalchemy import Connection

from rsi import clock
from rsi.errors import NotFoundError
from rsi.model import FixState, Verdict, VerdictOutcome
from rsi.stats import BeforeAfterTrial
from rsi.store import fixes, meta, outcomes
from rsi.store.fixes import FixRow
from rsi.verify.unsplit_rows import Group, Phase, Told, Watched, count_silent, take

ANY: Final = "*"
RUNNING: Final = "unsplit"
"""In `meta`: the numbers of the fixes that are watched; each has its own value under `unsplit:<number>`."""
LOOK_BACK_ROWS: Final = 5_000
LOOK_BACK_S: Final = 86_400.0
"""What was before: the newest rows of the last day. One window for all sources, so that traffic can be compared."""
MIN_BEFORE: Final = 30
"""Final tasks that a source needs before the change to be compared with, or to be compared at all."""
MIN_FAILURES: Final = 5
"""Failures of the treated source before the change: below, its share is a guess."""
MIN_AFTER: Final = 10
EXPOSURE: Final = 3.0
"""Expected failures, at the rate before, that must have been possible after the change: silence is not success."""
AT_ONCE: Final = 1_000
NAMED: Final = 5
"""Untouched sources that a verdict names; the others are a number."""

APPLIED_ONCE: Final[tuple[FixState, ...]] = (
    "canary", "verified", "kept_unverified", "rolled_back", "removed", "superseded",
)  # fmt: skip
"""States of fixes that act, or have acted."""
ALONE: Final = "no source beside it is untouched: a change over time alone says nothing"
TEXT_ONLY: Final = (
    "; that failures of the sources come in bursts that have nothing to do with one another (wrong in about 1 of 20); "
    "what the change costs was not compared"
)


def begin(conn: Connection, fix: FixRow, now: float, *, also_touched: Collection[str] = ()) -> Watched:
    """Begin to watch a change that has just been made everywhere in its scope.

    Args:
        conn: in a writing transaction.
        fix: what was applied.
        now: epoch seconds.
        also_touched: sources besides the fix's own that the change reaches (they read the same file).
    """
    last = outcomes.last_seq(conn)
    watched = Watched(
        fix=fix.id,
        source=fix.source,
        task=fix.task,
        started=now,
        first=last,
        since=max(0, last - LOOK_BACK_ROWS),
        reached=tuple(sorted(also_touched)),
    )
    watched = _build(conn, watched, _untouched(conn, watched), now)
    watched = msgspec.structs.replace(watched, mixed=tuple(sorted(_mixed(conn, watched))))
    _put(conn, watched)
    meta.put(conn, RUNNING, sorted({*running(conn), fix.id}))
    return watched


def running(conn: Connection) -> list[int]:
    """The fixes that are watched."""
    return list(meta.get(conn, RUNNING, []))


def load(conn: Connection, fix: int) -> Watched:
    """What is known of one.

    Raises:
        NotFoundError: it was never watched.
    """
    found = meta.get(conn, f"{RUNNING}:{fix}")
    if found is None:
        raise NotFoundError(f"f{fix} is not compared with untouched sources; `unsplit.begin` starts it")
    return msgspec.convert(found, Watched)


def feed(conn: Connection, fix: int, silent_after: float, now: float) -> bool:
    """Take in what arrived since; whether anything did.

    A source that somebody touched meanwhile is left out, from the beginning.
    """
    watched = load(conn, fix)
    still = _still_untouched(conn, watched)
    before = watched
    if still != watched.untouched:
        watched = _build(conn, watched, still, now, silent_after)
    mixed = _mixed(conn, watched)
    if not mixed <= set(watched.mixed):
        watched = msgspec.structs.replace(watched, mixed=tuple(sorted({*watched.mixed, *mixed})))
    test = BeforeAfterTrial.from_dict(watched.test)
    told = Told(watched, test)
    _read(conn, told)
    count_silent(told, silent_after, now)
    watched = told.done()
    if watched != before:
        _put(conn, watched)
    return watched != before


def decide(conn: Connection, fix: int, now: float) -> Verdict:
    """What can be said now. `p_control` is the treated source's rate before, moved as the untouched sources moved."""
    watched = load(conn, fix)
    test = BeforeAfterTrial.from_dict(watched.test)
    outcome, why = _word(watched, test)
    before, after = test.counts("treated", "before"), test.counts("treated", "after")
    beside = test.counts("untouched", "after")
    return Verdict(
        outcome=outcome,
        method=f"{BeforeAfterTrial.METHOD}; untouched: {_names(watched.untouched)}",
        cannot_exclude=BeforeAfterTrial.CANNOT_EXCLUDE + TEXT_ONLY,
        p_fixed=_rate(after),
        p_control=_expected(_rate(before), _rate(test.counts("untouched", "before")), _rate(beside)),
        n_fixed=after[1],
        n_control=beside[1],
        at=clock.iso(now),
        why=why,
    )


def end(conn: Connection, fix: int) -> None:
    """Watch no more; what was counted stays readable."""
    meta.put(conn, RUNNING, [one for one in running(conn) if one != fix])


def _word(watched: Watched, test: BeforeAfterTrial) -> tuple[VerdictOutcome, str]:
    if not watched.after:
        return "no_data", "no task of the treated source has ended since the change"
    if not watched.untouched:
        return "undecided", ALONE + _left(watched)
    if watched.mixed:
        return (
            "undecided",
            f"{_names(watched.mixed)} changed the same source in this time: whose effect it is, nobody knows",
        )
    failed, n = test.counts("treated", "before")
    if n < MIN_BEFORE or failed < MIN_FAILURES:
        return "undecided", f"{failed} failures of {n} tasks before the change are too few to compare with"
    needed = max(MIN_AFTER, math.ceil(EXPOSURE * n / failed))
    if watched.after < needed and test.verdict != "worse":
        return "undecided", f"{watched.after} tasks since the change, {needed} are needed"
    word = "undecided" if test.verdict == "no_data" else test.verdict
    return word, f"{_figures(watched, test)}{_left(watched)}"


def _figures(watched: Watched, test: BeforeAfterTrial) -> str:
    cells: tuple[tuple[str, Group, Phase], ...] = (
        ("before", "treated", "before"),
        ("after", "treated", "after"),
        ("untouched before", "untouched", "before"),
        ("untouched after", "untouched", "after"),
    )
    said = ", ".join(f"{name}: {_failed(test.counts(group, phase))}" for name, group, phase in cells)
    return (
        f"{said}; counts divided by {test.deflation():.3g} for clustering; "
        f"{watched.crossed} tasks lay across the change and were left out, {watched.silent} fell silent and failed"
    )


def _failed(cell: tuple[int, int]) -> str:
    return f"{cell[0]} of {cell[1]} failed"


def _left(watched: Watched) -> str:
    return f"; left out because they were touched: {_names(watched.left)}" if watched.left else ""


def _names(sources: Collection[str]) -> str:
    shown = ", ".join(list(sources)[:NAMED]) or "none"
    return shown + (f" and {len(sources) - NAMED} more" if len(sources) > NAMED else "")


def _rate(cell: tuple[int, int]) -> float | None:
    return cell[0] / cell[1] if cell[1] else None


def _expected(before: float | None, beside_before: float | None, beside_after: float | None) -> float | None:
    if before is None or not beside_before or beside_after is None:
        return before
    return min(1.0, before * beside_after / beside_before)


def _build(
    conn: Connection, watched: Watched, untouched: tuple[str, ...], now: float, silent_after: float = math.inf
) -> Watched:
    """From the rows: the window before the change, and what came after it."""
    left = tuple(sorted({*watched.left, *watched.untouched} - set(untouched)))
    fresh = Watched(
        fix=watched.fix,
        source=watched.source,
        task=watched.task,
        started=watched.started,
        first=watched.first,
        since=watched.since,
        seen=watched.since,
        reached=watched.reached,
        mixed=watched.mixed,
        untouched=untouched,
        left=left,
    )
    told = Told(fresh, BeforeAfterTrial())
    _read(conn, told)
    count_silent(told, silent_after, now)
    return told.done()


def _read(conn: Connection, told: Told) -> None:
    while rows := outcomes.since(conn, told.seen, AT_ONCE):
        take(told, [row for row in rows if row.arrived >= told.watched.started - LOOK_BACK_S], rows[-1].seq)


def _untouched(conn: Connection, watched: Watched) -> tuple[str, ...]:
    """Every other source that did enough before the change and that no fix touched in that time."""
    if watched.source == ANY:
        return ()
    counted: dict[str, int] = {}
    since, oldest = watched.since, watched.started
    while rows := outcomes.since(conn, since, AT_ONCE):
        since = rows[-1].seq
        for row in rows:
            if row.arrived >= watched.started - LOOK_BACK_S and row.outcome.final and not row.outcome.backfill:
                counted[row.outcome.source] = counted.get(row.outcome.source, 0) + 1
                oldest = min(oldest, row.arrived)
    touched = _touched(conn, watched, oldest)
    if ANY in touched:
        return ()
    return tuple(sorted(name for name, n in counted.items() if n >= MIN_BEFORE and name not in touched))


def _still_untouched(conn: Connection, watched: Watched) -> tuple[str, ...]:
    touched = _touched(conn, watched, watched.started)
    return () if ANY in touched else tuple(name for name in watched.untouched if name not in touched)


def _touched(conn: Connection, watched: Watched, since: float) -> set[str]:
    """Sources with a canary, or with a fix that began or ended since then; the treated one, and what it reaches."""
    return {watched.source, *watched.reached, *(fix.source for fix in _moved(conn, watched, since))}


def _mixed(conn: Connection, watched: Watched) -> set[str]:
    """Other fixes that moved in the treated scope itself, from the window before the change on."""
    return {
        fix.ref
        for fix in _moved(conn, watched, watched.started - LOOK_BACK_S)
        if fix.source in (ANY, watched.source) and (fix.task in (ANY, watched.task) or watched.task == ANY)
    }


def _moved(conn: Connection, watched: Watched, since: float) -> Iterator[FixRow]:
    for fix in fixes.in_states(conn, APPLIED_ONCE):
        moved = fix.applied is not None and max(fix.applied, fix.updated) >= since
        if fix.id != watched.fix and (fix.state == "canary" or moved):
            yield fix


def _put(conn: Connection, watched: Watched) -> None:
    meta.put(conn, f"{RUNNING}:{watched.fix}", watched)
