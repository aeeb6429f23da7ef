"""Likeness and similarity, beside everything else: new templates go to the worker.

First those that are one fault in other words are put together; then those that no rule decides for sure are compared
with written prototypes, which may name their category; then all find their neighbours, which may merge clusters, or
are kept as possibly related. Once a day that is looked for anew among all templates, which merges nothing.
Nothing waits for it. A worker that is away costs nothing but that; its templates are asked for again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

from sqlalchemy import Connection

from rsi import clock
from rsi.analyze.cluster import Candidate, decide
from rsi.errors import StoreError
from rsi.pipeline.grouping import Grouping
from rsi.pipeline.parted import Parted
from rsi.pipeline.relating import Relating, item, nears
from rsi.pipeline.unknowns import Unknowns
from rsi.rules import PrototypeSet
from rsi.store import Store, fingerprints, issues, meta, related
from rsi.store.fingerprints import Interned, Unembedded
from rsi.worker import Known, Placed, Placement, Text, Worker

AT_ONCE: Final = 256
"""Templates of one request: what the worker takes in one piece."""
MODEL: Final = "embedding_model"
SLOW_S: Final = 30.0
"""A step that takes longer is named in `rsi status`: a request of `AT_ONCE` takes some seconds on a busy machine."""
LEAVE_S: Final = 0.5
"""How long `stop` waits for an answer that is under way; it is asked for again after the next start."""

GROUPING: Final = "putting new templates into groups"
COMPARING: Final = "comparing new templates with prototypes"
PLACING: Final = "embedding new templates"

T = TypeVar("T")

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
        self._relating = Relating(store, worker)
        worker.seeded_by(self._stored)
        self._owes = True
        self._lock = threading.Lock()
        self._one = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._step: tuple[str, float] | None = None

    @property
    def owes(self) -> bool:
        """Whether something may be left to do: by an earlier process, a failure, or a `begin` that came too early."""
        return self._owes

    def slow(self) -> str | None:
        """What it has been doing for too long, in one sentence."""
        step = self._step
        if step is None or (taken := clock.monotonic() - step[1]) < SLOW_S:
            return None
        return (
            f"clustering is slow: {step[0]} has taken {taken:.0f} s so far; issues are kept, but not yet put together"
        )

    def again(self, clusters: Collection[int]) -> None:
        """The templates of these issues (numbers) have another category now; `begin` sees to them."""
        self._grouping.again(clusters)
        self._owes = True

    def begin(self) -> None:
        """See to what has no vector yet; returns at once."""
        with self._lock:
            self._owes = True
            if self._stopping.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self.run, name="rsi-clusters", daemon=True)
            self._thread.start()

    def relate(self) -> None:
        """See to what is due: once a day to all templates, and to answers that waited for a trial; returns at once."""
        if self._relating.due() or self._unknowns.waited():
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
                if self._stopping.is_set() or not self._timed("the daily look at all templates", self._relating.once):
                    break  # what is new goes first
        except Exception as error:  # noqa: BLE001 - the border of the thread: similarity is a luxury
            self._owes = True
            if not self._stopping.is_set():
                log.warning("clustering failed: %s", error)
                self._failed(error)
        else:
            self._worked(merged + named)
        return merged

    def _timed(self, what: str, step: Callable[[], T]) -> T:
        self._step = what, clock.monotonic()
        try:
            return step()
        finally:
            self._step = None

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
        while not self._stopping.is_set() and (found := self._timed(COMPARING, self._unknowns.once)) is not None:
            named += len(found)
            self._grouping.again({issues.number(one.issue) for one in found})
        merged += self._grouped()
        while not self._stopping.is_set() and (more := self._timed(PLACING, self._once)) is not None:
            merged += more
        return merged, named

    def _grouped(self) -> int:
        merged = 0
        while not self._stopping.is_set() and (more := self._timed(GROUPING, self._grouping.once)) is not None:
            merged += more
        return merged

    def _once(self) -> int | None:
        """One request; `None` if there is nothing to ask."""
        with self._store.read() as conn:
            new = fingerprints.unembedded(conn, AT_ONCE)
        if not new:
            return None
        placement = self._worker.nearest([Text(str(one.id), one.template) for one in new])
        if self._stopping.is_set():
            raise StoreError("stopping: the answer is asked for again after the next start")
        return self._store.write(lambda conn: _place(conn, new, placement))

    def _stored(self) -> list[Known]:
        """Every vector that is stored: a new process knows nothing."""
        with self._store.read() as conn:
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
    apart = Parted(conn)
    merged = 0
    for placed in placement.placed:
        if int(placed.id) in asked:
            near = fingerprints.by_id(conn, [int(placed.id), *(int(one.id) for one in placed.near)])
            if _settle(conn, placed, near, apart):
                merged += 1
                apart = Parted(conn) if apart else apart  # what was parted may have moved
    return merged


def _settle(conn: Connection, placed: Placed, near: Mapping[int, Interned], apart: Parted) -> bool:
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
        return apart.says(issues.number(one), issues.number(other))

    found = decide(item(own), [Candidate(item(one), cosine) for one, cosine in others], split=split)
    merge = found.merge
    merged = merge is not None and issues.auto_merge(conn, own.cluster, issues.number(merge.id), found.why)
    links = found.related if merge is None or merged else (merge, *found.related)  # a person ignores one of the two
    related.put(conn, {own.id: nears(links, own, others)})
    return merged
