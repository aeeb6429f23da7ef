"""A change that cannot be given to some units and withheld from others: its source against those nobody touched.

What the treated source's share of all failures was before the change, and is after it (`rsi.stats.share`). Where there
is no untouched source there is only a before and an after, and that alone says nothing: the verdict stays undecided.
Where the share cannot say a word, a treated rate that rises massively by itself is an alarm: the change is taken back.

State is one value in `meta` per fix, moved in the caller's transaction: a restart changes no count.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection

from rsi import clock
from rsi.errors import NotFoundError
from rsi.model import Verdict, VerdictOutcome
from rsi.stats import TERMINAL, BeforeAfterTrial
from rsi.store import meta, outcomes
from rsi.store.fixes import FixRow
from rsi.verify import beside
from rsi.verify.unsplit_rows import Group, Phase, Told, Watched, count_silent, take

RUNNING: Final = "unsplit"
"""In `meta`: the numbers of the fixes that are watched; each has its own value under `unsplit:<number>`."""
MIN_AFTER: Final = 10
EXPOSURE: Final = 3.0
"""Expected failures, at the rate before, that must have been possible after the change: silence is not success."""
ALONE: Final = "no source beside it is untouched: a change over time alone says nothing"
COSTS: Final = "; what the change costs was not compared"
TEXT_ONLY: Final = (
    "; that failures of the sources come in bursts that have nothing to do with one another (wrong in about 1 of 20)"
    + COSTS
)
ALARM: Final = "its own rate rose massively since the change: "
BY_RATE: Final = (
    "alarm on the treated source's rate before and after (one-sided score test, 0.001 %, a rise of 0.2 or more, "
    "variances inflated for clustering), with untouched sources that stood still"
)
OUTAGE: Final = (
    "an outage of the treated source alone, of its provider or its key, that would have ended by itself: "
    "the change was taken back on suspicion"
)
OF_ALL: Final = "; that everything else got worse as well: no source was left to look at"


class _Said(NamedTuple):
    """A word, why, and whether the alarm said it and not the share."""

    outcome: VerdictOutcome
    why: str
    by_rate: bool = False


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
        since=max(0, last - beside.LOOK_BACK_ROWS),
        reached=tuple(sorted(also_touched)),
    )
    untouched = () if fix.source == beside.ANY else _untouched(conn, watched)
    watched = _build(conn, watched, untouched, now)
    watched = msgspec.structs.replace(watched, mixed=tuple(sorted(beside.mixed(conn, watched))))
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
    still = beside.still(conn, watched)
    before = watched
    if still != watched.untouched:
        watched = _build(conn, watched, still, now, silent_after)
    mixed = beside.mixed(conn, watched)
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
    said = _word(watched, test)
    before, after = test.counts("treated", "before"), test.counts("treated", "after")
    others = test.counts("untouched", "after")
    return Verdict(
        outcome=said.outcome,
        method=f"{BY_RATE if said.by_rate else BeforeAfterTrial.METHOD}; untouched: {beside.names(watched.untouched)}",
        cannot_exclude=_unexcluded(watched, said),
        p_fixed=_rate(after),
        p_control=_expected(_rate(before), _rate(test.counts("untouched", "before")), _rate(others)),
        n_fixed=after[1],
        n_control=others[1],
        at=clock.iso(now),
        why=said.why,
    )


def end(conn: Connection, fix: int) -> None:
    """Watch no more; what was counted stays readable."""
    meta.put(conn, RUNNING, [one for one in running(conn) if one != fix])


def _word(watched: Watched, test: BeforeAfterTrial) -> _Said:
    if not watched.after:
        return _Said("no_data", "no task of the treated source has ended since the change")
    if not watched.untouched and not watched.left:
        return _Said("undecided", ALONE)
    if watched.mixed:
        who = beside.names(watched.mixed)
        return _Said("undecided", f"{who} changed the same source in this time: whose effect it is, nobody knows")
    said = _by_share(watched, test) if watched.untouched else _Said("undecided", ALONE + _left(watched))
    if said.outcome != "undecided" or not test.rose(alone=not watched.untouched):
        return said
    return _Said("worse", f"{ALARM}{said.why}; {_figures(watched, test)}", by_rate=True)


def _unexcluded(watched: Watched, said: _Said) -> str:
    if not said.by_rate:
        return BeforeAfterTrial.CANNOT_EXCLUDE + TEXT_ONLY
    return OUTAGE + ("" if watched.untouched else OF_ALL) + COSTS


def _by_share(watched: Watched, test: BeforeAfterTrial) -> _Said:
    if (few := beside.too_few(test)) is not None:
        return _Said("undecided", few)
    failed, n = test.counts("treated", "before")
    needed = max(MIN_AFTER, math.ceil(EXPOSURE * n / failed))
    if watched.after < needed and test.verdict != "worse":
        return _Said("undecided", f"{watched.after} tasks since the change, {needed} are needed")
    figures = f"{_figures(watched, test)}{_left(watched)}"
    if test.verdict in TERMINAL:
        return _Said(test.verdict, figures)
    missing = beside.lacking(test, watched.untouched)
    return _Said("undecided", f"{missing}; {figures}" if missing else figures)


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
    return f"; left out because they were touched: {beside.names(watched.left)}" if watched.left else ""


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
    while rows := outcomes.since(conn, told.seen, beside.AT_ONCE):
        take(told, list(beside.in_window(rows, told.watched.started)), rows[-1].seq)


def _untouched(conn: Connection, watched: Watched) -> tuple[str, ...]:
    return beside.find(conn, watched, beside.rows_since(conn, watched.since)).untouched


def _put(conn: Connection, watched: Watched) -> None:
    meta.put(conn, f"{RUNNING}:{watched.fix}", watched)
