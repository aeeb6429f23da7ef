"""Moving issues through their states: those that were touched, and some of those that fell silent.

The cost of a pass follows what is new: quiet issues are looked at in turn, `QUIET_AT_ONCE` per pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection

from rsi import clock
from rsi.analyze import lifecycle, trends
from rsi.analyze.delta import HOUR_S, Touch
from rsi.analyze.lifecycle import DAY_H, FORGOTTEN_H, GAPS, Facts
from rsi.analyze.trends import Past
from rsi.config import Config
from rsi.model import IssueState, Trend
from rsi.store import fixes, impact, issue_rows, meta
from rsi.store.impact import Scope
from rsi.store.issue_rows import IssueRow, Struck

#: At most some 10 ms of a pass, when each struck in several scopes.
QUIET_AT_ONCE: Final = 10
CURSOR: Final = "issues_quiet_cursor"
_START: Final = (0.0, 0)
_BACK: Final = "; came back "


class Changed(msgspec.Struct, frozen=True):
    """An issue that moved. `rule` is the table's `because`; `note` says after what it came back."""

    issue: str
    title: str
    category: str
    before: IssueState
    after: IssueState
    rule: str
    note: str = ""


def sweep(
    conn: Connection, now: float, config: Config, touched: Mapping[int, Touch] | Collection[int] = ()
) -> list[Changed]:
    """Judge issues by the table of `lifecycle`, and bring their trends up to date; those that moved.

    Args:
        conn: in a writing transaction.
        now: epoch seconds.
        config: `retention.outcomes_days` bounds how long an issue without traffic is remembered as active.
        touched: issues (numbers) that new rows touched, as `Delta.touched` has them.
    """
    touches = dict(touched) if isinstance(touched, Mapping) else {key: Touch() for key in touched}
    active = {row.id: row for row in issue_rows.load(conn, touches).values()}
    silent = {row.id: row for row in _quiet(conn, now) if row.id not in active}
    forgotten = min(FORGOTTEN_H, config.retention.outcomes_days * DAY_H)
    views = _views(conn, active, impact.window_start(now), now) + _views(conn, silent, 0, now)
    changed: list[Changed] = []
    dirty: list[IssueRow] = []
    for view in views:
        row, touch = view.row, touches.get(view.row.id, Touch())
        before = row.state, row.trend
        row.trend = view.trend
        moved = _move(row, _facts(conn, view, touch, now, forgotten), touch, now)
        if moved is not None:
            _explain_resolved(conn, row, moved)
            changed.append(moved)
        if (row.state, row.trend) != before:
            dirty.append(row)
    issue_rows.save(conn, dirty)
    return changed


def _quiet(conn: Connection, now: float) -> list[IssueRow]:
    """The next of those that were silent for a day, in turn."""
    after = tuple(meta.get(conn, CURSOR, _START))
    found = issue_rows.quiet(conn, now - DAY_H * HOUR_S, after, QUIET_AT_ONCE)
    behind = (found[-1].last_seen, found[-1].id) if len(found) == QUIET_AT_ONCE else _START
    if behind != after:
        meta.put(conn, CURSOR, behind)
    return found


class _View(NamedTuple):
    """An issue, where it struck since `since` (epoch hour), and its trend."""

    row: IssueRow
    struck: Sequence[Struck]
    since: int
    trend: Trend

    @property
    def scopes(self) -> list[Scope]:
        return [(one.source, one.task) for one in self.struck]


def _views(conn: Connection, rows: Mapping[int, IssueRow], since: int, now: float) -> list[_View]:
    struck: dict[int, list[Struck]] = {key: [] for key in rows}
    for one in issue_rows.struck(conn, rows, since, trends.recent_from(now)):
        struck[one.issue].append(one)
    found = trends.of(conn, [Past(row, struck[key]) for key, row in rows.items()], now)
    return [_View(row, struck[key], since, found[key]) for key, row in rows.items()]


def _facts(conn: Connection, view: _View, touch: Touch, now: float, forgotten: float) -> Facts:
    row = view.row
    last, gap = _last_and_gap(view)
    quiet = (now - max(last, row.state_at)) / HOUR_S
    if quiet >= forgotten:
        quiet = max(quiet, FORGOTTEN_H)
    asked = row.state in issue_rows.ACTIVE and max(DAY_H, GAPS * gap) <= quiet < FORGOTTEN_H
    return Facts(
        in_state=(now - row.state_at) / HOUR_S,
        age=(now - row.first_seen) / HOUR_S,
        unrecovered=row.unrecovered,
        quiet=quiet,
        gap=gap,
        traffic=asked and impact.any_traffic(conn, view.scopes, int(last // HOUR_S) + 1),
        trend=row.trend,
        back=_is_back(row, last, touch),
    )


def _last_and_gap(view: _View) -> tuple[float, float]:
    """When it last struck (epoch seconds, the end of that hour at most) and the usual gap, hours.

    The gap is that of the scope where it strikes most often, over the span of all: rather too long than too short.
    """
    first = min((one.first_hour for one in view.struck if one.first_hour is not None), default=None)
    last = max((one.last_hour for one in view.struck if one.last_hour is not None), default=None)
    if first is None or last is None:
        return max(view.row.first_seen, min(view.row.last_seen, view.since * HOUR_S)), 0.0
    hours = max(one.hours for one in view.struck)
    return min((last + 1) * HOUR_S, view.row.last_seen), (last - first) / (hours - 1) if hours > 1 else 0.0


def _is_back(row: IssueRow, last: float, touch: Touch) -> bool:
    """Struck after `state_at`: to the second where the pass knows it, else by whole hours."""
    if touch.lost_at is not None:
        return touch.lost_at > row.state_at
    return row.unrecovered > 0 and last - HOUR_S > row.state_at


def _move(row: IssueRow, facts: Facts, touch: Touch, now: float) -> Changed | None:
    found = lifecycle.step(row.state, facts)
    if found is None:
        return None
    before, row.state, row.state_at = row.state, found.after, now
    note = ""
    if found.after == "regressed":
        note = _came_back(row, touch, now)
        row.why = row.why.split(_BACK)[0] + "; " + note
    return Changed(row.ref, row.title, row.category, before, found.after, found.name, note)


def _came_back(row: IssueRow, touch: Touch, now: float) -> str:
    at = clock.iso(touch.lost_at or now)[:10]
    where = f" in release {touch.release}" if touch.release else ""
    return f"came back {at}{where} after {row.resolved_by or 'it was resolved'}"


def _explain_resolved(conn: Connection, row: IssueRow, moved: Changed) -> None:
    """Remember what it would come back after: a fix that stands for it, else the silence."""
    if moved.after == "resolved":
        standing = [fix.ref for fix in fixes.in_states(conn, fixes.STANDING) if fix.issue == row.id]
        row.resolved_by = f"fix {standing[-1]}" if standing else "it went quiet"
