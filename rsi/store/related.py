"""The table `related`: which templates resemble one another, and so which issues may be the same. It merges nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, delete, select

from rsi import clock
from rsi.model import Related
from rsi.store import issue_rows, merges
from rsi.store.engine import project
from rsi.store.issue_rows import IssueRow
from rsi.store.schema import fingerprints, related

#: So many are shown; a person reads no more.
SHOWN: Final = 5
_CHUNK: Final = 400  # ids per statement


class Near(NamedTuple):
    """A template that another one resembles; `why` says what tells them apart besides their category ('' = nothing)."""

    template: int
    cosine: float
    why: str


class _Row(NamedTuple):
    cluster: int
    template: int
    cosine: float
    why: str


def put(conn: Connection, found: Mapping[int, Sequence[Near]]) -> None:
    """What templates resemble, instead of what they did when they were placed before."""
    scope, at, placed = project(conn), clock.now(), sorted(found)
    for start in range(0, len(placed), _CHUNK):
        part = placed[start : start + _CHUNK]
        conn.execute(delete(related).where(related.c.project == scope, related.c.a.in_(part)))
    rows = [
        {"project": scope, "a": key, "b": near.template, "cosine": near.cosine, "why": near.why, "at": at}
        for key in placed
        for near in found[key]
    ]
    if rows:
        conn.execute(related.insert(), rows)


def of_issue(conn: Connection, issue: str, limit: int = SHOWN) -> list[Related]:
    """The issues that may be the same as this one, nearest first; ids as they go by now.

    What a person parted and what is one issue already is left out.

    Raises:
        NotFoundError: it is not an issue's id.
    """
    key = issue_rows.number(issue)
    mine = issue_rows.load(conn, [key]).get(key)
    if mine is None:
        return []
    nearest = _nearest(conn, mine.id)
    rows = issue_rows.load(conn, nearest)
    found: list[Related] = []
    for cluster, near in nearest.items():
        if len(found) == limit:
            break
        other = rows.get(cluster)
        if other is not None and not merges.declared_apart(conn, mine.id, other.id):
            found.append(_shown(mine, other, near))
    return found


def _nearest(conn: Connection, cluster: int) -> dict[int, Near]:
    """Other clusters → the nearest pair of templates, nearest first, whichever of the two found the other."""
    found = {_Row._make(row) for query in _both_ways(conn, cluster) for row in conn.execute(query)}
    best: dict[int, Near] = {}
    for there, template, cosine, why in sorted(found, key=lambda row: (-row.cosine, row.template)):
        best.setdefault(there, Near(template, cosine, why))
    return best


def _both_ways(conn: Connection, cluster: int) -> list[Select[Any]]:
    mine = select(fingerprints.c.id).where(fingerprints.c.project == project(conn), fingerprints.c.cluster == cluster)
    return [
        select(fingerprints.c.cluster, there, related.c.cosine, related.c.why)
        .join(fingerprints, fingerprints.c.id == there)
        .where(related.c.project == project(conn), here.in_(mine), fingerprints.c.cluster != cluster)
        for here, there in ((related.c.a, related.c.b), (related.c.b, related.c.a))
    ]


def _shown(mine: IssueRow, other: IssueRow, near: Near) -> Related:
    apart = ["other category"] if mine.category != other.category else []
    return Related(
        issue=other.ref,
        title=other.title,
        category=other.category,
        cosine=near.cosine,
        why=", ".join([*apart, *([near.why] if near.why else [])]) or "other wording only",
    )
