"""What people have said of two templates: the same, or not. Kept by their hashes, so that no rule undoes it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select, text

from rsi import clock
from rsi.store.engine import project
from rsi.store.fingerprints import Interned
from rsi.store.schema import decisions, fingerprints

_CHUNK: Final = 400  # hashes per statement
#: Behind the hash of a template that gave way to another of its category (`recategorize`) stands its number.
_NUMBERED: Final = ":"
_BEHIND: Final = chr(ord(_NUMBERED) + 1)
_DECIDE: Final = text(
    "INSERT INTO decisions (project, a, b, same, at, who) VALUES (:project, :a, :b, :same, :at, :who)"
    " ON CONFLICT (project, a, b) DO UPDATE SET same = excluded.same, at = excluded.at, who = excluded.who"
)


def of(one: Interned) -> str:
    """The hash by which decisions about a template are kept."""
    return base(one.hash)


def base(hashed: str) -> str:
    """The hash of the text alone."""
    return hashed.partition(_NUMBERED)[0]


def decide(conn: Connection, pairs: Iterable[tuple[str, str]], *, same: bool, who: str) -> None:
    """Remember of pairs of hashes that they are the same, or are not."""
    at, scope = clock.now(), project(conn)
    rows = [
        {"project": scope, "a": min(pair), "b": max(pair), "same": same, "at": at, "who": who}
        for pair in dict.fromkeys(pairs)
        if pair[0] != pair[1]
    ]
    if rows:
        conn.execute(_DECIDE, rows)


def forget_apart(conn: Connection, ours: Sequence[str], theirs: Sequence[str]) -> None:
    """A person who says that two issues are one takes back what was said against it."""
    for mine in _parts(ours):
        for other in _parts(theirs):
            either = or_(_pair(mine, other), _pair(other, mine))
            conn.execute(delete(decisions).where(_parted(conn), either))


def any_parted(conn: Connection) -> bool:
    """Whether a person has parted anything at all: most have not, and need not be asked more."""
    return conn.execute(select(decisions.c.a).where(_parted(conn)).limit(1)).first() is not None


def foes(conn: Connection, hashes: Collection[str]) -> set[str]:
    """What a person said to differ from any of these."""
    return set(_partners(conn, hashes, _parted(conn)))


def friends(conn: Connection, hashes: Collection[str], *, before: float | None = None) -> list[tuple[str, str]]:
    """Pairs of these with what a person said to be the same; `before`: only what was said by then."""
    said = (decisions.c.project == project(conn)) & decisions.c.same.is_(True)
    if before is not None:
        said &= decisions.c.at <= before
    found = []
    for here, there in ((decisions.c.a, decisions.c.b), (decisions.c.b, decisions.c.a)):
        for part in _parts(sorted(hashes)):
            found += [(one, other) for one, other in conn.execute(select(here, there).where(said, here.in_(part)))]
    return found


def parted(conn: Connection) -> set[tuple[int, int]]:
    """The pairs of templates (smaller number first) that a person has said to differ, in whatever categories."""
    sides: list[dict[tuple[str, str], list[int]]] = []
    for column in (decisions.c.a, decisions.c.b):
        ids: dict[tuple[str, str], list[int]] = {}
        numbered = (fingerprints.c.hash > column + _NUMBERED) & (fingerprints.c.hash < column + _BEHIND)
        for same_hash in (fingerprints.c.hash == column, numbered):
            ours = (fingerprints.c.project == decisions.c.project) & same_hash
            query = (
                select(decisions.c.a, decisions.c.b, fingerprints.c.id).join(fingerprints, ours).where(_parted(conn))
            )
            for a, b, key in conn.execute(query):
                ids.setdefault((a, b), []).append(key)
        sides.append(ids)
    mine, theirs = sides
    return {(min(x, y), max(x, y)) for pair, ids in mine.items() for x in ids for y in theirs.get(pair, ())}


def in_cluster(conn: Connection, cluster: int, hashes: Collection[str]) -> bool:
    """Whether a cluster holds a template of any of these hashes."""
    alone = func.substr(fingerprints.c.hash, 1, func.instr(fingerprints.c.hash + _NUMBERED, _NUMBERED) - 1)
    ours = (fingerprints.c.project == project(conn)) & (fingerprints.c.cluster == cluster)
    return any(
        conn.execute(select(fingerprints.c.id).where(ours, alone.in_(part)).limit(1)).first()
        for part in _parts(sorted(hashes))
    )


def _partners(conn: Connection, hashes: Collection[str], said: ColumnElement[bool]) -> Iterator[str]:
    for here, there in ((decisions.c.a, decisions.c.b), (decisions.c.b, decisions.c.a)):
        for part in _parts(sorted(hashes)):
            yield from conn.execute(select(there).where(said, here.in_(part))).scalars()


def _parted(conn: Connection) -> ColumnElement[bool]:
    return (decisions.c.project == project(conn)) & decisions.c.same.is_(False)


def _pair(ours: Sequence[str], theirs: Sequence[str]) -> ColumnElement[bool]:
    return decisions.c.a.in_(ours) & decisions.c.b.in_(theirs)


def _parts(hashes: Sequence[str]) -> list[Sequence[str]]:
    return [hashes[start : start + _CHUNK] for start in range(0, len(hashes), _CHUNK)]
