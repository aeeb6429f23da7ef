"""What is known of a scope when rules are asked about it: the issues that struck there and the counters of its window.

Reads rollups, never outcomes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec
from sqlalchemy import Connection

from rsi.model import PROCESS_KNOBS
from rsi.stats import in_phases, not_significantly_above, sampled
from rsi.store import health, impact, issue_rows, rollups, traffic
from rsi.store.fixes import FixRow
from rsi.store.issue_rows import IssueRow
from rsi.store.trials import Before

HOUR_S: Final = 3_600.0
LIVE_HOURS: Final = 24
"""Live evidence is from the last day; what is older makes proposals only."""
BACKFILL_HOURS: Final = 7 * 24
"""The window before the last sight of an issue that only old outcomes show."""
BEGUN_ALPHA: Final = 0.001
"""One-sided, that an incident has only begun; failures come in bursts, and a burst is none."""
BEFORE_TASKS: Final = 200
"""Tasks that the rate before a canary is counted over, newest hours first: recent enough to be the same incident."""
RECENT_TASKS: Final = 10
"""Decayed outcomes (half-life 20, see `analyze.health`) from which on they say something of their own."""

Scope: TypeAlias = tuple[str, str]


class Struck(msgspec.Struct, frozen=True, kw_only=True):
    """A scope in which touched issues struck: per issue its category and its unrecovered failures in the window."""

    source: str
    task: str
    since_hour: int
    until: float
    live: bool
    issues: Mapping[int, tuple[str, int]]


class Facts(Struck, frozen=True, kw_only=True):
    """What is known of a scope over the window besides: final tasks, and unrecovered failures per category."""

    tasks: int
    tasks_per_day: float
    failures: Mapping[str, int]
    counted: Sequence[traffic.Counted]


def before(conn: Connection, fix: FixRow, now: float) -> Before:
    """The scope's rate up to now: newest hours first, until there are enough tasks or nothing fails any more.

    Where the last few dozen outcomes fail significantly more than that, the incident has only begun: then they alone
    are the rate before, or the control arm would later seem worse than a past that was healthy.
    """
    tasks = failed = hours = 0
    since = hour_of(now)
    for hour in reversed(traffic.by_hour(conn, fix.source, fix.task, hour_of(now) - LIVE_HOURS)):
        if tasks >= BEFORE_TASKS or (tasks and not hour.failed):
            break
        tasks, failed, hours, since = tasks + hour.n, failed + hour.failed, hours + 1, hour.hour
    row = health.load(conn, sources=[fix.source]).get((fix.source, fix.task))
    recent = row.recent_failures + row.recent_successes if row else 0.0
    lost = row.recent_failures if row else 0.0
    if tasks and recent >= RECENT_TASKS and not not_significantly_above(lost, recent, failed, tasks, alpha=BEGUN_ALPHA):
        tasks, failed, hours = round(recent), round(lost), 0
    if fix.knob in PROCESS_KNOBS:  # no washout will ever tell more than this
        return Before(tasks, failed, hours, HOUR_S)
    came = traffic.arrivals(conn, fix.source, fix.task, since)
    seconds = came[-1][0] - came[0][0] if came and hours else 0.0
    return Before(tasks, failed, hours, max(0.0, seconds), in_phases(sampled(came)))


def put_to_rest(row: IssueRow) -> bool:
    """A person wants to hear no more of it. What merely went quiet may still be worth a proposal (old logs)."""
    return row.state == "ignored" or (row.state == "resolved" and (row.resolved_by or "").startswith("person"))


def hour_of(at: float) -> int:
    """The epoch hour."""
    return int(at // HOUR_S)


def gather(conn: Connection, rows: Mapping[int, IssueRow], now: float) -> Iterable[Struck]:
    """The scopes in which these issues struck, live ones and those that only old outcomes show."""
    live = [row for row in rows.values() if row.live]
    old = [row for row in rows.values() if not row.live]
    yield from _scopes(conn, live, hour_of(now) - LIVE_HOURS, now, live=True)
    if old:
        until = min(impact.as_of(conn, now), max(row.last_seen for row in old))
        yield from _scopes(conn, old, hour_of(until) - BACKFILL_HOURS, until, live=False)


def _scopes(
    conn: Connection, rows: Sequence[IssueRow], since_hour: int, until: float, *, live: bool
) -> Iterable[Struck]:
    category = {row.id: row.category for row in rows}
    found: dict[Scope, dict[int, int]] = {}
    for hour in issue_rows.hours(conn, list(category), since_hour):
        counted = found.setdefault((hour.source, hour.task), {})
        counted[hour.issue] = counted.get(hour.issue, 0) + hour.unrecovered
    for (source, task), counted in sorted(found.items()):
        issues = {issue: (category[issue], n) for issue, n in counted.items()}
        yield Struck(source=source, task=task, since_hour=since_hour, until=until, live=live, issues=issues)


def count(conn: Connection, struck: Struck) -> Facts:
    """The counters of a scope over its window."""
    counted = traffic.of_scope(conn, struck.source, struck.task, struck.since_hour)
    everything = [one for one in counted if one.category == rollups.ALL]
    tasks = sum(one.n for one in everything)
    span = max(1.0, struck.until / HOUR_S - everything[0].hour) if everything else 1.0
    failures: dict[str, int] = {}
    for one in counted:
        if one.category != rollups.ALL:
            failures[one.category] = failures.get(one.category, 0) + one.failed
    seen: dict[str, int] = {}
    for category, n in struck.issues.values():
        seen[category] = seen.get(category, 0) + n
    return Facts(
        source=struck.source,
        task=struck.task,
        since_hour=struck.since_hour,
        until=struck.until,
        live=struck.live,
        tasks=tasks,
        tasks_per_day=tasks * 24.0 / (min(span, 24.0) if struck.live else span),
        failures={name: max(failures.get(name, 0), seen.get(name, 0)) for name in failures.keys() | seen.keys()},
        issues=struck.issues,
        counted=counted,
    )
