"""Templates that are one fault in several wordings are put into one issue, by `analyze.grouping`: no model is asked.

Runs in the clustering thread, before everything that needs the worker. What it remembers is made again from the store
after a start; a crash between a template and its joins is repaired then, because all joins follow again.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from sqlalchemy import Connection

from rsi.analyze.cluster import Item
from rsi.analyze.grouping import Grouper, Join
from rsi.store import Store, fingerprints, merges
from rsi.store.fingerprints import Interned
from rsi.store.recategorize import SILENT

AT_ONCE: Final = 2000
"""Templates of one pass: a second of work."""
WRITTEN_AT_ONCE: Final = 10
"""Joins of one write: some 50 ms of the writer (100 on a busy machine), so that ingest is not held up for longer."""


class Grouping:
    """Takes in templates by their number, oldest first; used by one thread at a time, but for `again`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._grouper = Grouper()
        self._names: dict[int, list[str]] = {}
        self._last = 0
        self._lock = threading.Lock()
        self._again: set[int] = set()
        self._owed: list[Join] = []
        self._waiting: dict[Join, None] = {}
        self._aside: dict[tuple[int, str], str] = {}
        self._ignored: frozenset[int] = frozenset()

    def again(self, clusters: Collection[int]) -> None:
        """The templates of these clusters have another category now."""
        with self._lock:
            self._again.update(clusters)

    def once(self) -> int | None:
        """The next templates: how many issues were merged; `None` if there are none.

        Raises:
            StoreError: the joins could not be written; the next call writes them.
        """
        with self._lock:
            again, self._again = self._again, set()
        try:
            with self._store.read() as conn:
                new = fingerprints.since(conn, self._last, AT_ONCE)
                changed = [one for cluster in again for one in fingerprints.of_cluster(conn, cluster)]
                parted = merges.parted(conn)
                ignored = merges.ignored(conn)
        except BaseException:
            self.again(again)
            raise
        self._looked_at_again(ignored)
        if not new and not changed and not self._owed:
            return None
        self._last = max([self._last, *(one.id for one in new)])
        self._owed += self._grouped([one for one in (*new, *changed) if not one.template.startswith(SILENT)], parted)
        return self._write()

    def _grouped(self, new: Sequence[Interned], parted: Collection[tuple[int, int]]) -> list[Join]:
        items = [_item(one) for one in new]
        for one, item in zip(new, items, strict=True):
            names = self._names.setdefault(one.id, [])
            if item.id not in names:
                names.append(item.id)
        self._grouper.part(
            (mine, theirs)
            for one, other in parted
            for mine in self._names.get(one, ())
            for theirs in self._names.get(other, ())
        )
        return self._grouper.add(items)

    def _looked_at_again(self, ignored: frozenset[int]) -> None:
        """What could not be joined because a person ignored one of the two is tried again once that is over."""
        if self._ignored - ignored:
            self._owed += self._waiting
            self._waiting.clear()
            self._aside.clear()
        self._ignored = ignored

    def _write(self) -> int:
        merged = 0
        while self._owed:
            some = self._owed[:WRITTEN_AT_ONCE]
            merged += self._store.write(partial(self._join, joins=some))
            del self._owed[: len(some)]
        return merged

    def _join(self, conn: Connection, joins: Sequence[Join]) -> int:
        merged = 0
        for join in joins:
            merged += self._joined(conn, join)
        return merged

    def _joined(self, conn: Connection, join: Join) -> bool:
        """Put the issues of two templates together, as far as it may be."""
        there = fingerprints.by_id(conn, [_number(join.one), _number(join.other)])
        if len(there) < 2:  # noqa: PLR2004 - both of them
            return False
        mine, theirs = there[_number(join.one)].cluster, there[_number(join.other)].cluster
        if mine == theirs:
            return False
        if merges.auto_merge(conn, mine, theirs, join.why):
            return True
        ignored = merges.ignored(conn) & {mine, theirs}
        return len(ignored) == 1 and self._beside_ignored(conn, join, next(iter(ignored)), ours=mine in ignored)

    def _beside_ignored(self, conn: Connection, join: Join, cluster: int, *, ours: bool) -> bool:
        """One of the two is ignored: the other goes together with those that the same join would have brought there."""
        self._waiting[join] = None
        name, other = (join.one, join.other) if ours else (join.other, join.one)
        first = self._aside.setdefault((cluster, self._grouper.group_of(name)), other)
        if first == other:
            return False
        return self._joined(conn, Join(first, other, join.why))


def _item(one: Interned) -> Item:
    """Named with its category: a template that gets another one is another item."""
    return Item(f"{one.id}:{one.category}", one.category, one.template, one.error_type)


def _number(name: str) -> int:
    return int(name.partition(":")[0])
