"""Under which classification rules the stored templates have their categories, and how far new rules were gone through.

When rules change, the category of a template may change with them although the texts are the same. Then its issue goes
along and keeps its id, and what a person has merged or split stays so (`decisions` hang on the texts, not on rules).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec
from sqlalchemy import Connection, select

from rsi import clock
from rsi.store import decisions, fingerprints, meta
from rsi.store.engine import project
from rsi.store.fingerprints import Interned, Key
from rsi.store.schema import fingerprints as rows

#: The name under which `Ruled` lies in `meta`.
RULED: Final = "ruled"


class Ruled(msgspec.Struct, frozen=True):
    """The rules called `key` hold since `at` (epoch seconds); clusters up to `up_to` were gone through, None: all.

    Templates of `waiting` have another category now, which they get when the trial of a fix of their issue is over.
    `weak` are the `by` of the rules that are not sure; None: not known (an older release wrote this).
    """

    key: str
    at: float
    up_to: int | None = None
    waiting: tuple[int, ...] = ()
    weak: tuple[str, ...] | None = None


def ruled(conn: Connection) -> Ruled | None:
    """What holds; None in a store that no rules were applied to yet."""
    found = meta.get(conn, RULED)
    return None if found is None else msgspec.convert(found, Ruled)


def begin(conn: Connection, key: str, weak: Collection[str] = ()) -> Ruled:
    """These rules hold from now on, and so they are to be gone through where there is anything."""
    there = conn.execute(select(rows.c.id).where(rows.c.project == project(conn)).limit(1)).first()
    return put(conn, Ruled(key, clock.now(), 0 if there else None, weak=tuple(sorted(weak))))


def put(conn: Connection, state: Ruled) -> Ruled:
    """Write how far it went."""
    meta.put(conn, RULED, msgspec.to_builtins(state))
    return state


def clusters_behind(conn: Connection, after: int, limit: int) -> list[int]:
    """The next clusters that hold templates."""
    query = (
        select(rows.c.cluster)
        .distinct()
        .where(rows.c.project == project(conn), rows.c.cluster > after)
        .order_by(rows.c.cluster)
        .limit(limit)
    )
    return list(conn.execute(query).scalars())


def kept_where_they_are(conn: Connection, keys: Collection[Key]) -> dict[Key, Interned]:
    """Templates that rules put elsewhere now, but that stay: of `keys`, which are not stored, those whose text is.

    In an issue that holds what a person had said to be the same before those rules, or of which a fix is being tried.
    """
    state = ruled(conn)
    if state is None or not keys:
        return {}
    return _tried(conn, keys, state.waiting) | _tied(conn, keys, state)


def _tried(conn: Connection, keys: Collection[Key], waiting: Collection[int]) -> dict[Key, Interned]:
    if not waiting:
        return {}
    held = {one.hash: one for one in fingerprints.by_id(conn, waiting).values()}
    return {key: held[key[1]] for key in keys if key[1] in held}


def _tied(conn: Connection, keys: Collection[Key], state: Ruled) -> dict[Key, Interned]:
    tied: dict[str, set[str]] = {}
    for one, other in decisions.friends(conn, {hashed for _, hashed in keys}, before=state.at):
        tied.setdefault(one, set()).add(other)
    found: dict[Key, Interned] = {}
    for category, hashed in keys:
        for held in fingerprints.of_hash(conn, hashed) if hashed in tied else ():
            if decisions.in_cluster(conn, held.cluster, tied[hashed]):
                found[category, hashed] = held
                break
    return found
