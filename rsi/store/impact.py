"""What issues cost: failure rate, impact and recurrence, from their hours against the traffic of their scopes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, Connection, case, func, select

from rsi.model import Severity
from rsi.store import health, issue_rows
from rsi.store.engine import project
from rsi.store.issue_rows import IssueRow
from rsi.store.schema import issue_hours, outcomes, rollups

Scope: TypeAlias = tuple[str, str]  # (source, task)

#: The window of rates, recurrence and trend.
WINDOW_H: Final = 7 * 24
#: This many unrecovered failures in the window make an issue recurring.
RECURRING: Final = 3
#: What a failed task counts, by the severity of its category, in health and in impact alike. A failed task is a
#: failed task to its user; only what is called low counts half.
SEVERITY_WEIGHT: Final[Mapping[Severity, float]] = {"low": 0.5, "medium": 1.0, "high": 1.0, "critical": 1.0}
#: Among this many newest outcomes we look for the time that "now" is in the data.
_NEWEST_ROWS: Final = 200
_HOUR_S: Final = 3600.0
_CHUNK: Final = 400


class Figures(NamedTuple):
    """Of one issue, over the window; `sources` and `task` over all its time, worst first.

    `impact` is what the success rate of the scopes where it struck would gain without it, in [0, 1]: final tasks that
    failed by it, weighed as health weighs them, of all there. A task fails by one issue, so those of a scope add up to
    what its health has lost. An issue of steps is the same loss seen from inside: it costs at most what failed around
    it, and is not to be added.
    """

    sources: list[str]
    task: str
    recent: int
    failure_rate: float
    impact: float

    @property
    def recurring(self) -> bool:
        """Whether it keeps coming."""
        return self.recent >= RECURRING


class IssueScope(NamedTuple):
    """One (source, task) of an issue since some hour; `tasks` is all final tasks there, failed or not."""

    source: str
    task: str
    n: int
    unrecovered: int
    tasks_failed: int
    tasks: int


class _Struck(NamedTuple):
    issue: int
    source: str
    task: str
    ever: int
    n: int
    unrecovered: int
    tasks_failed: int


_NOTHING: Final = Figures([], "", 0, 0.0, 0.0)


def as_of(conn: Connection, now: float) -> float:
    """The time at which windows end: `now`, or when the data end if that is earlier (old logs, a long silence)."""
    recent = select(outcomes.c.ts).order_by(outcomes.c.seq.desc()).limit(_NEWEST_ROWS).subquery()
    found = (conn.execute(select(func.max(recent.c.ts))).scalar(), health.newest(conn), issue_rows.newest(conn))
    return min(now, max((float(at) for at in found if at is not None), default=now))


def window_start(at: float) -> int:
    """The first epoch hour of the window that ends at `at` (epoch seconds)."""
    return int(at // _HOUR_S) - WINDOW_H


def figures(conn: Connection, rows: Sequence[IssueRow], now: float) -> dict[int, Figures]:
    """What each of these issues costs."""
    if not rows:
        return {}
    since = window_start(as_of(conn, now))
    struck: dict[int, list[_Struck]] = {row.id: [] for row in rows}
    for one in _struck(conn, struck, since):
        struck[one.issue].append(one)
    seen = traffic(conn, [(one.source, one.task) for found in struck.values() for one in found if one.n], since)
    return {row.id: _figures(row, struck[row.id], seen) for row in rows}


def scopes(conn: Connection, issue: int, since_hour: int) -> list[IssueScope]:
    """Where an issue struck from `since_hour` on, most unrecovered failures first."""
    found = [one for one in _struck(conn, [issue], since_hour) if one.n]
    seen = exposure(conn, [(one.source, one.task) for one in found], since_hour)
    listed = [
        IssueScope(one.source, one.task, one.n, one.unrecovered, one.tasks_failed, seen.get((one.source, one.task), 0))
        for one in found
    ]
    return sorted(listed, key=lambda one: (-one.unrecovered, -one.n, one.source, one.task))


class Traffic(NamedTuple):
    """Final tasks, and how many of them failed. `own`: of this very scope, not of its whole source."""

    tasks: int
    failed: int
    own: bool = True


_NO_TRAFFIC: Final = Traffic(0, 0)


def exposure(conn: Connection, asked: Iterable[Scope], since_hour: int) -> dict[Scope, int]:
    """Final tasks of each scope from `since_hour` on.

    A scope that holds only steps (a tool's name) has no tasks of its own: it gets those of its whole source.
    """
    return {scope: found.tasks for scope, found in traffic(conn, asked, since_hour).items()}


def traffic(conn: Connection, asked: Iterable[Scope], since_hour: int) -> dict[Scope, Traffic]:
    """Final tasks of each scope from `since_hour` on, and failed ones; of the whole source where it has none."""
    by_source: dict[str, set[str]] = {}
    for source, task in asked:
        by_source.setdefault(source, set()).add(task)
    found: dict[Scope, Traffic] = {}
    for source, tasks in by_source.items():
        known = _tasks(conn, source, sorted(tasks), since_hour)
        if len(known) < len(tasks):
            whole = _tasks(conn, source, None, since_hour).values()
            rest = Traffic(sum(one.tasks for one in whole), sum(one.failed for one in whole), own=False)
            known = dict.fromkeys(tasks, rest) | known
        found |= {(source, task): seen for task, seen in known.items()}
    return found


def hourly(conn: Connection, asked: Iterable[Scope], since_hour: int) -> dict[Scope, dict[int, int]]:
    """Final tasks of each scope by epoch hour from `since_hour` on; a scope of steps gets those of its whole source."""
    found: dict[Scope, dict[int, int]] = {}
    for source, task in sorted(set(asked)):
        own = _by_hour(conn, source, task, since_hour)
        found[source, task] = own or _by_hour(conn, source, None, since_hour)
    return found


def _by_hour(conn: Connection, source: str, task: str | None, since_hour: int) -> dict[int, int]:
    query = (
        select(rollups.c.hour, func.sum(rollups.c.n))
        .where(
            rollups.c.project == project(conn),
            rollups.c.source == source,
            rollups.c.category == "",
            rollups.c.hour >= since_hour,
        )
        .group_by(rollups.c.hour)
    )
    found = query if task is None else query.where(rollups.c.task == task)
    return {hour: int(n) for hour, n in conn.execute(found)}


def any_traffic(conn: Connection, asked: Iterable[Scope], since_hour: int) -> bool:
    """Whether any of these scopes had a final task from `since_hour` on; a scope of steps asks its whole source."""
    scopes = sorted(asked)
    if any(_had_task(conn, source, task, since_hour) for source, task in scopes):
        return True
    of_steps = {source for source, task in scopes if not _had_task(conn, source, task, 0)}
    return any(_had_task(conn, source, None, since_hour) for source in of_steps)


def _had_task(conn: Connection, source: str, task: str | None, since_hour: int) -> bool:
    query = select(rollups.c.hour).where(
        rollups.c.project == project(conn),
        rollups.c.source == source,
        rollups.c.category == "",
        rollups.c.hour >= since_hour,
        rollups.c.n > 0,
    )
    found = query if task is None else query.where(rollups.c.task == task)
    return conn.execute(found.limit(1)).first() is not None


def _tasks(conn: Connection, source: str, tasks: Sequence[str] | None, since_hour: int) -> dict[str, Traffic]:
    query = (
        select(rollups.c.task, func.sum(rollups.c.n), func.sum(rollups.c.failed))
        .where(
            rollups.c.project == project(conn),
            rollups.c.source == source,
            rollups.c.category == "",
            rollups.c.hour >= since_hour,
        )
        .group_by(rollups.c.task)
    )
    if tasks is None:
        return {task: Traffic(int(n), int(failed)) for task, n, failed in conn.execute(query)}
    found: dict[str, Traffic] = {}
    for start in range(0, len(tasks), _CHUNK):
        part = query.where(rollups.c.task.in_(tasks[start : start + _CHUNK]))
        found |= {task: Traffic(int(n), int(failed)) for task, n, failed in conn.execute(part)}
    return found


def _struck(conn: Connection, ids: Collection[int], since_hour: int) -> list[_Struck]:
    def recent(column: str) -> ColumnElement[int]:
        return func.sum(case((issue_hours.c.hour >= since_hour, issue_hours.c[column]), else_=0))

    key = (issue_hours.c.issue, issue_hours.c.source, issue_hours.c.task)
    query = (
        select(*key, func.sum(issue_hours.c.n), recent("n"), recent("unrecovered"), recent("tasks_failed"))
        .where(issue_hours.c.project == project(conn))
        .group_by(*key)
    )
    found: list[_Struck] = []
    listed = sorted(ids)
    for start in range(0, len(listed), _CHUNK):
        part = query.where(issue_hours.c.issue.in_(listed[start : start + _CHUNK]))
        found.extend(_Struck(*row) for row in conn.execute(part))
    return found


def _figures(row: IssueRow, struck: Sequence[_Struck], seen: Mapping[Scope, Traffic]) -> Figures:
    if not struck:
        return _NOTHING
    by_source: dict[str, list[_Struck]] = {}
    for one in struck:
        by_source.setdefault(one.source, []).append(one)
    around = [(found, _around(found, seen)) for found in by_source.values()]
    tasks = sum(there.tasks for _, there in around)
    blamed = sum(
        min(sum(one.tasks_failed or one.unrecovered for one in found), there.failed) for found, there in around
    )
    failed = sum(one.tasks_failed for one in struck)
    return Figures(
        sources=_worst(struck, "source"),
        task=_worst(struck, "task")[0],
        recent=sum(one.unrecovered for one in struck),
        failure_rate=min(1.0, failed / tasks) if tasks else 0.0,
        impact=min(1.0, blamed / tasks) * SEVERITY_WEIGHT[row.severity] if tasks else 0.0,
    )


def _around(struck: Sequence[_Struck], seen: Mapping[Scope, Traffic]) -> Traffic:
    """The final tasks around what struck in one source, each once: a scope of steps has its whole source around it."""
    found = [seen.get((one.source, one.task), _NO_TRAFFIC) for one in struck]
    whole = next((one for one in found if not one.own), None)
    return whole or Traffic(sum(one.tasks for one in found), sum(one.failed for one in found))


def _worst(struck: Sequence[_Struck], by: str) -> list[str]:
    counted: dict[str, int] = {}
    for one in struck:
        name = one.source if by == "source" else one.task
        counted[name] = counted.get(name, 0) + one.ever
    return sorted(counted, key=lambda name: (-counted[name], name))
