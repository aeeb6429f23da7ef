"""One batch in, one receipt out: parse, redact, store, and answer only once it is durable."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import compress
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection

from rsi import clock
from rsi.config import Config
from rsi.errors import InvalidInputError, TooLargeError
from rsi.ingest import parse as parsing
from rsi.ingest.normalise import Normaliser, fresh_id
from rsi.ingest.parse import Parsed, Refused
from rsi.ingest.tasks import TaskNames
from rsi.ingest.together import Together, Waiting
from rsi.ingest.wire import encode
from rsi.model import Batch, Outcome, Receipt, Rejected
from rsi.redact import Redactor
from rsi.store import Store, rejects, rollups

log = logging.getLogger("rsi.ingest")

OnStored: TypeAlias = Callable[[list[Outcome]], None]

#: Refused items of one batch that are kept one by one; a flood of them becomes these and a count.
KEPT_PER_BATCH: Final = 200
#: Bytes of a refused item that are looked at: enough to recognise it, bounded work to redact it.
KEPT_BYTES: Final = 16 * 1024


class Ingest:
    """What stands between the doors and the store. Safe to use from any thread.

    Args:
        store: where outcomes go.
        config: limits and what else is a secret.
        on_stored: called with the outcomes that were new, in the store's writing thread: keep it short.

    Raises:
        ConfigError: a pattern in `redact.extra` does not compile.
    """

    def __init__(self, store: Store, config: Config, *, on_stored: OnStored | None = None) -> None:
        self._store = store
        self._limits = config.limits
        self._on_stored = on_stored
        with store.read() as conn:
            known = [(scope.source, scope.task) for scope in rollups.scopes(conn, since_hour=0)]
        self._tasks = TaskNames(known, config.limits.tasks_per_source)
        self._normaliser = Normaliser(Redactor(config.redact.extra), self._tasks, config.limits)
        self._together = Together(store, self._stored)
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def submit(self, batch: Batch) -> Future[Receipt]:
        """Take a batch (`model.Submit`). What is refused is kept in `rejects` too, redacted and cut.

        Raises:
            TooLargeError: over a limit, which the message names.
            InvalidInputError: not JSON.
        """
        try:
            parsed = self._parse(batch)
        except InvalidInputError as error:
            self._refuse_all(batch, error)
            raise
        arrived = clock.now()
        outcomes, refused = self._normalise(parsed, batch.id_prefix, arrived)
        return self._save(batch.door, outcomes, refused, arrived)

    def status(self) -> dict[str, Any]:
        """Counters since the start, and the sources that have too many tasks."""
        with self._lock:
            return {**self._counts, "sources_with_too_many_tasks": sorted(self._tasks.full)}

    def _parse(self, batch: Batch) -> Parsed:
        if batch.body is not None:
            return parsing.parse(batch.body, self._limits, ndjson=batch.ndjson)
        return parsing.encode_items(batch.items or (), self._limits)

    def _normalise(
        self, parsed: Parsed, prefix: str | None, arrived: float
    ) -> tuple[list[Outcome], list[tuple[int, Refused]]]:
        outcomes: list[Outcome] = []
        refused: list[tuple[int, Refused]] = []
        normalise, take = self._normaliser.outcome, outcomes.append
        for index, item in enumerate(parsed.items):
            where = "outcome" if parsed.single else f"outcome[{index}]"
            if isinstance(item, Refused):
                refused.append((index, item))
                continue
            ident = item.id or (f"{prefix}:{index}" if prefix else fresh_id(arrived))
            try:
                take(normalise(item, where, ident, arrived))
            except InvalidInputError as error:
                refused.append((index, Refused(str(error), encode(item)[:KEPT_BYTES], error.field)))
        return outcomes, refused

    def _save(
        self, door: str, outcomes: list[Outcome], refused: Sequence[tuple[int, Refused]], arrived: float
    ) -> Future[Receipt]:
        rejected = [Rejected(index, self._normaliser.reason(item.error)) for index, item in refused]
        if refused:
            self._keep(door, rejected, refused)
        # with nothing to store it waits in the writer all the same, behind the rejects
        return self._together.add(Waiting(outcomes, rejected, arrived))

    def _stored(self, group: list[Waiting], fresh: list[bool]) -> list[Receipt]:
        """In the store's thread, once durable: counts, tells the listener, and makes the receipts."""
        receipts, at = [], 0
        for waiting in group:
            flags = fresh[at : at + len(waiting.outcomes)]
            at += len(flags)
            new = sum(flags)
            ids = [outcome.id for outcome in waiting.outcomes]
            receipts.append(Receipt(accepted=new, duplicates=len(flags) - new, rejected=waiting.rejected, ids=ids))
        accepted = sum(fresh)
        with self._lock:
            self._counts["accepted"] += accepted
            self._counts["duplicates"] += len(fresh) - accepted
            self._counts["rejected"] += sum(len(waiting.rejected) for waiting in group)
        if accepted and self._on_stored is not None:
            self._listen(self._on_stored, [outcome for waiting in group for outcome in waiting.outcomes], fresh)
        return receipts

    def _listen(self, listener: OnStored, outcomes: list[Outcome], fresh: list[bool]) -> None:
        try:
            listener(outcomes if all(fresh) else list(compress(outcomes, fresh)))
        except Exception:  # the border to whoever listens: what is durable stays acknowledged
            log.exception("a listener failed on %d new outcomes", sum(fresh))
            with self._lock:
                self._counts["listener_failures"] += 1

    def _refuse_all(self, batch: Batch, error: InvalidInputError) -> None:
        """A whole request or file that could not be read: kept as one."""
        refused = Refused(str(error), (batch.body or b"")[:KEPT_BYTES], error.field)
        self._keep(batch.door, [Rejected(0, self._normaliser.reason(str(error)))], [(0, refused)])
        with self._lock:
            self._counts["too_large" if isinstance(error, TooLargeError) else "unreadable"] += 1

    def _keep(self, door: str, rejected: Sequence[Rejected], refused: Sequence[tuple[int, Refused]]) -> None:
        """Hand the refused to the store. It comes before the outcomes there, so it is durable when they are."""
        kept = [
            (f"item {said.index}", said.error, self._normaliser.refused(item.raw[:KEPT_BYTES]))
            for said, (_, item) in zip(rejected[:KEPT_PER_BATCH], refused[:KEPT_PER_BATCH], strict=True)
        ]
        if len(rejected) > len(kept):
            more = len(rejected) - len(kept)
            kept.append((f"{more} more items", f"and {more} more refused items of the same batch", ""))

        def write(conn: Connection) -> None:
            for name, reason, text in kept:
                rejects.add(conn, door, name, reason, text)

        self._store.submit(write).add_done_callback(_log_failure)


def _log_failure(done: Future[None]) -> None:
    error = done.exception()
    if error is not None:
        log.warning("refused items could not be kept: %s", error)
