"""Observe and analyze: rows above the watermark become counters, issues and trial events, each slice one transaction.

A row that cannot be digested must not stop those behind it: the slice is halved until the row is alone, then it is put
into `rejects` with the reason, and the watermark moves on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from rsi import clock
from rsi.analyze import issues
from rsi.analyze.delta import Delta
from rsi.analyze.issues import Changed
from rsi.analyze.observe import Observer, write
from rsi.config import Config
from rsi.errors import StoreError
from rsi.model import StoredOutcome
from rsi.store import Store, fixes, rejects, watermark
from rsi.verify import watch

SLICE_ROWS: Final = 2_000
"""Rows of one transaction: some 50 ms of the writer, so that ingest is not held up for longer."""

log = logging.getLogger("rsi.pipeline")


class Taken(msgspec.Struct):
    """One slice that was written, or the row that had to be put aside."""

    delta: Delta | None = None
    moved: list[Changed] = []
    fed: list[int] = []
    quarantined: int = 0


class Taking:
    """Takes what is new, slice by slice.

    Args:
        store: where rows are.
        config: SLOs and deadlines.
        observer: what reads rows, with its memory.
    """

    def __init__(self, store: Store, config: Config, observer: Observer) -> None:
        self._store = store
        self._config = config
        self._observer = observer

    def slices(self) -> Iterator[Taken]:
        """Write one slice after the other until none is left.

        Raises:
            StoreError: the store cannot be written; nothing was skipped.
        """
        while True:
            with self._store.read() as conn:
                at = watermark.get(conn)
                rows, asked = self._read(conn, at)
                stuck = None if rows or asked else watermark.next_row(conn, at)
            if stuck is not None:
                yield self._quarantine(stuck, "the row cannot be read")
                continue
            if rows:
                yield from self._digest(rows)
            if len(rows) < asked or not rows:
                return

    def idle(self) -> Taken:
        """Without rows: steps whose parent never came, and issues that fell silent."""
        return self._write([])

    def _read(self, conn: Connection, at: int) -> tuple[list[StoredOutcome], int]:
        """The next rows and how many were asked for: fewer where one cannot be read, 0 where it is the first."""
        limit = SLICE_ROWS
        while limit:
            try:
                return self._store.outcomes_since(conn, at, limit), limit
            except (msgspec.MsgspecError, ValueError):
                limit //= 2
        return [], 0

    def _digest(self, rows: Sequence[StoredOutcome]) -> Iterator[Taken]:
        try:
            taken = self._write(rows)
        except StoreError:
            raise
        except Exception as error:
            if len(rows) > 1:
                half = len(rows) // 2
                yield from self._digest(rows[:half])
                yield from self._digest(rows[half:])
                return
            log.exception("an outcome cannot be analysed and was put aside", extra={"seq": rows[0].seq})
            taken = self._quarantine(rows[0].seq, f"{type(error).__name__}: {error}")
        yield taken

    def _write(self, rows: Sequence[StoredOutcome]) -> Taken:
        now = clock.now()
        with self._store.read() as conn:
            delta = self._observer.observe(conn, rows, now, self._config)

        def job(conn: Connection) -> Taken:
            write(conn, delta)
            moved = issues.sweep(conn, now, self._config, delta.touched)
            entered = delta.trial_outcomes
            tried = {fix.id: fix for fix in fixes.in_states(conn, fixes.APPLIED)} if entered else {}
            fed = watch.feed(conn, tried, entered, now, delta.category) if tried else []
            if rows:
                watermark.put(conn, delta.up_to)
            return Taken(delta, moved, fed)

        return self._store.write(job)

    def _quarantine(self, seq: int, reason: str) -> Taken:
        def job(conn: Connection) -> Taken:
            rejects.add(conn, "analysis", f"outcome row {seq}", reason, watermark.raw_row(conn, seq))
            watermark.put(conn, seq)
            return Taken(quarantined=1)

        return self._store.write(job)
