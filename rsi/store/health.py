"""The decayed counts behind health: one row per (source, task), task '' for the whole source."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, TypeAlias

from sqlalchemy import Connection, select, text

from rsi.store.engine import project
from rsi.store.schema import health

Scope: TypeAlias = tuple[str, str]  # (source, task)


class HealthRow(NamedTuple):
    """Decayed weights of failures and successes as of `at` (epoch seconds, the newest outcome's).

    `squares` is the sum of their squares; `recent_…` is the memory of the newest outcomes alone; `joined` is the part
    of `failures` that came right after another failure.
    """

    source: str
    task: str
    failures: float
    successes: float
    at: float
    run_of_failures: int
    last_fingerprint: int | None
    state: str
    squares: float
    recent_failures: float
    recent_successes: float
    joined: float


_NAMES: Final = HealthRow._fields
_COLUMNS: Final = tuple(health.c[name] for name in _NAMES)
_UPSERT: Final = text(
    f"INSERT INTO health (project, {', '.join(_NAMES)}) VALUES (:project, {', '.join(f':{n}' for n in _NAMES)})"  # noqa: S608 - our own column names
    f" ON CONFLICT (project, source, task) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in _NAMES[2:])}"
)


def load(conn: Connection, *, sources: Collection[str] | None = None) -> dict[Scope, HealthRow]:
    """The rows of `sources` (all if None)."""
    query = select(*_COLUMNS).where(health.c.project == project(conn))
    if sources is not None:
        query = query.where(health.c.source.in_(sorted(sources)))
    return {(row.source, row.task): HealthRow(*row) for row in conn.execute(query)}


def save(conn: Connection, rows: Sequence[HealthRow]) -> None:
    """Write rows as they now are."""
    if rows:
        conn.execute(_UPSERT, [{"project": project(conn), **row._asdict()} for row in rows])


def newest(conn: Connection) -> float | None:
    """When the newest live outcome was, epoch seconds; None before the first."""
    found = conn.execute(
        text("SELECT MAX(at) FROM health WHERE project = :project"), {"project": project(conn)}
    ).scalar()
    return None if found is None else float(found)
