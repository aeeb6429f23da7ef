"""The table `issue_minutes`: live failures by minute, and the attempts of their sources, for the last two days."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, case, delete, func, select, text

from rsi.store.engine import project
from rsi.store.schema import issue_minutes, issues

#: The issue number that counts attempts: final tasks and steps that went well.
ATTEMPTS: Final = 0
#: Minutes that one job forgets: an hour of a busy home is some 10 ms.
FORGET_AT_ONCE: Final = 60


class MinuteRow(NamedTuple):
    """What an issue did in one source and epoch minute; `provider` and `release` are the last ones that were said."""

    minute: int
    issue: int
    source: str
    n: int
    provider: str | None = None
    release: str | None = None


class Totals(NamedTuple):
    """Of a source: what was tried, and what failed (steps that were tried again, too)."""

    attempts: int
    failures: int


class Struck(NamedTuple):
    """An issue of the window: in how many minutes it struck, summed over its sources, and in the last of them."""

    issue: int
    minutes: int
    last: int


_ADD: Final = text(
    "INSERT INTO issue_minutes (project, minute, issue, source, n, provider, release)"
    " VALUES (:project, :minute, :issue, :source, :n, :provider, :release)"
    " ON CONFLICT (project, minute, issue, source) DO UPDATE SET n = n + excluded.n,"
    " provider = coalesce(excluded.provider, provider), release = coalesce(excluded.release, release)"
)
#: An issue that was merged away counts as the one it went into; what a person ignores is left out.
_ISSUE: Final = func.coalesce(issues.c.merged_into, issues.c.id)
_STRUCK: Final = (
    select(_ISSUE, func.count(), func.max(issue_minutes.c.minute))
    .join(issues, issues.c.id == issue_minutes.c.issue)
    .where(
        issue_minutes.c.project == bindparam("project"),
        issue_minutes.c.minute >= bindparam("since"),
        issues.c.state != "ignored",
    )
    .group_by(_ISSUE)
)


def add(conn: Connection, rows: Iterable[MinuteRow]) -> None:
    """Add to the minutes of issues and sources."""
    scope = project(conn)
    values = [{"project": scope, **row._asdict()} for row in rows]
    if values:
        conn.execute(_ADD, values)


def struck(conn: Connection, since: int) -> list[Struck]:
    """The issues that struck from the epoch minute `since` on, latest first."""
    found = [Struck(*row) for row in conn.execute(_STRUCK, {"project": project(conn), "since": since})]
    return sorted(found, key=lambda one: (-one.last, -one.minutes, one.issue))


def of_issues(conn: Connection, ids: Collection[int], since: int) -> list[MinuteRow]:
    """The minutes of these issues from `since` on, under the ids that they go by now, oldest first."""
    query = (
        select(
            issue_minutes.c.minute,
            _ISSUE,
            issue_minutes.c.source,
            issue_minutes.c.n,
            issue_minutes.c.provider,
            issue_minutes.c.release,
        )
        .join(issues, issues.c.id == issue_minutes.c.issue)
        .where(issue_minutes.c.project == project(conn), issue_minutes.c.minute >= since, _ISSUE.in_(sorted(ids)))
        .order_by(issue_minutes.c.minute)
    )
    return [MinuteRow(*row) for row in conn.execute(query)]


def totals(conn: Connection, since: int) -> dict[str, Totals]:
    """Source → its attempts and its failures from `since` on."""
    is_attempt = issue_minutes.c.issue == ATTEMPTS
    query = (
        select(
            issue_minutes.c.source,
            func.sum(case((is_attempt, issue_minutes.c.n), else_=0)),
            func.sum(case((is_attempt, 0), else_=issue_minutes.c.n)),
        )
        .where(issue_minutes.c.project == project(conn), issue_minutes.c.minute >= since)
        .group_by(issue_minutes.c.source)
    )
    return {source: Totals(int(tried), int(failed)) for source, tried, failed in conn.execute(query)}


def attempts(conn: Connection, sources: Collection[str], since: int) -> dict[str, dict[int, int]]:
    """Source → epoch minute → attempts from `since` on, for these sources, and for all of them together as `''`."""
    named = case((issue_minutes.c.source.in_(sorted(sources)), issue_minutes.c.source), else_="")
    query = (
        select(named, issue_minutes.c.minute, func.sum(issue_minutes.c.n))
        .where(
            issue_minutes.c.project == project(conn),
            issue_minutes.c.minute >= since,
            issue_minutes.c.issue == ATTEMPTS,
        )
        .group_by(issue_minutes.c.minute, named)
    )
    found: dict[str, dict[int, int]] = {source: {} for source in ("", *sources)}
    for source, minute, n in conn.execute(query):
        found[""][minute] = found[""].get(minute, 0) + n
        if source:
            found[source][minute] = n
    return found


def oldest(conn: Connection) -> int | None:
    """The first epoch minute that is kept."""
    return conn.execute(
        select(func.min(issue_minutes.c.minute)).where(issue_minutes.c.project == project(conn))
    ).scalar()


def forget(conn: Connection, before: int) -> bool:
    """Delete the oldest `FORGET_AT_ONCE` minutes that lie before the epoch minute `before`; False if none did."""
    first = oldest(conn)
    if first is None or first >= before:
        return False
    up_to = min(before, first + FORGET_AT_ONCE)
    ours = issue_minutes.c.project == project(conn)
    conn.execute(delete(issue_minutes).where(ours, issue_minutes.c.minute < up_to))
    return True
