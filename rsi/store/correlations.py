"""The tables `correlations` and `incidents`: which issues move together, and what is shown as one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, Select, func, or_, select, text, update

from rsi import clock
from rsi.errors import InvalidInputError, NotFoundError
from rsi.model import Incident, IncidentState, Link
from rsi.store.engine import project
from rsi.store.schema import correlations, incidents, issues

PAGE: Final = 1000
_CHUNK: Final = 400  # ids per statement
_MAX_DIGITS: Final = 18  # beyond this SQLite has no integer


class PairRow(NamedTuple):
    """Two issues that move together, `b` following `a` by `lag` minutes; `since` and `until` are epoch seconds."""

    a: int
    b: int
    lag: int
    times: int
    expected: float
    q: float
    named: bool
    since: float
    until: float


class IncidentRow(msgspec.Struct, kw_only=True):
    """An incident as it lies in the store; times are epoch seconds. A new one has no id."""

    id: int | None = None
    state: IncidentState = "open"
    started: float
    last_seen: float
    title: str = ""
    cause: str = ""
    issues: list[int]
    sources: list[str] = []
    links: list[Link] = []
    merged_into: int | None = None

    @property
    def ref(self) -> str:
        """The public id: `n12`."""
        return f"n{self.id}"


_PAIR: Final = PairRow._fields
_COLUMNS: Final = tuple(incidents.c[name] for name in IncidentRow.__struct_fields__)
_LISTS: Final = ("issues", "sources", "links")
_PUT: Final = text(
    f"INSERT INTO correlations (project, {', '.join(_PAIR)}) VALUES (:project, {', '.join(f':{n}' for n in _PAIR)})"  # noqa: S608 - our own column names
    f" ON CONFLICT (project, a, b) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in _PAIR[2:])}"
)
#: An issue that was merged away goes by the id of the one it went into.
_NOW: Final = func.coalesce(issues.c.merged_into, issues.c.id)


def put(conn: Connection, pairs: Iterable[PairRow]) -> None:
    """Write pairs as they now are, whichever way round they were before."""
    rows = [{"project": project(conn), **pair._asdict()} for pair in pairs]
    if rows:
        turned = text("DELETE FROM correlations WHERE project = :project AND a = :b AND b = :a")
        conn.execute(turned, rows)
        conn.execute(_PUT, rows)


def since(conn: Connection, at: float) -> list[PairRow]:
    """Pairs that moved together at `at` (epoch seconds) or later, under the ids that they go by now."""
    one, other = issues.alias(), issues.alias()
    query = (
        select(
            func.coalesce(one.c.merged_into, one.c.id),
            func.coalesce(other.c.merged_into, other.c.id),
            *(correlations.c[name] for name in _PAIR[2:]),
        )
        .join(one, one.c.id == correlations.c.a)
        .join(other, other.c.id == correlations.c.b)
        .where(correlations.c.project == project(conn), correlations.c.until >= at)
        .order_by(correlations.c.a, correlations.c.b)
    )
    return [row for row in (PairRow(*found) for found in conn.execute(query)) if row.a != row.b]


def of_issues(conn: Connection, ids: Collection[int]) -> dict[int, list[str]]:
    """Issue → public ids of the issues that move with it, surest first."""
    found: dict[int, dict[int, float]] = {}
    asked = sorted(set(ids))
    for start in range(0, len(asked), _CHUNK):
        _partners(conn, asked[start : start + _CHUNK], found)
    return {key: [f"i{with_}" for with_ in sorted(q, key=lambda one: (q[one], one))] for key, q in found.items()}


def _partners(conn: Connection, ids: Sequence[int], found: dict[int, dict[int, float]]) -> None:
    wanted = frozenset(ids)
    mine = select(issues.c.id).where(or_(issues.c.id.in_(ids), issues.c.merged_into.in_(ids)))
    one, other = issues.alias(), issues.alias()
    query = (
        select(
            func.coalesce(one.c.merged_into, one.c.id),
            func.coalesce(other.c.merged_into, other.c.id),
            correlations.c.q,
        )
        .join(one, one.c.id == correlations.c.a)
        .join(other, other.c.id == correlations.c.b)
        .where(correlations.c.project == project(conn), or_(correlations.c.a.in_(mine), correlations.c.b.in_(mine)))
    )
    for a, b, q in conn.execute(query):
        for key, with_ in ((a, b), (b, a)):
            if key in wanted and a != b:
                partners = found.setdefault(key, {})
                partners[with_] = min(q, partners.get(with_, 1.0))


def open_incidents(conn: Connection) -> list[IncidentRow]:
    """Those that are not over, oldest first, with the ids that their issues go by now."""
    query = select(*_COLUMNS).where(
        incidents.c.project == project(conn), incidents.c.state == "open", incidents.c.merged_into.is_(None)
    )
    rows = [_read(row) for row in conn.execute(query.order_by(incidents.c.id))]
    now = _redirected(conn, {key for row in rows for key in row.issues})
    for row in rows:
        row.issues = sorted({now.get(key, key) for key in row.issues})
    return rows


def _redirected(conn: Connection, ids: Collection[int]) -> dict[int, int]:
    query = select(issues.c.id, _NOW).where(issues.c.id.in_(sorted(ids)))
    return {row.id: row[1] for row in conn.execute(query)}


def save(conn: Connection, rows: Iterable[IncidentRow]) -> None:
    """Write incidents as they now are; new ones get their id. What redirected to one that joined redirects on."""
    for row in rows:
        values = {name: getattr(row, name) for name in row.__struct_fields__ if name != "id"}
        values |= {name: msgspec.json.encode(values[name]) for name in _LISTS}
        if row.id is None:
            made = incidents.insert().values(project=project(conn), **values).returning(incidents.c.id)
            row.id = conn.execute(made).scalar_one()
        else:
            conn.execute(update(incidents).where(incidents.c.id == row.id).values(**values))
            if row.merged_into is not None:
                later = update(incidents).where(incidents.c.merged_into == row.id)
                conn.execute(later.values(merged_into=row.merged_into))


def list_incidents(conn: Connection, *, state: str | None = None, limit: int = 100) -> list[Incident]:
    """Incidents, the open ones first, then the newest.

    Raises:
        InvalidInputError: an unknown state, or a limit out of range.
    """
    if state not in (None, "open", "over"):
        raise InvalidInputError(f"state: expected open or over, got {state!r}", field="state")
    if not 1 <= limit <= PAGE:
        raise InvalidInputError(f"limit: expected 1..{PAGE}, got {limit}", field="limit")
    query = _all(conn) if state is None else _all(conn).where(incidents.c.state == state)
    ordered = query.order_by(incidents.c.state != "open", incidents.c.last_seen.desc(), incidents.c.id.desc())
    return [public(_read(row)) for row in conn.execute(ordered.limit(limit))]


def get_incident(conn: Connection, ref: str) -> Incident:
    """One incident; the id of one that joined another gives that.

    Raises:
        NotFoundError: there is none.
    """
    missing = NotFoundError(f"{ref[:40]!r}: no such incident; ids look like n12, `rsi incidents` lists them")
    digits = ref.strip().removeprefix("n")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        raise missing
    mine = (incidents.c.project == project(conn), incidents.c.id == int(digits))
    row = conn.execute(select(*_COLUMNS).where(*mine)).one_or_none()
    if row is None:
        raise missing
    return public(_read(row)) if row.merged_into is None else get_incident(conn, f"n{row.merged_into}")


def of_issue(conn: Connection, issue: int) -> Incident | None:
    """The newest incident that an issue is or was part of."""
    query = _all(conn).order_by(incidents.c.state != "open", incidents.c.last_seen.desc()).limit(PAGE)
    rows = (_read(row) for row in conn.execute(query))
    return next((public(row) for row in rows if issue in row.issues), None)


def count_by_state(conn: Connection) -> dict[str, int]:
    """State → incidents."""
    query = select(incidents.c.state, func.count()).where(
        incidents.c.project == project(conn), incidents.c.merged_into.is_(None)
    )
    return {"open": 0, **{str(state): int(n) for state, n in conn.execute(query.group_by(incidents.c.state))}}


def public(row: IncidentRow) -> Incident:
    """As people see it."""
    return Incident(
        id=row.ref,
        title=row.title,
        likely_cause=row.cause,
        state=row.state,
        issues=[f"i{key}" for key in row.issues],
        sources=row.sources,
        started=clock.iso(row.started),
        last_seen=clock.iso(row.last_seen),
        evidence=row.links,
    )


def _all(conn: Connection) -> Select[Any]:
    return select(*_COLUMNS).where(incidents.c.project == project(conn), incidents.c.merged_into.is_(None))


_LINKS: Final = msgspec.json.Decoder(list[Link])


def _read(row: Row[Any]) -> IncidentRow:
    return IncidentRow(
        id=row.id,
        state=row.state,
        started=row.started,
        last_seen=row.last_seen,
        title=row.title,
        cause=row.cause,
        issues=msgspec.json.decode(row.issues, type=list[int]),
        sources=msgspec.json.decode(row.sources, type=list[str]),
        links=_LINKS.decode(row.links),
        merged_into=row.merged_into,
    )
