"""Interned templates: one row per distinct (category, hash), its cluster, its vector."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from sqlalchemy import Connection, bindparam, func, or_, select, text, update

from rsi.store.engine import project
from rsi.store.schema import clusters, fingerprints

_T = TypeVar("_T")
Key: TypeAlias = tuple[str, str]  # (category, hash)

#: Keys per statement: SQLite's default limit of bound values is 32,766 since 3.32, 999 before.
_CHUNK: Final = 400

_COLUMNS: Final = (
    fingerprints.c.id,
    fingerprints.c.category,
    fingerprints.c.hash,
    fingerprints.c.template,
    fingerprints.c.error_type,
    fingerprints.c.cluster,
    fingerprints.c.why,
    fingerprints.c.n,
    fingerprints.c.classified_by,
)


class Interned(NamedTuple):
    """A stored template. `cluster` is the issue's number; `why` says why it is in that cluster.

    `classified_by` is the word of `Category.by`; ", prototype" behind it: prototypes said so too (`recategorize`).
    """

    id: int
    category: str
    hash: str
    template: str
    error_type: str | None
    cluster: int
    why: str
    n: int
    classified_by: str


class NewTemplate(NamedTuple):
    """A template that was never seen before. `cluster` None founds a cluster of its own."""

    category: str
    hash: str
    template: str
    error_type: str | None
    classified_by: str
    mask_version: int
    cluster: int | None
    why: str


class Unembedded(NamedTuple):
    """A template that waits for its vector."""

    id: int
    category: str
    template: str
    error_type: str | None


class Embedded(NamedTuple):
    """A template's place and its vector (float32 bytes)."""

    id: int
    category: str
    cluster: int
    vector: bytes


class Neighbour(NamedTuple):
    """A template of a category with its vector (float32 bytes of `model`, None if not embedded yet)."""

    id: int
    cluster: int
    template: str
    error_type: str | None
    vector: bytes | None


def find(conn: Connection, keys: Collection[Key]) -> dict[Key, Interned]:
    """Those of `keys` that are interned."""
    by_category: dict[str, list[str]] = {}
    for category, hashed in keys:
        by_category.setdefault(category, []).append(hashed)
    found: dict[Key, Interned] = {}
    for category, hashes in by_category.items():
        for part in _chunks(hashes):
            query = select(*_COLUMNS).where(
                fingerprints.c.project == project(conn),
                fingerprints.c.category == category,
                fingerprints.c.hash.in_(part),
            )
            found.update({(row.category, row.hash): _interned(row) for row in conn.execute(query)})
    return found


def by_id(conn: Connection, ids: Collection[int]) -> dict[int, Interned]:
    """Those of `ids` that exist."""
    found: dict[int, Interned] = {}
    for part in _chunks(sorted(ids)):
        for row in conn.execute(select(*_COLUMNS).where(fingerprints.c.id.in_(part))):
            found[row.id] = _interned(row)
    return found


def of_cluster(conn: Connection, cluster: int) -> list[Interned]:
    """The templates of a cluster, oldest first."""
    query = (
        select(*_COLUMNS)
        .where(fingerprints.c.project == project(conn), fingerprints.c.cluster == cluster)
        .order_by(fingerprints.c.id)
    )
    return [_interned(row) for row in conn.execute(query)]


def shown(conn: Connection, cluster: int, limit: int) -> tuple[list[Interned], int]:
    """The first templates of a cluster, and how many there are."""
    ours = (fingerprints.c.project == project(conn), fingerprints.c.cluster == cluster)
    found = conn.execute(select(*_COLUMNS).where(*ours).order_by(fingerprints.c.id).limit(limit))
    return [_interned(row) for row in found], int(conn.execute(select(func.count()).where(*ours)).scalar_one())


def of_hash(conn: Connection, hashed: str) -> list[Interned]:
    """The templates of one text, in whatever categories, oldest first; also one that gave way to another (`9f…:12`)."""
    numbered = (fingerprints.c.hash > f"{hashed}:") & (fingerprints.c.hash < f"{hashed};")
    query = (
        select(*_COLUMNS)
        .where(fingerprints.c.project == project(conn), or_(fingerprints.c.hash == hashed, numbered))
        .order_by(fingerprints.c.id)
    )
    return [_interned(row) for row in conn.execute(query)]


def intern(conn: Connection, new: Sequence[NewTemplate], now: float) -> dict[Key, Interned]:
    """Store templates that are not stored yet, each in its cluster or one of its own; what they became.

    A template that somebody else interned in between is returned as it lies there.
    """
    there = find(conn, [(t.category, t.hash) for t in new])
    missing = list({(t.category, t.hash): t for t in new if (t.category, t.hash) not in there}.values())
    if not missing:
        return there
    founded = found_clusters(conn, [t.category for t in missing if t.cluster is None], now)
    homes = [founded[t.category].pop(0) if t.cluster is None else t.cluster for t in missing]
    conn.execute(
        fingerprints.insert(),
        [
            {
                "project": project(conn),
                "category": t.category,
                "hash": t.hash,
                "template": t.template,
                "error_type": t.error_type,
                "mask_version": t.mask_version,
                "classified_by": t.classified_by,
                "cluster": home,
                "why": t.why,
                "first_seen": now,
                "n": 0,
            }
            for t, home in zip(missing, homes, strict=True)
        ],
    )
    return there | find(conn, [(t.category, t.hash) for t in missing])


def found_clusters(conn: Connection, categories: Sequence[str], now: float) -> dict[str, list[int]]:
    """New, empty clusters, one for each word of `categories`; a cluster's number is the public issue number."""
    made: dict[str, list[int]] = {}
    if categories:
        statement = clusters.insert().returning(clusters.c.category, clusters.c.id)
        scope = project(conn)
        rows = [{"project": scope, "category": one, "created": now, "pinned": False} for one in categories]
        for category, key in conn.execute(statement, rows):
            made.setdefault(category, []).append(key)
    return {category: sorted(keys) for category, keys in made.items()}


def count(conn: Connection, seen: Mapping[int, int]) -> None:
    """Add to how often templates were seen."""
    if seen:
        conn.execute(
            text("UPDATE fingerprints SET n = n + :more WHERE id = :id"),
            [{"id": id_, "more": more} for id_, more in seen.items()],
        )


def move(conn: Connection, ids: Collection[int], cluster: int, why: str | None = None) -> None:
    """Put templates into a cluster; `why` replaces the reason where one is given."""
    values: dict[str, object] = {"cluster": cluster} | ({"why": why} if why is not None else {})
    for part in _chunks(sorted(ids)):
        conn.execute(update(fingerprints).where(fingerprints.c.id.in_(part)).values(values))


def unembedded(conn: Connection, limit: int) -> list[Unembedded]:
    """Templates that have no vector yet, oldest first."""
    query = (
        select(fingerprints.c.id, fingerprints.c.category, fingerprints.c.template, fingerprints.c.error_type)
        .where(fingerprints.c.project == project(conn), fingerprints.c.model.is_(None))
        .order_by(fingerprints.c.id)
        .limit(limit)
    )
    return [Unembedded(*row) for row in conn.execute(query)]


def put_vectors(conn: Connection, model: str, vectors: Mapping[int, bytes]) -> None:
    """Keep the vectors (float32 bytes) that `model` made of templates."""
    if vectors:
        statement = (
            update(fingerprints)
            .where(fingerprints.c.id == bindparam("key"))
            .values(model=model, vector=bindparam("bytes"))
        )
        conn.execute(statement, [{"key": id_, "bytes": vector} for id_, vector in vectors.items()])


def embedded(conn: Connection, model: str) -> list[Embedded]:
    """Every template that `model` made a vector of, oldest first: what the worker's index begins with."""
    query = (
        select(fingerprints.c.id, fingerprints.c.category, fingerprints.c.cluster, fingerprints.c.vector)
        .where(fingerprints.c.project == project(conn), fingerprints.c.model == model)
        .order_by(fingerprints.c.id)
    )
    return [Embedded(*row) for row in conn.execute(query)]


def since(conn: Connection, after: int, limit: int) -> list[Interned]:
    """The next templates behind this one, oldest first."""
    query = (
        select(*_COLUMNS)
        .where(fingerprints.c.project == project(conn), fingerprints.c.id > after)
        .order_by(fingerprints.c.id)
        .limit(limit)
    )
    return [_interned(row) for row in conn.execute(query)]


def neighbours(conn: Connection, category: str, limit: int) -> list[Neighbour]:
    """The templates of a category, most often seen first: whom a new one may join."""
    query = (
        select(
            fingerprints.c.id,
            fingerprints.c.cluster,
            fingerprints.c.template,
            fingerprints.c.error_type,
            fingerprints.c.vector,
        )
        .where(fingerprints.c.project == project(conn), fingerprints.c.category == category)
        .order_by(fingerprints.c.n.desc(), fingerprints.c.id)
        .limit(limit)
    )
    return [Neighbour(*row) for row in conn.execute(query)]


def _interned(row: Any) -> Interned:
    return Interned(*row)


def _chunks(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
