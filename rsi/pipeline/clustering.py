"""Likeness and similarity, beside everything else: new templates go to the worker.

First those that are one fault in other words are put together; then those that no rule decides for sure are compared
with written prototypes, which may name their category; then all find their neighbours, which may merge clusters, or
are kept as possibly related. Once a day that is looked for anew among all templates, which merges nothing.
Nothing waits for it. A worker that is away costs nothing but that; its templates are asked for again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from rsi.analyze.cluster import Candidate, decide
from rsi.errors import StoreError
from rsi.pipeline.grouping import Grouping
from rsi.pipeline.relating import Relating, item, nears
from rsi.pipeline.unknowns import Unknowns
from rsi.rules import PrototypeSet
from rsi.store import Store, fingerprints, issues, merges, meta, related
from rsi.store.fingerprints import Interned, Unembedded
from rsi.worker import Known, Placed, Placement, Text, Worker

AT_ONCE: Final = 256
"""Templates of one request: what the worker takes in one piece."""
MODEL: Final = "embedding_model"
LEAVE_S: Final = 0.5
"""How long `stop` waits for an answer that is under way; it is asked for again after the next start."""

log = logging.getLogger("rsi.pipeline")


class Clustering:
    """Asks the worker in a thread of its own, one request at a time.

    Args:
        store: where templates and vectors are.
        worker: the daemon's handle of the analysis process.
        failed: hears of errors.
        worked: hears of answers, with the number of issues that were merged or got a category.
        prototypes: what no rule decides for sure is compared with.
        weak: the `by` of rules that are not sure.
    """

    def __init__(  # noqa: PLR0917 - the pipeline's one call
        self,
        store: Store,
        worker: Worker,
        failed: Callable[[BaseException], None],
        worked: Callable[[int], None],
        prototypes: PrototypeSet = PrototypeSet(),  # noqa: B008 - frozen
        weak: frozenset[str] = frozenset(),
    ) -> None:
        self._store = store
        self._worker = worker
        self._failed = failed
        self._worked = worked
        self._grouping = Grouping(store)
        self._unknowns = Unknowns(store, worker, prototypes, weak)
        self._relating = Relating(store, worker, self._seed)
        self._owes = True
        self._lock = threading.Lock()
        self._one = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def owes(self) -> bool:
        """Whether something may be left to do: by an earlier process, a failure, or a `begin` that came too early."""
        return self._owes

    def begin(self) -> None:
        """See to what has no vector yet; returns at once."""
        with self._lock:
            self._owes = True
            if self._stopping.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self.run, name="rsi-clusters", daemon=True)
            self._thread.start()

    def relate(self) -> None:
        """Once a day see to what may be the same among all templates; returns at once."""
        if self._relating.due():
            self.begin()

    def run(self) -> int:
        """The same in this thread, until nothing is left; the number of clusters that were merged.

        Waits for another thread that is at it.
        """
        with self._one:
            return self._run()

    def _run(self) -> int:
        merged = named = 0
        self._owes = False
        try:
            while True:
                more, found = self._new()
                merged, named = merged + more, named + found
                if self._stopping.is_set() or not self._relating.once():  # what is new goes first
                    break
        except Exception as error:  # noqa: BLE001 - the border of the thread: similarity is a luxury
            self._owes = True
            if not self._stopping.is_set():
                log.warning("clustering failed: %s", error)
                self._failed(error)
        else:
            self._worked(merged + named)
        return merged

    def stop(self) -> None:
        """Ask for nothing more."""
        self._stopping.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(LEAVE_S)

    def _new(self) -> tuple[int, int]:
        """Everything that nobody has seen to yet: how many issues were merged, and how many got a category."""
        named = 0
        merged = self._grouped()
        while not self._stopping.is_set() and (found := self._unknowns.once()) is not None:
            named += len(found)
            self._grouping.again({issues.number(one.issue) for one in found})
        merged += self._grouped()
        while not self._stopping.is_set() and (more := self._once()) is not None:
            merged += more
        return merged, named

    def _grouped(self) -> int:
        merged = 0
        while not self._stopping.is_set() and (more := self._grouping.once()) is not None:
            merged += more
        return merged

    def _once(self) -> int | None:
        """One request; `None` if there is nothing to ask."""
        with self._store.read() as conn:
            new = fingerprints.unembedded(conn, AT_ONCE)
            known = self._seed(conn) if new and not self._worker.status().alive else []
        if not new:
            return None
        placement = self._worker.nearest([Text(str(one.id), one.template) for one in new], known)
        if self._stopping.is_set():
            raise StoreError("stopping: the answer is asked for again after the next start")
        return self._store.write(lambda conn: _place(conn, new, placement))

    def _seed(self, conn: Connection) -> list[Known]:
        """Every vector that is stored: a new process knows nothing."""
        model = meta.get(conn, MODEL)
        if not model:
            return []
        return [Known(str(one.id), one.vector, model) for one in fingerprints.embedded(conn, model)]


def _place(conn: Connection, new: Sequence[Unembedded], placement: Placement) -> int:
    """Keep the vectors, and merge where `analyze.cluster` says so."""
    fingerprints.put_vectors(conn, placement.model, {int(one.id): one.vector for one in placement.placed})
    if meta.get(conn, MODEL) != placement.model:
        meta.put(conn, MODEL, placement.model)
    asked = {one.id for one in new}
    anything_parted = bool(merges.parted(conn))  # to ask of each pair costs four times everything else here
    merged = 0
    for placed in placement.placed:
        if int(placed.id) in asked:
            near = fingerprints.by_id(conn, [int(placed.id), *(int(one.id) for one in placed.near)])
            merged += _settle(conn, placed, near, anything_parted=anything_parted)
    return merged


def _settle(conn: Connection, placed: Placed, near: Mapping[int, Interned], *, anything_parted: bool) -> bool:
    """Keep what is possibly related; whether its issue was merged."""
    own = near.get(int(placed.id))
    if own is None:
        return False
    others = [
        (near[int(one.id)], one.cosine)
        for one in placed.near
        if int(one.id) in near and near[int(one.id)].cluster != own.cluster
    ]

    def split(one: str, other: str) -> bool:
        return anything_parted and merges.declared_apart(conn, issues.number(one), issues.number(other))

    found = decide(item(own), [Candidate(item(one), cosine) for one, cosine in others], split=split)
    related.put(conn, {own.id: nears(found.related, own, others)})
    if found.merge is None:
        return False
    return issues.auto_merge(conn, own.cluster, issues.number(found.merge.id), found.why)
