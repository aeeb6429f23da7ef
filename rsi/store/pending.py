"""Failed steps that wait for their parent's end, and the parents they ask for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec
from sqlalchemy import Connection, bindparam, delete, select, update

from rsi.store.engine import project
from rsi.store.schema import outcomes, pending_steps

Ref: TypeAlias = tuple[str, str]  # (source, outcome id)

_CHUNK: Final = 400  # ids per statement


class Pending(NamedTuple):
    """A failed step whose parent has not ended. `hour` is the step's, `at` when it arrived (epoch seconds).

    `issue` may have been merged since: then it redirects.
    """

    id: int
    source: str
    task: str
    parent: str
    issue: int
    hour: int
    backfill: bool
    at: float


class Ended(NamedTuple):
    """What a step asks of its parent. `excused`: it failed in a way that is not a failure."""

    kind: str
    status: str
    parent: str | None
    excused: bool


class _Body(msgspec.Struct):
    parent: str | None = None


#: Built while one thread imports this module: see the end of `rsi.model`.
_BODY: Final = msgspec.json.Decoder(_Body)


_COLUMNS: Final = tuple(pending_steps.c[name] for name in Pending._fields)


def waiting_for(conn: Connection, parents: Iterable[Ref]) -> list[Pending]:
    """The steps that wait for one of `parents`, oldest first. One cheap question if none waits at all."""
    if conn.execute(select(pending_steps.c.id).limit(1)).first() is None:
        return []
    found: list[Pending] = []
    for source, ids in _by_source(parents).items():
        for part in _chunks(ids):
            query = select(*_COLUMNS).where(
                pending_steps.c.project == project(conn),
                pending_steps.c.source == source,
                pending_steps.c.parent.in_(part),
            )
            found.extend(Pending(*row) for row in conn.execute(query))
    return sorted(found)


def overdue(conn: Connection, before: float, limit: int) -> list[Pending]:
    """Steps that arrived before `before` (epoch seconds) and still wait, oldest first."""
    query = select(*_COLUMNS).where(pending_steps.c.project == project(conn)).order_by(pending_steps.c.id).limit(limit)
    return [row for row in (Pending(*found) for found in conn.execute(query)) if row.at < before]


def add(conn: Connection, steps: Sequence[Mapping[str, object]]) -> None:
    """Let steps wait; each a mapping with the fields of `Pending` but `id`."""
    if steps:
        conn.execute(pending_steps.insert(), [{"project": project(conn), **step} for step in steps])


def remove(conn: Connection, ids: Collection[int]) -> None:
    """These wait no more."""
    for part in _chunks(sorted(ids)):
        conn.execute(delete(pending_steps).where(pending_steps.c.id.in_(part)))


def hand_up(conn: Connection, parents: Mapping[int, str]) -> None:
    """Let steps wait for another parent: their own was a step that failed too."""
    if parents:
        statement = update(pending_steps).where(pending_steps.c.id == bindparam("key")).values(parent=bindparam("up"))
        conn.execute(statement, [{"key": id_, "up": up} for id_, up in parents.items()])


def ended(conn: Connection, refs: Iterable[Ref], up_to: int) -> dict[Ref, Ended]:
    """How outcomes that were analysed before (`seq` ≤ `up_to`) ended; those not there are left out.

    Every analysed failure has a fingerprint, so a failed row without one was not a failure.
    """
    found: dict[Ref, Ended] = {}
    for source, ids in _by_source(refs).items():
        for part in _chunks(ids):
            query = select(
                outcomes.c.id, outcomes.c.kind, outcomes.c.status, outcomes.c.body, outcomes.c.fingerprint
            ).where(
                outcomes.c.project == project(conn),
                outcomes.c.source == source,
                outcomes.c.id.in_(part),
                outcomes.c.seq <= up_to,
            )
            for id_, kind, status, body, fingerprint in conn.execute(query):
                parent = _BODY.decode(body).parent
                found[source, id_] = Ended(kind, status, parent, status == "failed" and fingerprint is None)
    return found


def _by_source(refs: Iterable[Ref]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for source, id_ in refs:
        grouped.setdefault(source, []).append(id_)
    return grouped


def _chunks(values: Sequence[str] | Sequence[int]) -> Iterable[Sequence[str] | Sequence[int]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
