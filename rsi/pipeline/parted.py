"""Which issues a person has parted, asked once for all the pairs that a look has to decide about."""

from __future__ import annotations

from sqlalchemy import Connection

from rsi.store import fingerprints, merges


class Parted:
    """`merges.declared_apart` of every pair of clusters at once; holds until templates move.

    To ask of each pair costs several queries, and a template has up to 32 neighbours.
    """

    def __init__(self, conn: Connection) -> None:
        pairs = merges.parted(conn)
        there = fingerprints.by_id(conn, {template for pair in pairs for template in pair}) if pairs else {}
        self._pairs = {frozenset((there[a].cluster, there[b].cluster)) for a, b in pairs if a in there and b in there}

    def __bool__(self) -> bool:
        return bool(self._pairs)

    def says(self, one: int, other: int) -> bool:
        """Whether any template of the one cluster was parted from any of the other."""
        return frozenset((one, other)) in self._pairs
