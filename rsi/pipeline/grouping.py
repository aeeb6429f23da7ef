"""Templates that are one fault in several wordings are put into one issue, by `analyze.grouping`: no model is asked.

Runs in the clustering thread, before everything that needs the worker. What it remembers is made again from the store
after a start; a crash between a template and its joins is repaired then, because all joins follow again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection

from rsi.analyze.cluster import Item
from rsi.analyze.grouping import Grouper, Join
from rsi.store import Store, fingerprints, merges
from rsi.store.fingerprints import Interned
from rsi.store.recategorize import SILENT

AT_ONCE: Final = 2000
"""Templates of one pass: under a second of work, and one write."""


class Grouping:
    """Takes in templates by their number, oldest first; used by one thread at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._parted: set[tuple[int, int]] = set()
        self._grouper = Grouper(apart=self._apart)
        self._last = 0
        self._again: set[int] = set()
        self._owed: list[Join] = []

    def again(self, clusters: Collection[int]) -> None:
        """The templates of these clusters have another category now."""
        self._again.update(clusters)

    def once(self) -> int | None:
        """The next templates: how many issues were merged; `None` if there are none.

        Raises:
            StoreError: the joins could not be written; the next call writes them.
        """
        with self._store.read() as conn:
            new = fingerprints.since(conn, self._last, AT_ONCE)
            changed = [one for cluster in self._again for one in fingerprints.of_cluster(conn, cluster)]
            self._parted = merges.parted(conn)
        if not new and not changed and not self._owed:
            return None
        self._again.clear()
        self._last = max([self._last, *(one.id for one in new)])
        self._owed += self._grouper.add(_item(one) for one in (*new, *changed) if not one.template.startswith(SILENT))
        joins = list(self._owed)
        merged = self._store.write(lambda conn: _join(conn, joins)) if joins else 0
        self._owed.clear()
        return merged

    def _apart(self, one: str, other: str) -> bool:
        a, b = sorted((_number(one), _number(other)))
        return (a, b) in self._parted


def _item(one: Interned) -> Item:
    """Named with its category: a template that gets another one is another item."""
    return Item(f"{one.id}:{one.category}", one.category, one.template, one.error_type)


def _number(name: str) -> int:
    return int(name.partition(":")[0])


def _join(conn: Connection, joins: Sequence[Join]) -> int:
    merged = 0
    for join in joins:
        ids = _number(join.one), _number(join.other)
        found = fingerprints.by_id(conn, ids)
        if len(found) == len(ids) and found[ids[0]].cluster != found[ids[1]].cluster:
            merged += merges.auto_merge(conn, found[ids[0]].cluster, found[ids[1]].cluster, join.why)
    return merged
