"""Issues as people see them, and what people do to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, get_args

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, case, exists, or_, select, tuple_

from rsi import clock
from rsi.classify import suggested_action
from rsi.errors import InvalidInputError, NotFoundError
from rsi.model import Issue, IssueInFull, IssueState, IssueTemplate
from rsi.store import correlations, impact, issue_rows, journal, related
from rsi.store import fingerprints as templates
from rsi.store.engine import project
from rsi.store.impact import Figures, IssueScope, scopes
from rsi.store.issue_rows import IssueRow, number
from rsi.store.merges import Split, auto_merge, merge, split
from rsi.store.schema import fingerprints, issue_hours, issues

__all__ = [
    "IssueScope", "Split", "auto_merge", "get_issue", "get_row", "in_full", "list_issues", "merge", "number", "scopes",
    "set_state", "split",
]  # fmt: skip

#: States that a person may set; the others follow from what happens.
BY_PERSON: Final[tuple[IssueState, ...]] = ("ongoing", "resolved", "ignored")
PAGE: Final = 1000
#: Templates of one issue that are shown, and how much of each: a person who splits reads no more.
TEMPLATES: Final = 100
CHARS: Final = 500
_CURSOR: Final = re.compile(r"([01])\.(\d+)\.(\d+)\.(\d+)")


def list_issues(
    conn: Connection,
    *,
    state: str | None = None,
    source: str | None = None,
    task: str | None = None,
    category: str | None = None,
    q: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> tuple[list[Issue], str | None]:
    """A page of issues and the cursor of the next one (None after the last).

    Worst first: what is active before what is resolved or ignored, then most unrecovered failures, then most seen.

    `q` is part of a title or of a template, whatever its case.

    Raises:
        InvalidInputError: an unknown state, a limit out of range, or a cursor that is none of ours.
    """
    if not 1 <= limit <= PAGE:
        raise InvalidInputError(f"limit: expected 1..{PAGE}, got {limit}", field="limit")
    query = _filtered(conn, state=state, source=source, task=task, category=category, q=q)
    if cursor is not None:
        query = query.where(tuple_(*_ORDER) > tuple_(*_behind(cursor)))
    found = [issue_rows.read_row(row) for row in conn.execute(query.order_by(*_ORDER).limit(limit + 1))]
    page = found[:limit]
    return _shown(conn, page), _cursor(page[-1]) if len(found) > limit else None


def get_issue(conn: Connection, issue_id: str) -> Issue:
    """One issue; an id that was merged away gives the issue it went into.

    Raises:
        NotFoundError: there is none.
    """
    return _shown(conn, [get_row(conn, issue_id)])[0]


def in_full(conn: Connection, issue_id: str) -> IssueInFull:
    """One issue like `get_issue`, with its templates and what is possibly related to it.

    Raises:
        NotFoundError: there is none.
    """
    found = get_issue(conn, issue_id)
    held, total = templates.shown(conn, number(found.id), TEMPLATES)
    return IssueInFull(
        **msgspec.structs.asdict(found),
        templates=[IssueTemplate(id=one.id, template=one.template[:CHARS], n=one.n, why=one.why) for one in held],
        templates_total=total,
        related=related.of_issue(conn, found.id),
    )


def get_row(conn: Connection, issue_id: str) -> IssueRow:
    """The row of an issue, redirects followed.

    Raises:
        NotFoundError: there is none.
    """
    key = number(issue_id)
    found = issue_rows.load(conn, [key]).get(key)
    if found is None:
        raise NotFoundError(f"i{key}: no such issue; `rsi issues` lists them")
    return found


def set_state(conn: Connection, issue_id: str, state: str, who: str) -> Issue:
    """A person resolves, ignores or reopens an issue; written to the journal.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: a state that nobody can set.
    """
    wanted: IssueState | None = next((one for one in BY_PERSON if one == state), None)
    if wanted is None:
        raise InvalidInputError(f"state: expected {', '.join(BY_PERSON)}, got {state!r}", field="state")
    row = get_row(conn, issue_id)
    before, row.state, row.state_at = row.state, wanted, clock.now()
    row.resolved_by = who if wanted == "resolved" else None
    issue_rows.save(conn, [row])
    journal.append(conn, who, "issue.state", row.ref, {"before": before, "after": wanted})
    return get_issue(conn, row.ref)


_ORDER: Final[tuple[ColumnElement[Any], ...]] = (
    case((issues.c.state.in_(("resolved", "ignored")), 1), else_=0),
    -issues.c.unrecovered,
    -issues.c.frequency,
    issues.c.id,
)


def _filtered(
    conn: Connection, *, state: str | None, source: str | None, task: str | None, category: str | None, q: str | None
) -> Select[Any]:
    query = select(issues).where(issues.c.project == project(conn), issues.c.merged_into.is_(None))
    if state is not None:
        if state not in get_args(IssueState):
            raise InvalidInputError(f"state: expected {', '.join(get_args(IssueState))}, got {state!r}", field="state")
        query = query.where(issues.c.state == state)
    if category is not None:
        query = query.where(issues.c.category == category)
    if source is not None or task is not None:
        query = query.where(_struck(conn, source, task))
    return query if not q else query.where(_says(conn, q))


def _struck(conn: Connection, source: str | None, task: str | None) -> ColumnElement[bool]:
    there = exists().where(issue_hours.c.project == project(conn), issue_hours.c.issue == issues.c.id)
    if source is not None:
        there = there.where(issue_hours.c.source == source)
    return there if task is None else there.where(issue_hours.c.task == task)


def _says(conn: Connection, q: str) -> ColumnElement[bool]:
    template = exists().where(
        fingerprints.c.project == project(conn),
        fingerprints.c.cluster == issues.c.id,
        fingerprints.c.template.icontains(q, autoescape=True),
    )
    return or_(issues.c.title.icontains(q, autoescape=True), template)


def _cursor(last: IssueRow) -> str:
    return f"{int(last.state in ('resolved', 'ignored'))}.{last.unrecovered}.{last.frequency}.{last.id}"


def _behind(cursor: str) -> tuple[int, int, int, int]:
    found = _CURSOR.fullmatch(cursor)
    if not found:
        raise InvalidInputError(f"cursor: {cursor!r} is not one that a page of issues ended with", field="cursor")
    rank, unrecovered, frequency, key = map(int, found.groups())
    return rank, -unrecovered, -frequency, key


def _shown(conn: Connection, rows: Sequence[IssueRow]) -> list[Issue]:
    costs = impact.figures(conn, rows, clock.now())
    with_ = correlations.of_issues(conn, [row.id for row in rows])
    return [_issue(row, costs[row.id], with_.get(row.id, [])) for row in rows]


def _issue(row: IssueRow, cost: Figures, correlated: list[str]) -> Issue:
    return Issue(
        id=row.ref,
        title=row.title,
        category=row.category,
        severity=row.severity,
        state=row.state,
        task_type=cost.task,
        sources=cost.sources,
        frequency=row.frequency,
        unrecovered=row.unrecovered,
        failure_rate=cost.failure_rate,
        impact_score=cost.impact,
        first_seen=clock.iso(row.first_seen),
        last_seen=clock.iso(row.last_seen),
        recurring=cost.recurring,
        trend=row.trend,
        sample_errors=row.samples,
        suggested_action=suggested_action(row.category),
        correlated=correlated,
        why=row.why,
    )
