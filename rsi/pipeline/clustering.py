"""Similarity, beside everything else: new templates go to the worker, its answers may merge clusters.

Nothing waits for it. A worker that is away costs nothing but similarity; its templates stay unembedded and are asked
for again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from rsi.analyze.cluster import Candidate, Item, decide
from rsi.errors import StoreError
from rsi.store import Store, fingerprints, issues, merges, meta
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
        worked: hears of answers, with the number of clusters that were merged.
    """

    def __init__(
        self, store: Store, worker: Worker, failed: Callable[[BaseException], None], worked: Callable[[int], None]
    ) -> None:
        self._store = store
        self._worker = worker
        self._failed = failed
        self._worked = worked
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def begin(self) -> None:
        """See to what has no vector yet; returns at once."""
        with self._lock:
            if self._stopping.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self.run, name="rsi-clusters", daemon=True)
            self._thread.start()

    def run(self) -> int:
        """The same in this thread, until nothing is left; the number of clusters that were merged."""
        merged = 0
        try:
            while not self._stopping.is_set() and (more := self._once()) is not None:
                merged += more
        except Exception as error:  # noqa: BLE001 - the border of the thread: similarity is a luxury
            if not self._stopping.is_set():
                log.warning("clustering failed: %s", error)
                self._failed(error)
        else:
            self._worked(merged)
        return merged

    def stop(self) -> None:
        """Ask for nothing more."""
        self._stopping.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(LEAVE_S)

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
    merged = 0
    for placed in placement.placed:
        if int(placed.id) in asked:
            near = fingerprints.by_id(conn, [int(placed.id), *(int(one.id) for one in placed.near)])
            merged += _merge(conn, placed, near)
    return merged


def _merge(conn: Connection, placed: Placed, near: Mapping[int, Interned]) -> bool:
    own = near.get(int(placed.id))
    if own is None:
        return False
    candidates = [
        Candidate(_item(near[int(one.id)]), one.cosine)
        for one in placed.near
        if int(one.id) in near and near[int(one.id)].cluster != own.cluster
    ]

    def split(one: str, other: str) -> bool:
        return merges.declared_apart(conn, issues.number(one), issues.number(other))

    found = decide(_item(own), candidates, split=split)
    if found.merge is None:
        return False
    return issues.auto_merge(conn, own.cluster, issues.number(found.merge.id), found.why)


def _item(one: Interned) -> Item:
    return Item(f"i{one.cluster}", one.category, one.template, one.error_type)
