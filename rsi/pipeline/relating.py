"""What may be the same: written as templates are placed, and once a day looked for again among all of them.

What comes later may be nearer than what was known when a template was placed. The daily look only proposes: it writes
what `rsi issue` shows as possibly related, and moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from rsi import clock
from rsi.analyze.cluster import MOST_RELATED, RELATED_AT, Candidate, Item, Link, decide
from rsi.pipeline.parted import Parted
from rsi.store import Store, fingerprints, meta, related
from rsi.store.fingerprints import Interned
from rsi.store.recategorize import SILENT
from rsi.store.related import Near
from rsi.worker import Placed, Text, Worker

EVERY_S: Final = 86_400.0
LOOKED: Final = "related_at"
"""When the last look was over (epoch seconds)."""
AT_ONCE: Final = 256
"""Templates of one request: what the worker takes in one piece."""
NEAREST: Final = 32
"""Four times what placing asks for: here the wordings of an issue of many would leave no room for other issues."""


class Relating:
    """Looks at all templates again, oldest first, one request at a time; used by one thread at a time.

    Args:
        store: where templates are.
        worker: whose index is asked; it knows the stored vectors, so that nothing is embedded again.
    """

    def __init__(self, store: Store, worker: Worker) -> None:
        self._store = store
        self._worker = worker
        self._after: int | None = None

    def due(self) -> bool:
        """Whether the last look is a day old; if so `once` has something to do."""
        with self._store.read() as conn:
            last = meta.get(conn, LOOKED, 0.0)
        if self._after is None and abs(clock.now() - last) >= EVERY_S:  # a clock that was set back is no excuse
            self._after = 0
        return self._after is not None

    def once(self) -> bool:
        """The next templates; False if there is nothing (more) to look at.

        Raises:
            WorkerError: no answer; the next call asks again.
        """
        if self._after is None:
            return False
        with self._store.read() as conn:
            some = fingerprints.since(conn, self._after, AT_ONCE)
        if not some:
            self._after = None
            self._store.write(lambda conn: meta.put(conn, LOOKED, clock.now()))
            return False
        texts = [Text(str(one.id), one.template) for one in some]
        placement = self._worker.nearest(texts, k=NEAREST)
        self._store.write(lambda conn: _propose(conn, placement.placed))
        self._after = some[-1].id
        return True


def item(one: Interned) -> Item:
    """A template by the name of its issue, which then stands in `why`."""
    return Item(f"i{one.cluster}", one.category, one.template, one.error_type)


def nears(links: Sequence[Link], of: Interned, others: Sequence[tuple[Interned, float]]) -> list[Near]:
    """These links as templates; `others` are the candidates with their cosine. Silence resembles nothing."""
    known = {(f"i{one.cluster}", cosine): one.id for one, cosine in others if not one.template.startswith(SILENT)}
    if of.template.startswith(SILENT):
        return []
    found = {known[link.id, link.cosine]: link for link in links if (link.id, link.cosine) in known}
    return [Near(template, link.cosine, ", ".join(link.apart)) for template, link in found.items()]


def _propose(conn: Connection, placed: Sequence[Placed]) -> None:
    ids = {int(near.id) for one in placed for near in one.near if near.cosine >= RELATED_AT}
    there = fingerprints.by_id(conn, ids | {int(one.id) for one in placed})
    apart = Parted(conn)
    related.put(conn, {int(one.id): _around(one, there, apart) for one in placed if int(one.id) in there})


def _around(placed: Placed, there: Mapping[int, Interned], apart: Parted) -> list[Near]:
    """The nearest template of each other issue; one that could be merged comes first and is only proposed."""
    own = there[int(placed.id)]
    nearest: dict[int, tuple[Interned, float]] = {}
    for near in placed.near:  # best first
        other = there.get(int(near.id))
        if other is not None and other.cluster != own.cluster and not apart.says(own.cluster, other.cluster):
            nearest.setdefault(other.cluster, (other, near.cosine))
    others = list(nearest.values())
    found = decide(item(own), [Candidate(item(other), cosine) for other, cosine in others])
    links = [*filter(None, [found.merge]), *found.related]
    return nears(links[:MOST_RELATED], own, others)
