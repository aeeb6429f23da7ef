"""Issues and their hours as rows: what the analysis reads and writes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, bindparam, case, func, or_, select, text

from rsi.errors import NotFoundError
from rsi.model import IssueState, Severity, Trend
from rsi.store.engine import project
from rsi.store.schema import issue_hours, issues

#: Distinct texts that are kept of an issue, and how much of each.
SAMPLES: Final = 3
SAMPLE_CHARS: Final = 500
ACTIVE: Final[tuple[IssueState, ...]] = ("new", "ongoing", "escalating", "regressed")
_CHUNK: Final = 400  # ids per statement
_ID: Final = re.compile(r"i?([0-9]{1,18})")


def number(ref: str) -> int:
    """`i12` → 12.

    Raises:
        NotFoundError: it is not an issue's id.
    """
    found = _ID.fullmatch(ref.strip())
    if not found:
        raise NotFoundError(f"{ref[:40]!r}: no such issue; ids look like i12, `rsi issues` lists them")
    return int(found[1])


class IssueRow(msgspec.Struct, kw_only=True):
    """An issue as it lies in the store; times are epoch seconds."""

    id: int
    category: str
    title: str
    severity: Severity
    state: IssueState
    state_at: float
    trend: Trend = "new"
    frequency: int = 0
    unrecovered: int = 0
    tasks_failed: int = 0
    live: int = 0
    first_seen: float
    last_seen: float
    last_seq: int = 0
    why: str
    samples: list[str]
    resolved_by: str | None = None
    merged_into: int | None = None

    @property
    def ref(self) -> str:
        """The public id: `i12`."""
        return f"i{self.id}"


class HourRow(NamedTuple):
    """What an issue did in one scope and epoch hour."""

    issue: int
    source: str
    task: str
    hour: int
    n: int
    unrecovered: int
    tasks_failed: int


class Struck(NamedTuple):
    """Unrecovered failures of an issue in one scope: of late, in all, and the hours in which there were any."""

    issue: int
    source: str
    task: str
    recent: int
    unrecovered: int
    first_hour: int | None
    last_hour: int | None
    hours: int


_FIELDS: Final = IssueRow.__struct_fields__
_COLUMNS: Final = tuple(issues.c[name] for name in _FIELDS)
_HOUR_COLUMNS: Final = tuple(issue_hours.c[name] for name in HourRow._fields)
_INSERT: Final = text(
    f"INSERT INTO issues (project, {', '.join(_FIELDS)}) VALUES (:project, {', '.join(f':{f}' for f in _FIELDS)})"  # noqa: S608 - our own column names
)
_UPDATE: Final = text(
    f"UPDATE issues SET {', '.join(f'{f} = :{f}' for f in _FIELDS if f != 'id')} WHERE id = :id"  # noqa: S608 - our own column names
)
_QUIET: Final = (
    select(*_COLUMNS)
    .where(
        issues.c.project == bindparam("project"),
        issues.c.state == bindparam("state"),
        issues.c.last_seen < bindparam("to"),
        issues.c.last_seen >= bindparam("from"),
        or_(issues.c.last_seen > bindparam("from"), issues.c.id > bindparam("id")),
        issues.c.merged_into.is_(None),
    )
    .order_by(issues.c.last_seen, issues.c.id)
    .limit(bindparam("limit"))
)
_ADD_HOUR: Final = text(
    "INSERT INTO issue_hours (project, issue, source, task, hour, n, unrecovered, tasks_failed)"
    " VALUES (:project, :issue, :source, :task, :hour, :n, :unrecovered, :tasks_failed)"
    " ON CONFLICT (project, issue, source, task, hour) DO UPDATE SET n = issue_hours.n + excluded.n,"
    " unrecovered = issue_hours.unrecovered + excluded.unrecovered,"
    " tasks_failed = issue_hours.tasks_failed + excluded.tasks_failed"
)


def load(conn: Connection, ids: Collection[int]) -> dict[int, IssueRow]:
    """Those of `ids` that exist, under the id that was asked for, redirects followed."""
    found: dict[int, IssueRow] = {}
    for part in _chunks(sorted(set(ids))):
        for row in conn.execute(select(*_COLUMNS).where(issues.c.id.in_(part))):
            found[row.id] = read_row(row)
    moved = {asked: row.merged_into for asked, row in found.items() if row.merged_into is not None}
    if moved:
        there = load(conn, set(moved.values()) - found.keys()) | found  # one object per issue, however it was asked for
        found |= {asked: there[into] for asked, into in moved.items() if into in there}
    return found


def create(conn: Connection, rows: Iterable[IssueRow]) -> None:
    """Write new issues."""
    values = [_values(conn, row) for row in rows]
    if values:
        conn.execute(_INSERT, values)


def save(conn: Connection, rows: Iterable[IssueRow]) -> None:
    """Write issues as they now are."""
    values = [_values(conn, row) for row in rows]
    if values:
        conn.execute(_UPDATE, values)


def add_hours(conn: Connection, rows: Iterable[HourRow]) -> None:
    """Add to the hours of issues."""
    scope = project(conn)
    values = [{"project": scope, **row._asdict()} for row in rows]
    if values:
        conn.execute(_ADD_HOUR, values)


def hours(conn: Connection, ids: Collection[int], since_hour: int) -> list[HourRow]:
    """The hours of issues from `since_hour` on."""
    found: list[HourRow] = []
    for part in _chunks(sorted(set(ids))):
        query = select(*_HOUR_COLUMNS).where(
            issue_hours.c.project == project(conn), issue_hours.c.issue.in_(part), issue_hours.c.hour >= since_hour
        )
        found.extend(HourRow(*row) for row in conn.execute(query))
    return found


def struck(conn: Connection, ids: Collection[int], since_hour: int, recent_from: int) -> list[Struck]:
    """Where and when issues struck unrecovered from `since_hour` on; `recent` counts from `recent_from` on."""
    lost = issue_hours.c.unrecovered
    hit = case((lost > 0, issue_hours.c.hour))
    query = (
        select(
            issue_hours.c.issue,
            issue_hours.c.source,
            issue_hours.c.task,
            func.sum(case((issue_hours.c.hour >= recent_from, lost), else_=0)),
            func.sum(lost),
            func.min(hit),
            func.max(hit),
            func.count(hit),
        )
        .where(issue_hours.c.project == project(conn), issue_hours.c.hour >= since_hour)
        .group_by(issue_hours.c.issue, issue_hours.c.source, issue_hours.c.task)
    )
    found: list[Struck] = []
    for part in _chunks(sorted(set(ids))):
        found.extend(Struck(*row) for row in conn.execute(query.where(issue_hours.c.issue.in_(part))))
    return found


def quiet(conn: Connection, before: float, after: tuple[float, int], limit: int) -> list[IssueRow]:
    """Active issues last seen before `before` (epoch seconds), behind `after` (last_seen, id), longest silent first."""
    found: list[IssueRow] = []
    for state in ACTIVE:  # each is a range of the index issues_quiet; asked together they would be sorted in full
        rows = conn.execute(
            _QUIET,
            {"project": project(conn), "state": state, "from": after[0], "id": after[1], "to": before, "limit": limit},
        )
        found.extend(read_row(row) for row in rows)
    return sorted(found, key=lambda row: (row.last_seen, row.id))[:limit]


def newest(conn: Connection) -> float | None:
    """When any issue was last seen, epoch seconds."""
    states: list[IssueState] = [*ACTIVE, "resolved", "ignored"]
    found = [
        conn.execute(
            select(func.max(issues.c.last_seen)).where(issues.c.project == project(conn), issues.c.state == state)
        ).scalar()
        for state in states
    ]
    return max((float(at) for at in found if at is not None), default=None)


def keep_samples(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Up to `SAMPLES` distinct texts, newest first, each cut."""
    cut = [one[:SAMPLE_CHARS] for one in (*new, *old) if one]
    return list(dict.fromkeys(cut))[:SAMPLES]


def read_row(row: Row[Any]) -> IssueRow:
    """A row of `issues` → `IssueRow`."""
    found = {name: getattr(row, name) for name in _FIELDS}
    found["samples"] = msgspec.json.decode(found["samples"], type=list[str])
    return IssueRow(**found)


def _values(conn: Connection, row: IssueRow) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in _FIELDS}
    return {"project": project(conn), **values, "samples": msgspec.json.encode(row.samples)}


def _chunks(values: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
