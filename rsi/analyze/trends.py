"""Whether an issue is getting worse: its last day against the days before it, per task, as its failures come.

Failures come in bursts, and a test that takes them for independent calls nearly every burst a rise (5 to 10 a month and
issue; `benchmarks/trend.py`). So the counts are deflated by the dispersion of the issue's own hours. Those are read
only where independent failures would make a trend: for most issues the sums decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection

from rsi.analyze.delta import HOUR_S
from rsi.model import Trend
from rsi.stats import dispersion
from rsi.stats import trend as compare
from rsi.store import impact, issue_rows
from rsi.store.impact import RECURRING, Scope
from rsi.store.issue_rows import HourRow, IssueRow, Struck

#: Two-sided chance of calling a steady issue rising or falling. It is asked again whenever the issue strikes: in a
#: month that is some 50 times as often, so 5e-4 a look keeps false rises below .05.
ALPHA: Final = 5e-4
#: Recent means the last day, against the days of the window before it.
RECENT_H: Final = 24


class Past(NamedTuple):
    """An issue, and where it struck in the window (`issue_rows.struck`, recent from `recent_from` on)."""

    row: IssueRow
    struck: Sequence[Struck]

    @property
    def scopes(self) -> list[Scope]:
        """The (source, task) pairs where it struck."""
        return [(one.source, one.task) for one in self.struck]


def recent_from(now: float) -> int:
    """The first epoch hour of the last day."""
    return int(now // HOUR_S) - RECENT_H + 1


def of(conn: Connection, asked: Iterable[Past], now: float) -> dict[int, Trend]:
    """The trends of issues by number, as of `now` (epoch seconds)."""
    found: dict[int, Trend] = {}
    testable: list[Past] = []
    for past in asked:
        found[past.row.id] = "new" if now - past.row.first_seen < RECENT_H * HOUR_S else "stable"
        if _is_testable(past, now):
            testable.append(past)
    scopes = {scope for past in testable for scope in past.scopes}
    whole = impact.exposure(conn, scopes, impact.window_start(now))
    late = impact.exposure(conn, scopes, recent_from(now))
    suspects = [past for past in testable if _is_suspect(past, whole, late)]
    return found | _by_hours(conn, suspects, now)


def _is_testable(past: Past, now: float) -> bool:
    """Whether there is enough to compare: a day of age, seen within a day, and a few failures."""
    day = RECENT_H * HOUR_S
    if now - past.row.first_seen < day or now - past.row.last_seen >= day:
        return False
    return sum(one.unrecovered for one in past.struck) >= RECURRING


def _is_suspect(past: Past, whole: Mapping[Scope, int], late: Mapping[Scope, int]) -> bool:
    """Whether independent failures would make a trend, were the issue as old as the window."""
    recent, both = sum(one.recent for one in past.struck), sum(one.unrecovered for one in past.struck)
    all_tasks, late_tasks = (sum(found.get(one, 0) for one in past.scopes) for found in (whole, late))
    return compare(recent, late_tasks, both - recent, max(0, all_tasks - late_tasks), ALPHA) != "stable"


def _by_hours(conn: Connection, suspects: Sequence[Past], now: float) -> dict[int, Trend]:
    if not suspects:
        return {}
    since = impact.window_start(now)
    struck: dict[int, list[HourRow]] = {past.row.id: [] for past in suspects}
    for row in issue_rows.hours(conn, struck, since):
        struck[row.issue].append(row)
    traffic = impact.hourly(conn, {scope for past in suspects for scope in past.scopes}, since)
    return {past.row.id: _tested(past, struck[past.row.id], traffic, now) for past in suspects}


def _tested(past: Past, struck: Sequence[HourRow], traffic: Mapping[Scope, Mapping[int, int]], now: float) -> Trend:
    """An issue is compared with its own past: the hours before it was first seen say nothing of a trend."""
    begin = max(impact.window_start(now), int(past.row.first_seen // HOUR_S))
    end = max(int(now // HOUR_S), begin)
    counts, tasks = [0] * (end - begin + 1), [0] * (end - begin + 1)
    for row in struck:
        if begin <= row.hour <= end:
            counts[row.hour - begin] += row.unrecovered
    for scope in past.scopes:
        for hour, n in traffic.get(scope, {}).items():
            if begin <= hour <= end:
                tasks[hour - begin] += n
    return judge([max(0, n) for n in counts], [max(0, n) for n in tasks])  # a split leaves rounded shares


def judge(counts: Sequence[int], tasks: Sequence[float]) -> Trend:
    """The last `RECENT_H` hours against those before.

    Args:
        counts: unrecovered failures of an issue, hour by hour.
        tasks: final tasks of its scopes in the same hours.
    """
    cut = max(0, len(counts) - RECENT_H)
    sums = sum(counts[cut:]), sum(tasks[cut:]), sum(counts[:cut]), sum(tasks[:cut])
    if compare(*sums, ALPHA) == "stable":
        return "stable"
    return compare(*sums, ALPHA, dispersion(counts, tasks, RECENT_H))
