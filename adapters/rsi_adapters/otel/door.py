"""From a request's spans to stored outcomes, and what happens to those whose root never comes."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Final

from rsi import clock
from rsi.model import Batch, Submit
from rsi_adapters.otel.reading import Reader
from rsi_adapters.otel.room import Room
from rsi_adapters.otel.signals import Taken
from rsi_adapters.otel.tree import told

log = logging.getLogger("rsi.otel")

DOOR: Final = "otel"
#: How long after the last span of a trace its root is awaited: exporters send every 5 s, a model may think for minutes.
ROOT_WAIT_S: Final = 600.0
#: How long a told trace is remembered, for spans that are late or sent again.
REMEMBER_S: Final = 3_600.0
#: How often the room is looked through.
SWEEP_S: Final = 5.0


class Door:
    """Takes spans, and submits the outcomes of traces that can be told. Safe to use from any thread.

    Args:
        room: where spans wait.
        reader: reads them.
    """

    def __init__(self, room: Room, reader: Reader) -> None:
        self._room = room
        self._reader = reader
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def take(self, taken: Taken, submit: Submit) -> None:
        """Keep what came, and tell the traces that are complete; returns once all of it is durable.

        Raises:
            StoreError: nothing is acknowledged; send it again.
        """
        facts = [fact for span in taken.spans if (fact := self._reader.span(span)) is not None]
        facts += [fact for record in taken.records if (fact := self._reader.record(record)) is not None]
        self._count("spans", len(taken.spans))
        self._count("refused", len(taken.refused))
        if not facts:
            return
        self._tell(self._room.add(facts, clock.now()), submit, final=False)
        self._make_room(submit)

    def sweep(self, submit: Submit) -> int:
        """Tell what has waited long enough, forget what is old; the number of traces told."""
        if self._room.is_empty:
            return 0
        now = clock.now()
        overdue = self._room.overdue(now - ROOT_WAIT_S)
        self._tell(overdue, submit, final=True)
        self._room.forget(now - REMEMBER_S)
        return len(overdue)

    def status(self) -> dict[str, int]:
        """Counters since the start."""
        with self._lock:
            return dict(self._counts)

    def _make_room(self, submit: Submit) -> None:
        while crowd := self._room.crowded():
            log.warning("more spans wait for their roots than are kept: %d traces are told as they are", len(crowd))
            self._tell(crowd, submit, final=True)

    def _tell(self, traces: Iterable[str], submit: Submit, *, final: bool) -> None:
        """One batch for all of them, so that a request costs one commit."""
        items, done = [], []
        for trace in traces:
            kept = self._room.get(trace)
            found = {
                span: item for span, item in told(kept.facts, kept.told, final=final).items() if span not in kept.told
            }
            items += [item for item in found.values() if item is not None]
            done.append((trace, list(found)))
        if items:
            receipt = submit(Batch(door=DOOR, items=items)).result()
            self._count("outcomes", receipt.accepted)
            for refused in receipt.rejected:
                log.warning("an outcome of a span was refused: %s", refused.error)
            self._count("refused_outcomes", len(receipt.rejected))
        self._room.tell(done)

    def _count(self, what: str, number: int) -> None:
        with self._lock:
            self._counts[what] += number


class Sweeper:
    """Looks through the room every few seconds, in a thread of its own."""

    def __init__(self, door: Door, submit: Submit) -> None:
        self._door = door
        self._submit = submit
        self._stopping = threading.Event()
        self.trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="rsi-otel", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the look under way."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(SWEEP_S):
            try:
                self._door.sweep(self._submit)
            except Exception as error:  # the border of the thread: logged, shown, tried again
                log.exception("spans that wait could not be told")
                self.trouble = f"spans that wait could not be told: {error}"
            else:
                self.trouble = None
